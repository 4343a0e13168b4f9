#include "services/links/codes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"

namespace trellis::services::links {
namespace {

CodeKey key_of(uint64_t seed) {
  Rng rng(seed);
  CodeKey key;
  for (uint8_t& byte : key) byte = static_cast<uint8_t>(rng.next());
  return key;
}

TEST(SipHash, GivesTheValuesOfThePaper) {
  CodeKey key;
  for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<uint8_t>(i);
  std::string bytes;
  for (int i = 0; i < 15; ++i) bytes.push_back(static_cast<char>(i));
  EXPECT_EQ(siphash24(key, bytes), 0xa129ca6149be45e5u);
  EXPECT_EQ(siphash24(key, ""), 0x726fdb47dd0e0e31u);
}

TEST(Base62, GoesThereAndBackWithSevenCharacters) {
  const auto first = to_base62(0);
  EXPECT_EQ(std::string_view(first.data(), first.size()), "0000000");
  const auto last = to_base62(kCodeCount - 1);
  EXPECT_EQ(std::string_view(last.data(), last.size()), "zzzzzzz");
  Rng rng(1);
  for (int i = 0; i < 10'000; ++i) {
    const uint64_t value = rng.below(kCodeCount);
    const auto text = to_base62(value);
    ASSERT_EQ(from_base62(std::string_view(text.data(), text.size())), value);
  }
}

TEST(Base62, RefusesWhatIsNoCode) {
  for (const char* text : {"", "000000", "00000000", "00000-0", "000000_", "00000 0", "00000\xc3\xa9"}) {
    EXPECT_EQ(from_base62(text), std::nullopt) << text;
  }
}

TEST(Codes, InverseFindsTheCounterAgain) {
  Rng rng(2);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Codes codes(key_of(seed));
    for (const uint64_t counter : {uint64_t{0}, uint64_t{1}, kCodeCount - 1}) {
      ASSERT_EQ(codes.invert(codes.permute(counter)), counter);
      ASSERT_EQ(codes.permute(codes.invert(counter)), counter);
    }
    for (int i = 0; i < 2000; ++i) {
      const uint64_t counter = rng.below(kCodeCount);
      ASSERT_EQ(codes.counter_of(codes.code_of(counter)), counter);
    }
  }
}

TEST(Codes, AMillionCountersGiveAMillionCodes) {
  const Codes codes(key_of(3));
  std::vector<uint64_t> seen;
  seen.reserve(1'000'000);
  for (uint64_t counter = 0; counter < 1'000'000; ++counter) seen.push_back(codes.permute(counter));
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(std::adjacent_find(seen.begin(), seen.end()), seen.end());
  EXPECT_LT(seen.back(), kCodeCount);
  // They spread over the whole domain: a hundred equal parts each hold about a hundredth of them.
  std::vector<int> parts(100);
  for (const uint64_t value : seen) ++parts[value / (kCodeCount / 100 + 1)];
  for (const int part : parts) EXPECT_NEAR(part, 10'000, 500);
}

TEST(Codes, NeighboursAreNotAdjacentMoreOftenThanChanceHasIt) {
  const Codes codes(key_of(4));
  const uint64_t near = kCodeCount / 1000;  // chance: about 2 of 1000
  int close = 0;
  int rising = 0;
  uint64_t previous = codes.permute(0);
  for (uint64_t counter = 1; counter <= 200'000; ++counter) {
    const uint64_t value = codes.permute(counter);
    const uint64_t distance = value > previous ? value - previous : previous - value;
    close += distance <= near ? 1 : 0;
    rising += value > previous ? 1 : 0;
    previous = value;
  }
  EXPECT_NEAR(close, 400, 100);
  EXPECT_NEAR(rising, 100'000, 1500);
}

TEST(Codes, OneBitOfTheCounterChangesHalfOfTheBits) {
  const Codes codes(key_of(5));
  Rng rng(6);
  double flipped = 0;
  int count = 0;
  for (int i = 0; i < 2000; ++i) {
    const uint64_t counter = rng.below(uint64_t{1} << 41);
    for (unsigned bit = 0; bit < 40; bit += 3) {
      flipped += std::popcount(codes.permute(counter) ^ codes.permute(counter ^ uint64_t{1} << bit));
      ++count;
    }
  }
  EXPECT_NEAR(flipped / count, 21, 0.4);
}

TEST(Codes, AnotherKeyGivesOtherCodes) {
  const Codes one(key_of(7));
  const Codes other(key_of(8));
  int equal = 0;
  for (uint64_t counter = 0; counter < 1000; ++counter) equal += one.permute(counter) == other.permute(counter) ? 1 : 0;
  EXPECT_EQ(equal, 0);
}

}  // namespace
}  // namespace trellis::services::links
