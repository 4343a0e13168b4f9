#include "proxy/split_plan.h"

#include <algorithm>

#include "base/error.h"

namespace trellis::proxy {

namespace {
// In eighths of the points: one that comes later lies between those that are there.
constexpr std::array<uint32_t, SplitPlan::kMaxOthers> kHomes = {0, 4, 2, 6, 1, 5, 3, 7};
constexpr uint32_t home_of(size_t other) { return kHomes[other] * (SplitPlan::kPoints / SplitPlan::kMaxOthers); }
}  // namespace

// The finalizer of MurmurHash3 (Appleby 2011).
uint32_t SplitPlan::point_of(uint64_t hash) noexcept {
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdULL;
  hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53ULL;
  hash ^= hash >> 33;
  return static_cast<uint32_t>((static_cast<unsigned __int128>(hash) * kPoints) >> 64);
}

SplitPlan::SplitPlan(std::span<const uint32_t> others) {
  TRELLIS_ASSERT(others.size() <= kMaxOthers);
  std::array<uint32_t, kMaxOthers> left{};
  for (size_t i = 0; i < others.size(); ++i) {
    const uint32_t home = home_of(i);
    uint32_t end = kPoints;
    for (size_t j = 0; j < others.size(); ++j) {
      if (home_of(j) > home) end = std::min(end, home_of(j));
    }
    const uint32_t here = std::min(others[i], end - home);
    std::fill_n(ways_.begin() + home, here, static_cast<uint8_t>(i + 1));
    left[i] = others[i] - here;
  }
  size_t point = kPoints;
  for (size_t i = 0; i < others.size(); ++i) {
    while (left[i] > 0) {
      TRELLIS_ASSERT(point > 0);
      if (ways_[--point] != 0) continue;
      ways_[point] = static_cast<uint8_t>(i + 1);
      --left[i];
    }
  }
}

}  // namespace trellis::proxy
