#include <gtest/gtest.h>

#include <string>

#include "cache/rules/partial.h"
#include "tests/unit/cache/rules_kit.h"

namespace trellis::cache {
namespace {

using test::Answered;
using test::date;
using test::Head;
using test::kNow;
using test::Lines;

// RFC 9110 §14.4.
TEST(ContentRange, IsReadWithinLimits) {
  EXPECT_EQ(parse_content_range("bytes 0-4/10"), (ContentRange{{0, 4}, 10}));
  EXPECT_EQ(parse_content_range("BYTES 9-9/10"), (ContentRange{{9, 9}, 10}));
  EXPECT_EQ(parse_content_range("bytes 0-4/*"), (ContentRange{{0, 4}, {}}));
  EXPECT_EQ(parse_content_range("bytes 9223372036854775806-9223372036854775806/9223372036854775807")->range.first,
            9223372036854775806U);
  for (const char* bad : {"",
                          "bytes",
                          "bytes ",
                          "bytes */10",
                          "lines 0-4/10",
                          "bytes=0-4/10",
                          "bytes 4-0/10",
                          "bytes 0-10/10",
                          "bytes 0-4",
                          "bytes 0/10",
                          "bytes -4/10",
                          "bytes 0-/10",
                          "bytes 0-4/",
                          "bytes 0-4/x",
                          "bytes 0-4/10 x",
                          "bytes +0-4/10",
                          "bytes 0-9223372036854775808/*",
                          "bytes 0-99999999999999999999/*",
                          "bytes 0-4/9223372036854775808",
                          "bytes 0/4-10"})
    EXPECT_FALSE(parse_content_range(bad)) << bad;
}

TEST(ContentRange, IsWritten) {
  Arena arena;
  EXPECT_EQ(content_range_text({{0, 4}, 10}, arena), "bytes 0-4/10");
  EXPECT_EQ(content_range_text({{5, INT64_MAX}, {}}, arena), "bytes 5-9223372036854775807/*");
}

// RFC 9111 §3.3.
TEST(StorablePart, IsOneRangeOfAKnownWhole) {
  const auto part = [](Lines lines, const char* body, int status = 206) {
    Answered answered(lines, status);
    answered.response.body = http::Body(std::string(body));
    return storable_part(answered.response);
  };
  EXPECT_EQ(part({{"Content-Range", "bytes 5-9/10"}}, "01234"), (ContentRange{{5, 9}, 10}));
  EXPECT_FALSE(part({{"Content-Range", "bytes 4-9/10"}}, "01234")) << "the body is shorter than it says";
  EXPECT_FALSE(part({{"Content-Range", "bytes 5-9/*"}}, "01234"));
  EXPECT_FALSE(part({{"Content-Range", "bytes 5-9/10"}}, "01234", 200));
  EXPECT_FALSE(part({{"Content-Type", "multipart/byteranges; boundary=x"}}, "01234"));
  EXPECT_FALSE(part({{"Content-Range", "bytes 5-9/10"}, {"Content-Range", "bytes 0-4/10"}}, "01234"));
}

// §3.4, RFC 9110 §15.3.7.3, §8.8.2.2.
TEST(MayCombine, ByOneStrongValidator) {
  const auto may = [](Lines a, Lines b) { return may_combine(Head(a).fields, Head(b).fields, kNow); };
  const std::string old = date(kNow - 3000);
  const std::string now = date(kNow);
  EXPECT_TRUE(may({{"ETag", "\"a\""}}, {{"ETag", "\"a\""}}));
  EXPECT_FALSE(may({{"ETag", "\"a\""}}, {{"ETag", "\"b\""}}));
  EXPECT_FALSE(may({{"ETag", "W/\"a\""}}, {{"ETag", "W/\"a\""}}));
  EXPECT_FALSE(may({{"ETag", "\"a\""}}, {}));
  EXPECT_FALSE(may({}, {}));
  EXPECT_TRUE(may({{"Last-Modified", old}, {"Date", now}}, {{"Last-Modified", old}, {"Date", now}}));
  EXPECT_FALSE(may({{"Last-Modified", old}, {"Date", now}}, {{"Last-Modified", old}}));
  EXPECT_FALSE(may({{"Last-Modified", old}, {"Date", old}}, {{"Last-Modified", old}, {"Date", now}})) << "too near";
  EXPECT_FALSE(
      may({{"ETag", "\"a\""}, {"Last-Modified", old}, {"Date", now}}, {{"Last-Modified", old}, {"Date", now}}));
}

std::string text_of(const std::vector<http::ByteRange>& ranges) {
  std::string out;
  for (const http::ByteRange& each : ranges)
    out.append(out.empty() ? "" : ",").append(std::to_string(each.first)).append("-").append(std::to_string(each.last));
  return out;
}

TEST(Parts, AreJoinedAndCounted) {
  Parts parts;
  EXPECT_FALSE(parts.covers({0, 0}));
  EXPECT_EQ(text_of(parts.missing({0, 9})), "0-9");
  EXPECT_TRUE(parts.add({10, 19}));
  EXPECT_TRUE(parts.add({40, 49}));
  EXPECT_TRUE(parts.add({0, 4}));
  EXPECT_EQ(text_of(parts.ranges()), "0-4,10-19,40-49");
  EXPECT_EQ(parts.bytes(), 25U);
  EXPECT_EQ(text_of(parts.missing({0, 59})), "5-9,20-39,50-59");
  EXPECT_EQ(text_of(parts.missing({2, 12})), "5-9");
  EXPECT_EQ(text_of(parts.missing({12, 15})), "");
  EXPECT_TRUE(parts.covers({10, 19}));
  EXPECT_FALSE(parts.covers({9, 12}));
  EXPECT_TRUE(parts.add({5, 9}));
  EXPECT_EQ(text_of(parts.ranges()), "0-19,40-49");
  EXPECT_TRUE(parts.add({15, 60}));
  EXPECT_EQ(text_of(parts.ranges()), "0-60");
  EXPECT_TRUE(parts.add({3, 4}));
  EXPECT_EQ(text_of(parts.ranges()), "0-60");
}

TEST(Parts, AreBounded) {
  Parts parts;
  for (uint64_t i = 0; i < Parts::kMax; ++i) EXPECT_TRUE(parts.add({i * 10, i * 10}));
  EXPECT_FALSE(parts.add({Parts::kMax * 10, Parts::kMax * 10}));
  EXPECT_TRUE(parts.add({1, 9})) << "what joins two makes room";
  EXPECT_TRUE(parts.add({Parts::kMax * 10, Parts::kMax * 10}));
}

}  // namespace
}  // namespace trellis::cache
