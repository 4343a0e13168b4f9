// The words a configuration is made of: durations, sizes, shares, rates, addresses; from text and back. Values carry
// units
// (`250ms`, `64MiB`, `20%`), because a bare number is read differently by each reader. Pure functions, any core. Each
// from_text answers with the reason only; who reads adds the place and, unless it is secret, the value.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/time.h"

namespace trellis::config {

inline constexpr uint64_t kKiB = uint64_t{1} << 10;
inline constexpr uint64_t kMiB = uint64_t{1} << 20;
inline constexpr uint64_t kGiB = uint64_t{1} << 30;
inline constexpr uint64_t kTiB = uint64_t{1} << 40;

// 250ms 1.5s 30s 5m 1h 2d, and 0; also us and ns.
Result<Duration> parse_duration(std::string_view text);
std::string format_duration(Duration value);  // in the largest unit that keeps it whole: "90s", "2h"

// 64MiB 512KiB 1GB 100B, and 0. KiB counts by 1024, KB by 1000.
Result<uint64_t> parse_size(std::string_view text);
std::string format_size(uint64_t value);

// "20%" -> 0.2
Result<double> parse_percent(std::string_view text);
std::string format_percent(double value);

Result<double> parse_number(std::string_view text);  // finite, decimal
std::string format_number(double value);

// 25ms..250ms
struct DurationRange {
  Duration low{};
  Duration high{};

  static constexpr std::string_view kText = "duration range such as 25ms..250ms";
  static Result<DurationRange> from_text(std::string_view text);
  std::string to_text() const;
  bool operator==(const DurationRange&) const = default;
};

// 100/min: how many in what time. Units s, m or min, h, d, or a duration as in 100/10s.
struct Rate {
  double count = 0;
  Duration per = std::chrono::seconds(1);

  static constexpr std::string_view kText = "rate such as 100/min";
  static Result<Rate> from_text(std::string_view text);
  std::string to_text() const;
  double per_second() const { return count / seconds(per); }
  bool operator==(const Rate&) const = default;
};

// Host and port: 10.0.0.1:80, [::1]:80, api.internal:8080. The host of an IPv6 address is kept without its brackets.
struct HostPort {
  enum class Form : uint8_t { ipv4, ipv6, name };

  std::string host;
  uint16_t port = 0;
  Form form = Form::name;

  static constexpr std::string_view kText = "address such as 10.0.0.1:80, [::1]:80 or name:80";
  static Result<HostPort> from_text(std::string_view text);
  std::string to_text() const;
  bool operator==(const HostPort&) const = default;
};

}  // namespace trellis::config
