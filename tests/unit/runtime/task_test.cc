#include "runtime/task.h"

#include <gtest/gtest.h>

#include <memory>

namespace trellis {
namespace {

Task<int> ready(int x) { co_return x; }
Task<Result<int>> failing() { co_return fail(Code::not_found, "nothing"); }
Task<Result<int>> passes_on() {
  CO_TRY(int x, co_await failing());
  co_return x + 1;
}

Task<long> sum_of_ready_tasks(int count) {
  long sum = 0;
  for (int i = 0; i < count; ++i) sum += co_await ready(1);
  co_return sum;
}

TEST(Task, MillionReadyTasksDoNotGrowTheStack) {
  Task<long> task = sum_of_ready_tasks(1'000'000);
  task.start();
  ASSERT_TRUE(task.done());
  EXPECT_EQ(task.take(), 1'000'000);
}

TEST(Task, ErrorsPassThroughCoTry) {
  Task<Result<int>> task = passes_on();
  task.start();
  ASSERT_TRUE(task.done());
  Result<int> result = task.take();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), Code::not_found);
}

struct Never {
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  void await_resume() const noexcept {}
};
Task<> holds(std::shared_ptr<int> held) {
  co_await Never{};
  *held = 1;
}
Task<> outer(std::shared_ptr<int> held) { co_await holds(std::move(held)); }

TEST(Task, DestroyingASuspendedTaskUnwindsTheWholeChain) {
  auto held = std::make_shared<int>(0);
  {
    Task<> task = outer(held);
    task.start();
    EXPECT_FALSE(task.done());
    EXPECT_GT(held.use_count(), 1);
  }
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_EQ(*held, 0);
}

}  // namespace
}  // namespace trellis
