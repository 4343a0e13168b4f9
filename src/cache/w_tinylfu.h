// W-TinyLFU (Einziger, Friedman, Manes: "TinyLFU: a highly efficient cache admission policy", 2017): which object
// leaves a full cache, by how often objects are asked for. A new object enters a window in order of use. What falls out
// of the window is compared with the main part's next victim: the one asked for more often, as a sketch remembers,
// stays. The main part has a probation queue, and a protected one (four fifths of it) for what was asked for again.
//
// The size of the window follows the load (Einziger, Eytan, Friedman, Manes: "Adaptive software cache management",
// 2018): after each sample of requests it goes on the way it went when the hit ratio rose, and back when it fell. A
// window that grows or shrinks takes effect with the evictions that follow; nothing is moved at once.
//
// A hit moves a node and counts in the sketch. Used by the memory cache, one a shard, under the shard's lock.
#pragma once

#include <cstddef>
#include <cstdint>

#include "cache/eviction_node.h"
#include "cache/frequency_sketch.h"

namespace trellis::cache {

class WTinyLfu {
 public:
  explicit WTinyLfu(uint64_t capacity);

  void hit(EvictionNode& node) noexcept;
  void insert(EvictionNode& node);
  EvictionNode* evict() noexcept;
  void remove(EvictionNode& node) noexcept;

  uint64_t capacity() const noexcept { return capacity_; }
  uint64_t charge() const noexcept { return window_.charge + main_charge(); }
  size_t size() const noexcept { return window_.size + probation_.size + protected_.size; }
  uint64_t window_capacity() const noexcept { return window_capacity_; }

 private:
  enum Queue : uint8_t { in_window, in_probation, in_protected };
  NodeQueue& queue_of(const EvictionNode& node) noexcept {
    return node.queue == in_window ? window_ : node.queue == in_probation ? probation_ : protected_;
  }
  uint64_t main_charge() const noexcept { return probation_.charge + protected_.charge; }
  void to_probation(EvictionNode& node) noexcept;
  void demote() noexcept;
  void climb() noexcept;

  uint64_t capacity_;
  uint64_t window_capacity_;
  uint64_t protected_capacity_;
  NodeQueue window_;
  NodeQueue probation_;
  NodeQueue protected_;
  FrequencySketch sketch_;
  // Of the climb.
  uint64_t hits_ = 0;
  uint64_t misses_ = 0;
  double last_ratio_ = 0;
  double step_;  // of the window's capacity, with its direction
};

}  // namespace trellis::cache
