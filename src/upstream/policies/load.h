// What the policies share: how a host's weight grows in its slow start, and its load against that weight.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>

#include "upstream/balancer.h"

namespace trellis::upstream {

// Between a tenth of the weight, when the host came, and all of it, `slow_start` later. Never 0.
inline double weight_at(const BalanceHost& host, Duration slow_start, Time now) noexcept {
  const double weight = host.weight;
  const Time joined = host.load->joined;
  if (slow_start <= Duration::zero() || joined == Time::min() || now >= after(joined, slow_start)) return weight;
  const double ramp = now <= joined ? 0 : seconds(now - joined) / seconds(slow_start);  // at no time, too
  return weight * std::clamp(ramp, 0.1, 1.0);
}

inline bool contains(std::span<const HostId> tried, HostId id) noexcept {
  return std::find(tried.begin(), tried.end(), id) != tried.end();
}

constexpr double kLeastTime = 1e-6;  // seconds: what is below says nothing any more

// Requests under way by weight. WHY not of one request more: of hosts without work the heaviest would get all there is,
// and the others nothing for as long as one request comes after the other.
inline double crowding(const BalanceHost& host, Duration slow_start, Time now) noexcept {
  return host.load->active / weight_at(host, slow_start, now);
}

// The time that one request more would take at a host. One of which nothing is known yet is as good as any while it has
// no work, and waits for its first answer then.
inline double expected_time(const BalanceHost& host, Duration slow_start, Duration decay, Time now) noexcept {
  const double crowd = (host.load->active + 1.0) / weight_at(host, slow_start, now);
  const HostLoad& load = *host.load;
  if (load.measured == Time::min()) return load.active == 0 ? 0 : HUGE_VAL * crowd;
  const double age = seconds(std::max(now - load.measured, Duration::zero()));
  return std::max(load.seconds * std::exp(-age / seconds(decay)), kLeastTime) * crowd;
}

}  // namespace trellis::upstream
