// Questions about the clicks of a link, or of all links, and their answers as JSON. Reading is strict; the answer is
// made from figures alone. Pure, but for the clock that the caller reads; any core.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/arena.h"
#include "services/links/clicks/figures_range.h"
#include "services/links/link_json.h"

namespace trellis::services::links {

inline constexpr int64_t kMostPoints = 3000;  // of a series

struct StatsQuestion {
  enum class Bots : uint8_t { exclude, only, all };

  Span step = Span::day;
  int64_t from = 0;  // numbers of the step, [from, to)
  int64_t to = 0;
  std::vector<Dimension> by;  // none said: all
  Bots bots = Bots::exclude;
  size_t limit = 20;   // values of a dimension
  std::string domain;  // as it was written; "": none was said
};

// from, to, step, by, bots, limit and domain of a query; `now` in milliseconds since 1970. Without from and to: the
// last 30 days, 48 hours or 60 minutes, the one under way included.
std::expected<StatsQuestion, Fault> read_stats_question(std::string_view query, int64_t now, Arena& arena);

// Clicks by the values of a dimension, the most frequent first.
struct DimensionTable {
  std::vector<std::pair<std::string_view, uint64_t>> values;  // at most `limit`; views into the figures
  uint64_t other = 0;                                         // of values that are not listed
  uint64_t none = 0;                                          // without a value
};
DimensionTable dimension_table(const Figures& figures, Dimension dimension, StatsQuestion::Bots bots, size_t limit);

// A time, or a date as its first moment, to milliseconds since 1970.
std::optional<int64_t> parse_time_or_date(std::string_view text);

// `range`: that of the question, in its steps.
void append_stats(std::string& out, const StatsQuestion& question, const FiguresRange& range, std::string_view code);

}  // namespace trellis::services::links
