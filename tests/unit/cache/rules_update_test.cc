// What a 304, a HEAD and an unsafe request do to what is stored.
#include <gtest/gtest.h>

#include <string>

#include "cache/rules/invalidation.h"
#include "cache/rules/update.h"
#include "tests/unit/cache/rules_kit.h"

namespace trellis::cache {
namespace {

using test::Answered;
using test::Asked;
using test::Head;
using test::Lines;

std::string text_of(const http::Fields& fields) {
  std::string out;
  for (const http::Field& field : fields) out.append(field.name).append("=").append(field.value).append(";");
  return out;
}

// RFC 9111 §4.3.4.
TEST(Confirms, ByTheEntityTagWhereThereIsOne) {
  const Head stored{{"ETag", "\"a\""}, {"Last-Modified", "x"}};
  EXPECT_TRUE(confirms(stored.fields, Head{{"ETag", "\"a\""}}.fields));
  EXPECT_FALSE(confirms(stored.fields, Head{{"ETag", "\"b\""}}.fields));
  EXPECT_TRUE(confirms(stored.fields, Head{{"ETag", "W/\"a\""}}.fields));
  EXPECT_FALSE(confirms(stored.fields, Head{{"ETag", "W/\"b\""}}.fields)) << "it corresponds to nothing stored";
  EXPECT_TRUE(confirms(Head{{"Last-Modified", "x"}}.fields, Head{{"ETag", "W/\"b\""}}.fields));
  EXPECT_TRUE(confirms(stored.fields, Head{}.fields));
  EXPECT_FALSE(confirms(Head{{"ETag", "W/\"a\""}}.fields, Head{{"ETag", "\"a\""}}.fields));
}

// §3.2.
TEST(Freshen, ReplacesAllButWhatDescribesTheStoredBytes) {
  Head stored{{"A", "1"},           {"B", "1"},
              {"ETag", "\"a\""},    {"Content-Encoding", "gzip"},
              {"Content-MD5", "x"}, {"Content-Type", "text/plain"},
              {"Link", "1"},        {"Link", "2"}};
  const Head newer{{"b", "2"},        {"Content-Encoding", "br"},      {"Content-MD5", "y"}, {"Content-Length", "9"},
                   {"ETag", "\"b\""}, {"Content-Type", "text/html"},   {"Link", "3"},        {"C", "1"},
                   {"C", "2"},        {"Content-Range", "bytes 0-1/2"}};
  freshen(stored.fields, newer.fields);
  EXPECT_EQ(text_of(stored.fields),
            "A=1;ETag=\"a\";Content-Encoding=gzip;Content-MD5=x;b=2;Content-Type=text/html;Link=3;C=1;C=2;");
}

// §4.3.5.
TEST(HeadAnswer, FreshensTheSameAndInvalidatesAnother) {
  const Head stored{{"ETag", "\"a\""}, {"Last-Modified", "x"}};
  const auto effect = [&](Lines lines, int status = 200, int stored_status = 200) {
    return effect_of_head(stored_status, stored.fields, 10, Answered(lines, status).response);
  };
  EXPECT_EQ(effect({}), HeadEffect::freshen);
  EXPECT_EQ(effect({{"ETag", "W/\"a\""}, {"Last-Modified", "x"}, {"Content-Length", "10"}}), HeadEffect::freshen);
  EXPECT_EQ(effect({{"ETag", "\"b\""}}), HeadEffect::invalidate);
  EXPECT_EQ(effect({{"Last-Modified", "y"}}), HeadEffect::invalidate);
  EXPECT_EQ(effect({{"Content-Length", "11"}}), HeadEffect::invalidate);
  EXPECT_EQ(effect({}, 410), HeadEffect::none);
  EXPECT_EQ(effect({}, 304), HeadEffect::none);
  EXPECT_EQ(effect({}, 200, 404), HeadEffect::none);
  EXPECT_EQ(effect_of_head(200, stored.fields, {}, Answered({{"Content-Length", "11"}}).response), HeadEffect::freshen);
}

// §4.4.
TEST(Invalidation, TakesTheUriAndWhatTheAnswerNames) {
  const auto named = [](const char* method, Lines lines, int status = 200) {
    const Asked asked({}, method, "/dir/a", "q=1");
    const Answered answered(lines, status);
    std::string out;
    for (const StoredUri& each : invalidated_by(asked.request, answered.response, *asked.arena)) {
      EXPECT_EQ(each.scheme, "http");
      EXPECT_EQ(each.authority, "example.com");
      out.append(each.path).append(each.query.empty() ? "" : "?").append(each.query).append(" ");
    }
    return out;
  };
  for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "M-SEARCH"}) EXPECT_EQ(named(method, {}), "/dir/a?q=1 ");
  for (const char* method : {"GET", "HEAD", "OPTIONS", "TRACE"}) EXPECT_EQ(named(method, {}), "");
  for (const int status : {400, 404, 500, 503, 100}) EXPECT_EQ(named("POST", {{"Location", "/b"}}, status), "");
  EXPECT_EQ(named("POST", {{"Location", "/b"}, {"Content-Location", "c?x"}}, 303), "/dir/a?q=1 /b /dir/c?x ");
  EXPECT_EQ(named("PUT", {{"Location", "/dir/a?q=1"}}), "/dir/a?q=1 ");
  EXPECT_EQ(named("PUT", {{"Location", "http://other.example/b"}, {"Content-Location", "//evil/b"}}), "/dir/a?q=1 ");
}

// RFC 3986 §5.2.
TEST(Invalidation, ResolvesReferencesOfTheSameOrigin) {
  const Asked asked({}, "POST", "/dir/a", "q=1");
  const auto resolved = [&](std::string_view reference) {
    StoredUri uri;
    if (!resolve_same_origin(asked.request, reference, *asked.arena, uri)) return std::string("other");
    return std::string(uri.path) + (uri.query.empty() ? "" : "?") + std::string(uri.query);
  };
  EXPECT_EQ(resolved("/b"), "/b");
  EXPECT_EQ(resolved("b"), "/dir/b");
  EXPECT_EQ(resolved("./b/../c#x"), "/dir/c");
  EXPECT_EQ(resolved("../b"), "/b");
  EXPECT_EQ(resolved(""), "/dir/a?q=1");
  EXPECT_EQ(resolved("?r"), "/dir/a?r");
  EXPECT_EQ(resolved("http://example.com/b"), "/b");
  EXPECT_EQ(resolved("HTTP://EXAMPLE.com:80"), "/");
  EXPECT_EQ(resolved("http://example.com?x"), "/?x");
  EXPECT_EQ(resolved("//example.com/b%7e"), "/b~");
  EXPECT_EQ(resolved("a:b"), "other");
  EXPECT_EQ(resolved("./a:b"), "/dir/a:b");
  for (const char* other : {"https://example.com/b", "http://example.com:81/b", "http://example.com.evil/b",
                            "http://user@example.com/b", "mailto:a@b", "../../../b", "/a b", "/%00"})
    EXPECT_EQ(resolved(other), "other") << other;
}

}  // namespace
}  // namespace trellis::cache
