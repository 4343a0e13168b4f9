#include "http/ranges.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "http/fields.h"

namespace trellis::http {

namespace {

// A part of a multipart answer costs about as many bytes; joining nearer ranges is cheaper than sending two.
constexpr uint64_t kNear = 80;

std::optional<uint64_t> number(std::string_view text) noexcept {
  uint64_t value = 0;
  if (text.empty() || text[0] < '0' || text[0] > '9') return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size()) return std::nullopt;
  if (error == std::errc::result_out_of_range) return UINT64_MAX;
  return value;
}

}  // namespace

RangePlan plan_ranges(std::string_view range, uint64_t size) {
  const RangePlan whole;
  const size_t equals = range.find('=');
  if (equals == std::string_view::npos || !iequal(range.substr(0, equals), "bytes")) return whole;
  std::string_view list = range.substr(equals + 1);
  RangePlan plan;
  size_t asked = 0;
  while (const auto element = next_element(list)) {
    if (++asked > kMaxAskedRanges) return whole;
    const size_t dash = element->find('-');
    if (dash == std::string_view::npos) return whole;
    const std::string_view first_text = element->substr(0, dash);
    const std::string_view last_text = element->substr(dash + 1);
    if (first_text.empty()) {
      const auto suffix = number(last_text);
      if (!suffix) return whole;
      if (*suffix > 0 && size > 0) plan.ranges.push_back({size - std::min(*suffix, size), size - 1});
      continue;
    }
    const auto first = number(first_text);
    const auto last = last_text.empty() ? std::optional<uint64_t>(UINT64_MAX) : number(last_text);
    if (!first || !last || *last < *first) return whole;
    if (*first < size) plan.ranges.push_back({*first, std::min(*last, size - 1)});
  }
  if (asked == 0) return whole;
  if (plan.ranges.empty()) return {RangePlan::Kind::unsatisfiable, {}};

  // Each is joined into the earliest that it meets; a joined one may meet others, so it is repeated until nothing
  // changes.
  auto& ranges = plan.ranges;
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < ranges.size(); ++i) {
      for (size_t j = i + 1; j < ranges.size();) {
        const ByteRange low = ranges[i].first <= ranges[j].first ? ranges[i] : ranges[j];
        const ByteRange high = ranges[i].first <= ranges[j].first ? ranges[j] : ranges[i];
        if (high.first > low.last && high.first - low.last > kNear) {
          ++j;
          continue;
        }
        ranges[i] = {low.first, std::max(low.last, high.last)};
        ranges.erase(ranges.begin() + static_cast<ptrdiff_t>(j));
        changed = true;
      }
    }
  }
  if (ranges.size() > kMaxSentRanges) return whole;
  plan.kind = RangePlan::Kind::partial;
  return plan;
}

}  // namespace trellis::http
