// Clicks on their way from a redirect to the statistics (docs/clicks.md). A redirect notes what it knows in its core's
// ring and is done. A worker on the home loop empties the rings ten times a second (and when one is half full): in the
// blocking pool it makes clicks of the notes, appends them to the event log as one batch, and gives them to two
// counters: the totals of the links, and their figures by minute, hour and day. Each counter writes what it gathered,
// together with its place in the log, so that after a crash it goes on behind what is counted: nothing twice, nothing
// left out that the log acknowledged. Under load they write less often, so that writing takes a small share of the
// time. A counter that gathers more than it may hold, or whose store refuses, stops taking and catches up from the log
// later.
//
// Without a log everything waits in memory: a crash loses what was not written, and what finds no room is dropped and
// counted. record() on each core; start() and stop() on the home loop, by the service that owns it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/error.h"
#include "base/time.h"
#include "runtime/sync.h"
#include "runtime/task.h"
#include "services/links/clicks/click.h"
#include "services/links/clicks/click_ring.h"

namespace trellis {
inline namespace base {
class Counter;
class Metrics;
}  // namespace base
}  // namespace trellis
namespace trellis::queue {
class EventLog;
}
namespace trellis::store {
class SqliteStore;
}

namespace trellis::services::links {

class ClickStream;

// The topic in the log, and for how long and how much of it is kept.
inline constexpr const char* kClicksTopic = "clicks";
inline constexpr Duration kClicksKept = std::chrono::hours(24 * 7);
inline constexpr uint64_t kClicksKeptBytes = uint64_t{1} << 30;

class ClickCounter {
 public:
  struct Options {
    size_t cores = 1;
    size_t ring_bytes = size_t{4} << 20;  // a core
    Duration every = std::chrono::milliseconds(100);
    size_t max_links = 200'000;   // whose totals wait
    size_t max_figures = 30'000;  // links and minutes whose figures wait
    queue::EventLog* log = nullptr;
    const net::CountryDatabase* countries = nullptr;
    ClickStream* stream = nullptr;  // who wants to see clicks as they come
  };
  // What it borrows outlives it.
  ClickCounter(store::SqliteStore& store, Loop& home, Metrics& metrics, Options options);
  ~ClickCounter();

  // The tables are there. Counts first what the log has and the store has not.
  Task<Result<void>> start();
  // Writes what waits and ends. What the log has and the store does not take is counted after the next start.
  Task<Result<void>> stop(Deadline deadline);

  // On core `core`.
  void record(size_t core, const RawClick& click) noexcept;
  // Clicks whose totals are not stored yet, as far as they have been read.
  size_t depth() const noexcept;

 private:
  struct State;  // what the blocking pool touches
  struct Fold;   // a counter
  struct Totals;
  struct ByTime;

  Task<> work();
  Task<Result<void>> set_salt();
  Task<bool> append_waiting(Deadline deadline);
  Task<bool> write_out(Fold& fold, Deadline deadline);
  Task<> tell_place(const Fold& fold, Deadline deadline);
  Task<Result<void>> resume(Fold& fold);

  store::SqliteStore& store_;
  Loop& home_;
  Options options_;
  std::shared_ptr<State> state_;
  bool stopping_ = false;
  Event wake_;
  TaskGroup group_;
  Counter& recorded_;
  Counter& counted_;
  Counter& dropped_;
  std::vector<std::shared_ptr<void>> gauges_;
};

}  // namespace trellis::services::links
