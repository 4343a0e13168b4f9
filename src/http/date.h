// HTTP dates (RFC 9110 §5.6.7): written as IMF-fixdate, read in all three forms. Pure. The loop keeps the current one
// as text and formats it once a second.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/arena.h"

namespace trellis::http {

inline constexpr size_t kHttpDateSize = 29;  // "Sun, 06 Nov 1994 08:49:37 GMT"

// Writes exactly kHttpDateSize bytes. Seconds since 1970; clamped to the years 0 to 9999.
void format_http_date(int64_t unix_seconds, char* to) noexcept;
std::string_view http_date(int64_t unix_seconds, Arena& arena);

// Seconds since 1970. nullopt: not a date; the day of the week is checked to be one, not to be the right one. Names
// may be in any case (RFC 9111 §4.2 asks it of caches). `now` tells the century of the two-digit year of the RFC 850
// form: more than 50 years ahead means the past.
std::optional<int64_t> parse_http_date(std::string_view text, int64_t now) noexcept;

}  // namespace trellis::http
