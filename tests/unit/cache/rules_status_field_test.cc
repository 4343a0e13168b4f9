#include <gtest/gtest.h>

#include "cache/rules/status_field.h"
#include "tests/unit/cache/rules_kit.h"

namespace trellis::cache {
namespace {

using test::Head;

// RFC 9211.
TEST(CacheStatus, TellsWhatWasDone) {
  Arena arena;
  CacheStatus hit;
  hit.ttl = -3;
  EXPECT_EQ(cache_status_text("trellis", hit, arena), "trellis; hit; ttl=-3");
  CacheStatus miss;
  miss.forwarded = Forwarded::vary_miss;
  miss.forwarded_status = 304;
  miss.stored = miss.collapsed = true;
  miss.key = "http://a/\"";
  miss.detail = "two words";
  EXPECT_EQ(
      cache_status_text("edge 1", miss, arena),
      "\"edge 1\"; fwd=vary-miss; fwd-status=304; stored; collapsed; key=\"http://a/\\\"\"; detail=\"two words\"");
  miss = {};
  miss.forwarded = Forwarded::bypass;
  miss.detail = "no-store";
  EXPECT_EQ(cache_status_text("trellis", miss, arena), "trellis; fwd=bypass; detail=no-store");
  CacheStatus refused;
  refused.refused = true;
  refused.detail = "only-if-cached";
  EXPECT_EQ(cache_status_text("trellis", refused, arena), "trellis; detail=only-if-cached") << "§2.1: no hit";
}

TEST(CacheStatus, ComesBehindThatOfCachesNearerToTheOrigin) {
  Head head{{"Cache-Status", "origin; hit"}, {"A", "1"}, {"Cache-Status", "mid; fwd=miss"}};
  add_cache_status(head.fields, "trellis", {});
  EXPECT_EQ(head.fields.joined(http::FieldId::cache_status), "origin; hit, mid; fwd=miss, trellis; hit");
  EXPECT_EQ(head.fields.count(http::FieldId::cache_status), 1U);
}

}  // namespace
}  // namespace trellis::cache
