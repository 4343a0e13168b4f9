// Hashing of keys for tables, shards and balancing (xxHash3, 64 bits), and the comparison that secrets need. Pure; any
// core. The values are stable over versions and machines: they may be stored and compared between nodes. Not for
// signatures.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace trellis {
inline namespace base {

uint64_t hash64(std::string_view bytes, uint64_t seed = 0) noexcept;

// Equal or not in a time that depends on the lengths only; for keys, tokens and signatures.
bool constant_time_equal(std::string_view a, std::string_view b) noexcept;

// For std::unordered_map<std::string, T, StringHash, std::equal_to<>>: lookups by string_view without a copy.
struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const noexcept { return hash64(text); }
};

}  // namespace base
}  // namespace trellis
