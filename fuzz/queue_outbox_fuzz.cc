// Events as they lie in a row of the outbox, packed or not, and their form in the log: whatever is read writes back to
// what reads to the same, and an event's number is found again. The first four bytes say what the row tells of its
// size.
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "base/error.h"
#include "queue/outbox_rows.h"

using namespace trellis;
using namespace trellis::queue;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  uint32_t unpacked = 0;
  if (bytes.size() < sizeof unpacked) return 0;
  std::memcpy(&unpacked, bytes.data(), sizeof unpacked);
  bytes.remove_prefix(sizeof unpacked);
  if (const auto number = outbox_number(0x5f3a9c12, bytes)) TRELLIS_ASSERT(*number > 0);
  const auto events = read_outbox_row(bytes, unpacked);
  if (!events) return 0;
  const auto rows = outbox_rows(*events);
  TRELLIS_ASSERT(rows);
  size_t i = 0;
  for (const OutboxRow& row : *rows) {
    const auto again = read_outbox_row(row.bytes, row.unpacked);
    TRELLIS_ASSERT(again && again->size() == row.count && i + row.count <= events->size());
    for (const OutboxEvent& read : *again) {
      const OutboxEvent& event = (*events)[i++];
      TRELLIS_ASSERT(read.key == event.key && read.payload == event.payload);
      TRELLIS_ASSERT(outbox_number(0x5f3a9c12, outbox_record(0x5f3a9c12, 4711, event.payload)) == 4711);
    }
  }
  TRELLIS_ASSERT(i == events->size());
  return 0;
}
