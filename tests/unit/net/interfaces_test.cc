#include "net/interfaces.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace trellis::net {
namespace {

TEST(Interfaces, AnAddressOfItsOwnIsReachedThere) {
  const auto found = addresses_behind(*parse_address("127.0.0.2:80"));
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].to_string(), "127.0.0.2:80");
}

TEST(Interfaces, EveryAddressIsThatOfEachInterface) {
  const auto found = addresses_behind(*parse_address("0.0.0.0:8080"));
  EXPECT_TRUE(std::ranges::any_of(found, [](const Address& one) { return one.to_string() == "127.0.0.1:8080"; }));
  for (const Address& one : found) EXPECT_EQ(one.port(), 8080);
}

}  // namespace
}  // namespace trellis::net
