// What a configuration says of an upstream: its hosts, who gets the next request, what is done about hosts that fail,
// and how much may be under way. Plain values; read by field tables. docs/balancing.md says what they mean.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "config/fields.h"
#include "upstream/adaptive_limit.h"
#include "upstream/balance.h"
#include "upstream/breaker.h"
#include "upstream/geo_config.h"
#include "upstream/health/config.h"
#include "upstream/sticky.h"

namespace trellis::upstream {

// One server, or where to learn of several: exactly one of `address`, `dns`, `srv` and `file` is given.
struct HostConfig {
  std::optional<config::HostPort> address;
  std::optional<config::HostPort> dns;  // every address that the name has, looked up again and again
  std::string srv;                      // _http._tcp.api.internal
  std::string file;                     // a line each: HOST:PORT [weight=N] [zone=NAME] [priority=N] [backup]
  Duration refresh{0};                  // of dns and srv; 0: as long as the answer says
  uint32_t weight = 1;
  std::string zone;
  uint32_t priority = 0;
  bool backup = false;

  static config::Fields<HostConfig> fields();
  void check(config::Checker& at) const;
  static Result<HostConfig> from_text(std::string_view text);
  static constexpr std::string_view kText = "HOST:PORT such as 10.0.0.11:8080";
  bool operator==(const HostConfig&) const = default;
};

struct TimeoutConfig {
  Duration connect = std::chrono::seconds(1);
  Duration first_byte = std::chrono::seconds(10);
  Duration idle = std::chrono::seconds(60);
  Duration total = std::chrono::seconds(60);
  Duration upgraded = std::chrono::hours(1);
  static config::Fields<TimeoutConfig> fields();
};

struct LimitConfig {
  uint32_t connections = 1024;  // of one core to one host
  uint32_t idle_connections = 256;
  Duration idle_time = std::chrono::seconds(60);
  Duration max_age{0};      // of a connection; 0: none
  uint32_t waiting = 1024;  // requests of one core that wait for a connection
  Duration wait = std::chrono::milliseconds(500);
  std::optional<AdaptiveLimitConfig> adaptive;
  static config::Fields<LimitConfig> fields();
};

// What counts as a reason to try once more.
enum class RetryOn : uint8_t { connect, reset, timeout, malformed, s500, s502, s503, s504 };
struct RetryConfig {
  uint32_t attempts = 3;  // the first included
  std::vector<RetryOn> on{RetryOn::connect, RetryOn::reset};
  config::DurationRange backoff{std::chrono::milliseconds(25), std::chrono::milliseconds(250)};
  double budget = 0.2;      // retries by requests of the last ten seconds
  Duration hedge_after{0};  // 0: never
  static config::Fields<RetryConfig> fields();
  bool covers(RetryOn what) const noexcept;
};

struct UpstreamConfig {
  Balance balance = Balance::round_robin;
  std::string hash_on = "client_address";  // or header.NAME, cookie.NAME, query.NAME, path
  std::optional<GeoConfig> geo;            // whose hosts come first for a client; none: all are alike
  double bound = 0;                        // of hash policies: most of a host's share; 0: none
  std::string zone;                        // of this node; "": zones say nothing
  double zone_share = 0.7;                 // of the hosts there that must be up, so that they serve without the others
  Duration slow_start{0};
  double panic = 0;  // share of the hosts below which those that are not up are asked, too
  std::vector<HostConfig> hosts;
  TimeoutConfig timeouts;
  RetryConfig retry;
  std::optional<HealthConfig> health;
  EjectConfig eject;
  LimitConfig limits;
  std::optional<BreakerConfig> breaker;
  std::optional<StickyConfig> sticky;
  static config::Fields<UpstreamConfig> fields();
  void check(config::Checker& at) const;
};

}  // namespace trellis::upstream
