#include "upstream/retry_budget.h"

#include <algorithm>

namespace trellis::upstream {

// Empties the slots that lie between the newest one and now, which are those that have left the window.
RetryBudget::Slot& RetryBudget::move_to(Time now) noexcept {
  const int64_t tick = now.time_since_epoch() / kSlot;
  if (tick > tick_) {
    const int64_t first = tick_ == INT64_MIN ? tick : std::max(tick_ + 1, tick - static_cast<int64_t>(kSlots) + 1);
    for (int64_t gone = first; gone <= tick; ++gone) {
      Slot& slot = slots_[static_cast<size_t>(gone) % kSlots];
      requests_ -= slot.requests;
      retries_ -= slot.retries;
      slot = {};
    }
    tick_ = tick;
  }
  return slots_[static_cast<size_t>(tick_) % kSlots];
}

void RetryBudget::request(Time now) noexcept {
  ++move_to(now).requests;
  ++requests_;
}

bool RetryBudget::may_retry(Time now) noexcept {
  Slot& slot = move_to(now);
  if (static_cast<double>(retries_ + 1) > share_ * static_cast<double>(requests_) + floor_) return false;
  ++slot.retries;
  ++retries_;
  return true;
}

double RetryBudget::left(Time now) noexcept {
  move_to(now);
  return std::max(share_ * static_cast<double>(requests_) + floor_ - static_cast<double>(retries_), 0.0);
}

}  // namespace trellis::upstream
