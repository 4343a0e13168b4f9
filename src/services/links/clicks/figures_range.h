// The figures of a range of time: a point for each of its steps, and all of it together. A point needs the totals of
// its row only. Dimensions and visitors of the whole, which cost more, are added up from the coarsest rows that lie
// inside: hours for a series of minutes, days for one of hours; the finer ones are read at the edges. A coarse row
// counts only if it holds exactly the clicks of the finer rows that it stands for. It does not while it waits to be
// written, or when the old hours of its day are gone: then the finer ones are read. So the sum is that of the points,
// always. Inside a read of the store, in a transaction if clicks are counted meanwhile.
#pragma once

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "services/links/clicks/figures.h"
#include "services/links/clicks/figures_reader.h"
#include "services/links/clicks/figures_rows.h"

namespace trellis::services::links {

struct FiguresPoint {
  int64_t number = 0;  // of the step since 1970
  FiguresTotals totals;
};

struct FiguresRange {
  std::vector<FiguresPoint> points;  // in the order of time; steps without a click have none
  Figures all;
};

// [from, to) are numbers of `step`.
Result<FiguresRange> sum_figures(store::SqliteConnection& db, int64_t link, Span step, int64_t from, int64_t to);

}  // namespace trellis::services::links
