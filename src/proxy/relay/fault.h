// Faults on purpose for what a relay passes on: connections that wait, break or are slow, datagrams that get lost or
// come late. proxy/fault_plan.h draws, as for routes. Null in the options of a relay without `fault`, which then does
// nothing that it would not do otherwise. One of a listener and core; immutable but for its counters.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/fields.h"
#include "proxy/fault_plan.h"

namespace trellis {
inline namespace base {
class Counter;
class Metrics;
}  // namespace base
}  // namespace trellis

namespace trellis::proxy {

struct ResetAfterConfig {
  double share = 1;
  uint64_t after = 0;  // bytes, both ways together
  static config::Fields<ResetAfterConfig> fields();
};

struct TcpFaultConfig {
  std::optional<ConnectionDelayConfig> delay;
  std::optional<ResetAfterConfig> reset;
  uint64_t bandwidth = 0;  // bytes a second and direction; 0: any
  static config::Fields<TcpFaultConfig> fields();
  void check(config::Checker& at) const;
};

struct FaultDropConfig {
  double share = 1;
  static config::Fields<FaultDropConfig> fields();
};

struct UdpFaultConfig {
  std::optional<FaultDropConfig> drop;
  std::optional<DatagramDelayConfig> delay;
  static config::Fields<UdpFaultConfig> fields();
  void check(config::Checker& at) const;
};

struct TcpFaults {
  TcpFaults(const TcpFaultConfig& config, Metrics& metrics, const std::string& listener);

  const FaultPlan plan;
  const uint64_t reset_after;
  const uint64_t bandwidth;
  Counter& delays;
  Counter& resets;
  Counter& paced;
};

struct UdpFaults {
  UdpFaults(const UdpFaultConfig& config, Metrics& metrics, const std::string& listener);

  const FaultPlan plan;  // a datagram that draws a reset is lost
  Counter& delays;
  Counter& drops;
};

}  // namespace trellis::proxy
