// Small pure rules: encodings, media types, addresses, templates.
#include <gtest/gtest.h>

#include "proxy/accept_encoding.h"
#include "proxy/field_rules.h"
#include "proxy/files/files_target.h"
#include "proxy/files/mime.h"
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
