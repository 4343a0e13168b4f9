// Any bytes as the answer of a DNS server: refused or read, within the limits and with names that a host may have.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "net/dns_message.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis;
  const auto records = net::read_dns_answer({data, size});
  if (!records) {
    if (records.error().code() != Code::data_loss) std::abort();
    return 0;
  }
  if (records->addresses.size() + records->services.size() > net::kMaxDnsRecords) std::abort();
  if (records->ttl < Duration::zero()) std::abort();
  for (const net::DnsService& service : records->services) {
    if (!service.target.empty() && !net::is_dns_name(service.target)) std::abort();
  }
  for (const net::Address& address : records->addresses) {
    if (!net::make_address(address.host(), 1)) std::abort();
  }
  return 0;
}
