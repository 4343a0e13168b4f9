#include "upstream/breaker.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "base/rng.h"
#include "tests/fakes/read_config.h"

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;
using State = Breaker::State;

constexpr Time kStart(1000s);

struct Rig {
  explicit Rig(BreakerConfig config = {}, size_t cores = 2, uint64_t seed = 1) : breaker("api", config, cores, seed) {}
  // False: refused.
  bool request(bool bad, size_t core = 0) {
    Breaker::Pass pass = breaker.try_pass(core, now);
    if (!pass) return false;
    pass.report(bad, now);
    return true;
  }
  void requests(int number, bool bad) {
    for (int i = 0; i < number; ++i) request(bad, static_cast<size_t>(i) % 2);
  }
  void wait_until_it_probes() { now += breaker.wait(now); }

  Breaker breaker;
  Time now = kStart;
};

TEST(Breaker, OpensAtItsRateAndNotBefore) {
  Rig rig;
  rig.requests(50, false);
  rig.requests(49, true);
  EXPECT_EQ(rig.breaker.state(), State::closed);
  EXPECT_TRUE(rig.request(true));
  EXPECT_EQ(rig.breaker.state(), State::open);
  EXPECT_FALSE(rig.request(false)) << "refused at once";
}

TEST(Breaker, DoesNotOpenForAFewRequests) {
  Rig rig({.min_requests = 20});
  rig.requests(19, true);
  EXPECT_EQ(rig.breaker.state(), State::closed);
  rig.requests(1, true);
  EXPECT_EQ(rig.breaker.state(), State::open);
}

TEST(Breaker, WhatIsOlderThanTheWindowDoesNotCount) {
  Rig rig({.window = 10s, .min_requests = 20});
  rig.requests(19, true);
  rig.now += 10s;
  rig.requests(10, true);
  EXPECT_EQ(rig.breaker.state(), State::closed) << "ten within the window";
  rig.now += 8s;
  rig.requests(9, true);
  EXPECT_EQ(rig.breaker.state(), State::closed);
  rig.requests(1, true);
  EXPECT_EQ(rig.breaker.state(), State::open);
}

TEST(Breaker, SumsUpWhatAllCoresSaw) {
  Rig rig({.min_requests = 20}, 8);
  for (size_t core = 0; core < 8; ++core) {
    for (int i = 0; i < 3; ++i) rig.request(true, core);
  }
  EXPECT_EQ(rig.breaker.state(), State::open);
}

TEST(Breaker, LetsItsProbesThroughAndClosesWhenAllAreGood) {
  Rig rig({.open_for = 5s, .probes = 3});
  rig.requests(20, true);
  EXPECT_GE(rig.breaker.wait(rig.now), 5s);
  EXPECT_LE(rig.breaker.wait(rig.now), 6s) << "a fifth longer at most";
  rig.now += 4999ms;
  EXPECT_FALSE(rig.request(false));
  rig.wait_until_it_probes();
  std::vector<Breaker::Pass> probes;
  for (int i = 0; i < 3; ++i) probes.push_back(rig.breaker.try_pass(0, rig.now));
  EXPECT_TRUE(probes[0] && probes[1] && probes[2]);
  EXPECT_FALSE(rig.breaker.try_pass(1, rig.now)) << "no more than the probes";
  EXPECT_EQ(rig.breaker.state(), State::half_open);
  probes[0].report(false, rig.now);
  probes[1].report(false, rig.now);
  EXPECT_EQ(rig.breaker.state(), State::half_open);
  EXPECT_FALSE(rig.breaker.try_pass(1, rig.now)) << "a good probe is not followed by another";
  probes[2].report(false, rig.now);
  EXPECT_EQ(rig.breaker.state(), State::closed);
  EXPECT_TRUE(rig.request(false));
}

