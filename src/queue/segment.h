// A segment: one append-only file of the event log, named after the offset of its first record. This is the format and
// its reader; who appends, rolls and removes segments is event_log_partition.h. Bytes are little-endian.
//
//   header  magic 8 | version u32 | salt u32 | base offset u64 | crc32c of these u32 | zero u32
//   record  length of key and value u32 | crc32c u32 | offset u64 | time ms i64 | batch u32 | key length and flags u32
//           | key | value
//
// A record's checksum covers all of it and the segment's salt, a random number: bytes that some client put into a value
// and blocks of a file long removed never pass for a record. `batch` is the position where the records begin that were
// written and synced together with this one; everything before it was on disk when they were written. So a bad record
// at the end of the last segment is told apart: torn, and never acknowledged, when no whole record from a later batch
// follows; damaged when one does. A torn tail is cut, damage is reported and never served.
//
// The reader trusts nothing in the file. Pure but for reading the file; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "runtime/disk.h"

namespace trellis::queue {

inline constexpr size_t kSegmentHeader = 32;
inline constexpr size_t kRecordHeader = 32;
inline constexpr size_t kMaxKey = size_t{64} << 10;
inline constexpr size_t kMaxValue = size_t{16} << 20;
inline constexpr uint64_t kMaxSegment = uint64_t{1} << 30;   // where a segment is ended; one batch may go beyond
inline constexpr uint64_t kIndexEvery = uint64_t{64} << 10;  // bytes between two entries of the sparse index

// "00000000000000000042.log"; nullopt for any other name.
std::string segment_name(uint64_t base);
std::optional<uint64_t> base_of_segment(std::string_view name);

struct SegmentHeader {
  uint64_t base = 0;
  uint32_t salt = 0;
};
std::string encode_header(const SegmentHeader& header);
// data_loss when it is not whole, failed_precondition when a later version wrote it.
Result<SegmentHeader> decode_header(std::string_view bytes);

// Borrows its bytes.
struct Record {
  uint64_t offset = 0;
  int64_t at_ms = 0;
  uint32_t batch = 0;
  std::string_view key;
  std::optional<std::string_view> value;  // none: a tombstone, which says that the key is gone

  size_t size() const noexcept { return kRecordHeader + key.size() + (value ? value->size() : 0); }
};
// The key and the value must be within the limits.
void append_record(std::string& out, const Record& record, uint32_t salt);

// Goes from record to record through [from, end) of a segment.
class RecordCursor {
 public:
  enum class Step : uint8_t { record, end, bad };

  // The file outlives the cursor. `next_offset`: no record below it is believed.
  RecordCursor(DiskFile& file, uint32_t salt, uint64_t from, uint64_t end, uint64_t next_offset) noexcept;

  // bad: the bytes at position() are no whole record with a higher offset; the cursor stays there. An error is one of
  // the file's.
  Result<Step> next();
  // From a bad place on to the next whole record: record as from next(), or end. Looks at every position.
  Result<Step> resync();

  const Record& record() const noexcept { return record_; }  // until the next call
  uint64_t record_position() const noexcept { return record_position_; }
  uint64_t position() const noexcept { return position_; }  // behind the record, or of what is bad
  uint64_t next_offset() const noexcept { return next_offset_; }

 private:
  Result<std::string_view> bytes_at(uint64_t position, size_t size);
  // Looks at the fields before it reads on, as resync() asks at every position.
  Result<bool> try_record(uint64_t position);

  DiskFile& file_;
  const uint32_t salt_;
  const uint64_t end_;
  uint64_t position_;
  uint64_t next_offset_;
  Record record_;
  uint64_t record_position_ = 0;
  std::vector<char> window_;
  uint64_t window_start_ = 0;
  size_t window_size_ = 0;
};

struct IndexEntry {
  uint64_t offset;
  int64_t at_ms;
  uint64_t position;
};

struct Damage {
  uint64_t position;      // where the bad bytes begin
  uint64_t end;           // and end
  uint64_t first_offset;  // the records lost lie in [first_offset, next_offset)
  uint64_t next_offset;
};

// What there is to know about a segment, from reading all of it.
struct SegmentScan {
  SegmentHeader header;
  std::vector<IndexEntry> index;  // never empty when there are records: the first is in it
  std::vector<Damage> damage;
  uint64_t records = 0;
  uint64_t next_offset = 0;  // behind the last record
  uint64_t end = 0;          // position behind the last whole record; 0: not even a header
  int64_t last_at_ms = 0;
  bool torn = false;  // something follows `end` that was never acknowledged; only of the last segment

  void add(const Record& record, uint64_t position);
  // Where to begin to look for the offset, or for the first record at or after a time.
  uint64_t position_of_offset(uint64_t offset) const noexcept;
  uint64_t position_of_time(int64_t at_ms) const noexcept;
};
// `next_base`: where the following segment begins; none: this is the last one, which may have a torn tail. A segment
// with a bad header is all damage, as its salt is lost.
Result<SegmentScan> scan_segment(DiskFile& file, uint64_t base, std::optional<uint64_t> next_base);

}  // namespace trellis::queue
