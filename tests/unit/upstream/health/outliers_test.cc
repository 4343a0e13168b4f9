// Who stands out, as arithmetic: the worked examples of the documentation, and properties over many random clusters.
#include "upstream/health/outliers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/rng.h"

namespace trellis::upstream {
namespace {

constexpr OutlierRules kErrors{.error_rate = 0.5, .slower_than = {}, .min_requests = 20};
constexpr OutlierRules kSlow{.error_rate = {}, .slower_than = 3.0, .min_requests = 20};

HostInterval host(uint64_t answers, uint64_t errors, double mean = 0.01) {
  return {answers, errors, mean * static_cast<double>(answers)};
}

TEST(Outliers, NobodyIsJudgedWithoutRules) {
  const std::vector<HostInterval> hosts{host(100, 100, 9), host(100, 0), host(100, 0), host(100, 0), host(100, 0)};
  EXPECT_TRUE(find_outliers(hosts, {}).empty());
}

TEST(Outliers, AHostAtTheErrorRateGoesAndOneBelowStays) {
  const std::vector<HostInterval> hosts{host(100, 50), host(100, 49)};
  const auto found = find_outliers(hosts, kErrors);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].host, 0U);
  EXPECT_EQ(found[0].reason, EjectReason::error_rate);
  EXPECT_EQ(found[0].to_string(), "50.0% errors, limit 50.0%");
}

TEST(Outliers, TooFewRequestsSayNothing) {
  EXPECT_TRUE(find_outliers(std::vector{host(19, 19), host(0, 0)}, kErrors).empty());
  EXPECT_EQ(find_outliers(std::vector{host(20, 20), host(0, 0)}, kErrors).size(), 1U);
}

TEST(Outliers, TheOneFarBelowItsNeighboursGoesBeforeTheErrorRateIsReached) {
  // Success rates 1, 1, 1, 1, 0.7: mean 0.94, deviation 0.12, limit 0.712.
  const std::vector<HostInterval> hosts{host(100, 0), host(100, 0), host(100, 30), host(100, 0), host(100, 0)};
  const auto found = find_outliers(hosts, kErrors);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].host, 2U);
  EXPECT_EQ(found[0].reason, EjectReason::success_rate);
  EXPECT_NEAR(found[0].limit, 0.712, 1e-9);
}

TEST(Outliers, OfFourHostsNoneIsJudgedByItsNeighbours) {
  EXPECT_TRUE(find_outliers(std::vector{host(100, 0), host(100, 0), host(100, 40), host(100, 0)}, kErrors).empty());
}

TEST(Outliers, AFractionOfAPercentIsNoise) {
  // 1.9 deviations are 0.038 % here.
  const std::vector<HostInterval> hosts{host(10000, 0), host(10000, 0), host(10000, 5),
                                        host(10000, 0), host(10000, 0), host(10000, 0)};
  EXPECT_TRUE(find_outliers(hosts, kErrors).empty());
}

TEST(Outliers, WhoIsThreeTimesAsSlowAsTheOthersGoes) {
  const std::vector<HostInterval> hosts{host(50, 0, 0.010), host(50, 0, 0.012), host(50, 0, 0.040)};
  const auto found = find_outliers(hosts, kSlow);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].host, 2U);
  EXPECT_EQ(found[0].reason, EjectReason::latency);
  EXPECT_NEAR(found[0].limit, 0.033, 1e-9);  // three times the median of 10 and 12 ms
  EXPECT_EQ(found[0].to_string(), "40 ms to answer, 33 ms expected by its neighbours");
}

TEST(Outliers, OfTwoHostsNobodyKnowsWhoIsSlow) {
  EXPECT_TRUE(find_outliers(std::vector{host(50, 0, 0.010), host(50, 0, 9.0)}, kSlow).empty());
}

TEST(Outliers, AMillisecondIsNoSlowness) {
  EXPECT_TRUE(find_outliers(std::vector{host(50, 0, 0.0001), host(50, 0, 0.0001), host(50, 0, 0.001)}, kSlow).empty());
}

