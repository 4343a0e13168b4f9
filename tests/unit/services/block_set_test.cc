#include "services/links/access/block_set.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "services/links/domains/host_name.h"

namespace trellis::services::links {
namespace {

BlockSet set_of(const std::vector<std::string>& entries) {
  BlockSet set(1);
  for (const std::string& text : entries) {
    const auto entry = read_block_entry(text);
    EXPECT_TRUE(entry) << text;
    if (entry) set.add(*entry);
  }
  return set;
}

std::string found(const BlockSet& set, const std::string& url) { return set.find(url).value_or(""); }

TEST(HostName, HasOneFormForAllWaysToWriteAHost) {
  EXPECT_EQ(normal_host("EXAMPLE.com."), "example.com");
  EXPECT_EQ(normal_host("b\u00fccher.example"), "xn--bcher-kva.example");
  EXPECT_EQ(normal_host("bu\u0308cher.example"), "xn--bcher-kva.example") << "a letter and its dots apart";
  EXPECT_EQ(normal_host("\uff45xample\u3002com"), "example.com") << "wide letters, another full stop";
  EXPECT_EQ(normal_host("XN--BCHER-KVA.example"), "xn--bcher-kva.example");
  for (const char* loopback : {"127.0.0.1", "127.1", "0x7f.1", "0177.0.0.1", "2130706433", "0x7F000001", "127.0.0.1.",
                               "[::ffff:127.0.0.1]", "[::FFFF:7f00:1]"})
    EXPECT_EQ(normal_host(loopback), "127.0.0.1") << loopback;
  EXPECT_EQ(normal_host("[2001:DB8:0:0::1]"), "[2001:db8::1]");
  for (const char* name : {"1.2.3.4.5", "256.1.1.1", "a.1", "1..2", "127.0.0.0x1g"}) EXPECT_EQ(normal_host(name), name);
  EXPECT_EQ(normal_host("\u2603.test"), "xn--n3h.test") << "a symbol";
  EXPECT_EQ(normal_host("\uff4dy--shop.test"), "my--shop.test") << "hyphens that the library refuses";
  EXPECT_EQ(normal_host("\uff0dshop-.\u30c6\u30b9\u30c8"), "-shop-.xn--zckzah");
  EXPECT_TRUE(is_address("[::1]"));
  EXPECT_FALSE(is_address("1.2.3.example"));
}

TEST(BlockSet, AHostStandsForItsSubdomains) {
  const BlockSet set = set_of({"bad.example"});
  EXPECT_EQ(found(set, "http://bad.example/"), "bad.example");
  EXPECT_EQ(found(set, "https://a.b.BAD.example.:8443/x?y#z"), "bad.example");
  EXPECT_EQ(found(set, "https://notbad.example/"), "");
  EXPECT_EQ(found(set, "https://example/"), "");
  EXPECT_EQ(found(set, "https://good.example/?bad.example"), "");
}

TEST(BlockSet, AnEqualsSignMeansThisHostAlone) {
  const BlockSet set = set_of({"=bad.example", "=half.example/x"});
  EXPECT_EQ(found(set, "http://bad.example/"), "=bad.example");
  EXPECT_EQ(found(set, "http://www.bad.example/"), "");
  EXPECT_EQ(found(set, "http://half.example/x/y"), "=half.example/x");
  EXPECT_EQ(found(set, "http://www.half.example/x/y"), "");
}

TEST(BlockSet, APathStandsForAllBeneathItHoweverItIsWritten) {
  const BlockSet set = set_of({"host.example/bad/way"});
  for (const char* blocked : {"/bad/way", "/bad/way/", "/bad/way/on", "/bad/way?x", "/bad/way#x", "//bad/./way",
                              "/x/../bad/way", "/b%61d/way", "/bad%2Fway", "/bad\\way", "/%2e/bad/way",
                              "/bad/way/x%2f..%2f..%2f..", "/bad/way/%5c..%5c..", "/bad/way/..%2f"})
    EXPECT_EQ(found(set, "https://www.host.example" + std::string(blocked)), "host.example/bad/way") << blocked;
  for (const char* free : {"", "/", "/bad", "/bad/ways", "/bad/way/..", "/Bad/way", "/?/bad/way"})
    EXPECT_EQ(found(set, "https://host.example" + std::string(free)), "") << free;
}

TEST(BlockSet, ANameIsMetHoweverItIsSpelled) {
  const BlockSet set = set_of({"xn--n3h.test", "my--shop.test", "\u2615.test"});
  EXPECT_EQ(found(set, "http://\u2603.test/"), "xn--n3h.test");
  EXPECT_EQ(found(set, "http://\uff4dy--shop.test/"), "my--shop.test");
  EXPECT_EQ(found(set, "http://xn--53h.test/"), "xn--53h.test");
  EXPECT_EQ(found(set, "http://xn--bcher-kva.test/"), "");
}

TEST(BlockSet, ANameThatCannotBeComparedIsNotLetThrough) {
  const std::string odd = "\u2603-\u00df.test";
  EXPECT_EQ(found(set_of({"bad.example"}), "http://" + odd + "/"), odd);
  EXPECT_EQ(found(set_of({}), "http://" + odd + "/"), "");
  EXPECT_FALSE(read_block_entry(odd));
}

TEST(BlockSet, AnAddressIsMetInEveryForm) {
  const BlockSet set = set_of({"192.0.2.1", "[2001:db8::1]"});
  for (const char* host : {"192.0.2.1", "192.0.513", "0xC0000201", "[::ffff:192.0.2.1]", "192.0.2.1:8080"})
    EXPECT_EQ(found(set, "http://" + std::string(host) + "/"), "192.0.2.1") << host;
  EXPECT_EQ(found(set, "http://[2001:0db8::0001]:80/"), "[2001:db8::1]");
  EXPECT_EQ(found(set, "http://192.0.2.2/"), "");
}

TEST(BlockSet, EntriesReadBackToThemselves) {
  for (const char* text : {"example.com", "=example.com", "Example.COM./a//b/", "b\u00fccher.example/%3F%25",
                           "192.0.2.1/x y", "[::1]/a", "com"}) {
    const auto entry = read_block_entry(text);
    ASSERT_TRUE(entry) << text;
    const auto again = read_block_entry(entry->text());
    ASSERT_TRUE(again) << entry->text();
    EXPECT_EQ(*again, *entry) << text;
  }
}

TEST(BlockSet, WhatIsNoEntryIsRefusedWithItsReason) {
  for (const char* text : {"", "=", "/path", "https://a.example/", "*.a.example", ".a.example", "a.example:80",
                           "[::1]:80", "a.example?x", "a.example/x#y", "a b.example", "a@b.example", "2001:db8::1",
                           "a\uff0fb.example", "\uff0e\uff0a//a", "192.0.2.0/24", "10.0.0.0//8", "[2001:db8::]/32"})
    EXPECT_FALSE(read_block_entry(text)) << text;
  EXPECT_FALSE(read_block_entry("a.example/" + std::string(600, 'x')));
  std::string deep = "a.example";
  for (int i = 0; i < 17; ++i) deep += "/x";
  EXPECT_FALSE(read_block_entry(deep));
}

TEST(BlockSet, AFileHasAnEntryALineAndComments) {
  const auto set = read_block_file("\xef\xbb\xbf# bad ones\r\na.example  # why\r\n\n\t=b.example\nc.example/x#y", 1);
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().line, 5u);
  const auto good = read_block_file("# bad ones\r\na.example  # why\r\n\n\t=b.example\n", 1);
  ASSERT_TRUE(good);
  EXPECT_EQ(good->size(), 2u);
  EXPECT_EQ(found(*good, "http://b.example/"), "=b.example");
  EXPECT_TRUE(read_block_file("", 1));
}

TEST(BlockSet, AHundredThousandEntriesAreFoundAndSmall) {
  std::string text;
  for (int i = 0; i < 100'000; ++i) text += "host" + std::to_string(i) + ".example\n";
  const auto set = read_block_file(text, 1);
  ASSERT_TRUE(set);
  for (int i = 0; i < 100'000; i += 997)
    EXPECT_NE(found(*set, "https://www.host" + std::to_string(i) + ".example/"), "") << i;
  EXPECT_EQ(found(*set, "https://host100000.example/"), "");
  EXPECT_LE(set->memory(), size_t{3} << 20);
}

}  // namespace
}  // namespace trellis::services::links
