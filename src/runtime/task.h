// Task<T>: a lazy, move-only coroutine. It starts when awaited, runs on the core that awaits it and hands its value to
// the one who awaits. Failures are values (Task<Result<T>>); an exception that leaves a Task ends the process.
//
// Destroying a Task that is suspended cancels it: its locals are destroyed, and with them the operations it waits for
// (every awaiter of ours withdraws itself in its destructor). Only the loop may do so, never code that the task itself
// is running.
//
// await_suspend returns false when the child finished at once: symmetric transfer alone is no tail call in GCC below
// -O2 and under AddressSanitizer, and a loop over ready tasks would overflow the stack (Task.MillionReadyTasks).
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "runtime/frame_pool.h"

namespace trellis {
inline namespace runtime {

template <class T = void>
class Task;

namespace detail {

struct PromiseBase {
  std::coroutine_handle<> continuation;  // set only once the awaiting coroutine is truly suspended

  struct Final {
    bool await_ready() const noexcept { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> self) const noexcept {
      if (std::coroutine_handle<> next = self.promise().continuation) return next;
      return std::noop_coroutine();
    }
    void await_resume() const noexcept {}
  };

  std::suspend_always initial_suspend() const noexcept { return {}; }
  Final final_suspend() const noexcept { return {}; }
  [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }

  static void* operator new(size_t size) { return frame_alloc(size); }
  static void operator delete(void* frame, size_t size) noexcept { frame_free(frame, size); }
};

template <class T>
struct Promise : PromiseBase {
  // No std::optional here: its engaged flag is the coroutine's done state.
  alignas(T) std::byte storage[sizeof(T)];
  bool set = false;

  Task<T> get_return_object() noexcept;
  template <class U = T>
  void return_value(U&& value) noexcept(std::is_nothrow_constructible_v<T, U&&>) {
    new (storage) T(std::forward<U>(value));
    set = true;
  }
  T& value() noexcept { return *std::launder(reinterpret_cast<T*>(storage)); }
  ~Promise() {
    if (set) value().~T();
  }
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
};

}  // namespace detail

template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task() noexcept = default;
  explicit Task(Handle handle) noexcept : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      if (handle_) handle_.destroy();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Task() {
    if (handle_) handle_.destroy();
  }

  explicit operator bool() const noexcept { return static_cast<bool>(handle_); }
  bool done() const noexcept { return handle_.done(); }

  // For those who drive a task without awaiting it (TaskGroup, race, tests).
  void start() { handle_.resume(); }
  void set_continuation(std::coroutine_handle<> next) noexcept { handle_.promise().continuation = next; }
  T take() {
    if constexpr (!std::is_void_v<T>) return std::move(handle_.promise().value());
  }

  struct Awaiter {
    Handle handle;
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> parent) noexcept {
      handle.resume();
      if (handle.done()) return false;
      handle.promise().continuation = parent;
      return true;
    }
    T await_resume() {
      if constexpr (!std::is_void_v<T>) return std::move(handle.promise().value());
    }
  };
  // For a task that start() was called on: waits for its end, or goes on at once when it has ended.
  struct Joiner {
    Handle handle;
    bool await_ready() const noexcept { return handle.done(); }
    void await_suspend(std::coroutine_handle<> parent) noexcept { handle.promise().continuation = parent; }
    T await_resume() {
      if constexpr (!std::is_void_v<T>) return std::move(handle.promise().value());
    }
  };
  Joiner join() const noexcept { return Joiner{handle_}; }

  Awaiter operator co_await() const& noexcept { return Awaiter{handle_}; }
  Awaiter operator co_await() const&& noexcept { return Awaiter{handle_}; }

 private:
  Handle handle_;
};

namespace detail {
template <class T>
Task<T> Promise<T>::get_return_object() noexcept {
  return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() noexcept {
  return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}
}  // namespace detail

}  // namespace runtime
}  // namespace trellis
