#include <gtest/gtest.h>

#include <chrono>
#include <cmath>

#include "cache/rules/reuse.h"
#include "tests/unit/cache/rules_kit.h"

namespace trellis::cache {
namespace {

using namespace std::chrono_literals;
using Flag = Freshness::Flag;

// Fresh for `lifetime` seconds, `age` old when it came.
Freshness fresh(int64_t lifetime, int64_t age = 0, uint16_t flags = 0) {
  Freshness out;
  out.lifetime = lifetime;
  out.age = age;
  out.flags = flags;
  return out;
}
RequestDirectives asks(const char* cache_control) {
  const test::Head head{{"Cache-Control", cache_control}};
  return request_directives(head.fields);
}

struct Case {
  const char* request;
  Freshness stored;
  Duration since;
  Use use;
  const char* reason;
};

// RFC 9111 §4.2, §5.2.1.
TEST(Reuse, FollowsTheLifetimeAndTheRequest) {
  const Case kCases[] = {
      {"", fresh(10), 9s, Use::fresh, "fresh"},
      {"", fresh(10), 9999ms, Use::fresh, "fresh"},
      {"", fresh(10), 10s, Use::validate, "stale"},
      {"", fresh(10, 6), 4s, Use::validate, "stale"},
      {"", fresh(0), 0s, Use::validate, "stale"},
      {"", fresh(10, 0, Flag::kNoCache), 1s, Use::validate, "always-validated"},
      {"no-cache", fresh(10), 1s, Use::validate, "request-no-cache"},
      {"no-store", fresh(10), 1s, Use::fresh, "fresh"},
      {"max-age=0", fresh(10), 0s, Use::validate, "request-max-age"},
      {"max-age=0", fresh(10), 1s, Use::validate, "request-max-age"},
      {"max-age=600", fresh(3600, 1800), 0s, Use::validate, "request-max-age"},
      {"max-age=5", fresh(3), 4s, Use::validate, "stale"},
      {"min-fresh=6", fresh(10), 5s, Use::validate, "request-min-fresh"},
      {"min-fresh=5", fresh(10), 5s, Use::fresh, "fresh"},
      {"min-fresh=1, max-stale", fresh(10), 20s, Use::validate, "request-min-fresh"},
      {"max-stale", fresh(10), 1h, Use::stale, "request-max-stale"},
      {"max-stale=5", fresh(10), 15s, Use::stale, "request-max-stale"},
      {"max-stale=5", fresh(10), 16s, Use::validate, "stale"},
      {"max-stale", fresh(10, 0, Flag::kMustRevalidate), 11s, Use::validate, "must-revalidate"},
      {"max-stale", fresh(10, 0, Flag::kNoMaxStale), 11s, Use::validate, "stale"},
      {"max-stale", fresh(10, 0, Flag::kNoCache), 11s, Use::validate, "always-validated"},
      {"only-if-cached", fresh(10), 1s, Use::fresh, "fresh"},
      {"only-if-cached", fresh(10), 11s, Use::refused, "stale"},
      {"only-if-cached, max-stale", fresh(10), 11s, Use::stale, "request-max-stale"},
      {"only-if-cached, no-cache", fresh(10), 1s, Use::refused, "request-no-cache"},
  };
  for (const Case& each : kCases) {
    const Reuse got = reuse_of(asks(each.request), each.stored, each.since);
    EXPECT_EQ(to_string(got.use), to_string(each.use)) << each.request << " " << seconds(each.since);
    EXPECT_EQ(got.reason, each.reason) << each.request << " " << seconds(each.since);
  }
}

// RFC 5861 §3.
TEST(Reuse, GivesAStaleAnswerWhileItIsRefreshed) {
  Freshness stored = fresh(10);
  stored.stale_while_revalidate = 5;
  EXPECT_EQ(reuse_of({}, stored, 9s).use, Use::fresh);
  EXPECT_EQ(reuse_of({}, stored, 10s).use, Use::stale_while_revalidate);
  EXPECT_EQ(reuse_of({}, stored, 14s).use, Use::stale_while_revalidate);
  EXPECT_EQ(reuse_of({}, stored, 15s).use, Use::validate);
  EXPECT_EQ(reuse_of(asks("only-if-cached"), stored, 12s).use, Use::stale_while_revalidate);
  EXPECT_EQ(reuse_of(asks("max-age=60"), stored, 12s).use, Use::validate) << "§5.2.1.1: no stale one";
}

TEST(Reuse, TellsAgeAndRemainingLifetime) {
  const Reuse got = reuse_of({}, fresh(10, 3), 9s);
  EXPECT_EQ(got.age, 12);
  EXPECT_EQ(got.ttl, -2);
  EXPECT_EQ(age_of(fresh(1, 5), -3s), 5);
  EXPECT_EQ(age_of(fresh(1, kMaxSeconds), 1h), kMaxSeconds);
}

// RFC 5861 §4.
TEST(ServeOnError, NeedsPermissionFromTheAnswerOrTheClient) {
  Freshness stored = fresh(10);
  EXPECT_FALSE(may_serve_on_error({}, stored, 11s));
  EXPECT_TRUE(may_serve_on_error(asks("stale-if-error=5"), stored, 11s));
  EXPECT_FALSE(may_serve_on_error(asks("stale-if-error=5"), stored, 15s));
  EXPECT_FALSE(may_serve_on_error(asks("stale-if-error=5"), fresh(10, 0, Flag::kNoMaxStale), 11s));
  stored.stale_if_error = 60;
  EXPECT_TRUE(may_serve_on_error({}, stored, 11s));
  EXPECT_TRUE(may_serve_on_error({}, stored, 69s));
  EXPECT_FALSE(may_serve_on_error({}, stored, 70s));
  EXPECT_TRUE(may_serve_on_error(asks("no-cache"), stored, 1s)) << "it was asked, and failed";
  stored.flags = Flag::kMustRevalidate;
  EXPECT_FALSE(may_serve_on_error(asks("stale-if-error=5"), stored, 11s));
  stored.flags = Flag::kNoCache;
  EXPECT_FALSE(may_serve_on_error({}, stored, 1s));
}

// RFC 9111 §4: requests are collapsed only where each of them might have the stored answer.
TEST(CameFresh, TellsWhetherLaterOnesMayJoin) {
  EXPECT_TRUE(came_fresh(fresh(10, 9)));
  EXPECT_FALSE(came_fresh(fresh(0)));
  EXPECT_FALSE(came_fresh(fresh(10, 10)));
  EXPECT_FALSE(came_fresh(fresh(10, 0, Flag::kNoCache)));
}

TEST(RefreshEarly, GetsLikelierTowardsTheEnd) {
  const Freshness stored = fresh(100);
  const double one_in_e = std::exp(-1.0);
  EXPECT_FALSE(refresh_early(stored, 98s, 1s, 1, one_in_e));
  EXPECT_TRUE(refresh_early(stored, 99s, 1s, 1, one_in_e));
  EXPECT_TRUE(refresh_early(stored, 90s, 1s, 10, one_in_e));
  EXPECT_TRUE(refresh_early(stored, 90s, 10s, 1, one_in_e));
  EXPECT_FALSE(refresh_early(stored, 99s, 1s, 1, 1.0));
  EXPECT_FALSE(refresh_early(stored, 99s, 1s, 0, 0.001));
  EXPECT_FALSE(refresh_early(stored, 100s, 1s, 1, 0.001)) << "stale by now";
  EXPECT_FALSE(refresh_early(fresh(100, 0, Flag::kImmutable), 99s, 1s, 1, 0.001));
}

}  // namespace
}  // namespace trellis::cache
