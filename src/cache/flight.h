// One outcome that coroutines on several cores wait for: a load that a thousand requests want, a block of ids that is
// being leased. Whoever finishes it wakes all of them with one message a loop; a waiter has a deadline and may go away
// at any time. Shared through std::shared_ptr. finish() from any thread, once; wait() on any loop.
#pragma once

#include <coroutine>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "base/time.h"
#include "cache/shard_lock.h"
#include "runtime/loop.h"

namespace trellis::cache {

class Flight {
 public:
  Flight() = default;
  Flight(const Flight&) = delete;
  Flight& operator=(const Flight&) = delete;

  void finish();
  bool finished() const noexcept { return finished_.load(std::memory_order_acquire); }

  // co_await: false when the deadline came first.
  class Awaiter {
   public:
    Awaiter(Flight& flight, Deadline deadline) noexcept
        : flight_(flight), deadline_(deadline), timer_(&Awaiter::expire, this) {}
    Awaiter(const Awaiter&) = delete;
    Awaiter& operator=(const Awaiter&) = delete;
    ~Awaiter() {
      if (wait_) wait_->waiter = nullptr;
    }
    bool await_ready() const noexcept { return flight_.finished(); }
    bool await_suspend(std::coroutine_handle<> waiter);
    bool await_resume() const noexcept { return !expired_; }

   private:
    static void expire(Timer& timer) noexcept;
    struct Wait {
      std::coroutine_handle<> waiter;  // touched on its loop only
    };
    friend class Flight;

    Flight& flight_;
    Deadline deadline_;
    Timer timer_;
    std::shared_ptr<Wait> wait_;
    bool expired_ = false;
  };
  // The flight must live until the wait is over: hold its shared_ptr in the coroutine.
  Awaiter wait(Deadline deadline) noexcept { return Awaiter(*this, deadline); }

 private:
  struct OfLoop {
    Loop* loop;
    std::vector<std::shared_ptr<Awaiter::Wait>> waits;
  };
  bool join(Loop& loop, std::shared_ptr<Awaiter::Wait> wait);

  // WHY a lock: waiters come from every core.
  ShardLock lock_;
  std::atomic<bool> finished_{false};
  std::vector<OfLoop> loops_;
};

}  // namespace trellis::cache
