// Structured fields (RFC 9651, before it RFC 8941): a dictionary is read strictly, as the RFC asks, so that a field
// with one fault counts as a whole as not sent; tokens and strings are written. Pure; any core.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/arena.h"

namespace trellis::http {

// One member of a dictionary, without its parameters. Views into the text.
struct DictionaryMember {
  enum class Kind : uint8_t { boolean, integer, decimal, string, token, bytes, date, display_string, inner_list };
  std::string_view key;
  Kind kind = Kind::boolean;
  int64_t integer = 0;    // of integer and date; 1 or 0 of boolean
  std::string_view text;  // of string, without quotes, its backslashes as written; else the value as written
};

inline constexpr size_t kMaxDictionaryMembers = 128;

// nullopt: not a dictionary, or more members than kMaxDictionaryMembers. An empty text is an empty dictionary. Of
// members with one key the last is kept, at the place of the first (§4.2.2).
std::optional<std::vector<DictionaryMember>> parse_dictionary(std::string_view text);

bool is_structured_token(std::string_view text) noexcept;
// A token as it is, anything else as a string in quotes, in the arena; bytes that a string cannot hold become '?'.
std::string_view structured_text(std::string_view text, Arena& arena);
std::string_view structured_string(std::string_view text, Arena& arena);

}  // namespace trellis::http
