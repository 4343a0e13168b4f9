// What the disk tier writes: segments of records, and the table at the end of each. Pure functions over bytes; any
// thread. They trust nothing they read. Numbers are little-endian.
//
//   label    (one block) magic 8 | version u32 | salt u32 | number u64 | crc32c u32 | zeros
//   record   magic u32 | crc32c of the head u32 | kind u32 | unit u32 | hash u64 | key length u32 | meta length u32
//            | body length u64 | crc32c of each piece of the body u32 ... | key | meta | body | zeros up to a unit
//   ...
//   table    hash u64 | unit u32 | units u32 (0: what stood under the hash was removed) ... | zeros up to a block
//   footer   (one block) magic 8 | version u32 | salt u32 | number u64 | entries u32 | crc32c of the table u32
//            | crc32c of these u32 | zeros
//
// A head's checksum covers everything up to the body, and so the checksums of the body's pieces. All begin with the
// segment's salt, a random number, and a head knows its place: bytes that a client put into a body, and blocks that
// landed elsewhere, never pass for a record. A segment with a footer is sealed and its table is all there is to read at
// the start; one without was being written when the process ended, and is read through.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "runtime/disk.h"

namespace trellis::cache {

inline constexpr uint64_t kDiskUnit = 512;               // a record begins at a multiple of it
inline constexpr uint64_t kSegmentStart = kDirectBlock;  // where the first record begins
inline constexpr uint32_t kMaxUnits = (1u << 20) - 1;    // of a record
inline constexpr size_t kRecordFixed = 40;               // bytes of a head before the checksums of the pieces
inline constexpr size_t kRemovalsInRecord = 4096;        // hashes that one record of removals carries
inline constexpr uint64_t kTableEntry = 16;

// "0000000000000042.segment"; nullopt for any other name.
std::string segment_file_name(uint64_t number);
std::optional<uint64_t> number_of_segment(std::string_view file_name);

struct SegmentLabel {
  uint64_t number = 0;
  uint32_t salt = 0;
};
std::string encode_label(const SegmentLabel& label);  // kDirectBlock bytes
// invalid_argument when it is not whole, failed_precondition when another version wrote it.
Result<SegmentLabel> decode_label(std::string_view block);

enum class RecordKind : uint32_t {
  object = 1,
  removals = 2,  // the body is the hashes of objects that were removed
};
struct RecordHead {
  RecordKind kind = RecordKind::object;
  uint32_t unit = 0;  // where it stands in its segment
  uint64_t hash = 0;
  uint32_t key_size = 0;
  uint32_t meta_size = 0;
  uint64_t body_size = 0;

  uint64_t pieces() const noexcept;
  uint64_t size_to_body() const noexcept { return kRecordFixed + 4 * pieces() + key_size + meta_size; }
  uint64_t size() const noexcept { return size_to_body() + body_size; }
  uint64_t units() const noexcept { return (size() + kDiskUnit - 1) / kDiskUnit; }
};

uint32_t piece_checksum(std::string_view piece, uint32_t salt) noexcept;
// Appends everything up to the body.
void append_head(std::string& out, const RecordHead& head, std::span<const uint32_t> sums, std::string_view key,
                 std::string_view meta, uint32_t salt);

// The sizes, from the first kRecordFixed bytes; nullopt when no record begins so at this unit. To know how much to
// read: nothing is verified but the bounds.
std::optional<RecordHead> decode_sizes(std::string_view bytes, uint32_t unit) noexcept;

// A verified head. Borrows the bytes.
struct WholeHead {
  RecordHead head;
  std::vector<uint32_t> sums;
  std::string_view key;
  std::string_view meta;
};
// From at least size_to_body() bytes; nullopt: too few, or not what was written there.
std::optional<WholeHead> decode_head(std::string_view bytes, uint32_t unit, uint32_t salt);

struct TableEntry {
  uint64_t hash = 0;
  uint32_t unit = 0;
  uint32_t units = 0;  // 0: a removal
};
static_assert(sizeof(TableEntry) == kTableEntry);

constexpr uint64_t whole_blocks(uint64_t bytes) noexcept {
  return (bytes + kDirectBlock - 1) / kDirectBlock * kDirectBlock;
}
// Of a table with its footer.
constexpr uint64_t table_size(uint64_t entries) noexcept { return whole_blocks(entries * kTableEntry) + kDirectBlock; }
void append_table(std::string& out, std::span<const TableEntry> entries, const SegmentLabel& label);

struct TableFooter {
  SegmentLabel label;
  uint32_t entries = 0;
  uint32_t sum = 0;
};
// not_found: no footer is there; failed_precondition: another version's; data_loss: not whole.
Result<TableFooter> decode_footer(std::string_view block);
// `bytes`: all before the footer that belongs to it, whole blocks. nullopt: not what was written. Every entry of what
// it gives lies before `table_start` in the file.
std::optional<std::vector<TableEntry>> decode_table(std::string_view bytes, const TableFooter& footer,
                                                    uint64_t table_start);

}  // namespace trellis::cache
