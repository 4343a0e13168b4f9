// Hosts of an upstream in a file, for whatever writes files: a deployment script, a service registry's agent. A line
// each, `HOST:PORT [weight=N] [zone=NAME] [priority=N] [backup]`, with numeric hosts; `#` begins a comment. Strict: a
// file with one wrong line is refused as a whole, for half a list is worse than an old one. Pure; any thread. Fuzzed:
// fuzz/upstream_hosts_file_fuzz.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "net/address.h"

namespace trellis::upstream {

inline constexpr size_t kMaxHosts = 10'000;  // of an upstream
inline constexpr size_t kMaxHostsFile = size_t{4} << 20;
inline constexpr size_t kMaxZone = 64;

struct FileHost {
  net::Address address;
  std::optional<uint32_t> weight;
  std::string zone;
  std::optional<uint32_t> priority;
  bool backup = false;
};

// invalid_argument: "PATH:LINE: reason", of the first wrong line.
Result<std::vector<FileHost>> read_hosts_file(std::string_view text, std::string_view path);

// 1 to kMaxZone of A-Z a-z 0-9 - _ .
bool is_zone(std::string_view text) noexcept;

}  // namespace trellis::upstream
