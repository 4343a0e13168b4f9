// Threads for calls that block (SQLite, file system, name resolution). Bounded: threads and queue have limits; a full
// queue refuses. co_await blocking(fn) runs fn there and resumes on the caller's core. When the waiter is destroyed
// first, fn still runs to its end and its result is dropped, so fn must own what it uses.
#pragma once

#include <condition_variable>
#include <coroutine>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/error.h"
#include "runtime/loop.h"
#include "runtime/task.h"

namespace trellis {
inline namespace runtime {

class BlockingPool {
 public:
  explicit BlockingPool(size_t threads = 4, size_t max_queue = 10'000);
  ~BlockingPool();  // close()
  void close();     // refuses new work, runs what is queued, joins; for one thread
  // Any thread. False when the queue is full or the pool stops.
  bool try_post(std::move_only_function<void()> work);
  size_t queued() const;

 private:
  void work();
  // WHY a lock: the queue crosses threads and its users are about to block anyway.
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::move_only_function<void()>> queue_;
  size_t max_queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

namespace detail {
// Shared between the waiter and the worker; the waiter may go first.
template <class T>
struct Handoff {
  std::optional<T> value;
  std::coroutine_handle<> waiter;  // touched on the waiter's loop only
  bool done = false;               // likewise
};

template <class T>
class HandoffAwaiter {
 public:
  explicit HandoffAwaiter(std::shared_ptr<Handoff<T>> state) noexcept : state_(std::move(state)) {}
  HandoffAwaiter(const HandoffAwaiter&) = delete;
  HandoffAwaiter& operator=(const HandoffAwaiter&) = delete;
  ~HandoffAwaiter() { state_->waiter = nullptr; }
  bool await_ready() const noexcept { return state_->done; }
  void await_suspend(std::coroutine_handle<> waiter) noexcept { state_->waiter = waiter; }
  T await_resume() { return std::move(*state_->value); }

 private:
  std::shared_ptr<Handoff<T>> state_;
};

template <class T>
void finish_handoff(const std::shared_ptr<Handoff<T>>& state) {
  state->done = true;
  if (state->waiter) std::exchange(state->waiter, nullptr).resume();
}
}  // namespace detail

// F returns Result<T>. resource_exhausted (side self) when the pool's queue is full.
template <class F, class R = std::invoke_result_t<F>>
Task<R> blocking(F fn) {
  auto state = std::make_shared<detail::Handoff<R>>();
  Loop& home = Loop::current();
  std::move_only_function<void()> work = [state, &home, f = std::move(fn)]() mutable {
    state->value.emplace(f());
    home.post([state] { detail::finish_handoff(state); });
  };
  const bool queued = home.pool().try_post(std::move(work));
  if (!queued) co_return fail(Error(Code::resource_exhausted, "too much blocking work is waiting").from(Side::self));
  co_return co_await detail::HandoffAwaiter<R>(std::move(state));
}

// Runs fn (plain function object returning T, not void) on another loop and resumes here with its value. Both loops
// must live.
template <class F, class R = std::invoke_result_t<F>>
Task<R> on_core(Loop& target, F fn) {
  if (&target == Loop::current_or_null()) co_return fn();
  auto state = std::make_shared<detail::Handoff<R>>();
  Loop& home = Loop::current();
  target.post([state, &home, f = std::move(fn)]() mutable {
    state->value.emplace(f());
    home.post([state] { detail::finish_handoff(state); });
  });
  co_return co_await detail::HandoffAwaiter<R>(std::move(state));
}

}  // namespace runtime
}  // namespace trellis
