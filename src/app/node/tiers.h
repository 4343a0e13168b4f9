// The sources of the live picture (app/node/status.h), tier by tier: mostly the metrics that /metrics shows too. Made
// on the main thread after a start or reload; read once a second on core 0.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/node/status.h"
#include "proxy/pipeline.h"

namespace trellis::cache {
class MemoryCache;
}

namespace trellis::app {

using FiguresList = std::vector<std::shared_ptr<proxy::RouteFigures>>;
using CountsList = std::vector<std::shared_ptr<proxy::RouteCounts>>;

TierSource edge_tier(FiguresList figures, CountsList counts);
TierSource service_tier(std::string id, std::string name, FiguresList figures, CountsList counts);
// `cache` must live as long as the source is used.
TierSource cache_tier(Metrics& metrics, const cache::MemoryCache& cache, const std::string& space);
TierSource store_tier(Metrics& metrics, const std::string& store);
TierSource queue_tier(Metrics& metrics, const std::string& topic, std::string name);

}  // namespace trellis::app
