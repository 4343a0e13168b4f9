#include "upstream/region_balancer.h"

#include <utility>

namespace trellis::upstream {

RegionBalancer::RegionBalancer(std::span<const Member> members, size_t regions, const Make& make)
    : regions_(regions + 1) {
  std::vector<std::vector<BalanceHost>> hosts(regions_.size());
  for (const Member& member : members) {
    Region& region = regions_[member.region];
    region.up = region.up || member.up;
    region.active += member.host.load->active;
    if (member.host.id >= places_.size()) places_.resize(member.host.id + 1);
    places_[member.host.id] = {member.host.load, member.host.load->active, member.region};
    hosts[member.region].push_back(member.host);
  }
  for (size_t i = 0; i < regions_.size(); ++i) {
    if (!hosts[i].empty()) regions_[i].balancer = make(std::move(hosts[i]));
  }
}

std::optional<HostId> RegionBalancer::pick_in(Region& region, PickArgs args) noexcept {
  args.active = region.active;
  return region.balancer->pick(args);
}

std::optional<HostId> RegionBalancer::pick(const PickArgs& args) noexcept {
  for (const bool up : {true, false}) {
    for (size_t i = 0; i <= args.regions.size(); ++i) {
      Region& region = i < args.regions.size() ? regions_[args.regions[i]] : regions_.back();
      if (!region.balancer || region.up != up) continue;
      if (const auto id = pick_in(region, args)) return id;
    }
  }
  return std::nullopt;
}

void RegionBalancer::load_changed(HostId host) noexcept {
  if (host >= places_.size() || places_[host].load == nullptr) return;
  Place& place = places_[host];
  Region& region = regions_[place.region];
  region.active = region.active + place.load->active - std::exchange(place.counted, place.load->active);
  region.balancer->load_changed(host);
}

}  // namespace trellis::upstream
