#include "proxy/fault_plan.h"

#include <algorithm>
#include <string>
#include <string_view>

namespace trellis::proxy {

namespace {

using config::DurationRange;

constexpr Duration kLongest = std::chrono::hours(1);

// 100ms is 100ms..100ms.
Result<DurationRange> time_from_text(std::string_view text) {
  DurationRange out;
  if (text.find("..") == std::string_view::npos) {
    TRY(out.low, config::parse_duration(text));
    out.high = out.low;
  } else {
    TRY(out, DurationRange::from_text(text));
  }
  if (out.high > kLongest) return fail(Code::invalid_argument, "is longer than an hour");
  return out;
}

template <class Config>
config::Fields<Config> delay_fields(const char* share) {
  return {{"time", "how long, drawn evenly from a range", &Config::time, config::kRequired,
           config::parsed<DurationRange>("time such as 100ms or 100ms..500ms", time_from_text)},
          {"share", share, &Config::share, config::percent()}};
}

}  // namespace

config::Fields<RequestDelayConfig> RequestDelayConfig::fields() {
  return delay_fields<RequestDelayConfig>("of the requests");
}
config::Fields<ConnectionDelayConfig> ConnectionDelayConfig::fields() {
  return delay_fields<ConnectionDelayConfig>("of the connections");
}
config::Fields<DatagramDelayConfig> DatagramDelayConfig::fields() {
  return delay_fields<DatagramDelayConfig>("of the datagrams");
}

config::Fields<FaultAbortConfig> FaultAbortConfig::fields() {
  return {{"status", "status of the answer", &FaultAbortConfig::status, config::range(400, 599)},
          {"share", "of the requests", &FaultAbortConfig::share, config::percent()}};
}

config::Fields<FaultResetConfig> FaultResetConfig::fields() {
  return {{"share", "of the requests", &FaultResetConfig::share, config::percent()}};
}

FaultPlan::FaultPlan(const std::optional<FaultDelayConfig>& delay, const std::optional<FaultAbortConfig>& abort,
                     const std::optional<FaultResetConfig>& reset) noexcept {
  if (delay) {
    delay_ = delay->time;
    delay_share_ = delay->share;
  }
  if (abort) {
    abort_ = abort->status;
    abort_share_ = abort->share;
  }
  if (reset) reset_share_ = reset->share;
}

Fault FaultPlan::draw(Rng& rng) const noexcept {
  Fault fault;
  const bool delayed = rng.unit() < delay_share_;
  const uint64_t more = rng.below(static_cast<uint64_t>((delay_.high - delay_.low).count()) + 1);
  if (delayed) fault.delay = delay_.low + Duration(static_cast<int64_t>(more));
  fault.reset = rng.unit() < reset_share_;
  if (rng.unit() < abort_share_ && !fault.reset) fault.abort = abort_;
  return fault;
}

Pace::Pace(uint64_t rate) noexcept : rate_(rate), slice_(std::clamp<uint64_t>(rate / 20, 1, kMaxSlice)) {}

Duration Pace::time_for(size_t bytes) const noexcept {
  return Duration(static_cast<int64_t>(uint64_t{bytes} * 1'000'000'000 / rate_));
}

Time Pace::take(Time now, size_t bytes) noexcept {
  // A timer that fires late is made up for, a reader that was slow for longer than a slice is not.
  free_ = std::max(free_, free_ == Time{} ? now : now - time_for(slice_)) + time_for(bytes);
  return free_;
}

}  // namespace trellis::proxy
