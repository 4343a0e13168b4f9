// What an upgraded connection is once the upstream answered 101: bytes relayed both ways between the client and the
// upstream, whatever protocol they speak. Each way waits until the other end has taken what was read (back-pressure),
// an end of one way is handed on and the other way goes on (half-close), and when one side breaks both are closed
// behind what was already read (RFC 9110 section 9.3.6). What either side sent behind its head is relayed first. TCP
// keep-alive finds out within two minutes who vanished without a word. One object a connection, on its core; the server
// owns it as the Response's `upgraded`.
#pragma once

#include <memory>

#include "base/time.h"
#include "http/message.h"

namespace trellis::http {

class ClientConnection;

// `idle`: with nothing either way for so long both are closed; 0: never.
std::unique_ptr<UpgradeHandler> make_tunnel(std::unique_ptr<ClientConnection> upstream, Duration idle);

}  // namespace trellis::http
