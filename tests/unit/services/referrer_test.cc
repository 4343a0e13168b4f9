#include "services/links/clicks/referrer.h"

#include <gtest/gtest.h>

#include <string>

namespace trellis::services::links {
namespace {

TEST(Referrer, KeepsTheHostOnly) {
  EXPECT_EQ(referrer_host("https://www.Example.com/secret/path?token=1#x"), "example.com");
  EXPECT_EQ(referrer_host("http://news.example.org:8080"), "news.example.org");
  EXPECT_EQ(referrer_host("HTTPS://EXAMPLE.COM."), "example.com");
  EXPECT_EQ(referrer_host("https://user:pass@example.com/"), "example.com");
  EXPECT_EQ(referrer_host("https://[2001:DB8::1]:443/"), "[2001:db8::1]");
  EXPECT_EQ(referrer_host("https://www.com/"), "www.com");
  EXPECT_EQ(referrer_host("https://wwwx.example.com"), "wwwx.example.com");
  EXPECT_EQ(referrer_host("https://xn--bcher-kva.example"), "xn--bcher-kva.example");
  EXPECT_EQ(referrer_host("android-app://com.google.android.gm/"), "com.google.android.gm");
  EXPECT_EQ(referrer_host("https://example.com?x"), "example.com");
}

TEST(Referrer, IsEmptyForWhatHasNoHost) {
  for (const char* text :
       {"", "about:blank", "example.com", "ftp://example.com", "https://", "https:///x", "https://./", "https://a b/",
        "https://<script>/", "https://[::1", "https://[]", "https://[x]/", "https://\xc3\xa4/", "https://..",
        "https://www..com", "//example.com", "javascript:x"})
    EXPECT_EQ(referrer_host(text), "") << text;
  EXPECT_EQ(referrer_host("https://" + std::string(253, 'a')).size(), 253u);
  EXPECT_EQ(referrer_host("https://" + std::string(254, 'a')), "");
}

TEST(Utm, ReadsTheFiveParameters) {
  const Utm utm = read_utm(
      "x=1&utm_source=news%20letter&utm_medium=e+mail&utm_campaign=Spring&utm_term=%C3%BCber&utm_content=a%26b&utm_id="
      "9");
  EXPECT_EQ(utm, (Utm{"news letter", "e mail", "Spring",
                      "\xc3\xbc"
                      "ber",
                      "a&b"}));
  EXPECT_TRUE(read_utm("").empty());
  EXPECT_TRUE(read_utm("utm_source&UTM_MEDIUM=x&=&&utm_campaign=").empty());
}

TEST(Utm, CleansAndCutsValues) {
  EXPECT_EQ(read_utm("utm_source=a&utm_source=b").source, "a");
  EXPECT_EQ(read_utm("utm_source=%00a%0Ab%7F%FFc%ED%A0%80d%C0%80+").source, "abcd");
  EXPECT_EQ(read_utm("utm_source=++a").source, "a");
  EXPECT_EQ(read_utm("utm_source=%zz%4").source, "%zz%4");
  EXPECT_EQ(read_utm("utm_source=" + std::string(1000, 'x')).source, std::string(kMaxUtm, 'x'));
  const std::string cut = read_utm("utm_source=" + std::string(kMaxUtm - 1, 'x') + "%E2%82%AC").source;
  EXPECT_EQ(cut, std::string(kMaxUtm - 1, 'x'));
  EXPECT_TRUE(read_utm(std::string(10'000, 'x') + "&utm_source=a").empty());
}

}  // namespace
}  // namespace trellis::services::links
