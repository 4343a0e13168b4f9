// What a configuration says of the health of an upstream's hosts: what they are asked (active checks), and when their
// answers to real requests put them out for a while (ejection). Plain values; read by field tables. docs/health.md
// gives the reasons of the defaults.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "config/fields.h"

namespace trellis::upstream {

// Statuses that are good: "200" or "200-399".
struct StatusRange {
  uint16_t low = 200;
  uint16_t high = 399;

  bool holds(int status) const noexcept { return status >= low && status <= high; }
  bool operator==(const StatusRange&) const = default;
  static Result<StatusRange> from_text(std::string_view text);
  std::string to_text() const;
  static constexpr std::string_view kText = "status or range such as 200 or 200-399";
};

struct HealthConfig {
  enum class Kind : uint8_t { http, tcp, grpc };
  enum class Method : uint8_t { get, head };
  enum class Initial : uint8_t { healthy, unhealthy };

  Kind kind = Kind::http;
  std::string path = "/";  // and query; of http
  Method method = Method::get;
  std::string host;  // of http and grpc: Host (:authority); "": the host as it is configured
  std::vector<StatusRange> status{StatusRange{}};
  std::string body;     // of http: text that must occur; "": the body is not read
  std::string send;     // of tcp
  std::string expect;   // of tcp: text that must come; "": nothing need come
  std::string service;  // of grpc; "": the server as a whole
  uint16_t port = 0;    // 0: the host's own
  Duration interval = std::chrono::seconds(10);
  Duration unhealthy_interval{0};  // of hosts that fail; 0: as interval
  Duration timeout = std::chrono::seconds(2);
  uint32_t unhealthy_after = 3;
  uint32_t healthy_after = 2;
  Initial initial = Initial::healthy;

  bool good_status(int answered) const noexcept;
  std::string status_text() const;  // "200-299, 401"
  static config::Fields<HealthConfig> fields();
  void check(config::Checker& at) const;
};

struct EjectConfig {
  uint32_t consecutive_errors = 5;  // 0: off
  std::optional<double> error_rate;
  std::optional<double> slower_than;
  uint32_t min_requests = 20;
  Duration interval = std::chrono::seconds(10);
  Duration base_time = std::chrono::seconds(30);
  Duration max_time = std::chrono::minutes(5);
  double max_share = 0.5;

  static config::Fields<EjectConfig> fields();
  void check(config::Checker& at) const;
  static Result<EjectConfig> from_text(std::string_view text);  // "off"
  static constexpr std::string_view kText = "off";
};

}  // namespace trellis::upstream
