#include "http/preconditions.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http/date.h"

namespace trellis::http {
namespace {

struct Asked {
  std::vector<std::pair<const char*, std::string>> fields;
  const char* method = "GET";
};

constexpr int64_t kNow = 1'767'225'600;
Verdict verdict(const Asked& asked, Validators validators = {"\"a\"", kNow - 1000}) {
  Arena arena;
  Request request(arena);
  request.method = method_from(asked.method);
  for (const auto& [name, value] : asked.fields) request.fields.add(name, value);
  return evaluate(request, validators, kNow);
}
std::string date(int64_t seconds) {
  char text[kHttpDateSize];
  format_http_date(seconds, text);
  return {text, sizeof text};
}

TEST(Preconditions, FollowTheOrderOfTheRfc) {
  const std::string before = date(kNow - 2000);
  const std::string same = date(kNow - 1000);
  EXPECT_EQ(verdict({}), Verdict::proceed);
  EXPECT_EQ(verdict({{{"If-None-Match", "\"a\""}}}), Verdict::not_modified);
  EXPECT_EQ(verdict({{{"If-None-Match", "W/\"a\""}}}), Verdict::not_modified) << "weak comparison";
  EXPECT_EQ(verdict({{{"If-None-Match", "\"x\", \"a\""}}}), Verdict::not_modified);
  EXPECT_EQ(verdict({{{"If-None-Match", "\"x\""}, {"If-None-Match", "\"a\""}}}), Verdict::not_modified);
  EXPECT_EQ(verdict({{{"If-None-Match", "*"}}}), Verdict::not_modified);
  EXPECT_EQ(verdict({{{"If-None-Match", "\"x\""}, {"If-Modified-Since", same}}}), Verdict::proceed)
      << "the date is not looked at";
  EXPECT_EQ(verdict({{{"If-None-Match", "\"a\""}}, "POST"}), Verdict::failed);
  EXPECT_EQ(verdict({{{"If-Modified-Since", same}}}), Verdict::not_modified);
  EXPECT_EQ(verdict({{{"If-Modified-Since", before}}}), Verdict::proceed);
  EXPECT_EQ(verdict({{{"If-Modified-Since", same}}, "POST"}), Verdict::proceed);
  EXPECT_EQ(verdict({{{"If-Modified-Since", "yesterday"}}}), Verdict::proceed);
  EXPECT_EQ(verdict({{{"If-Match", "\"a\""}}}), Verdict::proceed);
  EXPECT_EQ(verdict({{{"If-Match", "W/\"a\""}}}), Verdict::failed) << "strong comparison";
  EXPECT_EQ(verdict({{{"If-Match", "*"}}}), Verdict::proceed);
  EXPECT_EQ(verdict({{{"If-Match", "\"a\""}, {"If-Unmodified-Since", before}}}), Verdict::proceed);
  EXPECT_EQ(verdict({{{"If-Unmodified-Since", before}}}), Verdict::failed);
  EXPECT_EQ(verdict({{{"If-Unmodified-Since", same}}}), Verdict::proceed);
  EXPECT_EQ(verdict({{{"If-Match", "\"a\""}, {"If-None-Match", "\"a\""}}}), Verdict::not_modified);
  EXPECT_EQ(verdict({{{"If-Match", "\"b\""}, {"If-None-Match", "\"a\""}}}), Verdict::failed);
}

TEST(Preconditions, IfRangeNeedsAStrongValidator) {
  const auto allows = [&](std::string_view value, int64_t modified = kNow - 1000) {
    Arena arena;
    Request request(arena);
    request.fields.add("If-Range", value);
    return if_range_allows(request, {"\"a\"", modified}, kNow);
  };
  Arena arena;
  EXPECT_TRUE(if_range_allows(Request(arena), {"\"a\"", kNow}, kNow));
  EXPECT_TRUE(allows("\"a\""));
  EXPECT_FALSE(allows("W/\"a\""));
  EXPECT_FALSE(allows("\"b\""));
  EXPECT_TRUE(allows(date(kNow - 1000)));
  EXPECT_FALSE(allows(date(kNow - 999)));
  EXPECT_FALSE(allows(date(kNow), kNow)) << "changed too recently for a date to be a strong validator";
  EXPECT_FALSE(allows("soon"));
}

TEST(Preconditions, OfAChangeAreKeptForLater) {
  const auto of = [](std::vector<std::pair<const char*, std::string>> fields) {
    Arena arena;
    Request request(arena);
    for (const auto& [name, value] : fields) request.fields.add(name, value);
    return EtagConditions::of(request);
  };
  EXPECT_TRUE(of({}).hold("\"a\""));
  EXPECT_TRUE(of({{"If-Match", "\"x\", \"a\""}}).hold("\"a\""));
  EXPECT_TRUE(of({{"If-Match", "*"}}).hold("\"a\""));
  EXPECT_FALSE(of({{"If-Match", "W/\"a\""}}).hold("\"a\"")) << "strong comparison";
  EXPECT_FALSE(of({{"If-Match", ""}}).hold("\"a\""));
  EXPECT_TRUE(of({{"If-None-Match", "\"x\""}}).hold("\"a\""));
  EXPECT_FALSE(of({{"If-None-Match", "W/\"a\""}}).hold("\"a\"")) << "weak comparison";
  EXPECT_FALSE(of({{"If-None-Match", "*"}}).hold("\"a\""));
  EXPECT_FALSE(of({{"If-Match", "\"a\""}, {"If-None-Match", "\"a\""}}).hold("\"a\""));
}

}  // namespace
}  // namespace trellis::http
