#include "cache/disk/disk_index.h"

#include <gtest/gtest.h>

#include <unordered_map>

#include "base/hash.h"
#include "base/rng.h"

namespace trellis::cache {
namespace {

uint64_t hash_of(uint64_t number) { return hash64(std::string_view(reinterpret_cast<const char*>(&number), 8)); }

TEST(DiskIndex, HoldsAMillionObjectsInAtMost32BytesEach) {
  DiskIndex index;
  const auto bytes_each = [&] { return static_cast<double>(index.bytes()) / static_cast<double>(index.objects()); };
  double most = 0;
  for (uint64_t i = 0; i < 1'000'000; ++i) {
    index.put(hash_of(i), {static_cast<uint32_t>(i % 1000), static_cast<uint32_t>(i % 100'000), 3});
    if (i >= 100'000 && i % 1000 == 0) most = std::max(most, bytes_each());
  }
  EXPECT_EQ(index.objects(), 1'000'000u);
  EXPECT_LE(most, 32);
  for (uint64_t i = 0; i < 900'000; ++i) ASSERT_TRUE(index.remove(hash_of(i)));
  EXPECT_EQ(index.objects(), 100'000u);
  EXPECT_LE(bytes_each(), 32);
  for (uint64_t i = 900'000; i < 1'000'000; ++i) {
    ASSERT_EQ(index.find(hash_of(i)),
              (DiskPlace{static_cast<uint32_t>(i % 1000), static_cast<uint32_t>(i % 100'000), 3}));
  }
}

TEST(DiskIndex, KeepsWhatAPlainTableKeeps) {
  DiskIndex index;
  std::unordered_map<uint64_t, DiskPlace> plain;
  Rng rng(5);
  for (int step = 0; step < 300'000; ++step) {
    const uint64_t hash = hash_of(rng.below(3000));
    const DiskPlace place{static_cast<uint32_t>(rng.below(kMostSlots)),
                          static_cast<uint32_t>(rng.below(kMostUnitsInSlot)),
                          static_cast<uint32_t>(1 + rng.below((1u << 20) - 1))};
    const auto known = plain.find(hash);
    switch (rng.below(6)) {
      case 0:
      case 1:
        index.put(hash, place);
        plain[hash] = place;
        break;
      case 2: ASSERT_EQ(index.remove(hash), plain.erase(hash) == 1); break;
      case 3:
        ASSERT_FALSE(index.remove_if(hash, place));
        if (known != plain.end()) {
          ASSERT_TRUE(index.remove_if(hash, known->second));
          plain.erase(known);
        }
        break;
      default: {
        const auto found = rng.below(2) == 0 ? index.find(hash) : index.ask(hash);
        ASSERT_EQ(found.has_value(), known != plain.end());
        if (found) {
          ASSERT_EQ(*found, known->second);
        }
      }
    }
    ASSERT_EQ(index.objects(), plain.size());
  }
}

TEST(DiskIndex, CountsHowOftenAnObjectWasAskedFor) {
  DiskIndex index;
  const DiskPlace place{1, 8, 2};
  EXPECT_FALSE(index.ask(7));
  index.put(7, place);
  EXPECT_EQ(index.asked(7, place), 0u);
  for (unsigned i = 1; i <= 5; ++i) {
    EXPECT_EQ(index.ask(7), place);
    EXPECT_EQ(index.asked(7, place), std::min(i, DiskIndex::kMostAsked));
  }
  EXPECT_FALSE(index.asked(7, {1, 9, 2}));
  index.put(7, {2, 8, 2}, 1);
  EXPECT_EQ(index.asked(7, {2, 8, 2}), 1u);
}

TEST(DiskIndex, GivesTheObjectsOfASegment) {
  DiskIndex index;
  for (uint64_t i = 0; i < 1000; ++i)
    index.put(hash_of(i), {static_cast<uint32_t>(i % 10), static_cast<uint32_t>(i), 1});
  const auto objects = index.objects_in(3);
  EXPECT_EQ(objects.size(), 100u);
  for (const auto& object : objects) {
    EXPECT_EQ(object.place.slot, 3u);
    EXPECT_EQ(object.hash, hash_of(object.place.unit));
  }
}

}  // namespace
}  // namespace trellis::cache
