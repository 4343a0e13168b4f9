// What share of lookups a cache would answer at other sizes: the miss-ratio curve of LRU, from a small sample of the
// keys. A key is in the sample by its hash, so all its lookups are or none; of each of them the distance is the bytes
// of the other sampled keys since its last lookup, scaled up by the sampled share, and a cache that holds more than
// that has it. The sample is of a fixed size: when there are too many keys, the share shrinks and the keys beyond it
// leave. SHARDS: Waldspurger, Park, Garthwaite, Ahmad: "Efficient MRC Construction with SHARDS", FAST 2015, its
// fixed-size form, with its correction by how many lookups the sample should have had (SHARDS-adj).
//
// WHY LRU where the cache has a better policy: it is the only one whose distance tells all sizes at once; what twice
// the memory would give is nearly the same for both.
//
// Any thread; a key that is not in the sample costs a count of the thread's own and one comparison.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cache/shard_lock.h"

namespace trellis::cache {

class MissRatioCurve {
 public:
  // `unit`: bytes that distances are told apart by; sizes are asked for up to `most` bytes. `keys`: of the sample;
  // `one_in`: so many it takes at first, however few there are.
  MissRatioCurve(uint64_t unit, uint64_t most, size_t keys = 8192, uint64_t one_in = 16);

  // A lookup of a key that takes so many bytes; 0 where that is not known yet, and size_of() tells it.
  void look(uint64_t hash, uint64_t bytes) noexcept {
    count_lookup();
    if (is_sampled(hash)) [[unlikely]]
      sample(hash, bytes);
  }
  void size_of(uint64_t hash, uint64_t bytes) noexcept {
    if (is_sampled(hash)) [[unlikely]]
      resize(hash, bytes);
  }

  // Of the lookups of late: what LRU in a cache of so many bytes would have had. 0 before there are any.
  double hit_ratio_at(uint64_t bytes) const noexcept;
  size_t keys() const noexcept;

 private:
  static constexpr uint64_t kModulus = uint64_t{1} << 24;
  static constexpr size_t kLanes = 64;

  struct alignas(64) Lane {
    std::atomic<uint64_t> lookups{0};  // of the threads that have it; a lost one does not matter
  };
  struct Key {
    uint64_t turn = 0;  // of its last lookup
    uint64_t bytes = 0;
  };
  static size_t lane() noexcept;
  void count_lookup() noexcept {
    std::atomic<uint64_t>& lookups = lanes_[lane()].lookups;
    lookups.store(lookups.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  bool is_sampled(uint64_t hash) const noexcept { return (hash % kModulus) < share_.load(std::memory_order_relaxed); }
  void sample(uint64_t hash, uint64_t bytes) noexcept;
  void resize(uint64_t hash, uint64_t bytes) noexcept;
  void add(uint64_t turn, int64_t bytes) noexcept;
  uint64_t bytes_up_to(uint64_t turn) const noexcept;
  uint64_t next_turn();
  void drop_largest_hash();
  uint64_t lookups() const noexcept;

  const uint64_t unit_;
  const size_t most_keys_;
  std::atomic<uint64_t> share_;  // of kModulus; keys whose hash is below are sampled
  const std::unique_ptr<Lane[]> lanes_;
  // WHY a lock: all cores look keys up. Few lookups come here once there are many keys.
  mutable ShardLock lock_;
  std::atomic_flag sampling_;
  std::unordered_map<uint64_t, Key> keys_;
  std::set<std::pair<uint64_t, uint64_t>> by_hash_;  // hash % kModulus and the hash
  std::vector<int64_t> tree_;                        // Fenwick: bytes by the turn of the last lookup
  uint64_t turn_ = 0;
  uint64_t held_ = 0;            // bytes of all keys of the sample
  std::vector<double> buckets_;  // lookups by distance in units; the last: farther, or the first of their key
  double counted_ = 0;           // their sum
  double due_ = 0;               // what it should be: all lookups up to `seen_`, the older ones counting less
  uint64_t seen_ = 0;
  uint64_t sampled_ = 0;  // since the last halving
};

}  // namespace trellis::cache
