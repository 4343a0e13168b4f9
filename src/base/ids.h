// Ids that are made here: a request id is a ULID (26 characters of Crockford's base 32: 48 bits of wall time in ms,
// then 80 random bits), so that ids sort by time and one can be read aloud; trace ids are lower-case hex as W3C asks.
// Written into the caller's buffer, no allocation. Any core, with its own Rng. Unique, but not secret.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "base/time.h"

namespace trellis {
inline namespace base {

class Rng;

inline constexpr size_t kUlidSize = 26;

// Fills `out` and returns a view of it.
std::string_view make_ulid(std::span<char, kUlidSize> out, WallTime now, Rng& rng) noexcept;
// The wall time in an id, nullopt when it is no ULID (upper case as made here, or lower case).
std::optional<WallTime> ulid_time(std::string_view id) noexcept;

// 16 lower-case hex digits of `value`, most significant first.
void write_hex64(char* out, uint64_t value) noexcept;
// Exactly 16 lower-case hex digits; nullopt otherwise.
std::optional<uint64_t> read_hex64(std::string_view text) noexcept;

}  // namespace base
}  // namespace trellis
