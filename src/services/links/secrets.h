// What secrets need, over libcrypto: random text, digests to store instead of them, comparing without telling where
// two differ. Pure but for the kernel's random bytes; any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace trellis::services::links {

using Digest = std::array<uint8_t, 32>;

Digest sha256(std::string_view bytes) noexcept;
// In a time that depends on the sizes only.
bool equal_secrets(std::string_view a, std::string_view b) noexcept;
// `bytes` random bytes as lower-case hexadecimal digits.
std::string random_hex(size_t bytes);

}  // namespace trellis::services::links
