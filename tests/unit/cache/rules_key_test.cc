#include <gtest/gtest.h>

#include <string>

#include "cache/rules/key.h"
#include "config/load.h"
#include "tests/unit/cache/rules_kit.h"

namespace trellis::cache {
namespace {

using test::Asked;
using test::Head;
using test::Lines;

std::string key(const KeyConfig& config, std::string_view query = "", Lines lines = {}) {
  const Asked asked(lines, "GET", "/p", query);
  std::string out;
  KeyTemplate(config).append(out, asked.request);
  return out;
}
std::string key_of_query(const KeyConfig& config, std::string_view query) { return key(config, query).substr(20); }

TEST(Key, HoldsSchemeHostPathAndQueryAsReceived) {
  EXPECT_EQ(key({}), "http://example.com/p");
  EXPECT_EQ(key({}, "b=2&a=1&&b=1;c", {{"Cookie", "a=b"}, {"X-Forwarded-Host", "evil"}}),
            "http://example.com/p?b=2&a=1&&b=1;c");
  KeyConfig shared;
  shared.host = false;
  EXPECT_EQ(key(shared, "x"), "http:///p?x");
  Asked port({}, "GET", "/a%2Fb");
  port.request.authority = "example.com:80";
  std::string out;
  KeyTemplate().append(out, port.request);
  EXPECT_EQ(out, "http://example.com/a%2Fb");
  port.request.scheme = "https";
  out.clear();
  KeyTemplate().append(out, port.request);
  EXPECT_EQ(out, "https://example.com:80/a%2Fb");
}

TEST(Key, PicksParameters) {
  KeyConfig none;
  none.query = KeyQuery::none;
  EXPECT_EQ(key_of_query(none, "a=1;b=2"), "");
  KeyConfig sorted;
  sorted.query = KeyQuery::sorted;
  EXPECT_EQ(key_of_query(sorted, "b=2&a&c=&b=1&a="), "?a&a=&b=2&b=1&c=") << "equal names keep their order";
  KeyConfig only;
  only.only = {"a", "page*"};
  EXPECT_EQ(key_of_query(only, "x=1&a=1&&pages=2&%61=3&A=1&a"), "?a=1&pages=2&%61=3&a");
  EXPECT_EQ(key_of_query(only, "x=1"), "");
  KeyConfig without;
  without.without = {"utm_*", "fbclid"};
  EXPECT_EQ(key_of_query(without, "utm_source=x&a=1&fbclid=y&utm%5Fid=1&=z"), "?a=1&=z");
  without.query = KeyQuery::sorted;
  EXPECT_EQ(key_of_query(without, "b&utm_a&a"), "?a&b");
}

// A parameter that an origin would see must not hide in one that is left out.
TEST(Key, KeepsAQueryWholeThatOriginsReadDifferently) {
  KeyConfig without;
  without.without = {"utm"};
  EXPECT_EQ(key_of_query(without, "utm=1;admin=1&a=1"), "?utm=1;admin=1&a=1");
  EXPECT_EQ(key_of_query(without, "utm=1&a%=1"), "?utm=1&a%=1");
}

TEST(Key, ForwardsOnlyWhatItHolds) {
  Arena arena;
  KeyConfig without;
  without.without = {"utm"};
  EXPECT_EQ(KeyTemplate(without).keyed_query("utm=1&a=1", arena), "a=1");
  EXPECT_EQ(KeyTemplate().keyed_query("utm=1&a=1", arena), "utm=1&a=1");
  EXPECT_TRUE(KeyTemplate().takes_all_of_query());
  EXPECT_FALSE(KeyTemplate(without).takes_all_of_query());
}

TEST(Key, HoldsPickedHeadersAndCookies) {
  KeyConfig config;
  config.headers = {"X-B", "accept"};
  config.cookies = {"lang"};
  EXPECT_EQ(key(config), "http://example.com/p\naccept\nx-b\n;lang");
  EXPECT_EQ(key(config, "", {{"x-b", "1"}, {"Accept", "x"}, {"Cookie", "id=7; lang=de;lang = en ;lang"}, {"X-B", "2"}}),
            "http://example.com/p\naccept\n=x\nx-b\n=1\n=2\n;lang\n=de\n:lang = en\n:lang");
  EXPECT_NE(key(config, "", {{"x-b", "1"}, {"x-b", "2"}}), key(config, "", {{"x-b", "1=2"}}));
  EXPECT_NE(key(config, "", {{"x-b", ""}}), key(config));
  // One of them is the cookie to who compares names as they stand, and the other is not.
  EXPECT_NE(key(config, "", {{"Cookie", "lang =en"}}), key(config, "", {{"Cookie", "lang=en"}}));
  EXPECT_NE(key(config, "", {{"Cookie", "lang"}}), key(config, "", {{"Cookie", "lang="}}));
}

TEST(Key, OfAUriIsTheKeyOfABareRequest) {
  KeyConfig config;
  config.without = {"utm"};
  config.headers = {"x-b"};
  std::string out;
  KeyTemplate(config).append(out, "http", "example.com:80", "/p", "utm=1&a=1");
  EXPECT_EQ(out, key(config, "a=1"));
}

TEST(Key, IsConfigured) {
  const auto problems_of = [](const char* yaml) {
    config::Problems problems;
    const auto node = config::parse(yaml, "t.yaml", {}, problems);
    (void)config::read<KeyConfig>(node, problems);
    return problems.empty();
  };
  EXPECT_TRUE(problems_of("{host: true, query: sorted, without: [utm_*], headers: [X-A], cookies: [lang]}"));
  EXPECT_FALSE(problems_of("{query: some}"));
  EXPECT_FALSE(problems_of("{only: [a], without: [b]}"));
  EXPECT_FALSE(problems_of("{query: none, only: [a]}"));
  EXPECT_FALSE(problems_of("{headers: ['a b']}"));
  EXPECT_FALSE(problems_of("{cookies: ['a=b']}"));
  // What would never match anything.
  EXPECT_FALSE(problems_of("{without: ['*_id']}"));
  EXPECT_FALSE(problems_of("{without: ['a*b*']}"));
  EXPECT_FALSE(problems_of("{only: ['']}"));
  EXPECT_FALSE(problems_of("{headers: ['X-*']}"));
  EXPECT_FALSE(problems_of("{cookies: ['s*']}"));
  EXPECT_TRUE(problems_of("{only: [a, 'b*']}"));
}

TEST(AnotherTarget, IsNamedByWhatFrameworksBelieve) {
  for (const char* name : {"X-Original-URL", "x-rewrite-url", "X-HTTP-Method-Override", "X-Host", "X-Script-Name"})
    EXPECT_TRUE(names_another_target(Head{{name, "/admin"}}.fields)) << name;
  EXPECT_FALSE(names_another_target(Head{{"X-Other", "/admin"}, {"Host", "a"}}.fields));
}

}  // namespace
}  // namespace trellis::cache
