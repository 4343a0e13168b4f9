#include "services/links/clicks.h"

#include <algorithm>
#include <bit>
#include <tuple>
#include <utility>

#include "base/log.h"
#include "base/metrics.h"
#include "runtime/blocking_pool.h"
#include "store/sqlite.h"

namespace trellis::services::links {

namespace {

constexpr size_t kRowsAWrite = 5000;  // more would keep other writes waiting
constexpr int kWriteShare = 100;      // of the time, one part in so many is spent on writing

Counter& counter_of(Metrics& metrics, const char* event) {
  return metrics.counter("trellis_queue_messages_total", "Messages of a queue by what became of them.",
                         {{"topic", "clicks"}, {"event", event}});
}

}  // namespace

ClickRing::ClickRing(size_t capacity)
    : mask_(std::bit_ceil(capacity) - 1), events_(std::make_unique<ClickEvent[]>(mask_ + 1)) {}

std::vector<HourCount> ClickSums::take() {
  std::vector<HourCount> out;
  out.reserve(sums_.size());
  for (const auto& [key, clicks] : sums_) out.push_back({key.link, key.hour, clicks});
  sums_.clear();
  std::sort(out.begin(), out.end(),
            [](const HourCount& a, const HourCount& b) { return std::tie(a.link, a.hour) < std::tie(b.link, b.hour); });
  return out;
}

ClickCounter::ClickCounter(store::SqliteStore& store, Loop& home, Metrics& metrics, Options options)
    : store_(store),
      home_(home),
      options_(options),
      recorded_(counter_of(metrics, "recorded")),
      counted_(counter_of(metrics, "counted")),
      dropped_(counter_of(metrics, "dropped")) {
  self_ = std::make_shared<Self>();
  self_->counter = this;
  for (size_t i = 0; i < options_.cores; ++i) rings_.push_back(std::make_unique<ClickRing>(options_.ring));
  const Labels labels{{"topic", "clicks"}, {"group", "counter"}};
  gauges_.push_back(metrics.computed("trellis_queue_depth", "Messages that wait.", labels,
                                     [this] { return static_cast<double>(depth()); }));
  gauges_.push_back(
      metrics.computed("trellis_queue_oldest_seconds", "Age of the oldest message that waits.", labels, [this] {
        if (depth() == 0) return 0.0;
        const int64_t since = waiting_.load(std::memory_order_relaxed) > 0
                                  ? waiting_since_.load(std::memory_order_relaxed)
                                  : drained_at_.load(std::memory_order_relaxed);
        return std::max(0.0, static_cast<double>(home_.clock().now().time_since_epoch().count() - since) * 1e-9);
      }));
}

ClickCounter::~ClickCounter() {
  const std::lock_guard lock(self_->mutex);
  self_->counter = nullptr;
}

void ClickCounter::record(size_t core, const ClickEvent& event) noexcept {
  if (core >= rings_.size() || !rings_[core]->push(event)) [[unlikely]] {
    dropped_.add();
    return;
  }
  if (rings_[core]->half_full()) [[unlikely]] {
    home_.post([self = self_] {
      if (self->counter) self->counter->wake_.set();  // made and destroyed on this loop
    });
  }
}

size_t ClickCounter::depth() const noexcept {
  size_t sum = static_cast<size_t>(std::max<int64_t>(0, waiting_.load(std::memory_order_relaxed)));
  for (const auto& ring : rings_) sum += ring->size();
  return sum;
}

void ClickCounter::start() { group_.spawn(work()); }

// In the blocking pool, the worker waiting.
void ClickCounter::drain() {
  const int64_t now = home_.clock().now().time_since_epoch().count();
  int64_t taken = 0;
  int64_t lost = 0;
  for (const auto& ring : rings_) {
    ring->drain([&](const ClickEvent& event) {
      if (sums_.size() >= options_.max_sums) {
        ++lost;
        return;
      }
      sums_.add(event.link, event.at);
      ++taken;
    });
  }
  if (waiting_.load(std::memory_order_relaxed) == 0) waiting_since_.store(now, std::memory_order_relaxed);
  waiting_.fetch_add(taken, std::memory_order_relaxed);
  drained_at_.store(now, std::memory_order_relaxed);
  recorded_.add(static_cast<uint64_t>(taken + lost));
  if (lost > 0) dropped_.add(static_cast<uint64_t>(lost));
}

Task<> ClickCounter::work() {
  Time next_write = home_.now();
  while (true) {
    const bool stopping = stopping_;
    auto drained = blocking([self = self_]() -> Result<int> {
      const std::lock_guard lock(self->mutex);
      if (self->counter) self->counter->drain();
      return 0;
    });
    const Result<int> done = co_await drained;
    if (!done) drain();  // the pool is full: here, then
    // A stop waits in its own time for the last ones.
    if (stopping) co_return;
    if (sums_.size() > 0 && home_.now() >= next_write) {
      const Time before = home_.exact_now();
      co_await write_sums(kNever);
      const Time after_write = home_.exact_now();
      next_write = after_write +
                   std::clamp<Duration>((after_write - before) * kWriteShare, Duration::zero(), options_.at_most_every);
    }
    if (stopping_) continue;
    wake_.reset();
    (void)co_await wake_.wait(after(home_.now(), options_.every));
  }
}

// False: some could not be written and are kept.
Task<bool> ClickCounter::write_sums(Deadline deadline) {
  auto rows = std::make_shared<std::vector<HourCount>>(sums_.take());
  bool all = true;
  for (size_t from = 0; from < rows->size(); from += kRowsAWrite) {
    const size_t count = std::min(kRowsAWrite, rows->size() - from);
    int64_t clicks = 0;
    for (size_t i = from; i < from + count; ++i) clicks += (*rows)[i].clicks;
    auto task =
        store_.write([rows, from, count](
                         store::SqliteConnection& db) { return add_clicks(db, std::span(*rows).subspan(from, count)); },
                     deadline, count * 32);
    const Result<void> written = co_await task;
    if (written) {
      waiting_.fetch_sub(clicks, std::memory_order_relaxed);
      counted_.add(static_cast<uint64_t>(clicks));
      continue;
    }
    all = false;
    static LogThrottle throttle(std::chrono::seconds(10));
    log_every(throttle, LogLevel::warn, "clicks wait for the store",
              {{"links", count}, {"error", written.error().to_string()}});
    for (size_t i = from; i < from + count; ++i) sums_.add((*rows)[i]);
  }
  co_return all;
}

Task<Result<void>> ClickCounter::stop(Deadline deadline) {
  stopping_ = true;
  group_.close();
  wake_.set();
  const bool ended = co_await group_.join(deadline);
  if (!ended)
    co_return fail(Error(Code::deadline_exceeded, "the last clicks were not written in time").from(Side::self));
  const bool written = co_await write_sums(deadline);
  if (written) co_return Result<void>();
  dropped_.add(static_cast<uint64_t>(waiting_.exchange(0)));
  co_return fail(Error(Code::unavailable, "the last clicks could not be written").from(Side::self));
}

}  // namespace trellis::services::links
