#include <gtest/gtest.h>

#include <chrono>
#include <string>

#include "cache/rules/storing.h"
#include "tests/unit/cache/rules_kit.h"

namespace trellis::cache {
namespace {

using namespace std::chrono_literals;
using test::Answered;
using test::Asked;
using test::date;
using test::kNow;
using test::Lines;
using test::wall;
using Flag = Freshness::Flag;

StoreVerdict judge(const Asked& asked, const Answered& answered, const StorePolicy& policy = {},
                   Duration delay = Duration::zero()) {
  return may_store(asked.request, answered.response, policy, wall(kNow) - delay, wall(kNow));
}
StoreVerdict judge(Lines answer, int status = 200, const StorePolicy& policy = {}) {
  return judge(Asked(), Answered(answer, status), policy);
}
// What is fresh when it comes, in seconds; 0 for a stale one.
int64_t fresh_for(Lines answer, int status = 200, const StorePolicy& policy = {}) {
  const Freshness got = judge(answer, status, policy).freshness;
  if (got.has(Flag::kNoCache)) return 0;
  return std::max<int64_t>(got.lifetime - got.age, 0);
}

// RFC 9111 §4.2.1.
TEST(Lifetime, IsNamedBySMaxageThenMaxAgeThenExpires) {
  const std::string now = date(kNow);
  const std::string later = date(kNow + 100);
  const std::string before = date(kNow - 100);
  EXPECT_EQ(fresh_for({{"Cache-Control", "max-age=1, s-maxage=50"}}), 50);
  EXPECT_EQ(fresh_for({{"Cache-Control", "s-maxage=1, max-age=50"}}), 1);
  EXPECT_EQ(fresh_for({{"Cache-Control", "max-age=50"}, {"Expires", before}, {"Date", now}}), 50);
  EXPECT_EQ(fresh_for({{"Cache-Control", "max-age=50"}, {"Expires", "0"}}), 50);
  EXPECT_EQ(fresh_for({{"Cache-Control", "max-age=0"}, {"Expires", later}}), 0);
  EXPECT_EQ(fresh_for({{"Cache-Control", "s-maxage=0, max-age=50"}}), 0);
  EXPECT_EQ(fresh_for({{"Expires", later}, {"Date", now}}), 100);
  EXPECT_EQ(fresh_for({{"Expires", later}}), 100) << "no Date: when it came";
  EXPECT_EQ(fresh_for({{"Expires", later}, {"Date", "foo"}}), 100);
  EXPECT_EQ(fresh_for({{"Expires", before}, {"Date", now}}), 0);
  EXPECT_EQ(fresh_for({{"Expires", now}, {"Date", now}}), 0);
  EXPECT_EQ(fresh_for({{"Expires", later}, {"Expires", before}}), 100) << "the first of several";
  for (const char* good : {"THU, 18 Aug 2050 02:01:18 GMT", "Thu, 18 AUG 2050 02:01:18 gMT",
                           "Thursday, 18-Aug-50 02:01:18 GMT", "Thu Aug  8 02:01:18 2050"})
    EXPECT_GT(fresh_for({{"Expires", good}}), 700'000'000) << good;
  for (const char* bad :
       {"0", "-1", "", "Thu, 18 Aug 2050 02:01:18 UTC", "Thu, 18 Aug 2050 02:01:18 AEST", "Thu, 18 Aug 50 02:01:18 GMT",
        "Thu 18 Aug 2050 02:01:18 GMT", "Thu, 18  Aug  2050 02:01:18 GMT", "Thu, 18-Aug-2050 02:01:18 GMT",
        "Thu, 18 Aug 2050 02.01.18 GMT", "Thu, 18 Aug 2050 2:01:18 GMT", "2050-08-18"})
    EXPECT_EQ(fresh_for({{"Expires", bad}}), 0) << bad;
  EXPECT_EQ(fresh_for({{"CDN-Cache-Control", "max-age=5"}, {"Cache-Control", "max-age=9"}, {"Expires", before}}), 5);
  EXPECT_EQ(fresh_for({{"CDN-Cache-Control", "public"}, {"Expires", later}}), 0) << "Expires is for others";
}

// §4.2.3.
TEST(Age, IsTheLargerOfDateAndAgeWithTheDelay) {
  EXPECT_EQ(fresh_for({{"Cache-Control", "max-age=50"}, {"Age", "20"}}), 30);
  EXPECT_EQ(fresh_for({{"Cache-Control", "max-age=50"}, {"Age", "90"}}), 0);
  EXPECT_EQ(fresh_for({{"Cache-Control", "max-age=50"}, {"Date", date(kNow - 40)}}), 10);
  EXPECT_EQ(fresh_for({{"Cache-Control", "max-age=50"}, {"Date", date(kNow - 40)}, {"Age", "45"}}), 5);
  EXPECT_EQ(fresh_for({{"Cache-Control", "max-age=50"}, {"Date", date(kNow + 40)}}), 50) << "a fast clock";
  EXPECT_EQ(fresh_for({{"Expires", date(kNow + 20)}, {"Date", date(kNow + 10)}, {"Age", "15"}}), 0);
  EXPECT_EQ(fresh_for({{"Expires", date(kNow + 10)}, {"Date", date(kNow - 10)}, {"Age", "25"}}), 0);
  const Answered answered({{"Cache-Control", "max-age=50"}, {"Age", "5"}});
  EXPECT_EQ(judge(Asked(), answered, {}, 7500ms).freshness.age, 12);
  EXPECT_EQ(judge(Asked(), answered, {}, -5s).freshness.age, 5) << "the clock was set back";
}

// §5.1: of several the first counts, and what is no number does not count at all.
TEST(Age, IsTheFirstNumber) {
  for (const char* none : {"abc", "-7200", "7200.0", "7200;foo=bar", "", "0x1", "0, 7200", "0,7200", "7200 0"})
    EXPECT_EQ(fresh_for({{"Cache-Control", "max-age=9000"}, {"Age", none}}), 9000) << none;
  for (const char* old : {"7200", "7200, 0", "7200,0", "7200 ,0"})
    EXPECT_EQ(fresh_for({{"Cache-Control", "max-age=9000"}, {"Age", old}}), 1800) << old;
  for (const char* large : {"2147483647", "2147483648", "2147483649", "99999999999"})
    EXPECT_EQ(fresh_for({{"Cache-Control", "max-age=9000"}, {"Age", large}}), 0) << large;
  EXPECT_EQ(fresh_for({{"Cache-Control", "max-age=9000"}, {"Age", "0"}, {"Age", "7200"}}), 9000);
  EXPECT_EQ(fresh_for({{"Cache-Control", "max-age=9000"}, {"Age", "7200"}, {"Age", "0"}}), 1800);
}

// §4.2.2.
TEST(Heuristic, IsATenthOfTheTimeSinceLastModified) {
  const std::string day = date(kNow - 86'400);
  EXPECT_EQ(fresh_for({{"Last-Modified", day}, {"Date", date(kNow)}}), 8640);
  EXPECT_EQ(fresh_for({{"Last-Modified", date(kNow - 20 * 86'400)}}), 86'400) << "a day at most";
  EXPECT_EQ(fresh_for({{"Last-Modified", date(kNow + 5)}}), 0);
  EXPECT_EQ(fresh_for({{"Last-Modified", "yesterday"}}), 0);
  EXPECT_EQ(fresh_for({}), 0);
  StorePolicy without;
  without.heuristic = false;
  EXPECT_EQ(fresh_for({{"Last-Modified", day}}, 200, without), 0);
  EXPECT_EQ(fresh_for({{"Last-Modified", day}, {"Pragma", "no-cache"}}), 0);
  EXPECT_EQ(fresh_for({{"Last-Modified", day}, {"Pragma", "foo"}}), 8640);
  for (const int status : {200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501})
    EXPECT_EQ(fresh_for({{"Last-Modified", day}}, status), 8640) << status;
  for (const int status : {201, 202, 302, 307, 403, 500, 502, 503, 504, 599}) {
    EXPECT_EQ(judge({{"Last-Modified", day}}, status).reason, "status") << status;
    EXPECT_EQ(fresh_for({{"Last-Modified", day}, {"Cache-Control", "public"}}, status), 8640) << status;
  }
  EXPECT_TRUE(judge({{"Last-Modified", day}}).freshness.has(Flag::kHeuristic));
}

TEST(PolicyTtl, IsForAnswersThatNameNone) {
  StorePolicy policy;
  policy.ttl = {{0, 5s}, {200, 60s}, {404, 10s}};
  EXPECT_EQ(fresh_for({}, 200, policy), 60);
  EXPECT_EQ(fresh_for({}, 206, policy), 60) << "a part of a 200";
  EXPECT_EQ(fresh_for({}, 404, policy), 10);
  EXPECT_EQ(fresh_for({}, 503, policy), 5);
  EXPECT_TRUE(judge({}, 503, policy).store);
  EXPECT_EQ(fresh_for({{"Last-Modified", date(kNow - 86'400)}}, 200, policy), 60) << "before the heuristic";
  EXPECT_EQ(fresh_for({{"Cache-Control", "max-age=3"}}, 200, policy), 3);
  EXPECT_EQ(judge({{"Cache-Control", "max-age=0"}}, 200, policy).reason, "no-lifetime");
  EXPECT_EQ(judge({{"Pragma", "no-cache"}}, 200, policy).reason, "no-lifetime-named");
  policy.ttl_max = 40s;
  EXPECT_EQ(fresh_for({}, 200, policy), 40);
  EXPECT_EQ(fresh_for({{"Cache-Control", "max-age=300"}}, 200, policy), 40);
}

// §3.
TEST(MayStore, TellsWhyNot) {
  const std::string later = date(kNow + 100);
  const struct {
    Lines answer;
    const char* reason;
  } kCases[] = {{{{"Cache-Control", "max-age=5"}}, "stored"},
                {{{"Expires", later}}, "stored"},
                {{{"ETag", "\"a\""}}, "stored"},
                {{}, "no-lifetime-named"},
                {{{"Cache-Control", "max-age=0"}}, "no-lifetime"},
                {{{"Cache-Control", "max-age=0"}, {"ETag", "\"a\""}}, "stored"},
                {{{"Cache-Control", "max-age=0, stale-if-error=5"}}, "stored"},
                {{{"Cache-Control", "max-age=0, stale-while-revalidate=5"}}, "stored"},
                {{{"Cache-Control", "max-age=0, stale-while-revalidate=5, must-revalidate"}}, "no-lifetime"},
                {{{"Cache-Control", "max-age=5"}, {"Age", "9"}}, "stale-on-arrival"},
                {{{"Cache-Control", "max-age=5"}, {"Age", "9"}, {"ETag", "\"a\""}}, "stored"},
                {{{"Cache-Control", "No-Store, max-age=5"}, {"Expires", later}}, "no-store"},
                {{{"Cache-Control", "private, max-age=5"}}, "private"},
                {{{"Cache-Control", "private=\"a\", max-age=5"}}, "stored"},
                {{{"Cache-Control", "no-cache"}, {"Expires", later}}, "no-cache"},
                {{{"Cache-Control", "no-cache"}, {"ETag", "\"a\""}}, "stored"},
                {{{"Cache-Control", "max-age=5"}, {"Vary", "Foo, *"}}, "vary"},
                {{{"Cache-Control", "max-age=5"}, {"Vary", ""}, {"Vary", "*"}}, "vary"},
                {{{"Cache-Control", "max-age=5"}, {"Vary", "Foo"}}, "stored"},
                {{{"Surrogate-Control", "no-store"}, {"Cache-Control", "max-age=5"}}, "no-store"},
                {{{"CDN-Cache-Control", "max-age=5"}, {"Cache-Control", "no-store"}}, "stored"}};
  for (const auto& each : kCases) {
    const StoreVerdict got = judge(each.answer);
    EXPECT_EQ(got.reason, each.reason) << (each.answer.size() > 0 ? each.answer.begin()->second : "");
    EXPECT_EQ(got.store, got.reason == "stored");
  }
}

TEST(MayStore, TakesAnyFinalStatusWithALifetime) {
  for (const int status :
       {200, 203, 204, 206, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599})
    EXPECT_TRUE(judge({{"Cache-Control", "max-age=5"}}, status).store) << status;
  for (const int status : {100, 103, 304}) EXPECT_EQ(judge({{"Cache-Control", "max-age=5"}}, status).reason, "status");
}

// §5.2.2.3: with a status it knows, must-understand lifts no-store, which is there for caches that do not know it.
TEST(MustUnderstand, DependsOnTheStatus) {
  for (const int status : {200, 206, 301, 404, 503})
    EXPECT_TRUE(judge({{"Cache-Control", "max-age=5, must-understand, no-store"}}, status).store) << status;
  for (const int status : {205, 299, 499, 599})
    EXPECT_EQ(judge({{"Cache-Control", "max-age=5, must-understand"}}, status).reason, "not-understood") << status;
}

// §3.5.
TEST(Authorization, WantsPermission) {
  const Asked asked({{"Authorization", "Basic x"}});
  const auto reason = [&](const char* directives) {
    const Answered answered({{"Cache-Control", directives}, {"Expires", date(kNow + 100)}});
    const StoreVerdict got = judge(asked, answered);
    EXPECT_TRUE(got.freshness.has(Flag::kAuthorized));
    return got.reason;
  };
  EXPECT_EQ(reason(""), "authorization");
  EXPECT_EQ(reason("max-age=5"), "authorization");
  EXPECT_EQ(reason("proxy-revalidate"), "authorization");
  EXPECT_EQ(reason("public"), "stored");
  EXPECT_EQ(reason("must-revalidate"), "stored");
  EXPECT_EQ(reason("s-maxage=5"), "stored");
}

TEST(MayStore, IsForGetWithoutABody) {
  const Answered answered({{"Cache-Control", "max-age=5"}});
  for (const char* method : {"HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "M-SEARCH", "POST"})
    EXPECT_EQ(judge(Asked({}, method), answered).reason, "method") << method;
  Asked fat;
  fat.request.body = std::make_unique<http::TextBody>("x");
  EXPECT_EQ(judge(fat, answered).reason, "request-body");
  EXPECT_EQ(judge(Asked({{"Cache-Control", "no-store"}}), answered).reason, "request-no-store");
  StorePolicy deaf;
  deaf.ignore_request_directives = true;
  EXPECT_TRUE(judge(Asked({{"Cache-Control", "no-store"}}), answered, deaf).store);
}

// RFC 9110 §9.3.3.
TEST(PostAnswer, IsStoredWhenItSaysWhatItIs) {
  const auto reason = [](Lines answer, int status = 200) {
    Asked asked({}, "POST", "/a", "q=1");
    asked.request.body = std::make_unique<http::TextBody>("x");
    return judge(asked, Answered(answer, status)).reason;
  };
  EXPECT_EQ(reason({{"Cache-Control", "max-age=5"}, {"Content-Location", "/a?q=1"}}), "stored");
  EXPECT_EQ(reason({{"Cache-Control", "max-age=5"}, {"Content-Location", "http://example.com:80/a?q=1"}}), "stored");
  EXPECT_EQ(reason({{"Cache-Control", "max-age=5"}, {"Content-Location", "/a"}}), "method");
  EXPECT_EQ(reason({{"Cache-Control", "max-age=5"}, {"Content-Location", "http://other.example/a?q=1"}}), "method");
  EXPECT_EQ(reason({{"Content-Location", "/a?q=1"}, {"Last-Modified", date(kNow - 86'400)}}), "method");
  EXPECT_EQ(reason({{"Cache-Control", "max-age=5"}, {"Content-Location", "/a?q=1"}}, 201), "method");
}

// RFC 9111 §7.3, and what is safe where nobody said that the answer is for all.
TEST(SetCookie, IsNotStored) {
  const ResponseDirectives none;
  const http::Field cookie{"Set-Cookie", "a=b", http::FieldId::set_cookie};
  StorePolicy keeps;
  keeps.store_set_cookie = true;
  EXPECT_FALSE(is_stored_field(cookie, none, {}));
  EXPECT_TRUE(is_stored_field(cookie, none, keeps));
  EXPECT_TRUE(judge({{"Set-Cookie", "a=b"}, {"Cache-Control", "max-age=5"}}).store);
  EXPECT_EQ(judge({{"Set-Cookie", "a=b"}, {"Last-Modified", date(kNow - 86'400)}}).reason, "set-cookie");
  StorePolicy policy;
  policy.ttl = {{200, 60s}};
  EXPECT_EQ(judge({{"Set-Cookie", "a=b"}}, 200, policy).reason, "set-cookie");
  keeps.ttl = policy.ttl;
  EXPECT_TRUE(judge({{"Set-Cookie", "a=b"}}, 200, keeps).store);
}

// §3.1.
TEST(StoredFields, AreAllButTheConnectionsAndTheNamedOnes) {
  const test::Head head{{"Cache-Control", "no-cache=\"a\", private=\"B\""}};
  const ResponseDirectives directives = response_directives(head.fields);
  const auto stored = [&](std::string_view name) {
    return is_stored_field({name, "x", http::field_id(name)}, directives, {});
  };
  for (const char* yes : {"Test-Header", "Cache-Control", "Content-Encoding", "Content-Location", "ETag", "Date",
                          "Set-Cookie2", "Content-Security-Policy", "Clear-Site-Data", "Via", "Cache-Status", "c"})
    EXPECT_TRUE(stored(yes)) << yes;
  for (const char* no :
       {"A", "b", "Set-Cookie", "Age", "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authentication-Info",
        "Proxy-Authorization", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade"})
    EXPECT_FALSE(stored(no)) << no;
}

// RFC 9110 §6.6.1.
TEST(EnsureDate, AddsWhenItCameOnlyWhereThereIsNone) {
  Answered without;
  ensure_date(without.response.fields, wall(kNow));
  EXPECT_EQ(without.response.fields.value(http::FieldId::date), date(kNow));
  Answered with({{"Date", "foo"}});
  ensure_date(with.response.fields, wall(kNow));
  EXPECT_EQ(with.response.fields.value(http::FieldId::date), "foo");
  EXPECT_EQ(with.response.fields.size(), 1U);
}

// §4.2.4, §5.2.2.10, RFC 5861.
TEST(StaleSpans, ComeFromTheAnswerThenFromThePolicy) {
  StorePolicy policy;
  policy.stale_while_revalidate = 7s;
  policy.stale_if_error = 8s;
  const struct {
    const char* directives;
    int64_t revalidate;
    int64_t error;
  } kCases[] = {{"max-age=5", 7, 8},
                {"max-age=5, stale-while-revalidate=1, stale-if-error=0", 1, 0},
                {"max-age=5, must-revalidate, stale-if-error=9", 0, 0},
                {"max-age=5, proxy-revalidate, stale-while-revalidate=9", 0, 0},
                {"max-age=5, no-cache, stale-if-error=9", 0, 0},
                {"s-maxage=5", 0, 0},
                {"s-maxage=5, stale-while-revalidate=9", 9, 0}};
  for (const auto& each : kCases) {
    const Freshness got = judge({{"Cache-Control", each.directives}}, 200, policy).freshness;
    EXPECT_EQ(got.stale_while_revalidate, each.revalidate) << each.directives;
    EXPECT_EQ(got.stale_if_error, each.error) << each.directives;
  }
}

TEST(Freshness, KnowsItsValidators) {
  EXPECT_FALSE(judge({{"ETag", ""}, {"Last-Modified", "x"}}).freshness.has_validator());
  EXPECT_TRUE(judge({{"ETag", "x"}}).freshness.has(Flag::kHasEtag));
  EXPECT_TRUE(judge({{"Last-Modified", date(kNow)}}).freshness.has(Flag::kHasLastModified));
  EXPECT_TRUE(judge({{"Cache-Control", "max-age=1, immutable"}}).freshness.has(Flag::kImmutable));
  EXPECT_TRUE(judge({{"CDN-Cache-Control", "max-age=1"}}).freshness.has(Flag::kTargeted));
}

}  // namespace
}  // namespace trellis::cache
