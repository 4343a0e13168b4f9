#include "cache/disk/disk_format.h"

#include <fmt/format.h>

#include <bit>
#include <charconv>
#include <cstring>

#include "base/crc32c.h"
#include "cache/disk/disk_store.h"

namespace trellis::cache {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is written as the machine has it");

constexpr std::string_view kLabelMagic("TRELDSK\n", 8);
constexpr std::string_view kFooterMagic("TRELDTB\n", 8);
constexpr uint32_t kRecordMagic = 0x4452'4331;
constexpr uint32_t kVersion = 1;
constexpr std::string_view kSuffix = ".segment";
constexpr size_t kDigits = 16;
constexpr size_t kLabelBytes = 24;   // before the checksum
constexpr size_t kFooterBytes = 32;  // likewise

template <class T>
T load(std::string_view bytes, size_t at) noexcept {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return value;
}
template <class T>
void append(std::string& out, T value) {
  char bytes[sizeof(value)];
  std::memcpy(bytes, &value, sizeof(value));
  out.append(bytes, sizeof(value));
}

uint32_t salted(std::string_view bytes, uint32_t salt) noexcept {
  char first[4];
  std::memcpy(first, &salt, sizeof(salt));
  return crc32c(bytes, crc32c(std::string_view(first, sizeof(first))));
}

// The checksum behind the first `size` bytes of a block, and the version among them.
Result<void> check_block(std::string_view block, std::string_view magic, size_t size) {
  if (block.size() < kDirectBlock || !block.starts_with(magic)) return fail(Code::not_found, "no such block");
  if (load<uint32_t>(block, 8) != kVersion) {
    return fail(Code::failed_precondition, fmt::format("version {}", load<uint32_t>(block, 8)));
  }
  if (load<uint32_t>(block, size) != crc32c(block.substr(0, size))) {
    return fail(Code::data_loss, "a wrong checksum");
  }
  return {};
}
void end_block(std::string& out, size_t start) {
  append(out, crc32c(std::string_view(out).substr(start)));
  out.resize(start + kDirectBlock);
}

}  // namespace

std::string segment_file_name(uint64_t number) { return fmt::format("{:016x}{}", number, kSuffix); }

std::optional<uint64_t> number_of_segment(std::string_view file_name) {
  if (file_name.size() != kDigits + kSuffix.size() || !file_name.ends_with(kSuffix)) return std::nullopt;
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(file_name.data(), file_name.data() + kDigits, number, 16);
  if (error != std::errc() || end != file_name.data() + kDigits) return std::nullopt;
  return number;
}

std::string encode_label(const SegmentLabel& label) {
  std::string out(kLabelMagic);
  append(out, kVersion);
  append(out, label.salt);
  append(out, label.number);
  end_block(out, 0);
  return out;
}

Result<SegmentLabel> decode_label(std::string_view block) {
  const Result<void> good = check_block(block, kLabelMagic, kLabelBytes);
  if (!good && good.error().code() == Code::failed_precondition) return fail(good.error().clone());
  if (!good) return fail(Code::invalid_argument, "no segment's label");
  return SegmentLabel{load<uint64_t>(block, 16), load<uint32_t>(block, 12)};
}

uint64_t RecordHead::pieces() const noexcept { return (body_size + kDiskPiece - 1) / kDiskPiece; }

uint32_t piece_checksum(std::string_view piece, uint32_t salt) noexcept { return salted(piece, salt); }

void append_head(std::string& out, const RecordHead& head, std::span<const uint32_t> sums, std::string_view key,
                 std::string_view meta, uint32_t salt) {
  const size_t start = out.size();
  append(out, kRecordMagic);
  append(out, uint32_t{0});
  append(out, static_cast<uint32_t>(head.kind));
  append(out, head.unit);
  append(out, head.hash);
  append(out, head.key_size);
  append(out, head.meta_size);
  append(out, head.body_size);
  for (const uint32_t sum : sums) append(out, sum);
  out += key;
  out += meta;
  const uint32_t sum = salted(std::string_view(out).substr(start + 8), salt);
  std::memcpy(out.data() + start + 4, &sum, sizeof(sum));
}

