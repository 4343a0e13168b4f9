#include "upstream/host_figures.h"

#include "base/metrics.h"

namespace trellis::upstream {

HostFigures::HostFigures(Metrics& metrics, std::string upstream, std::string host)
    : metrics_(metrics), upstream_(std::move(upstream)), host_(std::move(host)) {}

Counter& HostFigures::counter(std::string_view name, std::string_view help, const char* label, std::string_view value) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Counter>& one = counters_[{name, std::string(value)}];
  if (!one)
    one = metrics_.held_counter(name, help, {{"upstream", upstream_}, {"host", host_}, {label, std::string(value)}});
  return *one;
}

Counter& HostFigures::connections(std::string_view event) {
  return counter("trellis_upstream_connection_events_total", "connections to an upstream's host by what became of them",
                 "event", event);
}

Counter& HostFigures::answers(std::string_view code) {
  return counter("trellis_upstream_requests_total", "answers of an upstream's host; code none: there was none", "code",
                 code);
}

Counter& HostFigures::checks(std::string_view outcome) {
  return counter("trellis_upstream_checks_total", "active checks of an upstream's hosts by their outcome", "outcome",
                 outcome);
}

Counter& HostFigures::ejections(std::string_view reason) {
  return counter("trellis_upstream_ejections_total", "times a host was put out for its answers", "reason", reason);
}

Histogram& HostFigures::seconds() {
  const std::lock_guard lock(mutex_);
  if (!seconds_) {
    seconds_ = metrics_.held_histogram("trellis_upstream_seconds", "time from the request to the head of the answer",
                                       {{"upstream", upstream_}, {"host", host_}});
  }
  return *seconds_;
}

}  // namespace trellis::upstream
