// Clicks on their way from a redirect to the store. A redirect writes an event of 24 bytes into its core's ring and is
// done; a worker on the home loop empties the rings ten times a second (and when one is half full), adds the events up
// by link and hour in the blocking pool, and writes the sums. Under load it writes less often, so that writing takes
// about a hundredth of the time (more where a write takes longer than 50 ms: it waits 5 s at most). A full ring drops
// events and counts them. Sums that could not be written are kept for the next turn, up to a bound.
//
// record(): on each core, its own ring. start() and stop() on the home loop, by the service that owns it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "runtime/sync.h"
#include "runtime/task.h"
#include "services/links/rows.h"

namespace trellis {
inline namespace base {
class Counter;
class Metrics;
}  // namespace base
}  // namespace trellis
namespace trellis::store {
class SqliteStore;
}

namespace trellis::services::links {

struct ClickEvent {
  int64_t link = 0;
  int64_t at = 0;  // milliseconds since 1970
  uint32_t flags = 0;
};

// One writer (the core), one reader (the worker).
class ClickRing {
 public:
  explicit ClickRing(size_t capacity);  // a power of two

  bool push(const ClickEvent& event) noexcept {
    const size_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - seen_head_ > mask_) {
      seen_head_ = head_.load(std::memory_order_acquire);
      if (tail - seen_head_ > mask_) return false;
    }
    events_[tail & mask_] = event;
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }
  template <class F>
  size_t drain(F&& each) {
    const size_t head = head_.load(std::memory_order_relaxed);
    const size_t tail = tail_.load(std::memory_order_acquire);
    for (size_t at = head; at != tail; ++at) each(events_[at & mask_]);
    head_.store(tail, std::memory_order_release);
    return tail - head;
  }
  size_t size() const noexcept {
    const size_t head = head_.load(std::memory_order_relaxed);  // first: it never passes the tail
    return tail_.load(std::memory_order_relaxed) - head;
  }
  size_t capacity() const noexcept { return mask_ + 1; }
  // For the writer: true once each time the ring gets half full, until it has been emptied.
  bool half_full() noexcept {
    const size_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - woke_at_ <= mask_ / 2) return false;
    const size_t head = head_.load(std::memory_order_relaxed);
    if (tail - head <= mask_ / 2 || head < woke_at_) return false;
    woke_at_ = tail;
    return true;
  }

 private:
  size_t mask_;
  std::unique_ptr<ClickEvent[]> events_;
  alignas(64) std::atomic<size_t> tail_{0};
  size_t seen_head_ = 0;  // the writer's
  size_t woke_at_ = 0;    // likewise
  alignas(64) std::atomic<size_t> head_{0};
};

// Sums by link and hour.
class ClickSums {
 public:
  void add(int64_t link, int64_t at, int64_t clicks = 1) { sums_[{link, at / 3'600'000}] += clicks; }
  void add(const HourCount& count) { sums_[{count.link, count.hour}] += count.clicks; }
  size_t size() const noexcept { return sums_.size(); }
  // All of them in the order of the tables, and none is left here.
  std::vector<HourCount> take();

 private:
  struct Key {
    int64_t link;
    int64_t hour;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key& key) const noexcept {
      return (static_cast<uint64_t>(key.link) * 0x9E3779B97F4A7C15u) ^
             (static_cast<uint64_t>(key.hour) * 0xC2B2AE3D27D4EB4Fu);
    }
  };
  std::unordered_map<Key, int64_t, Hash> sums_;
};

class ClickCounter {
 public:
  struct Options {
    size_t cores = 1;
    size_t ring = 1 << 16;  // events a core
    Duration every = std::chrono::milliseconds(100);
    Duration at_most_every = std::chrono::seconds(5);  // how far it stretches under load
    size_t max_sums = 1'000'000;                       // links and hours that wait for a store that refuses
  };
  ClickCounter(store::SqliteStore& store, Loop& home, Metrics& metrics, Options options);
  ~ClickCounter();

  void start();
  // Writes what waits and ends; what could not be written by then is dropped and counted.
  Task<Result<void>> stop(Deadline deadline);

  // On core `core`.
  void record(size_t core, const ClickEvent& event) noexcept;
  // Events and sums that are not stored yet.
  size_t depth() const noexcept;

 private:
  Task<> work();
  Task<bool> write_sums(Deadline deadline);
  void drain();

  store::SqliteStore& store_;
  Loop& home_;
  Options options_;
  std::vector<std::unique_ptr<ClickRing>> rings_;
  ClickSums sums_;                   // of the worker, which is in one place at a time
  std::atomic<int64_t> waiting_{0};  // clicks in sums_
  std::atomic<int64_t> waiting_since_{
      0};  // when the worker took the oldest of them; nanoseconds of the monotonic clock
  std::atomic<int64_t> drained_at_{0};
  bool stopping_ = false;
  Event wake_;
  TaskGroup group_;
  Counter& recorded_;
  Counter& counted_;
  Counter& dropped_;
  std::vector<std::shared_ptr<void>> gauges_;
  // What others may still call when this is gone. WHY a lock: a drain runs in the blocking pool, and ends before this
  // does.
  struct Self {
    std::mutex mutex;
    ClickCounter* counter;
  };
  std::shared_ptr<Self> self_;
};

}  // namespace trellis::services::links
