#include "net/dns_message.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/fakes/dns_server.h"

namespace trellis::net {
namespace {

using fakes::DnsMessage;
using namespace std::chrono_literals;

Result<DnsRecords> read(const std::string& bytes) {
  return read_dns_answer({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
}
Result<DnsRecords> read(const DnsMessage& message, const std::string& name = "api.test") {
  return read(message.bytes(7, {name, 1, false}));
}

TEST(DnsMessage, GivesAddressesWithTheLeastTtl) {
  DnsMessage message;
  message.a("api.test", 60, "10.0.0.1").a("API.test", 30, "10.0.0.2").aaaa("api.test", 90, "2001:db8::1");
  const auto records = read(message);
  ASSERT_TRUE(records) << records.error().to_string();
  ASSERT_EQ(records->addresses.size(), 3u);
  EXPECT_EQ(records->addresses[0].host(), "10.0.0.1");
  EXPECT_EQ(records->addresses[1].host(), "10.0.0.2");
  EXPECT_EQ(records->addresses[2].host(), "2001:db8::1");
  EXPECT_EQ(records->ttl, 30s);
}

TEST(DnsMessage, FollowsAliasesInAnyOrderAndTakesTheirTtl) {
  DnsMessage message;
  message.a("c.test", 60, "10.0.0.3").cname("b.test", 5, "c.test").cname("api.test", 20, "b.test");
  const auto records = read(message);
  ASSERT_TRUE(records);
  ASSERT_EQ(records->addresses.size(), 1u);
  EXPECT_EQ(records->addresses[0].host(), "10.0.0.3");
  EXPECT_EQ(records->ttl, 5s);
}

TEST(DnsMessage, TakesNoRecordsOfNamesThatWereNotAskedFor) {
  DnsMessage message;
  message.a("other.test", 60, "10.6.6.6").cname("api.test", 20, "b.test").a("api.test", 60, "10.6.6.7");
  const auto records = read(message);
  ASSERT_TRUE(records);
  EXPECT_TRUE(records->addresses.empty());
}

TEST(DnsMessage, EndsWhereAliasesGoInACircle) {
  DnsMessage message;
  message.cname("api.test", 20, "b.test").cname("b.test", 20, "api.test");
  const auto records = read(message);
  ASSERT_TRUE(records);
  EXPECT_TRUE(records->addresses.empty());
}

TEST(DnsMessage, GivesServices) {
  DnsMessage message;
  message.srv("api.test", 10, 1, 5, 8080, "A.test").srv("api.test", 10, 2, 0, 9090, "");
  const auto records = read(message);
  ASSERT_TRUE(records);
  ASSERT_EQ(records->services.size(), 2u);
  EXPECT_EQ(records->services[0].priority, 1);
  EXPECT_EQ(records->services[0].weight, 5);
  EXPECT_EQ(records->services[0].port, 8080);
  EXPECT_EQ(records->services[0].target, "a.test");
  EXPECT_EQ(records->services[1].target, "");
}

TEST(DnsMessage, ReadsCompressedNames) {
  std::string bytes = DnsMessage().bytes(7, {"api.test", 1, false});
  bytes[7] = 1;                         // one answer
  bytes += std::string("\xC0\x0C", 2);  // its owner: the question's name
  DnsMessage::put16(bytes, 1);
  DnsMessage::put16(bytes, 1);
  DnsMessage::put32(bytes, 60);
  DnsMessage::put16(bytes, 4);
  bytes += std::string("\x0A\x00\x00\x09", 4);
  const auto records = read(bytes);
  ASSERT_TRUE(records) << records.error().to_string();
  ASSERT_EQ(records->addresses.size(), 1u);
  EXPECT_EQ(records->addresses[0].host(), "10.0.0.9");
}

TEST(DnsMessage, RefusesPointersThatDoNotLeadBackwards) {
  std::string bytes = DnsMessage().bytes(7, {"api.test", 1, false});
  bytes[7] = 1;
  const auto here = static_cast<char>(bytes.size());
  bytes += '\xC0';
  bytes += here;  // to itself
  bytes += std::string(10, '\0');
  EXPECT_FALSE(read(bytes));
}

TEST(DnsMessage, RefusesEveryPrefixOfAnAnswer) {
  DnsMessage message;
  message.cname("api.test", 20, "b.test").a("b.test", 60, "10.0.0.1").srv("b.test", 1, 1, 1, 1, "c.test");
  const std::string bytes = message.bytes(7, {"api.test", 1, false});
  ASSERT_TRUE(read(bytes));
  for (size_t size = 0; size < bytes.size(); ++size) EXPECT_FALSE(read(bytes.substr(0, size))) << size;
}

TEST(DnsMessage, TakesNoMoreThanItsLimit) {
  DnsMessage message;
  for (size_t i = 0; i < kMaxDnsRecords + 100; ++i)
    message.a("api.test", 60, "10.0." + std::to_string(i / 250) + "." + std::to_string(i % 250));
  const auto records = read(message);
  ASSERT_TRUE(records);
  EXPECT_EQ(records->addresses.size(), kMaxDnsRecords);
}

TEST(DnsMessage, RefusesNamesThatNoHostHas) {
  DnsMessage message;
  message.srv("api.test", 10, 1, 5, 8080, "a b.test");
  EXPECT_FALSE(read(message));
}

TEST(DnsMessage, KnowsWhatMayBeAName) {
  for (const char* name : {"a", "_http._tcp.api.internal.", "A-1.b_c"}) EXPECT_TRUE(is_dns_name(name)) << name;
  for (const std::string& name : {std::string(), std::string("."), std::string("a..b"), std::string(".a"),
                                  std::string("a b"), std::string(64, 'a'), std::string("\n")})
    EXPECT_FALSE(is_dns_name(name)) << name;
}

}  // namespace
}  // namespace trellis::net