TEST(Outliers, TheMedianIsOfTheOthers) {
  // With itself among them, the two middle ones of 10, 10, 100, 100 ms would be 10 and 100.
  const std::vector<HostInterval> hosts{host(50, 0, 0.010), host(50, 0, 0.010), host(50, 0, 0.100), host(50, 0, 0.010)};
  const auto found = find_outliers(hosts, kSlow);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_NEAR(found[0].limit, 0.030, 1e-9);
}

TEST(Outliers, TheWorstComesFirstAndErrorsBeforeSlowness) {
  const OutlierRules both{.error_rate = 0.3, .slower_than = 3.0, .min_requests = 20};
  const std::vector<HostInterval> hosts{host(100, 40),        host(100, 90), host(100, 0, 0.5),
                                        host(100, 60, 2.000), host(100, 0),  host(100, 0)};
  const auto found = find_outliers(hosts, both);
  ASSERT_EQ(found.size(), 4U);
  EXPECT_EQ(found[0].host, 1U);
  EXPECT_EQ(found[1].host, 3U);
  EXPECT_EQ(found[1].reason, EjectReason::error_rate);  // slow, too, but named once
  EXPECT_EQ(found[2].host, 0U);
  EXPECT_EQ(found[3].host, 2U);
}

// Whatever the hosts did: nobody is named twice or judged with too few requests, who is named broke the limit that is
// named with it, hosts that are all alike stay, and the order of the hosts does not matter.
TEST(Outliers, KeepTheirPromisesOverRandomClusters) {
  Rng rng(20261122);
  const OutlierRules rules{.error_rate = 0.4, .slower_than = 2.5, .min_requests = 30};
  size_t named = 0;
  for (int round = 0; round < 5000; ++round) {
    std::vector<HostInterval> hosts(1 + rng.below(12));
    for (HostInterval& one : hosts) {
      const uint64_t answers = rng.below(200);
      one = host(answers, answers == 0 ? 0 : rng.below(answers + 1), 0.001 + rng.unit());
      if (rng.below(2) == 0) one.errors = 0;
    }
    const auto found = find_outliers(hosts, rules);
    named += found.size();
    std::vector<size_t> seen;
    for (const Outlier& outlier : found) {
      const HostInterval& one = hosts[outlier.host];
      ASSERT_EQ(std::ranges::count(seen, outlier.host), 0);
      seen.push_back(outlier.host);
      ASSERT_GE(one.answers, rules.min_requests);
      const double errors = static_cast<double>(one.errors) / static_cast<double>(one.answers);
      if (outlier.reason == EjectReason::error_rate) {
        ASSERT_GE(errors, 0.4);
      }
      if (outlier.reason == EjectReason::success_rate) {
        ASSERT_LT(errors, 0.4);
        ASSERT_LT(1 - errors, outlier.limit);
      }
      if (outlier.reason == EjectReason::latency) {
        ASSERT_GT(one.seconds / static_cast<double>(one.answers), outlier.limit);
      }
      ASSERT_FALSE(outlier.to_string().empty());
    }
    for (size_t i = 0; i < hosts.size(); ++i) {
      const bool broken = hosts[i].answers >= rules.min_requests &&
                          static_cast<double>(hosts[i].errors) >= 0.4 * static_cast<double>(hosts[i].answers);
      if (broken) {
        ASSERT_EQ(std::ranges::count(seen, i), 1);
      }
    }
    std::vector<HostInterval> reversed(hosts.rbegin(), hosts.rend());
    std::vector<size_t> mirrored;
    for (const Outlier& outlier : find_outliers(reversed, rules)) mirrored.push_back(hosts.size() - 1 - outlier.host);
    std::ranges::sort(mirrored);
    std::ranges::sort(seen);
    ASSERT_EQ(mirrored, seen);
    const std::vector<HostInterval> alike(hosts.size(), host(100, rng.below(39), rng.unit()));
    ASSERT_TRUE(find_outliers(alike, rules).empty());
  }
  EXPECT_GT(named, 1000U);  // the rounds do name somebody
}

}  // namespace
}  // namespace trellis::upstream
