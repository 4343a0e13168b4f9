#include "upstream/eligible.h"

#include <map>
#include <optional>

namespace trellis::upstream {

namespace {

struct Count {
  size_t all = 0;
  size_t up = 0;
  double share() const noexcept { return all == 0 ? 0 : static_cast<double>(up) / static_cast<double>(all); }
};

using Rank = uint32_t;  // hosts of a higher one stand behind those of a lower one
using Counts = std::map<Rank, Count>;

constexpr Rank kBackup = 1U << 20U;  // above every priority

Rank rank_of(const Host& host) noexcept { return host.facts.priority + (host.facts.backup ? kBackup : 0); }

// Not taken out by hand.
bool in_service(const Host& host) noexcept { return host.weight() > 0 && !host.draining(); }

template <class Wanted>
void add_tier(std::vector<Tier>& tiers, const HostList& all, Wanted wanted) {
  Tier tier;
  for (size_t i = 0; i < all.size(); ++i) {
    if (wanted(*all[i])) tier.hosts.push_back(static_cast<HostId>(i));
  }
  if (!tier.hosts.empty()) tiers.push_back(std::move(tier));
}

// The first ranks up to this one serve together, as enough of it is up or nobody behind it is. None: panic.
std::optional<Rank> last_that_serves(const Counts& ranks, double panic) {
  std::optional<Rank> last;
  for (const auto& [rank, count] : ranks) {
    if (count.up == 0) continue;
    if (count.share() >= panic) return rank;
    if (rank != ranks.begin()->first) last = rank;
  }
  return last;
}

}  // namespace

Eligible eligible_hosts(const HostList& all, const EligibleRules& rules, Time now) {
  Counts ranks;  // hosts in service
  Count zone;    // of the first rank, in this node's zone
  for (const auto& host : all) {
    if (in_service(*host)) ++ranks[rank_of(*host)].all;
  }
  Eligible found;
  if (ranks.empty()) return found;
  const Rank first = ranks.begin()->first;
  const auto near = [&](const Host& host) { return !rules.zone.empty() && host.facts.zone == rules.zone; };
  for (const auto& host : all) {
    if (!in_service(*host)) continue;
    const Rank rank = rank_of(*host);
    const bool up = host->up(now);
    ranks[rank].up += up;
    if (rank == first && near(*host)) {
      ++zone.all;
      zone.up += up;
    }
  }
  const std::optional<Rank> last = last_that_serves(ranks, rules.panic);
  if (!last) {
    found.panic = true;
    for (const auto& [rank, count] : ranks)
      add_tier(found.tiers, all, [&](const Host& host) { return in_service(host) && rank_of(host) == rank; });
    return found;
  }
  const auto serves = [&](const Host& host) { return host.up(now) && rank_of(host) <= *last; };
  if (*last == first && zone.up > 0 && zone.share() >= rules.zone_share) {
    add_tier(found.tiers, all, [&](const Host& host) { return serves(host) && near(host); });
    found.tiers.back().overflows = true;
    add_tier(found.tiers, all, [&](const Host& host) { return serves(host) && !near(host); });
  } else {
    add_tier(found.tiers, all, serves);
  }
  for (auto behind = ranks.upper_bound(*last); behind != ranks.end(); ++behind)
    add_tier(found.tiers, all, [&](const Host& host) { return host.up(now) && rank_of(host) == behind->first; });
  return found;
}

}  // namespace trellis::upstream
