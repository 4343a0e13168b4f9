// The PROXY protocol, versions 1 (a line of text) and 2 (binary): what a load balancer says of the client's connection
// before the client's first byte. A strict, bounded reader of bytes that grow, and a writer. Reading and writing are
// pure; receive_proxy_header() runs on the connection's core. Whoever may say where a connection comes from can lie
// about it: the caller asks for a header only of addresses that it was told to trust.
//
// Source: "The PROXY protocol, versions 1 & 2", haproxy.org, 2020/03/05. Errors: invalid_argument with what is wrong,
// deadline_exceeded, unavailable (the connection ended within the header).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/time.h"
#include "net/address.h"
#include "runtime/task.h"

namespace trellis {
inline namespace runtime {
class Socket;
}
}  // namespace trellis

namespace trellis::net {

struct ProxyHeader {
  // False: the balancer speaks for itself (LOCAL, such as a health check) or does not know (UNKNOWN, a family that is
  // no IP). The addresses of the connection itself count then.
  bool told = false;
  Address from;  // the client
  Address to;    // where it connected to
};

inline constexpr size_t kMaxProxyHeader = 4096;  // of version 2 with its TLVs; version 1 has 107 at most

enum class ProxyFault : uint8_t {
  none,
  signature,  // the bytes begin neither version
  too_long,   // more than kMaxProxyHeader, or than a line of version 1 may have
  line,       // version 1: not of the form that it must have
  address,    // version 1: no canonical address or port
  version,    // version 2: another version
  command,    // version 2: neither LOCAL nor PROXY
  family,     // version 2: an unknown family, or no stream
  length,     // version 2: shorter than its addresses
  tlv,        // version 2: one reaches beyond the end
  checksum,   // version 2: the CRC32C is another
};
std::string_view to_string(ProxyFault fault) noexcept;

// Reads from the beginning of `bytes`. The size of the header once it is whole; 0: it may go on, or `fault` says what
// is wrong, as early as it can be known.
size_t read_proxy_header(std::string_view bytes, ProxyHeader& header, ProxyFault& fault) noexcept;

enum class ProxyVersion : uint8_t { none, v1, v2 };

// Addresses of one family; where they are not (an IPv4 client of an IPv6 address), both become IPv6. Without one of
// them: UNKNOWN, LOCAL.
std::string write_proxy_header(ProxyVersion version, const Address& from, const Address& to);

// What follows the header stays in the socket.
Task<Result<ProxyHeader>> receive_proxy_header(Socket& socket, Deadline deadline);

}  // namespace trellis::net
