#include "runtime/sync.h"

#include <exception>

namespace trellis {
inline namespace runtime {

// --- Event ---

void Event::set() noexcept {
  set_ = true;
  while (Awaiter* awaiter = first_) {
    awaiter->withdraw();
    awaiter->passed_ = true;
    Loop::current().make_ready(awaiter->ready_);
  }
}

bool Event::Awaiter::await_suspend(std::coroutine_handle<> waiter) noexcept {
  ready_.handle = waiter;
  prev_ = event_.last_;
  (prev_ ? prev_->next_ : event_.first_) = this;
  event_.last_ = this;
  queued_ = true;
  if (deadline_ != kNever) timer_.set(Loop::current().timers(), deadline_);
  return true;
}

void Event::Awaiter::withdraw() noexcept {
  timer_.cancel();
  if (!queued_) return;
  queued_ = false;
  (prev_ ? prev_->next_ : event_.first_) = next_;
  (next_ ? next_->prev_ : event_.last_) = prev_;
  next_ = prev_ = nullptr;
}

void Event::Awaiter::expire(Timer& timer) noexcept {
  auto& self = *static_cast<Awaiter*>(timer.owner());
  self.withdraw();
  self.ready_.handle.resume();
}

// --- TaskGroup ---

// The coroutine around a spawned task: in the group's list while it runs, destroys itself at its end.
struct TaskGroup::Runner {
  struct promise_type : Node {
    promise_type(TaskGroup& group, Task<>&) noexcept : owner(group) {
      next = &group.running_;
      prev = group.running_.prev;
      prev->next = this;
      group.running_.prev = this;
      ++group.size_;
    }
    ~promise_type() {
      prev->next = next;
      next->prev = prev;
      if (--owner.size_ == 0) owner.idle_.set();
    }
    Runner get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
    static void* operator new(size_t size) { return frame_alloc(size); }
    static void operator delete(void* frame, size_t size) noexcept { frame_free(frame, size); }
    TaskGroup& owner;
  };
};

TaskGroup::Runner TaskGroup::run(TaskGroup&, Task<> task) { co_await task; }

bool TaskGroup::spawn(Task<> task) {
  if (closed_) return false;
  idle_.reset();
  run(*this, std::move(task));
  return true;
}

void TaskGroup::cancel_all() noexcept {
  while (running_.next != &running_) {
    auto& promise = static_cast<Runner::promise_type&>(*running_.next);
    std::coroutine_handle<Runner::promise_type>::from_promise(promise).destroy();
  }
}

TaskGroup::~TaskGroup() { cancel_all(); }

Task<bool> TaskGroup::join(Deadline deadline) {
  while (size_ > 0) {
    idle_.reset();
    const bool passed = co_await idle_.wait(deadline);
    if (!passed && size_ > 0) co_return false;
  }
  co_return true;
}

// --- Gate ---

Task<bool> Gate::wait(Deadline deadline) {
  if (inside_ == 0) co_return true;
  const bool passed = co_await empty_.wait(deadline);
  co_return passed;
}

}  // namespace runtime
}  // namespace trellis
