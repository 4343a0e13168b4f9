// Values that are loaded again before their end, and values that are given after it.
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "cache/memory_cache.h"
#include "runtime/sync.h"
#include "tests/fakes/manual_clock.h"

namespace trellis::cache {
namespace {

using namespace std::chrono_literals;
using Strings = CacheSpace<std::string>;
using Loaded = Result<std::optional<std::string>>;

// A loader that waits for an event of the test.
struct Source {
  Event open;
  int loads = 0;
  std::optional<std::string> value = "new";
  bool fails = false;

  Task<Loaded> load() {
    ++loads;
    (void)co_await open.wait(kNever);
    if (fails) co_return fail(Code::unavailable, "the source is away");
    co_return value;
  }
};

Task<> ask(Strings& space, Source& source, std::string key, TaskGroup* background, std::vector<std::string>& got) {
  auto loader = [&source] { return source.load(); };
  auto task = background ? space.get_or_load(std::move(key), loader, kNever, *background)
                         : space.get_or_load(std::move(key), loader, kNever);
  auto handle = co_await task;
  if (!handle) {
    got.emplace_back("error");
  } else if (*handle) {
    got.push_back(**handle);
  } else {
    got.emplace_back("none");
  }
}

class RefreshTest : public testing::Test {
 protected:
  RefreshTest() : cache_({.name = "test", .capacity = 1 << 20}, metrics_) {
    LoopOptions options;
    options.seed = 3;
    options.clock = &clock_;
    loop_ = *Loop::make(options);
  }

  // Lifetimes are ten minutes, a tenth more or less.
  static Strings::Options options() {
    Strings::Options options;
    options.name = "texts";
    options.xfetch_beta = 0;
    return options;
  }
  void pass(Duration by) {
    clock_.advance(by);
    loop_->run_once(Duration(0));
  }
  void finish(TaskGroup& group) {
    for (int turn = 0; turn < 100 && group.size() > 0; ++turn) loop_->run_once(Duration(0));
    ASSERT_EQ(group.size(), 0u);
  }
  // Has "old" under the key, after a load that took so long.
  void load_old(Strings& space, const std::string& key, Duration load_time = {}) {
    Source source;
    source.value = "old";
    std::vector<std::string> got;
    TaskGroup group;
    group.spawn(ask(space, source, key, nullptr, got));
    pass(load_time);
    source.open.set();
    finish(group);
    ASSERT_EQ(got, std::vector<std::string>{"old"});
  }

