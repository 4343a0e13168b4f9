// Segments as files: what is in one, and the records in it. Reading only; they are written by segment_writer.h. Calls
// block; any thread may read. Nothing comes out of here whose checksum is wrong.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "cache/disk/disk_format.h"
#include "runtime/disk.h"

namespace trellis::cache {

// One that is open. Its file stays readable after its name is gone, for as long as somebody holds this.
struct Segment {
  SegmentLabel label;
  uint32_t slot = 0;  // in the index
  std::string path;
  std::unique_ptr<DiskFile> file;
  // While it is written, `file` reads past the page cache; what lies before `for_good` is read by this one.
  std::unique_ptr<DiskFile> exact;
  std::atomic<uint64_t> for_good{0};

  DiskFile& file_for(uint64_t end) const noexcept {
    return end <= for_good.load(std::memory_order_acquire) ? *exact : *file;
  }
};
using SegmentRef = std::shared_ptr<const Segment>;

// What a file of a segment holds.
struct SegmentContents {
  SegmentLabel label;
  std::vector<TableEntry> entries;  // in the order they were written
  uint64_t end = 0;                 // behind the last record
  uint64_t bad = 0;                 // places before the end that are no whole records
  bool sealed = false;
  bool begun = false;  // nothing was written to it yet, not even its label
};
// From its table, or, where there is none, from all of its records. invalid_argument, failed_precondition: it is no
// segment, or another version's; other errors are the file's.
Result<SegmentContents> read_segment(DiskFile& file);

// The beginning of a record, or all of it when it is small: up to the first piece of its body.
struct RecordStart {
  RecordHead head;
  std::vector<uint32_t> sums;
  std::string key;
  std::string meta;
  std::string bytes;        // as read: the head and what follows it
  uint64_t first_size = 0;  // of the first piece, verified, in `bytes` behind the head; 0: it was not read as well
};
// The key and meta alone, for going through many.
struct RecordText {
  std::string key;
  std::string meta;
};

// Reads records of objects; borrows the segment. `in_memory`: only what the page cache has, so that a loop may do it;
// when that is not all, a call fails and missed() tells why.
class RecordReader {
 public:
  explicit RecordReader(const Segment& segment, bool in_memory = false) noexcept
      : segment_(segment), in_memory_(in_memory) {}

  // `units`: its size. nullopt: what stands there is no whole record, or its first piece is damaged.
  Result<std::optional<RecordStart>> start(uint32_t unit, uint32_t units);
  Result<std::optional<RecordText>> text(uint32_t unit, uint32_t units);
  // A piece of the record's body. nullopt: damaged.
  Result<std::optional<std::string>> piece(const RecordHead& head, uint32_t sum, uint64_t piece);
  bool missed() const noexcept { return missed_; }

 private:
  Result<std::string> read(uint64_t position, uint64_t size);

  const Segment& segment_;
  const bool in_memory_;
  bool missed_ = false;
};

}  // namespace trellis::cache
