#include "upstream/policies/choices.h"

#include <algorithm>
#include <utility>

#include "upstream/policies/load.h"

namespace trellis::upstream {

namespace {
constexpr int kDraws = 16;  // to find one that was not tried and whose slow start lets it be taken
}  // namespace

WeightedDraw::WeightedDraw(std::span<const BalanceHost> hosts) {
  double total = 0;
  for (const BalanceHost& host : hosts) total += host.weight;
  slots_.resize(hosts.size());
  std::vector<double> shares(hosts.size());  // 1 is an even one
  std::vector<uint32_t> small;
  std::vector<uint32_t> large;
  for (uint32_t i = 0; i < hosts.size(); ++i) {
    shares[i] = hosts[i].weight * static_cast<double>(hosts.size()) / total;
    (shares[i] < 1 ? small : large).push_back(i);
  }
  while (!small.empty() && !large.empty()) {
    const uint32_t poor = small.back();
    const uint32_t rich = large.back();
    small.pop_back();
    slots_[poor] = {shares[poor], rich};
    shares[rich] -= 1 - shares[poor];
    if (shares[rich] < 1) {
      large.pop_back();
      small.push_back(rich);
    }
  }
  for (const uint32_t i : small) slots_[i] = {1, i};  // what rounding left
  for (const uint32_t i : large) slots_[i] = {1, i};
}

uint32_t WeightedDraw::draw(Rng& rng) const noexcept {
  const auto slot = static_cast<uint32_t>(rng.below(slots_.size()));
  return rng.unit() < slots_[slot].keep ? slot : slots_[slot].other;
}

Choices::Choices(std::vector<BalanceHost> hosts, By by, Duration slow_start, Duration decay, Rng& rng)
    : hosts_(std::move(hosts)), draws_(hosts_), by_(by), slow_start_(slow_start), decay_(decay), rng_(rng.next()) {}

// Of one request more.
double Choices::cost(const BalanceHost& host, Time now) const noexcept {
  return by_ == By::active ? crowding(host, slow_start_, now) : expected_time(host, slow_start_, decay_, now);
}

std::optional<uint32_t> Choices::draw_untried(const PickArgs& args, uint32_t but) noexcept {
  std::optional<uint32_t> any;
  for (int i = 0; i < kDraws; ++i) {
    const uint32_t drawn = draws_.draw(rng_);
    const BalanceHost& host = hosts_[drawn];
    if (drawn == but || contains(args.tried, host.id)) continue;
    const double weight = weight_at(host, slow_start_, args.now);
    if (weight >= host.weight || rng_.unit() * host.weight < weight) return drawn;
    if (!any) any = drawn;
  }
  for (uint32_t i = 0; !any && i < hosts_.size(); ++i) {
    if (i != but && !contains(args.tried, hosts_[i].id)) any = i;
  }
  return any;
}

std::optional<HostId> Choices::pick(const PickArgs& args) noexcept {
  if (hosts_.empty()) return std::nullopt;
  const auto one = draw_untried(args, kNobody);
  if (!one) return std::nullopt;
  const auto other = draw_untried(args, *one);
  const bool better = other && cost(hosts_[*other], args.now) < cost(hosts_[*one], args.now);
  return hosts_[better ? *other : *one].id;
}

}  // namespace trellis::upstream
