#include "runtime/timer.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "base/rng.h"

namespace trellis {
namespace {

using std::chrono::milliseconds;

struct Probe {
  explicit Probe(std::vector<int>& out, int id) : order(out), name(id), timer(&Probe::fire, this) {}
  static void fire(Timer& timer) noexcept {
    auto& self = *static_cast<Probe*>(timer.owner());
    self.order.push_back(self.name);
  }
  std::vector<int>& order;
  int name;
  Timer timer;
};

TEST(TimerWheel, FiresInOrderNeverEarlyAndAtMostATickLate) {
  const Time start{};
  Rng rng(7);
  TimerWheel wheel(start);
  struct Timed {
    Timed() : timer(&Timed::fire, this) {}
    static void fire(Timer& t) noexcept { static_cast<Timed*>(t.owner())->fired = true; }
    Time due;
    bool fired = false;
    Timer timer;
  };
  std::vector<std::unique_ptr<Timed>> all;
  for (int i = 0; i < 2000; ++i) {
    auto one = std::make_unique<Timed>();
    one->due = start + milliseconds(rng.below(20'000'000) >> rng.below(24));
    one->timer.set(wheel, one->due);
    all.push_back(std::move(one));
  }
  Time now = start;
  while (now < start + milliseconds(20'100'000)) {
    now += milliseconds(1 + (now < start + milliseconds(10'000) ? 0 : rng.below(5000)));
    wheel.advance(now);
    for (const auto& one : all) {
      if (one->fired)
        ASSERT_LE(one->due, now);
      else
        ASSERT_GT(one->due + milliseconds(2), now);
    }
    std::erase_if(all, [](const auto& one) { return one->fired; });
    if (all.empty()) break;
    ASSERT_GE(wheel.next_due() + milliseconds(2), now);
  }
  EXPECT_TRUE(all.empty());
}

TEST(TimerWheel, MovingADeadlineLaterFiresOnce) {
  const Time start{};
  TimerWheel wheel(start);
  std::vector<int> order;
  Probe probe(order, 1);
  probe.timer.set(wheel, start + milliseconds(10));
  probe.timer.set(wheel, start + milliseconds(500));
  wheel.advance(start + milliseconds(400));
  EXPECT_TRUE(order.empty());
  wheel.advance(start + milliseconds(502));
  EXPECT_EQ(order.size(), 1U);
}

TEST(TimerWheel, MovingADeadlineEarlierFiresEarlier) {
  const Time start{};
  TimerWheel wheel(start);
  std::vector<int> order;
  Probe probe(order, 1);
  probe.timer.set(wheel, start + milliseconds(60'000));
  probe.timer.set(wheel, start + milliseconds(20));
  wheel.advance(start + milliseconds(22));
  EXPECT_EQ(order.size(), 1U);
}

TEST(TimerWheel, CancelledTimersStaySilent) {
  const Time start{};
  TimerWheel wheel(start);
  std::vector<int> order;
  Probe probe(order, 1);
  probe.timer.set(wheel, start + milliseconds(10));
  probe.timer.cancel();
  wheel.advance(start + milliseconds(100));
  EXPECT_TRUE(order.empty());
}

}  // namespace
}  // namespace trellis
