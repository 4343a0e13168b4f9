#include "net/address_set.h"

#include <gtest/gtest.h>

#include "net/address.h"

namespace trellis::net {
namespace {

TEST(AddressSet, HoldsBlocksOfBothFamilies) {
  std::vector<AddressSet::Block> blocks;
  for (const char* text : {"10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "10.1.0.0/16", "::1"})
    blocks.push_back(*AddressSet::parse_block(text));
  const AddressSet set(blocks);
  for (const char* in : {"10.0.0.0", "10.255.255.255", "192.0.2.7", "2001:db8:ffff::1", "::1", "::ffff:10.1.2.3"})
    EXPECT_TRUE(set.has(in)) << in;
  for (const char* out :
       {"11.0.0.0", "9.255.255.255", "192.0.2.8", "2001:db9::", "::2", "", "10.0.0", "unix:", "10.0.0.1:80"})
    EXPECT_FALSE(set.has(out)) << out;
  EXPECT_TRUE(AddressSet({*AddressSet::parse_block("0.0.0.0/0")}).has("203.0.113.9"));
  EXPECT_FALSE(AddressSet({*AddressSet::parse_block("0.0.0.0/0")}).has("2001:db8::1"));
  for (const char* bad :
       {"10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8x", "x", "", "/8", "2001:db8::/129"})
    EXPECT_FALSE(AddressSet::parse_block(bad)) << bad;
}

TEST(AddressSet, TakesSocketAddressesAsTheyAre) {
  const AddressSet set({*AddressSet::parse_block("10.0.0.0/8"), *AddressSet::parse_block("2001:db8::/32")});
  EXPECT_TRUE(set.has(*parse_address("10.1.2.3:80")));
  EXPECT_TRUE(set.has(*parse_address("[::ffff:10.1.2.3]:80")));
  EXPECT_TRUE(set.has(*parse_address("[2001:db8::5]:80")));
  EXPECT_FALSE(set.has(*parse_address("11.1.2.3:80")));
  EXPECT_FALSE(set.has(Address()));
}

}  // namespace
}  // namespace trellis::net
