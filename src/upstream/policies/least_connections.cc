#include "upstream/policies/least_connections.h"

#include <algorithm>
#include <utility>

#include "upstream/policies/load.h"

namespace trellis::upstream {

LeastConnections::LeastConnections(std::vector<BalanceHost> hosts, Duration slow_start, Rng& rng)
    : hosts_(std::move(hosts)), slow_start_(slow_start) {
  HostId highest = 0;
  for (const BalanceHost& host : hosts_) highest = std::max(highest, host.id);
  host_of_.assign(hosts_.empty() ? 0 : highest + 1, kNowhere);
  place_of_.resize(hosts_.size());
  for (uint32_t i = 0; i < hosts_.size(); ++i) {
    host_of_[hosts_[i].id] = i;
    // Hosts without work are taken in an order by chance, another one on each core.
    heap_.push_back({crowding(hosts_[i], slow_start_, now_), rng.unit() / hosts_[i].weight, i});
  }
  std::sort(heap_.begin(), heap_.end(), [](const Place& a, const Place& b) { return a.before(b); });
  for (uint32_t at = 0; at < heap_.size(); ++at) place_of_[heap_[at].host] = at;
}

// The load of the host at `at` has changed.
void LeastConnections::update(uint32_t at) noexcept {
  Place place = heap_[at];
  place.crowding = crowding(hosts_[place.host], slow_start_, now_);
  while (at > 0) {
    const uint32_t parent = (at - 1) / 2;
    if (!place.before(heap_[parent])) break;
    put(at, heap_[parent]);
    at = parent;
  }
  while (true) {
    uint32_t child = 2 * at + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && heap_[child + 1].before(heap_[child])) ++child;
    if (!heap_[child].before(place)) break;
    put(at, heap_[child]);
    at = child;
  }
  put(at, place);
}

uint32_t LeastConnections::least_but(std::span<const HostId> tried) const noexcept {
  uint32_t least = kNowhere;
  for (uint32_t at = 0; at < heap_.size(); ++at) {
    if (contains(tried, hosts_[heap_[at].host].id)) continue;
    if (least == kNowhere || heap_[at].before(heap_[least])) least = at;
  }
  return least;
}

std::optional<HostId> LeastConnections::pick(const PickArgs& args) noexcept {
  if (heap_.empty()) return std::nullopt;
  now_ = args.now;
  // What grew with the time of a slow start shows when the host is looked at.
  if (slow_start_ > Duration::zero()) update(0);
  const uint32_t at = contains(args.tried, hosts_[heap_[0].host].id) ? least_but(args.tried) : 0;
  if (at == kNowhere) return std::nullopt;
  // Who was passed over while it had much to do makes up for one turn of that and no more.
  const BalanceHost& host = hosts_[heap_[at].host];
  turn_ = std::max(turn_, heap_[at].turn);
  heap_[at].turn = turn_ + 1 / weight_at(host, slow_start_, now_);
  const HostId id = host.id;
  update(at);
  return id;
}

void LeastConnections::load_changed(HostId id) noexcept {
  if (id < host_of_.size() && host_of_[id] != kNowhere) update(place_of_[host_of_[id]]);
}

}  // namespace trellis::upstream
