#include "upstream/policies/turns.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numbers>
#include <numeric>
#include <utility>

#include "upstream/policies/load.h"

namespace trellis::upstream {

namespace {

constexpr double kGoldenRatio = std::numbers::phi - 1;  // its multiples stay apart from each other, however many

}  // namespace

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
  turns_.reserve(hosts_.size());
  skipped_.reserve(hosts_.size());
  std::vector<uint32_t> by_weight(hosts_.size());
  std::iota(by_weight.begin(), by_weight.end(), 0U);
  std::ranges::stable_sort(by_weight, std::ranges::greater{}, [this](uint32_t i) { return hosts_[i].weight; });

  // A host's turns are 1/weight apart. Hosts of one weight stand at equal distances from each other, and each weight is
  // shifted against the one before, or light hosts would come close together and the heavy ones in long rows between.
  const double begin = rng.unit();
  double shift = 0;
  for (size_t first = 0; first < by_weight.size();) {
    const uint32_t weight = hosts_[by_weight[first]].weight;
    size_t end = first;
    while (end < by_weight.size() && hosts_[by_weight[end]].weight == weight) ++end;
    for (size_t i = first; i < end; ++i) {
      const double place = shift + static_cast<double>(i - first) / static_cast<double>(end - first);
      const double turn = std::ceil(begin * weight - place);  // the first one from `begin` on
      turns_.push_back({(place + turn) / weight, orders_++, by_weight[i]});
    }
    shift = std::fmod(shift + kGoldenRatio, 1.0);
    first = end;
  }
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
