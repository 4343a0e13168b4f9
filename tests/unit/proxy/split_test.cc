// Shares are exact, a key stays where it is, and a share that changes moves its own difference only.
#include "proxy/filters/split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/hash.h"
#include "base/rng.h"
#include "proxy/split_plan.h"
#include "tests/unit/proxy/filter_parts_kit.h"

namespace trellis::proxy {
namespace {

using test::body_text;
using test::Exchange;
using test::NamedTarget;
using test::PartsKit;
using test::read_config;
using test::Rig;

constexpr uint32_t kPoints = SplitPlan::kPoints;

std::vector<uint32_t> counts(const SplitPlan& plan, size_t ways) {
  std::vector<uint32_t> out(ways);
  for (uint32_t point = 0; point < kPoints; ++point) ++out.at(plan.way_of(point));
  return out;
}
uint32_t moved(const SplitPlan& before, const SplitPlan& now) {
  uint32_t count = 0;
  for (uint32_t point = 0; point < kPoints; ++point) count += before.way_of(point) != now.way_of(point);
  return count;
}
// Random points of `others` ways, `most` at most each, and no more than there are.
std::vector<uint32_t> random_shares(Rng& rng, size_t others, uint32_t most) {
  std::vector<uint32_t> out(others);
  uint32_t left = kPoints;
  for (uint32_t& share : out) {
    share = static_cast<uint32_t>(rng.below(std::min(left, most) + 1));
    left -= share;
  }
  return out;
}

TEST(SplitPlan, GivesEachWayExactlyItsShare) {
  Rng rng(1);
  for (int round = 0; round < 500; ++round) {
    const size_t others = rng.below(SplitPlan::kMaxOthers + 1);
    const std::vector<uint32_t> shares = random_shares(rng, others, kPoints);
    const std::vector<uint32_t> got = counts(SplitPlan(shares), others + 1);
    uint32_t rest = kPoints;
    for (size_t i = 0; i < others; ++i) {
      EXPECT_EQ(got[i + 1], shares[i]);
      rest -= shares[i];
    }
    EXPECT_EQ(got[0], rest);
  }
}

TEST(SplitPlan, MovesOnlyTheDifferenceWithTwoOrThreeWays) {
  Rng rng(2);
  for (int round = 0; round < 500; ++round) {
    const size_t others = 1 + rng.below(2);
    std::vector<uint32_t> shares = random_shares(rng, others, kPoints);
    const SplitPlan before(shares);
    uint32_t& changed = shares[rng.below(others)];
    uint32_t rest = kPoints + changed;
    for (const uint32_t share : shares) rest -= share;
    const uint32_t now = static_cast<uint32_t>(rng.below(rest + 1));
    const uint32_t difference = std::max(now, changed) - std::min(now, changed);
    changed = now;
    EXPECT_EQ(moved(before, SplitPlan(shares)), difference);
  }
}

TEST(SplitPlan, MovesOnlyTheDifferenceOfEachWayUpToAnEighth) {
  Rng rng(3);
  for (int round = 0; round < 500; ++round) {
    const size_t others = 1 + rng.below(SplitPlan::kMaxOthers);
    const std::vector<uint32_t> before = random_shares(rng, others, kPoints / 8);
    const std::vector<uint32_t> now = random_shares(rng, others, kPoints / 8);
    uint32_t differences = 0;
    for (size_t i = 0; i < others; ++i) differences += std::max(now[i], before[i]) - std::min(now[i], before[i]);
    EXPECT_EQ(moved(SplitPlan(before), SplitPlan(now)), differences);
  }
}

TEST(SplitPlan, ANewWayTakesFromTheFirstOneOnly) {
  const std::vector<uint32_t> three = {500, 500, 500};
  const std::vector<uint32_t> four = {500, 500, 500, 700};
  EXPECT_EQ(moved(SplitPlan(three), SplitPlan(four)), 700u);
}

TEST(SplitPlan, SpreadsKeysEvenly) {
  std::vector<uint32_t> tenths(10);
  constexpr uint32_t kKeys = 100'000;
  for (uint32_t i = 0; i < kKeys; ++i) {
    const uint32_t point = SplitPlan::point_of(hash64("client-" + std::to_string(i)));
    ASSERT_LT(point, kPoints);
    ++tenths[point / (kPoints / 10)];
  }
  // Five standard deviations of a binomial draw: 5 * sqrt(100000 * 0.1 * 0.9) = 474.
  for (const uint32_t count : tenths) EXPECT_NEAR(count, kKeys / 10, 475);
  EXPECT_EQ(SplitPlan::point_of(0), 0u);
  EXPECT_LT(SplitPlan::point_of(UINT64_MAX), kPoints);
}

struct SplitTest : ::testing::Test {
  Rig rig;
  PartsKit kit;
  NamedTarget stable{"stable"};
  NamedTarget canary{"canary"};
  NamedTarget own{"own"};
  std::unique_ptr<Chain> chain;

