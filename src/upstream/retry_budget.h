// How many retries an upstream may be sent: a share of the requests of the last ten seconds, and a few a second beside,
// so that a quiet upstream can be retried too. While few requests fail, every one of them is tried again; when all
// fail, an upstream that is down or overloaded gets 20 % more to do and not three times as much. Beyer et al., "Site
// Reliability Engineering" (2016), chapter 21; the share with a floor over a window is that of Finagle's RetryBudget.
//
// One an upstream and core, of its Cluster; no allocation, constant time. In Cluster::send: budget_.request(now) once
// a request, and before every try beyond the first that an answer or a failed connect asks for: if
// (!budget_.may_retry(now)) give the client what there is. A dead pooled connection that is replaced by a fresh one is
// no retry: nobody's fault, and no load.
#pragma once

#include <array>
#include <cstdint>

#include "base/time.h"

namespace trellis::upstream {

class RetryBudget {
 public:
  static constexpr Duration kWindow = std::chrono::seconds(10);

  // `share`: of the requests, 0.2 say. `floor`: a second; of this core alone.
  RetryBudget(double share, double floor) noexcept : share_(share), floor_(floor * seconds(kWindow)) {}

  void request(Time now) noexcept;
  // Takes one out of the budget. False: it is used up.
  bool may_retry(Time now) noexcept;
  // Retries that it would let through now.
  double left(Time now) noexcept;

 private:
  struct Slot {
    uint32_t requests = 0;
    uint32_t retries = 0;
  };
  static constexpr size_t kSlots = 20;
  static constexpr Duration kSlot = kWindow / kSlots;

  Slot& move_to(Time now) noexcept;

  double share_;
  double floor_;  // in a window
  std::array<Slot, kSlots> slots_{};
  int64_t tick_ = INT64_MIN;  // of the newest slot
  uint64_t requests_ = 0;     // sums over the slots
  uint64_t retries_ = 0;
};

// Of a whole node, shared out over its cores.
inline constexpr double kRetryFloor = 10;  // a second

}  // namespace trellis::upstream
