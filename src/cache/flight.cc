#include "cache/flight.h"

#include <utility>

namespace trellis::cache {

bool Flight::Awaiter::await_suspend(std::coroutine_handle<> waiter) {
  wait_ = std::make_shared<Wait>();
  wait_->waiter = waiter;
  if (!flight_.join(Loop::current(), wait_)) {
    wait_.reset();
    return false;
  }
  if (deadline_ != kNever) timer_.set(Loop::current().timers(), deadline_);
  return true;
}

void Flight::Awaiter::expire(Timer& timer) noexcept {
  auto& self = *static_cast<Awaiter*>(timer.owner());
  const std::coroutine_handle<> waiter = std::exchange(self.wait_->waiter, nullptr);
  if (!waiter) return;
  self.expired_ = true;
  waiter.resume();
}

bool Flight::join(Loop& loop, std::shared_ptr<Awaiter::Wait> wait) {
  const std::lock_guard lock(lock_);
  if (finished_.load(std::memory_order_relaxed)) return false;
  for (OfLoop& each : loops_) {
    if (each.loop != &loop) continue;
    each.waits.push_back(std::move(wait));
    return true;
  }
  loops_.push_back({&loop, {}});
  loops_.back().waits.push_back(std::move(wait));
  return true;
}

void Flight::finish() {
  std::vector<OfLoop> loops;
  {
    const std::lock_guard lock(lock_);
    finished_.store(true, std::memory_order_release);
    loops.swap(loops_);
  }
  for (OfLoop& each : loops) {
    each.loop->post([waits = std::move(each.waits)] {
      for (const auto& wait : waits) {
        if (wait->waiter) std::exchange(wait->waiter, nullptr).resume();
      }
    });
  }
}

}  // namespace trellis::cache
