// Any text as a cron expression: refused or understood; what is understood has due times that are whole minutes, rise,
// and are found again from behind.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "queue/schedule.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis;
  // The first bytes are the time, so that months, leap years and the far future are met.
  if (size < 4) return 0;
  int64_t at = 0;
  for (size_t i = 0; i < 4; ++i) at = at << 8 | data[i];
  const WallTime start{std::chrono::seconds(at)};
  const auto cron = queue::Cron::parse(std::string_view(reinterpret_cast<const char*>(data) + 4, size - 4));
  if (!cron) {
    if (cron.error().code() != Code::invalid_argument || cron.error().what().empty()) std::abort();
    return 0;
  }
  WallTime time = start;
  for (int i = 0; i < 3; ++i) {
    const WallTime next = cron->next_after(time);
    if (next <= time || unix_seconds(next) % 60 != 0) std::abort();
    const auto again = cron->latest(next, time);
    if (!again || *again != next) std::abort();
    if (cron->latest(next - std::chrono::seconds(1), time)) std::abort();
    time = next;
  }
  return 0;
}
