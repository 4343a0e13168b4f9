// Policies in regions: whose hosts are picked, in what order, and what each policy counts there.
#include "upstream/region_balancer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;

constexpr Time kStart = Time(1000s);
constexpr Balance kAll[] = {Balance::round_robin, Balance::weighted,   Balance::least_connections,
                            Balance::two_choices, Balance::least_time, Balance::ip_hash,
                            Balance::hash,        Balance::maglev};
constexpr RegionId kNone = 3;

// Hosts of three regions and of none, by their regions: 0, 0, 0, 1, 1, 2, none.
class Regions : public testing::Test {
 protected:
  Regions() : regions_of_{0, 0, 0, 1, 1, 2, kNone}, loads_(regions_of_.size()), up_(regions_of_.size(), true) {
    for (size_t i = 0; i < regions_of_.size(); ++i) names_.push_back("host-" + std::to_string(i));
  }
  std::unique_ptr<RegionBalancer> make(Balance policy, double bound = 0) {
    std::vector<BalanceHost> all;
    std::vector<RegionBalancer::Member> members;
    for (HostId id = 0; id < regions_of_.size(); ++id) {
      all.push_back({id, names_[id], 1, &loads_[id]});
      members.push_back({all.back(), regions_of_[id], up_[id]});
    }
    const auto keys = make_key_table(policy, all);
    const BalanceOptions options{.bound = bound};
    return std::make_unique<RegionBalancer>(members, 3, [&](std::vector<BalanceHost> hosts) {
      return make_balancer(policy, std::move(hosts), options, keys, rng_);
    });
  }
  std::optional<HostId> pick(RegionBalancer& balancer, std::vector<RegionId> order, std::vector<HostId> tried = {}) {
    uint64_t active = 0;
    for (const HostLoad& load : loads_) active += load.active;
    return balancer.pick({.now = kStart, .key = rng_.next(), .active = active, .tried = tried, .regions = order});
  }
  void begin(RegionBalancer& balancer, HostId id) {
    ++loads_[id].active;
    balancer.load_changed(id);
  }

  Rng rng_{4711};
  std::vector<RegionId> regions_of_;
  std::vector<HostLoad> loads_;
  std::vector<bool> up_;
  std::vector<std::string> names_;
};

TEST_F(Regions, EachPolicyPicksAmongTheHostsOfTheFirstRegion) {
  for (const Balance policy : kAll) {
    const auto balancer = make(policy);
    std::map<HostId, int> eu;
    std::map<HostId, int> us;
    for (int i = 0; i < 600; ++i) {
      ++eu[*pick(*balancer, {0, 1, 2})];
      ++us[*pick(*balancer, {1, 0, 2})];
    }
    EXPECT_EQ(eu.size(), 3U) << static_cast<int>(policy);
    EXPECT_EQ(eu.rbegin()->first, 2U) << static_cast<int>(policy);
    EXPECT_EQ(us.size(), 2U) << static_cast<int>(policy);
    EXPECT_EQ(us.begin()->first, 3U) << static_cast<int>(policy);
    EXPECT_EQ(us.rbegin()->first, 4U) << static_cast<int>(policy);
  }
}

TEST_F(Regions, WhatWasTriedEverywhereGoesOnToTheNextRegion) {
  for (const Balance policy : kAll) {
    const auto balancer = make(policy);
    std::vector<HostId> tried;
    std::vector<RegionId> way;
    while (const auto id = pick(*balancer, {1, 2, 0}, tried)) {
      tried.push_back(*id);
      way.push_back(regions_of_[*id]);
    }
    EXPECT_EQ(way, (std::vector<RegionId>{1, 1, 2, 0, 0, 0, kNone})) << static_cast<int>(policy);
  }
}

TEST_F(Regions, ARegionWithoutAHostThatIsUpStandsBehindThoseWithOne) {
  up_[3] = up_[4] = false;  // all of region 1, in a panic
  const auto balancer = make(Balance::round_robin);
  EXPECT_EQ(pick(*balancer, {1, 2, 0}), 5U);
  EXPECT_EQ(pick(*balancer, {1, 2, 0}, {5, 0, 1, 2}), 6U) << "even those of no region that are up come first";
  const auto last = pick(*balancer, {1, 2, 0}, {5, 0, 1, 2, 6});
  EXPECT_TRUE(last == 3U || last == 4U);
  up_.assign(up_.size(), false);
  const auto none = make(Balance::round_robin);
  const auto nearest = pick(*none, {1, 2, 0});
  EXPECT_TRUE(nearest == 3U || nearest == 4U) << "nobody is up: the nearest, after all";
}

TEST_F(Regions, ARegionWithoutHostsIsPassedOver) {
  regions_of_ = {0, 0, 0, 0, 0, 0, 0};
  const auto balancer = make(Balance::two_choices);
  EXPECT_LT(*pick(*balancer, {2, 1, 0}), 7U);
}

TEST_F(Regions, LeastConnectionsFollowsTheLoadsOfItsRegion) {
  const auto balancer = make(Balance::least_connections);
  for (int i = 0; i < 30; ++i) begin(*balancer, *pick(*balancer, {0, 1, 2}));
  for (const HostId id : {0, 1, 2}) EXPECT_EQ(loads_[id].active, 10U);
  begin(*balancer, 3);
  EXPECT_EQ(pick(*balancer, {1, 0, 2}), 4U);
}

// A bound is a share of the region's requests. Were it one of all requests, the busy region 0 would leave it room for
// everything in region 1.
TEST_F(Regions, ABoundHoldsAmongTheHostsOfARegion) {
  for (const HostId id : {0, 1, 2}) loads_[id].active = 100;
  const auto balancer = make(Balance::hash, 1.25);
  std::set<HostId> used;
  const std::vector<RegionId> order{1, 0, 2};
  for (int i = 0; i < 8; ++i) {
    const auto id = balancer->pick({.now = kStart, .key = 42, .active = 300, .tried = {}, .regions = order});
    ASSERT_TRUE(id);
    used.insert(*id);
    begin(*balancer, *id);
  }
  EXPECT_EQ(used, (std::set<HostId>{3, 4})) << "one key, and yet not all at its host";
  EXPECT_LE(std::max(loads_[3].active, loads_[4].active), 5U);  // ceil(1.25 * 8 / 2)
}

}  // namespace
}  // namespace trellis::upstream
