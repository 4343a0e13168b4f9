// A signature by a shared key (HMAC-SHA256, RFC 2104), in hexadecimal digits: of purges that clients send and of what
// the nodes of a cluster say to each other. Pure; any thread.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

namespace trellis::proxy {

// Over the parts with a line feed behind each. No part but the last may have one in it.
std::string sign(std::string_view key, std::initializer_list<std::string_view> parts);
// In a time that does not depend on where they differ.
bool is_signed(std::string_view signature, std::string_view key, std::initializer_list<std::string_view> parts);

// SHA-256 in hexadecimal digits.
std::string digest(std::string_view bytes);

}  // namespace trellis::proxy
