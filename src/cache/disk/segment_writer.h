// One segment while it is written: records go through a buffer to the end of the file, in whole blocks and past the
// page cache; the last block of a flush is written again, longer, by the next, so that a small record does not cost a
// block. After an error a writer is of no more use. Of the store's writing thread; calls block.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "cache/disk/disk_format.h"
#include "cache/disk/disk_index.h"
#include "cache/disk/disk_segment.h"
#include "runtime/disk.h"

namespace trellis::cache {

// Borrows what it names.
struct ObjectToWrite {
  uint64_t hash = 0;
  std::string_view key;
  std::string_view meta;
  std::span<const std::string_view> body;

  RecordHead head() const noexcept;  // without its place
};
RecordHead removals_head(size_t count) noexcept;

class SegmentWriter {
 public:
  // Makes the file, with room for `bytes`; resource_exhausted when the file system has less.
  static Result<std::unique_ptr<SegmentWriter>> create(Disk& disk, const std::string& folder, const SegmentLabel& label,
                                                       uint32_t slot, uint64_t bytes);

  SegmentRef segment() const noexcept { return segment_; }
  // Whether a record with so many entries in the table may still be appended.
  bool fits(const RecordHead& head, size_t entries) const noexcept;
  // What is appended can be read after the next flush(). The place it has then.
  Result<DiskPlace> append(const ObjectToWrite& object);
  Result<void> append_removals(std::span<const uint64_t> hashes);
  Result<void> flush();
  Result<void> sync();
  // Writes the table and cuts the file behind it; its size then.
  Result<uint64_t> seal();

 private:
  struct Free {
    void operator()(char* bytes) const noexcept { std::free(bytes); }
  };
  SegmentWriter(std::shared_ptr<Segment> segment, uint64_t bytes);
  Result<void> append_record(RecordHead head, std::string_view key, std::string_view meta,
                             std::span<const std::string_view> body);
  Result<void> put(std::string_view bytes);
  Result<void> put_zeros_to(uint64_t position);
  uint64_t position() const noexcept { return start_ + used_; }

  const std::shared_ptr<Segment> segment_;
  const uint64_t bytes_;
  const std::unique_ptr<char, Free> buffer_;
  uint64_t start_ = 0;  // where the buffer's first byte goes; whole blocks
  size_t used_ = 0;
  bool dirty_ = false;  // the buffer has more than was written
  std::vector<TableEntry> table_;
  std::string head_;            // of a record, reused
  std::vector<uint32_t> sums_;  // likewise
};

// The table of a segment that was left without one, behind its last record; its size then.
Result<uint64_t> seal_found(DiskFile& file, const SegmentContents& contents);

}  // namespace trellis::cache
