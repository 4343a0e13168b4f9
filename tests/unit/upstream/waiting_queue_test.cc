#include "upstream/waiting_queue.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "runtime/sync.h"
#include "tests/fakes/manual_clock.h"
#include "tests/fakes/run_task.h"

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;
using Turn = WaitingQueue::Turn;

class WaitingQueueTest : public testing::Test {
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
  static Task<> wait(WaitingQueue& queue, Deadline deadline, std::string name, std::vector<std::string>& log) {
    WaitingQueue::Waiter waiter(queue, deadline);
    const Turn got = co_await waiter;
    log.push_back(name + " " + std::string(to_string(got)));
  }
  fakes::ManualClock clock_;
  std::unique_ptr<Loop> loop_;
  std::vector<std::string> log_;
};

TEST_F(WaitingQueueTest, FirstComeFirstServed) {
  WaitingQueue queue(10, 1s);
  TaskGroup group;
  for (const char* name : {"a", "b", "c"}) group.spawn(wait(queue, kNever, name, log_));
  EXPECT_EQ(queue.waiting(), 3U);
  EXPECT_FALSE(queue.may_try());
  queue.wake_one();
  EXPECT_TRUE(log_.empty()) << "never from inside the one who wakes";
  turn();
  EXPECT_EQ(log_, (std::vector<std::string>{"a served"}));
  queue.wake(5);
  turn();
  EXPECT_EQ(log_, (std::vector<std::string>{"a served", "b served", "c served"}));
  EXPECT_TRUE(queue.may_try());
}

TEST_F(WaitingQueueTest, IsFullAtItsLimit) {
  WaitingQueue queue(2, 1s);
  TaskGroup group;
  for (const char* name : {"a", "b", "c"}) group.spawn(wait(queue, kNever, name, log_));
  EXPECT_EQ(log_, (std::vector<std::string>{"c full"})) << "at once";
  group.cancel_all();
  EXPECT_EQ(queue.waiting(), 0U);
  group.spawn(wait(queue, kNever, "d", log_));
  EXPECT_EQ(queue.waiting(), 1U);
  group.cancel_all();
  WaitingQueue none(0, 1s);
  group.spawn(wait(none, kNever, "e", log_));
  EXPECT_EQ(log_.back(), "e full");
}

TEST_F(WaitingQueueTest, AWaitEndsByItselfOrAtTheRequestsDeadline) {
  WaitingQueue queue(10, 500ms);
  TaskGroup group;
  group.spawn(wait(queue, kNever, "a", log_));
  group.spawn(wait(queue, after(loop_->now(), 100ms), "b", log_));
  group.spawn(wait(queue, loop_->now(), "c", log_));
  EXPECT_EQ(log_, (std::vector<std::string>{"c late"}));
  advance(102ms);
  EXPECT_EQ(log_.back(), "b late");
  advance(396ms);
  EXPECT_EQ(log_.size(), 2U);
  advance(4ms);
  EXPECT_EQ(log_.back(), "a late");
  EXPECT_EQ(queue.waiting(), 0U);
}

TEST_F(WaitingQueueTest, AQueueThatStandsMakesNewcomersWaitShortly) {
  WaitingQueue queue(100, 500ms);
  TaskGroup group;
  group.spawn(wait(queue, kNever, "first", log_));
  advance(300ms);
  group.spawn(wait(queue, kNever, "second", log_));
  advance(150ms);
  queue.wake_one();
  turn();
  EXPECT_EQ(log_.back(), "first served");
  EXPECT_FALSE(queue.standing(loop_->now()));
  advance(60ms);
  EXPECT_TRUE(queue.standing(loop_->now())) << "somebody has been waiting for 510 ms";
  group.spawn(wait(queue, kNever, "third", log_));
  advance(52ms);
  EXPECT_EQ(log_.back(), "third late") << "after a tenth";
  queue.wake_one();
  turn();
  EXPECT_EQ(log_.back(), "second served");
  group.spawn(wait(queue, kNever, "fourth", log_));
  advance(400ms);
  EXPECT_EQ(log_.back(), "second served") << "it was empty: the whole time again";
  group.cancel_all();
}

TEST_F(WaitingQueueTest, NoTurnIsLostWithAWaiterThatWasWokenAndLeft) {
  WaitingQueue queue(10, 1s);
  auto first = std::make_unique<TaskGroup>();
  TaskGroup others;
  first->spawn(wait(queue, kNever, "a", log_));
  others.spawn(wait(queue, kNever, "b", log_));
  others.spawn(wait(queue, kNever, "c", log_));
  queue.wake_one();
  first.reset();  // its client leaves before it has resumed
  turn();
  EXPECT_EQ(log_, (std::vector<std::string>{"b served"}));
  queue.wake_one();
  turn();
  EXPECT_EQ(log_.back(), "c served");
}

TEST_F(WaitingQueueTest, OneThatIsWokenIsNotLateAnyMore) {
  WaitingQueue queue(10, 100ms);
  TaskGroup group;
  group.spawn(wait(queue, kNever, "a", log_));
  queue.wake_one();
  advance(200ms);
  EXPECT_EQ(log_, (std::vector<std::string>{"a served"}));
}

Task<> wait_twice(WaitingQueue& queue, std::string name, std::vector<std::string>& log) {
  WaitingQueue::Waiter waiter(queue, kNever);
  Turn got = co_await waiter;
  log.push_back(name + " " + std::string(to_string(got)));
  got = co_await waiter;
  log.push_back(name + " again " + std::string(to_string(got)));
}

