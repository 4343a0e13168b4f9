// The path and query of a request target, in the one form that routing and forwarding both see: were they to see two
// forms, a request could pass a rule for one path and reach another. Pure; the text stays where it is when it is
// already normal (the usual case), else a copy is made in the arena.
#pragma once

#include <optional>
#include <string_view>

#include "base/arena.h"

namespace trellis::http {

enum class H1Error : uint8_t;

// `raw` is origin-form: a path that starts with '/', and a query behind '?' if there is one.
//
// The path: percent-encoded unreserved characters are decoded, other escapes get upper-case digits, then dot segments
// are removed (RFC 3986 §6.2.2). Empty segments ("//") and %2F stay. Refused (bad_target): bytes below 0x21, above 0x7e
// and any of "<>\`{}#; a '%' without two hex digits; escaped control bytes and backslashes; overlong UTF-8; ".." above
// the root; and dot segments in a disguise some servers see through: "..;x", "..%2F".
// The query stays as it is; refused are bytes below 0x21, above 0x7e and any of <>#.
H1Error normalise_target(std::string_view raw, Arena& arena, std::string_view& path, std::string_view& query);

// A path in its normal form with one slash for each row of slashes and %2F. It stays a normal form: what a %2F could
// turn into a dot segment is refused above.
std::string_view merge_slashes(std::string_view path, Arena& arena);

// Percent-decodes a path segment, or with `plus_is_space` a part of a form or query. nullopt: a '%' without two hex
// digits.
std::optional<std::string_view> decode_component(std::string_view raw, Arena& arena, bool plus_is_space = false);
// Percent-encodes everything but unreserved characters.
std::string_view encode_component(std::string_view text, Arena& arena);

// key=value of a query, both still encoded; `value` is empty without '='.
struct QueryParameter {
  std::string_view key;
  std::string_view value;
};
// Cuts the next parameter off; empty ones ("&&") are passed over; nullopt at the end.
std::optional<QueryParameter> next_parameter(std::string_view& query) noexcept;
// The decoded value of the first parameter with this (decoded) key; nullopt when there is none or it cannot be decoded.
std::optional<std::string_view> query_value(std::string_view query, std::string_view key, Arena& arena);

}  // namespace trellis::http
