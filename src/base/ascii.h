// Letters of ASCII without regard to the locale, as protocols mean them: A to Z become a to z, all other bytes stay.
// Pure; any core.
#pragma once

namespace trellis {
inline namespace base {

constexpr char ascii_lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

}  // namespace base
}  // namespace trellis
