#include "services/links/clicks/figures_range.h"

#include <map>
#include <utility>

#include "services/links/clicks/figures_sum.h"

namespace trellis::services::links {

namespace {

using store::SqliteConnection;

struct Inside {
  Span span = Span::day;
  int64_t steps = 1;  // in each
  int64_t from = 0;   // numbers of the span
  int64_t to = 0;
};

// The coarser rows that lie in the range with all their time.
Inside inside_of(Span step, int64_t from, int64_t to) noexcept {
  if (step == Span::day) return {};
  const Span coarse = step == Span::minute ? Span::hour : Span::day;
  const int64_t steps = millis_of(coarse) / millis_of(step);
  return {coarse, steps, (from + steps - 1) / steps, to / steps};
}

Result<void> add_rows(SqliteConnection& db, int64_t link, Span span, int64_t from, int64_t to, FiguresSum& sum) {
  return each_figures(db, link, span, from, to,
                      [&sum](int64_t, std::string_view stored) -> Result<void> { return sum.add(stored); });
}

}  // namespace

Result<FiguresRange> sum_figures(SqliteConnection& db, int64_t link, Span step, int64_t from, int64_t to) {
  const Inside inside = inside_of(step, from, to);
  FiguresRange range;
  FiguresSum sum;
  std::map<int64_t, FiguresTotals> wanted;  // of the coarser rows, by the finer ones
  const auto see_step = [&](int64_t number, std::string_view stored) -> Result<void> {
    TRY(const FiguresTotals totals, totals_of(stored));
    range.points.push_back({number, totals});
    const int64_t coarse = number / inside.steps;
    if (coarse < inside.from || coarse >= inside.to) return sum.add(stored);
    FiguresTotals& whole = wanted[coarse];
    whole.people += totals.people;
    whole.bots += totals.bots;
    return {};
  };
  const auto see_coarse = [&](int64_t number, std::string_view stored) -> Result<void> {
    const auto whole = wanted.find(number);
    if (whole == wanted.end()) return {};
    TRY(const FiguresTotals totals, totals_of(stored));
    if (totals.people != whole->second.people || totals.bots != whole->second.bots) return {};
    wanted.erase(whole);
    return sum.add(stored);
  };
  TRY_VOID(each_figures(db, link, step, from, to, see_step));
  if (!wanted.empty()) {
    TRY_VOID(each_figures(db, link, inside.span, inside.from, inside.to, see_coarse));
  }
  for (const auto& [coarse, totals] : wanted) {
    TRY_VOID(add_rows(db, link, step, coarse * inside.steps, (coarse + 1) * inside.steps, sum));
  }
  range.all = sum.figures();
  return range;
}

}  // namespace trellis::services::links
