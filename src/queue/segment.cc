#include "queue/segment.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include "base/crc32c.h"

namespace trellis::queue {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is written as the machine has it");

constexpr std::string_view kMagic("TRELSEG\n", 8);
constexpr uint32_t kVersion = 1;
constexpr uint32_t kTombstone = uint32_t{1} << 31;
constexpr std::string_view kSuffix = ".log";
constexpr size_t kDigits = 20;
constexpr size_t kWindow = size_t{256} << 10;

template <class T>
T load(const char* at) noexcept {
  T value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}
template <class T>
void store(char* at, T value) noexcept {
  std::memcpy(at, &value, sizeof(value));
}

// Over the whole record but its checksum, beginning with the salt.
uint32_t record_checksum(const char* record, size_t size, uint32_t salt) noexcept {
  char first[8];
  store(first, salt);
  std::memcpy(first + 4, record, 4);
  return crc32c(std::string_view(record + 8, size - 8), crc32c(std::string_view(first, sizeof(first))));
}

}  // namespace

std::string segment_name(uint64_t base) { return fmt::format("{:020}{}", base, kSuffix); }

std::optional<uint64_t> base_of_segment(std::string_view name) {
  if (name.size() != kDigits + kSuffix.size() || !name.ends_with(kSuffix)) return std::nullopt;
  uint64_t base = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + kDigits, base);
  if (error != std::errc() || end != name.data() + kDigits) return std::nullopt;
  return base;
}

std::string encode_header(const SegmentHeader& header) {
  std::string bytes(kSegmentHeader, '\0');
  std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
  store(bytes.data() + 8, kVersion);
  store(bytes.data() + 12, header.salt);
  store(bytes.data() + 16, header.base);
  store(bytes.data() + 24, crc32c(std::string_view(bytes.data(), 24)));
  return bytes;
}

Result<SegmentHeader> decode_header(std::string_view bytes) {
  if (bytes.size() < kSegmentHeader || !bytes.starts_with(kMagic) ||
      crc32c(bytes.substr(0, 24)) != load<uint32_t>(bytes.data() + 24)) {
    return fail(Code::data_loss, "no segment header");
  }
  const auto version = load<uint32_t>(bytes.data() + 8);
  if (version != kVersion) return fail(Code::failed_precondition, fmt::format("segment of version {}", version));
  return SegmentHeader{.base = load<uint64_t>(bytes.data() + 16), .salt = load<uint32_t>(bytes.data() + 12)};
}

void append_record(std::string& out, const Record& record, uint32_t salt) {
  const size_t start = out.size();
  const size_t size = record.size();
  out.resize(start + kRecordHeader);
  char* at = out.data() + start;
  store(at, static_cast<uint32_t>(size - kRecordHeader));
  store(at + 8, record.offset);
  store(at + 16, record.at_ms);
  store(at + 24, record.batch);
  store(at + 28, static_cast<uint32_t>(record.key.size()) | (record.value ? 0 : kTombstone));
  out += record.key;
  if (record.value) out += *record.value;
  at = out.data() + start;
  store(at + 4, record_checksum(at, size, salt));
}

// --- RecordCursor ---

RecordCursor::RecordCursor(DiskFile& file, uint32_t salt, uint64_t from, uint64_t end, uint64_t next_offset) noexcept
    : file_(file), salt_(salt), end_(end), position_(from), next_offset_(next_offset) {}

// Fewer bytes than asked for only where the file is shorter than it was said to be.
Result<std::string_view> RecordCursor::bytes_at(uint64_t position, size_t size) {
  if (position < window_start_ || position + size > window_start_ + window_size_) {
    const size_t want = static_cast<size_t>(std::min<uint64_t>(std::max(size, kWindow), end_ - position));
    if (window_.size() < want) window_.resize(want);
    window_size_ = 0;
    TRY(window_size_, file_.read(position, std::span(window_.data(), want)));
    window_start_ = position;
  }
  const size_t at = static_cast<size_t>(position - window_start_);
  return std::string_view(window_.data() + at, std::min(size, window_size_ - std::min(at, window_size_)));
}

Result<bool> RecordCursor::try_record(uint64_t position) {
  if (end_ - position < kRecordHeader) return false;
  TRY(const std::string_view head, bytes_at(position, kRecordHeader));
  if (head.size() < kRecordHeader) return false;
  const size_t length = load<uint32_t>(head.data());
  const uint32_t key_field = load<uint32_t>(head.data() + 28);
  const size_t key_size = key_field & ~kTombstone;
  const bool tombstone = (key_field & kTombstone) != 0;
  if (length > kMaxKey + kMaxValue || key_size > kMaxKey || key_size > length) return false;
  if ((tombstone && length != key_size) || length - key_size > kMaxValue) return false;
  const size_t size = kRecordHeader + length;
  if (end_ - position < size) return false;
  const auto offset = load<uint64_t>(head.data() + 8);
  const auto batch = load<uint32_t>(head.data() + 24);
  if (offset < next_offset_ || batch > position) return false;
  TRY(const std::string_view bytes, bytes_at(position, size));
  if (bytes.size() < size) return false;
  if (record_checksum(bytes.data(), size, salt_) != load<uint32_t>(bytes.data() + 4)) return false;
  record_.offset = offset;
  record_.at_ms = load<int64_t>(bytes.data() + 16);
  record_.batch = batch;
  record_.key = bytes.substr(kRecordHeader, key_size);
  record_.value.reset();
  if (!tombstone) record_.value = bytes.substr(kRecordHeader + key_size);
  record_position_ = position;
  position_ = position + size;
  next_offset_ = offset + 1;
  return true;
}

