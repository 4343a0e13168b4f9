// The limit against a simulated server: k workers, a queue without end, service times by a seed. Time is simulated, so
// that minutes of traffic take a moment; bounds are wide enough for any seed.
#include "upstream/adaptive_limit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <queue>
#include <vector>

#include "base/rng.h"
#include "runtime/sync.h"
#include "tests/fakes/manual_clock.h"
#include "tests/fakes/read_config.h"
#include "upstream/waiting_queue.h"

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;
using Outcome = AdaptiveLimit::Outcome;

// How the times of a server's answers are spread about their mean.
enum class Spread { none, exponential, long_tail };

// `cores` limits before one server; every core always has more requests than it may send.
class Site {
 public:
  Site(uint64_t seed, size_t workers, Duration service, size_t cores = 1, AdaptiveLimitConfig config = {})
      : rng_(seed), workers_(workers), service_(service) {
    for (size_t i = 0; i < cores; ++i) limits_.push_back(std::make_unique<AdaptiveLimit>(config, nullptr, 0ns));
  }

  struct Figures {
    double rate = 0;     // answers a second
    double seconds = 0;  // to an answer, on average
    double under_way = 0;
  };
  Figures run(Duration span) {
    const Time until = now_ + span;
    uint64_t answers = 0;
    double waited = 0;
    while (true) {
      for (size_t core = 0; core < limits_.size(); ++core) fill(core);
      if (ends_.empty() || ends_.top().at > until) break;
      now_ = ends_.top().at;
      const size_t id = ends_.top().request;
      ends_.pop();
      --busy_;
      ++answers;
      waited += seconds(now_ - requests_[id].began);
      requests_[id].place.done(outcome, now_);
      free_.push_back(id);
      start_waiting();
    }
    now_ = until;
    return {static_cast<double>(answers) / seconds(span), waited / static_cast<double>(answers),
            waited / seconds(span)};
  }
  void set_workers(size_t workers) { workers_ = workers; }
  void set_service(Duration service) { service_ = service; }
  AdaptiveLimit& limit(size_t core = 0) { return *limits_[core]; }
  double capacity() const { return static_cast<double>(workers_) / seconds(service_); }

  Outcome outcome = Outcome::answered;
  Spread spread = Spread::exponential;
  uint32_t demand = UINT32_MAX;  // most requests under way that there are clients for, a core

 private:
  struct Request {
    AdaptiveLimit::Place place;
    Time began;
  };
  struct End {
    Time at;
    size_t request;
    bool operator<(const End& other) const { return at > other.at; }
  };
  void fill(size_t core) {
    while (limits_[core]->under_way() < demand) {
      AdaptiveLimit::Place place = limits_[core]->try_enter(now_);
      if (!place) return;
      size_t id = requests_.size();
      if (free_.empty()) {
        requests_.emplace_back();
      } else {
        id = free_.back();
        free_.pop_back();
      }
      requests_[id].place = std::move(place);
      requests_[id].began = now_;
      waiting_.push_back(id);
      start_waiting();
    }
  }
  double draw() {
    if (spread == Spread::none) return 1;
    const double exponential = -std::log(1 - rng_.unit());
    if (spread == Spread::exponential) return exponential;
    return exponential * (rng_.unit() < 0.9 ? 0.25 : 7.75);
  }
  void start_waiting() {
    while (busy_ < workers_ && !waiting_.empty()) {
      const double took = draw() * seconds(service_);
      ends_.push({now_ + Duration(static_cast<int64_t>(took * 1e9) + 1), waiting_.front()});
      waiting_.pop_front();
      ++busy_;
    }
  }

  Rng rng_;
  size_t workers_;
  Duration service_;
  std::vector<std::unique_ptr<AdaptiveLimit>> limits_;
  std::deque<Request> requests_;  // before the limits go
  std::vector<size_t> free_;
  std::deque<size_t> waiting_;
  std::priority_queue<End> ends_;
  size_t busy_ = 0;
  Time now_{1000s};
};

