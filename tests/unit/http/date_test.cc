#include "http/date.h"

#include <gtest/gtest.h>

#include <ctime>
#include <string>
#include <vector>

#include "base/rng.h"

namespace trellis::http {
namespace {

constexpr int64_t kExample = 784'111'777;  // the date in RFC 9110
constexpr int64_t kNow = 1'790'000'000;    // 2026

TEST(HttpDate, IsWritten) {
  Arena arena;
  EXPECT_EQ(http_date(kExample, arena), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(http_date(0, arena), "Thu, 01 Jan 1970 00:00:00 GMT");
  EXPECT_EQ(http_date(-1, arena), "Wed, 31 Dec 1969 23:59:59 GMT");
  EXPECT_EQ(http_date(951'782'400, arena), "Tue, 29 Feb 2000 00:00:00 GMT");
  EXPECT_EQ(http_date(INT64_MAX, arena), "Fri, 31 Dec 9999 23:59:59 GMT");
  EXPECT_EQ(http_date(INT64_MIN, arena), "Sat, 01 Jan 0000 00:00:00 GMT");
}

TEST(HttpDate, IsReadInAllThreeForms) {
  for (const char* text : {"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
                           "Sun Nov  6 08:49:37 1994", "Sun Nov 06 08:49:37 1994"}) {
    EXPECT_EQ(parse_http_date(text, kNow), kExample) << text;
  }
  EXPECT_EQ(parse_http_date("Wed Nov 16 08:49:37 1994", kNow), kExample + 10 * 86'400);
  for (const char* text :
       {"SUN, 06 nov 1994 08:49:37 gMT", "sunday, 06-NOV-94 08:49:37 gmt", "SUN NOV  6 08:49:37 1994"})
    EXPECT_EQ(parse_http_date(text, kNow), kExample) << text;
  EXPECT_EQ(parse_http_date("Sat, 31 Dec 2016 23:59:60 GMT", kNow), 1'483'228'799);
}

TEST(HttpDate, ReadsTwoDigitYearsNearNow) {
  EXPECT_EQ(parse_http_date("Monday, 01-Jan-70 00:00:00 GMT", kNow), 3'155'760'000);  // 2070 is within 50 years of 2026
  EXPECT_EQ(parse_http_date("Monday, 01-Jan-77 00:00:00 GMT", kNow), 220'924'800);    // 2077 is not: 1977
  EXPECT_EQ(parse_http_date("Thursday, 01-Jan-26 00:00:00 GMT", kNow), 1'767'225'600);
}

TEST(HttpDate, RefusesTheRest) {
  for (const char* text : {"",
                           " ",
                           "0",
                           "784111777",
                           "Sun, 06 Nov 1994 08:49:37",
                           "Sun, 06 Nov 1994 08:49:37 UTC",
                           "Sun, 6 Nov 1994 08:49:37 GMT",
                           "Sun, 06 Nov 94 08:49:37 GMT",
                           "Sun, 06 Nov 1994 8:49:37 GMT",
                           "Sun, 06 Nov 1994 24:00:00 GMT",
                           "Sun, 06 Nov 1994 08:60:37 GMT",
                           "Sun, 06 Nov 1994 08:49:61 GMT",
                           "Sun, 00 Nov 1994 08:49:37 GMT",
                           "Sun, 31 Nov 1994 08:49:37 GMT",
                           "Sun, 29 Feb 1994 08:49:37 GMT",
                           "Sun, 06 Nov 1994 08:49:37 GMT ",
                           " Sun, 06 Nov 1994 08:49:37 GMT",
                           "Sun, 06 Nov 1994 08:49:37 GMTx",
                           "Sun,06 Nov 1994 08:49:37 GMT",
                           "Xxx, 06 Nov 1994 08:49:37 GMT",
                           "Sun, 06-Nov-94 08:49:37 GMT",
                           "Sunday, 06-Nov-1994 08:49:37 GMT",
                           "Sun Nov 6 08:49:37 1994",
                           "Sun Nov  6 08:49:37 94",
                           "Sun, 06 Nov +994 08:49:37 GMT",
                           "Sun, 06 Nov 1994 08:49:-7 GMT"}) {
    EXPECT_EQ(parse_http_date(text, kNow), std::nullopt) << text;
  }
}

TEST(HttpDate, AgreesWithTheLibraryOverFourCenturies) {
  Rng rng(7);
  Arena arena;
  for (int i = 0; i < 20'000; ++i) {
    const auto seconds = static_cast<int64_t>(rng.next() % 12'000'000'000ULL) - 2'000'000'000;
    const auto when = static_cast<time_t>(seconds);
    tm parts{};
    gmtime_r(&when, &parts);
    char expected[64];
    strftime(expected, sizeof(expected), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    const std::string_view text = http_date(seconds, arena);
    ASSERT_EQ(text, expected);
    ASSERT_EQ(parse_http_date(text, kNow), seconds);
    arena.reset();
  }
}

}  // namespace
}  // namespace trellis::http
