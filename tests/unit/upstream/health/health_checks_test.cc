// The rhythm of active checks with a clock moved by hand, against a server on loopback that answers as it is told.
#include "upstream/health/health_checks.h"

#include "base/metrics.h"
#include "tests/fakes/manual_clock.h"
#include "tests/unit/http/wire_kit.h"
#include "upstream/health/host_care.h"

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;
using namespace http::test;

TEST(RiseAndFall, ChangesAfterSoManyInARow) {
  RiseAndFall state(3, 2, false);
  EXPECT_FALSE(state.note(false));
  EXPECT_FALSE(state.note(false));
  EXPECT_TRUE(state.note(false));
  EXPECT_TRUE(state.failing());
  EXPECT_FALSE(state.note(true));
  EXPECT_TRUE(state.note(true));
  EXPECT_FALSE(state.failing());
}

TEST(RiseAndFall, OneOfTheOtherKindBeginsTheRowAnew) {
  RiseAndFall state(3, 2, false);
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(state.note(false));
    EXPECT_FALSE(state.note(false));
    EXPECT_FALSE(state.note(true));
  }
  EXPECT_FALSE(state.failing());
}

TEST(RiseAndFall, ChangesAtOnceWithOne) {
  RiseAndFall state(1, 1, false);
  for (int i = 0; i < 10; ++i) {
    EXPECT_TRUE(state.note(false));
    EXPECT_TRUE(state.note(true));
  }
}

TEST(CheckRhythm, TheFirstIsSoonTheSecondSpreadAndTheRestJittered) {
  Rng rng(3);
  double sum = 0;
  Duration least = 1h;
  Duration most{0};
  for (int i = 0; i < 2000; ++i) {
    EXPECT_LT(wait_before_check(0, 10s, rng), 1s);
    EXPECT_LT(wait_before_check(0, 200ms, rng), 200ms);
    EXPECT_LT(wait_before_check(1, 10s, rng), 10s);
    const Duration wait = wait_before_check(2 + static_cast<uint64_t>(i), 10s, rng);
    least = std::min(least, wait);
    most = std::max(most, wait);
    sum += seconds(wait);
  }
  EXPECT_GE(least, 9s);
  EXPECT_LE(most, 11s);
  EXPECT_LT(least, 9050ms);
  EXPECT_GT(most, 10950ms);
  EXPECT_NEAR(sum / 2000, 10.0, 0.1);
}

class UpstreamHealth : public testing::Test {
 protected:
  UpstreamHealth() {
    auto made = Loop::make({.io = IoKind::epoll, .clock = &clock_, .seed = 5});
    TRELLIS_ASSERT(made.has_value());
    loop_ = *std::move(made);
    server_ = std::make_unique<FarServer>(*loop_, [this](Socket& socket, int) { return answer(*this, socket); });
    hosts_ = std::make_shared<Hosts>("api", 1, Balance::round_robin, metrics_);
    config_.interval = 10s;
  }
  ~UpstreamHealth() override {
    care_.reset();
    server_.reset();
    turns(5);
  }
  static Task<> answer(UpstreamHealth& self, Socket& socket) {
    auto got = co_await receive_until(socket, "\r\n\r\n", kNever);
    if (!got || got->empty()) co_return;
    ++self.under_way_;
    self.most_under_way_ = std::max(self.most_under_way_, self.under_way_);
    if (self.hang_) {
      auto end = co_await socket.recv(kNever);  // until it is given up
      (void)end;
      --self.under_way_;
      co_return;
    }
    std::string text = "HTTP/1.1 " + std::to_string(self.status_) + " X\r\nContent-Length: 0\r\n\r\n";
    auto sent = co_await send_text(socket, std::move(text), kNever);
    (void)sent;
    --self.under_way_;
    ++self.answered_;
  }
  void turns(int count) {
    for (int i = 0; i < count; ++i) loop_->run_once(Duration::zero());
  }
  template <class F>
  bool until(F is_so) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!is_so()) {
      if (std::chrono::steady_clock::now() > end) return false;
      loop_->run_once(Duration::zero());
    }
    return true;
  }
  // The clock moves on until another check has its result.
  bool next_check() {
    const double before = checks();
    for (int step = 0; step < 2000 && checks() == before; ++step) {
      clock_.advance(10ms);
      turns(4);
      // What is on its way arrives, whatever the clock says.
      if (!hang_ && server_->connections > static_cast<int>(checks()))
        until([&] { return static_cast<int>(checks()) >= server_->connections; });
    }
    return checks() > before;
  }
  double checks() { return static_cast<double>(results("pass") + results("fail")); }
  uint64_t results(const char* outcome) {
    uint64_t sum = 0;
    for (const std::string& name : names_) {
      sum +=
          metrics_
              .counter("trellis_upstream_checks_total", "", {{"upstream", "api"}, {"host", name}, {"outcome", outcome}})
              .value();
    }
    return sum;
  }
  void members(int count, bool distrust = false) {
    std::vector<HostFacts> list;
    names_.clear();
    for (int i = 0; i < count; ++i) {
      names_.push_back("host" + std::to_string(i));
      list.push_back({.name = names_.back(), .authority = "h:1", .address = server_->address(), .zone = {}});
    }
    hosts_->distrust_new(distrust);
    hosts_->set_members(std::move(list), Time::min());
  }
  void care(const std::optional<HealthConfig>& health) {
    care_ = std::make_unique<HostCare>(hosts_, std::make_shared<Ejection>(hosts_, EjectConfig()), health);
    care_->start();
  }
  Host& host(size_t i) { return *(*hosts_->list())[i]; }

  fakes::ManualClock clock_;
  std::unique_ptr<Loop> loop_;
  Metrics metrics_;
  std::shared_ptr<Hosts> hosts_;
  HealthConfig config_;
  std::unique_ptr<FarServer> server_;
  std::unique_ptr<HostCare> care_;
  std::vector<std::string> names_;
  int status_ = 200;
  int answered_ = 0;
  int under_way_ = 0;
  int most_under_way_ = 0;
  bool hang_ = false;
};

