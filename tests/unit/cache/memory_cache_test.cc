#include "cache/memory_cache.h"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <string>
#include <thread>
#include <vector>

#include "base/metrics.h"
#include "base/rng.h"
#include "runtime/sync.h"
#include "tests/fakes/run_task.h"

namespace trellis::cache {
namespace {

using Strings = CacheSpace<std::string>;
using Loaded = Result<std::optional<std::string>>;

constexpr Time kStart = Time(std::chrono::hours(1));

std::unique_ptr<Loop> make_loop(uint64_t seed = 1) {
  LoopOptions options;
  options.seed = seed;
  return *Loop::make(options);
}

Strings::Options options_named(std::string name) {
  Strings::Options options;
  options.name = std::move(name);
  options.bytes_of = [](const std::string& text) { return text.capacity(); };
  return options;
}

// A loader that waits for an event of the test and counts how often it was asked.
struct Source {
  Event open;
  int loads = 0;
  std::optional<std::string> value = "value";
  bool fails = false;

  Task<Loaded> load() {
    ++loads;
    (void)co_await open.wait(kNever);
    if (fails) co_return fail(Code::unavailable, "the source is away");
    co_return value;
  }
};

Task<> ask(Strings& space, Source& source, std::string key, Deadline deadline, int& values, int& nothing,
           std::vector<Code>& errors) {
  auto task = space.get_or_load(std::move(key), [&source] { return source.load(); }, deadline);
  auto got = co_await task;
  if (!got) {
    errors.push_back(got.error().code());
  } else if (*got) {
    ++values;
  } else {
    ++nothing;
  }
}

class MemoryCacheTest : public testing::Test {
 protected:
  MemoryCacheTest()
      : loop_(make_loop()),
        cache_({.name = "test", .capacity = 1 << 20}, metrics_),
        space_(cache_, options_named("texts")) {}

  void run_all(TaskGroup& group) {
    while (group.size() > 0) loop_->run_once(std::chrono::seconds(10));
  }

