// A partition of a topic: its segments in one folder, in the order of offsets. One thread appends (the log's writer),
// one keeps house (retention, compaction), any number reads; readers see only what was synced. Owned by the EventLog.
//
// An append is prepare(), stage() for each event, commit(): one write and one sync. When that fails, the file is cut
// back to what was synced and the offsets are given again; nothing of it was served or acknowledged. When even that
// fails, or a sync did, the file is not trusted: it is opened anew, the last part is read back and checked, and until
// that succeeds prepare() refuses. Nothing of it needs a restart.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "queue/segment.h"
#include "runtime/disk.h"

namespace trellis::queue {

struct StoredEvent {
  uint64_t offset = 0;
  int64_t at_ms = 0;
  std::string key;
  std::optional<std::string> value;  // none: a tombstone
};

// Some events of a partition in order. Offsets may have gaps, where compaction or retention took events away.
struct EventSlice {
  std::vector<StoredEvent> events;
  uint64_t next = 0;  // where to read on
};

struct PartitionOptions {
  uint64_t segment_bytes = uint64_t{64} << 20;
  uint64_t retain_bytes = 0;  // 0: without limit
  Duration retain_for{0};     // 0: for ever
  bool compact = false;
  Duration keep_tombstones = std::chrono::hours(24);
  size_t max_compaction_keys = size_t{1} << 20;  // held in memory at once, 32 bytes each
};

class Partition {
 public:
  // Makes the folder when it is missing, cuts a torn tail. The disk outlives the partition.
  static Result<std::unique_ptr<Partition>> open(Disk& disk, std::string folder, const PartitionOptions& options);
  Partition(const Partition&) = delete;
  Partition& operator=(const Partition&) = delete;

  // --- The writer's thread ---
  Result<void> prepare();
  // After a prepare() that succeeded. The offset it will have; times never go back within a partition.
  uint64_t stage(std::string_view key, std::optional<std::string_view> value, int64_t at_ms);
  Result<void> commit();
  uint64_t next_offset() const noexcept { return next_offset_; }  // of the next event that is staged

  // --- Any thread; these block ---
  // Events from `from` on, or from the first one kept; at least one if there is any, then up to `max` and about
  // `max_bytes`. data_loss when what stands at `from` is damaged: next_whole() leads past it.
  Result<EventSlice> read(uint64_t from, size_t max, size_t max_bytes) const;
  // The first offset at or after `from` that can be read, head() if there is none.
  Result<uint64_t> next_whole(uint64_t from) const;
  // The offset of the first event at or after the time, head() if there is none.
  Result<uint64_t> offset_at(int64_t at_ms) const;

  uint64_t head() const noexcept { return head_.load(std::memory_order_acquire); }  // the next offset to be given
  uint64_t first() const;                                                           // below it nothing is kept
  uint64_t bytes() const;
  uint64_t damaged() const noexcept { return damaged_.load(std::memory_order_relaxed); }  // places found bad

  // --- The keeper's thread ---
  // Removes closed segments that are beyond retain_bytes or retain_for. How many.
  Result<size_t> retain(int64_t now_ms);
  // Of each key keeps the last event in closed segments; a tombstone goes when it is old. Bytes won.
  Result<uint64_t> compact(int64_t now_ms);

 private:
  // Shared with readers under way, which may outlast its place in the partition.
  struct Segment {
    uint64_t base = 0;
    std::string path;
    std::mutex mutex;                // over what follows
    std::shared_ptr<DiskFile> file;  // opened at first use
    std::optional<SegmentScan> scan;
    uint64_t size = 0;  // of the file, as far as it was synced
  };
  using SegmentRef = std::shared_ptr<Segment>;
  struct View {  // of a segment, for one read
    std::shared_ptr<DiskFile> file;
    uint32_t salt = 0;
    uint64_t from = 0;
    uint64_t end = 0;
  };
  struct Times {  // of a segment's first and last event that can be read
    int64_t first = 0;
    int64_t last = 0;
  };
  class LastOffsets;

  Partition(Disk& disk, std::string folder, const PartitionOptions& options);
  Result<void> load();
  Result<void> begin_segment();
  Result<void> cut_back();
  Result<void> recover();
  std::vector<SegmentRef> segments_from(uint64_t offset) const;
  std::optional<uint64_t> base_after(const Segment& segment) const;
  // Reads the whole segment once if nobody has yet; the lock of the segment is held.
  Result<void> know(Segment& segment) const;
  Result<View> view(Segment& segment, uint64_t from) const;
  Result<View> view_at(Segment& segment, int64_t at_ms) const;
  Result<std::optional<Times>> times_of(Segment& segment) const;  // none: nothing of it can be read
  Error damage_error(const Segment& segment, uint64_t position, uint64_t offset) const;
  Result<void> note_last_offsets(Segment& segment, LastOffsets& last) const;
  Result<uint64_t> rewrite(const SegmentRef& segment, const LastOffsets& last, bool drop_tombstones, int64_t now_ms);

  Disk& disk_;
  const std::string folder_;
  const PartitionOptions options_;

  // WHY a lock: the writer, the keeper and readers in the blocking pool meet at the list; none holds it over I/O.
  mutable std::mutex mutex_;
  std::vector<SegmentRef> segments_;  // the last is the active one
  std::atomic<uint64_t> head_{0};
  mutable std::atomic<uint64_t> damaged_{0};

  // The writer's own.
  SegmentRef active_;
  std::string staged_;
  struct Placed {
    Record record;  // without its bytes, but with its size
    uint64_t position;
    size_t size;
  };
  std::vector<Placed> placed_;
  uint64_t next_offset_ = 0;
  int64_t last_at_ms_ = 0;
  bool distrusted_ = false;
  // The keeper's own.
  uint64_t compacted_to_ = 0;
};

}  // namespace trellis::queue
