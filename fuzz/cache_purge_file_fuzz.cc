// A file of purges, or what another node says of them, with any bytes in it: reading ends, a whole file has no torn
// tail, and what was read can be written and read again.
#include <cstdint>
#include <string>
#include <string_view>

#include "cache/edge/purge_file.h"
#include "cache/edge/purge_wire.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  // As they are, and as the payload of a whole frame, which fuzzing finds no checksum for.
  std::string framed = cache::purge_file_header(1);
  cache::append_purge_frame(framed, bytes, 1);
  for (const std::string_view file : {std::string_view(bytes), std::string_view(framed)}) {
    const auto contents = cache::read_purge_file(file);
    if (!contents) continue;
    TRELLIS_ASSERT(contents->end <= file.size());
    TRELLIS_ASSERT(!(contents->torn && contents->damaged));
    if (contents->damaged) continue;
    TRELLIS_ASSERT(contents->torn == (contents->end < file.size()));
    std::string payload;
    cache::append_purge_newest(payload, contents->newest);
    cache::append_purge_floor(payload, contents->floor);
    for (const cache::PurgeMark& mark : contents->marks) cache::append_purge_mark(payload, mark);
    for (const cache::PurgeRecord& record : contents->records) {
      TRELLIS_ASSERT(record.rule.text.size() <= cache::kMaxPurgeText);
      cache::append_purge_record(payload, record);
    }
    for (const cache::PurgeExtent& extent : contents->extents) cache::append_purge_extent(payload, extent);
    std::string again = cache::purge_file_header(2);
    cache::append_purge_frame(again, payload, 2);
    const auto second = cache::read_purge_file(again);
    TRELLIS_ASSERT(second.has_value() && !second->damaged && !second->torn);
    TRELLIS_ASSERT(second->records == contents->records && second->marks == contents->marks);
    TRELLIS_ASSERT(second->extents == contents->extents);
    TRELLIS_ASSERT(second->floor == contents->floor && second->newest == contents->newest);
  }
  if (const auto batch = cache::decode_purge_batch(bytes)) {
    const auto again = cache::decode_purge_batch(cache::encode_purge_batch(*batch));
    TRELLIS_ASSERT(again.has_value() && again->records == batch->records && again->extents == batch->extents);
  }
  if (const auto marks = cache::decode_purge_marks(bytes)) {
    TRELLIS_ASSERT(cache::decode_purge_marks(cache::encode_purge_marks(*marks))->size() == marks->size());
  }
  return 0;
}
