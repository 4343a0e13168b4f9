// Who of an upstream's hosts stands out by its answers of the last interval: by its share of errors, by being far
// worse than its neighbours, by being far slower. Pure arithmetic on sums; host_watch.h feeds it. The statistical rule
// is that of Envoy's outlier detection: a success rate below mean - 1.9 standard deviations, of five hosts or more.
// Two floors keep noise from ejecting anybody: kLeastGap and kLeastDelay. Times in seconds.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trellis::upstream {

enum class EjectReason : uint8_t { consecutive_errors, error_rate, success_rate, latency };
std::string_view to_string(EjectReason reason) noexcept;

// What one host did in an interval.
struct HostInterval {
  uint64_t answers = 0;  // those that did not come, too
  uint64_t errors = 0;   // at most answers
  double seconds = 0;    // sum of the times to answer
};

struct OutlierRules {
  std::optional<double> error_rate;
  std::optional<double> slower_than;
  uint64_t min_requests = 20;
};

inline constexpr double kDeviations = 1.9;
inline constexpr size_t kLeastForDeviation = 5;  // hosts with enough requests: of fewer, none can be 1.9 away
inline constexpr size_t kLeastForLatency = 3;
inline constexpr double kLeastGap = 0.05;     // below the mean success rate
inline constexpr double kLeastDelay = 0.005;  // seconds beyond the median

struct Outlier {
  size_t host;  // its place in the input
  EjectReason reason;
  double measured;  // its error rate, success rate or mean seconds
  double limit;     // what it should have kept

  std::string to_string() const;  // "64% errors, 50% at most"
};

// The worst first, each host once: those with errors before those that are slow.
std::vector<Outlier> find_outliers(std::span<const HostInterval> hosts, const OutlierRules& rules);

}  // namespace trellis::upstream