TEST(Breaker, OneBadProbeOpensItForTwiceAsLongUpToEightTimes) {
  Rig rig({.open_for = 1s, .probes = 2});
  rig.requests(20, true);
  for (const int factor : {1, 2, 4, 8, 8, 8}) {
    EXPECT_GE(rig.breaker.wait(rig.now), factor * 1s);
    EXPECT_LE(rig.breaker.wait(rig.now), factor * 1200ms + 1ms);
    rig.wait_until_it_probes();
    Breaker::Pass other = rig.breaker.try_pass(1, rig.now);
    EXPECT_TRUE(rig.request(true));
    EXPECT_EQ(rig.breaker.state(), State::open);
    other.report(false, rig.now);
    EXPECT_EQ(rig.breaker.state(), State::open) << "what ends later changes nothing";
  }
  rig.wait_until_it_probes();
  rig.requests(2, false);
  EXPECT_EQ(rig.breaker.state(), State::closed);
  rig.requests(20, true);
  EXPECT_LE(rig.breaker.wait(rig.now), 1201ms) << "from the beginning";
}

TEST(Breaker, NodesDoNotProbeInStep) {
  Rig one({}, 2, 1);
  Rig other({}, 2, 2);
  one.requests(20, true);
  other.requests(20, true);
  EXPECT_NE(one.breaker.wait(kStart), other.breaker.wait(kStart));
}

TEST(Breaker, AProbeWhoseClientLeftMayGoOnceMore) {
  Rig rig({.probes = 1});
  rig.requests(20, true);
  rig.wait_until_it_probes();
  {
    Breaker::Pass left = rig.breaker.try_pass(0, rig.now);
    ASSERT_TRUE(left);
    EXPECT_FALSE(rig.breaker.try_pass(1, rig.now));
  }
  EXPECT_EQ(rig.breaker.state(), State::half_open);
  EXPECT_TRUE(rig.request(false));
  EXPECT_EQ(rig.breaker.state(), State::closed);
}

TEST(Breaker, AProbeThatLeftItsPlaceKeepsNobodyOutAndItsEndCounts) {
  Rig rig({.probes = 2});
  for (const bool bad : {true, false}) {
    rig.requests(20, true);
    rig.wait_until_it_probes();
    std::vector<Breaker::Pass> uploads;
    for (int i = 0; i < 5; ++i) {
      uploads.push_back(rig.breaker.try_pass(0, rig.now));
      ASSERT_TRUE(uploads.back()) << i;
      uploads.back().leave_place();
      EXPECT_FALSE(uploads.back().has_place());
      uploads.back().leave_place();
    }
    uploads.pop_back();  // its client left
    std::vector<Breaker::Pass> probes;
    for (int i = 0; i < 2; ++i) probes.push_back(rig.breaker.try_pass(1, rig.now));
    EXPECT_TRUE(probes[0].has_place() && probes[1].has_place());
    EXPECT_FALSE(rig.breaker.try_pass(1, rig.now)) << "and no more than the probes";
    uploads[0].report(bad, rig.now);
    EXPECT_EQ(rig.breaker.state(), bad ? State::open : State::half_open);
    uploads[1].report(bad, rig.now);
    EXPECT_EQ(rig.breaker.state(), bad ? State::open : State::closed);
    probes[0].report(false, rig.now);
    EXPECT_EQ(rig.breaker.state(), bad ? State::open : State::closed);
  }
}

TEST(Breaker, WhatBeganBeforeItOpenedSaysNothingLater) {
  Rig rig;
  std::vector<Breaker::Pass> slow;
  for (int i = 0; i < 40; ++i) slow.push_back(rig.breaker.try_pass(0, rig.now));
  rig.requests(20, true);
  rig.wait_until_it_probes();
  rig.requests(3, false);
  ASSERT_EQ(rig.breaker.state(), State::closed);
  for (Breaker::Pass& pass : slow) pass.report(true, rig.now);
  EXPECT_EQ(rig.breaker.state(), State::closed);
  rig.requests(19, true);
  EXPECT_EQ(rig.breaker.state(), State::closed) << "counted from the moment it closed";
  rig.requests(1, true);
  EXPECT_EQ(rig.breaker.state(), State::open);
}

