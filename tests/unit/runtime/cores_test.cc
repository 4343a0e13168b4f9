// Several loops at once: calls across cores, work in the pool, and an end amid all of it.
#include "runtime/cores.h"

#include <gtest/gtest.h>

#include <atomic>

namespace trellis {
namespace {

class OnCores : public testing::TestWithParam<IoKind> {
 protected:
  std::unique_ptr<Cores> start(size_t count) {
    auto cores = Cores::start({.count = count, .io = GetParam(), .blocking_threads = 2});
    EXPECT_TRUE(cores);
    return cores ? *std::move(cores) : nullptr;
  }
};

TEST_P(OnCores, RunOnRunsOnThatCore) {
  auto cores = start(3);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(cores->run_on(i, [] { return Loop::current().index(); }), i);
  }
}

Task<Result<size_t>> index_of(Loop* target) {
  auto index = co_await on_core(*target, [] { return Loop::current().index(); });
  co_return index;
}

TEST_P(OnCores, ACallToAnotherCoreComesBack) {
  auto cores = start(2);
  Loop* other = &cores->loop(1);
  auto index = cores->finish_on(0, [other] { return index_of(other); });
  ASSERT_TRUE(index);
  EXPECT_EQ(*index, 1U);
}

Task<Result<size_t>> blocked() {
  auto value = co_await blocking([]() -> Result<size_t> { return 7; });
  co_return value;
}

TEST_P(OnCores, BlockingWorkComesBackToItsCore) {
  auto cores = start(2);
  for (size_t i = 0; i < 2; ++i) {
    auto value = cores->finish_on(i, [] { return blocked(); });
    ASSERT_TRUE(value);
    EXPECT_EQ(*value, 7U);
  }
}

TEST_P(OnCores, PostsOfOneThreadKeepTheirOrder) {
  auto cores = start(1);
  std::vector<int> seen;
  for (int i = 0; i < 1000; ++i) {
    cores->loop(0).post([&seen, i] { seen.push_back(i); });
  }
  cores->run_on(0, [] {});
  ASSERT_EQ(seen.size(), 1000U);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

// Two cores throw a ball until they are stopped: a post may come when the other loop has ended.
struct Ball {
  Cores* cores;
  std::atomic<bool>* over;
  void throw_to(size_t core) const {
    if (over->load()) return;
    cores->loop(core).post([ball = *this, core] { ball.throw_to(1 - core); });
  }
};

TEST_P(OnCores, StoppingAmidCallsAcrossCoresIsSafe) {
  for (int round = 0; round < 20; ++round) {
    std::atomic<bool> over = false;
    auto cores = start(2);
    for (int balls = 0; balls < 8; ++balls) Ball{cores.get(), &over}.throw_to(static_cast<size_t>(balls % 2));
    cores->run_on(0, [] {});
    cores->stop();
    over = true;
  }
}

INSTANTIATE_TEST_SUITE_P(Io, OnCores, testing::Values(IoKind::automatic, IoKind::epoll),
                         [](const auto& p) { return p.param == IoKind::epoll ? "epoll" : "automatic"; });

}  // namespace
}  // namespace trellis
