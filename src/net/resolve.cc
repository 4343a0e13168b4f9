#include "net/resolve.h"

#include <netdb.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <utility>

#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "runtime/sync.h"

namespace trellis::net {

namespace {

Error unresolved(const std::string& host, const char* why) {
  return Error(Code::unavailable, "cannot resolve " + host + ": " + why).from(Side::upstream);
}

Task<> resolve_into(std::optional<Result<std::vector<Address>>>& out, Event& done, std::string host, uint16_t port) {
  auto asking = blocking([host = std::move(host), port] { return resolve_blocking(host, port); });
  out = co_await asking;
  done.set();
}

}  // namespace

Result<std::vector<Address>> resolve_blocking(const std::string& host, uint16_t port) {
  std::vector<Address> addresses;
  if (auto numeric = make_address(host, port)) {
    addresses.push_back(*numeric);
    return addresses;
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* head = nullptr;
  const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &head);
  const int kept = errno;
  if (error != 0) return fail(unresolved(host, error == EAI_SYSTEM ? std::strerror(kept) : ::gai_strerror(error)));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> found(head, &::freeaddrinfo);
  for (const addrinfo* at = found.get(); at != nullptr; at = at->ai_next) {
    if (at->ai_addrlen > sizeof(sockaddr_storage)) continue;
    Address address;
    std::memcpy(&address.storage, at->ai_addr, at->ai_addrlen);
    address.length = at->ai_addrlen;
    // In place, so that the scope of a link-local address stays.
    if (at->ai_family == AF_INET) {
      reinterpret_cast<sockaddr_in&>(address.storage).sin_port = htons(port);
    } else if (at->ai_family == AF_INET6) {
      reinterpret_cast<sockaddr_in6&>(address.storage).sin6_port = htons(port);
    } else {
      continue;
    }
    addresses.push_back(address);
  }
  if (addresses.empty()) return fail(unresolved(host, "it has no IPv4 or IPv6 address"));
  return addresses;
}

Task<Result<std::vector<Address>>> resolve(std::string host, uint16_t port, Deadline deadline) {
  if (auto numeric = make_address(host, port)) co_return std::vector<Address>(1, *numeric);
  std::optional<Result<std::vector<Address>>> addresses;
  Event done;
  TaskGroup group;  // last: its task uses the above
  group.spawn(resolve_into(addresses, done, host, port));
  const bool in_time = co_await done.wait(deadline);
  if (!in_time)
    co_return fail(Error(Code::deadline_exceeded, "cannot resolve " + host + " in time").from(Side::upstream));
  co_return *std::move(addresses);
}

}  // namespace trellis::net
