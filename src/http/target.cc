#include "http/target.h"

#include <cstring>

#include "base/encoding.h"
#include "http/h1_parser.h"
#include "http/h1_scan.h"

namespace trellis::http {

namespace {

using scan::is_a;

// The byte that "%XY" at `at` stands for; -1 when there is no such escape.
int escaped_byte(std::string_view text, size_t at) noexcept {
  if (at + 2 >= text.size() || text[at] != '%') return -1;
  const int high = hex_digit(text[at + 1]);
  const int low = hex_digit(text[at + 2]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

// Longer UTF-8 than its character needs: how "/" and "." pass a filter that looks for their usual bytes.
bool is_overlong(int first, int second) noexcept {
  if (second < 0x80 || second > 0xbf) return false;
  return first == 0xc0 || first == 0xc1 || (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90) ||
         (first == 0xf8 && second < 0x88) || (first == 0xfc && second < 0x84);
}

bool is_dots(std::string_view text) noexcept { return text == "." || text == ".."; }

// "..;x" and "..%2Fx" are no dot segments by RFC 3986, but some servers cut at ';' or decode %2F before they look.
bool is_disguised_dots(std::string_view segment) noexcept {
  bool first = true;
  while (true) {
    const size_t slash = segment.find("%2F");
    const std::string_view part = segment.substr(0, slash);
    const bool whole = first && slash == std::string_view::npos;
    const size_t semicolon = part.find(';');
    if ((!whole || semicolon != std::string_view::npos) && is_dots(part.substr(0, semicolon))) return true;
    if (slash == std::string_view::npos) return false;
    segment.remove_prefix(slash + 3);
    first = false;
  }
}

// Decodes what needs no escape and upper-cases the digits of other escapes. The new size; 0 for a bad path.
size_t normalise_escapes(std::string_view raw, char* to) noexcept {
  size_t size = 0;
  for (size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] != '%') {
      to[size++] = raw[i];
      continue;
    }
    const int byte = escaped_byte(raw, i);
    if (byte < 0x20 || byte == 0x7f || byte == '\\') return 0;
    if (is_overlong(byte, escaped_byte(raw, i + 3))) return 0;
    if (is_a(static_cast<char>(byte), scan::kUnreserved)) {
      to[size++] = static_cast<char>(byte);
    } else {
      to[size++] = '%';
      to[size++] = scan::kHexDigits[byte >> 4];
      to[size++] = scan::kHexDigits[byte & 15];
    }
    i += 2;
  }
  return size;
}

// RFC 3986 §5.2.4, in place. The new size; 0 for a path that climbs above the root or hides dots.
size_t remove_dot_segments(char* path, size_t size) noexcept {
  size_t kept = 0;
  size_t at = 0;  // of the '/' that begins a segment
  while (at < size) {
    const auto* slash = static_cast<const char*>(std::memchr(path + at + 1, '/', size - at - 1));
    const size_t next = slash == nullptr ? size : static_cast<size_t>(slash - path);
    const std::string_view segment(path + at + 1, next - at - 1);
    if (is_dots(segment)) {
      if (segment.size() == 2) {
        if (kept == 0) return 0;
        while (path[--kept] != '/') {
        }
      }
      if (next == size) path[kept++] = '/';
    } else {
      if (is_disguised_dots(segment)) return 0;
      std::memmove(path + kept, path + at, next - at);
      kept += next - at;
    }
    at = next;
  }
  return kept;
}

}  // namespace

H1Error normalise_target(std::string_view raw, Arena& arena, std::string_view& path, std::string_view& query) {
  if (raw.empty() || raw.front() != '/') return H1Error::bad_target;
  bool as_it_is = true;
  size_t i = 1;
  for (; i < raw.size(); ++i) {
    const char c = raw[i];
    if (is_a(c, scan::kPath)) [[likely]]
      continue;
    if (c == '.') {
      // Only a segment that begins with a dot can be a dot segment.
      const char next = i + 1 < raw.size() ? raw[i + 1] : '/';
      if (raw[i - 1] == '/' && !(is_a(next, scan::kPath) && next != '/' && next != ';')) as_it_is = false;
    } else if (c == '%') {
      as_it_is = false;
    } else if (c == '?') {
      break;
    } else {
      return H1Error::bad_target;
    }
  }
  const std::string_view raw_path = raw.substr(0, i);
  query = i < raw.size() ? raw.substr(i + 1) : std::string_view{};
  for (const char c : query) {
    if (!is_a(c, scan::kQuery)) return H1Error::bad_target;
  }
  path = raw_path;
  if (as_it_is) [[likely]]
    return H1Error::none;

  char* const to = arena.alloc(raw_path.size());
  size_t size = normalise_escapes(raw_path, to);
  if (size > 0) size = remove_dot_segments(to, size);
  if (size == 0) return H1Error::bad_target;
  path = std::string_view(to, size);
  return H1Error::none;
}

std::optional<std::string_view> decode_component(std::string_view raw, Arena& arena, bool plus_is_space) {
  if (raw.find('%') == std::string_view::npos && (!plus_is_space || raw.find('+') == std::string_view::npos))
    return raw;
  char* const to = arena.alloc(raw.size());
  size_t size = 0;
  for (size_t i = 0; i < raw.size(); ++i) {
    if (raw[i] == '%') {
      const int byte = escaped_byte(raw, i);
      if (byte < 0) return std::nullopt;
      to[size++] = static_cast<char>(byte);
      i += 2;
    } else {
      to[size++] = raw[i] == '+' && plus_is_space ? ' ' : raw[i];
    }
  }
  return std::string_view(to, size);
}

std::string_view encode_component(std::string_view text, Arena& arena) {
  size_t escapes = 0;
  for (const char c : text) escapes += is_a(c, scan::kUnreserved) ? 0 : 1;
  if (escapes == 0) return arena.copy(text);
  char* const to = arena.alloc(text.size() + 2 * escapes);
  char* at = to;
  for (const char c : text) {
    if (is_a(c, scan::kUnreserved)) {
      *at++ = c;
    } else {
      *at++ = '%';
      *at++ = scan::kHexDigits[static_cast<uint8_t>(c) >> 4];
      *at++ = scan::kHexDigits[static_cast<uint8_t>(c) & 15];
    }
  }
  return {to, static_cast<size_t>(at - to)};
}

std::string_view merge_slashes(std::string_view path, Arena& arena) {
  if (path.find("//") == std::string_view::npos && path.find("%2F") == std::string_view::npos) return path;
  char* const to = arena.alloc(path.size());
  size_t size = 0;
  for (size_t i = 0; i < path.size(); ++i) {
    const bool escaped = path.substr(i).starts_with("%2F");
    const char c = escaped ? '/' : path[i];
    if (escaped) i += 2;
    if (c != '/' || size == 0 || to[size - 1] != '/') to[size++] = c;
  }
  return {to, size};
}

std::optional<QueryParameter> next_parameter(std::string_view& query) noexcept {
  while (!query.empty()) {
    const size_t end = query.find('&');
    const std::string_view part = query.substr(0, end);
    query.remove_prefix(end == std::string_view::npos ? query.size() : end + 1);
    if (part.empty()) continue;
    const size_t equals = part.find('=');
    if (equals == std::string_view::npos) return QueryParameter{part, {}};
    return QueryParameter{part.substr(0, equals), part.substr(equals + 1)};
  }
  return std::nullopt;
}

std::optional<std::string_view> query_value(std::string_view query, std::string_view key, Arena& arena) {
  while (const auto parameter = next_parameter(query)) {
    const auto name = decode_component(parameter->key, arena, true);
    if (name && *name == key) return decode_component(parameter->value, arena, true);
  }
  return std::nullopt;
}

}  // namespace trellis::http
