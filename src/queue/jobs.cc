#include "queue/jobs.h"

#include <algorithm>

#include "base/log.h"

namespace trellis::queue {

std::string_view to_string(Verdict verdict) noexcept {
  switch (verdict) {
    case Verdict::ack: return "ack";
    case Verdict::retry: return "retry";
    case Verdict::bury: return "bury";
    case Verdict::release: return "release";
    case Verdict::extend: return "extend";
  }
  return "unknown";
}

std::string_view to_string(JobState state) noexcept {
  switch (state) {
    case JobState::ready: return "ready";
    case JobState::delayed: return "delayed";
    case JobState::leased: return "leased";
    case JobState::done: return "done";
    case JobState::dead: return "dead";
  }
  return "unknown";
}

Duration Backoff::wait(int tried, uint64_t random) const noexcept {
  Duration ceiling = std::min(base, cap);
  for (int i = 1; i < tried && ceiling < cap; ++i) ceiling = ceiling > cap / 2 ? cap : ceiling * 2;
  if (ceiling <= Duration::zero()) return Duration::zero();
  return Duration(static_cast<int64_t>(random % (static_cast<uint64_t>(ceiling.count()) + 1)));
}

Task<Result<void>> JobQueue::keep_house(Deadline deadline) {
  auto sweeping = sweep(deadline);
  const Result<size_t> swept = co_await sweeping;
  auto counting = stats(deadline);
  const Result<std::vector<QueueStats>> counted = co_await counting;
  if (!swept && !counted) {
    static LogThrottle throttle(std::chrono::seconds(10));
    log_every(throttle, LogLevel::warn, "the jobs that wait cannot be counted",
              {{"error", counted.error().to_string()}});
  }
  if (!swept) co_return fail(swept.error().clone());
  if (!counted) co_return fail(counted.error().clone());
  co_return Result<void>();
}

}  // namespace trellis::queue
