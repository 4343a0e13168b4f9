// Passive ejection with a clock moved by hand: what counts, how long a host is out, how many at most, and the way back.
#include "upstream/health/ejection.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "base/metrics.h"
#include "base/rng.h"
#include "upstream/health/host_watch.h"
#include "upstream/hosts.h"

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;

class UpstreamEjection : public testing::Test {
 protected:
  void begin(size_t hosts) {
    hosts_ = std::make_shared<Hosts>("api", 2, Balance::round_robin, metrics_);
    std::vector<HostFacts> members;
    for (size_t i = 0; i < hosts; ++i) {
      const std::string name = "10.0.0." + std::to_string(i + 1) + ":80";
      members.push_back({.name = name, .authority = name, .address = *net::parse_address(name), .zone = {}});
    }
    hosts_->set_members(std::move(members), Time::min());
    ejection_ = std::make_shared<Ejection>(hosts_, config_);
    watch_ = std::make_unique<HostWatch>(hosts_, ejection_);
    watch_->tick(now_);
  }
  Host& host(size_t i) { return *(*hosts_->list())[i]; }
  void fail(size_t i, int times, Outcome how = Outcome::error_5xx) {
    for (int n = 0; n < times; ++n) ejection_->record(host(i), how, now_);
  }
  void pass(size_t i) { ejection_->record(host(i), Outcome::ok, now_); }
  void advance(Duration by) {
    const Time end = now_ + by;
    while (now_ < end) {
      now_ = std::min(end, now_ + Duration(250ms));
      watch_->tick(now_);
    }
  }
  size_t out() {
    const auto list = hosts_->list();
    return static_cast<size_t>(std::ranges::count_if(*list, [&](const auto& each) { return !each->up(now_); }));
  }
  uint64_t ejections(size_t i, const char* reason) {
    return metrics_
        .counter("trellis_upstream_ejections_total", "",
                 {{"upstream", "api"}, {"host", host(i).facts.name}, {"reason", reason}})
        .value();
  }
  // Answers of an interval, from two cores.
  void answered(size_t i, int good, int bad, Duration took = 10ms) {
    for (int n = 0; n < good; ++n) host(i).tally(static_cast<size_t>(n % 2)).add(false, took);
    for (int n = 0; n < bad; ++n) host(i).tally(static_cast<size_t>(n % 2)).add(true, took);
  }

  Metrics metrics_;
  EjectConfig config_;
  std::shared_ptr<Hosts> hosts_;
  std::shared_ptr<Ejection> ejection_;
  std::unique_ptr<HostWatch> watch_;
  Time now_ = Time(1h);
};

TEST(UpstreamOutcome, ServerErrorsCountButForWhatAnyClientCanAskFor) {
  EXPECT_EQ(outcome_of(500), Outcome::error_5xx);
  EXPECT_EQ(outcome_of(502), Outcome::error_5xx);
  EXPECT_EQ(outcome_of(503), Outcome::error_5xx);
  EXPECT_EQ(outcome_of(504), Outcome::error_5xx);
  EXPECT_EQ(outcome_of(599), Outcome::error_5xx);
  for (const int status : {200, 204, 302, 400, 404, 408, 429, 499, 501, 505}) {
    EXPECT_EQ(outcome_of(status), Outcome::ok) << status;
  }
}

TEST(UpstreamOutcome, AnErrorSaysHowTheTryEnded) {
  EXPECT_EQ(outcome_of(Error(Code::unavailable, "connect").retry(Retry::yes)), Outcome::connect);
  EXPECT_EQ(outcome_of(Error(Code::deadline_exceeded, "connect").retry(Retry::yes)), Outcome::connect);
  EXPECT_EQ(outcome_of(Error(Code::deadline_exceeded, "no answer in time")), Outcome::timeout);
  EXPECT_EQ(outcome_of(Error(Code::data_loss, "malformed answer")), Outcome::reset);
}

