#include "base/crc32c.h"

#include <gtest/gtest.h>

#include <string>

#include "base/rng.h"

namespace trellis {
namespace {

TEST(Crc32c, GivesThePublishedValues) {
  // RFC 3720, appendix B.4.
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(Crc32c, IsTheSameByTheTableAndInPieces) {
  Rng rng(1);
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    const uint32_t whole = crc32c(bytes);
    EXPECT_EQ(whole, crc32c_by_table(bytes));
    const size_t cut = rng.below(bytes.size() + 1);
    EXPECT_EQ(whole, crc32c(std::string_view(bytes).substr(cut), crc32c(std::string_view(bytes).substr(0, cut))));
    bytes += static_cast<char>(rng.next());
  }
}

TEST(Crc32c, IsTheSameForLongTextsOfAnySizeAndPlace) {
  Rng rng(2);
  std::string bytes(20'000, '\0');
  for (char& byte : bytes) byte = static_cast<char>(rng.next());
  for (int i = 0; i < 500; ++i) {
    const size_t from = rng.below(64);
    const std::string_view some = std::string_view(bytes).substr(from, rng.below(bytes.size() - from));
    const auto before = static_cast<uint32_t>(rng.next());
    ASSERT_EQ(crc32c(some, before), crc32c_by_table(some, before)) << some.size();
  }
}

}  // namespace
}  // namespace trellis