  Metrics metrics_;
  std::unique_ptr<Loop> loop_;
  MemoryCache cache_;
  Strings space_;
  int values_ = 0;
  int nothing_ = 0;
  std::vector<Code> errors_;
};

TEST_F(MemoryCacheTest, GivesWhatWasPutUntilItExpires) {
  space_.put("a", "one", kStart, space_.stamp("a"));
  std::string seen;
  EXPECT_EQ(space_.look("a", kStart, [&](const std::string& text) { seen = text; }), CacheOutcome::hit);
  EXPECT_EQ(seen, "one");
  EXPECT_EQ(space_.look("b", kStart, [](const std::string&) { FAIL(); }), CacheOutcome::miss);
  // Ten minutes, a tenth more or less.
  EXPECT_TRUE(space_.find("a", kStart + std::chrono::seconds(539)));
  EXPECT_FALSE(space_.find("a", kStart + std::chrono::seconds(661)));
  EXPECT_EQ(cache_.objects(), 0u);
}

TEST(MemoryCacheEntry, TakesMoreRoomOnlyWhereItStillStands) {
  Metrics metrics;
  MemoryCache cache({.capacity = 1 << 20, .shards = 1}, metrics);
  const uint32_t space = cache.new_space();
  const auto put = [&](size_t bytes) {
    EntryRef entry(new CacheEntry(space, "a", false));
    MemoryCache::set_up(*entry.get(), bytes, kNever, Duration());
    cache.put(space, entry);
    return entry;
  };
  const EntryRef old = put(100);
  cache.recharge(space, *old.get(), 5000, 100'000);
  EXPECT_GE(cache.bytes(), 5000u);
  const EntryRef newer = put(200);
  cache.recharge(space, *old.get(), 5000, 100'000);
  EXPECT_LT(cache.bytes(), 5000u);
  const CacheEntry* found = nullptr;
  cache.with(space, "a", Time(), Duration(), [&](CacheEntry& entry) { found = &entry; });
  EXPECT_EQ(found, newer.get());
  cache.recharge(space, *newer.get(), 5000, 1000);
  EXPECT_EQ(cache.objects(), 0u);
}

TEST_F(MemoryCacheTest, LifetimesDiffer) {
  const int entries = 200;
  for (int i = 0; i < entries; ++i) {
    const std::string key = "k" + std::to_string(i);
    space_.put(key, "x", kStart, space_.stamp(key));
  }
  int alive = 0;
  for (int i = 0; i < entries; ++i)
    alive += space_.find("k" + std::to_string(i), kStart + std::chrono::minutes(10)) ? 1 : 0;
  EXPECT_GT(alive, entries / 4);
  EXPECT_LT(alive, entries * 3 / 4);
}

TEST_F(MemoryCacheTest, AHandleOutlivesItsEntry) {
  space_.put("a", std::string(100, 'x'), kStart, space_.stamp("a"));
  const auto handle = space_.find("a", kStart);
  space_.invalidate("a");
  EXPECT_FALSE(space_.find("a", kStart));
  EXPECT_EQ(**handle, std::string(100, 'x'));
}

TEST_F(MemoryCacheTest, StaysInsideItsBudget) {
  for (int i = 0; i < 5000; ++i) {
    const std::string key = "key" + std::to_string(i);
    space_.put(key, std::string(1000, 'x'), kStart, space_.stamp(key));
    ASSERT_LE(cache_.bytes(), cache_.capacity());
  }
  EXPECT_GT(cache_.objects(), 700u);
  EXPECT_GT(cache_.bytes(), cache_.capacity() * 9 / 10);
  // What is larger than half of a shard is given and not kept.
  space_.put("large", std::string(600'000, 'x'), kStart, space_.stamp("large"));
  EXPECT_FALSE(space_.find("large", kStart));
  EXPECT_GT(cache_.objects(), 700u);
}

TEST_F(MemoryCacheTest, StaysInsideItsBudgetByEveryPolicy) {
  for (const EvictionPolicy policy : kEvictionPolicies) {
    MemoryCache cache({.name = std::string(to_string(policy)), .capacity = 200'000, .shards = 2, .policy = policy},
                      metrics_);
    Strings space(cache, options_named("texts"));
    Rng rng(4);
    for (int i = 0; i < 5000; ++i) {
      const std::string key = "key" + std::to_string(rng.below(1000));
      if (rng.below(10) == 0) {
        space.invalidate(key);
      } else if (!space.find(key, kStart + std::chrono::seconds(i))) {
        space.put(key, std::string(rng.below(2000), 'x'), kStart + std::chrono::seconds(i), space.stamp(key));
      }
      ASSERT_LE(cache.bytes(), cache.capacity()) << to_string(policy);
    }
    EXPECT_GT(cache.bytes(), cache.capacity() / 2) << to_string(policy);
  }
}

TEST_F(MemoryCacheTest, SpacesDoNotSeeEachOther) {
  CacheSpace<int>::Options numbers_options;
  numbers_options.name = "numbers";
  CacheSpace<int> numbers(cache_, numbers_options);
  numbers.put("a", 7, kStart, numbers.stamp("a"));
  EXPECT_FALSE(space_.find("a", kStart));
  space_.put("a", "text", kStart, space_.stamp("a"));
  EXPECT_EQ(**numbers.find("a", kStart), 7);
  numbers.invalidate("a");
  EXPECT_TRUE(space_.find("a", kStart));
}

TEST_F(MemoryCacheTest, AThousandWaitersMakeOneLoad) {
  Source source;
  TaskGroup group;
  for (int i = 0; i < 1000; ++i) group.spawn(ask(space_, source, "cold", kNever, values_, nothing_, errors_));
  EXPECT_EQ(source.loads, 1);
  source.open.set();
  run_all(group);
  EXPECT_EQ(source.loads, 1);
  EXPECT_EQ(values_, 1000);
  EXPECT_TRUE(space_.find("cold", loop_->now()));
}

TEST_F(MemoryCacheTest, KeepsThatThereIsNoneForAShortTime) {
  Source source;
  source.value = std::nullopt;
  source.open.set();
  TaskGroup group;
  group.spawn(ask(space_, source, "none", kNever, values_, nothing_, errors_));
  run_all(group);
  group.spawn(ask(space_, source, "none", kNever, values_, nothing_, errors_));
  run_all(group);
  EXPECT_EQ(source.loads, 1);
  EXPECT_EQ(nothing_, 2);
  EXPECT_EQ(space_.look("none", loop_->now(), [](const std::string&) { FAIL(); }), CacheOutcome::negative);
  EXPECT_EQ(space_.look("none", loop_->now() + std::chrono::seconds(6), [](const std::string&) { FAIL(); }),
            CacheOutcome::miss);
}

TEST_F(MemoryCacheTest, AnErrorGoesToAllWaitersAndIsNotKept) {
  Source source;
  source.fails = true;
  TaskGroup group;
  for (int i = 0; i < 10; ++i) group.spawn(ask(space_, source, "k", kNever, values_, nothing_, errors_));
  source.open.set();
  run_all(group);
  EXPECT_EQ(errors_, std::vector<Code>(10, Code::unavailable));
  source.fails = false;
  group.spawn(ask(space_, source, "k", kNever, values_, nothing_, errors_));
  run_all(group);
  EXPECT_EQ(values_, 1);
  EXPECT_EQ(source.loads, 2);
}

TEST_F(MemoryCacheTest, AnInvalidationDuringALoadWins) {
  Source old_state;
  Source new_state;
  new_state.value = "new";
  TaskGroup group;
  group.spawn(ask(space_, old_state, "k", kNever, values_, nothing_, errors_));
  space_.invalidate("k");
  // Who comes now does not join the load of the old state.
  group.spawn(ask(space_, new_state, "k", kNever, values_, nothing_, errors_));
  EXPECT_EQ(new_state.loads, 1);
  new_state.open.set();
  while (group.size() > 1) loop_->run_once(std::chrono::seconds(1));
  old_state.open.set();
  run_all(group);
  EXPECT_EQ(values_, 2);
  EXPECT_EQ(**space_.find("k", loop_->now()), "new");
}

TEST_F(MemoryCacheTest, APutThatLostTheRaceIsNotKept) {
  const uint64_t stamp = space_.stamp("k");
  space_.invalidate("k");
  space_.put("k", "old", kStart, stamp);
  EXPECT_FALSE(space_.find("k", kStart));
}

TEST_F(MemoryCacheTest, AnotherVersionHasNothingOfTheOneBefore) {
  Strings other(cache_, options_named("others"));
  for (const char* key : {"a", "b"}) {
    space_.put(key, "old", kStart, space_.stamp(key));
    other.put(key, "old", kStart, other.stamp(key));
  }
  const uint64_t before = space_.stamp("c");
  TaskGroup group;
  Source source;
  group.spawn(ask(space_, source, "d", kNever, values_, nothing_, errors_));
  space_.invalidate_all();
  for (const char* key : {"a", "b"}) {
    EXPECT_FALSE(space_.find(key, kStart)) << key;
    EXPECT_TRUE(other.find(key, kStart)) << key;
  }
  space_.put("c", "written before", kStart, before);
  EXPECT_FALSE(space_.find("c", kStart));
  source.open.set();
  run_all(group);
  EXPECT_EQ(values_, 1) << "who asked before has what was loaded for him";
  EXPECT_FALSE(space_.find("d", loop_->now())) << "but it is not kept";
  space_.put("a", "new", kStart, space_.stamp("a"));
  EXPECT_EQ(**space_.find("a", kStart), "new");
}

TEST_F(MemoryCacheTest, HandsPurgeAnObjectOrASpaceByItsName) {
  {
    Strings same(cache_, options_named("texts"));
    Strings other(cache_, options_named("others"));
    EXPECT_EQ(cache_.spaces(), (std::vector<std::string>{"others", "texts"}));
    for (Strings* space : {&space_, &same, &other}) {
      for (const char* key : {"a", "b"}) space->put(key, "x", kStart, space->stamp(key));
    }
    EXPECT_TRUE(cache_.purge("texts", "a"));
    EXPECT_FALSE(space_.find("a", kStart));
    EXPECT_FALSE(same.find("a", kStart));
    EXPECT_TRUE(space_.find("b", kStart));
    EXPECT_TRUE(cache_.purge("texts", std::nullopt));
    EXPECT_FALSE(space_.find("b", kStart));
    EXPECT_TRUE(other.find("a", kStart));
    EXPECT_FALSE(cache_.purge("nothing", std::nullopt));
  }
  EXPECT_EQ(cache_.spaces(), std::vector<std::string>{"texts"});
}

TEST_F(MemoryCacheTest, AWaiterTakesOverWhenTheLeaderLeaves) {
  Source source;
  Task<> leader = ask(space_, source, "k", kNever, values_, nothing_, errors_);
  leader.start();
  TaskGroup group;
  for (int i = 0; i < 5; ++i) group.spawn(ask(space_, source, "k", kNever, values_, nothing_, errors_));
  EXPECT_EQ(source.loads, 1);
  leader = Task<>();
  while (source.loads < 2) loop_->run_once(std::chrono::seconds(1));
  source.open.set();
  run_all(group);
  EXPECT_EQ(source.loads, 2);
  EXPECT_EQ(values_, 5);
}

TEST_F(MemoryCacheTest, AWaiterGivesUpAtItsDeadline) {
  Source source;
  TaskGroup group;
  group.spawn(ask(space_, source, "k", kNever, values_, nothing_, errors_));
  group.spawn(ask(space_, source, "k", loop_->now() + std::chrono::milliseconds(5), values_, nothing_, errors_));
  while (group.size() > 1) loop_->run_once(std::chrono::seconds(1));
  EXPECT_EQ(errors_, std::vector<Code>{Code::deadline_exceeded});
  source.open.set();
  run_all(group);
  EXPECT_EQ(values_, 1);
}

TEST_F(MemoryCacheTest, CountsWhatCameOfEachLookup) {
  space_.put("a", "one", kStart, space_.stamp("a"));
  (void)space_.find("a", kStart);
  (void)space_.find("b", kStart);
  const std::string text = metrics_.prometheus_text();
  EXPECT_NE(text.find("trellis_cache_requests_total{cache=\"test\",space=\"texts\",outcome=\"hit\"} 1"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("trellis_cache_requests_total{cache=\"test\",space=\"texts\",outcome=\"miss\"} 1"),
            std::string::npos);
  EXPECT_NE(text.find("trellis_cache_objects{cache=\"test\",tier=\"memory\"} 1"), std::string::npos);
}

Task<Loaded> load_from(std::atomic<int>& loads, std::atomic<uint64_t>& state) {
  ++loads;
  co_return std::to_string(state.load());
}

// Cores ask, load and invalidate at once. Never is a value seen that is older than one whose invalidation had returned
// before the question was asked.
TEST(MemoryCacheCores, NoCoreSeesWhatWasInvalidatedBefore) {
  Metrics metrics;
  MemoryCache cache({.name = "cores", .capacity = 200'000, .shards = 4}, metrics);
  Strings space(cache, options_named("texts"));
  constexpr int kKeys = 20;
  std::atomic<uint64_t> state[kKeys] = {};
  std::atomic<uint64_t> invalidated[kKeys] = {};
  std::atomic<int> loads{0};
  std::atomic<bool> stale{false};
  std::barrier start(3);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      auto loop = make_loop(static_cast<uint64_t>(t) + 1);
      Rng rng(static_cast<uint64_t>(t) + 10);
      start.arrive_and_wait();
      for (int i = 0; i < 5000; ++i) {
        const auto k = static_cast<size_t>(rng.below(kKeys));
        const std::string key = "k" + std::to_string(k);
        if (t == 0 && rng.below(4) == 0) {
          const uint64_t now = ++state[k];
          space.invalidate(key);
          invalidated[k] = now;
          continue;
        }
        const uint64_t at_least = invalidated[k];
        uint64_t seen = 0;
        if (rng.below(2) == 0) {
          auto task = space.get_or_load(key, [&, k] { return load_from(loads, state[k]); }, kNever);
          auto got = fakes::run_task(*loop, std::move(task));
          ASSERT_TRUE(got && *got);
          seen = std::stoull(**got);
        } else if (space.look(key, loop->now(), [&](const std::string& text) { seen = std::stoull(text); }) !=
                   CacheOutcome::hit) {
          continue;
        }
        if (seen < at_least) stale = true;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(stale);
  EXPECT_GT(loads, kKeys);
}

}  // namespace
}  // namespace trellis::cache
