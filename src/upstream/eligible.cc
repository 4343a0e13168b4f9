#include "upstream/eligible.h"

namespace trellis::upstream {

namespace {

struct Count {
  size_t all = 0;
  size_t up = 0;
  double share() const noexcept { return all == 0 ? 0 : static_cast<double>(up) / static_cast<double>(all); }
};

template <class Wanted>
std::vector<HostId> places(const HostList& all, Wanted wanted) {
  std::vector<HostId> out;
  for (size_t i = 0; i < all.size(); ++i) {
    if (wanted(*all[i])) out.push_back(static_cast<HostId>(i));
  }
  return out;
}

// Not taken out by hand.
bool in_service(const Host& host) noexcept { return host.weight() > 0 && !host.draining(); }

}  // namespace

Eligible eligible_hosts(const HostList& all, const EligibleRules& rules, Time now) {
  Count first;   // hosts in service that are no backups
  Count zone;    // of those, in this node's zone
  Count backup;  // backups in service
  for (const auto& each : all) {
    const Host& host = *each;
    if (!in_service(host)) continue;
    const bool up = host.up(now);
    Count& count = host.facts.backup ? backup : first;
    ++count.all;
    count.up += up;
    if (!host.facts.backup && !rules.zone.empty() && host.facts.zone == rules.zone) {
      ++zone.all;
      zone.up += up;
    }
  }
  if (zone.up > 0 && zone.share() >= rules.zone_share) {
    return {places(
        all, [&](const Host& host) { return !host.facts.backup && host.facts.zone == rules.zone && host.up(now); })};
  }
  if (first.up > 0 && first.share() >= rules.panic)
    return {places(all, [&](const Host& host) { return !host.facts.backup && host.up(now); })};
  if (backup.up > 0) return {places(all, [&](const Host& host) { return host.up(now); })};
  const bool backups_only = first.all == 0;
  return {.hosts = places(all, [&](const Host& host) { return in_service(host) && host.facts.backup == backups_only; }),
          .panic = first.all + backup.all > 0};
}

}  // namespace trellis::upstream
