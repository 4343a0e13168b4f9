// The loops of a process, one thread each, and the blocking pool they share. Made, called and stopped by one thread
// that is not a loop (main). run_on() blocks that thread until the loop has run what it was given.
#pragma once

#include <cstddef>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <vector>

#include "base/error.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "runtime/sync.h"

namespace trellis {
inline namespace runtime {

struct CoresOptions {
  size_t count = 0;  // 0: as many as this process may run on
  IoKind io = IoKind::automatic;
  size_t blocking_threads = 4;
};

class Cores {
 public:
  static Result<std::unique_ptr<Cores>> start(CoresOptions options);
  ~Cores();  // stop()
  Cores(const Cores&) = delete;
  Cores& operator=(const Cores&) = delete;

  size_t size() const noexcept { return cores_.size(); }
  Loop& loop(size_t core) noexcept { return *cores_[core]->loop; }

  // fn() on that core; its value.
  template <class F, class R = std::invoke_result_t<F&>>
  R run_on(size_t core, F fn) {
    std::promise<R> promise;
    auto future = promise.get_future();
    loop(core).post([&promise, &fn] {
      if constexpr (std::is_void_v<R>) {
        fn();
        promise.set_value();
      } else {
        promise.set_value(fn());
      }
    });
    return future.get();
  }
  // The task that fn() gives, on that core, to its end; its value.
  template <class F, class R = decltype(std::declval<std::invoke_result_t<F&>&>().take())>
  R finish_on(size_t core, F fn) {
    std::promise<R> promise;
    auto future = promise.get_future();
    loop(core).post([this, core, &promise, &fn] { cores_[core]->group->spawn(deliver<R>(fn(), promise)); });
    return future.get();
  }
  // Lets each loop finish its turn and joins the threads. Whatever belongs to a core must be gone by then.
  void stop();

 private:
  struct Core {
    std::thread thread;
    std::unique_ptr<Loop> loop;
    std::unique_ptr<TaskGroup> group;
    std::promise<void> ended;   // its loop runs no more
    std::promise<void> may_go;  // nor does any other
  };
  Cores() = default;
  template <class R>
  static Task<> deliver(Task<R> task, std::promise<R>& promise) {
    if constexpr (std::is_void_v<R>) {
      co_await task;
      promise.set_value();
    } else {
      promise.set_value(co_await task);
    }
  }

  std::unique_ptr<BlockingPool> pool_;
  std::vector<std::unique_ptr<Core>> cores_;
};

}  // namespace runtime
}  // namespace trellis
