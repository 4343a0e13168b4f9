#include "services/links/rules/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "base/rng.h"
#include "services/links/link_json.h"

namespace trellis::services::links {
namespace {

using testing::ElementsAre;

const UrlHost kOwn{.host = "s.example", .port = 443, .default_port = true};

Rules rules_of(std::string_view json) {
  auto rules = Rules::read(json, kOwn);
  if (rules) return *std::move(rules);
  for (const RuleProblem& problem : rules.error()) ADD_FAILURE() << problem.path << ": " << problem.detail;
  return {};
}

// One rule with this condition.
Rules when(const std::string& condition) {
  return rules_of("[{\"when\":[" + condition + "],\"url\":\"https://example.com/\"}]");
}

std::vector<std::string> paths_of(std::string_view json) {
  std::vector<std::string> paths;
  auto rules = Rules::read(json, kOwn);
  if (!rules)
    for (const RuleProblem& problem : rules.error()) paths.push_back(problem.path);
  return paths;
}

TEST(Rules, TakesTheFirstRuleOfWhichEveryConditionHolds) {
  const Rules rules = rules_of(R"([
    {"when": [{"device": ["phone"]}, {"os": ["ios", "ipados"]}], "url": "https://example.com/apple"},
    {"when": [{"device": ["phone", "tablet"]}], "url": "https://example.com/mobile"},
    {"when": [{"browser": ["firefox"]}], "url": "https://example.com/fox"}])");
  Visit visit;
  EXPECT_FALSE(rules.find(visit));
  visit.agent = {.device = Device::phone, .os = Os::ios, .browser = Browser::firefox};
  EXPECT_EQ(rules.find(visit)->url, "https://example.com/apple");
  visit.agent.os = Os::android;
  EXPECT_EQ(rules.find(visit)->url, "https://example.com/mobile");
  visit.agent.device = Device::desktop;
  EXPECT_EQ(rules.find(visit)->rule, 2u);
  visit.agent.browser = Browser::chrome;
  EXPECT_FALSE(rules.find(visit));
  EXPECT_FALSE(Rules().find(visit));
  EXPECT_TRUE(rules_of(R"([{"url": "https://example.com/"}])").find(visit));
}

TEST(Rules, TakesTheLanguageThatIsLikedBestOfThoseInTheRules) {
  const Rules rules = rules_of(R"([
    {"when": [{"language": ["de"]}], "url": "https://example.com/de"},
    {"when": [{"language": ["fr", "pt-BR"]}], "url": "https://example.com/fr"}])");
  const auto url = [&](std::string_view accept) {
    const auto match = rules.find({.accept_language = accept});
    return std::string(match ? match->url.substr(20) : "");
  };
  EXPECT_EQ(url("de"), "de");
  EXPECT_EQ(url("DE-ch"), "de");
  EXPECT_EQ(url("fr;q=0.9, de;q=0.5"), "fr");
  EXPECT_EQ(url("de;q=0.5,fr;q=0.9"), "fr");
  EXPECT_EQ(url("nl, de;q=0.8, fr;q=0.8"), "de");
  EXPECT_EQ(url("pt-BR"), "fr");
  EXPECT_EQ(url("pt"), "");
  EXPECT_EQ(url("den"), "");
  EXPECT_EQ(url("de;q=0"), "");
  EXPECT_EQ(url("de;q=0.0001, fr;q=0.001"), "fr");
  EXPECT_EQ(url("de;x=1"), "");
  EXPECT_EQ(url("de ; q=1.000"), "de");
  EXPECT_EQ(url("*"), "");
  EXPECT_EQ(url(",,;;, ;q=1"), "");
}

TEST(Rules, TellsAddressRangesApart) {
  const Rules rules = when(R"({"address": ["192.0.2.0/24", "10.0.0.0/9", "203.0.113.7", "2001:db8::/33", "::1/128"]})");
  const auto holds = [&](std::string_view address) { return rules.find({.address = address}).has_value(); };
  EXPECT_TRUE(holds("192.0.2.0"));
  EXPECT_TRUE(holds("192.0.2.255"));
  EXPECT_FALSE(holds("192.0.3.0"));
  EXPECT_TRUE(holds("10.127.255.255"));
  EXPECT_FALSE(holds("10.128.0.0"));
  EXPECT_TRUE(holds("203.0.113.7"));
  EXPECT_TRUE(holds("::ffff:203.0.113.7"));
  EXPECT_FALSE(holds("203.0.113.8"));
  EXPECT_TRUE(holds("2001:db8:7fff::1"));
  EXPECT_FALSE(holds("2001:db8:8000::1"));
  EXPECT_TRUE(holds("::1"));
  EXPECT_FALSE(holds(""));
  EXPECT_FALSE(holds("192.0.2"));
  EXPECT_FALSE(holds("c000:0200::"));
  EXPECT_FALSE(when(R"({"address": ["::/0"]})").find({.address = "192.0.2.1"}));
  EXPECT_TRUE(when(R"({"address": ["::ffff:192.0.2.0/120"]})").find({.address = "192.0.2.1"}));
  for (const char* text :
       {"192.0.2.1/24", "192.0.2.0/33", "192.0.2.0/", "192.0.2.0/024", "::/129", "x", "", "/8", "1::2::3"})
    EXPECT_FALSE(read_range(text)) << text;
}

TEST(Rules, ReadsQueryParametersDecoded) {
  const auto holds = [](const char* condition, std::string_view query) {
    return when("{\"query\": " + std::string(condition) + "}").find({.query = query}).has_value();
  };
  EXPECT_TRUE(holds(R"({"name": "ref"})", "a=1&ref"));
  EXPECT_TRUE(holds(R"({"name": "ref"})", "ref="));
  EXPECT_FALSE(holds(R"({"name": "ref"})", "refs=1&xref"));
  EXPECT_FALSE(holds(R"({"name": "ref"})", ""));
  EXPECT_TRUE(holds(R"({"name": "ref", "equals": "a b&c"})", "ref=x&ref=a+b%26c"));
  EXPECT_TRUE(holds(R"({"name": "r f", "equals": "%zz%"})", "r%20f=%zz%"));
  EXPECT_FALSE(holds(R"({"name": "ref", "equals": "mail"})", "ref=mai"));
  EXPECT_FALSE(holds(R"({"name": "ref", "equals": "mail"})", "ref=mails"));
  EXPECT_TRUE(holds(R"({"name": "ref", "equals": ""})", "ref"));
  EXPECT_TRUE(holds(R"({"name": "ref", "has_value": true})", "ref&ref=1"));
  EXPECT_FALSE(holds(R"({"name": "ref", "has_value": true})", "ref="));
  EXPECT_TRUE(holds(R"({"name": "ref", "has_value": false})", "ref="));
  EXPECT_FALSE(holds(R"({"name": "ref", "has_value": false})", "ref=1"));
}

TEST(Rules, KnowsCountriesAndDates) {
  const Rules country = when(R"({"country": ["DE", "AT"]})");
  EXPECT_TRUE(country.need_country());
  EXPECT_TRUE(country.find({.country = "AT"}));
  EXPECT_FALSE(country.find({.country = "CH"}));
  EXPECT_FALSE(country.find({.country = ""}));
  const Rules date = when(R"({"date": {"from": "2026-01-01T00:00:00Z", "before": "2026-02-01T00:00:00Z"}})");
  EXPECT_FALSE(date.need_country());
  EXPECT_FALSE(date.find({.now = parse_time("2025-12-31T23:59:59.999Z").value()}));
  EXPECT_TRUE(date.find({.now = parse_time("2026-01-01T00:00:00Z").value()}));
  EXPECT_TRUE(date.find({.now = parse_time("2026-01-31T23:59:59.999Z").value()}));
  EXPECT_FALSE(date.find({.now = parse_time("2026-02-01T00:00:00Z").value()}));
}

// Each count within five standard deviations, for several links and both kinds of addresses.
TEST(Rules, SplitsByWeight) {
  const Rules rules = rules_of(R"([{"split": [{"url": "https://example.com/a", "weight": 70},
    {"url": "https://example.com/b", "weight": 25}, {"url": "https://example.com/c", "weight": 5}]}])");
  constexpr double kShare[] = {0.70, 0.25, 0.05};
  constexpr int kClients = 20'000;
  Rng rng(11);
  for (uint64_t link = 1; link <= 6; ++link) {
    int counts[3] = {};
    for (int i = 0; i < kClients; ++i) {
      const uint64_t bits = rng.next();
      const std::string address =
          link % 2 ? std::to_string(bits & 255) + "." + std::to_string(bits >> 8 & 255) + "." +
                         std::to_string(bits >> 16 & 255) + "." + std::to_string(bits >> 24 & 255)
                   : "2001:db8:" + std::to_string(bits & 999) + ":" + std::to_string(bits >> 16 & 999) + "::1";
      ++counts[rules.find({.address = address, .link = link})->target - 1];
    }
    for (int target = 0; target < 3; ++target) {
      const double sigma = std::sqrt(kClients * kShare[target] * (1 - kShare[target]));
      EXPECT_NEAR(counts[target], kClients * kShare[target], 5 * sigma) << link << " " << target;
    }
  }
}

