#include "cache/disk/disk_segment.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "cache/disk/disk_store.h"

namespace trellis::cache {
namespace {

constexpr size_t kTail = size_t{64} << 10;                  // a footer with most tables
constexpr size_t kWindow = size_t{1} << 20;                 // a segment is read through by
constexpr size_t kText = size_t{4} << 10;                   // most heads are no longer
constexpr size_t kStart = kDiskPiece + (size_t{16} << 10);  // a head and the first piece behind it

// A string of what read(span) fills of `size` bytes, which are not zeroed before.
template <class F>
Result<std::string> filled(size_t size, F read) {
  std::string bytes;
  std::optional<Error> error;
  // WHY not the size that it is called with: libstdc++ 12 gives the capacity there.
  bytes.resize_and_overwrite(size, [&](char* into, size_t) -> size_t {
    Result<size_t> got = read(std::span(into, size));
    if (got) return *got;
    error.emplace(std::move(got).error());
    return 0;
  });
  if (error) return fail(*std::move(error));
  return bytes;
}

// As many bytes as there are.
Result<std::string> read_some(DiskFile& file, uint64_t position, size_t size) {
  return filled(size, [&](std::span<char> into) { return file.read(position, into); });
}

// Reads forward through a file, a window at a time.
class Window {
 public:
  Window(DiskFile& file, uint64_t end) : file_(file), end_(end) {}

  // The bytes there, until the next call; fewer at the end.
  Result<std::string_view> at(uint64_t position, size_t size) {
    if (position >= end_) return std::string_view();
    size = static_cast<size_t>(std::min<uint64_t>(size, end_ - position));
    if (position < start_ || position + size > start_ + bytes_.size()) {
      const auto room = static_cast<size_t>(std::min<uint64_t>(std::max(size, kWindow), end_ - position));
      TRY(bytes_, read_some(file_, position, room));
      start_ = position;
    }
    return std::string_view(bytes_).substr(position - start_, size);
  }

