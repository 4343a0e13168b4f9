#include <gtest/gtest.h>

#include <string>

#include "cache/rules/directives.h"
#include "tests/unit/cache/rules_kit.h"

namespace trellis::cache {
namespace {

using test::Head;
using test::Lines;

std::string number(std::optional<int64_t> value) { return value ? std::to_string(*value) : "-"; }

TEST(ParseSeconds, TakesDigitsOnlyAndStopsAtTheTop) {
  const struct {
    const char* text;
    std::optional<int64_t> seconds;
  } kCases[] = {{"0", 0},
                {"3600", 3600},
                {"003600", 3600},
                {"2147483647", 2147483647},
                {"2147483648", kMaxSeconds},
                {"2147483649", kMaxSeconds},
                {"99999999999", kMaxSeconds},
                {"99999999999999999999999999999999", kMaxSeconds},
                {"", {}},
                {"-1", {}},
                {"+1", {}},
                {"1.0", {}},
                {" 1", {}},
                {"1 ", {}},
                {"1a", {}},
                {"a1", {}},
                {"'1'", {}}};
  for (const auto& each : kCases) EXPECT_EQ(parse_seconds(each.text), each.seconds) << each.text;
}

// Common mistakes must not give to all what was meant for one.
TEST(ResponseDirectives, HeedForbiddingWordsInWhatIsNoDirective) {
  const auto forbids = [](const char* value) {
    const Head head{{"Cache-Control", value}};
    const ResponseDirectives read = response_directives(head.fields);
    return std::string(read.no_store ? "s" : "") + (read.is_private ? "p" : "") + (read.no_cache ? "c" : "");
  };
  EXPECT_EQ(forbids("private; max-age=60"), "p");
  EXPECT_EQ(forbids("No-Store no-cache, max-age=60"), "sc");
  EXPECT_EQ(forbids("max-age=60; no-store"), "s");
  EXPECT_EQ(forbids("max-age=60 private"), "p");
  EXPECT_EQ(forbids("max-age=60, a=\"b, no-store"), "s");
  EXPECT_EQ(forbids("max-age=60, a=\"no-store\", b=no-store, c=\"x \\\" private\""), "");
  EXPECT_EQ(forbids("private=\"A, B\", no-cache=C, max-age=60"), "");
  EXPECT_EQ(forbids("a=b/no-store, no-storey"), "");
}

// RFC 9111 §5.2.2, §4.2.1: a lifetime that cannot be read is none; the first of several counts.
TEST(ResponseDirectives, ReadALifetimeAsTheGrammarHasIt) {
  const struct {
    const char* value;
    const char* max_age;
  } kCases[] = {{"max-age=60", "60"},
                {"MaX-aGe=60", "60"},
                {"foobar, max-age=60", "60"},
                {"max-age=\"60\"", "60"},
                {"max-age='60'", "0"},
                {"max-age=60.0", "0"},
                {"max-age=-60", "0"},
                {"max-age=a60", "0"},
                {"max-age=60a", "0"},
                {"max-age =60", "0"},
                {"max-age= 60", "0"},
                {"max-age", "0"},
                {"max-age=", "0"},
                {"max-age=\"60", "0"},
                {"max-age=\"6\\0\"", "0"},
                {"max-age=\"60\"x", "0"},
                {"max-age=1, max-age=60", "1"},
                {"max-age=60, max-age=1", "60"},
                {"max-age=x, max-age=60", "0"},
                {"extension=\"max-age=3600\", max-age=1", "1"},
                {"max-age=1, extension=\"max-age=3600\"", "1"},
                {"extension=\"a\\\"max-age=3600\\\", max-age=5\", max-age=1", "1"},
                {"extension=\"max-age=3600\"", "-"},
                {"s-maxage=5", "-"},
                {"", "-"}};
  for (const auto& each : kCases) {
    const Head head{{"Cache-Control", each.value}};
    EXPECT_EQ(number(response_directives(head.fields).max_age), each.max_age) << each.value;
  }
}

TEST(ResponseDirectives, JoinSeveralLines) {
  const Head head{{"Cache-Control", "max-age=60"}, {"cache-control", "s-maxage=1 , No-Store"}, {"Cache-Control", ""}};
  const ResponseDirectives got = response_directives(head.fields);
  EXPECT_EQ(got.max_age, 60);
  EXPECT_EQ(got.s_maxage, 1);
  EXPECT_TRUE(got.no_store);
  EXPECT_TRUE(got.any);
  EXPECT_FALSE(got.targeted);
  EXPECT_FALSE(response_directives(Head{}.fields).any);
}

TEST(ResponseDirectives, KnowAllOfTheRfcs) {
  const Head head{{"Cache-Control",
                   "public, must-revalidate, proxy-revalidate, must-understand, no-transform, immutable, "
                   "stale-while-revalidate=30, stale-if-error=\"40\", no-cache, private, no-store"}};
  const ResponseDirectives got = response_directives(head.fields);
  EXPECT_TRUE(got.is_public && got.must_revalidate && got.proxy_revalidate && got.must_understand);
  EXPECT_TRUE(got.no_transform && got.immutable && got.no_cache && got.is_private && got.no_store);
  EXPECT_EQ(got.stale_while_revalidate, 30);
  EXPECT_EQ(got.stale_if_error, 40);
  const Head odd{{"Cache-Control", "no-store=x, must-revalidate=\"y\", stale-if-error=soon"}};
  EXPECT_TRUE(response_directives(odd.fields).no_store);
  EXPECT_TRUE(response_directives(odd.fields).must_revalidate);
  EXPECT_FALSE(response_directives(odd.fields).stale_if_error);
}

// §5.2.2.4, §5.2.2.7: with names only these fields are meant; what is no list of names means all.
TEST(ResponseDirectives, ReadFieldNamesOfNoCacheAndPrivate) {
  const Head named{{"Cache-Control", "no-cache=\"a, B\" , private=c"}};
  const ResponseDirectives got = response_directives(named.fields);
  EXPECT_FALSE(got.no_cache || got.is_private);
  EXPECT_EQ(got.no_cache_fields, (std::vector<std::string_view>{"a", "B"}));
  EXPECT_EQ(got.private_fields, (std::vector<std::string_view>{"c"}));
  std::string many = "no-cache=\"a";
  for (size_t i = 0; i < kMaxNamedFields; ++i) many += ",a";
  for (const std::string& all :
       {std::string("no-cache"), std::string("no-cache=\"\""), std::string("no-cache="),
        std::string("no-cache=\"a b\""), std::string("no-cache=\"a\\,b\""), std::string("no-cache=\"a"),
        std::string("no-cache = \"a\""), many + "\"", std::string("no-cache=\"a\", no-cache")}) {
    const Head head{{"Cache-Control", all}};
    EXPECT_TRUE(response_directives(head.fields).no_cache) << all;
  }
}

// RFC 9213 §2.1, §2.2.
TEST(CdnCacheControl, CountsInsteadOfCacheControl) {
  const Head head{
      {"Cache-Control", "no-store"}, {"CDN-Cache-Control", "max-age=60"}, {"cdn-cache-control", "immutable"}};
  const ResponseDirectives got = response_directives(head.fields);
  EXPECT_TRUE(got.targeted && got.any && got.immutable);
  EXPECT_FALSE(got.no_store);
  EXPECT_EQ(got.max_age, 60);
}

TEST(CdnCacheControl, IsIgnoredAsAWholeWhenItIsNoDictionary) {
  for (const char* bad :
       {"", "  ", "max-age=60,", "Max-Age=60", "max-age=60, no-store, &", "max-age =60", "max-age=60;", "max-age=\"60",
        "max-age=\"60\"", "max-age=60.5", "max-age", "max-age=?0, no-store", "no-store, stale-if-error=x"}) {
    const Head head{{"Cache-Control", "max-age=5"}, {"CDN-Cache-Control", bad}};
    const ResponseDirectives got = response_directives(head.fields);
    EXPECT_FALSE(got.targeted) << bad;
    EXPECT_EQ(got.max_age, 5) << bad;
  }
}

TEST(CdnCacheControl, TakesValuesOfTheRightTypeOnly) {
  const struct {
    const char* value;
    const char* max_age;
    bool no_store;
  } kCases[] = {{"max-age=60;x=1, no-store", "60", true},
                {"max-age=60, max-age=5", "5", false},
                {"max-age=-5", "0", false},
                {"max-age=999999999999999", "2147483648", false},
                {"no-store=?0, max-age=1", "1", false},
                {"no-store=?1", "-", true},
                {"foo", "-", false}};
  for (const auto& each : kCases) {
    const Head head{{"CDN-Cache-Control", each.value}, {"Cache-Control", "max-age=7"}};
    const ResponseDirectives got = response_directives(head.fields);
    EXPECT_TRUE(got.targeted) << each.value;
    EXPECT_EQ(number(got.max_age), each.max_age) << each.value;
    EXPECT_EQ(got.no_store, each.no_store) << each.value;
  }
  const Head names{{"CDN-Cache-Control", "private=\"a, b\""}};
  EXPECT_EQ(response_directives(names.fields).private_fields.size(), 2U);
}

TEST(ResponseDirectives, KeptFromCachesIsWhatAnyOfThemMayNotStore) {
  const auto kept = [](Lines lines) { return is_kept_from_caches(Head(lines).fields); };
  EXPECT_TRUE(kept({{"Cache-Control", "private"}, {"CDN-Cache-Control", "max-age=60"}}));
  EXPECT_TRUE(kept({{"Cache-Control", "no-store"}, {"Surrogate-Control", "max-age=60"}}));
  EXPECT_TRUE(kept({{"Cache-Control", "max-age=60"}, {"CDN-Cache-Control", "no-store"}}));
  EXPECT_TRUE(kept({{"CDN-Cache-Control", "private"}}));
  EXPECT_FALSE(kept({{"Cache-Control", "no-cache"}, {"CDN-Cache-Control", "max-age=0"}}));
  EXPECT_FALSE(kept({{"Cache-Control", "private=\"a\""}}));
  EXPECT_FALSE(kept({}));
}

TEST(ResponseDirectives, SetCacheControlLeavesNothingThatCountsBeforeIt) {
  Head head{{"CDN-Cache-Control", "max-age=5"}, {"Surrogate-Control", "no-store"}, {"Expires", "0"},
            {"Cache-Control", "no-cache"},      {"CDN-Cache-Control", "private"},  {"ETag", "\"a\""}};
  set_cache_control(head.fields, "max-age=60");
  EXPECT_EQ(number(response_directives(head.fields).max_age), "60");
  EXPECT_EQ(head.fields.size(), 2U);
}

TEST(SurrogateControl, CountsInsteadOfCacheControl) {
  const struct {
    const char* value;
    const char* max_age;  // "cc": Cache-Control's
    bool no_store;
  } kCases[] = {{"max-age=60", "60", false},
                {"MaX-aGe=60", "60", false},
                {"foobar, max-age=60", "60", false},
                {"max-age=60+30", "60", false},
                {"max-age =60", "0", false},
                {"no-store", "-", true},
                {"max-age=60;trellis", "60", false},
                {"max-age=60;trellis, max-age=5", "60", false},
                {"max-age=5, max-age=60;Trellis", "60", false},
                {"max-age=60;another", "cc", false},
                {"max-age=5, max-age=60;another", "5", false},
                {"no-store;trellis, max-age=5", "-", true},
                {"no-store;another", "cc", false},
                {"content=\"ESI/1.0\"", "cc", false},
                {"foo", "cc", false},
                {"", "cc", false}};
  for (const auto& each : kCases) {
    const Head head{{"Surrogate-Control", each.value}, {"Cache-Control", "max-age=7"}};
    const ResponseDirectives got = response_directives(head.fields);
    const bool fallback = std::string_view(each.max_age) == "cc";
    EXPECT_EQ(got.targeted, !fallback) << each.value;
    EXPECT_EQ(number(got.max_age), fallback ? "7" : each.max_age) << each.value;
    EXPECT_EQ(got.no_store, each.no_store) << each.value;
  }
  const Head both{{"Surrogate-Control", "max-age=1+9"}, {"Cache-Control", "private"}};
  EXPECT_EQ(response_directives(both.fields).stale_while_revalidate, 9);
  const Head cdn{{"Surrogate-Control", "no-store"}, {"CDN-Cache-Control", "max-age=3"}};
  EXPECT_FALSE(response_directives(cdn.fields).no_store) << "the standard one wins";
}

// §5.2.1: a number that cannot be read is as if it were not there.
TEST(RequestDirectives, AreRead) {
  const Head head{{"Cache-Control", "no-cache, No-Store, max-age=1, min-fresh=2, max-stale=3, only-if-cached"},
                  {"Cache-Control", "no-transform, stale-if-error=4"}};
  const RequestDirectives got = request_directives(head.fields);
  EXPECT_TRUE(got.no_cache && got.no_store && got.only_if_cached && got.no_transform);
  EXPECT_EQ(number(got.max_age) + number(got.min_fresh) + number(got.max_stale) + number(got.stale_if_error), "1234");
  EXPECT_EQ(request_directives(Head{{"Cache-Control", "max-stale"}}.fields).max_stale, kAnySeconds);
  EXPECT_FALSE(request_directives(Head{{"Cache-Control", "max-age=x, max-stale=y, min-fresh"}}.fields).max_age);
}

// §5.4.
TEST(Pragma, CountsWithoutCacheControlOnly) {
  EXPECT_TRUE(request_directives(Head{{"Pragma", "no-cache"}}.fields).no_cache);
  EXPECT_TRUE(request_directives(Head{{"Pragma", "foo, No-Cache"}}.fields).no_cache);
  EXPECT_FALSE(request_directives(Head{{"Pragma", "foo"}}.fields).no_cache);
  EXPECT_FALSE(request_directives(Head{{"Pragma", "no-cache"}, {"Cache-Control", "max-age=5"}}.fields).no_cache);
}

}  // namespace
}  // namespace trellis::cache