TEST(Rules, KeepsAClientAtItsTarget) {
  const Rules rules = rules_of(R"([{"split": [{"url": "https://example.com/a", "weight": 1},
    {"url": "https://example.com/b", "weight": 1}]}])");
  const auto target = [&](const std::string& address, uint64_t link) {
    return rules.find({.agent = {.device = Device::phone}, .address = address, .now = 5, .link = link})->target;
  };
  int moved = 0;
  for (int i = 0; i < 200; ++i) {
    const std::string end = std::to_string(i);
    EXPECT_EQ(target("192.0.2." + end, 7), target("::ffff:192.0.2." + end, 7));
    EXPECT_EQ(target("2001:db8:0:" + end + "::1", 7), target("2001:db8:0:" + end + ":dead:beef:1:2", 7));
    moved += target("192.0.2." + end, 7) != target("192.0.2." + end, 8);
  }
  // Another link is another lot.
  EXPECT_GT(moved, 60);
  EXPECT_LT(moved, 140);
}

TEST(Rules, WritesWhatReadsBackToTheSame) {
  const Rules rules = rules_of(R"([
    {"when": [{"device": ["tv", "phone"]}, {"os": ["linux"]}, {"browser": ["edge", "chrome"]}, {"language": ["pt-BR"]},
      {"country": ["DE"]}, {"address": ["10.0.0.0/8", "2001:DB8::/32", "::1"]}, {"query": {"name": "a"}},
      {"query": {"name": "a", "equals": "\"b"}}, {"query": {"name": "a", "has_value": true}},
      {"query": {"name": "a", "has_value": false}}, {"date": {"from": "2026-01-01T00:00:00+01:00"}}],
     "url": "https://example.com/"},
    {"split": [{"url": "https://example.com/a", "weight": 1}, {"url": "https://example.com/b", "weight": 10000}]}])");
  std::string text;
  rules.append_json(text);
  EXPECT_EQ(text,
            R"([{"when":[{"device":["phone","tv"]},{"os":["linux"]},{"browser":["chrome","edge"]},)"
            R"({"language":["pt-br"]},{"country":["DE"]},{"address":["10.0.0.0/8","2001:db8::/32","::1/128"]},)"
            R"({"query":{"name":"a"}},{"query":{"name":"a","equals":"\"b"}},{"query":{"name":"a","has_value":true}},)"
            R"({"query":{"name":"a","has_value":false}},{"date":{"from":"2025-12-31T23:00:00.000Z"}}],)"
            R"("url":"https://example.com/"},{"split":[{"url":"https://example.com/a","weight":1},)"
            R"({"url":"https://example.com/b","weight":10000}]}])");
  std::string again;
  rules_of(text).append_json(again);
  EXPECT_EQ(again, text);
  EXPECT_TRUE(rules_of("[]").empty());
}

