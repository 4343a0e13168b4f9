// Whose word about the client counts at a proxy of HAProxy: `accept-proxy` and expect-proxy with the addresses that may
// send such headers, `option forwardfor except`, `http-request set-src`. Only lists of addresses are taken over:
// whoever is trusted can be anyone. Pure.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "app/import/draft.h"
#include "app/import/haproxy/proxies.h"
#include "app/import/remark.h"

namespace trellis::app {

struct HaproxyTrust {
  std::vector<std::string> headers;  // who sends the PROXY protocol; none: nobody who could be named
  std::vector<std::string> fields;   // whose X-Forwarded-For counts
  std::set<uint32_t> lines;          // that are done with this

  // For one `bind`, in words of a listener.
  FieldLines options(const HaproxyLine& bind, Remarks& remarks) const;
};

HaproxyTrust haproxy_trust(const HaproxyProxy& proxy, Remarks& remarks);

}  // namespace trellis::app
