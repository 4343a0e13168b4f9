// Drives a loop until a task has ended and gives its value; fails the process after `patience` of real time without an
// end, so that a hanging test says so. For tests only.
#pragma once

#include <chrono>
#include <thread>
#include <utility>

#include "base/error.h"
#include "runtime/loop.h"
#include "runtime/task.h"

namespace trellis::fakes {

// Under a manual clock a turn never waits, so turns say nothing about how long another thread, or a slow disk, had.
template <class T>
T run_task(Loop& loop, Task<T> task, std::chrono::seconds patience = std::chrono::seconds(120)) {
  const auto until = std::chrono::steady_clock::now() + patience;
  task.start();
  while (!task.done()) {
    TRELLIS_ASSERT(std::chrono::steady_clock::now() < until);
    loop.run_once(std::chrono::seconds(10));
    std::this_thread::yield();
  }
  if constexpr (!std::is_void_v<T>) return task.take();
}

}  // namespace trellis::fakes
