#include "proxy/relay/fault.h"

#include "base/metrics.h"

namespace trellis::proxy {

namespace {

Counter& faults(Metrics& metrics, const std::string& listener, const char* kind) {
  return metrics.counter("trellis_relay_faults_total", "faults of relays that were injected by configuration",
                         {{"listener", listener}, {"fault", kind}});
}

// Of the plan only the draw is wanted.
template <class Config>
std::optional<FaultResetConfig> draws(const std::optional<Config>& fault) {
  if (!fault) return std::nullopt;
  return FaultResetConfig{fault->share};
}

}  // namespace

config::Fields<ResetAfterConfig> ResetAfterConfig::fields() {
  return {{"share", "of the connections", &ResetAfterConfig::share, config::percent()},
          {"after", "bytes that pass first, both ways together; 0: none, and no host is asked",
           &ResetAfterConfig::after, config::size(0, config::kTiB)}};
}

config::Fields<TcpFaultConfig> TcpFaultConfig::fields() {
  return {{"delay", "before a host is asked", &TcpFaultConfig::delay},
          {"reset", "both sides are reset", &TcpFaultConfig::reset},
          {"bandwidth", "how fast bytes pass each way of a connection, in bytes a second; 0: any",
           &TcpFaultConfig::bandwidth, config::size(0, config::kTiB), config::unit("a second")}};
}

void TcpFaultConfig::check(config::Checker& at) const {
  if (!delay && !reset && bandwidth == 0) at.problem("", "does nothing", "give delay, reset or bandwidth");
}

config::Fields<FaultDropConfig> FaultDropConfig::fields() {
  return {{"share", "of the datagrams", &FaultDropConfig::share, config::percent()}};
}

config::Fields<UdpFaultConfig> UdpFaultConfig::fields() {
  return {{"drop", "the datagram is lost, on its way there or back", &UdpFaultConfig::drop},
          {"delay", "it is passed on so much later", &UdpFaultConfig::delay}};
}

void UdpFaultConfig::check(config::Checker& at) const {
  if (!drop && !delay) at.problem("", "does nothing", "give drop or delay");
}

TcpFaults::TcpFaults(const TcpFaultConfig& config, Metrics& metrics, const std::string& listener)
    : plan(config.delay, std::nullopt, draws(config.reset)),
      reset_after(config.reset ? config.reset->after : 0),
      bandwidth(config.bandwidth),
      delays(faults(metrics, listener, "delay")),
      resets(faults(metrics, listener, "reset")),
      paced(faults(metrics, listener, "bandwidth")) {}

UdpFaults::UdpFaults(const UdpFaultConfig& config, Metrics& metrics, const std::string& listener)
    : plan(config.delay, std::nullopt, draws(config.drop)),
      delays(faults(metrics, listener, "delay")),
      drops(faults(metrics, listener, "drop")) {}

}  // namespace trellis::proxy
