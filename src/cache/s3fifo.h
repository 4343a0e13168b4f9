// S3-FIFO (Yang, Zhang, Qiu, Yue, Vinayak: "FIFO queues are all you need for cache eviction", SOSP 2023): which object
// leaves a full cache. New objects enter a small queue (a tenth of the room); those asked for again before they reach
// its end move to the main queue, the others leave at once and are remembered as ghosts; a ghost that comes back enters
// the main queue directly. There an object that was asked for goes round again, one time for each hit up to three. A
// hit only counts, so it moves nothing.
//
// Pure bookkeeping over nodes that their owner keeps: no lock, no allocation but for ghosts, no clock. Used by the
// memory cache, one a shard, under the shard's lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "cache/eviction_node.h"

namespace trellis::cache {

// Hashes of objects that left, in the order of leaving, bounded by the sum of their charges.
class GhostQueue {
 public:
  explicit GhostQueue(uint64_t capacity);
  void add(uint64_t hash, uint32_t charge);
  // Whether it was there; it is not any more.
  bool take(uint64_t hash);
  size_t size() const noexcept { return count_; }

 private:
  struct Entry {
    uint64_t hash;
    uint32_t charge;
    bool taken;
  };
  struct Slot {
    uint64_t hash = 0;
    uint64_t place = 0;  // of its entry, counted from the first one ever, plus 1; 0: empty
  };
  size_t find(uint64_t hash) const noexcept;
  void erase(size_t at) noexcept;
  void grow();
  void drop_oldest();

  uint64_t capacity_;
  uint64_t charge_ = 0;
  size_t count_ = 0;
  std::deque<Entry> entries_;
  uint64_t first_ = 0;       // the place of entries_.front()
  std::vector<Slot> table_;  // open addressing, linear probing
};

class S3Fifo {
 public:
  explicit S3Fifo(uint64_t capacity);

  void hit(EvictionNode& node) noexcept {
    if (node.hits < 3) ++node.hits;
  }
  void insert(EvictionNode& node);
  // Takes the next victim out of the queues; null when they are empty.
  EvictionNode* evict();
  // It leaves for another reason; it becomes no ghost.
  void remove(EvictionNode& node) noexcept;

  uint64_t capacity() const noexcept { return capacity_; }
  uint64_t charge() const noexcept { return small_.charge + main_.charge; }
  size_t size() const noexcept { return small_.size + main_.size; }
  size_t ghosts() const noexcept { return ghosts_.size(); }

 private:
  enum Queue : uint8_t { in_small, in_main };
  EvictionNode* evict_main() noexcept;

  uint64_t capacity_;
  uint64_t small_capacity_;
  uint64_t main_capacity_;
  NodeQueue small_;
  NodeQueue main_;
  GhostQueue ghosts_;
};

}  // namespace trellis::cache
