// Small pure rules: encodings, preconditions, ranges, media types, addresses, templates.
#include <gtest/gtest.h>

#include "http/date.h"
#include "proxy/accept_encoding.h"
#include "proxy/field_rules.h"
#include "proxy/files/files_target.h"
#include "proxy/files/mime.h"
#include "proxy/files/preconditions.h"
#include "proxy/files/ranges.h"
#include "proxy/text_template.h"
#include "tests/unit/proxy/proxy_test_kit.h"

namespace trellis::proxy {
namespace {

using test::Exchange;
using test::Rig;

TEST(AcceptEncoding, ChoosesByWeightThenByOurOrder) {
  constexpr Encoding kAll[] = {Encoding::zstd, Encoding::br, Encoding::gzip};
  const auto choose = [&](std::string_view accept) { return to_string(choose_encoding(accept, kAll)); };
  EXPECT_EQ(choose(""), "identity");
  EXPECT_EQ(choose("gzip"), "gzip");
  EXPECT_EQ(choose("gzip, deflate, br, zstd"), "zstd");
  EXPECT_EQ(choose("GZIP;q=1.0, br;q=0.9"), "gzip");
  EXPECT_EQ(choose("x-gzip"), "gzip");
  EXPECT_EQ(choose("*"), "zstd");
  EXPECT_EQ(choose("*;q=0.5, zstd;q=0, br;q=0.5"), "br");
  EXPECT_EQ(choose("gzip;q=0"), "identity");
  EXPECT_EQ(choose("gzip;q=0.5, identity;q=0.8"), "identity");
  EXPECT_EQ(choose("identity;q=0, gzip;q=0.001"), "gzip");
  EXPECT_EQ(choose("identity;q=0"), "identity") << "an answer helps more than a refusal";
  EXPECT_EQ(choose("br ; q=0.7 , gzip;Q=0.8"), "gzip");
  EXPECT_EQ(choose("gzip;q=2, br;q=abc, zstd;q=0.1234"), "identity") << "weights that are none";
  EXPECT_EQ(choose("gzip;level=9"), "identity");
  EXPECT_EQ(choose(",,, ,gzip,"), "gzip");
  EXPECT_EQ(choose_encoding("br", std::span<const Encoding>()), Encoding::identity);
}

struct Asked {
  std::vector<std::pair<const char*, std::string>> fields;
  const char* method = "GET";
};

constexpr int64_t kNow = 1'767'225'600;
Verdict verdict(Rig& rig, const Asked& asked, Validators validators = {"\"a\"", kNow - 1000}) {
  Exchange exchange(rig, asked.method);
  for (const auto& [name, value] : asked.fields) exchange.with(name, value);
  return evaluate(exchange.request, validators, kNow);
}
std::string date(int64_t seconds) {
  char text[http::kHttpDateSize];
  http::format_http_date(seconds, text);
  return {text, sizeof text};
}

TEST(Preconditions, FollowTheOrderOfTheRfc) {
  Rig rig;
  const std::string before = date(kNow - 2000);
  const std::string same = date(kNow - 1000);
  EXPECT_EQ(verdict(rig, {}), Verdict::proceed);
  EXPECT_EQ(verdict(rig, {{{"If-None-Match", "\"a\""}}}), Verdict::not_modified);
  EXPECT_EQ(verdict(rig, {{{"If-None-Match", "W/\"a\""}}}), Verdict::not_modified) << "weak comparison";
  EXPECT_EQ(verdict(rig, {{{"If-None-Match", "\"x\", \"a\""}}}), Verdict::not_modified);
  EXPECT_EQ(verdict(rig, {{{"If-None-Match", "\"x\""}, {"If-None-Match", "\"a\""}}}), Verdict::not_modified);
  EXPECT_EQ(verdict(rig, {{{"If-None-Match", "*"}}}), Verdict::not_modified);
  EXPECT_EQ(verdict(rig, {{{"If-None-Match", "\"x\""}, {"If-Modified-Since", same}}}), Verdict::proceed)
      << "the date is not looked at";
  EXPECT_EQ(verdict(rig, {{{"If-None-Match", "\"a\""}}, "POST"}), Verdict::failed);
  EXPECT_EQ(verdict(rig, {{{"If-Modified-Since", same}}}), Verdict::not_modified);
  EXPECT_EQ(verdict(rig, {{{"If-Modified-Since", before}}}), Verdict::proceed);
  EXPECT_EQ(verdict(rig, {{{"If-Modified-Since", same}}, "POST"}), Verdict::proceed);
  EXPECT_EQ(verdict(rig, {{{"If-Modified-Since", "yesterday"}}}), Verdict::proceed);
  EXPECT_EQ(verdict(rig, {{{"If-Match", "\"a\""}}}), Verdict::proceed);
  EXPECT_EQ(verdict(rig, {{{"If-Match", "W/\"a\""}}}), Verdict::failed) << "strong comparison";
  EXPECT_EQ(verdict(rig, {{{"If-Match", "*"}}}), Verdict::proceed);
  EXPECT_EQ(verdict(rig, {{{"If-Match", "\"a\""}, {"If-Unmodified-Since", before}}}), Verdict::proceed);
  EXPECT_EQ(verdict(rig, {{{"If-Unmodified-Since", before}}}), Verdict::failed);
  EXPECT_EQ(verdict(rig, {{{"If-Unmodified-Since", same}}}), Verdict::proceed);
  EXPECT_EQ(verdict(rig, {{{"If-Match", "\"a\""}, {"If-None-Match", "\"a\""}}}), Verdict::not_modified);
  EXPECT_EQ(verdict(rig, {{{"If-Match", "\"b\""}, {"If-None-Match", "\"a\""}}}), Verdict::failed);
}

TEST(Preconditions, IfRangeNeedsAStrongValidator) {
  Rig rig;
  const auto allows = [&](std::string_view value, int64_t modified = kNow - 1000) {
    Exchange exchange(rig);
    exchange.with("If-Range", value);
    return if_range_allows(exchange.request, {"\"a\"", modified}, kNow);
  };
  EXPECT_TRUE(if_range_allows(Exchange(rig).request, {"\"a\"", kNow}, kNow));
  EXPECT_TRUE(allows("\"a\""));
  EXPECT_FALSE(allows("W/\"a\""));
  EXPECT_FALSE(allows("\"b\""));
  EXPECT_TRUE(allows(date(kNow - 1000)));
  EXPECT_FALSE(allows(date(kNow - 999)));
  EXPECT_FALSE(allows(date(kNow), kNow)) << "changed too recently for a date to be a strong validator";
  EXPECT_FALSE(allows("soon"));
}

TEST(Ranges, AreReadCutAndJoined) {
  using Kind = RangePlan::Kind;
  const auto ranges = [](std::string_view text, uint64_t size = 1000) {
    const RangePlan plan = plan_ranges(text, size);
    std::string out = plan.kind == Kind::whole ? "whole" : plan.kind == Kind::unsatisfiable ? "unsatisfiable" : "";
    for (const ByteRange& each : plan.ranges)
      out += (out.empty() ? "" : ",") + std::to_string(each.first) + "-" + std::to_string(each.last);
    return out;
  };
  EXPECT_EQ(ranges("bytes=0-0"), "0-0");
  EXPECT_EQ(ranges("bytes=0-"), "0-999");
  EXPECT_EQ(ranges("bytes=-1"), "999-999");
  EXPECT_EQ(ranges("bytes=-5000"), "0-999");
  EXPECT_EQ(ranges("bytes=990-5000"), "990-999");
  EXPECT_EQ(ranges("BYTES=1-2"), "1-2");
  EXPECT_EQ(ranges("bytes=1-2 , 500-600"), "1-2,500-600");
  EXPECT_EQ(ranges("bytes=500-600,1-2"), "500-600,1-2") << "in the order asked for";
  EXPECT_EQ(ranges("bytes=0-99,50-200,190-300"), "0-300");
  EXPECT_EQ(ranges("bytes=0-99,400-499,100-399"), "0-499");
  EXPECT_EQ(ranges("bytes=0-10,90-99"), "0-99") << "nearer than a part's own head";
  EXPECT_EQ(ranges("bytes=1000-"), "unsatisfiable");
  EXPECT_EQ(ranges("bytes=-0"), "unsatisfiable");
  EXPECT_EQ(ranges("bytes=0-", 0), "unsatisfiable");
  EXPECT_EQ(ranges("bytes=1000-,1-2"), "1-2");
  for (const char* bad : {"bytes", "bytes=", "bytes=a-b", "bytes=5-1", "bytes=-", "bytes=1", "lines=0-5", "bytes=0-5,x",
                          "bytes=+1-5", "bytes=1-+5", "bytes= 1 - 5", "bytes=0x1-5"})
    EXPECT_EQ(ranges(bad), "whole") << bad;
  EXPECT_EQ(ranges("bytes=99999999999999999999999-"), "unsatisfiable");
  EXPECT_EQ(ranges("bytes=0-99999999999999999999999"), "0-999");
  std::string seventeen = "bytes=";
  for (int i = 0; i < 17; ++i) seventeen += std::to_string(i * 1000) + "-" + std::to_string(i * 1000) + ",";
  EXPECT_EQ(ranges(seventeen, 100'000), "whole");
  std::string same = "bytes=";
  for (int i = 0; i < 100; ++i) same += "0-,";
  EXPECT_EQ(ranges(same), "0-999");
  EXPECT_EQ(ranges(same + "0-"), "whole") << "more than a hundred are not read";
}

TEST(Mime, GoesByTheLastExtension) {
  EXPECT_EQ(mime_type("index.html"), "text/html; charset=utf-8");
  EXPECT_EQ(mime_type("APP.3f2a9c1d.JS"), "text/javascript; charset=utf-8");
  EXPECT_EQ(mime_type("a.tar.gz"), "application/gzip");
  EXPECT_EQ(mime_type("README"), "application/octet-stream");
  EXPECT_EQ(mime_type("a."), "application/octet-stream");
  EXPECT_EQ(mime_type("a.averylongextension"), "application/octet-stream");
}

TEST(ContentHash, IsHexWithDigitsAndLetters) {
  for (const char* yes : {"app.3f2a9c1d.js", "app-3F2A9C1D.css", "3f2a9c1d0e.woff2", "a_b_00ff00ff00ff.png"})
    EXPECT_TRUE(has_content_hash(yes)) << yes;
  for (const char* no :
       {"app.js", "report-20240131.pdf", "facade.js", "deadbeef.js", "app.3f2a9c1.js", "app.3f2a9c1dz.js", ""})
    EXPECT_FALSE(has_content_hash(no)) << no;
}

TEST(TextTemplate, FillsInTheRequest) {
  Rig rig;
  Exchange exchange(rig, "POST", "/a/b?x=1");
  exchange.request.authority = "example.com:8080";
  const auto write = [&](std::string_view text) {
    return std::string(TextTemplate::parse(text)->write(exchange.request, exchange.context));
  };
  EXPECT_EQ(write("plain"), "plain");
  EXPECT_EQ(write(""), "");
  EXPECT_EQ(write("${method} ${scheme}://${host}${uri} ${client.address} ${route}"),
            "POST http://example.com/a/b?x=1 192.0.2.7 test");
  EXPECT_EQ(write("${path}|${query}|${request_id}"), "/a/b|x=1|01J0000000000000000000000Z");
  EXPECT_EQ(write("$${path} $5"), "${path} $5");
  exchange.request.query = "";
  EXPECT_EQ(write("${uri}"), "/a/b");
  exchange.context.request_id = "a\r\nSet-Cookie: x";
  EXPECT_EQ(write("${request_id}"), "a??Set-Cookie: x");
  for (const char* bad : {"${nope}", "${", "${path", "a\r\nb", "${}"}) EXPECT_FALSE(TextTemplate::parse(bad)) << bad;
}

TEST(FieldRules, KeepFramingOutOfConfigurations) {
  for (const char* bad : {"Connection", "content-length", "Transfer-Encoding", "TE", "Trailer", "upgrade", "Host",
                          "Keep-Alive", "a b", "", "a:"})
    EXPECT_NE(field_refusal(bad), nullptr) << bad;
  EXPECT_EQ(field_refusal("X-Frame-Options"), nullptr);
  EXPECT_FALSE(is_field_value("a\nb"));
  EXPECT_TRUE(is_field_value("a\tb \xc3\xa9"));
}

}  // namespace
}  // namespace trellis::proxy
