// What the nodes of a cluster tell each other about purges, as bytes: the items of a purge book's file (purge_file.h).
// Reading trusts nothing. Pure; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "cache/edge/purge_book.h"

namespace trellis::cache {

inline constexpr size_t kMaxPurgeBatch = 1000;                // records
inline constexpr size_t kMaxPurgeMessage = size_t{20} << 20;  // bytes
inline constexpr size_t kMaxPurgeNodes = 4096;                // marks, or extents

std::string encode_purge_batch(const PurgeBatch& batch);
Result<PurgeBatch> decode_purge_batch(std::string_view bytes);

// Without what was let go of: that concerns nobody else.
std::string encode_purge_marks(const std::vector<PurgeMark>& marks);
Result<std::vector<PurgeMark>> decode_purge_marks(std::string_view bytes);

}  // namespace trellis::cache
