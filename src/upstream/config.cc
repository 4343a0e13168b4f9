#include "upstream/config.h"

namespace trellis::upstream {

using namespace std::chrono_literals;

config::Fields<HostConfig> HostConfig::fields() {
  return {{"address", "HOST:PORT of the server; a name is resolved at start and at reload", &HostConfig::address,
           config::kRequired}};
}

Result<HostConfig> HostConfig::from_text(std::string_view text) {
  HostConfig host;
  TRY(host.address, config::HostPort::from_text(text));
  return host;
}

std::string HostConfig::to_text() const { return address.to_text(); }

config::Fields<TimeoutConfig> TimeoutConfig::fields() {
  return {{"connect", "for a new connection", &TimeoutConfig::connect, config::range(1ms, 5min)},
          {"first_byte", "from the end of the request to the head of the answer", &TimeoutConfig::first_byte,
           config::range(1ms, 24h)},
          {"total", "from the first attempt to the head of the answer, repeats included; not for requests with a body",
           &TimeoutConfig::total, config::range(1ms, 24h)},
          {"idle", "between two pieces of a body, either way", &TimeoutConfig::idle, config::range(1ms, 24h)}};
}

config::Fields<LimitConfig> LimitConfig::fields() {
  return {
      {"connections", "open at once from one core to one host; beyond it requests get 503", &LimitConfig::connections,
       config::range(1, 65535)},
      {"idle_connections", "kept for the next request, of one core to one host", &LimitConfig::idle_connections,
       config::range(0, 65535)},
      {"idle_time", "after which an unused connection is closed", &LimitConfig::idle_time, config::range(100ms, 24h)}};
}

config::Fields<UpstreamConfig> UpstreamConfig::fields() {
  return {{"balance", "how a host is picked", &UpstreamConfig::balance,
           config::one_of<Balance>({{"round_robin", Balance::round_robin}})},
          {"hosts", "the servers", &UpstreamConfig::hosts, config::kRequired},
          {"timeouts", "how long each step may take", &UpstreamConfig::timeouts},
          {"limits", "connections", &UpstreamConfig::limits}};
}

}  // namespace trellis::upstream
