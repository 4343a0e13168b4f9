#include "app/node/tiers.h"

#include <algorithm>

#include "cache/memory_cache.h"

namespace trellis::app {

namespace {

Histogram::Snapshot add_up(std::initializer_list<Histogram::Snapshot> parts) {
  Histogram::Snapshot all;
  for (const Histogram::Snapshot& part : parts) {
    if (all.counts.size() < part.counts.size()) all.counts.resize(part.counts.size());
    for (size_t i = 0; i < part.counts.size(); ++i) all.counts[i] += part.counts[i];
    all.count += part.count;
    all.sum_seconds += part.sum_seconds;
  }
  return all;
}

TierSource request_tier(std::string id, std::string name, std::string kind, const FiguresList& figures,
                        const CountsList& counts) {
  TierSource tier{.id = std::move(id), .name = std::move(name), .kind = std::move(kind)};
  tier.requests = [counts] {
    uint64_t total = 0;
    for (const auto& one : counts) total += one->total();
    return total;
  };
  tier.errors = [counts] {
    uint64_t total = 0;
    for (const auto& one : counts) total += one->errors();
    return total;
  };
  tier.seconds = [figures] {
    Histogram::Snapshot all;
    for (const auto& one : figures) all = add_up({all, one->seconds().snapshot()});
    return all;
  };
  tier.gauges.emplace_back("in_flight", [figures] {
    int64_t total = 0;
    for (const auto& one : figures) total += one->in_flight();
    return static_cast<double>(std::max<int64_t>(0, total));
  });
  return tier;
}

}  // namespace

TierSource edge_tier(FiguresList figures, CountsList counts) {
  return request_tier("edge", "Edge", "proxy", figures, counts);
}

TierSource service_tier(std::string id, std::string name, FiguresList figures, CountsList counts) {
  return request_tier(std::move(id), std::move(name), "service", figures, counts);
}

TierSource cache_tier(Metrics& metrics, const cache::MemoryCache& cache, const std::string& space) {
  const auto counter = [&](const char* outcome) {
    return &metrics.counter("trellis_cache_requests_total", "Lookups in a cache by what came of them.",
                            {{"cache", cache.name()}, {"space", space}, {"outcome", outcome}});
  };
  Counter* const hit = counter("hit");
  Counter* const negative = counter("negative");
  Counter* const miss = counter("miss");
  Counter* const coalesced = counter("coalesced");
  TierSource tier{.id = "cache", .name = "Cache", .kind = "memory"};
  tier.hits = [=] { return hit->value() + negative->value(); };
  tier.misses = [=] { return miss->value() + coalesced->value(); };
  tier.requests = [=] { return hit->value() + negative->value() + miss->value() + coalesced->value(); };
  tier.gauges.emplace_back("objects", [&cache] { return static_cast<double>(cache.objects()); });
  tier.gauges.emplace_back("bytes", [&cache] { return static_cast<double>(cache.bytes()); });
  return tier;
}

TierSource store_tier(Metrics& metrics, const std::string& store) {
  const auto histogram = [&](const char* op, const char* role) {
    return &metrics.histogram("trellis_store_seconds", "Time of an operation of the store, waiting included.",
                              {{"store", store}, {"op", op}, {"role", role}});
  };
  const Histogram* const write = histogram("write", "primary");
  const Histogram* const read = histogram("read", "replica");
  TierSource tier{.id = "store", .name = "Store", .kind = "sqlite"};
  tier.seconds = [=] { return add_up({write->snapshot(), read->snapshot()}); };
  tier.requests = [=] { return write->snapshot().count + read->snapshot().count; };
  return tier;
}

TierSource queue_tier(Metrics& metrics, const std::string& topic, std::string name) {
  const auto counter = [&](const char* event) {
    return &metrics.counter("trellis_queue_messages_total", "Messages of a queue by what became of them.",
                            {{"topic", topic}, {"event", event}});
  };
  const Counter* const recorded = counter("recorded");
  const Counter* const counted = counter("counted");
  const Counter* const dropped = counter("dropped");
  TierSource tier{.id = topic, .name = std::move(name), .kind = "queue"};
  tier.requests = [=] { return recorded->value(); };
  tier.errors = [=] { return dropped->value(); };
  tier.gauges.emplace_back("queue_depth", [=] {
    const uint64_t done = counted->value();  // first: it is never ahead of what was recorded
    return static_cast<double>(recorded->value() - done);
  });
  return tier;
}

}  // namespace trellis::app
