// Any text as a file of hosts: refused with its place, or read within the limits into hosts that are complete.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "upstream/balancer.h"
#include "upstream/hosts_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis;
  const auto hosts = upstream::read_hosts_file({reinterpret_cast<const char*>(data), size}, "hosts");
  if (!hosts) {
    if (hosts.error().code() != Code::invalid_argument || !hosts.error().what().starts_with("hosts:")) std::abort();
    return 0;
  }
  if (hosts->size() > upstream::kMaxHosts) std::abort();
  for (const upstream::FileHost& host : *hosts) {
    if (host.address.length == 0 || host.address.port() == 0) std::abort();
    if (host.weight.value_or(0) > upstream::kMaxWeight) std::abort();
    if (!host.zone.empty() && !upstream::is_zone(host.zone)) std::abort();
  }
  return 0;
}