TEST(Rules, ReportsEveryMistakeWithItsPath) {
  EXPECT_THAT(paths_of(R"([
    {"when": [{"device": ["phone", "fridge"]}, {"os": "ios"}, {"browser": []}, {"language": ["d_e", 1]},
      {"country": ["DE", "de", "DEU"]}, {"address": ["10.0.0.1/8"]}, {"query": {"equals": "x"}},
      {"query": {"name": "", "equals": "x", "has_value": 1}}, {"date": {}}, {"date": {"from": "soon"}},
      {"date": {"from": "2026-01-02T00:00:00Z", "before": "2026-01-01T00:00:00Z"}}, {"planet": ["mars"]}, 5,
      {"os": ["ios"], "device": ["phone"]}],
     "url": "ftp://example.com"},
    {"url": "https://s.example/x"}, {"url": 1}, {"when": 1, "url": "https://example.com/"}, {},
    {"url": "https://example.com/", "split": []}, {"split": [{"url": "https://example.com/", "weight": 1}]},
    {"split": [{"url": "https://example.com/", "weight": 0}, {"url": "https://example.com/"}, 7]}, 8])"),
              ElementsAre("[0].when[0].device[1]", "[0].when[1].os", "[0].when[2].browser", "[0].when[3].language[0]",
                          "[0].when[3].language[1]", "[0].when[4].country[1]", "[0].when[4].country[2]",
                          "[0].when[5].address[0]", "[0].when[6].query", "[0].when[7].query.name", "[0].when[7].query",
                          "[0].when[8].date", "[0].when[9].date.from", "[0].when[10].date", "[0].when[11]",
                          "[0].when[12]", "[0].when[13]", "[0].url", "[1].url", "[2].url", "[3].when", "[4]", "[5]",
                          "[6].split", "[7].split[0].weight", "[7].split[1]", "[7].split[2]", "[8]"));
}

