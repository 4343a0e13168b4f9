#include "net/interfaces.h"

#include <ifaddrs.h>
#include <net/if.h>

#include <memory>

namespace trellis::net {

std::vector<Address> addresses_behind(const Address& bound) {
  const std::string host = bound.host();
  if (host != "0.0.0.0" && host != "::") return {bound};
  std::vector<Address> found;
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return found;
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> list(first, &::freeifaddrs);
  for (const ifaddrs* one = list.get(); one; one = one->ifa_next) {
    if (!one->ifa_addr || (one->ifa_flags & IFF_UP) == 0) continue;
    Address address;
    const int family = one->ifa_addr->sa_family;
    // A socket on "::" takes IPv4 as well.
    if (family == AF_INET) {
      address.length = sizeof(sockaddr_in);
      *reinterpret_cast<sockaddr_in*>(&address.storage) = *reinterpret_cast<const sockaddr_in*>(one->ifa_addr);
    } else if (family == AF_INET6 && host == "::") {
      address.length = sizeof(sockaddr_in6);
      *reinterpret_cast<sockaddr_in6*>(&address.storage) = *reinterpret_cast<const sockaddr_in6*>(one->ifa_addr);
    } else {
      continue;
    }
    if (auto with_port = make_address(address.host(), bound.port())) found.push_back(*with_port);
  }
  return found;
}

}  // namespace trellis::net