 private:
  DiskFile& file_;
  const uint64_t end_;
  uint64_t start_ = 0;
  std::string bytes_;
};

bool body_is_whole(std::string_view body, std::span<const uint32_t> sums, uint32_t salt) noexcept {
  for (const uint32_t sum : sums) {
    if (piece_checksum(body.substr(0, kDiskPiece), salt) != sum) return false;
    body.remove_prefix(std::min(body.size(), kDiskPiece));
  }
  return true;
}

// The entries of the record that begins there, appended; how long it is, or 0.
Result<uint64_t> scan_record(Window& window, const SegmentLabel& label, uint32_t unit,
                             std::vector<TableEntry>& entries) {
  const uint64_t position = unit * kDiskUnit;
  TRY(std::string_view bytes, window.at(position, kRecordFixed));
  const auto sizes = decode_sizes(bytes, unit);
  if (!sizes) return uint64_t{0};
  TRY(bytes, window.at(position, sizes->size()));
  const auto whole = decode_head(bytes, unit, label.salt);
  if (!whole || bytes.size() < sizes->size()) return uint64_t{0};
  const std::string_view body = bytes.substr(sizes->size_to_body());
  if (!body_is_whole(body, whole->sums, label.salt)) return uint64_t{0};
  if (sizes->kind == RecordKind::object) {
    entries.push_back({sizes->hash, unit, static_cast<uint32_t>(sizes->units())});
  } else {
    for (size_t at = 0; at < body.size(); at += 8) {
      TableEntry entry{0, unit, 0};
      std::memcpy(&entry.hash, body.data() + at, sizeof(entry.hash));
      entries.push_back(entry);
    }
  }
  return sizes->units() * kDiskUnit;
}

// Through all of it: after a place that is not whole, the next unit where a record is. What is not whole at the very
// end was being written when the process ended, and is no damage.
Result<void> scan(DiskFile& file, uint64_t size, SegmentContents& contents) {
  Window window(file, size);
  contents.end = kSegmentStart;
  bool in_bad = false;
  for (uint64_t position = kSegmentStart; position + kRecordFixed <= size;) {
    const auto unit = static_cast<uint32_t>(position / kDiskUnit);
    TRY(const uint64_t length, scan_record(window, contents.label, unit, contents.entries));
    if (length > 0) {
      if (in_bad) ++contents.bad;
      in_bad = false;
      position += length;
      contents.end = position;
      continue;
    }
    in_bad = true;
    position += kDiskUnit;
  }
  return {};
}

}  // namespace

Result<SegmentContents> read_segment(DiskFile& file) {
  SegmentContents contents;
  TRY(const uint64_t size, file.size());
  if (size >= kSegmentStart + kDirectBlock) {
    const auto tail = static_cast<size_t>(std::min<uint64_t>(size - kSegmentStart, kTail));
    TRY(std::string bytes, read_some(file, size - tail, tail));
    if (bytes.size() < kDirectBlock) return fail(Code::invalid_argument, "shorter than it was");
    const auto footer = decode_footer(std::string_view(bytes).substr(bytes.size() - kDirectBlock));
    if (!footer && footer.error().code() == Code::failed_precondition) return fail(footer.error().clone());
    if (footer && whole_blocks(footer->entries * kTableEntry) <= size - kSegmentStart - kDirectBlock) {
      const uint64_t table = whole_blocks(footer->entries * kTableEntry);
      const uint64_t start = size - kDirectBlock - table;
      bytes.resize(bytes.size() - kDirectBlock);
      if (table > bytes.size()) {
        TRY(bytes, read_some(file, start, static_cast<size_t>(table)));
      }
      const std::string_view rows =
          std::string_view(bytes).substr(bytes.size() - std::min<size_t>(bytes.size(), table));
      if (auto entries = decode_table(rows, *footer, start)) {
        contents.label = footer->label;
        contents.entries = *std::move(entries);
        contents.end = start;
        contents.sealed = true;
        return contents;
      }
    }
    // A footer or a table that is damaged: the records are read instead.
    if (footer || footer.error().code() == Code::data_loss) ++contents.bad;
  }
  // The label is written alone, before any record.
  TRY(const std::string start, read_some(file, 0, kSegmentStart + kDirectBlock));
  if (start.find_first_not_of('\0') == std::string::npos) {
    contents.begun = true;
    return contents;
  }
  TRY(contents.label, decode_label(std::string_view(start).substr(0, kDirectBlock)));
  TRY_VOID(scan(file, size, contents));
  return contents;
}

Result<std::string> RecordReader::read(uint64_t position, uint64_t size) {
  DiskFile& file = segment_.file_for(position + size);
  if (!in_memory_) return read_some(file, position, static_cast<size_t>(size));
  return filled(static_cast<size_t>(size), [&](std::span<char> into) -> Result<size_t> {
    TRY(const std::optional<size_t> got, file.read_cached(position, into));
    if (got) return *got;
    missed_ = true;
    return fail(Code::unavailable, "not in memory");
  });
}

Result<std::optional<RecordStart>> RecordReader::start(uint32_t unit, uint32_t units) {
  const uint64_t position = unit * kDiskUnit;
  const uint64_t size = units * kDiskUnit;
  RecordStart start;
  TRY(start.bytes, read(position, std::min<uint64_t>(size, kStart)));
  const auto sizes = decode_sizes(start.bytes, unit);
  if (!sizes || sizes->kind != RecordKind::object || sizes->units() != units) return std::nullopt;
  if (sizes->size_to_body() > start.bytes.size()) {
    TRY(start.bytes, read(position, sizes->size_to_body()));
  }
  auto whole = decode_head(start.bytes, unit, segment_.label.salt);
  if (!whole) return std::nullopt;
  const std::string_view behind = std::string_view(start.bytes).substr(sizes->size_to_body());
  const auto first = static_cast<size_t>(std::min<uint64_t>(sizes->body_size, kDiskPiece));
  if (first > 0 && behind.size() >= first) {
    if (piece_checksum(behind.substr(0, first), segment_.label.salt) != whole->sums[0]) return std::nullopt;
    start.first_size = first;
  }
  start.head = whole->head;
  start.sums = std::move(whole->sums);
  start.key = whole->key;
  start.meta = whole->meta;
  return start;
}

Result<std::optional<RecordText>> RecordReader::text(uint32_t unit, uint32_t units) {
  const uint64_t position = unit * kDiskUnit;
  const uint64_t size = units * kDiskUnit;
  TRY(std::string bytes, read(position, std::min<uint64_t>(size, kText)));
  const auto sizes = decode_sizes(bytes, unit);
  if (!sizes || sizes->kind != RecordKind::object) return std::nullopt;
  if (sizes->size_to_body() > bytes.size()) {
    TRY(bytes, read(position, sizes->size_to_body()));
  }
  const auto whole = decode_head(bytes, unit, segment_.label.salt);
  if (!whole) return std::nullopt;
  return RecordText{std::string(whole->key), std::string(whole->meta)};
}

Result<std::optional<std::string>> RecordReader::piece(const RecordHead& head, uint32_t sum, uint64_t piece) {
  const uint64_t from = piece * kDiskPiece;
  const uint64_t size = std::min<uint64_t>(head.body_size - from, kDiskPiece);
  TRY(std::string bytes, read(head.unit * kDiskUnit + head.size_to_body() + from, size));
  if (bytes.size() < size || piece_checksum(bytes, segment_.label.salt) != sum) return std::nullopt;
  return bytes;
}

}  // namespace trellis::cache
