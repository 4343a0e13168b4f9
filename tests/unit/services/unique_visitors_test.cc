#include "services/links/clicks/unique_visitors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"

namespace trellis::services::links {
namespace {

std::string bytes_of(const UniqueVisitors& visitors) {
  std::string bytes;
  visitors.append_to(bytes);
  return bytes;
}

TEST(UniqueVisitors, IsAsGoodAsExactForFew) {
  UniqueVisitors visitors;
  EXPECT_EQ(visitors.count(), 0u);
  Rng rng(1);
  for (uint64_t n = 1; n <= UniqueVisitors::kMaxSparse; ++n) {
    const uint64_t hash = rng.next();
    visitors.add(hash);
    visitors.add(hash);
    EXPECT_EQ(visitors.count(), n);
  }
}

// The root of the mean square of the error, and the worst of twenty runs at each size.
TEST(UniqueVisitors, CountsManyWithinTwoPercent) {
  for (const uint64_t size : {769u, 2'000u, 5'000u, 10'000u, 20'000u, 50'000u, 200'000u}) {
    double squares = 0;
    double worst = 0;
    constexpr int kRuns = 20;
    for (int run = 0; run < kRuns; ++run) {
      Rng rng(size * 100 + static_cast<uint64_t>(run));
      UniqueVisitors visitors;
      for (uint64_t i = 0; i < size; ++i) visitors.add(rng.next());
      const double error =
          (static_cast<double>(visitors.count()) - static_cast<double>(size)) / static_cast<double>(size);
      squares += error * error;
      worst = std::max(worst, std::abs(error));
    }
    EXPECT_LT(std::sqrt(squares / kRuns), 0.02) << size;
    EXPECT_LT(worst, 0.06) << size;
  }
}

TEST(UniqueVisitors, MergesToTheSameAsAddingAll) {
  for (const size_t size : {0u, 3u, 500u, 900u, 1'500u, 30'000u}) {
    for (const size_t other_size : {0u, 5u, 700u, 40'000u}) {
      Rng rng(size * 7 + other_size);
      UniqueVisitors all;
      UniqueVisitors first;
      UniqueVisitors second;
      for (size_t i = 0; i < size + other_size; ++i) {
        const uint64_t hash = rng.next();
        all.add(hash);
        (i < size ? first : second).add(hash);
        if (i % 10 == 0) second.add(hash);  // in both
      }
      UniqueVisitors turned = second;
      turned.merge(first);
      first.merge(second);
      EXPECT_EQ(first, all) << size << " " << other_size;
      EXPECT_EQ(turned, all) << size << " " << other_size;
      first.merge(UniqueVisitors(first));
      EXPECT_EQ(first, all);
    }
  }
}

TEST(UniqueVisitors, ReadsWhatItWrote) {
  Rng rng(3);
  UniqueVisitors visitors;
  for (int i = 0; i < 3000; ++i) {
    if (i % 50 == 0) {
      const std::string bytes = bytes_of(visitors);
      EXPECT_LE(bytes.size(), UniqueVisitors::kMaxSerialised);
      const auto read = UniqueVisitors::read(bytes);
      ASSERT_TRUE(read);
      EXPECT_EQ(*read, visitors);
    }
    visitors.add(rng.next());
  }
  // The ends of what a hash can be.
  for (const uint64_t hash : {uint64_t{0}, UINT64_MAX, uint64_t{1}}) visitors.add(hash);
  EXPECT_EQ(UniqueVisitors::read(bytes_of(visitors)).value(), visitors);
  UniqueVisitors few;
  few.add(0);
  few.add(1);
  EXPECT_EQ(UniqueVisitors::read(bytes_of(few)).value(), few);
}

TEST(UniqueVisitors, RefusesWhatItWouldNotWrite) {
  UniqueVisitors visitors;
  Rng rng(4);
  for (int i = 0; i < 3000; ++i) visitors.add(rng.next());
  const std::string dense = bytes_of(visitors);
  std::string high = dense;
  high[1] = '\x3f';
  for (const std::string& bytes :
       {std::string(), std::string("X"), dense.substr(0, 100), dense + "x", high, std::string("S\0\0\0\0", 5),
        std::string("S123"), std::string("S\x01\1\1\1\x01\1\1\1", 9), std::string("S\x3f\0\0\0", 5),
        "S" + std::string(4 * (UniqueVisitors::kMaxSparse + 1), '\1')}) {
    const auto read = UniqueVisitors::read(bytes);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code(), Code::data_loss);
    UniqueVisitors other;
    const auto merged = other.merge_stored(bytes);
    ASSERT_FALSE(merged);
    EXPECT_EQ(merged.error().code(), Code::data_loss);
  }
}

TEST(UniqueVisitors, AddUpFromTheirBytes) {
  Rng rng(5);
  for (const int mine : {0, 5, 700, 5000}) {
    for (const int theirs : {0, 5, 300, 5000}) {
      UniqueVisitors one;
      UniqueVisitors other;
      for (int i = 0; i < mine; ++i) one.add(rng.next());
      for (int i = 0; i < theirs; ++i) other.add(rng.next());
      UniqueVisitors merged = one;
      merged.merge(other);
      ASSERT_TRUE(one.merge_stored(bytes_of(other)));
      EXPECT_EQ(one, merged);
    }
  }
}

TEST(UniqueVisitors, KnowsAVisitorOfTheSameDayOnly) {
  const DaySalt monday{1, 2, 3};
  const DaySalt tuesday{4, 5, 6};
  const uint64_t hash = visitor_hash(monday, "192.0.2.0", "agent");
  EXPECT_EQ(visitor_hash(monday, "192.0.2.0", "agent"), hash);
  EXPECT_NE(visitor_hash(tuesday, "192.0.2.0", "agent"), hash);
  EXPECT_NE(visitor_hash(monday, "192.0.2.1", "agent"), hash);
  EXPECT_NE(visitor_hash(monday, "192.0.2.0a", "gent"), hash);
  EXPECT_NE(visitor_hash(monday, "agent", "192.0.2.0"), hash);
  std::set<uint64_t> firsts;
  for (int i = 0; i < 1000; ++i) firsts.insert(visitor_hash(monday, std::to_string(i), "") >> 32);
  EXPECT_EQ(firsts.size(), 1000u);
}

}  // namespace
}  // namespace trellis::services::links
