// The eviction policies that need no explanation, each with the shape that all share (cache/eviction.h): `lru` lets go
// what was not asked for longest, `fifo` what came first, `random` any, `ttl` what would expire first. Used by the
// memory cache, one a shard, under the shard's lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/rng.h"
#include "cache/eviction_node.h"

namespace trellis::cache {

class Fifo {
 public:
  explicit Fifo(uint64_t capacity) noexcept : capacity_(capacity) {}
  void hit(EvictionNode&) noexcept {}
  void insert(EvictionNode& node) noexcept { queue_.push(node); }
  EvictionNode* evict() noexcept { return queue_.pop(); }
  void remove(EvictionNode& node) noexcept { queue_.unlink(node); }
  uint64_t capacity() const noexcept { return capacity_; }
  uint64_t charge() const noexcept { return queue_.charge; }
  size_t size() const noexcept { return queue_.size; }

 protected:
  NodeQueue queue_;

 private:
  uint64_t capacity_;
};

// The same queue, but a hit makes a node the newest.
class Lru : public Fifo {
 public:
  using Fifo::Fifo;
  void hit(EvictionNode& node) noexcept { queue_.renew(node); }
};

class RandomEviction {
 public:
  RandomEviction(uint64_t capacity, uint64_t seed) noexcept : capacity_(capacity), rng_(seed) {}
  void hit(EvictionNode&) noexcept {}
  void insert(EvictionNode& node);
  EvictionNode* evict() noexcept;
  void remove(EvictionNode& node) noexcept;
  uint64_t capacity() const noexcept { return capacity_; }
  uint64_t charge() const noexcept { return charge_; }
  size_t size() const noexcept { return nodes_.size(); }

 private:
  uint64_t capacity_;
  uint64_t charge_ = 0;
  Rng rng_;
  std::vector<EvictionNode*> nodes_;  // each knows its place
};

// A binary heap; of those that expire together, the first to come leaves first.
class SoonestExpiry {
 public:
  explicit SoonestExpiry(uint64_t capacity) noexcept : capacity_(capacity) {}
  void hit(EvictionNode&) noexcept {}
  void insert(EvictionNode& node);
  EvictionNode* evict() noexcept;
  void remove(EvictionNode& node) noexcept;
  uint64_t capacity() const noexcept { return capacity_; }
  uint64_t charge() const noexcept { return charge_; }
  size_t size() const noexcept { return heap_.size(); }

 private:
  static bool sooner(const EvictionNode& a, const EvictionNode& b) noexcept {
    return a.expires != b.expires ? a.expires < b.expires : a.order < b.order;
  }
  void put(size_t place, EvictionNode& node) noexcept {
    heap_[place] = &node;
    node.place = place;
  }
  void settle(size_t place, EvictionNode& node) noexcept;

  uint64_t capacity_;
  uint64_t charge_ = 0;
  uint64_t next_order_ = 0;
  std::vector<EvictionNode*> heap_;
};

}  // namespace trellis::cache
