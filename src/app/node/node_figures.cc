#include <set>

#include "app/node/node_impl.h"
#include "app/node/tiers.h"
#include "base/log.h"
#include "services/links/links.h"

namespace trellis::app {

void Node::Impl::watch() {
  const auto gauge = [&](std::string_view name, std::string_view help, Labels labels, std::function<double()> read,
                         bool counter = false) {
    gauges.push_back(metrics.computed(name, help, std::move(labels), std::move(read), counter));
  };
  for (size_t i = 0; i < cores->size(); ++i) {
    Loop& loop = cores->loop(i);
    const std::string core = std::to_string(i);
    gauge(
        "trellis_cpu_seconds_total", "CPU time of a core's thread", {{"core", core}},
        [&loop] { return loop.cpu_seconds(); }, true);
    gauge("trellis_loop_busy_ratio", "share of time a core's loop was not waiting", {{"core", core}},
          [&loop] { return loop.busy_ratio(); });
  }
  gauge("trellis_memory_bytes", "memory of the process", {{"kind", "resident"}}, [] {
    long pages = 0;
    if (FILE* statm = std::fopen("/proc/self/statm", "re")) {
      long total = 0;
      if (std::fscanf(statm, "%ld %ld", &total, &pages) != 2) pages = 0;
      std::fclose(statm);
    }
    return static_cast<double>(pages) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  });
  std::vector<std::shared_ptr<const proxy::HeldMemory>> held;
  for (const auto& state : states) held.push_back(state->held);
  gauge("trellis_memory_bytes", "memory of the process", {{"kind", "bodies"}}, [held = std::move(held)] {
    uint64_t sum = 0;
    for (const auto& one : held) sum += one->used();
    return static_cast<double>(sum);
  });
  gauge(
      "trellis_log_dropped_total", "lines of the node's own log that found no room", {},
      [] { return static_cast<double>(log_dropped()); }, true);
}

// Connections of the listeners, from counters that every core adds to.
void Node::Impl::watch_connections() {
  connection_gauges.clear();
  for (const auto& [name, listener] : current->config.values.listeners) {
    connection_gauges.push_back(proxy::watch_connections(metrics, name));
  }
  for (const auto& [name, resolved] : current->upstreams) {
    if (resolved.breaker) connection_gauges.push_back(upstream::watch_breaker(metrics, name, resolved.breaker));
  }
}

void Node::Impl::set_tiers() {
  const NodeConfig& values = current->config.values;
  std::vector<TierSource> tiers;
  std::vector<std::shared_ptr<proxy::RouteFigures>> all_figures;
  std::vector<std::shared_ptr<proxy::RouteCounts>> all_counts;
  for (const auto& [name, one] : figures) all_figures.push_back(one);
  for (const auto& [key, one] : counts) all_counts.push_back(one);
  tiers.push_back(edge_tier(all_figures, all_counts));
  for (const config::Entry& entry : values.services) {
    const auto* links = entry.as<services::links::LinksConfig>();
    if (!links) continue;
    std::set<std::shared_ptr<proxy::RouteFigures>> own_figures;
    std::set<std::shared_ptr<proxy::RouteCounts>> own_counts;
    for (const proxy::RouteConfig& route : values.routes) {
      if (route.to.which() != proxy::TargetConfig::Kind::service || route.to.name != entry.name) continue;
      own_figures.insert(figures.at(route.label()));
      for (const auto& [name, listener] : values.listeners) {
        if (listener.kind() == ListenerConfig::Kind::http) own_counts.insert(counts.at({name, route.label()}));
      }
    }
    tiers.push_back(service_tier("links", "Links", {own_figures.begin(), own_figures.end()},
                                 {own_counts.begin(), own_counts.end()}));
    const cache::MemoryCache* hot = current->caches.at(links->cache)->cache.get();
    tiers.push_back(cache_tier(metrics, *hot, "links"));
    tiers.push_back(store_tier(metrics, links->store));
    tiers.push_back(queue_tier(metrics, "clicks", "Click counter"));
  }
  status->set_tiers(std::move(tiers));
}

}  // namespace trellis::app