TEST(Rules, NamesWhatWasMeant) {
  const auto said = [](std::string_view text) { return Rules::read(text, kOwn).error().front().detail; };
  EXPECT_EQ(said(R"([{"when": [{"browser": ["chrom"]}], "url": "https://example.com/"}])"),
            "There is no browser \"chrom\"; did you mean \"chrome\"?");
  EXPECT_EQ(said(R"([{"when": [{"device": ["fridge"]}], "url": "https://example.com/"}])"),
            "There is no device \"fridge\"; allowed: other, desktop, phone, tablet, tv, bot");
  EXPECT_EQ(said(R"([{"url": "https://example.com/"]})"), "The rules are not valid JSON: byte 32 does not fit.");
}

TEST(Rules, HoldsItsLimits) {
  const auto repeat = [](const std::string& text, size_t count) {
    std::string all = text;
    for (size_t i = 1; i < count; ++i) all += "," + text;
    return all;
  };
  const std::string rule = R"({"url": "https://example.com/"})";
  EXPECT_EQ(rules_of("[" + repeat(rule, kMaxRules) + "]").size(), kMaxRules);
  EXPECT_THAT(paths_of("[" + repeat(rule, kMaxRules + 1) + "]"), ElementsAre(""));
  const auto conditions = [&](size_t count) {
    return "[{\"when\": [" + repeat(R"({"os": ["ios"]})", count) + R"(], "url": "https://example.com/"}])";
  };
  EXPECT_EQ(rules_of(conditions(kMaxConditions)).size(), 1u);
  EXPECT_THAT(paths_of(conditions(kMaxConditions + 1)), ElementsAre("[0].when"));
  EXPECT_THAT(paths_of(std::string(kMaxRulesText + 1, ' ')), ElementsAre(""));
  EXPECT_THAT(paths_of(std::string(1000, '[') + std::string(1000, ']')), ElementsAre(""));
  EXPECT_THAT(paths_of("[{\"url\": \"https://example.com/\", \"url\": \"https://example.com/\"}]"), ElementsAre(""));
  EXPECT_THAT(paths_of(""), ElementsAre(""));
  EXPECT_THAT(paths_of("{}"), ElementsAre(""));
  EXPECT_EQ(paths_of("[" + repeat(R"({"when": [)" + repeat("1", 20) + "]}", 50) + "]").size(), 100u);
}

}  // namespace
}  // namespace trellis::services::links
