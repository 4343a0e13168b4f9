// The product's version, as `trellis version`, /v1/status and the reference say it.
#pragma once

#include <string_view>

namespace trellis::app {

inline constexpr std::string_view kVersion = "0.1.0";

}  // namespace trellis::app
