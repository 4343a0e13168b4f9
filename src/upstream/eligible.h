// Which hosts may have new requests now, of all those of an upstream: those that are up, of the own zone as long as
// enough of them are there, backups only while no other is up, and, when too few are left, all that were not taken out
// by hand (panic mode: many good answers are better than none, and a check that fails everywhere is probably wrong
// itself). Pure.
#pragma once

#include <string_view>
#include <vector>

#include "base/time.h"
#include "upstream/balancer.h"
#include "upstream/hosts.h"

namespace trellis::upstream {

struct EligibleRules {
  std::string_view zone;    // of this node; "": zones say nothing
  double zone_share = 0.7;  // of the zone's hosts that must be up for the zone to serve itself
  double panic = 0;         // share of the hosts below which panic begins; 0: when none is left
};

struct Eligible {
  std::vector<HostId> hosts;  // places in the list, in its order
  bool panic = false;
};

Eligible eligible_hosts(const HostList& all, const EligibleRules& rules, Time now);

}  // namespace trellis::upstream
