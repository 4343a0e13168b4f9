#include "config/values.h"

#include <gtest/gtest.h>

#include <limits>

namespace trellis::config {
namespace {

using namespace std::chrono_literals;

template <class T>
std::string why(const Result<T>& result) {
  return result ? "no error" : result.error().what();
}

TEST(Durations, AreReadWithTheirUnit) {
  EXPECT_EQ(*parse_duration("0"), 0ns);
  EXPECT_EQ(*parse_duration("0s"), 0ns);
  EXPECT_EQ(*parse_duration("7ns"), 7ns);
  EXPECT_EQ(*parse_duration("7us"), 7us);
  EXPECT_EQ(*parse_duration("250ms"), 250ms);
  EXPECT_EQ(*parse_duration("1.5s"), 1500ms);
  EXPECT_EQ(*parse_duration("5m"), 5min);
  EXPECT_EQ(*parse_duration("1h"), 1h);
  EXPECT_EQ(*parse_duration("2d"), 48h);
  EXPECT_EQ(parse_duration("106751d")->count(), int64_t{106751} * 86'400'000'000'000);
  EXPECT_EQ(*parse_duration("9223372036854775807ns"), Duration::max());
}

TEST(Durations, RefuseWhatIsNotOne) {
  EXPECT_EQ(why(parse_duration("30")), "the unit is missing: ms, s, m, h or d");
  EXPECT_EQ(why(parse_duration("5min")), "unknown unit; use ms, s, m, h or d");
  EXPECT_EQ(why(parse_duration("5 s")), "unknown unit; use ms, s, m, h or d");
  EXPECT_EQ(why(parse_duration("-5s")), "may not be negative");
  EXPECT_EQ(why(parse_duration("106752d")), "too large");
  EXPECT_EQ(why(parse_duration("9223372036854775808ns")), "too large");
  EXPECT_EQ(why(parse_duration("99999999999999999999999999999999999999999999s")), "too large");
  EXPECT_EQ(why(parse_duration("1.5ns")), "too fine");
  EXPECT_EQ(why(parse_duration("1.s")), "a digit is missing after the point");
  EXPECT_EQ(why(parse_duration(".5s")), "a digit is missing before the point");
  for (const char* text : {"", "s", "1.2.3s", "1h30m", "+5s", "0x5s", "1.0000000001s", "１s"}) {
    EXPECT_FALSE(parse_duration(text)) << text;
  }
}

TEST(Durations, AreWrittenInTheLargestWholeUnit) {
  EXPECT_EQ(format_duration(0ns), "0");
  EXPECT_EQ(format_duration(90s), "90s");
  EXPECT_EQ(format_duration(2h), "2h");
  EXPECT_EQ(format_duration(48h), "2d");
  EXPECT_EQ(format_duration(1500us), "1500us");
  EXPECT_EQ(format_duration(-5s), "-5s");
  for (const Duration each : {1ns, Duration(1500ms), Duration(36h), Duration::max()}) {
    EXPECT_EQ(*parse_duration(format_duration(each)), each);
  }
}

TEST(Sizes, AreReadWithTheirUnit) {
  EXPECT_EQ(*parse_size("0"), 0u);
  EXPECT_EQ(*parse_size("100B"), 100u);
  EXPECT_EQ(*parse_size("512KiB"), 512 * kKiB);
  EXPECT_EQ(*parse_size("64MiB"), 64 * kMiB);
  EXPECT_EQ(*parse_size("1.5GiB"), kGiB + kGiB / 2);
  EXPECT_EQ(*parse_size("2TiB"), 2 * kTiB);
  EXPECT_EQ(*parse_size("1KB"), 1000u);
  EXPECT_EQ(*parse_size("1kB"), 1000u);
  EXPECT_EQ(*parse_size("1GB"), 1'000'000'000u);
  EXPECT_EQ(*parse_size("18446744073709551615B"), std::numeric_limits<uint64_t>::max());
}

TEST(Sizes, RefuseWhatIsNotOne) {
  EXPECT_EQ(why(parse_size("64")), "the unit is missing: B, KiB, MiB or GiB");
  EXPECT_EQ(why(parse_size("64M")), "unknown unit; use B, KiB, MiB or GiB");
  EXPECT_EQ(why(parse_size("18446744073709551616B")), "too large");
  EXPECT_EQ(why(parse_size("0.5B")), "too fine");
  for (const char* text : {"", "MiB", "-1MiB", "1mib", "1 MiB"}) EXPECT_FALSE(parse_size(text)) << text;
}

TEST(Sizes, AreWrittenSoThatTheyReadTheSame) {
  EXPECT_EQ(format_size(0), "0");
  EXPECT_EQ(format_size(64 * kMiB), "64MiB");
  EXPECT_EQ(format_size(1'000'000'000), "1GB");
  EXPECT_EQ(format_size(1001), "1001B");
  for (const uint64_t each : {uint64_t{1}, kKiB, 3 * kMiB, uint64_t{5000}, std::numeric_limits<uint64_t>::max()}) {
    EXPECT_EQ(*parse_size(format_size(each)), each);
  }
}

TEST(Percents, AreExact) {
  EXPECT_EQ(*parse_percent("20%"), 0.2);
  EXPECT_EQ(*parse_percent("99.95%"), 0.9995);
  EXPECT_EQ(*parse_percent("0%"), 0.0);
  EXPECT_EQ(*parse_percent("100%"), 1.0);
  EXPECT_EQ(why(parse_percent("20")), "the % is missing");
  for (const char* text : {"%", "a%", "1e2%", "inf%", "5%%", " 5%", ".%", "-%"})
    EXPECT_FALSE(parse_percent(text)) << text;
  EXPECT_EQ(format_percent(0.2), "20%");
  EXPECT_EQ(format_percent(0.9995), "99.95%");
  EXPECT_EQ(format_percent(0), "0%");
}

TEST(Numbers, AreFiniteAndDecimal) {
  EXPECT_EQ(*parse_number("0.5"), 0.5);
  EXPECT_EQ(*parse_number("-2"), -2.0);
  EXPECT_EQ(*parse_number("1e3"), 1000.0);
  for (const char* text : {"", "inf", "nan", "-inf", ".5", "0x10", "1e999", "5x", "+5", "-"}) {
    EXPECT_FALSE(parse_number(text)) << text;
  }
}

TEST(DurationRanges, HaveALowAndAHighEnd) {
  const Result<DurationRange> range = DurationRange::from_text("25ms..250ms");
  ASSERT_TRUE(range);
  EXPECT_EQ(range->low, 25ms);
  EXPECT_EQ(range->high, 250ms);
  EXPECT_EQ(range->to_text(), "25ms..250ms");
  EXPECT_TRUE(DurationRange::from_text("1s..1s"));
  EXPECT_EQ(why(DurationRange::from_text("25ms")), "the .. is missing");
  EXPECT_EQ(why(DurationRange::from_text("2s..1s")), "the first must not be above the second");
  for (const char* text : {"", "..", "1s..", "..1s", "1s...2s", "1s..2s..3s"}) {
    EXPECT_FALSE(DurationRange::from_text(text)) << text;
  }
}

TEST(Rates, CountInATime) {
  EXPECT_EQ(*Rate::from_text("100/min"), (Rate{100, 60s}));
  EXPECT_EQ(*Rate::from_text("100/m"), (Rate{100, 60s}));
  EXPECT_EQ(*Rate::from_text("0.5/s"), (Rate{0.5, 1s}));
  EXPECT_EQ(*Rate::from_text("1000/10s"), (Rate{1000, 10s}));
  EXPECT_DOUBLE_EQ(Rate::from_text("120/min")->per_second(), 2.0);
  EXPECT_EQ(why(Rate::from_text("100")), "the time is missing, as in 100/s");
  for (const char* text : {"", "/", "100/", "/s", "100/0s", "-1/s", "a/s", "1/fortnight"}) {
    EXPECT_FALSE(Rate::from_text(text)) << text;
  }
  for (const char* text : {"100/min", "5/s", "7/h", "1000/10s", "2/d"}) {
    EXPECT_EQ(Rate::from_text(text)->to_text(), text);
  }
}

TEST(HostPorts, TellAddressesFromNames) {
  const Result<HostPort> v4 = HostPort::from_text("10.0.0.1:80");
  ASSERT_TRUE(v4);
  EXPECT_EQ(v4->form, HostPort::Form::ipv4);
  EXPECT_EQ(v4->port, 80);
  const Result<HostPort> v6 = HostPort::from_text("[2001:db8::1]:443");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->form, HostPort::Form::ipv6);
  EXPECT_EQ(v6->host, "2001:db8::1");
  EXPECT_EQ(v6->to_text(), "[2001:db8::1]:443");
  const Result<HostPort> name = HostPort::from_text("api-1.internal_net.example:0");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->form, HostPort::Form::name);
  EXPECT_EQ(name->to_text(), "api-1.internal_net.example:0");
  EXPECT_TRUE(HostPort::from_text("localhost:65535"));
  EXPECT_TRUE(HostPort::from_text("3com.example:80"));
  EXPECT_TRUE(HostPort::from_text("example.com.:80"));
}

TEST(HostPorts, RefuseWhatIsNotOne) {
  using std::string_literals::operator""s;
  EXPECT_EQ(why(HostPort::from_text("10.0.0.1")), "the port is missing");
  EXPECT_EQ(why(HostPort::from_text("[::1]")), "the port is missing");
  EXPECT_EQ(why(HostPort::from_text(":80")), "the host is missing");
  EXPECT_EQ(why(HostPort::from_text("::1:80")), "an IPv6 address stands in brackets, as in [::1]:80");
  EXPECT_EQ(why(HostPort::from_text("a:65536")), "the port must be 0..65535");
  for (const std::string& text : {""s,
                                  ":"s,
                                  "a:"s,
                                  "a:-1"s,
                                  "a:+1"s,
                                  "a:000080"s,
                                  "a:8 0"s,
                                  "[]:80"s,
                                  "[::g]:80"s,
                                  "[::1:80"s,
                                  "::1]:80"s,
                                  "1.2.3:80"s,
                                  "1.2.3.4.5:80"s,
                                  "256.1.1.1:80"s,
                                  "a..b:80"s,
                                  "-a:80"s,
                                  "a-:80"s,
                                  "a b:80"s,
                                  "a/b:80"s,
                                  ".:80"s,
                                  "[::1\0]:80"s,
                                  "a\0b:80"s,
                                  std::string(64, 'a') + ":80",
                                  std::string(254, 'a') + ":80",
                                  "http://a:80"s,
                                  "bücher:80"s}) {
    EXPECT_FALSE(HostPort::from_text(text)) << text;
  }
}

}  // namespace
}  // namespace trellis::config
