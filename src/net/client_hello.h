// What the first message of a TLS client says in the clear: the server's name (SNI) and the application protocols
// (ALPN). It decides where a connection is relayed to, without keys and without a change of a byte. A strict, bounded
// reader of bytes that grow, over records of any size. Pure; any core.
//
// Sources: RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3, RFC 7301 section 3.1. What it finds is what the client
// wishes, not who it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trellis::net {

struct ClientHello {
  std::string server_name;        // lower case, without a dot at its end; "" when it names none
  std::vector<std::string> alpn;  // as offered, the most wanted first
};

enum class HelloState : uint8_t {
  incomplete,
  complete,
  not_tls,    // the bytes begin no record of TLS: another protocol
  malformed,  // they do, and then break the rules
  too_long,   // more than kMaxClientHello
};
std::string_view to_string(HelloState state) noexcept;

inline constexpr size_t kMaxClientHello = 16 * 1024;  // of all its records, with their heads

// Reads a connection's first bytes. It remembers how far it came, so that a client which sends a byte at a time costs
// no more than one that does not; the bytes are the caller's.
class ClientHelloReader {
 public:
  // `bytes`: all from the connection's beginning, the same ones as before and perhaps more. After a state other than
  // incomplete it is not called again.
  HelloState read(std::string_view bytes, ClientHello& hello);

 private:
  HelloState step(std::string_view bytes, ClientHello& hello);
  size_t record_ = 0;         // where the next record begins
  size_t handshake_ = 0;      // bytes of the message that the records before it hold
  size_t wanted_ = SIZE_MAX;  // of the message, with its head; SIZE_MAX: not known yet
};

// The fatal alert that tells a client: no such name here (RFC 6066).
std::string_view unrecognized_name_alert() noexcept;

}  // namespace trellis::net
