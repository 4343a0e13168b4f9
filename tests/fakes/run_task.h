// Drives a loop until a task has ended and gives its value; fails the process after `patience` turns without an end, so
// that a hanging test says so. For tests only.
#pragma once

#include <utility>

#include "base/error.h"
#include "runtime/loop.h"
#include "runtime/task.h"

namespace trellis::fakes {

template <class T>
T run_task(Loop& loop, Task<T> task, int patience = 1'000'000) {
  task.start();
  while (!task.done()) {
    TRELLIS_ASSERT(patience-- > 0);
    loop.run_once(std::chrono::seconds(10));
  }
  if constexpr (!std::is_void_v<T>) return task.take();
}

}  // namespace trellis::fakes
