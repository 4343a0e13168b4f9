#include "proxy/shedder.h"

#include "base/metrics.h"
#include "base/rng.h"
#include "tests/unit/proxy/proxy_test_kit.h"

namespace trellis::proxy {
namespace {

using namespace std::chrono_literals;

void measure(ShedRule& rule, Duration lag, int times) {
  for (int i = 0; i < times; ++i) rule.measured(lag);
}

TEST(ShedRule, RefusesTheLeastImportantFirst) {
  struct Case {
    Duration lag;
    double low, normal, high;
  };
  for (const Case& c :
       {Case{0ms, 0, 0, 0}, Case{50ms, 0, 0, 0}, Case{75ms, 0.5, 0, 0}, Case{100ms, 1, 0, 0}, Case{150ms, 1, 0.5, 0},
        Case{200ms, 1, 1, 0}, Case{300ms, 1, 1, 0.5}, Case{400ms, 1, 1, 1}, Case{9s, 1, 1, 1}}) {
    ShedRule rule(50ms);
    measure(rule, c.lag, 1000);
    EXPECT_NEAR(rule.share(Priority::low), c.low, 1e-6) << c.lag.count();
    EXPECT_NEAR(rule.share(Priority::normal), c.normal, 1e-6) << c.lag.count();
    EXPECT_NEAR(rule.share(Priority::high), c.high, 1e-6) << c.lag.count();
  }
}

TEST(ShedRule, OnePauseIsNoOverload) {
  ShedRule rule(50ms);
  measure(rule, 1ms, 100);
  rule.measured(300ms);
  EXPECT_EQ(rule.share(Priority::low), 0);
  measure(rule, 300ms, 5);
  EXPECT_GT(rule.share(Priority::low), 0) << "one after the other are";
}

TEST(ShedRule, ComesBackWithinATenthOfASecondOfMeasures) {
  ShedRule rule(50ms);
  measure(rule, 400ms, 100);
  EXPECT_GT(rule.share(Priority::high), 0.999);
  measure(rule, 0ms, 10);
  EXPECT_EQ(rule.share(Priority::high), 0);
  measure(rule, 0ms, 10);
  EXPECT_EQ(rule.share(Priority::low), 0);
}

TEST(ShedRule, SharesOnlyGrowWithTheLagAndShrinkWithTheImportance) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Rng rng(seed);
    ShedRule rule(Duration(static_cast<int64_t>(1 + rng.below(200'000'000))));
    for (int i = 0; i < 500; ++i) {
      const Duration before = rule.lag();
      const double shares[] = {rule.share(Priority::low), rule.share(Priority::normal), rule.share(Priority::high)};
      EXPECT_GE(shares[0], shares[1]);
      EXPECT_GE(shares[1], shares[2]);
      rule.measured(Duration(static_cast<int64_t>(rng.below(2'000'000'000))));
      const bool grew = rule.lag() > before;
      for (const Priority priority : {Priority::low, Priority::normal, Priority::high}) {
        const double share = rule.share(priority);
        EXPECT_TRUE(grew ? share >= shares[static_cast<int>(priority)] : share <= shares[static_cast<int>(priority)]);
      }
    }
  }
}

// Turns of a loop that take as long as told, each with a request of every priority in it.
struct Refused {
  int low = 0, normal = 0, high = 0;
};
Refused turns(test::Rig& rig, Shedder& shedder, int number, Duration takes) {
  Refused refused;
  for (int i = 0; i < number; ++i) {
    refused.low += shedder.refuses(Priority::low, *rig.loop);
    refused.normal += shedder.refuses(Priority::normal, *rig.loop);
    refused.high += shedder.refuses(Priority::high, *rig.loop);
    rig.advance(takes);
  }
  return refused;
}

TEST(Shedder, ALoopThatIsOnTimeRefusesNobody) {
  test::Rig rig;
  Metrics metrics;
  Shedder shedder({.lag = 50ms}, 0, metrics);
  const Refused refused = turns(rig, shedder, 1000, 3ms);
  EXPECT_EQ(refused.low + refused.normal + refused.high, 0);
}

TEST(Shedder, ALoopThatFallsBehindKeepsWhatIsImportant) {
  test::Rig rig;
  Metrics metrics;
  Shedder shedder({.lag = 50ms}, 0, metrics);
  turns(rig, shedder, 50, 180ms);
  const Refused refused = turns(rig, shedder, 200, 180ms);  // 170 ms late each time
  EXPECT_EQ(refused.low, 200);
  EXPECT_GT(refused.normal, 80);
  EXPECT_LT(refused.normal, 190);
  EXPECT_EQ(refused.high, 0);
  turns(rig, shedder, 100, 3ms);
  const Refused later = turns(rig, shedder, 100, 3ms);
  EXPECT_EQ(later.low + later.normal + later.high, 0) << "it caught up";
}

TEST(Shedder, AnIdleLoopIsNotWokenAndNotTakenForALateOne) {
  test::Rig rig;
  Metrics metrics;
  Shedder shedder({.lag = 50ms}, 0, metrics);
  turns(rig, shedder, 10, 11ms);
  for (int i = 0; i < 100; ++i) rig.advance(11ms);
  EXPECT_EQ(rig.loop->timers().next_due(), kNever) << "nothing to wake up for";
  rig.advance(1h);
  const Refused refused = turns(rig, shedder, 100, 3ms);
  EXPECT_EQ(refused.low, 0);
}

TEST(Shedder, CanBeSwitchedOff) {
  test::Rig rig;
  Metrics metrics;
  Shedder shedder({.lag = 0ms}, 0, metrics);
  const Refused refused = turns(rig, shedder, 100, 5s);
  EXPECT_EQ(refused.low + refused.normal + refused.high, 0);
}

}  // namespace
}  // namespace trellis::proxy