  SplitTest() { kit.targets = {{"stable", &stable}, {"canary", &canary}}; }
  void configure(std::string_view yaml) {
    auto made = SplitFilter::make(read_config<SplitConfig>(yaml), kit.parts);
    ASSERT_TRUE(made) << made.error().to_string();
    std::vector<std::unique_ptr<Filter>> filters;
    filters.push_back(*std::move(made));
    chain = std::make_unique<Chain>(std::move(filters), own);
  }
  // Which target answered.
  std::string ask(Exchange& exchange) {
    Result<http::Response> answer = fakes::run_task(*rig.loop, chain->run(exchange.request, exchange.context));
    if (!answer) return answer.error().to_string();
    set_cookie = std::string(answer->fields.value(http::FieldId::set_cookie));
    return body_text(rig, *answer);
  }
  std::string ask(std::string_view name = {}, std::string_view value = {}) {
    Exchange exchange(rig);
    if (!name.empty()) exchange.with(name, value);
    const std::string who = ask(exchange);
    way = std::string(exchange.context.way);
    return who;
  }
  std::string set_cookie;
  std::string way;
};

TEST_F(SplitTest, KeepsAKeyOnItsWay) {
  configure("{ key: header.x-user, ways: [{ share: 30%, to: upstream.canary }] }");
  std::map<std::string, int> seen;
  for (int i = 0; i < 2000; ++i) {
    const std::string user = "user-" + std::to_string(i);
    const std::string who = ask("X-User", user);
    EXPECT_EQ(ask("x-user", user), who);
    EXPECT_EQ(way, who == "own" ? "rest" : who);
    EXPECT_EQ(set_cookie, "");
    ++seen[who];
  }
  // Six standard deviations around 600.
  EXPECT_NEAR(seen["canary"], 600, 123);
  EXPECT_EQ(seen["canary"] + seen["own"], 2000);
  EXPECT_EQ(kit.count("trellis_split_requests_total", {{"route", "test"}, {"way", "canary"}}),
            static_cast<uint64_t>(2 * seen["canary"]));
  EXPECT_EQ(kit.count("trellis_split_requests_total", {{"route", "test"}, {"way", "rest"}}),
            static_cast<uint64_t>(2 * seen["own"]));
}

TEST_F(SplitTest, LeavesNothingForTheRouteWhereTheSharesAreAll) {
  configure(
      "{ key: random, ways: [{ share: 90%, to: upstream.stable }, { share: 10%, to: upstream.canary, name: new }] }");
  for (int i = 0; i < 5000; ++i) EXPECT_NE(ask(), "own");
  // Six standard deviations around 500.
  EXPECT_NEAR(canary.calls, 500, 128);
  EXPECT_EQ(kit.count("trellis_split_requests_total", {{"route", "test"}, {"way", "new"}}),
            static_cast<uint64_t>(canary.calls));
}

TEST_F(SplitTest, ForcesAWayByHeaderOrCookie) {
  configure(R"(
key: client_address
ways:
  - { share: 0%, to: upstream.canary, when: { header: "x-canary: 1", cookie: canary=1 } }
  - { share: 0%, to: upstream.stable, when: { header: x-stable } }
)");
  EXPECT_EQ(ask(), "own");
  EXPECT_EQ(ask("X-Canary", "1"), "canary");
  EXPECT_EQ(ask("X-Canary", "2"), "own");
  EXPECT_EQ(ask("X-Canary", ""), "own");
  EXPECT_EQ(ask("Cookie", "a=b; canary=1"), "canary");
  EXPECT_EQ(ask("Cookie", "canary=11"), "own");
  EXPECT_EQ(ask("Cookie", "notcanary=1"), "own");
  EXPECT_EQ(ask("x-stable", "whatever"), "stable");
}

TEST_F(SplitTest, KeepsAClientWithoutAKeyByACookie) {
  configure("{ key: cookie.user, sticky: { cookie: way, for: 2h }, ways: [{ share: 50%, to: upstream.canary }] }");
  for (int i = 0; i < 200; ++i) {
    const std::string who = ask();
    ASSERT_TRUE(set_cookie.starts_with("way=")) << set_cookie;
    EXPECT_TRUE(set_cookie.ends_with("; Path=/; Max-Age=7200; HttpOnly; SameSite=Lax")) << set_cookie;
    const std::string pair = set_cookie.substr(0, set_cookie.find(';'));
    EXPECT_EQ(ask("Cookie", "x=y; " + pair), who);
    EXPECT_EQ(set_cookie, "") << "it has one";
  }
  EXPECT_GT(canary.calls, 0);
  EXPECT_GT(own.calls, 0);
  for (const char* bad : {"way=10000", "way=-1", "way=", "way=1x", "way=99999999999999999999", "way=0x1"}) {
    ask("Cookie", bad);
    EXPECT_TRUE(set_cookie.starts_with("way=")) << bad << ": drawn anew";
  }
  // Who has a key needs no cookie.
  ask("Cookie", "user=42");
  EXPECT_EQ(set_cookie, "");
}

TEST_F(SplitTest, DrawsEachRequestOfAClientWithoutAKeyAnew) {
  configure("{ key: header.x-user, ways: [{ share: 50%, to: upstream.canary }] }");
  for (int i = 0; i < 400; ++i) ask();
  EXPECT_NEAR(canary.calls, 200, 60);  // six standard deviations
}

TEST_F(SplitTest, SaysWhatIsWrongWithItsSettings) {
  const auto problems = [](std::string_view yaml) { return test::config_problems<SplitConfig>(yaml); };
  EXPECT_NE(problems("{ ways: [] }").find("ways"), std::string::npos);
  EXPECT_NE(problems("{ key: haeder.x, ways: [{ share: 1%, to: upstream.a }] }").find("no such key"),
            std::string::npos);
  EXPECT_NE(problems("{ key: header., ways: [{ share: 1%, to: upstream.a }] }").find("no such key"), std::string::npos);
  EXPECT_NE(problems("{ ways: [{ share: 60%, to: upstream.a }, { share: 41%, to: upstream.b }] }").find("100 %"),
            std::string::npos);
  EXPECT_NE(problems("{ ways: [{ share: 0.001%, to: upstream.a }] }").find("0.01 %"), std::string::npos);
  EXPECT_NE(problems("{ ways: [{ share: 1%, to: upstream.a }, { share: 2%, to: upstream.a }] }").find("stands twice"),
            std::string::npos);
  EXPECT_NE(problems("{ ways: [{ share: 1%, to: files ./x }] }").find("needs a name"), std::string::npos);
  EXPECT_NE(problems("{ ways: [{ share: 1%, to: upstream.a, when: {} }] }").find("says nothing"), std::string::npos);
  EXPECT_NE(problems("{ ways: [{ share: 1%, to: upstream.a, name: rest }] }").find("rest"), std::string::npos);
  EXPECT_NE(problems("{ sticky: { cookie: \"a b\" }, ways: [{ share: 1%, to: upstream.a }] }").find("sticky"),
            std::string::npos);
  std::string nine = "{ ways: [";
  for (int i = 0; i < 9; ++i) nine += "{ share: 1%, to: upstream.a" + std::to_string(i) + " }, ";
  EXPECT_NE(problems(nine + "] }").find("too many"), std::string::npos);
}

}  // namespace
}  // namespace trellis::proxy
