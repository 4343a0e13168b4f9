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

int look_up(const std::string& host, int flags, addrinfo*& found) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags;
  return ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
}

}  // namespace

Result<std::vector<Address>> resolve_blocking(const std::string& host, uint16_t port) {
  std::vector<Address> addresses;
  if (auto numeric = make_address(host, port)) {
    addresses.push_back(*numeric);
    return addresses;
  }
  addrinfo* head = nullptr;
  // First of the families that this machine has addresses of; loopback addresses do not count there.
  int error = look_up(host, AI_ADDRCONFIG, head);
  if (error != 0 && error != EAI_AGAIN) error = look_up(host, 0, head);
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

struct Resolver::Lookup {
  bool under_way = false;
  Event ended;
  std::optional<Result<std::vector<Address>>> found;
};

Resolver::Resolver(std::string host, uint16_t port)
    : host_(std::move(host)), port_(port), lookup_(std::make_shared<Lookup>()) {}

Task<Result<std::vector<Address>>> Resolver::addresses(Deadline deadline) {
  if (auto numeric = make_address(host_, port_)) co_return std::vector<Address>(1, *numeric);
  Loop& home = Loop::current();
  const std::shared_ptr<Lookup> lookup = lookup_;
  if (!lookup->under_way) {
    const bool begun = home.pool().try_post([lookup, &home, host = host_, port = port_] {
      auto found = std::make_shared<Result<std::vector<Address>>>(resolve_blocking(host, port));
      home.post([lookup, found] {
        lookup->found = std::move(*found);
        lookup->under_way = false;
        lookup->ended.set();
      });
    });
    if (!begun) co_return fail(Error(Code::resource_exhausted, "too much blocking work is waiting").from(Side::self));
    lookup->under_way = true;
    lookup->ended.reset();
  }
  const bool in_time = co_await lookup->ended.wait(deadline);
  if (!in_time)
    co_return fail(Error(Code::deadline_exceeded, "cannot resolve " + host_ + " in time").from(Side::upstream));
  if (!*lookup->found) co_return fail(lookup->found->error().clone());
  co_return **lookup->found;
}

}  // namespace trellis::net
