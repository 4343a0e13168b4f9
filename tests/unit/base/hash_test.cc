#include "base/hash.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <unordered_map>

namespace trellis {
namespace {

TEST(Hash, IsXxh3SoThatStoredValuesStayValid) {
  EXPECT_EQ(hash64(""), 0x2D06800538D394C2u);
  EXPECT_EQ(hash64("abc"), 0x78AF5F94892F3950u);
}

TEST(Hash, DependsOnTheSeed) {
  EXPECT_NE(hash64("abc", 1), hash64("abc", 2));
  EXPECT_EQ(hash64("abc", 7), hash64(std::string("abc"), 7));
}

TEST(Hash, FindsStringsByViews) {
  std::unordered_map<std::string, int, StringHash, std::equal_to<>> map{{"a", 1}};
  EXPECT_EQ(map.find(std::string_view("a"))->second, 1);
  EXPECT_TRUE(map.find(std::string_view("b")) == map.end());
}

TEST(ConstantTimeEqual, ComparesEveryByteAndTheLength) {
  EXPECT_TRUE(constant_time_equal("", ""));
  EXPECT_TRUE(constant_time_equal("secret", "secret"));
  EXPECT_FALSE(constant_time_equal("secret", "secreT"));
  EXPECT_FALSE(constant_time_equal("Secret", "secret"));
  EXPECT_FALSE(constant_time_equal("secret", "secrets"));
  EXPECT_FALSE(constant_time_equal({"a\0b", 3}, {"a\0c", 3}));
}

}  // namespace
}  // namespace trellis
