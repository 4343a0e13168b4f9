// What a DNS server answered (RFC 1035 section 4, RFC 3596, RFC 2782): the addresses or services of the name that was
// asked for, aliases followed, and how long they hold. The bytes come from strangers: lengths and pointers are checked,
// at most kMaxDnsRecords are taken, names that no host has are refused. Pure; any thread. Fuzzed: fuzz/net_dns_fuzz.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "net/address.h"

namespace trellis::net {

inline constexpr size_t kMaxDnsRecords = 512;

// One SRV record. `target` is in lower case without the dot at its end; "": the service is not offered.
struct DnsService {
  uint16_t priority = 0;  // the lowest is asked first
  uint16_t weight = 0;
  uint16_t port = 0;
  std::string target;
};

struct DnsRecords {
  std::vector<Address> addresses;  // port 0
  std::vector<DnsService> services;
  Duration ttl{0};  // the least of all records that led there
};

// None of both: the name has no such records. data_loss: the message cannot be read.
Result<DnsRecords> read_dns_answer(std::span<const uint8_t> message);

// May it be asked for: 1 to 253 characters, labels of 1 to 63 of letters, digits, - and _, a dot at the end or none.
bool is_dns_name(std::string_view name) noexcept;

}  // namespace trellis::net
