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

namespace trellis::cache {

// A member of every cached object.
struct S3Node {
  S3Node* newer = nullptr;
  S3Node* older = nullptr;
  uint64_t hash = 0;    // of the key; set by the owner
  uint32_t charge = 1;  // what it takes of the capacity; set by the owner before insert()
  uint8_t hits = 0;     // 0..3
  bool in_main = false;
};

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

  void hit(S3Node& node) noexcept {
    if (node.hits < 3) ++node.hits;
  }
  void insert(S3Node& node);
  // Takes the next victim out of the queues; null when they are empty.
  S3Node* evict();
  // It leaves for another reason; it becomes no ghost.
  void remove(S3Node& node) noexcept;

  uint64_t capacity() const noexcept { return capacity_; }
  uint64_t charge() const noexcept { return small_.charge + main_.charge; }
  size_t size() const noexcept { return small_.size + main_.size; }
  size_t ghosts() const noexcept { return ghosts_.size(); }

 private:
  struct Queue {
    S3Node* newest = nullptr;
    S3Node* oldest = nullptr;
    uint64_t charge = 0;
    size_t size = 0;
    void push(S3Node& node) noexcept;
    void unlink(S3Node& node) noexcept;
  };
  S3Node* evict_main() noexcept;

  uint64_t capacity_;
  uint64_t small_capacity_;
  uint64_t main_capacity_;
  Queue small_;
  Queue main_;
  GhostQueue ghosts_;
};

}  // namespace trellis::cache
