// What a configuration says of an upstream: its hosts and how they are treated. Plain values; read by field tables.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "config/fields.h"

namespace trellis::upstream {

struct HostConfig {
  config::HostPort address;
  static config::Fields<HostConfig> fields();
  static Result<HostConfig> from_text(std::string_view text);
  static constexpr std::string_view kText = "HOST:PORT such as 10.0.0.11:8080";
  std::string to_text() const;
};

struct TimeoutConfig {
  Duration connect = std::chrono::seconds(1);
  Duration first_byte = std::chrono::seconds(10);
  Duration idle = std::chrono::seconds(60);
  Duration total = std::chrono::seconds(60);
  static config::Fields<TimeoutConfig> fields();
};

struct LimitConfig {
  uint32_t connections = 1024;  // of one core to one host
  uint32_t idle_connections = 256;
  Duration idle_time = std::chrono::seconds(60);
  static config::Fields<LimitConfig> fields();
};

enum class Balance : uint8_t { round_robin };

struct UpstreamConfig {
  Balance balance = Balance::round_robin;
  std::vector<HostConfig> hosts;
  TimeoutConfig timeouts;
  LimitConfig limits;
  static config::Fields<UpstreamConfig> fields();
};

}  // namespace trellis::upstream