TEST(AdaptiveLimit, FindsAboutTheCapacityOfAServer) {
  for (const size_t workers : {6, 20, 60}) {
    Site site(workers, workers, 40ms);
    site.run(45s);
    const Site::Figures figures = site.run(30s);
    const double k = static_cast<double>(workers);
    EXPECT_GT(figures.rate, 0.9 * site.capacity()) << workers << " workers";
    EXPECT_GT(figures.under_way, 0.9 * k) << workers << " workers";
    EXPECT_LT(figures.under_way, 2.0 * k + 4) << workers << " workers";
  }
}

TEST(AdaptiveLimit, FindsItHoweverTheTimesAreSpread) {
  for (const Spread spread : {Spread::none, Spread::long_tail}) {
    Site site(1, 20, 40ms);
    site.spread = spread;
    site.run(60s);
    const Site::Figures figures = site.run(60s);
    EXPECT_GT(figures.rate, 0.8 * site.capacity()) << static_cast<int>(spread);
    EXPECT_LT(figures.under_way, 48) << static_cast<int>(spread);
  }
}

TEST(AdaptiveLimit, FindsItFromFarAbove) {
  Site site(1, 8, 20ms, 1, {.initial = 500});
  site.run(90s);
  EXPECT_LT(site.run(30s).under_way, 20);
}

TEST(AdaptiveLimit, FindsItFromFarBelow) {
  Site site(1, 100, 40ms, 1, {.initial = 4});
  site.run(20s);
  EXPECT_GT(site.run(8s).rate, 0.9 * site.capacity());
}

TEST(AdaptiveLimit, DoesNotTakeAStandingQueueForTheServersPace) {
  // There is always more to do: the shortest time stays what it is.
  Site site(3, 6, 40ms);
  site.run(600s);
  EXPECT_LT(site.run(60s).under_way, 16);
  EXPECT_LT(site.limit().shortest(), 40ms) << "22.5 ms by their logarithms";
}

// Their probes have to be at the same time, or the queue of one is the pace that another believes in.
TEST(AdaptiveLimit, CoresTogetherFindTheCapacityToo) {
  Site site(1, 40, 40ms, 8);
  site.run(180s);
  const Site::Figures figures = site.run(20s);
  EXPECT_GT(figures.rate, 0.9 * site.capacity());
  EXPECT_LT(figures.under_way, 160) << "each core has a headroom of its own";
}

TEST(AdaptiveLimit, GoesDownWhenTheServerLosesWorkersAndComesBack) {
  Site site(1, 40, 40ms);
  site.run(40s);
  const double before = site.run(10s).under_way;
  site.set_workers(8);
  site.run(20s);
  const double less = site.run(30s).under_way;
  EXPECT_LT(less, 0.6 * before);
  EXPECT_LT(less, 24);
  site.set_workers(40);
  site.run(30s);
  EXPECT_GT(site.run(20s).rate, 0.9 * site.capacity());
}

TEST(AdaptiveLimit, GoesDownWhenTheServerSlowsAndLearnsTheNewPace) {
  Site site(1, 40, 40ms);
  site.run(40s);
  const uint32_t before = site.limit().limit();
  site.set_service(160ms);
  site.run(3s);
  EXPECT_LT(site.limit().limit(), before * 3 / 4);
  site.run(240s);
  EXPECT_GT(site.run(60s).rate, 0.8 * site.capacity()) << "as many workers as before";
  site.set_service(40ms);
  site.run(40s);
  EXPECT_GT(site.run(20s).rate, 0.9 * site.capacity());
}

