// The segments of a store, oldest first, and the slots by which the index names them. Changed by the writing thread;
// any thread may look.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <vector>

#include "cache/disk/disk_index.h"
#include "cache/disk/disk_segment.h"

namespace trellis::cache {

class SegmentList {
 public:
  struct Kept {
    SegmentRef segment;
    uint64_t bytes = 0;   // of the file
    bool sealed = false;  // its table names all its objects
  };

  // kMostSlots when all are in use.
  uint32_t free_slot() const;
  // Behind the others.
  void add(Kept kept);
  // It is sealed, and from now on read by `file`, if there is one. Who holds it goes on as before.
  void seal(uint32_t slot, uint64_t bytes, std::unique_ptr<DiskFile> file);
  Kept oldest() const;  // there is one
  void remove(uint32_t slot);

  SegmentRef at(uint32_t slot) const;  // null: it has left
  std::vector<Kept> all() const;
  size_t size() const;
  uint64_t bytes() const noexcept { return bytes_.load(std::memory_order_relaxed); }

 private:
  // WHY a lock: cores look up a slot for each read from disk, while the writer changes the list.
  mutable std::mutex mutex_;
  std::deque<Kept> order_;
  std::vector<SegmentRef> slots_;
  std::atomic<uint64_t> bytes_{0};
};

// The objects that were written to a segment, some of which may have left since: from its table, which is read from
// disk, or else from the index.
std::vector<DiskIndex::Object> objects_of(const SegmentList::Kept& kept, const DiskIndex& index);

}  // namespace trellis::cache
