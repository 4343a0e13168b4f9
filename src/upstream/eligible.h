// Which hosts may have new requests now, of all those of an upstream, and in which order: those that are up, of the own
// zone as long as enough of them are there; those of a higher priority number, and then backups, while no other is up,
// or for a request that all others were asked for; and, when too few are left, all that were not taken out by hand
// (panic mode: many good answers are better than none, and a check that fails everywhere is probably wrong itself).
// Pure.
#pragma once

#include <string_view>
#include <vector>

#include "base/time.h"
#include "upstream/balancer.h"
#include "upstream/hosts.h"

namespace trellis::upstream {

struct EligibleRules {
  std::string_view zone;    // of this node; "": zones say nothing
  double zone_share = 0.7;  // of the hosts there that must be up, so that they serve without the others
  double panic = 0;         // share of the hosts below which panic begins; 0: when none is left
};

// Hosts among which the policy chooses.
struct Tier {
  std::vector<HostId> hosts;  // places in the list, in its order
  bool overflows = false;     // who finds no room here goes to the next tier instead of waiting
  bool operator==(const Tier&) const = default;
};

struct Eligible {
  std::vector<Tier> tiers;  // none is empty; a further one is for requests that everybody before it was asked for
  bool panic = false;
};

Eligible eligible_hosts(const HostList& all, const EligibleRules& rules, Time now);

}  // namespace trellis::upstream
