// A JSON object of which every member is known: what the bodies of all interfaces begin with. Strict: invalid JSON, a
// member that is not listed or is there twice, and nesting beyond 16 levels are a Fault for the person who sent it.
// Pure; any core. Include nlohmann/json.hpp where it is called.
#pragma once

#include <expected>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string_view>

#include "services/links/link_json.h"

namespace trellis::services::links {

// At most 32 members.
std::expected<nlohmann::json, Fault> read_object(std::string_view body, std::span<const std::string_view> members);

}  // namespace trellis::services::links
