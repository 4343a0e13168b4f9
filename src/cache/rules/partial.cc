#include "cache/rules/partial.h"

#include <algorithm>
#include <charconv>

#include "http/date.h"
#include "http/field_text.h"

namespace trellis::cache {

namespace {

using http::ByteRange;
using http::FieldId;

// Digits only, below 2^63: sums of two never overflow.
std::optional<uint64_t> number(std::string_view text) noexcept {
  uint64_t value = 0;
  if (text.empty() || text[0] < '0' || text[0] > '9') return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value > INT64_MAX) return std::nullopt;
  return value;
}

// The Last-Modified of an answer, where its Date shows it to be a strong validator: the origin would have to have
// changed twice within a minute.
std::optional<int64_t> strong_date(const http::Fields& fields, int64_t now) noexcept {
  const auto modified = http::parse_http_date(fields.value(FieldId::last_modified), now);
  const auto date = http::parse_http_date(fields.value(FieldId::date), now);
  return modified && date && *modified + 60 <= *date ? modified : std::nullopt;
}

}  // namespace

std::optional<ContentRange> parse_content_range(std::string_view text) noexcept {
  constexpr std::string_view kUnit = "bytes ";
  if (text.size() < kUnit.size() || !http::iequal(text.substr(0, kUnit.size()), kUnit)) return std::nullopt;
  text = http::trimmed(text.substr(kUnit.size()));
  const size_t dash = text.find('-');
  const size_t slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) return std::nullopt;
  const auto first = number(text.substr(0, dash));
  const auto last = number(text.substr(dash + 1, slash - dash - 1));
  if (!first || !last || *last < *first) return std::nullopt;
  ContentRange out{{*first, *last}, std::nullopt};
  const std::string_view size = text.substr(slash + 1);
  if (size == "*") return out;
  out.size = number(size);
  if (!out.size || *out.size <= *last) return std::nullopt;
  return out;
}

std::string_view content_range_text(const ContentRange& range, Arena& arena) {
  char text[64];
  char* at = text;
  const auto put = [&](uint64_t value) { at = std::to_chars(at, std::end(text), value).ptr; };
  put(range.range.first);
  *at++ = '-';
  put(range.range.last);
  *at++ = '/';
  if (range.size)
    put(*range.size);
  else
    *at++ = '*';
  return arena.concat({"bytes ", {text, static_cast<size_t>(at - text)}});
}

std::optional<ContentRange> storable_part(const http::Response& response) noexcept {
  if (response.status != 206 || response.fields.count(FieldId::content_range) != 1) return std::nullopt;
  const auto part = parse_content_range(response.fields.value(FieldId::content_range));
  if (!part || !part->size) return std::nullopt;
  const auto length = response.body.length();
  if (length && *length != part->range.size()) return std::nullopt;
  return part;
}

bool may_combine(const http::Fields& stored, const http::Fields& newer, int64_t now) noexcept {
  const std::string_view ours = stored.value(FieldId::etag);
  const std::string_view theirs = newer.value(FieldId::etag);
  if (!ours.empty() || !theirs.empty()) return ours == theirs && !ours.starts_with("W/");
  const auto modified = strong_date(stored, now);
  return modified && modified == strong_date(newer, now);
}

bool Parts::add(ByteRange range) {
  // All that the new one overlaps or touches become one with it.
  const auto begin =
      std::find_if(ranges_.begin(), ranges_.end(), [&](const ByteRange& each) { return each.last + 1 >= range.first; });
  const auto end =
      std::find_if(begin, ranges_.end(), [&](const ByteRange& each) { return each.first > range.last + 1; });
  if (begin == end) {
    if (ranges_.size() == kMax) return false;
    ranges_.insert(begin, range);
    return true;
  }
  begin->first = std::min(begin->first, range.first);
  begin->last = std::max((end - 1)->last, range.last);
  ranges_.erase(begin + 1, end);
  return true;
}

bool Parts::covers(ByteRange range) const noexcept {
  return std::any_of(ranges_.begin(), ranges_.end(),
                     [&](const ByteRange& each) { return each.first <= range.first && range.last <= each.last; });
}

std::vector<ByteRange> Parts::missing(ByteRange range) const {
  std::vector<ByteRange> gaps;
  uint64_t at = range.first;
  for (const ByteRange& each : ranges_) {
    if (each.last < at) continue;
    if (each.first > range.last) break;
    if (each.first > at) gaps.push_back({at, each.first - 1});
    at = each.last + 1;
  }
  if (at <= range.last) gaps.push_back({at, range.last});
  return gaps;
}

uint64_t Parts::bytes() const noexcept {
  uint64_t sum = 0;
  for (const ByteRange& each : ranges_) sum += each.size();
  return sum;
}

}  // namespace trellis::cache
