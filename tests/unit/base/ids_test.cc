#include "base/ids.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <string>

#include "base/rng.h"

namespace trellis {
namespace {

using namespace std::chrono_literals;

std::string ulid(WallTime now, Rng& rng) {
  std::array<char, kUlidSize> out;
  return std::string(make_ulid(out, now, rng));
}

TEST(Ulid, HoldsItsTimeInMilliseconds) {
  Rng rng(1);
  const WallTime now = WallTime(1469918176385ms);
  const std::string id = ulid(now + 999us, rng);
  EXPECT_EQ(id.size(), 26u);
  EXPECT_EQ(id.substr(0, 10), "01ARYZ6S41");
  EXPECT_EQ(ulid_time(id), now);
}

TEST(Ulid, SortsByTime) {
  Rng rng(2);
  std::string before;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = ulid(WallTime(1700000000000ms + i * 37ms), rng);
    EXPECT_LT(before, id);
    before = id;
  }
}

TEST(Ulid, DiffersWithinAMillisecond) {
  Rng rng(3);
  std::set<std::string> ids;
  for (int i = 0; i < 10000; ++i) ids.insert(ulid(WallTime(1ms), rng));
  EXPECT_EQ(ids.size(), 10000u);
}

TEST(Ulid, TimeOfTextThatIsNoUlidIsRefused) {
  EXPECT_FALSE(ulid_time(""));
  EXPECT_FALSE(ulid_time("01ARYZ6S41TSV4RRFFQ69G5FA"));    // 25
  EXPECT_FALSE(ulid_time("01ARYZ6S41TSV4RRFFQ69G5FAVX"));  // 27
  EXPECT_FALSE(ulid_time("01ARYZ6S41TSV4RRFFQ69G5FAU"));   // U is no digit
  EXPECT_FALSE(ulid_time("81ARYZ6S41TSV4RRFFQ69G5FAV"));   // beyond 48 bits
  EXPECT_FALSE(ulid_time("7ZZZZZZZZZTSV4RRFFQ69G5FAV"));   // beyond what a WallTime holds
  EXPECT_TRUE(ulid_time("01ARYZ6S41TSV4RRFFQ69G5FAV"));
  EXPECT_TRUE(ulid_time("01aryz6s41tsv4rrffq69g5fav"));
}

TEST(Hex64, WritesAndReadsSixteenLowerCaseDigits) {
  char out[16];
  write_hex64(out, 0x0123456789ABCDEF);
  EXPECT_EQ(std::string(out, 16), "0123456789abcdef");
  EXPECT_EQ(read_hex64("0123456789abcdef"), 0x0123456789ABCDEFu);
  EXPECT_EQ(read_hex64("ffffffffffffffff"), UINT64_MAX);
  EXPECT_FALSE(read_hex64("0123456789ABCDEF"));
  EXPECT_FALSE(read_hex64("0123456789abcde"));
  EXPECT_FALSE(read_hex64("0123456789abcdefa"));
  EXPECT_FALSE(read_hex64("0123456789abcdeg"));
}

}  // namespace
}  // namespace trellis
