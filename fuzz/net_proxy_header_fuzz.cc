// Bytes of whoever a listener takes PROXY headers from: never read beyond their end, the same in one piece as byte by
// byte, and what was understood is understood again when it is written.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "net/proxy_protocol.h"

using namespace trellis;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  net::ProxyHeader header;
  net::ProxyFault fault;
  const size_t taken = net::read_proxy_header(bytes, header, fault);
  if (taken > size || taken > net::kMaxProxyHeader || (taken > 0 && fault != net::ProxyFault::none)) std::abort();
  if (header.told && taken == 0) std::abort();
  for (size_t i = 0; i < size && i < 300; ++i) {
    net::ProxyHeader part;
    net::ProxyFault part_fault;
    const size_t part_taken = net::read_proxy_header(bytes.substr(0, i), part, part_fault);
    if (part_taken != 0 && part_taken != taken) std::abort();
    if (part_fault != net::ProxyFault::none && part_fault != fault) std::abort();
  }
  if (!header.told) return 0;
  for (const net::ProxyVersion version : {net::ProxyVersion::v1, net::ProxyVersion::v2}) {
    const std::string written = net::write_proxy_header(version, header.from, header.to);
    net::ProxyHeader again;
    if (net::read_proxy_header(written, again, fault) != written.size() || !again.told) std::abort();
    if (again.from.to_string() != header.from.to_string() || again.to.to_string() != header.to.to_string()) {
      std::abort();
    }
  }
  return 0;
}
