// Timers of one loop: a hierarchical wheel (Varghese and Lauck, 1987) of 1 ms ticks, five levels of 64 slots. Setting
// and cancelling are O(1) and touch only the timer. Moving a deadline later (what every busy connection does) is one
// store: the timer stays in its old slot and is put further on when that slot comes round. A timer fires at most a tick
// late, never early.
#pragma once

#include <array>
#include <cstdint>

#include "base/time.h"

namespace trellis {
inline namespace runtime {

class TimerWheel;

// A member of whatever waits; fires once a set() from the loop's turn. Destroying it cancels it.
class Timer {
 public:
  using Fire = void (*)(Timer& timer) noexcept;
  Timer(Fire fire, void* owner) noexcept : fire_(fire), owner_(owner) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { unlink(); }

  // kNever cancels.
  void set(TimerWheel& wheel, Deadline due) noexcept;
  void cancel() noexcept { due_ = kNever; }  // the slot is left lazily
  Deadline due() const noexcept { return due_; }
  void* owner() const noexcept { return owner_; }

 private:
  friend class TimerWheel;
  void unlink() noexcept {
    if (!next_) return;
    next_->prev_ = prev_;
    prev_->next_ = next_;
    next_ = prev_ = nullptr;
  }

  Timer* next_ = nullptr;
  Timer* prev_ = nullptr;
  Deadline due_ = kNever;
  int64_t slot_tick_ = 0;  // the tick it was last filed under
  Fire fire_;
  void* owner_;
};

class TimerWheel {
 public:
  explicit TimerWheel(Time start) noexcept;
  ~TimerWheel();
  // Fires all that are due at `now`, in order of their slots.
  void advance(Time now) noexcept;
  // No timer can fire before this; kNever when there is none.
  Time next_due() const noexcept;

 private:
  friend class Timer;
  static constexpr int kLevels = 5;
  static constexpr int kSlots = 64;
  static constexpr int64_t kTick = 1'000'000;  // ns

  void file(Timer& timer) noexcept;
  void run_slot(int level, int slot) noexcept;
  int64_t tick_of(Time t) const noexcept { return (t - start_).count() / kTick; }

  Time start_;
  int64_t tick_ = 0;  // ticks up to and including this one have been handled
  Time now_;
  struct Slot : Timer {
    Slot() noexcept : Timer(nullptr, nullptr) {}
  };
  std::array<std::array<Slot, kSlots>, kLevels> slots_;
  std::array<uint64_t, kLevels> filled_{};  // a bit a slot that may hold timers
};

}  // namespace runtime
}  // namespace trellis
