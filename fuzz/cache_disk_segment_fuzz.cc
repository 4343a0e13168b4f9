// A segment of the disk tier with any bytes in it. Whatever is read from it lies in the file, and each record that is
// given can be written again to the same bytes. As no mutation meets a checksum, the later rounds put the right ones in
// before they read: those of the records, and of the table.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "cache/disk/disk_format.h"
#include "cache/disk/disk_segment.h"
#include "cache/disk/disk_store.h"
#include "runtime/disk.h"

namespace {

using namespace trellis;
using namespace trellis::cache;

class BytesFile final : public DiskFile {
 public:
  explicit BytesFile(std::string_view bytes) : bytes_(bytes) {}
  Result<size_t> read(uint64_t position, std::span<char> into) override {
    if (position >= bytes_.size()) return size_t{0};
    return bytes_.copy(into.data(), into.size(), position);
  }
  Result<void> write(uint64_t, std::string_view) override { return fail(Code::unimplemented, "read only"); }
  Result<void> sync() override { return {}; }
  Result<void> truncate(uint64_t) override { return fail(Code::unimplemented, "read only"); }
  Result<void> reserve(uint64_t) override { return fail(Code::unimplemented, "read only"); }
  Result<uint64_t> size() override { return bytes_.size(); }

 private:
  std::string_view bytes_;
};

std::vector<uint32_t> sums_of(std::string_view body, uint32_t salt) {
  std::vector<uint32_t> sums;
  for (; !body.empty(); body.remove_prefix(std::min(body.size(), kDiskPiece))) {
    sums.push_back(piece_checksum(body.substr(0, kDiskPiece), salt));
  }
  return sums;
}

void repair(std::string& bytes) {
  const std::string label = encode_label({3, 5});
  if (bytes.size() < label.size()) return;
  bytes.replace(0, label.size(), label);
  for (uint64_t at = kSegmentStart; at + kRecordFixed <= bytes.size(); at += kDiskUnit) {
    const std::string_view all(bytes);
    const auto sizes = decode_sizes(all.substr(at), static_cast<uint32_t>(at / kDiskUnit));
    if (!sizes || at + sizes->size() > bytes.size()) continue;
    const std::string_view body = all.substr(at + sizes->size_to_body(), sizes->body_size);
    const size_t text = at + kRecordFixed + 4 * sizes->pieces();
    std::string head;
    append_head(head, *sizes, sums_of(body, 5), all.substr(text, sizes->key_size),
                all.substr(text + sizes->key_size, sizes->meta_size), 5);
    bytes.replace(at, head.size(), head);
  }
}

// The table before a footer, with the rows that it has.
void repair_table(std::string& bytes) {
  if (bytes.size() < kSegmentStart + kDirectBlock || bytes.size() % kDirectBlock != 0) return;
  const std::string_view footer = std::string_view(bytes).substr(bytes.size() - kDirectBlock);
  uint32_t rows = 0;
  std::memcpy(&rows, footer.data() + 24, sizeof(rows));
  if (!footer.starts_with("TRELDTB\n") || table_size(rows) > bytes.size() - kSegmentStart) return;
  const size_t start = bytes.size() - table_size(rows);
  std::vector<TableEntry> entries(rows);
  if (rows > 0) std::memcpy(entries.data(), bytes.data() + start, rows * kTableEntry);
  std::string table;
  append_table(table, entries, {3, 5});
  bytes.replace(start, table.size(), table);
}

// Whether it is there as the scan says.
bool check_record(const Segment& segment, std::string_view bytes, const TableEntry& entry) {
  RecordReader reader(segment);
  const auto record = reader.start(entry.unit, entry.units);
  TRELLIS_ASSERT(record.has_value());
  const auto text = reader.text(entry.unit, entry.units);
  TRELLIS_ASSERT(text.has_value());
  if (!*record) return false;
  const RecordStart& start = **record;
  TRELLIS_ASSERT(*text && (*text)->key == start.key && (*text)->meta == start.meta);
  std::string again;
  append_head(again, start.head, start.sums, start.key, start.meta, segment.label.salt);
  TRELLIS_ASSERT(bytes.substr(entry.unit * kDiskUnit).starts_with(again));
  bool whole = true;
  for (uint64_t piece = 0; piece < start.head.pieces(); ++piece) {
    const auto body = reader.piece(start.head, start.sums[piece], piece);
    TRELLIS_ASSERT(body.has_value());
    whole = whole && *body;
  }
  return whole;
}

void read(std::string_view bytes) {
  Segment segment;
  segment.file = std::make_unique<BytesFile>(bytes);
  const auto contents = read_segment(*segment.file);
  if (!contents) return;
  segment.label = contents->label;
  TRELLIS_ASSERT(contents->end <= std::max<uint64_t>(bytes.size() + kDiskUnit, kSegmentStart));
  for (const TableEntry& entry : contents->entries) {
    TRELLIS_ASSERT((uint64_t{entry.unit} + entry.units) * kDiskUnit <= contents->end);
    if (entry.units == 0) continue;
    const bool whole = check_record(segment, bytes, entry);
    TRELLIS_ASSERT(whole || contents->sealed);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  read(bytes);
  repair(bytes);
  read(bytes);
  repair_table(bytes);
  read(bytes);
  return 0;
}
