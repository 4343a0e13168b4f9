#include "upstream/waiting_queue.h"

namespace trellis::upstream {

namespace {
constexpr int kShorter = 10;  // of how much of `wait` is left in a queue that stands
}

bool WaitingQueue::may_try() noexcept {
  if (waiting_ > 0) return false;
  if (woken_ == 0) return true;
  if (spare_ == 0) return false;
  --spare_;
  return true;
}

void WaitingQueue::wake_one() noexcept {
  if (!first_) {
    // Those that were woken have what they need; this is for who comes before they have resumed.
    if (woken_ > 0) ++spare_;
    return;
  }
  Waiter& waiter = *first_;
  leave(waiter);
  waiter.timer_.cancel();
  waiter.state_ = Waiter::State::woken;
  waiter.turn_ = Turn::yours;
  ++woken_;
  Loop::current().make_ready(waiter.ready_);
}

void WaitingQueue::wake(size_t free) noexcept {
  size_t left = free > woken_ ? free - woken_ : 0;
  for (; left > 0 && first_; --left) wake_one();
  spare_ = woken_ > 0 ? left : 0;
}

void WaitingQueue::wake_all() noexcept {
  while (first_) wake_one();
}

void WaitingQueue::join(Waiter& waiter, Time now) noexcept {
  if (waiting_++ == 0) since_ = now;
  // At the end, but for those that come back: they go where they were, which is near the front.
  if (waiter.number_ == 0) {
    waiter.number_ = ++numbers_;
    waiter.prev_ = last_;
  } else {
    waiter.next_ = first_;
    while (waiter.next_ && waiter.next_->number_ < waiter.number_) {
      waiter.prev_ = waiter.next_;
      waiter.next_ = waiter.next_->next_;
    }
  }
  (waiter.prev_ ? waiter.prev_->next_ : first_) = &waiter;
  (waiter.next_ ? waiter.next_->prev_ : last_) = &waiter;
  waiter.state_ = Waiter::State::in;
}

void WaitingQueue::leave(Waiter& waiter) noexcept {
  (waiter.prev_ ? waiter.prev_->next_ : first_) = waiter.next_;
  (waiter.next_ ? waiter.next_->prev_ : last_) = waiter.prev_;
  waiter.next_ = waiter.prev_ = nullptr;
  waiter.state_ = Waiter::State::out;
  --waiting_;
}

WaitingQueue::Waiter::~Waiter() {
  if (state_ == State::in) queue_.leave(*this);
  if (state_ == State::woken) {
    ready_.unlink();
    if (--queue_.woken_ == 0) queue_.spare_ = 0;
    queue_.wake_one();
  }
}

bool WaitingQueue::Waiter::await_ready() noexcept {
  const Time now = Loop::current().now();
  if (number_ == 0) {
    if (queue_.waiting_ >= queue_.most_) {
      turn_ = Turn::full;
      return true;
    }
    const Duration patience = queue_.standing(now) ? queue_.wait_ / kShorter : queue_.wait_;
    until_ = std::min(until_, after(now, patience));
  }
  turn_ = Turn::late;
  return until_ <= now;
}

void WaitingQueue::Waiter::await_suspend(std::coroutine_handle<> waiter) noexcept {
  Loop& loop = Loop::current();
  ready_.handle = waiter;
  queue_.join(*this, loop.now());
  if (until_ != kNever) timer_.set(loop.timers(), until_);
}

WaitingQueue::Turn WaitingQueue::Waiter::await_resume() noexcept {
  if (state_ == State::woken) {
    state_ = State::out;
    if (--queue_.woken_ == 0) queue_.spare_ = 0;
  }
  return turn_;
}

void WaitingQueue::Waiter::expire(Timer& timer) noexcept {
  auto& self = *static_cast<Waiter*>(timer.owner());
  self.queue_.leave(self);
  self.turn_ = Turn::late;
  self.ready_.handle.resume();
}

std::string_view to_string(WaitingQueue::Turn turn) noexcept {
  switch (turn) {
    case WaitingQueue::Turn::yours: return "served";
    case WaitingQueue::Turn::late: return "late";
    case WaitingQueue::Turn::full: return "full";
  }
  return "late";
}

}  // namespace trellis::upstream
