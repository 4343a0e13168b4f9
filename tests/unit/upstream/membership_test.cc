#include "upstream/membership.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <thread>

#include "base/metrics.h"
#include "net/dns.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "tests/fakes/manual_clock.h"
#include "tests/fakes/run_task.h"

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;
using Names = std::set<std::string>;

// Says what a test set, at once; a name without an answer stays unanswered.
class FakeLookups final : public net::Lookups {
 public:
  struct Say {
    std::vector<net::DnsHost> hosts;
    Duration ttl = 60s;
    bool complete = true;
    std::optional<Code> fails;
    bool silent = false;
  };
  std::map<std::string, Say> says;
  std::map<std::string, int> asked;

  Task<Result<net::DnsAnswer>> addresses(std::string name, uint16_t port, Deadline deadline) override {
    return answer(std::move(name), port, deadline);
  }
  Task<Result<net::DnsAnswer>> services(std::string name, Deadline deadline) override {
    return answer(std::move(name), 0, deadline);
  }

 private:
  Task<Result<net::DnsAnswer>> answer(std::string name, uint16_t port, Deadline deadline) {
    ++asked[name];
    const Say say = says[name];
    if (say.silent) {
      co_await sleep_until(deadline);
      co_return fail(Error(Code::deadline_exceeded, "no answer").from(Side::upstream));
    }
    if (say.fails) co_return fail(Error(*say.fails, "cannot resolve " + name).from(Side::upstream));
    net::DnsAnswer given{say.hosts, say.ttl, say.complete};
    for (net::DnsHost& host : given.hosts) {
      if (port != 0) host.address = *net::make_address(host.address.host(), port);
    }
    co_return given;
  }
};

net::DnsHost at(const std::string& address, uint16_t port = 1, uint16_t priority = 0, uint16_t weight = 0,
                const std::string& target = "") {
  return {*net::make_address(address, port), priority, weight, target};
}

HostConfig address(const std::string& text) { return *HostConfig::from_text(text); }
HostConfig dns(const std::string& text) {
  HostConfig config;
  config.dns = *config::HostPort::from_text(text);
  return config;
}

