#include "upstream/retry_budget.h"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>

#include "base/rng.h"

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;

constexpr Time kStart(1000s);

TEST(RetryBudget, AllowsAShareOfTheRequests) {
  RetryBudget budget(0.2, 0);
  for (int i = 0; i < 1000; ++i) budget.request(kStart);
  int allowed = 0;
  for (int i = 0; i < 1000; ++i) allowed += budget.may_retry(kStart);
  EXPECT_EQ(allowed, 200);
}

TEST(RetryBudget, AQuietUpstreamMayBeRetriedByItsFloor) {
  RetryBudget budget(0.2, 10);
  int allowed = 0;
  for (int i = 0; i < 1000; ++i) allowed += budget.may_retry(kStart);
  EXPECT_EQ(allowed, 100) << "ten a second of a window of ten seconds";
  EXPECT_FALSE(budget.may_retry(kStart + 9s));
  EXPECT_TRUE(budget.may_retry(kStart + 10s));
}

TEST(RetryBudget, NothingIsAllowedWithoutShareAndFloor) {
  RetryBudget budget(0, 0);
  for (int i = 0; i < 100; ++i) budget.request(kStart);
  EXPECT_FALSE(budget.may_retry(kStart));
}

TEST(RetryBudget, ForgetsAfterItsWindow) {
  RetryBudget budget(0.2, 0);
  for (int i = 0; i < 100; ++i) budget.request(kStart);
  EXPECT_TRUE(budget.may_retry(kStart + 9s));
  EXPECT_FALSE(budget.may_retry(kStart + 10s)) << "its requests are gone";
  budget.request(kStart + 1000h);
  EXPECT_FALSE(budget.may_retry(kStart + 1000h));
}

TEST(RetryBudget, AnEarlierTimeThanTheLastIsTakenForTheLast) {
  RetryBudget budget(1, 0);
  budget.request(kStart + 1s);
  EXPECT_TRUE(budget.may_retry(kStart));
}

// What it allows is what a list of all that happened would allow, but for the length of a slot.
TEST(RetryBudget, IsNeverBeyondItsShareOverAnyWindow) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Rng rng(seed);
    const double share = rng.unit();
    const double floor = rng.unit() * 3;
    RetryBudget budget(share, floor);
    std::deque<Time> requests;
    std::deque<Time> retries;
    Time now = kStart;
    int taken = 0;
    for (int i = 0; i < 5000; ++i) {
      now += Duration(static_cast<int64_t>(-std::log(1 - rng.unit()) * 20e6));
      if (rng.below(200) == 0) now += Duration(static_cast<int64_t>(rng.unit() * 12e9));
      while (!requests.empty() && requests.front() <= now - RetryBudget::kWindow) requests.pop_front();
      while (!retries.empty() && retries.front() <= now - RetryBudget::kWindow + 500ms) retries.pop_front();
      requests.push_back(now);
      budget.request(now);
      if (rng.below(2) == 0 || !budget.may_retry(now)) continue;
      retries.push_back(now);
      ++taken;
      const double most = share * static_cast<double>(requests.size()) + floor * 10;
      ASSERT_LE(static_cast<double>(retries.size()), most) << "seed " << seed;
    }
    EXPECT_GT(taken, 0) << "seed " << seed;
  }
}

}  // namespace
}  // namespace trellis::upstream