  Metrics metrics_;
  fakes::ManualClock clock_;
  MemoryCache cache_;
  std::unique_ptr<Loop> loop_;
  std::vector<std::string> got_;
};

TEST_F(RefreshTest, GivesWhatExpiredWhenItsLoadFailsAndNotForEver) {
  auto with_grace = options();
  with_grace.stale_for = 1h;
  Strings space(cache_, with_grace);
  load_old(space, "k");
  pass(12min);
  Source source;
  source.fails = true;
  TaskGroup group;
  for (int i = 0; i < 3; ++i) group.spawn(ask(space, source, "k", nullptr, got_));
  EXPECT_EQ(space.look("k", loop_->now(), [](const std::string&) { FAIL(); }), CacheOutcome::miss);
  EXPECT_TRUE(got_.empty());
  source.open.set();
  finish(group);
  EXPECT_EQ(source.loads, 1);
  EXPECT_EQ(got_, std::vector<std::string>(3, "old"));
  EXPECT_NE(metrics_.prometheus_text().find(
                "trellis_cache_requests_total{cache=\"test\",space=\"texts\",outcome=\"stale\"} 3"),
            std::string::npos);

  pass(1h);
  got_.clear();
  group.spawn(ask(space, source, "k", nullptr, got_));
  finish(group);
  EXPECT_EQ(got_, std::vector<std::string>{"error"});
  EXPECT_EQ(cache_.objects(), 0u);
}

TEST_F(RefreshTest, ALoadThatSucceedsReplacesWhatExpired) {
  auto with_grace = options();
  with_grace.stale_for = 1h;
  Strings space(cache_, with_grace);
  load_old(space, "k");
  pass(12min);
  Source source;
  source.open.set();
  TaskGroup group;
  group.spawn(ask(space, source, "k", nullptr, got_));
  finish(group);
  EXPECT_EQ(got_, std::vector<std::string>{"new"});
  EXPECT_EQ(**space.find("k", loop_->now()), "new");
  EXPECT_EQ(cache_.objects(), 1u);
}

TEST_F(RefreshTest, NothingThatWasInvalidatedIsGivenAgain) {
  auto with_grace = options();
  with_grace.stale_for = 1h;
  Strings space(cache_, with_grace);
  load_old(space, "k");
  pass(12min);
  space.invalidate("k");
  Source source;
  source.fails = true;
  source.open.set();
  TaskGroup group;
  group.spawn(ask(space, source, "k", nullptr, got_));
  finish(group);
  EXPECT_EQ(got_, std::vector<std::string>{"error"});
}

TEST_F(RefreshTest, ThereIsNoGraceForWhatDoesNotExist) {
  auto with_grace = options();
  with_grace.stale_for = 1h;
  Strings space(cache_, with_grace);
  Source source;
  source.value = std::nullopt;
  source.open.set();
  TaskGroup group;
  group.spawn(ask(space, source, "k", nullptr, got_));
  finish(group);
  pass(6s);
  source.fails = true;
  group.spawn(ask(space, source, "k", nullptr, got_));
  finish(group);
  EXPECT_EQ(got_, (std::vector<std::string>{"none", "error"}));
}

TEST_F(RefreshTest, RefreshesAheadInTheBackgroundByOneLoad) {
  auto ahead = options();
  ahead.refresh_ahead = 5min;
  Strings space(cache_, ahead);
  load_old(space, "k");
  Source source;
  TaskGroup background;
  TaskGroup group;
  pass(3min);
  group.spawn(ask(space, source, "k", &background, got_));
  EXPECT_EQ(source.loads, 0);
  pass(4min);
  for (int i = 0; i < 100; ++i) group.spawn(ask(space, source, "k", &background, got_));
  EXPECT_EQ(got_, std::vector<std::string>(101, "old"));
  EXPECT_EQ(source.loads, 1);
  source.open.set();
  finish(background);
  finish(group);
  EXPECT_EQ(**space.find("k", loop_->now()), "new");
  EXPECT_TRUE(space.find("k", loop_->now() + 8min));
}

TEST_F(RefreshTest, GivesWhatExpiredWhileItIsLoadedInTheBackground) {
  auto with_grace = options();
  with_grace.stale_for = 1h;
  Strings space(cache_, with_grace);
  load_old(space, "k");
  pass(12min);
  Source source;
  source.fails = true;
  TaskGroup background;
  TaskGroup group;
  for (int i = 0; i < 10; ++i) group.spawn(ask(space, source, "k", &background, got_));
  EXPECT_EQ(got_, std::vector<std::string>(10, "old"));
  EXPECT_EQ(source.loads, 1);
  source.open.set();
  finish(background);
  // It failed: the next one who asks begins another.
  source.fails = false;
  group.spawn(ask(space, source, "k", &background, got_));
  finish(background);
  EXPECT_EQ(source.loads, 2);
  group.spawn(ask(space, source, "k", &background, got_));
  finish(group);
  EXPECT_EQ(got_.back(), "new");
}

TEST_F(RefreshTest, WhereTheBackgroundIsClosedTheLoadIsLeftToAnother) {
  auto ahead = options();
  ahead.refresh_ahead = 1h;
  Strings space(cache_, ahead);
  load_old(space, "k");
  Source source;
  TaskGroup closed;
  closed.close();
  TaskGroup background;
  TaskGroup group;
  group.spawn(ask(space, source, "k", &closed, got_));
  EXPECT_EQ(source.loads, 0);
  group.spawn(ask(space, source, "k", &background, got_));
  EXPECT_EQ(source.loads, 1);
  EXPECT_EQ(got_, std::vector<std::string>(2, "old"));
  source.open.set();
  finish(background);
  finish(group);
}

TEST_F(RefreshTest, WithoutABackgroundOneWaitsAndTheOthersHaveWhatIsThere) {
  auto ahead = options();
  ahead.refresh_ahead = 1h;
  Strings space(cache_, ahead);
  load_old(space, "k");
  Source source;
  source.fails = true;
  TaskGroup group;
  for (int i = 0; i < 10; ++i) group.spawn(ask(space, source, "k", nullptr, got_));
  EXPECT_EQ(got_.size(), 9u);
  EXPECT_EQ(source.loads, 1);
  source.open.set();
  finish(group);
  // The load failed too early to matter.
  EXPECT_EQ(got_, std::vector<std::string>(10, "old"));
}

// The share of those who load early is exp(-x / (beta d)), x before the end, d the time a load takes.
TEST_F(RefreshTest, LoadsEarlyByChanceAsOftenAsXFetchSays) {
  const struct {
    double beta;
    Duration left;
    double share;
  } cases[] = {{1, 700ms, 0.4966}, {1, 2s, 0.1353}, {2, 2s, 0.3679}, {0, 1ms, 0}};
  for (const auto& each : cases) {
    auto early = options();
    early.xfetch_beta = each.beta;
    early.stale_for = 1h;
    Strings space(cache_, early);
    constexpr int kRounds = 1000;
    int loads = 0;
    for (int i = 0; i < kRounds; ++i) {
      const std::string key = "k" + std::to_string(i);
      load_old(space, key, 1s);
      // A lookup of what expired changes nothing, so its end can be searched for.
      Duration alive = 8min;
      for (Duration step = 2min; step > Duration(0); step /= 2)
        while (space.find(key, loop_->now() + alive + step)) alive += step;
      pass(alive - each.left);
      Source source;
      TaskGroup group;
      group.spawn(ask(space, source, key, nullptr, got_));
      loads += source.loads;
      source.open.set();
      finish(group);
      space.invalidate(key);
    }
    EXPECT_NEAR(static_cast<double>(loads) / kRounds, each.share, 0.06) << each.beta;
  }
}

}  // namespace
}  // namespace trellis::cache