class MembershipTest : public testing::Test {
 protected:
  MembershipTest() {
    LoopOptions options;
    options.pool = &pool_;
    options.clock = &clock_;
    options.seed = 7;
    loop_ = *Loop::make(options);
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("membership-") + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~MembershipTest() override {
    membership_.reset();
    loop_->run_once(0ms);
    std::filesystem::remove_all(folder_);
  }

  std::shared_ptr<Membership> make(std::vector<HostConfig> configured, HostChanges changes = {}) {
    return Membership::make(*loop_, hosts_, std::move(configured), std::move(changes), lookups_);
  }
  void start(std::vector<HostConfig> configured, HostChanges changes = {}) {
    membership_ = make(std::move(configured), std::move(changes));
    membership_->begin(nullptr);
    membership_->publish(Time::min());
    turn();
  }
  void turn() {
    for (int i = 0; i < 5; ++i) loop_->run_once(0ms);
  }
  // In small steps, so that every timer comes in its order.
  void advance(Duration span) {
    for (Duration done{0}; done < span; done += 100ms) {
      clock_.advance(100ms);
      turn();
    }
  }
  // Files are read by another thread.
  bool eventually(const std::function<bool()>& true_now) {
    const auto until = std::chrono::steady_clock::now() + 60s;
    while (!true_now()) {
      if (std::chrono::steady_clock::now() > until) return false;
      clock_.advance(100ms);
      turn();
      std::this_thread::yield();
    }
    return true;
  }
  Names names() const {
    Names out;
    for (const auto& host : *hosts_->list()) out.insert(host->facts.name);
    return out;
  }
  const Host& host(const std::string& name) const {
    for (const auto& one : *hosts_->list()) {
      if (one->facts.name == name) return *one;
    }
    ADD_FAILURE() << "no host " << name;
    std::abort();
  }
  std::string write(const std::string& name, const std::string& text) {
    const auto path = folder_ / name;
    const auto fresh = folder_ / (name + ".new");
    std::ofstream(fresh, std::ios::binary) << text;
    std::filesystem::rename(fresh, path);
    return path.string();
  }

  fakes::ManualClock clock_;
  std::unique_ptr<Loop> loop_;
  BlockingPool pool_{1};  // ends before the loop: its work comes back to it
  Metrics metrics_;
  std::shared_ptr<FakeLookups> lookups_ = std::make_shared<FakeLookups>();
  std::shared_ptr<Hosts> hosts_ = std::make_shared<Hosts>("app", 2, Balance::round_robin, metrics_);
  std::filesystem::path folder_;
  std::shared_ptr<Membership> membership_;
};

// --- Addresses and names ---

TEST_F(MembershipTest, KnowsNumericHostsAtOnce) {
  HostConfig heavy = address("10.0.0.1:80");
  heavy.weight = 5;
  heavy.zone = "eu";
  heavy.backup = true;
  start({heavy, address("[::1]:80")});
  EXPECT_EQ(names(), (Names{"10.0.0.1:80", "[::1]:80"}));
  EXPECT_EQ(host("10.0.0.1:80").facts.origin, HostOrigin::config);
  EXPECT_EQ(host("10.0.0.1:80").weight(), 5u);
  EXPECT_EQ(host("10.0.0.1:80").facts.zone, "eu");
  EXPECT_TRUE(host("10.0.0.1:80").facts.backup);
}

TEST_F(MembershipTest, MakesEveryAddressOfANameAHost) {
  lookups_->says["api"] = {.hosts = {at("10.0.0.1"), at("2001:db8::1")}};
  start({dns("api:8080")});
  EXPECT_EQ(names(), (Names{"api:8080@10.0.0.1", "api:8080@2001:db8::1"}));
  EXPECT_EQ(host("api:8080@10.0.0.1").facts.authority, "api:8080");
  EXPECT_EQ(host("api:8080@10.0.0.1").facts.origin, HostOrigin::dns);
  EXPECT_EQ(host("api:8080@10.0.0.1").facts.address.to_string(), "10.0.0.1:8080");
}

TEST_F(MembershipTest, TreatsAnAddressThatIsANameLikeDns) {
  lookups_->says["api"] = {.hosts = {at("10.0.0.1")}};
  start({address("api:8080")});
  EXPECT_EQ(names(), Names{"api:8080@10.0.0.1"});
}

TEST_F(MembershipTest, TakesAServerThatTwoSourcesNameOnce) {
  lookups_->says["api"] = {.hosts = {at("10.0.0.1"), at("10.0.0.2")}};
  start({address("10.0.0.1:8080"), dns("api:8080")});
  EXPECT_EQ(names(), (Names{"10.0.0.1:8080", "api:8080@10.0.0.2"}));
}

TEST_F(MembershipTest, LooksUpAgainWhenTheTimeOfTheAnswerIsOver) {
  lookups_->says["api"] = {.hosts = {at("10.0.0.1")}, .ttl = 20s};
  start({dns("api:80")});
  lookups_->says["api"].hosts = {at("10.0.0.2")};
  advance(19s);
  EXPECT_EQ(lookups_->asked["api"], 1);
  EXPECT_EQ(names(), Names{"api:80@10.0.0.1"});
  advance(4s);
  EXPECT_EQ(lookups_->asked["api"], 2);
  EXPECT_EQ(names(), Names{"api:80@10.0.0.2"});
}

TEST_F(MembershipTest, LooksUpNoMoreThanOnceASecondAndAtLeastOnceAnHour) {
  lookups_->says["short"] = {.hosts = {at("10.0.0.1")}, .ttl = 0s};
  lookups_->says["long"] = {.hosts = {at("10.0.0.2")}, .ttl = 24h};
  start({dns("short:80"), dns("long:80")});
  advance(10s);
  EXPECT_GE(lookups_->asked["short"], 9);
  EXPECT_LE(lookups_->asked["short"], 11);
  for (int minute = 0; minute < 67; ++minute) {
    clock_.advance(1min);
    turn();
  }
  EXPECT_EQ(lookups_->asked["long"], 2);
}

TEST_F(MembershipTest, PrefersTheConfiguredTimeBetweenLookups) {
  HostConfig config = dns("api:80");
  config.refresh = 5s;
  lookups_->says["api"] = {.hosts = {at("10.0.0.1")}, .ttl = 1h};
  start({config});
  advance(4900ms);
  EXPECT_EQ(lookups_->asked["api"], 1);
  advance(700ms);
  EXPECT_EQ(lookups_->asked["api"], 2);
}

TEST_F(MembershipTest, DoesNotLetNodesGoInStep) {
  lookups_->says["api"] = {.hosts = {at("10.0.0.1")}, .ttl = 100s};
  std::vector<HostConfig> many;
  for (int i = 0; i < 20; ++i) {
    const std::string name = "n" + std::to_string(i);
    lookups_->says[name] = {.hosts = {at("10.0.1." + std::to_string(i))}, .ttl = 100s};
    many.push_back(dns(name + ":80"));
  }
  start(many);
  const auto again = [&] {
    return std::ranges::count_if(lookups_->asked, [](const auto& one) { return one.second > 1; });
  };
  advance(105s);
  EXPECT_GT(again(), 2);
  EXPECT_LT(again(), 18);
  advance(5500ms);
  EXPECT_EQ(again(), 20);
}

// --- Names that fail ---

TEST_F(MembershipTest, StartsWithoutANameAndTakesItWhenItResolves) {
  lookups_->says["api"] = {.fails = Code::not_found};
  start({dns("api:80"), address("10.0.0.9:80")});
  EXPECT_EQ(names(), Names{"10.0.0.9:80"});
  ASSERT_EQ(membership_->sources().size(), 1u);
  EXPECT_NE(membership_->sources()[0].trouble.find("cannot resolve api"), std::string::npos);
  lookups_->says["api"] = {.hosts = {at("10.0.0.1")}};
  advance(1200ms);
  EXPECT_EQ(names(), (Names{"10.0.0.9:80", "api:80@10.0.0.1"}));
  EXPECT_EQ(membership_->sources()[0].trouble, "");
}

TEST_F(MembershipTest, AsksAFailedNameAgainLessAndLessOften) {
  lookups_->says["api"] = {.fails = Code::unavailable};
  start({dns("api:80")});
  int expected = 1;
  for (const Duration pause : {1s, 2s, 4s, 8s, 16s, 30s, 30s}) {
    EXPECT_EQ(lookups_->asked["api"], expected);
    const Time before = clock_.now();
    while (lookups_->asked["api"] == expected && clock_.now() - before < 60s) advance(100ms);
    EXPECT_GE(clock_.now() - before, pause - 200ms) << expected;
    EXPECT_LE(clock_.now() - before, pause * 11 / 10 + 300ms) << expected;
    ++expected;
  }
  // One good answer, and the next failure begins from the first pause.
  lookups_->says["api"] = {.hosts = {at("10.0.0.1")}, .ttl = 1s};
  advance(33s);
  lookups_->says["api"] = {.fails = Code::unavailable};
  const int before = lookups_->asked["api"];
  advance(3s);
  EXPECT_GE(lookups_->asked["api"], before + 2);
}

TEST_F(MembershipTest, KeepsTheLastGoodAnswerHoweverLongServersFail) {
  lookups_->says["api"] = {.hosts = {at("10.0.0.1")}, .ttl = 1s};
  start({dns("api:80")});
  for (const Code code : {Code::unavailable, Code::deadline_exceeded, Code::data_loss}) {
    lookups_->says["api"] = {.fails = code};
    advance(300s);
    EXPECT_EQ(names(), Names{"api:80@10.0.0.1"});
  }
}

TEST_F(MembershipTest, LetsTheHostsOfANameGoThatNoLongerExists) {
  lookups_->says["api"] = {.hosts = {at("10.0.0.1")}, .ttl = 1s};
  start({dns("api:80")});
  lookups_->says["api"] = {.fails = Code::not_found};
  advance(25s);
  EXPECT_EQ(names(), Names{"api:80@10.0.0.1"});
  advance(60s);
  EXPECT_EQ(names(), Names{});
}

TEST_F(MembershipTest, CountsTheTimeOfAGoneNameFromItsLastOtherAnswer) {
  lookups_->says["api"] = {.hosts = {at("10.0.0.1")}, .ttl = 1s};
  start({dns("api:80")});
  lookups_->says["api"] = {.fails = Code::not_found};
  advance(16s);
  lookups_->says["api"] = {.fails = Code::unavailable};
  advance(40s);
  lookups_->says["api"] = {.fails = Code::not_found};
  advance(32s);
  EXPECT_EQ(names(), Names{"api:80@10.0.0.1"});
}

TEST_F(MembershipTest, KeepsWhatAPartOfAnAnswerDoesNotTell) {
  lookups_->says["api"] = {.hosts = {at("10.0.0.1"), at("2001:db8::1")}, .ttl = 1s};
  start({dns("api:80")});
  lookups_->says["api"] = {.hosts = {at("10.0.0.2")}, .ttl = 100s, .complete = false};
  advance(1500ms);
  EXPECT_EQ(names(), (Names{"api:80@10.0.0.1", "api:80@10.0.0.2", "api:80@2001:db8::1"}));
  lookups_->says["api"] = {.hosts = {at("10.0.0.2")}, .ttl = 100s};
  advance(2500ms);  // asked again soon
  EXPECT_EQ(names(), Names{"api:80@10.0.0.2"});
}

TEST_F(MembershipTest, DoesNotWaitForASilentServer) {
  lookups_->says["api"] = {.silent = true};
  start({dns("api:80"), address("10.0.0.9:80")});
  EXPECT_EQ(names(), Names{"10.0.0.9:80"});
  auto waiting = membership_->first_answers(after(clock_.now(), 1s));
  waiting.start();
  turn();
  EXPECT_FALSE(waiting.done());
  advance(1100ms);
  EXPECT_TRUE(waiting.done());
}

TEST_F(MembershipTest, IsSoonDoneWithFirstAnswers) {
  lookups_->says["api"] = {.hosts = {at("10.0.0.1")}};
  membership_ = make({dns("api:80")});
  membership_->begin(nullptr);
  fakes::run_task(*loop_, membership_->first_answers(kNever));
  EXPECT_EQ(names(), Names{});  // not published yet
  membership_->publish(Time::min());
  EXPECT_EQ(names(), Names{"api:80@10.0.0.1"});
}

// --- Services ---

TEST_F(MembershipTest, TakesWeightsAndBackupsFromServices) {
  HostConfig config;
  config.srv = "_http._tcp.api";
  lookups_->says["_http._tcp.api"] = {.hosts = {at("10.0.0.1", 8001, 10, 60, "a.api"),
                                                at("10.0.0.2", 8002, 10, 20, "b.api"),
                                                at("10.0.0.3", 8003, 20, 0, "c.api")}};
  start({config});
  EXPECT_EQ(names(), (Names{"a.api:8001@10.0.0.1", "b.api:8002@10.0.0.2", "c.api:8003@10.0.0.3"}));
  EXPECT_EQ(host("a.api:8001@10.0.0.1").weight(), 3 * host("b.api:8002@10.0.0.2").weight());
  EXPECT_FALSE(host("a.api:8001@10.0.0.1").facts.backup);
  EXPECT_TRUE(host("c.api:8003@10.0.0.3").facts.backup);
  EXPECT_EQ(host("c.api:8003@10.0.0.3").facts.priority, 0U);
  EXPECT_EQ(host("a.api:8001@10.0.0.1").facts.authority, "a.api:8001");
}

TEST_F(MembershipTest, KeepsTheOrderOfServicesThatAreBackupsThemselves) {
  HostConfig config;
  config.srv = "_http._tcp.api";
  config.priority = 2;
  config.backup = true;
  lookups_->says["_http._tcp.api"] = {.hosts = {at("10.0.0.1", 8001, 10, 0, "a.api"),
                                                at("10.0.0.2", 8002, 20, 0, "b.api"),
                                                at("10.0.0.3", 8003, 30, 0, "c.api")}};
  start({config});
  for (const auto& [name, priority] :
       {std::pair{"a.api:8001@10.0.0.1", 2U}, {"b.api:8002@10.0.0.2", 3U}, {"c.api:8003@10.0.0.3", 4U}}) {
    EXPECT_TRUE(host(name).facts.backup);
    EXPECT_EQ(host(name).facts.priority, priority) << name;
  }
}

TEST(SharesOfServices, KeepTheProportionsWithinTheLimit) {
  const auto shares = shares_of_services({{1, 60000}, {1, 30000}, {1, 0}, {2, 65535}}, {1, 1, 1, 1});
  ASSERT_EQ(shares.size(), 4u);
  EXPECT_NEAR(static_cast<double>(shares[0].weight) / shares[1].weight, 2.0, 0.01);
  EXPECT_EQ(shares[2].weight, 1u);
  EXPECT_EQ(shares[2].place, 0u);
  EXPECT_EQ(shares[3].place, 1u);
}

TEST(SharesOfServices, CountWeightsWithinTheirPriorityAndStandInTheOrderOfIt) {
  const auto shares = shares_of_services({{10, 1}, {10, 2}, {30, 7}, {20, 60000}, {30, 0}}, {1, 1, 1, 1, 1});
  EXPECT_EQ(shares[1].weight, 2 * shares[0].weight) << "a heavy record behind them takes nothing of their proportion";
  EXPECT_EQ(shares[3].weight, 1u);
  for (const auto& [i, place] : {std::pair{0, 0U}, {1, 0U}, {2, 2U}, {3, 1U}, {4, 2U}})
    EXPECT_EQ(shares[static_cast<size_t>(i)].place, place) << i;
}

TEST(SharesOfServices, AreEvenWhereNoWeightIsGiven) {
  for (const ServiceShare& share : shares_of_services({{0, 0}, {0, 0}}, {1, 1})) EXPECT_EQ(share.weight, 1u);
}

TEST(SharesOfServices, ShareATargetsWeightAmongItsAddresses) {
  const auto shares = shares_of_services({{0, 10}, {0, 10}, {0, 10}}, {2, 2, 1});
  EXPECT_EQ(shares[0].weight * 2, shares[2].weight);
  EXPECT_EQ(shares[0].weight, shares[1].weight);
}

TEST(SharesOfServices, AreNoneOfNothing) { EXPECT_TRUE(shares_of_services({}, {}).empty()); }

// --- Files ---

TEST_F(MembershipTest, FollowsAFile) {
  HostConfig config;
  config.file = write("hosts.txt", "10.0.0.1:80 weight=3\n10.0.0.2:80 backup zone=eu\n");
  config.weight = 2;
  start({config});
  ASSERT_TRUE(eventually([&] { return names() == Names{"10.0.0.1:80", "10.0.0.2:80"}; }));
  EXPECT_EQ(host("10.0.0.1:80").weight(), 3u);
  EXPECT_EQ(host("10.0.0.2:80").weight(), 2u);
  EXPECT_TRUE(host("10.0.0.2:80").facts.backup);
  EXPECT_EQ(host("10.0.0.2:80").facts.zone, "eu");
  EXPECT_EQ(host("10.0.0.1:80").facts.origin, HostOrigin::file);
  write("hosts.txt", "10.0.0.3:80\n");
  EXPECT_TRUE(eventually([&] { return names() == Names{"10.0.0.3:80"}; }));
}

TEST_F(MembershipTest, KeepsTheLastGoodListOfABrokenOrMissingFile) {
  HostConfig config;
  config.file = write("hosts.txt", "10.0.0.1:80\n");
  start({config});
  ASSERT_TRUE(eventually([&] { return names() == Names{"10.0.0.1:80"}; }));
  write("hosts.txt", "10.0.0.2:80\n10.0.0.3\n");
  const auto trouble = [&] { return membership_->sources()[0].trouble; };
  ASSERT_TRUE(eventually([&] { return trouble().find("hosts.txt:2: ") != std::string::npos; })) << trouble();
  EXPECT_EQ(names(), Names{"10.0.0.1:80"});
  std::filesystem::remove(config.file);
  ASSERT_TRUE(eventually([&] { return trouble().find("No such file") != std::string::npos; })) << trouble();
  EXPECT_EQ(names(), Names{"10.0.0.1:80"});
  write("hosts.txt", "10.0.0.4:80\n");
  EXPECT_TRUE(eventually([&] { return names() == Names{"10.0.0.4:80"}; }));
  EXPECT_EQ(trouble(), "");
}

TEST_F(MembershipTest, StartsWithoutTheFile) {
  HostConfig config;
  config.file = (folder_ / "later.txt").string();
  start({config});
  ASSERT_TRUE(eventually([&] { return !membership_->sources()[0].trouble.empty(); }));
  write("later.txt", "10.0.0.1:80\n");
  EXPECT_TRUE(eventually([&] { return names() == Names{"10.0.0.1:80"}; }));
}

// --- Changes at run time ---

TEST_F(MembershipTest, LaysChangesOverTheSources) {
  lookups_->says["api"] = {.hosts = {at("10.0.1.1"), at("10.0.1.2")}};
  HostChanges changes;
  changes.added.push_back({.at = *config::HostPort::from_text("10.0.0.9:80"), .weight = 4, .zone = "eu"});
  changes.removed = {"10.0.0.1:80"};
  changes.draining = {"api:80"};
  changes.weights = {{"10.0.0.2:80", 7}};
  start({address("10.0.0.1:80"), address("10.0.0.2:80"), dns("api:80")}, changes);
  EXPECT_EQ(names(), (Names{"10.0.0.2:80", "10.0.0.9:80", "api:80@10.0.1.1", "api:80@10.0.1.2"}));
  EXPECT_EQ(host("10.0.0.9:80").facts.origin, HostOrigin::control);
  EXPECT_EQ(host("10.0.0.9:80").weight(), 4u);
  EXPECT_EQ(host("10.0.0.2:80").weight(), 7u);
  EXPECT_TRUE(host("api:80@10.0.1.1").draining());
  EXPECT_TRUE(host("api:80@10.0.1.2").draining());
  EXPECT_FALSE(host("10.0.0.2:80").draining());
  membership_->set_changes({});
  EXPECT_EQ(names(), (Names{"10.0.0.1:80", "10.0.0.2:80", "api:80@10.0.1.1", "api:80@10.0.1.2"}));
  EXPECT_EQ(host("10.0.0.2:80").weight(), 1u);
  EXPECT_FALSE(host("api:80@10.0.1.1").draining());
}

TEST_F(MembershipTest, LooksUpNamesThatAreAddedAndStopsWhenTheyAreRemoved) {
  lookups_->says["new"] = {.hosts = {at("10.0.0.5")}, .ttl = 1s};
  start({address("10.0.0.1:80")});
  HostChanges changes;
  changes.added.push_back({.at = *config::HostPort::from_text("new:80")});
  membership_->set_changes(changes);
  turn();
  EXPECT_EQ(names(), (Names{"10.0.0.1:80", "new:80@10.0.0.5"}));
  advance(5s);
  const int asked = lookups_->asked["new"];
  EXPECT_GT(asked, 3);
  membership_->set_changes({});
  EXPECT_EQ(names(), Names{"10.0.0.1:80"});
  advance(5s);
  EXPECT_EQ(lookups_->asked["new"], asked);
}

TEST_F(MembershipTest, KeepsTheStateOfHostsThatStay) {
  start({address("10.0.0.1:80"), address("10.0.0.2:80")});
  const Host* const before = &host("10.0.0.1:80");
  HostChanges changes;
  changes.removed = {"10.0.0.2:80"};
  changes.weights = {{"10.0.0.1:80", 3}};
  membership_->set_changes(changes);
  EXPECT_EQ(&host("10.0.0.1:80"), before);
}

// --- Reload ---

TEST_F(MembershipTest, TakesOverTheAnswersOfTheOneBefore) {
  lookups_->says["api"] = {.hosts = {at("10.0.0.1")}};
  start({dns("api:80"), address("10.0.0.8:80")});
  lookups_->says["api"] = {.fails = Code::unavailable};
  auto next = make({dns("api:80"), address("10.0.0.9:80")});
  next->begin(membership_.get());
  EXPECT_EQ(names(), (Names{"10.0.0.8:80", "api:80@10.0.0.1"}));  // until it is published
  next->publish(clock_.now());
  membership_->stop();
  EXPECT_EQ(names(), (Names{"10.0.0.9:80", "api:80@10.0.0.1"}));
  const int asked = lookups_->asked["api"];
  advance(120s);
  EXPECT_EQ(names(), (Names{"10.0.0.9:80", "api:80@10.0.0.1"}));
  EXPECT_LT(lookups_->asked["api"], asked + 12);  // by one of them only
  membership_ = next;
}

TEST_F(MembershipTest, LeavesNoHostsOfTheOneBefore) {
  start({address("10.0.0.8:80")});
  lookups_->says["new"] = {.fails = Code::not_found};
  auto next = make({dns("new:80")});
  next->begin(membership_.get());
  next->publish(clock_.now());
  EXPECT_EQ(names(), Names{});
  membership_ = next;
}

TEST_F(MembershipTest, ThatIsThrownAwayUnpublishedChangesNothing) {
  start({address("10.0.0.8:80")});
  {
    auto next = make({address("10.0.0.9:80")});
    next->begin(membership_.get());
  }
  turn();
  EXPECT_EQ(names(), Names{"10.0.0.8:80"});
}

}  // namespace
}  // namespace trellis::upstream