Result<RecordCursor::Step> RecordCursor::next() {
  if (position_ >= end_) return Step::end;
  TRY(const bool whole, try_record(position_));
  return whole ? Step::record : Step::bad;
}

Result<RecordCursor::Step> RecordCursor::resync() {
  for (uint64_t at = position_ + 1; at < end_; ++at) {
    TRY(const bool whole, try_record(at));
    if (whole) return Step::record;
  }
  return Step::end;
}

// --- Scan ---

void SegmentScan::add(const Record& record, uint64_t position) {
  if (index.empty() || position - index.back().position >= kIndexEvery) {
    index.push_back({record.offset, record.at_ms, position});
  }
  ++records;
  next_offset = record.offset + 1;
  last_at_ms = std::max(last_at_ms, record.at_ms);
  end = position + record.size();
}

uint64_t SegmentScan::position_of_offset(uint64_t offset) const noexcept {
  const auto behind = std::upper_bound(index.begin(), index.end(), offset,
                                       [](uint64_t wanted, const IndexEntry& entry) { return wanted < entry.offset; });
  return behind == index.begin() ? kSegmentHeader : std::prev(behind)->position;
}

uint64_t SegmentScan::position_of_time(int64_t at_ms) const noexcept {
  const auto behind = std::lower_bound(index.begin(), index.end(), at_ms,
                                       [](const IndexEntry& entry, int64_t wanted) { return entry.at_ms < wanted; });
  return behind == index.begin() ? kSegmentHeader : std::prev(behind)->position;
}

namespace {

// Whether a record follows that was written when what is at `position` had been synced. If so, `first` is where the
// first whole record behind `position` begins.
Result<bool> later_batch_follows(DiskFile& file, uint32_t salt, uint64_t position, uint64_t end, uint64_t next_offset,
                                 uint64_t& first) {
  RecordCursor cursor(file, salt, position, end, next_offset);
  first = end;
  while (true) {
    TRY(RecordCursor::Step step, cursor.next());
    if (step == RecordCursor::Step::bad) {
      TRY(step, cursor.resync());
    }
    if (step == RecordCursor::Step::end) return false;
    first = std::min(first, cursor.record_position());
    if (cursor.record().batch > position) return true;
  }
}

}  // namespace

Result<SegmentScan> scan_segment(DiskFile& file, uint64_t base, std::optional<uint64_t> next_base) {
  SegmentScan scan;
  scan.next_offset = base;
  TRY(const uint64_t size, file.size());
  std::string head(kSegmentHeader, '\0');
  TRY(const size_t read, file.read(0, head));
  head.resize(read);
  auto header = decode_header(head);
  if (!header && header.error().code() == Code::failed_precondition) return fail(std::move(header).error());
  if (!header || header->base != base) {
    // The header was synced before the first record was written: alone it may be torn. With records behind it, it was
    // damaged later; how many are lost is not known, only how many there can have been.
    if (!next_base && size <= kSegmentHeader) {
      scan.torn = true;
      return scan;
    }
    scan.next_offset = next_base.value_or(base + size / kRecordHeader + 1);
    scan.damage.push_back({0, size, base, scan.next_offset});
    scan.end = size;
    return scan;
  }
  scan.header = *header;
  scan.end = kSegmentHeader;
  RecordCursor cursor(file, scan.header.salt, kSegmentHeader, size, base);
  while (true) {
    TRY(RecordCursor::Step step, cursor.next());
    if (step == RecordCursor::Step::bad) {
      const uint64_t position = cursor.position();
      const uint64_t lost_from = cursor.next_offset();
      if (!next_base) {
        uint64_t first = 0;
        TRY(const bool damaged, later_batch_follows(file, scan.header.salt, position, size, lost_from, first));
        if (!damaged) {
          scan.torn = true;
          break;
        }
      }
      TRY(step, cursor.resync());
      if (step == RecordCursor::Step::end) {
        scan.damage.push_back({position, size, lost_from, next_base.value_or(lost_from)});
        scan.end = size;
        break;
      }
      scan.damage.push_back({position, cursor.record_position(), lost_from, cursor.record().offset});
    }
    if (step == RecordCursor::Step::end) break;
    scan.add(cursor.record(), cursor.record_position());
  }
  return scan;
}

}  // namespace trellis::queue
