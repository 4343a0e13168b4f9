#include "proxy/shedder.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/metrics.h"
#include "runtime/loop.h"

namespace trellis::proxy {

using namespace std::chrono_literals;

namespace {
constexpr int kWeight = 8;       // a measure counts an eighth
constexpr Duration kTick = 1ms;  // that much a timer may be late anyway
}  // namespace

std::string_view to_string(Priority priority) noexcept {
  switch (priority) {
    case Priority::low: return "low";
    case Priority::normal: return "normal";
    case Priority::high: return "high";
  }
  return "normal";
}

config::Fields<ShedConfig> ShedConfig::fields() {
  return {{"lag",
           "how late a core may be before it refuses requests of low priority; normal ones at twice, high ones at four "
           "times as much; 0: never",
           &ShedConfig::lag, config::range(0ms, 1min)}};
}

void ShedRule::measured(Duration lag) noexcept { lag_ += (std::max(lag, Duration::zero()) - lag_) / kWeight; }

double ShedRule::share(Priority priority) const noexcept {
  const Duration begins = limit_ * (1 << static_cast<int>(priority));
  return std::clamp(seconds(lag_) / seconds(begins) - 1, 0.0, 1.0);
}

Shedder::Shedder(const ShedConfig& config, size_t core, Metrics& metrics)
    : on_(config.lag > Duration::zero()), rule_(config.lag), timer_(&Shedder::fire, this) {
  if (!on_) return;
  gauge_ =
      metrics.computed("trellis_loop_lag_seconds", "how late a core's loop is, smoothed",
                       {{"core", std::to_string(core)}}, [this] { return shown_.load(std::memory_order_relaxed); });
}

bool Shedder::refuses(Priority priority, Loop& loop) noexcept {
  if (!on_) return false;
  asked_ = true;
  if (timer_.due() == kNever) {
    due_ = loop.now() + kEvery;
    timer_.set(loop.timers(), due_);
  }
  const double share = rule_.share(priority);
  return share > 0 && loop.rng().unit() < share;
}

void Shedder::fire(Timer& timer) noexcept {
  auto& self = *static_cast<Shedder*>(timer.owner());
  Loop& loop = Loop::current();
  // What was run in this turn before the timers made requests wait, too.
  self.rule_.measured(loop.exact_now() - self.due_ - kTick);
  self.shown_.store(seconds(self.rule_.lag()), std::memory_order_relaxed);
  // Nobody asked for a while: the next request begins anew, and an idle core is left asleep.
  if (!std::exchange(self.asked_, false) && self.rule_.lag() < kTick) return;
  self.due_ = loop.now() + kEvery;
  timer.set(loop.timers(), self.due_);
}

}  // namespace trellis::proxy
