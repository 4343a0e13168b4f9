#include "load/histogram.h"

#include <algorithm>
#include <cmath>

namespace trellis::load {

void Histogram::merge(const Histogram& other) noexcept {
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  sum_ += other.sum_;
  max_ = std::max(max_, other.max_);
}

uint64_t Histogram::upper_edge(size_t index) noexcept {
  if (index < kLinear) return index;
  size_t shift = (index >> kBits) - 1;
  return ((kLinear + (index & (kLinear - 1)) + 1) << shift) - 1;
}

uint64_t Histogram::at(double share) const noexcept {
  if (count_ == 0) return 0;
  auto wanted = static_cast<uint64_t>(std::ceil(share * static_cast<double>(count_)));
  wanted = std::clamp<uint64_t>(wanted, 1, count_);
  uint64_t seen = 0;
  for (size_t i = 0; i < counts_.size(); ++i) {
    seen += counts_[i];
    if (seen >= wanted) return std::min(upper_edge(i), max_);
  }
  return max_;
}

}  // namespace trellis::load
