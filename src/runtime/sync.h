// Waiting on one core: Event, Gate and TaskGroup. None is thread-safe: each belongs to the core it was made on; another
// core reaches it by on_core() or post(). Waiters are resumed from the loop's ready list, never from inside the one who
// signals.
#pragma once

#include <coroutine>
#include <cstddef>

#include "base/error.h"
#include "runtime/loop.h"
#include "runtime/task.h"

namespace trellis {
inline namespace runtime {

// Set once or many times; waiters pass while it is set. wait() returns false when the deadline came first.
class Event {
 public:
  Event() noexcept = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { TRELLIS_ASSERT(!first_); }

  void set() noexcept;
  void reset() noexcept { set_ = false; }
  bool is_set() const noexcept { return set_; }

  class Awaiter {
   public:
    Awaiter(Event& event, Deadline deadline) noexcept
        : event_(event), deadline_(deadline), timer_(&Awaiter::expire, this) {}
    ~Awaiter() { withdraw(); }
    bool await_ready() noexcept { return passed_ = event_.set_; }
    bool await_suspend(std::coroutine_handle<> waiter) noexcept;
    bool await_resume() const noexcept { return passed_; }

   private:
    friend class Event;
    static void expire(Timer& timer) noexcept;
    void withdraw() noexcept;

    Event& event_;
    Deadline deadline_;
    bool passed_ = false;
    bool queued_ = false;
    Awaiter* next_ = nullptr;
    Awaiter* prev_ = nullptr;
    ReadyNode ready_;
    Timer timer_;
  };
  Awaiter wait(Deadline deadline) noexcept { return Awaiter(*this, deadline); }

 private:
  bool set_ = false;
  Awaiter* first_ = nullptr;
  Awaiter* last_ = nullptr;
};

// Owns background tasks: spawn() starts one, join() waits until all have ended, destroying the group cancels those that
// run. A closed group refuses new tasks: spawn() destroys them unstarted and returns false.
class TaskGroup {
 public:
  TaskGroup() noexcept = default;
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  ~TaskGroup();

  bool spawn(Task<> task);
  void close() noexcept { closed_ = true; }
  size_t size() const noexcept { return size_; }
  // True when all ended before the deadline. Does not close.
  Task<bool> join(Deadline deadline);
  void cancel_all() noexcept;

 private:
  struct Runner;
  struct Node {
    Node* next = nullptr;
    Node* prev = nullptr;
  };
  static Runner run(TaskGroup& group, Task<> task);
  Node running_{&running_, &running_};
  size_t size_ = 0;
  bool closed_ = false;
  Event idle_;
};

// Counts what is in flight so that a stop can wait for it.
class Gate {
 public:
  class Pass {
   public:
    explicit Pass(Gate* gate) noexcept : gate_(gate) {}
    Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
      if (gate_) gate_->leave();
    }
    explicit operator bool() const noexcept { return gate_ != nullptr; }

   private:
    Gate* gate_;
  };
  // False once the gate is closed.
  Pass try_enter() noexcept {
    if (closed_) return Pass(nullptr);
    ++inside_;
    return Pass(this);
  }
  size_t inside() const noexcept { return inside_; }
  bool closed() const noexcept { return closed_; }
  void close() noexcept {
    closed_ = true;
    if (inside_ == 0) empty_.set();
  }
  // After close(): true when everyone left before the deadline.
  Task<bool> wait(Deadline deadline);

 private:
  void leave() noexcept {
    if (--inside_ == 0 && closed_) empty_.set();
  }
  size_t inside_ = 0;
  bool closed_ = false;
  Event empty_;
};

}  // namespace runtime
}  // namespace trellis
