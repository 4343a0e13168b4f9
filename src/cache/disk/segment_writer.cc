#include "cache/disk/segment_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/crc32c.h"
#include "cache/disk/disk_store.h"

namespace trellis::cache {
namespace {

constexpr size_t kBuffer = size_t{1} << 20;

// Of each piece of a body that comes in runs of any length.
void checksum_pieces(std::span<const std::string_view> body, uint32_t salt, std::vector<uint32_t>& sums) {
  sums.clear();
  const uint32_t first = piece_checksum("", salt);
  uint32_t sum = first;
  size_t in_piece = 0;
  for (std::string_view run : body) {
    while (!run.empty()) {
      const std::string_view part = run.substr(0, kDiskPiece - in_piece);
      sum = crc32c(part, sum);
      in_piece += part.size();
      run.remove_prefix(part.size());
      if (in_piece < kDiskPiece) continue;
      sums.push_back(sum);
      sum = first;
      in_piece = 0;
    }
  }
  if (in_piece > 0) sums.push_back(sum);
}

}  // namespace

RecordHead ObjectToWrite::head() const noexcept {
  RecordHead head;
  head.hash = hash;
  head.key_size = static_cast<uint32_t>(key.size());
  head.meta_size = static_cast<uint32_t>(meta.size());
  for (const std::string_view run : body) head.body_size += run.size();
  return head;
}

RecordHead removals_head(size_t count) noexcept {
  RecordHead head;
  head.kind = RecordKind::removals;
  head.body_size = count * sizeof(uint64_t);
  return head;
}

SegmentWriter::SegmentWriter(std::shared_ptr<Segment> segment, uint64_t bytes)
    : segment_(std::move(segment)),
      bytes_(bytes),
      buffer_(static_cast<char*>(std::aligned_alloc(kDirectBlock, kBuffer))) {
  TRELLIS_ASSERT(buffer_ != nullptr);
}

Result<std::unique_ptr<SegmentWriter>> SegmentWriter::create(Disk& disk, const std::string& folder,
                                                             const SegmentLabel& label, uint32_t slot, uint64_t bytes) {
  auto segment = std::make_shared<Segment>();
  segment->label = label;
  segment->slot = slot;
  segment->path = folder + "/" + segment_file_name(label.number);
  const auto make = [&]() -> Result<std::unique_ptr<SegmentWriter>> {
    TRY(segment->file, disk.open(segment->path, Disk::Open::create_direct));
    TRY_VOID(segment->file->reserve(bytes));
    TRY(segment->exact, disk.open(segment->path, Disk::Open::existing_exact));
    TRY_VOID(disk.sync_folder(folder));
    std::unique_ptr<SegmentWriter> writer(new SegmentWriter(segment, bytes));
    TRY_VOID(writer->put(encode_label(label)));
    TRY_VOID(writer->flush());
    return writer;
  };
  auto made = make();
  if (!made) (void)disk.remove(segment->path);
  return made;
}

bool SegmentWriter::fits(const RecordHead& head, size_t entries) const noexcept {
  return whole_blocks(position() + head.units() * kDiskUnit) + table_size(table_.size() + entries) <= bytes_;
}

Result<DiskPlace> SegmentWriter::append(const ObjectToWrite& object) {
  RecordHead head = object.head();
  head.unit = static_cast<uint32_t>(position() / kDiskUnit);
  TRY_VOID(append_record(head, object.key, object.meta, object.body));
  const auto units = static_cast<uint32_t>(head.units());
  table_.push_back({object.hash, head.unit, units});
  return DiskPlace{segment_->slot, head.unit, units};
}

Result<void> SegmentWriter::append_removals(std::span<const uint64_t> hashes) {
  RecordHead head = removals_head(hashes.size());
  head.unit = static_cast<uint32_t>(position() / kDiskUnit);
  const std::string_view body(reinterpret_cast<const char*>(hashes.data()), hashes.size_bytes());
  TRY_VOID(append_record(head, "", "", std::span(&body, 1)));
  for (const uint64_t hash : hashes) table_.push_back({hash, head.unit, 0});
  return {};
}

Result<void> SegmentWriter::append_record(RecordHead head, std::string_view key, std::string_view meta,
                                          std::span<const std::string_view> body) {
  const uint64_t start = position();
  checksum_pieces(body, segment_->label.salt, sums_);
  head_.clear();
  append_head(head_, head, sums_, key, meta, segment_->label.salt);
  TRY_VOID(put(head_));
  for (const std::string_view run : body) {
    TRY_VOID(put(run));
  }
  return put_zeros_to(start + head.units() * kDiskUnit);
}

Result<void> SegmentWriter::put(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t part = std::min(bytes.size(), kBuffer - used_);
    std::memcpy(buffer_.get() + used_, bytes.data(), part);
    bytes.remove_prefix(part);
    used_ += part;
    dirty_ = true;
    if (used_ < kBuffer) continue;
    TRY_VOID(segment_->file->write(start_, std::string_view(buffer_.get(), kBuffer)));
    start_ += kBuffer;
    used_ = 0;
    dirty_ = false;
  }
  return {};
}

Result<void> SegmentWriter::put_zeros_to(uint64_t position) {
  static constexpr char kZeros[kDirectBlock] = {};
  return put(std::string_view(kZeros, position - this->position()));
}

Result<void> SegmentWriter::flush() {
  if (!dirty_) return {};
  const size_t blocks = whole_blocks(used_);
  std::memset(buffer_.get() + used_, 0, blocks - used_);
  TRY_VOID(segment_->file->write(start_, std::string_view(buffer_.get(), blocks)));
  const size_t done = used_ / kDirectBlock * kDirectBlock;
  std::memmove(buffer_.get(), buffer_.get() + done, used_ - done);
  start_ += done;
  used_ -= done;
  dirty_ = false;
  segment_->for_good.store(start_ / kWrittenForGood * kWrittenForGood, std::memory_order_release);
  return {};
}

Result<void> SegmentWriter::sync() { return segment_->file->sync(); }

Result<uint64_t> SegmentWriter::seal() {
  TRY_VOID(flush());
  TRY_VOID(sync());  // a table names nothing that is not on disk
  TRY_VOID(put_zeros_to(whole_blocks(position())));
  std::string table;
  append_table(table, table_, segment_->label);
  TRY_VOID(put(table));
  TRY_VOID(flush());
  TRY_VOID(sync());
  const uint64_t end = position();
  TRY_VOID(segment_->file->truncate(end));
  return end;
}

Result<uint64_t> seal_found(DiskFile& file, const SegmentContents& contents) {
  const uint64_t start = whole_blocks(contents.end);
  std::string table;
  append_table(table, contents.entries, contents.label);
  TRY_VOID(file.sync());
  TRY_VOID(file.write(start, table));
  TRY_VOID(file.sync());
  TRY_VOID(file.truncate(start + table.size()));
  return start + table.size();
}

}  // namespace trellis::cache
