// What a core that falls behind does about it: it refuses requests, the least important first, so that it can answer
// the others in time. How far behind it is, is how late its own timer fires: a loop with time to spare is on time, one
// with more to do than it can leaves everything waiting, requests and timers alike. Measured every 10 ms while there
// are requests, smoothed by eighths (as RFC 6298 does round-trip times), so that one pause is no overload.
//
// Beyond `lag` requests of low priority are refused, beyond twice of it normal ones too, beyond four times high ones;
// each with a chance that grows from 0 there to 1 at double that lag, so that there is no cliff: what is refused
// is as much as needed. Graded priorities: Maurer, "Fail at Scale" (ACM Queue, 2015); Zhou et al., "Overload Control
// for Scaling WeChat Microservices" (2018).
//
// One a core, for as long as the core runs. Pipeline::handle asks it once it knows the route.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/time.h"
#include "config/fields.h"
#include "runtime/timer.h"

namespace trellis {
inline namespace base {
class Metrics;
}
inline namespace runtime {
class Loop;
}
}  // namespace trellis

namespace trellis::proxy {

enum class Priority : uint8_t { low, normal, high };
std::string_view to_string(Priority priority) noexcept;

struct ShedConfig {
  Duration lag = std::chrono::milliseconds(500);  // 0: never shed
  static config::Fields<ShedConfig> fields();
};

// The rule alone: lags in, shares out.
class ShedRule {
 public:
  explicit ShedRule(Duration lag) noexcept : limit_(lag) {}
  void measured(Duration lag) noexcept;
  Duration lag() const noexcept { return lag_; }  // smoothed
  // Of the requests of this priority, that are to be refused: 0 to 1.
  double share(Priority priority) const noexcept;

 private:
  Duration limit_;
  Duration lag_{0};
};

class Shedder {
 public:
  static constexpr Duration kEvery = std::chrono::milliseconds(10);

  Shedder(const ShedConfig& config, size_t core, Metrics& metrics);
  Shedder(const Shedder&) = delete;
  Shedder& operator=(const Shedder&) = delete;
  // Whether a request that came just now is to be refused. On the loop of its core.
  bool refuses(Priority priority, Loop& loop) noexcept;

 private:
  static void fire(Timer& timer) noexcept;

  bool on_;
  bool asked_ = false;  // since the timer fired
  ShedRule rule_;
  Timer timer_;
  Time due_{};
  std::atomic<double> shown_{0};  // the lag in seconds, for the metrics
  std::shared_ptr<void> gauge_;
};

}  // namespace trellis::proxy