// Where an answer takes a second, a probe that is over in a quarter of one finds nothing.
TEST(AdaptiveLimit, MeasuresASlowServerForLonger) {
  Site site(1, 20, 1s);
  site.run(600s);
  const Site::Figures figures = site.run(300s);
  EXPECT_GT(figures.rate, 0.8 * site.capacity());
  EXPECT_LT(figures.under_way, 44);
  EXPECT_GT(site.limit().shortest(), 300ms);
  EXPECT_LT(site.limit().shortest(), 1000ms);
}

TEST(AdaptiveLimit, DoesNotGrowWhileItIsNotReached) {
  Site site(1, 100, 20ms, 1, {.initial = 50});
  site.demand = 5;
  for (int i = 0; i < 120; ++i) {
    site.run(1s);
    EXPECT_LE(site.limit().limit(), 50U);
  }
}

TEST(AdaptiveLimit, GoesDownWhenTheUpstreamSaysThatItIsOverloaded) {
  Site site(1, 40, 40ms, 1, {.min = 3, .initial = 200});
  site.outcome = Outcome::overloaded;
  site.run(30s);
  EXPECT_EQ(site.limit().limit(), 3U);
  site.outcome = Outcome::answered;
  site.run(40s);
  EXPECT_GT(site.run(20s).rate, 0.9 * site.capacity());
}

TEST(AdaptiveLimit, QuickErrorsAreNoMeasure) {
  Site site(1, 20, 20ms);
  site.run(60s);
  ASSERT_GT(site.limit().shortest(), 5ms);
  const Duration shortest = site.limit().shortest();
  site.outcome = Outcome::other;
  site.set_service(4ms);
  site.run(20s);
  EXPECT_EQ(site.limit().shortest(), shortest);
}

TEST(AdaptiveLimit, StaysWithinItsBounds) {
  Site low(1, 1, 20ms, 1, {.min = 10, .max = 60});
  Site high(1, 1000, 40ms, 1, {.min = 10, .max = 60});
  for (int i = 0; i < 60; ++i) {
    low.run(1s);
    high.run(1s);
    EXPECT_LE(low.limit().under_way(), 60U);
    EXPECT_GE(low.limit().limit(), 10U);
    EXPECT_LE(high.limit().limit(), 60U);
  }
  EXPECT_GE(high.run(10s).under_way, 50);
}

TEST(AdaptiveLimit, APlaceIsGivenBackOnceHoweverItEnds) {
  AdaptiveLimit limit({.initial = 4}, nullptr, 0ns);
  const Time now(1000s);
  {
    AdaptiveLimit::Place first = limit.try_enter(now);
    AdaptiveLimit::Place second = limit.try_enter(now);
    ASSERT_TRUE(first && second);
    EXPECT_EQ(limit.under_way(), 2U);
    first.done(Outcome::answered, now + 1ms);
    first.done(Outcome::answered, now + 1ms);
    EXPECT_FALSE(first);
    AdaptiveLimit::Place moved = std::move(second);
    EXPECT_EQ(limit.under_way(), 1U);
    moved = limit.try_enter(now);
    EXPECT_EQ(limit.under_way(), 1U);
  }
  EXPECT_EQ(limit.under_way(), 0U);
  std::vector<AdaptiveLimit::Place> places;
  for (int i = 0; i < 4; ++i) places.push_back(limit.try_enter(now));
  EXPECT_TRUE(places.back());
  EXPECT_FALSE(limit.try_enter(now));
}

// Requests of a slow upstream, none of which ends: who waits hears of more room all the same.
class WaitingForAPlace : public testing::Test {
 protected:
  WaitingForAPlace() : loop_(*Loop::make({.io = IoKind::epoll, .clock = &clock_})), queue_(10, 1min) {}
  void advance(Duration by) {
    clock_.advance(by);
    loop_->run_once(Duration::zero());
  }
  void enter(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      places_.push_back(limit_.try_enter(loop_->now()));
      ASSERT_TRUE(places_.back()) << i;
    }
  }
  static Task<> wait(WaitingForAPlace& test) {
    WaitingQueue::Waiter waiter(test.queue_, kNever);
    AdaptiveLimit::Place place;
    while (!(place = test.limit_.try_enter(test.loop_->now()))) {
      if (co_await waiter != WaitingQueue::Turn::yours) co_return;
    }
    test.places_.push_back(std::move(place));
  }

  fakes::ManualClock clock_;
  std::unique_ptr<Loop> loop_;
  WaitingQueue queue_;
  AdaptiveLimit limit_{{.initial = 8}, &queue_, 0ns};
  std::vector<AdaptiveLimit::Place> places_;
  TaskGroup waiting_;  // goes first
};

