// Byte ranges of a Range field (RFC 9110 §14): read, cut to the size, joined where they overlap or nearly touch, and
// bounded, so that a short request cannot ask for a large answer many times over. Pure; any core.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace trellis::http {

struct ByteRange {
  uint64_t first = 0;
  uint64_t last = 0;  // included
  uint64_t size() const noexcept { return last - first + 1; }
  bool operator==(const ByteRange&) const = default;
};

struct RangePlan {
  enum class Kind : uint8_t { whole, partial, unsatisfiable };
  Kind kind = Kind::whole;
  std::vector<ByteRange> ranges;  // of partial: one, or several in the order asked for
};

inline constexpr size_t kMaxAskedRanges = 100;  // more of them are not read at all
inline constexpr size_t kMaxSentRanges = 16;

// `whole` when the field is none we know, breaks the grammar, asks for too many ranges or for more bytes than there
// are.
RangePlan plan_ranges(std::string_view range, uint64_t size);

}  // namespace trellis::http
