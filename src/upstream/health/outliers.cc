#include "upstream/health/outliers.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace trellis::upstream {

namespace {

double success_of(const HostInterval& host) {
  return 1.0 - static_cast<double>(host.errors) / static_cast<double>(host.answers);
}
double mean_of(const HostInterval& host) { return host.seconds / static_cast<double>(host.answers); }

// Of the values but the one at `without`; `values` is sorted.
double median_of_others(std::span<const double> values, double without) {
  const auto self = std::ranges::lower_bound(values, without) - values.begin();
  const size_t count = values.size() - 1;
  const auto at = [&](size_t i) { return values[i < static_cast<size_t>(self) ? i : i + 1]; };
  return count % 2 == 1 ? at(count / 2) : (at(count / 2 - 1) + at(count / 2)) / 2;
}

void find_errors(std::span<const HostInterval> hosts, std::span<const size_t> judged, double most,
                 std::vector<Outlier>& out) {
  double limit = 0;  // of the success rate, by its neighbours; 0: there are too few
  if (judged.size() >= kLeastForDeviation) {
    double sum = 0;
    double squares = 0;
    for (const size_t i : judged) sum += success_of(hosts[i]);
    const double mean = sum / static_cast<double>(judged.size());
    for (const size_t i : judged) squares += (success_of(hosts[i]) - mean) * (success_of(hosts[i]) - mean);
    const double deviation = std::sqrt(squares / static_cast<double>(judged.size()));
    limit = std::min(mean - kDeviations * deviation, mean - kLeastGap);
  }
  for (const size_t i : judged) {
    const double success = success_of(hosts[i]);
    const double errors = static_cast<double>(hosts[i].errors) / static_cast<double>(hosts[i].answers);
    if (errors >= most) {
      out.push_back({i, EjectReason::error_rate, errors, most});
    } else if (success < limit) {
      out.push_back({i, EjectReason::success_rate, success, limit});
    }
  }
  std::ranges::stable_sort(
      out, [&](const Outlier& a, const Outlier& b) { return success_of(hosts[a.host]) < success_of(hosts[b.host]); });
}

void find_slow(std::span<const HostInterval> hosts, std::span<const size_t> judged, double factor,
               std::vector<Outlier>& out) {
  if (judged.size() < kLeastForLatency) return;
  std::vector<double> means;
  for (const size_t i : judged) means.push_back(mean_of(hosts[i]));
  std::ranges::sort(means);
  std::vector<Outlier> slow;
  for (const size_t i : judged) {
    const double mean = mean_of(hosts[i]);
    const double median = median_of_others(means, mean);
    const double limit = std::max(median * factor, median + kLeastDelay);
    if (mean > limit) slow.push_back({i, EjectReason::latency, mean, limit});
  }
  std::ranges::stable_sort(slow, [](const Outlier& a, const Outlier& b) { return a.measured > b.measured; });
  for (const Outlier& each : slow) {
    const auto is_it = [&](const Outlier& other) { return other.host == each.host; };
    if (std::ranges::none_of(out, is_it)) out.push_back(each);
  }
}

}  // namespace

std::string_view to_string(EjectReason reason) noexcept {
  switch (reason) {
    case EjectReason::consecutive_errors: return "consecutive_errors";
    case EjectReason::error_rate: return "error_rate";
    case EjectReason::success_rate: return "success_rate";
    case EjectReason::latency: return "latency";
  }
  return "";
}

std::string Outlier::to_string() const {
  char text[96];
  switch (reason) {
    case EjectReason::consecutive_errors: return "";
    case EjectReason::error_rate:
      std::snprintf(text, sizeof text, "%.1f%% errors, limit %.1f%%", measured * 100, limit * 100);
      break;
    case EjectReason::success_rate:
      std::snprintf(text, sizeof text, "%.1f%% good answers, %.1f%% expected by its neighbours", measured * 100,
                    limit * 100);
      break;
    case EjectReason::latency:
      std::snprintf(text, sizeof text, "%.0f ms to answer, %.0f ms expected by its neighbours", measured * 1000,
                    limit * 1000);
      break;
  }
  return text;
}

std::vector<Outlier> find_outliers(std::span<const HostInterval> hosts, const OutlierRules& rules) {
  std::vector<size_t> judged;
  for (size_t i = 0; i < hosts.size(); ++i) {
    if (hosts[i].answers > 0 && hosts[i].answers >= rules.min_requests) judged.push_back(i);
  }
  std::vector<Outlier> out;
  if (rules.error_rate) find_errors(hosts, judged, *rules.error_rate, out);
  if (rules.slower_than) find_slow(hosts, judged, *rules.slower_than, out);
  return out;
}

}  // namespace trellis::upstream
