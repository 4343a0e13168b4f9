#include "upstream/hosts_file.h"

#include <gtest/gtest.h>

#include "upstream/balancer.h"

namespace trellis::upstream {
namespace {

std::string error_of(std::string_view text) {
  const auto hosts = read_hosts_file(text, "h.txt");
  return hosts ? "" : hosts.error().to_string();
}

TEST(HostsFile, ReadsAHostALine) {
  const auto hosts = read_hosts_file(
      "# all of them\n\n10.0.0.1:8080 weight=5 zone=eu-west\r\n\t[2001:db8::1]:80 backup priority=2 # the "
      "spare\nlocalhost:9000",
      "h.txt");
  ASSERT_TRUE(hosts) << hosts.error().to_string();
  ASSERT_EQ(hosts->size(), 3u);
  EXPECT_EQ((*hosts)[0].address.to_string(), "10.0.0.1:8080");
  EXPECT_EQ((*hosts)[0].weight, 5u);
  EXPECT_EQ((*hosts)[0].zone, "eu-west");
  EXPECT_FALSE((*hosts)[0].backup);
  EXPECT_EQ((*hosts)[1].address.to_string(), "[2001:db8::1]:80");
  EXPECT_FALSE((*hosts)[1].weight);
  EXPECT_TRUE((*hosts)[1].backup);
  EXPECT_EQ((*hosts)[1].priority, 2u);
  EXPECT_EQ((*hosts)[2].address.to_string(), "127.0.0.1:9000");
}

TEST(HostsFile, MayBeEmpty) {
  const auto hosts = read_hosts_file("# none\n", "h.txt");
  ASSERT_TRUE(hosts);
  EXPECT_TRUE(hosts->empty());
}

TEST(HostsFile, SaysWhichLineIsWrongAndWhy) {
  EXPECT_EQ(error_of("10.0.0.1:80\n\n10.0.0.2:80 wieght=3\n"),
            "h.txt:3: unknown word \"wieght=3\"; a line is HOST:PORT [weight=N] [zone=NAME] [priority=N] "
            "[backup]");
  EXPECT_TRUE(error_of("10.0.0.1").starts_with("h.txt:1: \"10.0.0.1\" is no HOST:PORT"));
  EXPECT_TRUE(error_of("10.0.0.1:0").starts_with("h.txt:1: "));
  EXPECT_TRUE(error_of("10.0.0.1:70000").starts_with("h.txt:1: "));
  EXPECT_NE(error_of("api.internal:80").find("names are looked up by dns:"), std::string::npos);
  EXPECT_NE(error_of("10.0.0.1:80 weight=1001").find("0 to " + std::to_string(kMaxWeight)), std::string::npos);
  EXPECT_NE(error_of("10.0.0.1:80 weight=x"), "");
  EXPECT_NE(error_of("10.0.0.1:80 weight="), "");
  EXPECT_NE(error_of("10.0.0.1:80 weight=-1"), "");
  EXPECT_NE(error_of("10.0.0.1:80 zone="), "");
  EXPECT_NE(error_of("10.0.0.1:80 priority=101").find("0 to 100"), std::string::npos);
  EXPECT_NE(error_of("10.0.0.1:80 zone=a/b"), "");
}

TEST(HostsFile, TakesSoManyHostsAndNoMore) {
  std::string text;
  for (size_t i = 0; i < kMaxHosts; ++i) text += "10.0.0.1:" + std::to_string(1 + i) + "\n";
  EXPECT_TRUE(read_hosts_file(text, "h.txt"));
  EXPECT_EQ(error_of(text + "10.0.0.2:80\n"), "h.txt:10001: more than 10,000 hosts");
}

TEST(HostsFile, IsReadUpToItsLimitOfSize) {
  EXPECT_NE(error_of(std::string(kMaxHostsFile + 1, '\n')), "");
  EXPECT_EQ(error_of(std::string(kMaxHostsFile, '\n')), "");
}

TEST(HostsFile, ShowsOnlyTheBeginningOfALongWrongWord) {
  EXPECT_LT(error_of(std::string(100'000, 'x')).size(), 300u);
  EXPECT_EQ(error_of("\x1b[31m:80").find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace trellis::upstream
