// Requests that wait for a connection to a host, or for a place under the adaptive limit. First come, first served,
// each until its deadline; when `most` wait already, the next is refused at once.
//
// A queue that is a burst empties by itself. One that has not been empty for as long as `wait` stands: the upstream is
// overloaded, and to wait longer helps nobody. From then until it is empty a newcomer waits for a tenth of `wait` only,
// so that those who get a place have not waited long, and the others hear early that they should go elsewhere. This is
// the controlled delay of Maurer, "Fail at Scale" (ACM Queue, 2015), a simple form of CoDel (RFC 8289). Its companion
// there, the newest first, is left out: with so short a wait it changes little, and it lets those who came first wait
// for nothing.
//
// One an upstream and core, of its Cluster, which outlives the waiters. In Cluster::send:
//
//   WaitingQueue::Waiter waiter(waiting_, context.deadline);
//   while (!(pool = pick(...))) {          // first if (waiting_.may_try()), so that nobody jumps the queue
//     const WaitingQueue::Turn turn = co_await waiter;
//     if (turn != WaitingQueue::Turn::yours) ...  // refused: upstream_busy
//   }
//
// and wherever a connection or a place becomes free: waiting_.wake_one(). A waiter that is destroyed (its client left)
// between being woken and its turn hands the turn to the next one, so none is lost.
#pragma once

#include <algorithm>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/time.h"
#include "runtime/loop.h"

namespace trellis::upstream {

class WaitingQueue {
 public:
  enum class Turn : uint8_t {
    yours,  // try: something became free, and nobody was before you
    late,   // it took too long
    full,   // too many wait already
  };

  WaitingQueue(size_t most, Duration wait) noexcept : most_(most), wait_(wait) {}
  WaitingQueue(const WaitingQueue&) = delete;
  WaitingQueue& operator=(const WaitingQueue&) = delete;
  ~WaitingQueue() { TRELLIS_ASSERT(!first_); }

  // A newcomer may look for something free at once; false: others are before it.
  bool may_try() noexcept;
  // Something became free, or may have. The first in the queue has its turn, later in this turn of the loop.
  void wake_one() noexcept;
  // That many are free, those for who was woken already included.
  void wake(size_t free) noexcept;
  void wake_all() noexcept;

  size_t waiting() const noexcept { return waiting_; }
  // Has not been empty for `wait`.
  bool standing(Time now) const noexcept { return waiting_ > 0 && now - since_ >= wait_; }

  class Waiter;

 private:
  void join(Waiter& waiter, Time now) noexcept;
  void leave(Waiter& waiter) noexcept;

  size_t most_;
  Duration wait_;
  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
  size_t waiting_ = 0;
  size_t woken_ = 0;  // not yet resumed
  size_t spare_ = 0;  // became free beyond what the woken ones need
  Time since_{};      // when the first of those that wait came
  uint64_t numbers_ = 0;
};

// One request's wait, a local of its coroutine: awaited again when its turn came and somebody else was faster; it then
// goes back to its place. All waits together end at one deadline.
class WaitingQueue::Waiter {
 public:
  // Waits at most until `deadline`.
  Waiter(WaitingQueue& queue, Deadline deadline) noexcept
      : queue_(queue), until_(deadline), timer_(&Waiter::expire, this) {}
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;
  ~Waiter();

  bool await_ready() noexcept;
  void await_suspend(std::coroutine_handle<> waiter) noexcept;
  Turn await_resume() noexcept;

 private:
  friend class WaitingQueue;
  enum class State : uint8_t { out, in, woken };
  static void expire(Timer& timer) noexcept;

  WaitingQueue& queue_;
  Deadline until_;
  State state_ = State::out;
  uint64_t number_ = 0;  // in the order of coming; 0: did not wait yet
  Turn turn_ = Turn::yours;
  Waiter* next_ = nullptr;
  Waiter* prev_ = nullptr;
  ReadyNode ready_;
  Timer timer_;
};

std::string_view to_string(WaitingQueue::Turn turn) noexcept;

}  // namespace trellis::upstream