TEST(Breaker, APassThatWasMovedReportsOnce) {
  Rig rig({.probes = 2});
  rig.requests(20, true);
  rig.wait_until_it_probes();
  Breaker::Pass pass = rig.breaker.try_pass(0, rig.now);
  Breaker::Pass moved = std::move(pass);
  pass.report(true, rig.now);  // NOLINT(bugprone-use-after-move): an empty pass
  EXPECT_EQ(rig.breaker.state(), State::half_open);
  moved = rig.breaker.try_pass(0, rig.now);  // the first one goes back
  EXPECT_TRUE(rig.breaker.try_pass(0, rig.now));
}

// Whatever happens, a breaker that is asked long enough after failures have ended closes.
TEST(Breaker, AlwaysComesBack) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Rng rng(seed);
    Rig rig({.error_rate = 0.05 + 0.9 * rng.unit(),
             .window = 1s,
             .open_for = 100ms,
             .probes = 1 + static_cast<uint32_t>(rng.below(5))},
            3, seed);
    std::vector<Breaker::Pass> under_way;
    const auto step = [&](double failing) {
      rig.now += Duration(static_cast<int64_t>(rng.below(5'000'000)));
      if (Breaker::Pass pass = rig.breaker.try_pass(rng.below(3), rig.now)) under_way.push_back(std::move(pass));
      if (under_way.empty() || rng.below(3) == 0) return;
      Breaker::Pass pass = std::move(under_way[rng.below(under_way.size())]);
      if (rng.below(10) > 0) pass.report(rng.unit() < failing, rig.now);
    };
    bool opened = false;
    for (int i = 0; i < 3000; ++i) {
      step(1);
      opened |= rig.breaker.state() == State::open;
    }
    EXPECT_TRUE(opened) << seed;
    under_way.clear();
    for (int i = 0; i < 3000; ++i) step(0);
    under_way.clear();
    for (int i = 0; i < 100; ++i) {
      rig.now += 10ms;
      rig.request(false, rng.below(3));
    }
    EXPECT_EQ(rig.breaker.state(), State::closed) << seed;
  }
}

TEST(Breaker, LetsNoMoreThanItsProbesThroughFromManyThreads) {
  constexpr size_t kThreads = 4;
  Breaker breaker("api", {.probes = 10}, kThreads, 1);
  for (int round = 0; round < 20; ++round) {
    const Time opened = kStart + round * 100s;
    for (int i = 0; i < 20; ++i) breaker.try_pass(0, opened).report(true, opened);
    ASSERT_EQ(breaker.state(), State::open);
    const Time later = opened + breaker.wait(opened);
    std::vector<std::vector<Breaker::Pass>> passes(kThreads);
    {
      std::vector<std::jthread> threads;
      for (size_t core = 0; core < kThreads; ++core) {
        threads.emplace_back([&, core] {
          for (int i = 0; i < 50; ++i) {
            if (Breaker::Pass pass = breaker.try_pass(core, later)) passes[core].push_back(std::move(pass));
          }
        });
      }
    }
    size_t through = 0;
    for (const auto& of_core : passes) through += of_core.size();
    EXPECT_EQ(through, 10U);
    std::vector<std::jthread> threads;
    for (size_t core = 0; core < kThreads; ++core) {
      threads.emplace_back([&, core] {
        for (Breaker::Pass& pass : passes[core]) pass.report(false, later);
      });
    }
    threads.clear();
    EXPECT_EQ(breaker.state(), State::closed);
  }
}

TEST(Breaker, IsConfiguredWithPercentAndUnits) {
  const auto config =
      fakes::read_config<BreakerConfig>("{ error_rate: 25%, window: 30s, open_for: 2s, min_requests: 5, probes: 1 }");
  EXPECT_DOUBLE_EQ(config.error_rate, 0.25);
  EXPECT_EQ(config.window, 30s);
  EXPECT_EQ(config.open_for, 2s);
  EXPECT_EQ(config.min_requests, 5U);
  EXPECT_EQ(config.probes, 1U);
  EXPECT_NE(fakes::config_problems<BreakerConfig>("error_rate: 0%").find("error_rate"), std::string::npos);
}

}  // namespace
}  // namespace trellis::upstream
