// Time: monotonic for deadlines and latencies, wall for what people and files see. Nothing calls a global now(): the
// clock comes with the loop or the Env, so that tests move it by hand (tests/fakes/manual_clock.h).
#pragma once

#include <chrono>
#include <cstdint>

namespace trellis {
inline namespace base {

using Duration = std::chrono::nanoseconds;
using Time = std::chrono::time_point<std::chrono::steady_clock, Duration>;      // monotonic
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;  // UTC, may jump
using Deadline = Time;

inline constexpr Time kNever = Time::max();

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Time now() const noexcept = 0;
  virtual WallTime wall() const noexcept = 0;
};

// The machine's own clocks. One for the process, any thread.
Clock& system_clock() noexcept;

// now + span without overflow, whatever `now` is: an infinite span gives kNever. A span is not negative.
constexpr Deadline after(Time now, Duration span) noexcept {
  if (span == Duration::max()) return kNever;
  return now >= kNever - span ? kNever : now + span;
}

inline int64_t unix_millis(WallTime t) noexcept {
  return std::chrono::duration_cast<std::chrono::milliseconds>(t.time_since_epoch()).count();
}
inline int64_t unix_seconds(WallTime t) noexcept {
  return std::chrono::floor<std::chrono::seconds>(t.time_since_epoch()).count();
}
inline double seconds(Duration d) noexcept { return std::chrono::duration<double>(d).count(); }

}  // namespace base
}  // namespace trellis
