// Numeric socket addresses: parsing, printing, listening. Names are resolved elsewhere (net/resolve.h). Any thread.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace trellis::net {

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;

  std::string host() const;  // numeric, without brackets
  uint16_t port() const noexcept;
  std::string to_string() const;  // "127.0.0.1:80", "[::1]:80"
};

// "127.0.0.1:80", "[::1]:80", "*:80" (every IPv4 address) or "localhost:80" (127.0.0.1). invalid_argument otherwise.
Result<Address> parse_address(std::string_view text);
// Splits "host:port" of any kind of host; invalid_argument without a port in 0..65535.
Result<std::pair<std::string, uint16_t>> split_host_port(std::string_view text);
Result<Address> make_address(std::string_view numeric_host, uint16_t port);

// The other end of a connected socket; an empty address (length 0) when the kernel cannot tell.
Address peer_of(int fd) noexcept;
Address local_of(int fd) noexcept;

// An error when somebody listens there already. Needed because SO_REUSEPORT would let two processes share a port
// unknowingly.
Result<> probe_free(const Address& address, int type = SOCK_STREAM);
// A TCP socket with SO_REUSEPORT and no delay for what it accepts; the caller closes it. Nobody can connect to it
// before it listens.
Result<int> bind_tcp(const Address& address);
// Also of one that listens already.
Result<> start_listening(int fd, int backlog = 4096);
// Both.
Result<int> listen_tcp(const Address& address, int backlog = 4096);

// Before listening sockets close: no connection begins at them any more, and those that had begun are accepted by
// whoever does so. Closing alone would reset what waits in the backlog, and what is half way through its handshake. A
// client that comes meanwhile is not answered and asks again after a second, when it is refused or another socket of
// the address takes it. Blocks: for 100 ms, and up to 2 s while accepting is slow.
void let_last_ones_in(std::span<const int> listening);

}  // namespace trellis::net
