// HAProxy's `resolvers` sections: which servers are asked for names, and how often. Trellis asks one list for the whole
// node, as often as the answers say unless an interval is given. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "app/import/haproxy/syntax.h"
#include "app/import/remark.h"

namespace trellis::app {

struct HaproxyResolvers {
  std::vector<std::string> servers;  // ADDRESS:PORT; none: those of the system
  uint64_t refresh_ms = 0;           // 0: not said
};

std::map<std::string, HaproxyResolvers> read_haproxy_resolvers(const std::vector<HaproxySection>& sections,
                                                               Remarks& remarks);

}  // namespace trellis::app
