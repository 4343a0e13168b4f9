// The shared state of hosts, and who of them may be asked.
#include "upstream/hosts.h"

#include <gtest/gtest.h>

#include "base/metrics.h"
#include "upstream/eligible.h"

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;

constexpr Time kStart = Time(1000s);

HostFacts host(int number, std::string zone = "", bool backup = false) {
  const std::string name = "127.0.0.1:" + std::to_string(8000 + number);
  return {
      .name = name, .authority = name, .address = *net::parse_address(name), .zone = std::move(zone), .backup = backup};
}

class HostsTest : public testing::Test {
 protected:
  Host& at(size_t i) { return *(*hosts.list())[i]; }
  std::vector<std::vector<HostId>> tiers(EligibleRules rules = {}) {
    std::vector<std::vector<HostId>> found;
    for (Tier& tier : eligible_hosts(*hosts.list(), rules, now).tiers) found.push_back(std::move(tier.hosts));
    return found;
  }
  std::vector<HostId> eligible(EligibleRules rules = {}) { return tiers(rules).at(0); }
  void members(std::vector<HostFacts> list) { hosts.set_members(std::move(list), Time::min()); }
  bool eject(size_t i, double share = 0.5) { return hosts.eject(at(i), "test", 30s, 5min, share, now); }

  Metrics metrics;
  Hosts hosts{"api", 2, Balance::round_robin, metrics};
  Time now = kStart;
};

using Ids = std::vector<HostId>;
using Tiers = std::vector<Ids>;

TEST_F(HostsTest, ThoseThatStayKeepTheirState) {
  members({host(1), host(2)});
  hosts.set_failing(at(1), true, "test", now);
  const uint64_t version = hosts.version();
  hosts.set_members({host(2), host(3)}, now);
  EXPECT_GT(hosts.version(), version);
  ASSERT_EQ(hosts.list()->size(), 2U);
  EXPECT_TRUE(at(0).failing());
  EXPECT_EQ(at(0).joined(), Time::min());
  EXPECT_EQ(at(1).joined(), now) << "it came while the node ran: a slow start";
}

TEST_F(HostsTest, TheFiguresOfAHostGoWithItOnceNobodyUsesIt) {
  const auto told = [&](int number) {
    return metrics.prometheus_text().find(":" + std::to_string(8000 + number)) != std::string::npos;
  };
  members({host(1), host(2)});
  at(0).figures().answers("200").add();
  at(0).figures().checks("pass").add();
  at(0).figures().ejections("latency").add();
  at(0).figures().seconds().record(1ms);
  std::shared_ptr<Host> under_way = (*hosts.list())[0];
  members({host(2)});
  EXPECT_TRUE(told(1)) << "a request is under way there";
  under_way->figures().answers("200").add();
  members({host(1), host(2)});
  EXPECT_EQ(at(0).figures().answers("200").value(), 2U) << "it is back before the last one left";
  under_way.reset();
  EXPECT_TRUE(told(1));
  members({host(2)});
  EXPECT_FALSE(told(1));
  EXPECT_TRUE(told(2));
  for (int number = 100; number < 200; ++number) members({host(number)});
  EXPECT_FALSE(told(198));
  EXPECT_TRUE(told(199));
}

TEST_F(HostsTest, OneThatIsNamedTwiceIsOne) {
  members({host(1), host(1), host(2)});
  EXPECT_EQ(hosts.list()->size(), 2U);
}

TEST_F(HostsTest, OnlyThoseThatAreUpAreAsked) {
  members({host(1), host(2), host(3), host(4), host(5)});
  EXPECT_EQ(eligible(), (Ids{0, 1, 2, 3, 4}));
  hosts.set_weight(at(0), 0);
  hosts.set_draining(at(1), true, now);
  hosts.set_failing(at(2), true, "test", now);
  ASSERT_TRUE(eject(3));
  EXPECT_EQ(eligible(), (Ids{4}));
}

TEST_F(HostsTest, BackupsAreAskedOnlyWhileNoOtherCanBe) {
  members({host(1), host(2), host(3, "", true)});
  EXPECT_EQ(eligible(), (Ids{0, 1}));
  hosts.set_failing(at(0), true, "test", now);
  EXPECT_EQ(eligible(), (Ids{1}));
  hosts.set_failing(at(1), true, "test", now);
  EXPECT_EQ(eligible(), (Ids{2}));
  hosts.set_failing(at(1), false, "test", now);
  EXPECT_EQ(eligible(), (Ids{1}));
}

TEST_F(HostsTest, BackupsStandBehindTheOthersForWhoAskedThemAll) {
  members({host(1, "", true), host(2), host(3, "", true), host(4)});
  EXPECT_EQ(tiers(), (Tiers{{1, 3}, {0, 2}}));
  hosts.set_failing(at(2), true, "test", now);
  EXPECT_EQ(tiers(), (Tiers{{1, 3}, {0}}));
  hosts.set_failing(at(1), true, "test", now);
  EXPECT_EQ(tiers({.panic = 0.6}), (Tiers{{0, 3}})) << "too few of the others are up: they help";
  hosts.set_failing(at(0), true, "test", now);
  EXPECT_EQ(tiers({.panic = 0.6}), (Tiers{{1, 3}, {0, 2}})) << "a panic";
  EXPECT_EQ(tiers(), (Tiers{{3}}));
}