TEST_F(WaitingForAPlace, WhoIsHeldBackByAProbeGoesOnWhenItEnds) {
  enter(5);
  advance(1s);
  for (int i = 0; i < 4; ++i) waiting_.spawn(wait(*this));
  EXPECT_EQ(queue_.waiting(), 4U) << "a probe lets in a quarter of eight";
  advance(240ms);
  EXPECT_EQ(queue_.waiting(), 4U);
  advance(12ms);
  EXPECT_EQ(queue_.waiting(), 1U);
  EXPECT_EQ(limit_.under_way(), 8U);
}

TEST_F(WaitingForAPlace, PlacesThatBecameFreeInAProbeAreGivenWhenItEnds) {
  enter(8);
  for (int i = 0; i < 4; ++i) waiting_.spawn(wait(*this));
  EXPECT_EQ(queue_.waiting(), 4U);
  advance(1s);
  for (int i = 0; i < 3; ++i) places_[static_cast<size_t>(i)].done(Outcome::answered, loop_->now());
  loop_->run_once(Duration::zero());
  EXPECT_EQ(queue_.waiting(), 4U) << "five are more than a quarter of eight";
  advance(252ms);
  EXPECT_EQ(queue_.waiting(), 1U);
  EXPECT_EQ(limit_.under_way(), 8U);
}

TEST(AdaptiveLimit, NodesWithDifferentClocksMeasureAtTheSameMoment) {
  const WallTime wall(std::chrono::seconds(1'790'000'000));
  for (const Duration uptime : {Duration(5s), Duration(86400s), Duration(1234567891ns)}) {
    const Time now(uptime);
    const Duration phase = AdaptiveLimit::phase_of("api", 30s, now, wall);
    const Duration expected = (wall.time_since_epoch() + AdaptiveLimit::phase_of("api", 30s, Time{}, WallTime{})) % 30s;
    EXPECT_EQ((now.time_since_epoch() + phase) % 30s, expected);
  }
  EXPECT_NE(AdaptiveLimit::phase_of("api", 30s, Time{}, wall), AdaptiveLimit::phase_of("web", 30s, Time{}, wall));
}

struct Holder {
  std::optional<AdaptiveLimitConfig> adaptive;
  static config::Fields<Holder> fields() { return {{"adaptive", "the limit", &Holder::adaptive}}; }
};

TEST(AdaptiveLimit, IsConfiguredByAWordOrAMap) {
  EXPECT_FALSE(fakes::read_config<Holder>("{}").adaptive);
  EXPECT_TRUE(fakes::read_config<Holder>("adaptive: true").adaptive->on);
  EXPECT_FALSE(fakes::read_config<Holder>("adaptive: false").adaptive->on);
  const auto given =
      fakes::read_config<Holder>("adaptive: { min: 2, max: 50, initial: 10, probe_every: 10s }").adaptive;
  EXPECT_TRUE(given->on);
  EXPECT_EQ(given->max, 50U);
  EXPECT_NE(fakes::config_problems<Holder>("adaptive: { min: 20, max: 10 }").find("is less than min"),
            std::string::npos);
  EXPECT_NE(fakes::config_problems<Holder>("adaptive: maybe").find("true, false"), std::string::npos);
}

}  // namespace
}  // namespace trellis::upstream
