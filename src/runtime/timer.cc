#include "runtime/timer.h"

#include <bit>

namespace trellis {
inline namespace runtime {

void Timer::set(TimerWheel& wheel, Deadline due) noexcept {
  due_ = due;
  if (due == kNever) return;
  if (next_ && (due - wheel.start_).count() / TimerWheel::kTick + 1 >= slot_tick_)
    return;  // refiled when its slot comes round
  unlink();
  wheel.file(*this);
}

TimerWheel::TimerWheel(Time start) noexcept : start_(start), now_(start) {
  for (auto& level : slots_) {
    for (Slot& slot : level) slot.next_ = slot.prev_ = &slot;
  }
}

TimerWheel::~TimerWheel() {
  for (auto& level : slots_) {
    for (Slot& slot : level) {
      while (slot.next_ != &slot) slot.next_->unlink();
      slot.next_ = slot.prev_ = nullptr;
    }
  }
}

void TimerWheel::file(Timer& timer) noexcept {
  // Rounded up, so that a timer never fires early.
  int64_t tick = tick_of(timer.due_) + 1;
  if (tick <= tick_) tick = tick_ + 1;
  int64_t distance = tick - tick_;
  int level = 0;
  while (level < kLevels - 1 && distance >= kSlots) {
    distance >>= 6;
    ++level;
  }
  if (level == kLevels - 1 && distance >= kSlots) {  // beyond the horizon: filed at its end, and again from there
    tick = tick_ + (int64_t{kSlots - 1} << (6 * level));
  }
  timer.slot_tick_ = level == 0 ? tick : (tick >> (6 * level)) << (6 * level);
  const int slot = static_cast<int>((tick >> (6 * level)) & (kSlots - 1));
  Slot& head = slots_[level][slot];
  timer.prev_ = head.prev_;
  timer.next_ = &head;
  head.prev_->next_ = &timer;
  head.prev_ = &timer;
  filled_[level] |= uint64_t{1} << slot;
}

void TimerWheel::run_slot(int level, int slot) noexcept {
  Slot& head = slots_[level][slot];
  filled_[level] &= ~(uint64_t{1} << slot);
  // Taken off as a whole: a timer that is set again while we run goes into another slot.
  Slot due;
  if (head.next_ == &head) return;
  due.next_ = head.next_;
  due.prev_ = head.prev_;
  due.next_->prev_ = &due;
  due.prev_->next_ = &due;
  head.next_ = head.prev_ = &head;
  while (due.next_ != &due) {
    Timer& timer = *due.next_;
    timer.unlink();
    if (timer.due_ == kNever) continue;
    if (timer.due_ > now_) {
      file(timer);
    } else {
      timer.due_ = kNever;
      timer.fire_(timer);
    }
  }
  due.next_ = due.prev_ = nullptr;
}

void TimerWheel::advance(Time now) noexcept {
  if (now <= now_) return;
  now_ = now;
  const int64_t target = tick_of(now);
  while (tick_ < target) {
    // Jump over empty stretches of level 0 up to the next turn of a higher level.
    const int64_t boundary = (tick_ | (kSlots - 1)) + 1;
    if (filled_[0] == 0) {
      const int64_t jump = boundary - 1 < target ? boundary - 1 : target;
      if (jump > tick_) {
        tick_ = jump;
        continue;
      }
    }
    ++tick_;
    if ((tick_ & (kSlots - 1)) == 0) {
      int64_t turn = tick_;
      for (int level = 1; level < kLevels; ++level) {
        turn >>= 6;
        run_slot(level, static_cast<int>(turn & (kSlots - 1)));
        if ((turn & (kSlots - 1)) != 0) break;
      }
    }
    run_slot(0, static_cast<int>(tick_ & (kSlots - 1)));
  }
}

Time TimerWheel::next_due() const noexcept {
  int64_t best = INT64_MAX;
  for (int level = 0; level < kLevels; ++level) {
    if (filled_[level] == 0) continue;
    const int64_t position = tick_ >> (6 * level);
    const int from = static_cast<int>((position + 1) & (kSlots - 1));
    const uint64_t turned = std::rotr(filled_[level], from);
    const int64_t slot = position + 1 + std::countr_zero(turned);
    const int64_t tick = slot << (6 * level);
    if (tick < best) best = tick;
  }
  if (best == INT64_MAX) return kNever;
  return start_ + Duration(best * kTick);
}

}  // namespace runtime
}  // namespace trellis
