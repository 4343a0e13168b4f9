// For tests of eviction policies: a cache of small numbers over one policy, as a shard of the memory cache uses it, and
// streams of requests. Nodes lie in an array by key, so that millions of requests take little time.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <deque>
#include <vector>

#include "base/hash.h"
#include "base/rng.h"
#include "base/time.h"
#include "cache/eviction.h"

namespace trellis::cache {

inline uint64_t hash_of(uint64_t key) { return hash64({reinterpret_cast<const char*>(&key), sizeof(key)}); }

// Policy: Eviction or one of the policies themselves.
template <class Policy>
class KeyCache {
 public:
  template <class... Args>
  explicit KeyCache(Args... args) : policy_(args...) {}

  // Whether it was there; it is now. The charge and the end are those of an object that is new.
  bool request(uint64_t key, uint32_t charge = 1, Time expires = kNever) {
    while (slots_.size() <= key) {
      slots_.emplace_back();
      slots_.back().node.hash = hash_of(slots_.size() - 1);
    }
    Slot& slot = slots_[key];
    if (slot.held) {
      policy_.hit(slot.node);
      return true;
    }
    while (policy_.charge() + charge > policy_.capacity()) {
      EvictionNode* victim = policy_.evict();
      if (!victim) break;
      let_go(*reinterpret_cast<Slot*>(victim));
    }
    slot.node.charge = charge;
    slot.node.expires = expires;
    slot.held = true;
    ++size_;
    policy_.insert(slot.node);
    return false;
  }
  bool holds(uint64_t key) const { return key < slots_.size() && slots_[key].held; }
  void remove(uint64_t key) {
    if (!holds(key)) return;
    policy_.remove(slots_[key].node);
    let_go(slots_[key]);
  }
  Policy& policy() { return policy_; }
  size_t size() const { return size_; }

 private:
  struct Slot {
    EvictionNode node;  // first, so that a node leads to its slot
    bool held = false;
  };
  void let_go(Slot& slot) {
    slot.held = false;
    --size_;
  }

  Policy policy_;
  std::deque<Slot> slots_;
  size_t size_ = 0;
};

class Zipf {
 public:
  Zipf(size_t keys, double s) {
    double sum = 0;
    for (size_t i = 1; i <= keys; ++i) sums_.push_back(sum += std::pow(static_cast<double>(i), -s));
  }
  uint64_t draw(Rng& rng) const {
    return static_cast<uint64_t>(std::lower_bound(sums_.begin(), sums_.end(), rng.unit() * sums_.back()) -
                                 sums_.begin());
  }
  // The share of requests that go to the `count` most popular keys: no cache of that size can hit more of them.
  double share_of_first(size_t count) const { return sums_[count - 1] / sums_.back(); }

 private:
  std::vector<double> sums_;
};

template <class Policy>
double hit_ratio(KeyCache<Policy>& cache, const std::vector<uint64_t>& keys) {
  size_t hits = 0;
  for (const uint64_t key : keys) hits += cache.request(key) ? 1 : 0;
  return static_cast<double>(hits) / static_cast<double>(keys.size());
}

}  // namespace trellis::cache
