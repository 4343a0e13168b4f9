// What the disk keeps of an object besides its body.
#include <gtest/gtest.h>

#include <string>

#include "base/varint.h"
#include "cache/edge/object.h"
#include "tests/unit/cache/rules_kit.h"

namespace trellis::cache {
namespace {

using test::Head;
using test::kNow;
using test::wall;

ObjectHead some_head() {
  ObjectHead head;
  head.status = 404;
  head.freshness.answered = kNow;
  head.freshness.lifetime = 60;
  head.purge_url = "http://example.com/a";
  head.tags = {1, UINT64_MAX};
  head.filled = 7;
  head.total = 5;
  head.fields = StoredFields(Head{{"ETag", "\"a\""}, {"X-Any", ""}}.fields);
  return head;
}

TEST(ObjectHead, ComesBackFromItsBytes) {
  const std::string bytes = some_head().encode();
  const auto head = ObjectHead::decode(bytes, Time(std::chrono::hours(1)), wall(kNow + 10));
  ASSERT_TRUE(head);
  EXPECT_EQ(head->encode(), bytes);
  EXPECT_EQ(head->answered, Time(std::chrono::hours(1) - std::chrono::seconds(10)));
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(ObjectHead::decode(std::string_view(bytes).substr(0, size), Time(), wall(kNow))) << size;
}

TEST(ObjectHead, IsRefusedWithNumbersThatNoAnswerHas) {
  const auto is_refused = [](const ObjectHead& head) { return !ObjectHead::decode(head.encode(), Time(), wall(kNow)); };
  const auto refused = [&](auto change) {
    ObjectHead head = some_head();
    change(head.freshness);
    return is_refused(head);
  };
  EXPECT_FALSE(refused([](Freshness&) {}));
  EXPECT_TRUE(refused([](Freshness& freshness) { freshness.version = 9; }));
  EXPECT_TRUE(refused([](Freshness& freshness) { freshness.lifetime = -1; }));
  EXPECT_TRUE(refused([](Freshness& freshness) { freshness.age = INT64_MAX; }));
  EXPECT_TRUE(refused([](Freshness& freshness) { freshness.stale_while_revalidate = kMaxSeconds + 1; }));
  EXPECT_TRUE(refused([](Freshness& freshness) { freshness.stale_if_error = INT64_MIN; }));
  EXPECT_TRUE(refused([](Freshness& freshness) { freshness.answered = INT64_MIN; }));
  EXPECT_TRUE(refused([](Freshness& freshness) { freshness.answered = INT64_MAX; }));
  EXPECT_TRUE(refused([](Freshness& freshness) { freshness.date = INT64_MIN; }));
  ObjectHead slow = some_head();
  slow.took = Duration::max();
  EXPECT_TRUE(is_refused(slow));
}

TEST(VariantsRecord, ComesBackFromItsBytes) {
  Variants variants{{"accept-language", "foo"}, 42, {{{"de", "de,en"}, {"fr", "fr"}}}};
  std::string bytes;
  variants.encode(bytes);
  ByteReader in(bytes);
  const auto got = Variants::decode(in);
  ASSERT_TRUE(got && in.at_end());
  EXPECT_EQ(got->names, variants.names);
  EXPECT_EQ(got->id, 42U);
  EXPECT_EQ(got->languages, variants.languages);
  for (size_t size = 0; size < bytes.size(); ++size) {
    ByteReader cut(std::string_view(bytes).substr(0, size));
    EXPECT_FALSE(Variants::decode(cut)) << size;
  }
  for (const size_t names : {size_t{0}, kMaxVaryNames + 1}) {
    std::string bad;
    Variants{std::vector<std::string>(names, "a"), 1, {}}.encode(bad);
    ByteReader reader(bad);
    EXPECT_FALSE(Variants::decode(reader)) << names;
  }
}

}  // namespace
}  // namespace trellis::cache
