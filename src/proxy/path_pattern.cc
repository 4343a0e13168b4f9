#include "proxy/path_pattern.h"

#include "base/encoding.h"

namespace trellis::proxy {

namespace {

bool is_unreserved(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}
// pchar of RFC 3986 without percent escapes.
bool may_stand(char c) noexcept {
  return is_unreserved(c) || std::string_view("!$&'()*+,;=:@[]^|").find(c) != std::string_view::npos;
}
// The form a request's path has: unreserved characters plain, everything else that is no pchar escaped in upper case.
Result<std::string> normal_literal(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    bool escaped = false;
    if (c == '%') {
      const int high = i + 2 < text.size() ? hex_digit(text[i + 1]) : -1;
      const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
      if (high < 0 || low < 0) return fail(Code::invalid_argument, "'%' must be followed by two hex digits");
      c = static_cast<char>(high * 16 + low);
      i += 2;
      escaped = true;
      if (c == '\0') return fail(Code::invalid_argument, "a path never holds NUL");
    }
    if (is_unreserved(c) || (!escaped && may_stand(c))) {
      out.push_back(c);
      continue;
    }
    const auto byte = static_cast<uint8_t>(c);
    if (!escaped && (byte < 0x20 || byte == 0x7f))
      return fail(Code::invalid_argument, "control characters are not allowed");
    out.push_back('%');
    out.push_back(kHex[byte >> 4]);
    out.push_back(kHex[byte & 15]);
  }
  return out;
}

}  // namespace

Result<PathPattern> PathPattern::parse(std::string_view text) {
  PathPattern pattern;
  if (text.empty()) text = "/**";
  if (text.front() != '/') return fail(Code::invalid_argument, "a path begins with '/'");
  if (text.size() > kMaxLength) return fail(Code::invalid_argument, "longer than 2048 characters");
  if (text.find_first_of("?#") != std::string_view::npos)
    return fail(Code::invalid_argument, "a path holds no '?' and no '#'; match the query with `query`");
  bool rest_seen = false;
  for (size_t at = 1; at <= text.size();) {
    const std::string_view segment = cut_segment(text, at);
    if (pattern.segments_.size() == kMaxSegments) return fail(Code::invalid_argument, "more than 64 segments");
    if (segment == "**") {
      if (rest_seen) return fail(Code::invalid_argument, "`**` may stand once only");
      rest_seen = true;
      pattern.segments_.push_back({Kind::rest, {}});
    } else if (segment == "*") {
      pattern.segments_.push_back({Kind::one, {}});
    } else {
      if (segment.find('*') != std::string_view::npos)
        return fail(Code::invalid_argument, "`*` stands for a whole segment; write %2A for the character");
      TRY(std::string literal, normal_literal(segment));
      if (literal == "." || literal == "..") return fail(Code::invalid_argument, "'.' and '..' never reach a route");
      pattern.segments_.push_back({Kind::literal, std::move(literal)});
    }
  }
  return pattern;
}

size_t last_segments(std::string_view path, size_t from, size_t count) noexcept {
  if (count == 0) return path.size() + 1;
  size_t end = path.size() + 1;  // behind the '/' that would follow the segment
  while (count-- > 0) {
    if (end <= from) return std::string_view::npos;
    const size_t slash = end < 2 ? std::string_view::npos : path.rfind('/', end - 2);
    if (slash == std::string_view::npos) return std::string_view::npos;
    end = slash + 1;
  }
  return end < from ? std::string_view::npos : end;
}

bool PathPattern::matches(std::string_view path) const noexcept {
  if (path.empty() || path.front() != '/') return segments_.size() == 1 && segments_[0].kind == Kind::rest;
  size_t at = 1;
  for (size_t i = 0; i < segments_.size(); ++i) {
    const Segment& want = segments_[i];
    if (want.kind == Kind::rest) {
      at = last_segments(path, at, segments_.size() - i - 1);
      if (at == std::string_view::npos) return false;
      continue;
    }
    if (at > path.size()) return false;
    const std::string_view have = cut_segment(path, at);
    if (want.kind == Kind::one ? have.empty() : have != want.text) return false;
  }
  return at > path.size();
}

}  // namespace trellis::proxy
