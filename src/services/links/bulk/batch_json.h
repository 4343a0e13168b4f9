// The body of a batch of links, {"links": [...], "atomic": true}, cut into the texts of its links, which are then read
// one by one as the body of a single one is: so a batch takes exactly what a single creation takes, and no tree of a
// large body is built. Pure; any core. Input is foreign: fuzz/services_links_batch_fuzz.cc.
#pragma once

#include <cstddef>
#include <expected>
#include <string_view>
#include <vector>

#include "services/links/link_json.h"

namespace trellis::services::links {

inline constexpr size_t kMaxBatch = 10'000;           // links
inline constexpr size_t kMaxBatchBody = 16ULL << 20;  // bytes

struct Batch {
  std::vector<std::string_view> links;  // in `body`; each from { to its }, not yet checked inside
  bool atomic = true;
};

std::expected<Batch, Fault> read_batch(std::string_view body);

}  // namespace trellis::services::links
