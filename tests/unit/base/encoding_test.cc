#include "base/encoding.h"

#include <gtest/gtest.h>

#include <initializer_list>
#include <utility>

namespace trellis {
namespace {

TEST(Base64, ReadsBackWhatItWrote) {
  // RFC 4648, section 10.
  for (const auto& [bytes, text] : std::initializer_list<std::pair<std::string, std::string>>{
           {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"foobar", "Zm9vYmFy"}}) {
    EXPECT_EQ(to_base64(bytes), text);
    EXPECT_EQ(from_base64(text), bytes);
  }
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  EXPECT_EQ(from_base64(to_base64(all)), all);
}

TEST(Base64, TakesNothingElse) {
  for (const char* text :
       {"Z", "Zg", "Zg=", "Zh==", "Zm9=", "Z===", "====", "Zg==Zg==", "Zm 9", "Zm9v\n", "Zm9-", "Zm9\xff"})
    EXPECT_EQ(from_base64(text), std::nullopt) << text;
}

TEST(Hex, ReadsBackWhatItWroteInAnyCase) {
  const std::string bytes("\x00\x7f\xff\xa0", 4);
  EXPECT_EQ(to_hex(bytes), "007fffa0");
  EXPECT_EQ(from_hex("007fffa0"), bytes);
  EXPECT_EQ(from_hex("007FFFA0"), bytes);
  EXPECT_EQ(from_hex(""), "");
}

TEST(Hex, TakesNothingElse) {
  for (const char* text : {"0", "0g", "g0", "0 ", "+1", "-1", "0x10"}) EXPECT_EQ(from_hex(text), std::nullopt) << text;
}

}  // namespace
}  // namespace trellis
