// A policy in every region: the regions come in the order that is best for the client (geo.h), and the policy picks
// among the hosts of the first that has one. Regions without a host that is up stand behind those with one, so that a
// panic does not keep clients at hosts that fail while others are well; hosts of no region come last. Next, and not
// only when a region is down, it goes to the following region when all hosts of one were tried or have no room. Of the
// cluster, like every Balancer; pure.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "upstream/balancer.h"

namespace trellis::upstream {

class RegionBalancer final : public Balancer {
 public:
  struct Member {
    BalanceHost host;
    RegionId region = 0;  // the number of regions: of none
    bool up = false;
  };
  using Make = std::function<std::unique_ptr<Balancer>(std::vector<BalanceHost> hosts)>;

  // `make`: the policy over the hosts of one region.
  RegionBalancer(std::span<const Member> members, size_t regions, const Make& make);
  // `args.active` is not used: a bound holds among the hosts of a region.
  std::optional<HostId> pick(const PickArgs& args) noexcept override;
  void load_changed(HostId host) noexcept override;

 private:
  struct Region {
    std::unique_ptr<Balancer> balancer;  // null: it has no host
    uint64_t active = 0;                 // requests under way at its hosts
    bool up = false;
  };
  struct Place {
    const HostLoad* load = nullptr;  // null: it may not be chosen
    uint32_t counted = 0;            // in its region's `active`
    RegionId region = 0;
  };
  static std::optional<HostId> pick_in(Region& region, PickArgs args) noexcept;

  std::vector<Region> regions_;  // the last one: hosts of none
  std::vector<Place> places_;    // by HostId
};

}  // namespace trellis::upstream
