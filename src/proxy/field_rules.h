// What a configuration may put into header fields: names that are tokens and are not the codec's own, values that
// cannot split a message. Pure; any core.
#pragma once

#include <string_view>

namespace trellis::proxy {

bool is_field_name(std::string_view name) noexcept;
bool is_field_value(std::string_view value) noexcept;

// Why this field may not be set, added or removed by a configuration; nullptr: it may. Hop-by-hop and framing fields
// belong to the connection, not to the message.
const char* field_refusal(std::string_view name) noexcept;

}  // namespace trellis::proxy