TEST_F(WaitingQueueTest, WhoFoundNothingGoesBackToItsPlaceWithItsDeadline) {
  WaitingQueue queue(10, 100ms);
  TaskGroup group;
  group.spawn(wait_twice(queue, "a", log_));
  group.spawn(wait_twice(queue, "b", log_));
  group.spawn(wait(queue, kNever, "c", log_));
  queue.wake(2);
  turn();
  EXPECT_EQ(log_, (std::vector<std::string>{"a served", "b served"}));
  queue.wake(3);
  turn();
  EXPECT_EQ(log_[2], "a again served");
  EXPECT_EQ(log_[3], "b again served");
  EXPECT_EQ(log_[4], "c served");
  group.spawn(wait_twice(queue, "d", log_));
  advance(60ms);
  queue.wake_one();
  turn();
  advance(42ms);
  EXPECT_EQ(log_.back(), "d again late") << "102 ms in all";
}

TEST_F(WaitingQueueTest, ANewcomerTakesWhatTheWokenDoNotNeed) {
  WaitingQueue queue(10, 1s);
  TaskGroup group;
  group.spawn(wait(queue, kNever, "a", log_));
  queue.wake_one();
  EXPECT_FALSE(queue.may_try()) << "that is for a";
  queue.wake_one();
  EXPECT_TRUE(queue.may_try()) << "a second one is free";
  EXPECT_FALSE(queue.may_try()) << "and taken";
  turn();
  EXPECT_TRUE(queue.may_try());
}

// Places, requests that come, hold one for a while and leave, some of them early: at every moment all places are taken
// or nobody waits, and nobody has more than there are.
struct Crowd {
  size_t places;
  size_t taken = 0;
  size_t most_taken = 0;
  int served = 0;
  int refused = 0;
};
struct Holding {
  Crowd& crowd;
  WaitingQueue& queue;
  ~Holding() {
    --crowd.taken;
    queue.wake_one();
  }
};
Task<> visit(WaitingQueue& queue, Crowd& crowd, Duration stays) {
  WaitingQueue::Waiter waiter(queue, kNever);
  bool may = queue.may_try();
  while (!may || crowd.taken >= crowd.places) {
    const Turn got = co_await waiter;
    if (got != Turn::yours) {
      ++crowd.refused;
      co_return;
    }
    may = true;
  }
  ++crowd.taken;
  crowd.most_taken = std::max(crowd.most_taken, crowd.taken);
  Holding holding{crowd, queue};
  co_await sleep_for(stays);
  ++crowd.served;
}

TEST_F(WaitingQueueTest, KeepsEveryPlaceBusyWhateverTheClientsDo) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    Rng rng(seed);
    WaitingQueue queue(20, 100ms);
    Crowd crowd{.places = 1 + rng.below(5)};
    std::vector<std::unique_ptr<TaskGroup>> clients;
    for (int i = 0; i < 3000; ++i) {
      if (rng.below(3) > 0) {
        clients.push_back(std::make_unique<TaskGroup>());
        clients.back()->spawn(visit(queue, crowd, Duration(static_cast<int64_t>(rng.below(20'000'000)))));
      }
      if (!clients.empty() && rng.below(4) == 0) {
        const size_t who = rng.below(clients.size());
        clients.erase(clients.begin() + static_cast<ptrdiff_t>(who));  // leaves, whatever it does
      }
      if (rng.below(2) == 0) advance(Duration(static_cast<int64_t>(rng.below(8'000'000))));
      turn();
      ASSERT_TRUE(queue.waiting() == 0 || crowd.taken == crowd.places) << "seed " << seed << " step " << i;
      std::erase_if(clients, [](const auto& client) { return client->size() == 0; });
    }
    EXPECT_EQ(crowd.most_taken, crowd.places);
    EXPECT_GT(crowd.served, 100) << seed;
    clients.clear();
    turn();
    EXPECT_EQ(crowd.taken, 0U);
    EXPECT_TRUE(queue.may_try());
  }
}

// Twice as many requests as can be served: those that are served have not waited long, and no place is idle.
TEST_F(WaitingQueueTest, UnderOverloadItServesAsManyAsCanBeAndSoon) {
  struct Timed {
    static Task<> visit(WaitingQueue& queue, Crowd& crowd, std::vector<Duration>& waits) {
      const Time came = Loop::current().now();
      WaitingQueue::Waiter waiter(queue, kNever);
      bool may = queue.may_try();
      while (!may || crowd.taken >= crowd.places) {
        const Turn got = co_await waiter;
        if (got != Turn::yours) {
          ++crowd.refused;
          co_return;
        }
        may = true;
      }
      waits.push_back(Loop::current().now() - came);
      ++crowd.taken;
      Holding holding{crowd, queue};
      co_await sleep_for(20ms);
    }
  };
  WaitingQueue queue(10'000, 500ms);
  Crowd crowd{.places = 10};
  TaskGroup group;
  std::vector<Duration> waits;
  for (int ms = 0; ms < 10'000; ++ms) {
    group.spawn(Timed::visit(queue, crowd, waits));  // 1,000 a second, of which 476 can be served
    advance(1ms);
  }
  EXPECT_GT(waits.size(), 4500U);
  std::vector<Duration> late(waits.begin() + static_cast<ptrdiff_t>(waits.size() / 2), waits.end());
  EXPECT_LE(*std::ranges::max_element(late), 60ms);
  group.cancel_all();
  turn();
}

}  // namespace
}  // namespace trellis::upstream
