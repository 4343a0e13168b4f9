// What a worker node and the node that keeps a queue send each other: whatever is read writes back to what reads to the
// same, and nothing beyond the limits is taken.
#include <cstdint>
#include <string>
#include <string_view>

#include "app/control/job_wire.h"
#include "base/encoding.h"
#include "base/error.h"

using namespace trellis;
using namespace trellis::app;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  TRELLIS_ASSERT(from_base64(to_base64(text)) == std::string(text));
  if (const auto bytes = from_base64(text)) TRELLIS_ASSERT(to_base64(*bytes) == text);
  if (const auto jobs = read_claimed(text)) {
    TRELLIS_ASSERT(jobs->size() <= kMaxClaimed);
    const auto again = read_claimed(write_claimed(*jobs));
    TRELLIS_ASSERT(again && again->size() == jobs->size());
    for (size_t i = 0; i < jobs->size(); ++i) {
      TRELLIS_ASSERT((*again)[i].payload == (*jobs)[i].payload && (*again)[i].kind == (*jobs)[i].kind);
      TRELLIS_ASSERT((*again)[i].lease.id == (*jobs)[i].lease.id);
    }
  }
  if (const auto settlements = read_settlements(text)) {
    const auto again = read_settlements(write_settlements(*settlements));
    TRELLIS_ASSERT(again && again->size() == settlements->size());
    for (size_t i = 0; i < settlements->size(); ++i)
      TRELLIS_ASSERT((*again)[i].verdict == (*settlements)[i].verdict && (*again)[i].delay == (*settlements)[i].delay);
  }
  if (const auto settled = read_settled(text, 2)) TRELLIS_ASSERT(write_settled(*settled).size() > 0);
  return 0;
}
