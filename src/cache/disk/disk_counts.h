// What a store counts, for its figures and, over all stores of a name, for the metrics. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/metrics.h"

namespace trellis::cache {

class DiskCount {
 public:
  explicit DiskCount(Counter& shown) noexcept : shown_(shown) {}
  void add(uint64_t n = 1) noexcept {
    own_.fetch_add(n, std::memory_order_relaxed);
    shown_.add(n);
  }
  uint64_t value() const noexcept { return own_.load(std::memory_order_relaxed); }

 private:
  Counter& shown_;
  std::atomic<uint64_t> own_{0};
};

struct DiskCounts {
  DiskCounts(Metrics& metrics, const std::string& cache);

  DiskCount written;
  DiskCount evicted;
  DiskCount moved;
  DiskCount damaged;
  DiskCount refused;
};

}  // namespace trellis::cache
