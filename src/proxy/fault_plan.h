// Which faults a request (or a relayed connection) meets, and how fast its bytes may go: the pure part of fault
// injection, for routes (proxy/filters/fault.h) and relays alike. Faults stand in for bad networks and broken servers;
// draws come from the caller's seeded generator, so that a drill can be repeated. No clock, no I/O; any core, a Pace
// belongs to one stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/rng.h"
#include "base/time.h"
#include "config/fields.h"

namespace trellis::proxy {

// Each user says in fields() of its own what the share is of.
struct FaultDelayConfig {
  config::DurationRange time;
  double share = 1;
};
struct RequestDelayConfig : FaultDelayConfig {
  static config::Fields<RequestDelayConfig> fields();
};
struct ConnectionDelayConfig : FaultDelayConfig {
  static config::Fields<ConnectionDelayConfig> fields();
};
struct DatagramDelayConfig : FaultDelayConfig {
  static config::Fields<DatagramDelayConfig> fields();
};
struct FaultAbortConfig {
  int status = 503;
  double share = 1;
  static config::Fields<FaultAbortConfig> fields();
};
struct FaultResetConfig {
  double share = 1;
  static config::Fields<FaultResetConfig> fields();
};

struct Fault {
  Duration delay{};  // before anything else
  bool reset = false;
  int abort = 0;  // status of the answer; 0: none
};

class FaultPlan {
 public:
  FaultPlan() = default;
  FaultPlan(const std::optional<FaultDelayConfig>& delay, const std::optional<FaultAbortConfig>& abort,
            const std::optional<FaultResetConfig>& reset) noexcept;

  // Each kind by its own share, independent of the others; a reset comes before an abort. Always the same number of
  // draws, so that a changed share does not change what the others do.
  Fault draw(Rng& rng) const noexcept;

 private:
  config::DurationRange delay_;
  double delay_share_ = 0;
  int abort_ = 503;
  double abort_share_ = 0;
  double reset_share_ = 0;
};

// A token bucket for the bytes of one stream: `rate` a second, with credit for one slice.
class Pace {
 public:
  static constexpr size_t kMaxSlice = 64 << 10;

  // Bytes a second, above 0.
  explicit Pace(uint64_t rate) noexcept;
  // The most that leaves at once: a twentieth of a second's, a byte at least.
  size_t slice() const noexcept { return slice_; }
  // When these bytes may leave: at the end of the time that they take. Precondition: bytes <= slice().
  Time take(Time now, size_t bytes) noexcept;

 private:
  Duration time_for(size_t bytes) const noexcept;
  uint64_t rate_;
  size_t slice_;
  Time free_{};  // when what was taken has left
};

}  // namespace trellis::proxy
