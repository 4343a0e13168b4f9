// Is the text UTF-8 as RFC 3629 has it? Configurations of Trellis are; what an import reads must be, or it could not be
// written. Pure.
#pragma once

#include <string_view>

namespace trellis::app {

bool is_utf8(std::string_view text) noexcept;

}  // namespace trellis::app
