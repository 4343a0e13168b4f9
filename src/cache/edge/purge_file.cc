#include "cache/edge/purge_file.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/crc32c.h"
#include "base/varint.h"

namespace trellis::cache {
namespace {

constexpr std::string_view kMagic = "TRLPURGE";
constexpr uint32_t kVersion = 1;
// How much is summed up in the search for a whole frame behind a bad one, before the rest passes for damage.
constexpr uint64_t kMaxSearch = uint64_t{256} << 20;

enum class Item : uint8_t { record = 1, mark = 2, floor = 3, newest = 4, extent = 5, retired = 6 };

template <class Number>
void append_number(std::string& out, Number number) {
  char bytes[sizeof(number)];
  for (size_t i = 0; i < sizeof(number); ++i) bytes[i] = static_cast<char>(number >> (8 * i));
  out.append(bytes, sizeof(bytes));
}
uint64_t number_at(std::string_view bytes, size_t position, size_t size) noexcept {
  uint64_t number = 0;
  for (size_t i = 0; i < size; ++i) number |= uint64_t{static_cast<uint8_t>(bytes[position + i])} << (8 * i);
  return number;
}
uint32_t u32_at(std::string_view bytes, size_t position) noexcept {
  return static_cast<uint32_t>(number_at(bytes, position, 4));
}

uint32_t frame_checksum(std::string_view payload, uint32_t salt) {
  std::string before;
  append_number(before, salt);
  append_number(before, static_cast<uint32_t>(payload.size()));
  return crc32c(payload, crc32c(before));
}

// The payload of the frame at a position; nullopt when there is no whole one.
std::optional<std::string_view> frame_at(std::string_view bytes, size_t position, uint32_t salt, uint64_t* summed) {
  if (bytes.size() - position < kPurgeFrameHeader) return std::nullopt;
  const uint32_t length = u32_at(bytes, position);
  if (length == 0 || length > kMaxPurgeFrame || length > bytes.size() - position - kPurgeFrameHeader) {
    return std::nullopt;
  }
  const std::string_view payload = bytes.substr(position + kPurgeFrameHeader, length);
  if (summed) *summed += length;
  if (frame_checksum(payload, salt) != u32_at(bytes, position + 4)) return std::nullopt;
  return payload;
}

// Is there a whole frame behind a bad place?
bool whole_frame_follows(std::string_view bytes, size_t bad, uint32_t salt) {
  uint64_t summed = 0;
  for (size_t at = bad + 1; at + kPurgeFrameHeader < bytes.size() && summed < kMaxSearch; ++at) {
    if (frame_at(bytes, at, salt, &summed)) return true;
  }
  return summed >= kMaxSearch;
}

void raise_mark(std::vector<PurgeMark>& marks, const PurgeMark& mark) {
  const auto at = std::find_if(marks.begin(), marks.end(), [&](const PurgeMark& m) { return m.origin == mark.origin; });
  if (at == marks.end()) {
    marks.push_back(mark);
  } else {
    at->known = std::max(at->known, mark.known);
    at->let_go = std::max(at->let_go, mark.let_go);
  }
}

bool read_record(ByteReader& reader, PurgeItems& items) {
  PurgeRecord record;
  record.number = reader.varint();
  record.at_ms = unfold_sign(reader.varint());
  const std::string_view origin = reader.bytes(8);
  if (reader.failed()) return false;
  record.origin = number_at(origin, 0, 8);
  record.origin_number = reader.varint();
  const uint8_t kind = reader.octet();
  const uint8_t soft = reader.octet();
  const uint64_t size = reader.varint();
  if (kind > static_cast<uint8_t>(PurgeRule::Kind::all) || soft > 1 || size > kMaxPurgeText) return false;
  record.rule.kind = static_cast<PurgeRule::Kind>(kind);
  record.rule.soft = soft == 1;
  record.rule.text = reader.bytes(size);
  if (reader.failed()) return false;
  items.newest = std::max(items.newest, record.number);
  items.records.push_back(std::move(record));
  return true;
}

}  // namespace

std::string purge_file_header(uint32_t salt) {
  std::string header(kMagic);
  append_number(header, kVersion);
  append_number(header, salt);
  append_number(header, crc32c(header));
  append_number(header, uint32_t{0});
  return header;
}

void append_purge_record(std::string& payload, const PurgeRecord& record) {
  payload += static_cast<char>(Item::record);
  append_varint(payload, record.number);
  append_varint(payload, fold_sign(record.at_ms));
  append_number(payload, record.origin);
  append_varint(payload, record.origin_number);
  payload += static_cast<char>(record.rule.kind);
  payload += static_cast<char>(record.rule.soft ? 1 : 0);
  append_varint(payload, record.rule.text.size());
  payload += record.rule.text;
}

void append_purge_mark(std::string& payload, const PurgeMark& mark) {
  payload += static_cast<char>(Item::mark);
  append_number(payload, mark.origin);
  append_varint(payload, mark.known);
  append_varint(payload, mark.let_go);
}

void append_purge_extent(std::string& payload, const PurgeExtent& extent) {
  payload += static_cast<char>(Item::extent);
  append_number(payload, extent.origin);
  append_varint(payload, extent.after);
  append_varint(payload, extent.known);
}

void append_purge_floor(std::string& payload, uint64_t floor) {
  payload += static_cast<char>(Item::floor);
  append_varint(payload, floor);
}

void append_purge_retired(std::string& payload, uint64_t number) {
  payload += static_cast<char>(Item::retired);
  append_varint(payload, number);
}

void append_purge_newest(std::string& payload, uint64_t newest) {
  payload += static_cast<char>(Item::newest);
  append_varint(payload, newest);
}

void append_purge_frame(std::string& out, std::string_view payload, uint32_t salt) {
  append_number(out, static_cast<uint32_t>(payload.size()));
  append_number(out, frame_checksum(payload, salt));
  out += payload;
}

bool read_purge_items(std::string_view payload, PurgeItems& items) {
  ByteReader reader(payload);
  while (!reader.at_end()) {
    const auto item = static_cast<Item>(reader.octet());
    switch (item) {
      case Item::record:
        if (!read_record(reader, items)) return false;
        break;
      case Item::mark:
      case Item::extent: {
        const std::string_view origin = reader.bytes(8);
        const uint64_t first = reader.varint();
        const uint64_t second = reader.varint();
        if (reader.failed()) return false;
        if (item == Item::mark) {
          raise_mark(items.marks, {.origin = number_at(origin, 0, 8), .known = first, .let_go = second});
        } else {
          items.extents.push_back({.origin = number_at(origin, 0, 8), .after = first, .known = second});
        }
        break;
      }
      case Item::floor: items.floor = std::max(items.floor, reader.varint()); break;
      case Item::retired: items.retired = std::max(items.retired, reader.varint()); break;
      case Item::newest: items.newest = std::max(items.newest, reader.varint()); break;
      default: return false;
    }
    if (reader.failed()) return false;
  }
  items.newest = std::max({items.newest, items.floor, items.retired});
  return true;
}

Result<PurgeFileContents> read_purge_file(std::string_view bytes) {
  PurgeFileContents contents;
  const bool whole =
      bytes.size() >= kPurgeHeader && bytes.starts_with(kMagic) && crc32c(bytes.substr(0, 16)) == u32_at(bytes, 16);
  if (!whole) {
    contents.damaged = true;
    return contents;
  }
  if (u32_at(bytes, 8) != kVersion) {
    return fail(Error(Code::failed_precondition, "a later version of the program wrote it").from(Side::self));
  }
  contents.salt = u32_at(bytes, 12);
  contents.end = kPurgeHeader;
  while (contents.end < bytes.size()) {
    const auto payload = frame_at(bytes, contents.end, contents.salt, nullptr);
    if (!payload) {
      contents.damaged = whole_frame_follows(bytes, contents.end, contents.salt);
      contents.torn = !contents.damaged;
      break;
    }
    if (!read_purge_items(*payload, contents)) {
      contents.damaged = true;
      break;
    }
    contents.end += kPurgeFrameHeader + payload->size();
  }
  return contents;
}

}  // namespace trellis::cache
