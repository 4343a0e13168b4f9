#include "runtime/sync.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/fakes/manual_clock.h"
#include "tests/fakes/run_task.h"

namespace trellis {
namespace {

using namespace std::chrono_literals;

class Sync : public testing::Test {
 protected:
  void SetUp() override {
    auto made = Loop::make({.io = IoKind::epoll, .clock = &clock_});
    ASSERT_TRUE(made);
    loop_ = *std::move(made);
  }
  void turn() { loop_->run_once(Duration::zero()); }
  void advance(Duration by) {
    clock_.advance(by);
    turn();
  }
  Deadline in(Duration span) { return after(loop_->now(), span); }
  fakes::ManualClock clock_;
  std::unique_ptr<Loop> loop_;
};

Task<> note(Event& event, Deadline deadline, std::vector<int>& order, int name) {
  const bool passed = co_await event.wait(deadline);
  order.push_back(passed ? name : -name);
}
struct Alive {
  explicit Alive(int& count) : count_(count) { ++count_; }
  ~Alive() { --count_; }
  int& count_;
};
Task<> live_until(Event& event, int& alive) {
  Alive here(alive);
  co_await event.wait(kNever);
}
Task<> at_once(int& runs) {
  ++runs;
  co_return;
}

TEST_F(Sync, AnEventResumesAllInOrderButNotFromInsideTheSetter) {
  Event event;
  std::vector<int> order;
  TaskGroup group;
  for (int i = 1; i <= 3; ++i) group.spawn(note(event, kNever, order, i));
  event.set();
  EXPECT_TRUE(order.empty());
  turn();
  EXPECT_EQ(order, (std::vector{1, 2, 3}));
  group.spawn(note(event, kNever, order, 4));
  EXPECT_EQ(order.back(), 4) << "it is set: who comes passes";
  event.reset();
  group.spawn(note(event, kNever, order, 5));
  turn();
  EXPECT_EQ(order.size(), 4U);
}

TEST_F(Sync, AnEventsWaitEndsAtItsDeadline) {
  Event event;
  std::vector<int> order;
  TaskGroup group;
  group.spawn(note(event, in(10ms), order, 1));
  group.spawn(note(event, kNever, order, 2));
  advance(9ms);
  EXPECT_TRUE(order.empty());
  advance(3ms);
  EXPECT_EQ(order, (std::vector{-1}));
  event.set();
  turn();
  EXPECT_EQ(order, (std::vector{-1, 2}));
}

TEST_F(Sync, SetAndDeadlineInOneTurnResumeOnce) {
  Event event;
  std::vector<int> order;
  TaskGroup group;
  group.spawn(note(event, in(10ms), order, 1));
  event.set();
  advance(20ms);
  turn();
  EXPECT_EQ(order, (std::vector{1}));
}

TEST_F(Sync, AWaiterMayBeDestroyedBetweenSetAndItsTurn) {
  Event event;
  std::vector<int> order;
  {
    TaskGroup group;
    group.spawn(note(event, in(5ms), order, 1));
    event.set();
  }
  advance(10ms);
  EXPECT_TRUE(order.empty());
}

TEST_F(Sync, AGroupJoinsWhenTheLastHasEnded) {
  Event event;
  int alive = 0;
  TaskGroup group;
  TaskGroup joins;
  std::vector<int> order;
  for (int i = 0; i < 3; ++i) group.spawn(live_until(event, alive));
  EXPECT_EQ(alive, 3);
  EXPECT_EQ(group.size(), 3U);
  auto join = [](TaskGroup& of, Deadline deadline, std::vector<int>& into) -> Task<> {
    const bool all = co_await of.join(deadline);
    into.push_back(all ? 1 : 0);
  };
  joins.spawn(join(group, kNever, order));
  joins.spawn(join(group, in(5ms), order));
  advance(10ms);
  EXPECT_EQ(order, (std::vector{0}));
  event.set();
  turn();
  turn();
  EXPECT_EQ(order, (std::vector{0, 1}));
  EXPECT_EQ(alive, 0);
  EXPECT_TRUE(fakes::run_task(*loop_, group.join(kNever))) << "an empty group is joined at once";
}

TEST_F(Sync, DestroyingAGroupDestroysItsTasks) {
  Event event;
  int alive = 0;
  {
    TaskGroup group;
    for (int i = 0; i < 5; ++i) group.spawn(live_until(event, alive));
    EXPECT_EQ(alive, 5);
  }
  EXPECT_EQ(alive, 0);
  event.set();
  turn();
}

TEST_F(Sync, AClosedGroupRefusesUnstarted) {
  TaskGroup group;
  int runs = 0;
  EXPECT_TRUE(group.spawn(at_once(runs)));
  EXPECT_EQ(group.size(), 0U);
  group.close();
  EXPECT_FALSE(group.spawn(at_once(runs)));
  EXPECT_EQ(runs, 1);
}

TEST_F(Sync, AGateWaitsForThoseInside) {
  Gate gate;
  bool over = false;
  TaskGroup group;
  {
    Gate::Pass first = gate.try_enter();
    Gate::Pass moved = std::move(first);
    EXPECT_TRUE(moved);
    EXPECT_FALSE(first);
    EXPECT_EQ(gate.inside(), 1U);
    gate.close();
    EXPECT_FALSE(gate.try_enter());
    EXPECT_FALSE(fakes::run_task(*loop_, [](Gate& g, Deadline d, fakes::ManualClock& c) -> Task<bool> {
      c.advance(10ms);
      auto waited = co_await g.wait(d);
      co_return waited;
    }(gate, in(5ms), clock_)));
    group.spawn([](Gate& g, bool& told) -> Task<> { told = co_await g.wait(kNever); }(gate, over));
    EXPECT_FALSE(over);
  }
  turn();
  EXPECT_TRUE(over);
  EXPECT_EQ(gate.inside(), 0U);
}

}  // namespace
}  // namespace trellis