std::optional<RecordHead> decode_sizes(std::string_view bytes, uint32_t unit) noexcept {
  if (bytes.size() < kRecordFixed || load<uint32_t>(bytes, 0) != kRecordMagic) return std::nullopt;
  RecordHead head;
  head.kind = static_cast<RecordKind>(load<uint32_t>(bytes, 8));
  head.unit = load<uint32_t>(bytes, 12);
  head.hash = load<uint64_t>(bytes, 16);
  head.key_size = load<uint32_t>(bytes, 24);
  head.meta_size = load<uint32_t>(bytes, 28);
  head.body_size = load<uint64_t>(bytes, 32);
  if (head.unit != unit || head.key_size > kMaxDiskKey || head.meta_size > kMaxDiskMeta) return std::nullopt;
  if (head.body_size > kMaxUnits * kDiskUnit || head.units() > kMaxUnits) return std::nullopt;
  if (head.kind == RecordKind::object) return head;
  const bool removals = head.kind == RecordKind::removals && head.key_size == 0 && head.meta_size == 0;
  if (!removals || head.body_size % 8 != 0 || head.body_size > kRemovalsInRecord * 8) return std::nullopt;
  return head;
}

std::optional<WholeHead> decode_head(std::string_view bytes, uint32_t unit, uint32_t salt) {
  const auto sizes = decode_sizes(bytes, unit);
  if (!sizes || bytes.size() < sizes->size_to_body()) return std::nullopt;
  bytes = bytes.substr(0, sizes->size_to_body());
  if (load<uint32_t>(bytes, 4) != salted(bytes.substr(8), salt)) return std::nullopt;
  WholeHead whole;
  whole.head = *sizes;
  whole.sums.resize(sizes->pieces());
  if (!whole.sums.empty()) std::memcpy(whole.sums.data(), bytes.data() + kRecordFixed, whole.sums.size() * 4);
  bytes.remove_prefix(kRecordFixed + whole.sums.size() * 4);
  whole.key = bytes.substr(0, sizes->key_size);
  whole.meta = bytes.substr(sizes->key_size);
  return whole;
}

void append_table(std::string& out, std::span<const TableEntry> entries, const SegmentLabel& label) {
  const size_t start = out.size();
  for (const TableEntry& entry : entries) {
    append(out, entry.hash);
    append(out, entry.unit);
    append(out, entry.units);
  }
  const uint32_t sum = salted(std::string_view(out).substr(start), label.salt);
  out.resize(start + whole_blocks(out.size() - start));
  const size_t footer = out.size();
  out += kFooterMagic;
  append(out, kVersion);
  append(out, label.salt);
  append(out, label.number);
  append(out, static_cast<uint32_t>(entries.size()));
  append(out, sum);
  end_block(out, footer);
}

Result<TableFooter> decode_footer(std::string_view block) {
  TRY_VOID(check_block(block, kFooterMagic, kFooterBytes));
  return TableFooter{
      {load<uint64_t>(block, 16), load<uint32_t>(block, 12)}, load<uint32_t>(block, 24), load<uint32_t>(block, 28)};
}

std::optional<std::vector<TableEntry>> decode_table(std::string_view bytes, const TableFooter& footer,
                                                    uint64_t table_start) {
  const uint64_t size = footer.entries * kTableEntry;
  if (bytes.size() != whole_blocks(size)) return std::nullopt;
  bytes = bytes.substr(0, size);
  if (salted(bytes, footer.label.salt) != footer.sum) return std::nullopt;
  std::vector<TableEntry> entries(footer.entries);
  if (!entries.empty()) std::memcpy(entries.data(), bytes.data(), bytes.size());
  for (const TableEntry& entry : entries) {
    const uint64_t end = (uint64_t{entry.unit} + entry.units) * kDiskUnit;
    if (entry.unit < kSegmentStart / kDiskUnit || entry.units > kMaxUnits || end > table_start) return std::nullopt;
  }
  return entries;
}

}  // namespace trellis::cache
