// The tables of figures and of how far clicks are counted: plain functions over a connection, each called inside an
// operation of the store. Minutes are kept for kMinutesKept, hours for kHoursKept, days for ever.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "services/links/clicks/figures.h"
#include "store/migrations.h"

namespace trellis::store {
class SqliteConnection;
}

namespace trellis::services::links {

std::span<const store::Migration> figures_migrations() noexcept;

enum class Span : uint8_t { minute, hour, day };
std::string_view to_string(Span span) noexcept;
std::optional<Span> span_of(std::string_view name) noexcept;
constexpr int64_t millis_of(Span span) noexcept {
  return span == Span::minute ? 60'000 : span == Span::hour ? 3'600'000 : 86'400'000;
}

inline constexpr int64_t kMinutesKept = int64_t{48} * 3'600'000;      // milliseconds
inline constexpr int64_t kHoursKept = int64_t{400} * 24 * 3'600'000;  // likewise
inline constexpr int64_t kAllLinks = 0;                               // the link under which all of them are counted
// Under which those of a domain are counted, from the time when the node has a second one.
inline int64_t links_of_domain(int64_t domain) noexcept { return -1 - domain; }

// `number`: of the span since 1970.
struct FiguresRow {
  Span span = Span::minute;
  int64_t number = 0;
  int64_t link = 0;
  Figures figures;
};

// Adds to what is there.
Result<void> add_figures(store::SqliteConnection& db, std::span<const FiguresRow> rows);
// In the order of time; [from, to) are numbers of the span. Spans without a click have no row. The first gives the
// figures as they are stored, as views until the function returns, and ends with its error.
using SeeFigures = std::function<Result<void>(int64_t number, std::string_view stored)>;
Result<void> each_figures(store::SqliteConnection& db, int64_t link, Span span, int64_t from, int64_t to,
                          const SeeFigures& see);
Result<std::vector<FiguresRow>> read_figures(store::SqliteConnection& db, int64_t link, Span span, int64_t from,
                                             int64_t to);
// A bounded number of rows whose time has passed; gives how many. `now` in milliseconds since 1970.
Result<int64_t> drop_old_figures(store::SqliteConnection& db, int64_t now);
// Of a link that is deleted. Its minutes, which nobody can ask for any more, go with their time.
Result<void> drop_figures(store::SqliteConnection& db, int64_t link);

// How far one of those who count has come in the log of clicks. All before `counted` is counted. Where `upto` lies
// above it, the rows of [counted, upto), in their order, are being written, and the first `rows` of them are.
struct CountProgress {
  uint64_t counted = 0;
  uint64_t upto = 0;
  uint64_t rows = 0;
};
Result<CountProgress> find_progress(store::SqliteConnection& db, std::string_view counter);
Result<void> keep_progress(store::SqliteConnection& db, std::string_view counter, const CountProgress& progress);

// The salt of a day, drawn by the first who asks; that of the day before is gone from then on.
Result<DaySalt> salt_of_day(store::SqliteConnection& db, int64_t day, const DaySalt& fresh);

}  // namespace trellis::services::links
