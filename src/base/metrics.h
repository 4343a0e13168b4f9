// The metrics registry: counters and histograms with one cell a core (written by that core alone, summed on read),
// gauges, and gauges computed at scrape time. Names are those of the interface document; /metrics renders them as
// Prometheus text. Registration takes a lock and may come from any thread; add() and record() are a plain add on the
// core's own cache line.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/time.h"

namespace trellis {
inline namespace base {

// Which cell this thread writes: 0..kMaxSlots-1. Loops set their core number; other threads share the last slot
// (atomically).
inline constexpr size_t kMaxSlots = 65;
void set_metrics_slot(size_t slot) noexcept;

inline constexpr size_t kMostSeries = 100'000;

using Labels = std::vector<std::pair<std::string, std::string>>;

class Counter {
 public:
  Counter();
  ~Counter();
  void add(uint64_t n = 1) noexcept;
  uint64_t value() const noexcept;

 private:
  struct alignas(64) Cell {
    std::atomic<uint64_t> count{0};
  };
  std::unique_ptr<std::atomic<Cell*>[]> cells_;  // a core's cell is made at its first add
};

class Gauge {
 public:
  void set(double value) noexcept { value_.store(value, std::memory_order_relaxed); }
  double value() const noexcept { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

// Log-linear histogram of durations, 1 µs to 1 h, each bucket at most 5 % wide.
class Histogram {
 public:
  Histogram();
  ~Histogram();
  void record(Duration span) noexcept;

  struct Snapshot {
    std::vector<uint64_t> counts;
    uint64_t count = 0;
    double sum_seconds = 0;
    double quantile(double q) const noexcept;  // seconds; 0 when empty
    Snapshot minus(const Snapshot& earlier) const;
  };
  Snapshot snapshot() const;
  static size_t bucket_of(Duration span) noexcept;
  static double upper_bound(size_t bucket) noexcept;  // seconds
  static size_t buckets() noexcept;

 private:
  struct Cell;
  std::unique_ptr<std::atomic<Cell*>[]> cells_;
};

class Metrics {
 public:
  Metrics();
  ~Metrics();
  // The same name and labels give the same object; it lives as long as the registry.
  Counter& counter(std::string_view name, std::string_view help, Labels labels = {});
  Gauge& gauge(std::string_view name, std::string_view help, Labels labels = {});
  Histogram& histogram(std::string_view name, std::string_view help, Labels labels = {});
  // Likewise, for what comes and goes: a series that is there until the last of those who hold it has let go, and then
  // begins anew; one that counter() gave, too, stays. What is held is used while the registry lives. Beyond kMostSeries
  // of one name they count and are not shown; trellis_metrics_left_out tells how many were.
  std::shared_ptr<Counter> held_counter(std::string_view name, std::string_view help, Labels labels);
  std::shared_ptr<Histogram> held_histogram(std::string_view name, std::string_view help, Labels labels);
  // Computed when scraped; replaced when registered again; removed when the returned token is destroyed, which waits
  // for a scrape that is under way: `read` is never called afterwards. `read` runs on the scraping thread and must not
  // touch the registry.
  std::shared_ptr<void> computed(std::string_view name, std::string_view help, Labels labels,
                                 std::function<double()> read, bool is_counter = false);

  std::string prometheus_text() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;  // tokens of computed() hold it weakly
};

}  // namespace base
}  // namespace trellis