TEST_F(HostsTest, PrioritiesStandOneBehindTheOtherAndBackupsBehindAll) {
  const auto of = [](int number, uint32_t priority, bool backup = false) {
    HostFacts facts = host(number, "", backup);
    facts.priority = priority;
    return facts;
  };
  members({of(1, 0, true), of(2, 7), of(3, 2), of(4, 2), of(5, 100)});
  EXPECT_EQ(tiers(), (Tiers{{2, 3}, {1}, {4}, {0}}));
  hosts.set_failing(at(2), true, "test", now);
  hosts.set_failing(at(3), true, "test", now);
  EXPECT_EQ(tiers(), (Tiers{{1}, {4}, {0}}));
  hosts.set_failing(at(3), false, "test", now);
  EXPECT_EQ(tiers({.panic = 0.8}), (Tiers{{1, 3}, {4}, {0}})) << "half of the first ones are too few: the next help";
}

TEST_F(HostsTest, WhenNobodyIsLeftAllAreAskedButThoseTakenOutByHand) {
  members({host(1), host(2), host(3), host(4, "", true)});
  for (size_t i = 0; i < 4; ++i) hosts.set_failing(at(i), true, "test", now);
  hosts.set_draining(at(0), true, now);
  const Eligible found = eligible_hosts(*hosts.list(), {}, now);
  EXPECT_TRUE(found.panic);
  ASSERT_EQ(found.tiers.size(), 2U);
  EXPECT_EQ(found.tiers[0].hosts, (Ids{1, 2}));
  EXPECT_EQ(found.tiers[1].hosts, (Ids{3}));
}

TEST_F(HostsTest, PanicMayBeginEarlier) {
  members({host(1), host(2), host(3), host(4)});
  for (size_t i = 0; i < 3; ++i) hosts.set_failing(at(i), true, "test", now);
  EXPECT_EQ(eligible(), (Ids{3}));
  EXPECT_EQ(eligible({.zone = {}, .panic = 0.5}), (Ids{0, 1, 2, 3}));
}

TEST_F(HostsTest, TheOwnZoneServesItselfWhileEnoughOfItIsUp) {
  members({host(1, "a"), host(2, "a"), host(3, "a"), host(4, "b")});
  EXPECT_EQ(tiers({.zone = "a"}), (Tiers{{0, 1, 2}, {3}}));
  EXPECT_TRUE(eligible_hosts(*hosts.list(), {.zone = "a"}, now).tiers[0].overflows);
  EXPECT_EQ(eligible({.zone = "c"}), (Ids{0, 1, 2, 3}));
  hosts.set_failing(at(0), true, "test", now);
  EXPECT_EQ(eligible({.zone = "a"}), (Ids{1, 2, 3})) << "two of three are less than its share";
  EXPECT_EQ(eligible({.zone = "a", .zone_share = 0.6}), (Ids{1, 2}));
}

TEST_F(HostsTest, EjectionsGrowAreBoundedAndEnd) {
  members({host(1), host(2), host(3), host(4)});
  ASSERT_TRUE(eject(0));
  EXPECT_EQ(at(0).out_until(), now + 30s);
  EXPECT_FALSE(eject(0)) << "it is out already";
  ASSERT_TRUE(eject(1));
  EXPECT_FALSE(eject(2)) << "half of them are out";
  EXPECT_EQ(hosts.bring_back(now + 29s), now + 30s);
  now += 30s;
  EXPECT_EQ(hosts.bring_back(now), kNever);
  EXPECT_EQ(eligible(), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(at(0).joined(), now);
  ASSERT_TRUE(eject(0));
  EXPECT_EQ(at(0).out_until(), now + 60s) << "twice as long the second time";
  now += 60s;
  hosts.bring_back(now);
  hosts.forgive(at(0));
  ASSERT_TRUE(eject(0));
  EXPECT_EQ(at(0).out_until(), now + 30s);
}

TEST_F(HostsTest, OneOfTwoMayAlwaysGoAndTheOnlyOneNever) {
  members({host(1), host(2)});
  EXPECT_TRUE(eject(0, 0.1));
  EXPECT_FALSE(eject(1, 0.1));
  members({host(3)});
  EXPECT_FALSE(eject(0, 0.5));
}

TEST_F(HostsTest, TheirFiguresComeAndGoWithThem) {
  members({host(1)});
  EXPECT_NE(metrics.prometheus_text().find("trellis_upstream_healthy{upstream=\"api\",host=\"127.0.0.1:8001\"} 1"),
            std::string::npos);
  hosts.set_failing(at(0), true, "test", now);
  EXPECT_NE(metrics.prometheus_text().find("trellis_upstream_healthy{upstream=\"api\",host=\"127.0.0.1:8001\"} 0"),
            std::string::npos);
  members({});
  EXPECT_EQ(metrics.prometheus_text().find("trellis_upstream_healthy{"), std::string::npos);
}

}  // namespace
}  // namespace trellis::upstream
