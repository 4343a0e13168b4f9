// Is the text UTF-8 as RFC 3629 has it: no longer than needed, no surrogates, nothing beyond the last code point? Pure.
#pragma once

#include <string_view>

namespace trellis {

bool is_utf8(std::string_view text) noexcept;

}  // namespace trellis
