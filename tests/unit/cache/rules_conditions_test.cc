#include <gtest/gtest.h>

#include <string>

#include "cache/rules/conditions.h"
#include "tests/unit/cache/rules_kit.h"

namespace trellis::cache {
namespace {

using test::Asked;
using test::date;
using test::Head;
using test::kNow;
using test::Lines;

constexpr int64_t kAnswered = kNow - 100;

bool not_modified(Lines request, const Head& stored, const char* method = "GET", int status = 200) {
  return is_not_modified(Asked(request, method).request, status, stored.fields, kAnswered, kNow);
}

// RFC 9111 §4.3.2, RFC 9110 §13.1.2, §13.1.3.
TEST(NotModified, ByEntityTagElseByDate) {
  const Head stored{{"ETag", "\"a\""}, {"Last-Modified", date(kNow - 3000)}, {"Date", date(kAnswered)}};
  EXPECT_TRUE(not_modified({{"If-None-Match", "\"a\""}}, stored));
  EXPECT_TRUE(not_modified({{"If-None-Match", "\"x\", W/\"a\""}}, stored));
  EXPECT_TRUE(not_modified({{"If-None-Match", "\"a\""}}, stored, "HEAD"));
  EXPECT_TRUE(not_modified({{"If-None-Match", "*"}}, stored));
  EXPECT_FALSE(not_modified({{"If-None-Match", "\"b\""}}, stored));
  EXPECT_FALSE(not_modified({{"If-None-Match", "\"b\""}, {"If-Modified-Since", date(kNow)}}, stored));
  EXPECT_TRUE(not_modified({{"If-None-Match", "\"a\""}, {"If-Modified-Since", date(0)}}, stored));
  EXPECT_TRUE(not_modified({{"If-Modified-Since", date(kNow - 3000)}}, stored));
  EXPECT_TRUE(not_modified({{"If-Modified-Since", date(kNow - 2000)}}, stored));
  EXPECT_FALSE(not_modified({{"If-Modified-Since", date(kNow - 3001)}}, stored));
  EXPECT_FALSE(not_modified({}, stored));
  EXPECT_FALSE(not_modified({{"If-None-Match", "\"a\""}}, stored, "GET", 404)) << "only of what would be 200";
  EXPECT_FALSE(not_modified({{"If-None-Match", "\"a\""}}, stored, "POST"));
  const Head dated{{"Date", date(kAnswered)}};
  EXPECT_TRUE(not_modified({{"If-Modified-Since", date(kAnswered)}}, dated));
  EXPECT_FALSE(not_modified({{"If-Modified-Since", date(kAnswered - 1)}}, dated));
  const Head bare{{"Last-Modified", "x"}};
  EXPECT_TRUE(not_modified({{"If-Modified-Since", date(kAnswered)}}, bare)) << "when it came";
  EXPECT_FALSE(not_modified({{"If-Modified-Since", date(kAnswered - 1)}}, bare));
}

TEST(Conditions, OfWritersAreTheOrigins) {
  EXPECT_TRUE(asks_the_origin(Head{{"If-Match", "*"}}.fields));
  EXPECT_TRUE(asks_the_origin(Head{{"If-Unmodified-Since", date(kNow)}}.fields));
  EXPECT_FALSE(asks_the_origin(Head{{"If-None-Match", "*"}}.fields));
}

// RFC 9110 §14.2, §13.1.5.
TEST(StoredRanges, NeedA200AndAMatchingIfRange) {
  const Head stored{{"ETag", "\"a\""}, {"Last-Modified", date(kNow - 3000)}, {"Date", date(kAnswered)}};
  const auto kind = [&](Lines request, const char* method = "GET", int status = 200) {
    return stored_ranges(Asked(request, method).request, status, stored.fields, kAnswered, kNow, 100).kind;
  };
  using Kind = http::RangePlan::Kind;
  EXPECT_EQ(kind({{"Range", "bytes=0-1"}}), Kind::partial);
  EXPECT_EQ(kind({{"Range", "bytes=100-"}}), Kind::unsatisfiable);
  EXPECT_EQ(kind({{"Range", "bytes=0-1"}}, "HEAD"), Kind::whole);
  EXPECT_EQ(kind({{"Range", "bytes=0-1"}}, "GET", 404), Kind::whole);
  EXPECT_EQ(kind({{"Range", "bytes=0-1"}, {"Range", "bytes=2-3"}}), Kind::whole);
  EXPECT_EQ(kind({{"Range", "bytes=0-1"}, {"If-Range", "\"a\""}}), Kind::partial);
  EXPECT_EQ(kind({{"Range", "bytes=0-1"}, {"If-Range", "\"b\""}}), Kind::whole);
  EXPECT_EQ(kind({{"Range", "bytes=0-1"}, {"If-Range", "W/\"a\""}}), Kind::whole);
  EXPECT_EQ(kind({{"Range", "bytes=0-1"}, {"If-Range", date(kNow - 3000)}}), Kind::partial);
  EXPECT_EQ(kind({{"Range", "bytes=0-1"}, {"If-Range", date(kNow)}}), Kind::whole);
  const Head dated{{"Date", date(kAnswered)}};
  const Asked by_date({{"Range", "bytes=0-1"}, {"If-Range", date(kAnswered)}});
  EXPECT_EQ(stored_ranges(by_date.request, 200, dated.fields, kAnswered, kNow, 100).kind, Kind::whole)
      << "Date tells nothing about the representation";
  // §8.8.2.2: what changed in the second of its Date may have changed in that second again.
  const Head young{{"Last-Modified", date(kAnswered)}, {"Date", date(kAnswered)}};
  EXPECT_EQ(stored_ranges(by_date.request, 200, young.fields, kAnswered, kNow, 100).kind, Kind::whole);
  const Head older{{"Last-Modified", date(kAnswered)}, {"Date", date(kAnswered + 1)}};
  EXPECT_EQ(stored_ranges(by_date.request, 200, older.fields, kAnswered, kNow, 100).kind, Kind::partial);
}

// RFC 9110 §15.4.5.
TEST(NotModified, CarriesWhatCachesNeed) {
  const auto carries = [](std::string_view name, bool etag = true) {
    return is_field_of_304({name, "x", http::field_id(name)}, etag);
  };
  for (const char* yes : {"Cache-Control", "Content-Location", "Date", "ETag", "Expires", "Vary", "Age", "Cache-Status",
                          "CDN-Cache-Control", "Content-Security-Policy", "Surrogate-Key", "X-Any", "Link"})
    EXPECT_TRUE(carries(yes)) << yes;
  for (const char* no : {"Content-Type", "Content-Length", "Content-Encoding", "Content-Language", "Content-Range",
                         "Content-MD5", "repr-digest", "Accept-Ranges", "Last-Modified"})
    EXPECT_FALSE(carries(no)) << no;
  EXPECT_TRUE(carries("Last-Modified", false));
}

// §4.3.1.
TEST(Validation, AsksWithTheStoredValidatorsOnly) {
  const auto asked = [](Lines request, Lines stored) {
    Head head(request);
    set_validation(head.fields, Head(stored).fields);
    std::string out;
    for (const http::Field& field : head.fields) out.append(field.name).append("|");
    return out;
  };
  EXPECT_EQ(asked({{"Accept", "x"}, {"If-None-Match", "\"c\""}, {"Range", "bytes=0-1"}, {"If-Range", "\"c\""}},
                  {{"ETag", "\"a\""}, {"Last-Modified", "x"}}),
            "Accept|If-None-Match|If-Modified-Since|");
  EXPECT_EQ(asked({{"If-Modified-Since", "x"}, {"If-Match", "*"}, {"If-Unmodified-Since", "x"}}, {{"ETag", ""}}), "");
  Head kept{{"Range", "bytes=0-1"}, {"If-Range", "\"a\""}, {"If-None-Match", "\"a\""}};
  remove_conditions(kept.fields, false);
  EXPECT_EQ(kept.fields.size(), 2U);
}

}  // namespace
}  // namespace trellis::cache
