// The rules of an HTTP frontend of HAProxy as routes: use_backend, redirect, http-request and http-response. In the
// order in which HAProxy tries them; which of them is reached in Trellis is order.h's. Pure, one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "app/import/draft.h"
#include "app/import/haproxy/conditions.h"
#include "app/import/haproxy/fields.h"
#include "app/import/haproxy/proxies.h"
#include "app/import/remark.h"

namespace trellis::app {

// A backend that gets some of a rule's requests.
struct HaproxyWay {
  std::string backend;
  HaproxyConditions::Way who;
};

struct HaproxyRule {
  RouteDraft route;                            // where it leads stands in route.to, unless that is a backend
  std::string backend;                         // its name; empty: none
  std::optional<HaproxyConditions::Way> some;  // it takes only some of them, the others go on to later rules
  std::vector<MatchDraft> except;              // these requests it leaves to later rules
  std::vector<HaproxyWay> ways;                // to these it leaves some of its own
  std::vector<std::string> allow;              // addresses; none: all
  std::vector<std::string> deny;
  std::optional<bool> tls;  // of listeners whose clients come through TLS (true), or of all others (false)
};

struct HaproxyRules {
  std::vector<HaproxyRule> rules;
  HaproxyEdits edits;  // of all that go to a backend
};

// Without the lines in `done`.
HaproxyRules haproxy_rules(const HaproxyProxy& proxy, const std::set<uint32_t>& done, Remarks& remarks);

}  // namespace trellis::app
