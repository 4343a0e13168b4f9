// Retention and compaction of a partition: what the log's keeper thread does to closed segments.
#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "base/hash.h"
#include "base/log.h"
#include "base/rng.h"
#include "queue/event_log_partition.h"

namespace trellis::queue {
namespace {

constexpr size_t kRewritePiece = size_t{1} << 20;

struct KeyHash {
  uint64_t high;
  uint64_t low;
  bool operator==(const KeyHash&) const = default;
};
struct HashOfKey {
  size_t operator()(const KeyHash& key) const noexcept { return key.low; }
};
// Two independent hashes: 128 bits stand for the key, so that memory does not depend on its length.
KeyHash hash_of(std::string_view key) noexcept { return {hash64(key, 0x9e3779b97f4a7c15), hash64(key)}; }

}  // namespace

// Where the last event of each key stands.
class Partition::LastOffsets {
 public:
  explicit LastOffsets(size_t max_keys) : max_keys_(max_keys) {}
  bool full() const noexcept { return offsets_.size() >= max_keys_; }
  void note(std::string_view key, uint64_t offset) {
    const KeyHash hash = hash_of(key);
    const auto known = offsets_.find(hash);
    if (known != offsets_.end()) {
      known->second = std::max(known->second, offset);
    } else if (!full()) {
      offsets_.emplace(hash, offset);
    }
  }
  // Whether a later event of the key is known.
  bool superseded(std::string_view key, uint64_t offset) const {
    const auto known = offsets_.find(hash_of(key));
    return known != offsets_.end() && known->second > offset;
  }

