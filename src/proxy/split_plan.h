// Which way of a split a request takes: 10,000 points, each of which belongs to one way, so that shares are exact to
// 0.01 %. A key always falls on the same point. Each way but the first has a home among the points and grows from
// there, the first has what the others leave; so a share that changes moves its own difference and nothing else: always
// with two or three ways, with more while none but the first has more than an eighth (beyond that, what does not fit
// between two homes lies at the end and may be pushed aside). Pure and immutable; any core.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace trellis::proxy {

class SplitPlan {
 public:
  static constexpr uint32_t kPoints = 10'000;
  static constexpr size_t kMaxOthers = 8;

  // The points of each way but the first, kPoints at most together.
  explicit SplitPlan(std::span<const uint32_t> others);

  // 0 is the first way. Precondition: point < kPoints.
  size_t way_of(uint32_t point) const noexcept { return ways_[point]; }
  // Mixed once more: an upstream that places the same key by the same hash must not get all of it in one corner.
  static uint32_t point_of(uint64_t hash) noexcept;

 private:
  std::array<uint8_t, kPoints> ways_{};
};

}  // namespace trellis::proxy
