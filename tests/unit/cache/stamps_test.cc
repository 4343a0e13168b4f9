#include "cache/edge/stamps.h"

#include <gtest/gtest.h>

#include <string>

namespace trellis::cache {
namespace {

// Another key of the same group as `key`.
std::string neighbour_of(const std::string& key, int which) {
  for (int i = 0, found = 0;; ++i) {
    std::string other = "other" + std::to_string(i);
    if (hash64(other) % Stamps::kSlots == hash64(key) % Stamps::kSlots && found++ == which) return other;
  }
}

TEST(Stamps, TellOwnChangesFromThoseOfOneOther) {
  Stamps stamps;
  const Stamp before = stamps.read("a");
  EXPECT_TRUE(stamps.unchanged("a", before));
  stamps.change(neighbour_of("a", 0));
  EXPECT_NE(stamps.read("a"), before);
  EXPECT_TRUE(stamps.unchanged("a", before)) << "for another's sake";
  stamps.change(neighbour_of("a", 1));
  EXPECT_FALSE(stamps.unchanged("a", before)) << "the first of two may have been its own";
  const Stamp later = stamps.read("a");
  stamps.change("a");
  EXPECT_FALSE(stamps.unchanged("a", later));
  stamps.change(neighbour_of("a", 0));
  EXPECT_FALSE(stamps.unchanged("a", later));
}

}  // namespace
}  // namespace trellis::cache
