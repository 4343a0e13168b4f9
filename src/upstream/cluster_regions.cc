// The part of a Cluster that knows where clients and hosts are (docs/balancing.md, "The nearest region").
#include "base/metrics.h"
#include "runtime/loop.h"
#include "upstream/cluster.h"
#include "upstream/geo.h"
#include "upstream/region_balancer.h"

namespace trellis::upstream {

void Cluster::watch_regions() {
  for (size_t i = 0; i < geo_->regions(); ++i) {
    std::array<Counter*, 2>& counters = region_counters_.emplace_back();
    for (const bool away : {false, true}) {
      counters[away] = &metrics_.counter(
          "trellis_region_tries_total",
          "tries by the region of the client: at a host of it (home), or at another "
          "(away)",
          {{"upstream", name()}, {"region", geo_->name(static_cast<RegionId>(i))}, {"at", away ? "away" : "home"}});
    }
  }
}

std::unique_ptr<Balancer> Cluster::balance_regions(std::vector<BalanceHost> hosts, const BalanceOptions& options,
                                                   const std::shared_ptr<const KeyTable>& keys) {
  Loop& loop = Loop::current();
  const auto none = static_cast<RegionId>(geo_->regions());
  region_of_.resize(list_->size(), none);
  std::vector<RegionBalancer::Member> members;
  for (const BalanceHost& host : hosts) {
    const Host& known = pools_[host.id]->host();
    region_of_[host.id] = geo_->region_named(known.facts.zone).value_or(none);
    members.push_back({host, region_of_[host.id], known.up(loop.now())});
  }
  return std::make_unique<RegionBalancer>(members, geo_->regions(), [&](std::vector<BalanceHost> of_region) {
    return make_balancer(config_.balance, std::move(of_region), options, keys, loop.rng());
  });
}

std::span<const RegionId> Cluster::regions_for(std::string_view client_address, const http::Fields* fields) const {
  if (!geo_) return {};
  std::string_view told;
  if (fields && !geo_->header().empty()) told = fields->find(geo_->header()).value_or("");
  return geo_->order_for(client_address, told);
}

void Cluster::count_region(const Wish& wish, HostId host) noexcept {
  const RegionId home = wish.regions.front();
  region_counters_[home][region_of_[host] != home]->add();
}

}  // namespace trellis::upstream
