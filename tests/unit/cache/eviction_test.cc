#include "cache/eviction.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "tests/unit/cache/key_cache.h"

namespace trellis::cache {
namespace {

constexpr uint64_t kSeed = 7;

KeyCache<Eviction> cache_with(EvictionPolicy policy, uint64_t capacity) {
  return KeyCache<Eviction>(policy, capacity, kSeed);
}

class EveryPolicy : public testing::TestWithParam<EvictionPolicy> {};
INSTANTIATE_TEST_SUITE_P(Eviction, EveryPolicy, testing::ValuesIn(kEvictionPolicies),
                         [](const auto& each) { return std::string(to_string(each.param)); });

TEST_P(EveryPolicy, NeverHoldsMoreThanItsCapacityAndForgetsWhatIsRemoved) {
  Rng rng(5);
  auto cache = cache_with(GetParam(), 1000);
  for (int i = 0; i < 50'000; ++i) {
    const auto charge = static_cast<uint32_t>(1 + rng.below(100));
    cache.request(rng.below(3000), charge, Time(std::chrono::seconds(rng.below(50))));
    if (rng.below(10) == 0) cache.remove(rng.below(3000));
    ASSERT_LE(cache.policy().charge(), 1000u);
  }
  for (uint64_t key = 0; key < 3000; ++key) cache.remove(key);
  EXPECT_EQ(cache.size(), 0u);
  EXPECT_EQ(cache.policy().charge(), 0u);
  EXPECT_EQ(cache.policy().evict(), nullptr);
}

TEST_P(EveryPolicy, GivesUpEveryNodeBeforeItSaysThereIsNone) {
  auto cache = cache_with(GetParam(), 100);
  Rng rng(2);
  for (int i = 0; i < 1000; ++i) cache.request(rng.below(200));
  size_t left = 0;
  while (cache.policy().evict()) ++left;
  EXPECT_EQ(left, 100u);
  EXPECT_EQ(cache.policy().charge(), 0u);
}

TEST_P(EveryPolicy, WorksWithRoomForOneObject) {
  auto cache = cache_with(GetParam(), 1);
  for (uint64_t i = 0; i < 100; ++i) {
    cache.request(i % 3);
    ASSERT_EQ(cache.size(), 1u);
    ASSERT_TRUE(cache.request(i % 3));
  }
}

TEST(Lru, LetsGoWhatWasNotAskedForLongest) {
  auto cache = cache_with(EvictionPolicy::lru, 50);
  std::list<uint64_t> order;
  Rng rng(3);
  const Zipf zipf(200, 0.8);
  for (int i = 0; i < 20'000; ++i) {
    const uint64_t key = zipf.draw(rng);
    const bool known = std::find(order.begin(), order.end(), key) != order.end();
    order.remove(key);
    order.push_front(key);
    if (order.size() > 50) order.pop_back();
    ASSERT_EQ(cache.request(key), known) << i;
  }
}

TEST(Fifo, LetsGoWhatCameFirstHoweverOftenItWasAskedFor) {
  auto cache = cache_with(EvictionPolicy::fifo, 3);
  for (const uint64_t key : {1u, 2u, 3u, 1u, 1u, 4u}) cache.request(key);
  EXPECT_FALSE(cache.holds(1));
  EXPECT_TRUE(cache.holds(2) && cache.holds(3) && cache.holds(4));
}

TEST(RandomEviction, IsTheSameForTheSameSeed) {
  KeyCache<Eviction> one(EvictionPolicy::random, uint64_t{100}, uint64_t{1});
  KeyCache<Eviction> same(EvictionPolicy::random, uint64_t{100}, uint64_t{1});
  KeyCache<Eviction> other(EvictionPolicy::random, uint64_t{100}, uint64_t{2});
  Rng rng(4);
  int differ = 0;
  for (int i = 0; i < 5000; ++i) {
    const uint64_t key = rng.below(300);
    const bool hit = one.request(key);
    ASSERT_EQ(same.request(key), hit);
    if (other.request(key) != hit) ++differ;
  }
  EXPECT_GT(differ, 100);
}

TEST(SoonestExpiry, LetsGoWhatWouldExpireFirst) {
  auto cache = cache_with(EvictionPolicy::ttl, 100);
  Rng rng(6);
  std::multiset<Time> held;
  for (uint64_t key = 0; key < 1000; ++key) {
    const Time end = Time(std::chrono::seconds(rng.below(1'000'000)));
    if (held.size() == 100) held.erase(held.begin());
    held.insert(end);
    cache.request(key, 1, end);
  }
  for (const Time end : held) {
    const EvictionNode* node = cache.policy().evict();
    ASSERT_TRUE(node);
    EXPECT_EQ(node->expires, end);
  }
}

TEST(SoonestExpiry, OfThoseThatEndTogetherTheFirstLeavesFirst) {
  auto cache = cache_with(EvictionPolicy::ttl, 3);
  for (const uint64_t key : {1u, 2u, 3u, 4u}) cache.request(key);
  EXPECT_FALSE(cache.holds(1));
}

// --- FrequencySketch ---

TEST(FrequencySketch, NeverEstimatesTooLowBeforeItIsHalved) {
  FrequencySketch sketch;
  sketch.reserve(1024);
  for (uint64_t key = 0; key < 500; ++key)
    for (uint64_t times = 0; times < key % 16; ++times) sketch.add(hash_of(key));
  int exact = 0;
  for (uint64_t key = 0; key < 500; ++key) {
    ASSERT_GE(sketch.estimate(hash_of(key)), key % 16);
    exact += sketch.estimate(hash_of(key)) == key % 16 ? 1 : 0;
  }
  EXPECT_GT(exact, 480);
}

TEST(FrequencySketch, KeepsItsCountsWhenItGrows) {
  FrequencySketch sketch;
  for (int i = 0; i < 9; ++i) sketch.add(hash_of(1));
  sketch.reserve(100'000);
  EXPECT_EQ(sketch.keys(), 131'072u);
  EXPECT_GE(sketch.estimate(hash_of(1)), 9u);
  EXPECT_EQ(sketch.estimate(hash_of(2)), 0u);
}

TEST(FrequencySketch, ForgetsByHalvingWhatIsNoLongerAskedFor) {
  FrequencySketch sketch;
  for (int i = 0; i < 15; ++i) sketch.add(hash_of(1));
  EXPECT_EQ(sketch.estimate(hash_of(1)), 15u);
  for (uint64_t i = 0; i < 50 * sketch.keys(); ++i) sketch.add(hash_of(1000 + i));
  EXPECT_LT(sketch.estimate(hash_of(1)), 8u);
}

// --- WTinyLfu ---

TEST(WTinyLfu, AScanLeavesWhatIsAskedForAgain) {
  KeyCache<WTinyLfu> cache(uint64_t{1000});
  for (int round = 0; round < 4; ++round) {
    for (uint64_t key = 0; key < 500; ++key) cache.request(key);
  }
  for (uint64_t key = 1000; key < 6000; ++key) cache.request(key);
  int kept = 0;
  for (uint64_t key = 0; key < 500; ++key) kept += cache.holds(key) ? 1 : 0;
  EXPECT_GT(kept, 490);
}

// Half of the requests are for something new, the others for something of the last three hundred: the larger the
// window, the more of them it holds.
TEST(WTinyLfu, ItsWindowGrowsWhereWhatIsNewIsAskedForSoon) {
  KeyCache<WTinyLfu> cache(uint64_t{500});
  EXPECT_EQ(cache.policy().window_capacity(), 5u);
  Rng rng(8);
  uint64_t next = 300;
  int hits = 0;
  uint64_t windows = 0;
  for (int i = 0; i < 400'000; ++i) {
    const bool hit = cache.request(rng.below(2) == 0 ? next++ : next - 1 - rng.below(300));
    if (i < 200'000) continue;
    hits += hit ? 1 : 0;
    windows += cache.policy().window_capacity();
  }
  EXPECT_GT(windows / 200'000, 200u);
  EXPECT_GT(hits, 85'000);  // of 100,000 that are not new
}

}  // namespace
}  // namespace trellis::cache
