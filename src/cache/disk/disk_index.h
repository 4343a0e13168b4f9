// Where the objects of the disk tier are: hash to place, 16 bytes each in open tables that are always more than
// half full, so at most 30 bytes an object. No keys: what is found is compared with the record's own key. In shards, as
// many cores ask at once. Any thread.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cache/shard_lock.h"

namespace trellis::cache {

inline constexpr uint32_t kMostSlots = uint32_t{1} << 19;        // segments that an index tells apart
inline constexpr uint32_t kMostUnitsInSlot = uint32_t{1} << 21;  // a segment of 1 GiB

// A record of a segment.
struct DiskPlace {
  uint32_t slot = 0;   // of its segment, below kMostSlots
  uint32_t unit = 0;   // where it begins, below kMostUnitsInSlot
  uint32_t units = 0;  // 1 to kMaxUnits

  friend bool operator==(const DiskPlace&, const DiskPlace&) = default;
};

class DiskIndex {
 public:
  static constexpr unsigned kMostAsked = 3;

  DiskIndex();
  DiskIndex(const DiskIndex&) = delete;
  DiskIndex& operator=(const DiskIndex&) = delete;

  std::optional<DiskPlace> find(uint64_t hash) const noexcept;
  // The same for a request: remembered, up to kMostAsked times.
  std::optional<DiskPlace> ask(uint64_t hash) noexcept;
  // How often the object at this place was asked for; nullopt: it is not there any more.
  std::optional<unsigned> asked(uint64_t hash, const DiskPlace& place) const noexcept;

  void put(uint64_t hash, const DiskPlace& place, unsigned asked = 0);
  bool remove(uint64_t hash);
  bool remove_if(uint64_t hash, const DiskPlace& place);  // only if it stands there

  struct Object {
    uint64_t hash;
    DiskPlace place;
  };
  // All of a segment. Goes through the whole index.
  std::vector<Object> objects_in(uint32_t slot) const;
  // All of one of its parts; an object stays in its part.
  static constexpr size_t kParts = 256;
  std::vector<Object> objects_of_part(size_t part) const;

  uint64_t objects() const noexcept { return objects_.load(std::memory_order_relaxed); }
  uint64_t bytes() const noexcept { return bytes_.load(std::memory_order_relaxed) + kShards * sizeof(Shard); }

 private:
  static constexpr size_t kShards = kParts;

  // The place, and how often it was asked for, in one word; 0: an empty cell.
  struct Cell {
    uint64_t hash = 0;
    uint64_t place = 0;
  };
  struct alignas(64) Shard {
    mutable ShardLock lock;
    std::vector<Cell> cells;
    size_t used = 0;
  };

  // The low bits choose the shard, the high ones the cell.
  Shard& shard_of(uint64_t hash) noexcept { return shards_[hash % kShards]; }
  const Shard& shard_of(uint64_t hash) const noexcept { return shards_[hash % kShards]; }
  static size_t home(const Shard& shard, uint64_t hash) noexcept {
    return static_cast<size_t>(((hash >> 32) * shard.cells.size()) >> 32);
  }
  static size_t cell_of(const Shard& shard, uint64_t hash) noexcept;  // its cell, or the empty one where it ends
  void resize(Shard& shard, size_t cells);
  void erase(Shard& shard, size_t cell);

  const std::unique_ptr<Shard[]> shards_;
  std::atomic<uint64_t> objects_{0};
  std::atomic<uint64_t> bytes_{0};
};

}  // namespace trellis::cache
