// One event loop a core. It owns the core's I/O backend, timers, clock reading, random numbers and ready list;
// everything on it runs on one thread. Other threads reach it by post(). A turn: hand all queued operations to the
// kernel in one call and wait, run completions, run what others posted, fire timers, run what became ready.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "base/error.h"
#include "base/rng.h"
#include "base/time.h"
#include "runtime/timer.h"

namespace trellis {
inline namespace runtime {

class Io;
class BlockingPool;

enum class IoKind : uint8_t { automatic, uring, epoll };

struct LoopOptions {
  size_t index = 0;               // core number, 0 first
  IoKind io = IoKind::automatic;  // automatic: io_uring where the kernel allows it, else epoll
  Clock* clock = &system_clock();
  uint64_t seed = 0;             // 0: from the kernel
  BlockingPool* pool = nullptr;  // borrowed, outlives the loop
};

// A coroutine that waits to be resumed by the loop's ready list; withdrawn when destroyed.
class ReadyNode {
 public:
  ReadyNode() noexcept = default;
  ReadyNode(const ReadyNode&) = delete;
  ReadyNode& operator=(const ReadyNode&) = delete;
  ~ReadyNode() { unlink(); }
  bool linked() const noexcept { return next_ != nullptr; }
  void unlink() noexcept;

  std::coroutine_handle<> handle;

 private:
  friend class Loop;
  ReadyNode* next_ = nullptr;
  ReadyNode* prev_ = nullptr;
};

class Loop {
 public:
  // Built on the thread that will run it.
  static Result<std::unique_ptr<Loop>> make(LoopOptions options);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // The loop of this thread; only inside its turns (or after make() on the same thread).
  static Loop& current() noexcept { return *current_; }
  static Loop* current_or_null() noexcept { return current_; }

  void run();                        // until stop()
  void run_once(Duration max_wait);  // one turn
  void stop() noexcept;              // any thread; the turn in progress is finished

  // Any thread: runs on this loop in one of its next turns, in order of posting. Dropped unrun when the loop is
  // destroyed.
  void post(std::move_only_function<void()> work);

  // Cached at the start of each turn: good enough for deadlines. exact_now() asks the clock.
  Time now() const noexcept { return now_; }
  Time exact_now() const noexcept { return clock_.now(); }
  WallTime wall() const noexcept { return wall_; }  // cached like now()
  Clock& clock() noexcept { return clock_; }

  size_t index() const noexcept { return index_; }
  Rng& rng() noexcept { return rng_; }
  Io& io() noexcept { return *io_; }
  TimerWheel& timers() noexcept { return timers_; }
  BlockingPool& pool() noexcept { return *pool_; }

  // The backend calls it once a turn, after waiting and before running what happened: reads the clock.
  void woke() noexcept;

  // Resumed later in this turn, never from inside the caller.
  void make_ready(ReadyNode& node) noexcept;

  // Share of time not spent waiting, over about the last second (0..1); any thread.
  double busy_ratio() const noexcept { return busy_ratio_.load(std::memory_order_relaxed); }
  // CPU seconds this loop's thread has used; any thread.
  double cpu_seconds() const noexcept;

 private:
  explicit Loop(const LoopOptions& options);
  void run_posted();
  void run_ready() noexcept;

  static thread_local Loop* current_;

  Clock& clock_;
  Time now_;
  WallTime wall_;
  size_t index_;
  Rng rng_;
  TimerWheel timers_;
  BlockingPool* pool_;
  std::unique_ptr<Io> io_;
  std::atomic<bool> stopping_{false};
  bool manual_clock_ = false;

  ReadyNode ready_;  // list head

  struct Posted {
    Posted* next;
    std::move_only_function<void()> work;
  };
  std::atomic<Posted*> posted_{nullptr};

  std::atomic<double> busy_ratio_{0};
  Time busy_window_start_;
  Time before_wait_;
  Time wall_read_;
  Duration waited_{0};
  int32_t cpu_clock_ = 0;
};

// co_await yield() — lets everything else that is ready run first; for loops over what a client sends.
class YieldAwaiter {
 public:
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) noexcept {
    node_.handle = waiter;
    Loop::current().make_ready(node_);
  }
  void await_resume() const noexcept {}

 private:
  ReadyNode node_;
};
inline YieldAwaiter yield() noexcept { return {}; }

// co_await sleep_until(deadline) — a timer on the current loop.
class SleepAwaiter {
 public:
  explicit SleepAwaiter(Deadline due) noexcept : due_(due), timer_(&SleepAwaiter::fire, this) {}
  bool await_ready() const noexcept { return due_ <= Loop::current().now(); }
  void await_suspend(std::coroutine_handle<> waiter) noexcept {
    waiter_ = waiter;
    timer_.set(Loop::current().timers(), due_);
  }
  void await_resume() const noexcept {}

 private:
  static void fire(Timer& timer) noexcept;
  Deadline due_;
  std::coroutine_handle<> waiter_;
  Timer timer_;
};
inline SleepAwaiter sleep_until(Deadline due) noexcept { return SleepAwaiter(due); }
inline SleepAwaiter sleep_for(Duration span) noexcept { return SleepAwaiter(after(Loop::current().now(), span)); }

}  // namespace runtime
}  // namespace trellis
