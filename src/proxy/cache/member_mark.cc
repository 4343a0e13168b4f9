#include "proxy/cache/member_mark.h"

#include <algorithm>
#include <charconv>
#include <functional>

#include "base/hash.h"
#include "proxy/cache/mac.h"

namespace trellis::proxy {
namespace {

constexpr std::string_view kVersion = "1";
constexpr Duration kValidity = std::chrono::minutes(5);
constexpr size_t kMaxMarks = 256;  // some 9 KiB of a head's 32

std::string_view to_string(MemberPurpose purpose) noexcept {
  return purpose == MemberPurpose::fetch ? "fetch" : "message";
}

std::string hex(uint64_t number) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text(16, '0');
  for (size_t i = 0; i < text.size(); ++i) text[i] = kDigits[number >> (60 - 4 * i) & 15];
  return text;
}

template <class Number>
std::optional<Number> number_from(std::string_view text, int base = 10) noexcept {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// Takes what stands before the next separator, and both off.
std::string_view cut(std::string_view& text, char separator) noexcept {
  const size_t end = std::min(text.find(separator), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

std::string signature_of(std::string_view key, MemberPurpose purpose, const http::Request& request,
                         std::string_view sender, std::string_view seconds, std::string_view extra) {
  // The host is that of the request, which the way between two members does not change; a message has none to tell.
  const std::string_view host = purpose == MemberPurpose::fetch ? request.authority : std::string_view();
  return sign(key,
              {to_string(purpose), request.method_text, host, request.path, request.query, sender, seconds, extra});
}

}  // namespace

std::string make_member_mark(std::string_view key, MemberPurpose purpose, const http::Request& request, uint64_t sender,
                             std::string_view extra, WallTime now) {
  const std::string name = hex(sender);
  const std::string seconds = std::to_string(unix_seconds(now));
  std::string mark(kVersion);
  for (const std::string_view part : {std::string_view(name), std::string_view(seconds), extra}) {
    mark += ' ';
    mark += part;
  }
  mark += ' ';
  mark += signature_of(key, purpose, request, name, seconds, extra);
  return mark;
}

std::optional<MemberMark> member_mark_of(const http::Request& request, std::string_view key, MemberPurpose purpose,
                                         WallTime now) {
  const auto field = request.fields.find(kMemberField);
  if (!field) return std::nullopt;
  std::string_view rest = *field;
  if (cut(rest, ' ') != kVersion) return std::nullopt;
  const std::string_view name = cut(rest, ' ');
  const std::string_view seconds = cut(rest, ' ');
  const std::string_view extra = cut(rest, ' ');
  if (!constant_time_equal(rest, signature_of(key, purpose, request, name, seconds, extra))) return std::nullopt;
  const auto sender = number_from<uint64_t>(name, 16);
  const auto at = number_from<int64_t>(seconds);
  if (!sender || !at) return std::nullopt;
  const int64_t valid = std::chrono::duration_cast<std::chrono::seconds>(kValidity).count();
  if (*at < unix_seconds(now) - valid || *at > unix_seconds(now) + valid) return std::nullopt;
  return MemberMark{.sender = *sender, .extra = extra};
}

std::string hop_extra(std::string_view scheme, std::vector<cache::PurgeMark> marks) {
  std::string extra(scheme);
  // Nodes that changed their names leave marks behind: of very many, those of the newest purges.
  if (marks.size() > kMaxMarks) {
    std::ranges::nth_element(marks, marks.begin() + kMaxMarks, std::greater<>(), &cache::PurgeMark::known);
    marks.resize(kMaxMarks);
  }
  for (const cache::PurgeMark& mark : marks) {
    if (mark.known == 0) continue;
    extra += '+' + hex(mark.origin) + ':' + std::to_string(mark.known);
  }
  return extra;
}

std::optional<Hop> parse_hop_extra(std::string_view extra) {
  Hop hop;
  hop.scheme = cut(extra, '+');
  if (hop.scheme != "http" && hop.scheme != "https") return std::nullopt;
  while (!extra.empty()) {
    std::string_view one = cut(extra, '+');
    const auto origin = number_from<uint64_t>(cut(one, ':'), 16);
    const auto known = number_from<uint64_t>(one);
    if (!origin || !known || hop.marks.size() == kMaxMarks) return std::nullopt;
    hop.marks.push_back({.origin = *origin, .known = *known, .let_go = 0});
  }
  return hop;
}

}  // namespace trellis::proxy