TEST_F(UpstreamEjection, FiveErrorsInARowPutAHostOut) {
  begin(3);
  fail(0, 4);
  EXPECT_TRUE(host(0).up(now_));
  fail(0, 1, Outcome::timeout);
  EXPECT_FALSE(host(0).up(now_));
  EXPECT_EQ(host(0).out_until(), now_ + 30s);
  EXPECT_EQ(ejections(0, "consecutive_errors"), 1U);
  EXPECT_TRUE(host(1).up(now_));
}

TEST_F(UpstreamEjection, AGoodAnswerBetweenBeginsTheRowAnew) {
  begin(2);
  for (int round = 0; round < 100; ++round) {
    fail(0, 4);
    pass(0);
  }
  EXPECT_TRUE(host(0).up(now_));
}

TEST_F(UpstreamEjection, OffPutsNobodyOut) {
  config_ = *EjectConfig::from_text("off");
  begin(2);
  fail(0, 1000);
  EXPECT_TRUE(host(0).up(now_));
}

TEST_F(UpstreamEjection, TheOnlyHostIsNeverPutOut) {
  begin(1);
  fail(0, 1000);
  EXPECT_TRUE(host(0).up(now_));
}

TEST_F(UpstreamEjection, NeverMoreThanTheShareIsOut) {
  Rng rng(4);
  for (const double share : {0.0, 0.1, 0.34, 0.5, 1.0}) {
    for (const size_t count : {2U, 3U, 10U, 17U}) {
      config_.max_share = share;
      begin(count);
      const auto allowed = std::max<size_t>(1, static_cast<size_t>(share * static_cast<double>(count)));
      size_t most = 0;
      for (int round = 0; round < 400; ++round) {
        fail(rng.below(count), 5);
        most = std::max(most, out());
        if (rng.below(4) == 0) advance(5s);
      }
      EXPECT_EQ(most, allowed) << share << " of " << count;
    }
  }
}

TEST_F(UpstreamEjection, EachTimeInARowLastsTwiceAsLongUpToTheMost) {
  begin(2);
  for (const Duration expected :
       {Duration(30s), Duration(60s), Duration(120s), Duration(240s), Duration(300s), Duration(300s)}) {
    fail(0, 5);
    ASSERT_EQ(host(0).out_until() - now_, expected);
    advance(expected - 250ms);
    ASSERT_FALSE(host(0).up(now_));
    advance(250ms);
    ASSERT_TRUE(host(0).up(now_));
    ASSERT_EQ(host(0).out_until(), Time::min());  // brought back, so that every core hears of it
  }
}

TEST_F(UpstreamEjection, AHostThatWorkedAsLongAsItWasOutBeginsAnew) {
  begin(2);
  fail(0, 5);
  advance(30s);
  fail(0, 5);
  EXPECT_EQ(host(0).out_until() - now_, 60s);
  advance(60s);
  advance(50s);  // not long enough: the third time in a row
  fail(0, 5);
  EXPECT_EQ(host(0).out_until() - now_, 120s);
  advance(120s);
  advance(140s);
  fail(0, 5);
  EXPECT_EQ(host(0).out_until() - now_, 30s);
}

TEST_F(UpstreamEjection, AWatchThatIsReplacedForgetsNothingAndForgives) {
  begin(2);
  fail(0, 5);
  watch_ = std::make_unique<HostWatch>(hosts_, ejection_);
  advance(30s);
  EXPECT_TRUE(host(0).up(now_));
  watch_ = std::make_unique<HostWatch>(hosts_, ejection_);
  advance(45s);
  fail(0, 5);
  EXPECT_EQ(host(0).out_until() - now_, 30s);
}

TEST_F(UpstreamEjection, WhatWasUnderWayWhenItWasPutOutDoesNotCount) {
  begin(2);
  fail(0, 5);
  const Time until = host(0).out_until();
  advance(1s);
  fail(0, 500);
  EXPECT_EQ(host(0).out_until(), until);
  advance(29s);
  ASSERT_TRUE(host(0).up(now_));
  fail(0, 4);
  EXPECT_TRUE(host(0).up(now_));
}

