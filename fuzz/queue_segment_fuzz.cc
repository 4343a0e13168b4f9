// A segment of the event log with any bytes in it. Whatever the scan says is so: nothing is served whose checksum is
// wrong, offsets rise, positions lie in the file, and what is served can be written again to the same bytes.
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "queue/segment.h"

namespace {

using namespace trellis;

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

// All records from a position on, as a reader goes who leads past damage.
uint64_t read_all(BytesFile& file, std::string_view bytes, uint32_t salt, uint64_t from, uint64_t end) {
  queue::RecordCursor cursor(file, salt, from, end, 0);
  uint64_t records = 0;
  uint64_t next = 0;
  while (true) {
    auto step = cursor.next();
    TRELLIS_ASSERT(step.has_value());
    if (*step == queue::RecordCursor::Step::bad) {
      step = cursor.resync();
      TRELLIS_ASSERT(step.has_value());
    }
    if (*step == queue::RecordCursor::Step::end) return records;
    const queue::Record& record = cursor.record();
    TRELLIS_ASSERT(records == 0 || record.offset >= next);
    next = record.offset + 1;
    TRELLIS_ASSERT(cursor.record_position() + record.size() <= end);
    std::string again;
    queue::append_record(again, record, salt);
    TRELLIS_ASSERT(again == bytes.substr(cursor.record_position(), record.size()));
    ++records;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  BytesFile file(bytes);
  for (const bool last : {true, false}) {
    const uint64_t base = size >= 24 ? static_cast<uint8_t>(bytes[16]) : 0;
    const auto scan = queue::scan_segment(file, base, last ? std::nullopt : std::optional<uint64_t>(base + 1000));
    if (!scan) continue;
    TRELLIS_ASSERT(scan->end <= size);
    uint64_t behind = 0;
    for (const queue::Damage& damage : scan->damage) {
      TRELLIS_ASSERT(damage.position >= behind && damage.position <= damage.end && damage.end <= size);
      behind = damage.end;
    }
    if (scan->records == 0) continue;
    TRELLIS_ASSERT(!scan->index.empty());
    const uint64_t records = read_all(file, bytes, scan->header.salt, queue::kSegmentHeader, scan->end);
    TRELLIS_ASSERT(records == scan->records);
    (void)read_all(file, bytes, scan->header.salt, scan->position_of_offset(base + 1), scan->end);
  }
  return 0;
}
