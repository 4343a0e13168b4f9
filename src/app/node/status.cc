#include "app/node/status.h"

#include "app/version.h"
#include "base/json.h"

namespace trellis::app {

Status::Status(std::string node, size_t cores, std::string io, Time started)
    : node_(std::move(node)), cores_(cores), io_(std::move(io)), started_(started) {}

void Status::set_tiers(std::vector<TierSource> tiers) {
  std::lock_guard lock(mutex_);
  tiers_.clear();
  for (TierSource& source : tiers) tiers_.push_back({std::move(source), {}});
}

void Status::sample(Time now) {
  std::lock_guard lock(mutex_);
  for (Tier& tier : tiers_) {
    Reading reading{.at = now};
    if (tier.source.requests) reading.requests = tier.source.requests();
    if (tier.source.errors) reading.errors = tier.source.errors();
    if (tier.source.hits) reading.hits = tier.source.hits();
    if (tier.source.misses) reading.misses = tier.source.misses();
    if (tier.source.seconds) reading.seconds = tier.source.seconds();
    tier.readings.push_back(std::move(reading));
    if (tier.readings.size() > kWindow + 1) tier.readings.erase(tier.readings.begin());
  }
}

std::string Status::json(Time now) const {
  std::lock_guard lock(mutex_);
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.member("node", node_);
  json.member("version", kVersion);
  json.member("uptime_seconds", seconds(now - started_));
  json.member("cores", static_cast<uint64_t>(cores_));
  json.member("io", io_);
  json.key("tiers");
  json.begin_array();
  for (const Tier& tier : tiers_) {
    json.begin_object();
    json.member("id", tier.source.id);
    json.member("name", tier.source.name);
    json.member("kind", tier.source.kind);
    json.key("figures");
    json.begin_object();
    if (tier.readings.size() >= 2) {
      const Reading& first = tier.readings.front();
      const Reading& last = tier.readings.back();
      const double span = seconds(last.at - first.at);
      if (tier.source.requests && span > 0) {
        json.member("requests_per_second", static_cast<double>(last.requests - first.requests) / span);
      }
      if (tier.source.errors && span > 0) {
        json.member("errors_per_second", static_cast<double>(last.errors - first.errors) / span);
      }
      if (tier.source.seconds) {
        const Histogram::Snapshot recent = last.seconds.minus(first.seconds);
        if (recent.count > 0) {
          json.member("p50_ms", recent.quantile(0.5) * 1000);
          json.member("p99_ms", recent.quantile(0.99) * 1000);
        }
      }
      if (tier.source.hits) {
        const uint64_t hits = last.hits - first.hits;
        const uint64_t asked = hits + last.misses - first.misses;
        if (asked > 0) json.member("hit_ratio", static_cast<double>(hits) / static_cast<double>(asked));
      }
    }
    for (const auto& [name, read] : tier.source.gauges) json.member(name, read());
    json.end_object();
    json.end_object();
  }
  json.end_array();
  json.end_object();
  return text;
}

}  // namespace trellis::app
