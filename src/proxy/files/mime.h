// The media type of a file by its name, from a built-in table: what a server sends must not depend on what is installed
// beside it. Text types carry charset=utf-8. Pure; any core.
#pragma once

#include <string_view>

namespace trellis::proxy {

// By the last extension, in any case; "application/octet-stream" for unknown ones. Static text.
std::string_view mime_type(std::string_view file_name) noexcept;

}  // namespace trellis::proxy