 private:
  const size_t max_keys_;
  std::unordered_map<KeyHash, uint64_t, HashOfKey> offsets_;
};

Result<size_t> Partition::retain(int64_t now_ms) {
  const int64_t age_ms = std::chrono::duration_cast<std::chrono::milliseconds>(options_.retain_for).count();
  size_t removed = 0;
  // When the oldest ended: where none of its events can be read, not after the first behind it that can.
  const auto ended_at = [this]() -> Result<std::optional<int64_t>> {
    bool oldest = true;
    for (const SegmentRef& segment : segments_from(0)) {
      TRY(const std::optional<Times> times, times_of(*segment));
      if (times) return std::optional<int64_t>(oldest ? times->last : times->first);
      oldest = false;
    }
    return std::optional<int64_t>();
  };
  while (true) {
    SegmentRef oldest;
    {
      const std::lock_guard lock(mutex_);
      if (segments_.size() < 2) break;
      oldest = segments_.front();
    }
    bool due = options_.retain_bytes > 0 && bytes() > options_.retain_bytes;
    if (!due && age_ms > 0) {
      TRY(const std::optional<int64_t> ended, ended_at());
      due = ended && *ended < now_ms - age_ms;
    }
    if (!due) break;
    TRY_VOID(disk_.remove(oldest->path));
    {
      const std::lock_guard lock(mutex_);
      segments_.erase(segments_.begin());
    }
    ++removed;
  }
  if (removed > 0) {
    TRY_VOID(disk_.sync_folder(folder_));
  }
  return removed;
}

Result<uint64_t> Partition::compact(int64_t now_ms) {
  std::vector<SegmentRef> closed = segments_from(0);
  const uint64_t active_base = closed.back()->base;
  closed.pop_back();
  if (closed.empty() || compacted_to_ == active_base) return 0;

  LastOffsets last(options_.max_compaction_keys);
  bool all_whole = true;
  for (const SegmentRef& segment : closed) {
    bool whole = false;
    {
      const std::lock_guard lock(segment->mutex);
      TRY_VOID(know(*segment));
      whole = segment->scan->damage.empty();
    }
    if (!whole) {
      all_whole = false;
      continue;
    }
    TRY_VOID(note_last_offsets(*segment, last));
  }
  uint64_t won = 0;
  // From the oldest on, so that a tombstone never goes before what it hides.
  for (const SegmentRef& segment : closed) {
    bool whole = false;
    {
      const std::lock_guard lock(segment->mutex);
      whole = segment->scan->damage.empty();
    }
    if (!whole) continue;  // kept as it is, for whoever mends it
    TRY(const uint64_t bytes, rewrite(segment, last, all_whole, now_ms));
    won += bytes;
  }
  // Keys that found no room are noted in the next pass, when others have gone.
  if (!last.full()) compacted_to_ = active_base;
  return won;
}

Result<void> Partition::note_last_offsets(Segment& segment, LastOffsets& last) const {
  TRY(const View view, this->view(segment, segment.base));
  RecordCursor cursor(*view.file, view.salt, kSegmentHeader, view.end, segment.base);
  while (true) {
    TRY(const RecordCursor::Step step, cursor.next());
    if (step == RecordCursor::Step::end) return {};
    const Record& record = cursor.record();
    if (step == RecordCursor::Step::bad) return fail(damage_error(segment, cursor.position(), cursor.next_offset()));
    if (!record.key.empty()) last.note(record.key, record.offset);
  }
}

// Writes what is kept beside the segment and puts it in its place in one step. Bytes won.
Result<uint64_t> Partition::rewrite(const SegmentRef& segment, const LastOffsets& last, bool drop_tombstones,
                                    int64_t now_ms) {
  const int64_t keep_ms = std::chrono::duration_cast<std::chrono::milliseconds>(options_.keep_tombstones).count();
  TRY(const View view, this->view(*segment, segment->base));
  const auto dropped = [&](const Record& record) {
    if (record.key.empty()) return false;
    if (last.superseded(record.key, record.offset)) return true;
    return drop_tombstones && !record.value && record.at_ms < now_ms - keep_ms;
  };
  uint64_t kept_bytes = 0;
  uint64_t dropped_bytes = 0;
  const auto each = [&](auto&& use) -> Result<void> {
    RecordCursor cursor(*view.file, view.salt, kSegmentHeader, view.end, segment->base);
    while (true) {
      TRY(const RecordCursor::Step step, cursor.next());
      if (step == RecordCursor::Step::end) return {};
      if (step == RecordCursor::Step::bad) return fail(damage_error(*segment, cursor.position(), cursor.next_offset()));
      TRY_VOID(use(cursor.record()));
    }
  };
  TRY_VOID(each([&](const Record& record) -> Result<void> {
    (dropped(record) ? dropped_bytes : kept_bytes) += record.size();
    return {};
  }));
  if (dropped_bytes == 0) return 0;

  auto fresh = std::make_shared<Segment>();
  fresh->base = segment->base;
  fresh->path = segment->path;
  if (kept_bytes == 0) {
    TRY_VOID(disk_.remove(segment->path));
    TRY_VOID(disk_.sync_folder(folder_));
  } else {
    const std::string beside = segment->path + ".compact";
    SegmentScan scan;
    scan.header.base = segment->base;
    random_bytes(&scan.header.salt, sizeof(scan.header.salt));
    TRY(fresh->file, disk_.open(beside, Disk::Open::create_empty));
    const auto write = [&]() -> Result<void> {
      std::string piece = encode_header(scan.header);
      uint64_t position = 0;
      TRY_VOID(each([&](const Record& record) -> Result<void> {
        if (dropped(record)) return {};
        Record copy = record;
        copy.batch = kSegmentHeader;  // all of the file is synced at once, before it has its name
        scan.add(copy, position + piece.size());
        append_record(piece, copy, scan.header.salt);
        if (piece.size() < kRewritePiece) return {};
        TRY_VOID(fresh->file->write(position, piece));
        position += piece.size();
        piece.clear();
        return {};
      }));
      TRY_VOID(fresh->file->write(position, piece));
      TRY_VOID(fresh->file->sync());
      TRY_VOID(disk_.rename(beside, fresh->path));
      return disk_.sync_folder(folder_);
    };
    Result<void> written = write();
    if (!written) {
      (void)disk_.remove(beside);
      return fail(std::move(written).error());
    }
    fresh->size = scan.end;
    fresh->scan = std::move(scan);
  }
  const std::lock_guard lock(mutex_);
  const auto at = std::find(segments_.begin(), segments_.end(), segment);
  if (at != segments_.end()) {
    if (kept_bytes == 0) {
      segments_.erase(at);
    } else {
      *at = std::move(fresh);
    }
  }
  return dropped_bytes;
}

}  // namespace trellis::queue
