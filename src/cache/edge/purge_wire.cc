#include "cache/edge/purge_wire.h"

namespace trellis::cache {
namespace {

std::unexpected<Error> wrong(const char* what) {
  return fail(Error(Code::invalid_argument, std::string("purges of another node: ") + what).from(Side::client));
}

}  // namespace

std::string encode_purge_batch(const PurgeBatch& batch) {
  std::string bytes(1, batch.more ? '\1' : '\0');
  for (const PurgeExtent& extent : batch.extents) append_purge_extent(bytes, extent);
  for (const PurgeRecord& record : batch.records) append_purge_record(bytes, record);
  return bytes;
}

Result<PurgeBatch> decode_purge_batch(std::string_view bytes) {
  if (bytes.size() > kMaxPurgeMessage) return wrong("too long");
  if (bytes.empty() || static_cast<uint8_t>(bytes[0]) > 1) return wrong("no batch");
  PurgeItems items;
  if (!read_purge_items(bytes.substr(1), items)) return wrong("not whole");
  if (items.records.size() > kMaxPurgeBatch || items.extents.size() > kMaxPurgeNodes) return wrong("too many");
  return PurgeBatch{.records = std::move(items.records), .extents = std::move(items.extents), .more = bytes[0] == '\1'};
}

std::string encode_purge_marks(const std::vector<PurgeMark>& marks) {
  std::string bytes;
  for (const PurgeMark& mark : marks) {
    append_purge_mark(bytes, {.origin = mark.origin, .known = mark.known, .let_go = 0});
  }
  return bytes;
}

Result<std::vector<PurgeMark>> decode_purge_marks(std::string_view bytes) {
  constexpr size_t kMost = 32;  // bytes of a mark
  if (bytes.size() > kMaxPurgeNodes * kMost) return wrong("too long");
  PurgeItems items;
  if (!read_purge_items(bytes, items)) return wrong("not whole");
  return std::move(items.marks);
}

}  // namespace trellis::cache