TEST_F(UpstreamHealth, AHostFailsAfterThreeBadChecksAndIsBackAfterTwoGoodOnes) {
  members(1);
  care(config_);
  status_ = 500;
  for (const bool failing : {false, false, true, true}) {
    ASSERT_TRUE(next_check());
    EXPECT_EQ(host(0).failing(), failing);
  }
  EXPECT_FALSE(host(0).up(clock_.now()));
  status_ = 200;
  for (const bool failing : {true, false, false}) {
    ASSERT_TRUE(next_check());
    EXPECT_EQ(host(0).failing(), failing);
  }
  EXPECT_EQ(results("fail"), 4U);
  EXPECT_EQ(results("pass"), 3U);
}

TEST_F(UpstreamHealth, TheFirstCheckComesWithinASecond) {
  members(1);
  care(config_);
  const Time began = clock_.now();
  ASSERT_TRUE(next_check());
  EXPECT_LE(clock_.now() - began, 1100ms);
}

TEST_F(UpstreamHealth, AHostThatFailsMayBeCheckedMoreOften) {
  members(1);
  config_.unhealthy_interval = 1s;
  config_.unhealthy_after = 1;
  care(config_);
  status_ = 500;
  ASSERT_TRUE(next_check());
  ASSERT_TRUE(host(0).failing());
  ASSERT_TRUE(next_check());  // somewhere within its interval
  for (int i = 0; i < 5; ++i) {
    const Time began = clock_.now();
    ASSERT_TRUE(next_check());
    EXPECT_LE(clock_.now() - began, 1200ms);
    EXPECT_GE(clock_.now() - began, 800ms);
  }
}

TEST_F(UpstreamHealth, OneCheckOfAHostAtATime) {
  members(1);
  config_.interval = 1s;
  config_.timeout = 30s;
  hang_ = true;
  care(config_);
  ASSERT_TRUE(until([&] {
    clock_.advance(10ms);
    return under_way_ == 1;
  }));
  for (int step = 0; step < 200; ++step) {
    clock_.advance(100ms);
    turns(4);
  }
  EXPECT_EQ(server_->connections, 1);
  EXPECT_EQ(most_under_way_, 1);
  ASSERT_TRUE(until([&] {
    clock_.advance(100ms);
    return results("fail") == 1;
  }));
}

TEST_F(UpstreamHealth, WithInitialUnhealthyAHostWaitsForItsChecks) {
  members(1, true);
  EXPECT_FALSE(host(0).up(clock_.now()));
  care(config_);
  ASSERT_TRUE(next_check());
  EXPECT_TRUE(host(0).failing());
  ASSERT_TRUE(next_check());
  EXPECT_FALSE(host(0).failing());
}

TEST_F(UpstreamHealth, HostsThatComeAreCheckedAndThoseThatLeaveAreNot) {
  config_.interval = 1s;
  members(1);
  care(config_);
  ASSERT_TRUE(next_check());
  members(3);
  ASSERT_TRUE(until([&] {
    clock_.advance(10ms);
    turns(2);
    for (const std::string& name : names_) {
      const auto& passed = metrics_.counter("trellis_upstream_checks_total", "",
                                            {{"upstream", "api"}, {"host", name}, {"outcome", "pass"}});
      if (passed.value() == 0) return false;
    }
    return true;
  }));
  members(0);
  for (int step = 0; step < 100; ++step) {  // whatever is under way ends
    clock_.advance(10ms);
    turns(4);
  }
  const int before = server_->connections;
  for (int step = 0; step < 500; ++step) {
    clock_.advance(10ms);
    turns(4);
  }
  EXPECT_EQ(server_->connections, before);
}

TEST_F(UpstreamHealth, WhatItsChecksFoundOutlivesThem) {
  members(2);
  config_.unhealthy_after = 1;
  care(config_);
  status_ = 500;
  ASSERT_TRUE(next_check());
  ASSERT_TRUE(next_check());
  care_.reset();
  status_ = 200;
  config_.interval = 5s;
  const size_t failing = static_cast<size_t>(host(0).failing()) + static_cast<size_t>(host(1).failing());
  EXPECT_GE(failing, 1U);
  care(config_);  // as a reload with another interval does
  EXPECT_EQ(static_cast<size_t>(host(0).failing()) + static_cast<size_t>(host(1).failing()), failing);
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(next_check());
  EXPECT_FALSE(host(0).failing());
  EXPECT_FALSE(host(1).failing());
}

TEST_F(UpstreamHealth, WithoutChecksNobodyFailsAnyMore) {
  members(1);
  config_.unhealthy_after = 1;
  care(config_);
  status_ = 500;
  ASSERT_TRUE(next_check());
  ASSERT_TRUE(host(0).failing());
  care_.reset();
  care(std::nullopt);
  EXPECT_FALSE(host(0).failing());
}

TEST_F(UpstreamHealth, EndsInTheMiddleOfACheck) {
  members(3);
  hang_ = true;
  care(config_);
  ASSERT_TRUE(until([&] {
    clock_.advance(10ms);
    return under_way_ > 0;
  }));
  care_.reset();
  ASSERT_TRUE(until([&] { return under_way_ == 0; }));  // its connections were closed
}

}  // namespace
}  // namespace trellis::upstream