TEST_F(UpstreamEjection, EveryChangeIsAVersionForTheOtherCores) {
  begin(2);
  const uint64_t before = hosts_->version();
  fail(0, 5);
  const uint64_t ejected = hosts_->version();
  EXPECT_GT(ejected, before);
  advance(30s);
  EXPECT_GT(hosts_->version(), ejected);
}

TEST_F(UpstreamEjection, FourCoresThatSeeAHostFailPutItOutOnce) {
  begin(4);
  std::vector<std::jthread> cores;
  for (int i = 0; i < 4; ++i) {
    cores.emplace_back([&] {
      for (int n = 0; n < 2000; ++n) ejection_->record(host(0), Outcome::connect, now_);
    });
  }
  cores.clear();
  EXPECT_EQ(ejections(0, "consecutive_errors"), 1U);
  EXPECT_EQ(host(0).out_until(), now_ + 30s);
}

TEST_F(UpstreamEjection, TheErrorRateOfAnIntervalIsJudgedOverAllCores) {
  config_.consecutive_errors = 0;
  config_.error_rate = 0.5;
  begin(4);
  for (size_t i = 1; i < 4; ++i) answered(i, 100, 0);
  answered(0, 40, 60);
  advance(9750ms);
  EXPECT_TRUE(host(0).up(now_));
  advance(250ms);
  EXPECT_FALSE(host(0).up(now_));
  EXPECT_EQ(ejections(0, "error_rate"), 1U);
  EXPECT_EQ(out(), 1U);
}

TEST_F(UpstreamEjection, AnIntervalIsJudgedByItselfAlone) {
  config_.error_rate = 0.5;
  begin(4);
  answered(0, 0, 19);  // too few to be judged
  advance(10s);
  answered(0, 0, 19);
  advance(10s);
  EXPECT_EQ(out(), 0U);
  answered(0, 0, 20);
  advance(10s);
  EXPECT_EQ(out(), 1U);
  advance(30s);  // back, and nothing of before counts
  EXPECT_EQ(out(), 0U);
  EXPECT_EQ(ejections(0, "error_rate"), 1U);
}

TEST_F(UpstreamEjection, TheSlowOneOfThreeGoes) {
  config_.slower_than = 3.0;
  begin(3);
  answered(0, 50, 0, 10ms);
  answered(1, 50, 0, 12ms);
  answered(2, 50, 0, 60ms);
  advance(10s);
  EXPECT_FALSE(host(2).up(now_));
  EXPECT_EQ(ejections(2, "latency"), 1U);
  EXPECT_EQ(out(), 1U);
}

TEST_F(UpstreamEjection, OfSeveralThatStandOutTheWorstGoesWhenNotAllMay) {
  config_.error_rate = 0.3;
  config_.max_share = 0.34;
  begin(3);
  answered(0, 60, 40);
  answered(1, 10, 90);
  answered(2, 50, 50);
  advance(10s);
  EXPECT_FALSE(host(1).up(now_));
  EXPECT_EQ(out(), 1U);
}

TEST_F(UpstreamEjection, HostsThatComeAreJudgedFromThenOnAndThoseThatLeaveAreForgotten) {
  config_.error_rate = 0.5;
  begin(3);
  const std::string name = "10.0.0.9:80";
  std::vector<HostFacts> members{host(0).facts,
                                 host(1).facts,
                                 {.name = name, .authority = name, .address = *net::parse_address(name), .zone = {}}};
  hosts_->set_members(std::move(members), now_);
  advance(1s);
  answered(2, 0, 50);
  advance(10s);
  EXPECT_FALSE(host(2).up(now_));
  EXPECT_EQ(ejections(2, "error_rate"), 1U);
}

}  // namespace
}  // namespace trellis::upstream
