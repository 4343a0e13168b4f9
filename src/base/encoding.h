// Bytes as text: Base64 (RFC 4648 section 4, with padding) and hexadecimal digits. Reading takes only what writing
// gives: no blanks, no line breaks, no bits that no byte has. Pure; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace trellis {
inline namespace base {

void append_base64(std::string& out, std::string_view bytes);
std::string to_base64(std::string_view bytes);
std::optional<std::string> from_base64(std::string_view text);

// What a hexadecimal digit of any case stands for; -1: it is none.
constexpr int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  const char letter = static_cast<char>(c | 0x20);
  return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}
std::string to_hex(std::string_view bytes);                  // in lower case
std::optional<std::string> from_hex(std::string_view text);  // in any case

}  // namespace base
}  // namespace trellis
