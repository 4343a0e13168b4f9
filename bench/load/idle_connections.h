// Many connections that each made one request and then stay open without traffic: what a server pays for keeping them
// is measured from outside. Beyond 20,000 they come from several addresses of 127.0.0.0/8, since one address has no
// more ports. Opened one after another by main before the load starts.
#pragma once

#include <netinet/in.h>

#include <string_view>
#include <vector>

#include "base/error.h"

namespace trellis::load {

class IdleConnections {
 public:
  IdleConnections() = default;
  ~IdleConnections();
  IdleConnections(const IdleConnections&) = delete;
  IdleConnections& operator=(const IdleConnections&) = delete;

  // Opens `count`; the error says at which one it ended. Those opened before it stay open.
  Result<> open(unsigned count, const sockaddr_in& server, std::string_view request, bool head_request);

  // How many the server has not closed.
  unsigned alive() const noexcept;

 private:
  std::vector<int> sockets_;
};

}  // namespace trellis::load
