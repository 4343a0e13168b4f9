#include "services/links/url.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace trellis::services::links {
namespace {

UrlHost host_of(std::string_view url) {
  auto host = check_url(url);
  EXPECT_TRUE(host) << url;
  return host ? std::move(*host) : UrlHost{};
}

TEST(Url, AcceptsWhatRealAddressesLookLike) {
  for (const char* url : {
           "http://example.com",
           "https://example.com/",
           "HTTPS://EXAMPLE.com:8443/a?b=c#d",
           "https://user_name.example.com/~x/index.asp?Type=B&SEC={5B00-AA}",
           "https://example.com./dot",
           "https://\"www.example.com/company/history",
           "https://www.example.com/issues/3.htm#Two Words",
           "https://www.example.com/a\\b|c^d`e<f>\"g'h[i]",
           "https://b\xc3\xbc"
           "cher.example/stra\xc3\x9f"
           "e",
           "http://[2001:db8::1]:80/",
           "http://127.0.0.1:65535",
           "https://example.com?x=a@b",
           "https://example.com/%zz",
           "https://example.com:/",
       }) {
    const auto checked = check_url(url);
    EXPECT_TRUE(checked) << url << ": " << (checked ? "" : checked.error().what());
  }
}

TEST(Url, RefusesWhatIsNoneOrHidesWhereItLeads) {
  for (const char* url : {"",
                          "example.com",
                          "ftp://example.com/",
                          "javascript:alert(1)",
                          "//example.com",
                          "http:/example.com",
                          "http:\\\\example.com",
                          "http://",
                          "https:///path",
                          "https://?x",
                          "https://.",
                          " https://example.com",
                          "https://example.com ",
                          "https://exa mple.com/",
                          "https://example.com/a\tb",
                          "https://example.com/a\r\nSet-Cookie: x",
                          "https://example.com/\x7f",
                          "https://user@example.com/",
                          "https://good.example:80@bad.example/",
                          "https://example.com:99999/",
                          "https://example.com:8x/",
                          "https://example.com:000080/",
                          "https://exa%6dple.com/",
                          "https://[::1/",
                          "https://[]/",
                          "https://[zz::1]/",
                          "https://[::1::]/",
                          "https://[1:2:3]/",
                          "https://[::ffff:300.1.1.1]/",
                          "https://[::1]x/",
                          "https://a<b/",
                          "https://a|b/",
                          "data:text/html,x"}) {
    const auto checked = check_url(url);
    ASSERT_FALSE(checked) << url;
    EXPECT_EQ(checked.error().code(), Code::invalid_argument);
    EXPECT_EQ(checked.error().side(), Side::client);
  }
  EXPECT_TRUE(check_url("https://example.com/" + std::string(kMaxUrl - 20, 'a')));
  EXPECT_FALSE(check_url("https://example.com/" + std::string(kMaxUrl - 19, 'a')));
  EXPECT_FALSE(check_url("https://" + std::string(256, 'a') + "/"));
}

TEST(Url, KnowsItsOwnHostInEveryForm) {
  const UrlHost own = host_of("https://go.example.com");
  for (const char* url : {"https://go.example.com/x", "http://GO.example.com", "https://go.example.com./",
                          "https://go.example.com:443/x", "http://go.example.com:80/x", "https://go.example.com#x"}) {
    EXPECT_TRUE(same_host(host_of(url), own)) << url;
  }
  for (const char* url :
       {"https://go.example.com.other.example/", "https://example.com/", "https://go.example.com:8443/"}) {
    EXPECT_FALSE(same_host(host_of(url), own)) << url;
  }
  const UrlHost local = host_of("http://localhost:8080");
  EXPECT_TRUE(same_host(*check_url("http://localhost:8080/x"), local));
  EXPECT_FALSE(same_host(*check_url("http://localhost:3000/x"), local));
}

TEST(OwnHosts, AreKnownAsBrowsersReadThem) {
  const OwnHosts own(
      {host_of("http://go.test"), host_of("http://127.0.0.1:8080"), host_of("https://xn--bcher-kva.example")});
  for (const char* url : {"http://GO.test/x", "http://\uff47o.test/x", "http://go\u3002test/", "http://127.1:8080/",
                          "http://2130706433:8080/", "https://b\u00fccher.example/"})
    EXPECT_TRUE(own.has(host_of(url))) << url;
  for (const char* url : {"http://go.test.other/", "http://127.0.0.1/", "http://bucher.example/"})
    EXPECT_FALSE(own.has(host_of(url))) << url;
}

TEST(Url, LocationKeepsPrintableAsciiAndEncodesTheRest) {
  const std::string plain = "https://example.com/a b\"c{d}|e\\f%20g#h";
  EXPECT_EQ(location_of(plain), plain);
  EXPECT_EQ(location_of("https://example.com/stra\xc3\x9f"
                        "e"),
            "https://example.com/stra%C3%9Fe");
}

TEST(Url, LocationHasTheHostAsPunycode) {
  EXPECT_EQ(location_of("HTTP://B\u00fccher.example:8080/\u00fc"), "HTTP://xn--bcher-kva.example:8080/%C3%BC");
  EXPECT_EQ(location_of("https://b\u00fccher.example?\u00fc"), "https://xn--bcher-kva.example?%C3%BC");
  EXPECT_EQ(location_of("https://[2001:db8::1]:80/\u00fc"), "https://[2001:db8::1]:80/%C3%BC");
  EXPECT_EQ(location_of("https://Example.com/\u00fc"), "https://Example.com/%C3%BC");
  EXPECT_EQ(location_of("https://example.com\uff0fx"), "https://example.com%EF%BC%8Fx") << "no host: it leads nowhere";
}

TEST(Alias, HasAForm) {
  EXPECT_TRUE(is_code_text("a"));
  EXPECT_TRUE(is_code_text("My_alias-1"));
  EXPECT_TRUE(is_code_text(std::string(128, 'x')));
  for (const std::string& alias : {std::string(), std::string(129, 'x'), std::string("a b"), std::string("a/b"),
                                   std::string("a.b"), std::string("\xc3\xa4")}) {
    EXPECT_FALSE(is_code_text(alias)) << alias;
  }
  EXPECT_TRUE(is_reserved("v1"));
  EXPECT_TRUE(is_reserved("HealthZ"));
  EXPECT_TRUE(is_reserved("_trellis"));
  EXPECT_FALSE(is_reserved("healthy"));
}

TEST(Url, AcceptsEveryRealUrl) {
  const char* named = std::getenv("TRELLIS_DATA");
  const std::string folder = named ? named : std::string(TRELLIS_SOURCE_DIR) + "/../shared/data";
  if (!std::filesystem::exists(folder + "/urls.txt.xz"))
    GTEST_SKIP() << "no urls.txt.xz in " << folder << "; set TRELLIS_DATA";
  FILE* pipe = ::popen(("xz -dc '" + folder + "/urls.txt.xz'").c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  std::string url;
  size_t count = 0;
  for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) {
    if (c != '\n') {
      url.push_back(static_cast<char>(c));
      continue;
    }
    const auto checked = check_url(url);
    EXPECT_TRUE(checked) << url << ": " << (checked ? "" : checked.error().what());
    EXPECT_EQ(location_of(url), url);
    ++count;
    url.clear();
  }
  ::pclose(pipe);
  EXPECT_GT(count, 48'000u);
}

}  // namespace
}  // namespace trellis::services::links
