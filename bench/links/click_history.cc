// Fills the statistics of one link in a store at rest: as many clicks as wanted, evenly over the days before now, by
// the functions that count real ones. Countries, referrers, agents, languages and campaigns are drawn with a long tail,
// so that the rows are about as full as those of a link that many people follow; half a million visitors. Prints how
// many clicks the rows of days hold.
//
//   trellis_click_history STORE LINK CLICKS DAYS
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "base/rng.h"
#include "base/time.h"
#include "services/links/clicks/figures_rows.h"
#include "store/sqlite_connection.h"

namespace {

using namespace trellis;
using namespace trellis::services::links;

// 0 is the most frequent of `count`.
uint64_t tail(Rng& rng, uint64_t count) {
  return std::min(count - 1, static_cast<uint64_t>(std::pow(static_cast<double>(count), rng.unit()) - 1));
}

Click draw(Rng& rng, int64_t link, int64_t at) {
  Click click;
  click.link = link;
  click.at = at;
  click.scan = rng.below(20) == 0;
  click.agent.device = static_cast<Device>(tail(rng, 3) + 1);
  click.agent.os = static_cast<Os>(tail(rng, 5) + 1);
  click.agent.browser = static_cast<Browser>(tail(rng, 6) + 1);
  const uint64_t country = tail(rng, 200);
  click.country = {static_cast<char>('A' + country / 26), static_cast<char>('A' + country % 26)};
  const uint64_t language = tail(rng, 40);
  click.language = {static_cast<char>('a' + language / 26), static_cast<char>('a' + language % 26)};
  if (rng.below(3) != 0) click.referrer = "site" + std::to_string(tail(rng, 5000)) + ".example";
  if (rng.below(4) == 0) {
    click.utm.source = "source" + std::to_string(tail(rng, 20));
    click.utm.campaign = "campaign" + std::to_string(tail(rng, 50));
  }
  click.visitor = (rng.below(500'000) + 1) * 0x9e3779b97f4a7c15ULL;
  click.visitor ^= click.visitor >> 29;
  click.visitor *= 0xbf58476d1ce4e5b9ULL;
  return click;
}

class Counts {
 public:
  Counts(store::SqliteConnection& db, int64_t link, int64_t now) : db_(db), link_(link), now_(now) {}

  Result<void> add(const Click& click) {
    for (const Span span : {Span::minute, Span::hour, Span::day}) {
      if (span == Span::minute && click.at < now_ - kMinutesKept) continue;
      FiguresRow& row = rows_[static_cast<size_t>(span)];
      const int64_t number = click.at / millis_of(span);
      if (row.number != number) {
        TRY_VOID(write(row));
        row = {span, number, link_, {}};
      }
      row.figures.add(click);
    }
    return {};
  }
  Result<void> end() {
    for (FiguresRow& row : rows_) {
      TRY_VOID(write(row));
      row.number = 0;
    }
    return {};
  }
  uint64_t in_days() const noexcept { return in_days_; }

 private:
  Result<void> write(const FiguresRow& row) {
    if (row.number == 0) return {};
    if (row.span == Span::day) in_days_ += row.figures.people();
    return add_figures(db_, {&row, 1});
  }
  store::SqliteConnection& db_;
  int64_t link_;
  int64_t now_;
  std::array<FiguresRow, 3> rows_;
  uint64_t in_days_ = 0;
};

Result<uint64_t> fill(const std::string& store, int64_t link, int64_t clicks, int64_t days) {
  TRY(auto db, store::SqliteConnection::open({.path = store}));
  TRY_VOID(db->script("BEGIN"));
  const int64_t now = unix_millis(system_clock().wall());
  const int64_t begin = now - days * millis_of(Span::day);
  Counts counts(*db, link, now);
  Rng rng(1);
  for (int64_t i = 0; i < clicks; ++i) {
    const auto at =
        static_cast<int64_t>(static_cast<double>(now - begin) * static_cast<double>(i) / static_cast<double>(clicks));
    TRY_VOID(counts.add(draw(rng, link, begin + at)));
  }
  TRY_VOID(counts.end());
  TRY_VOID(db->script("COMMIT"));
  return counts.in_days();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("usage: trellis_click_history STORE LINK CLICKS DAYS\n", stderr);
    return 2;
  }
  const auto filled = fill(argv[1], std::atoll(argv[2]), std::atoll(argv[3]), std::atoll(argv[4]));
  if (!filled) {
    std::fprintf(stderr, "%s\n", filled.error().to_string().c_str());
    return 1;
  }
  std::printf("%llu\n", static_cast<unsigned long long>(*filled));
  return 0;
}
