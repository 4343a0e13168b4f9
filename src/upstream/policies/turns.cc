#include "upstream/policies/turns.h"

#include <utility>

#include "upstream/policies/load.h"

namespace trellis::upstream {

RoundRobin::RoundRobin(std::vector<BalanceHost> hosts, Rng& rng)
    : hosts_(std::move(hosts)), next_(hosts_.empty() ? 0 : rng.below(hosts_.size())) {}

std::optional<HostId> RoundRobin::pick(const PickArgs& args) noexcept {
  for (size_t i = 0; i < hosts_.size(); ++i) {
    const HostId id = hosts_[next_].id;
    next_ = next_ + 1 == hosts_.size() ? 0 : next_ + 1;
    if (!contains(args.tried, id)) return id;
  }
  return std::nullopt;
}

WeightedTurns::WeightedTurns(std::vector<BalanceHost> hosts, Duration slow_start, Rng& rng)
    : hosts_(std::move(hosts)), slow_start_(slow_start) {
  // Each begins somewhere in its first round, or the heavy ones would all come first.
  turns_.reserve(hosts_.size());
  skipped_.reserve(hosts_.size());
  for (uint32_t i = 0; i < hosts_.size(); ++i) turns_.push_back({rng.unit() / hosts_[i].weight, orders_++, i});
  std::make_heap(turns_.begin(), turns_.end(), later);
}

std::optional<HostId> WeightedTurns::pick(const PickArgs& args) noexcept {
  std::optional<HostId> picked;
  while (!turns_.empty() && !picked) {
    std::pop_heap(turns_.begin(), turns_.end(), later);
    Turn turn = turns_.back();
    turns_.pop_back();
    const BalanceHost& host = hosts_[turn.host];
    if (contains(args.tried, host.id)) {
      skipped_.push_back(turn);
      continue;
    }
    picked = host.id;
    virtual_now_ = turn.due;
    turn.due = virtual_now_ + 1.0 / weight_at(host, slow_start_, args.now);
    turn.order = orders_++;
    turns_.push_back(turn);
    std::push_heap(turns_.begin(), turns_.end(), later);
  }
  // Their turn is still due.
  for (const Turn& turn : skipped_) {
    turns_.push_back(turn);
    std::push_heap(turns_.begin(), turns_.end(), later);
  }
  skipped_.clear();
  return picked;
}

}  // namespace trellis::upstream
