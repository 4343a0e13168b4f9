// use_backend rules of HAProxy that take only some requests, by chance or by a cookie, as ways of the rules to which
// the others go on. Pure.
#pragma once

#include <vector>

#include "app/import/draft.h"
#include "app/import/haproxy/rules.h"
#include "app/import/remark.h"

namespace trellis::app {

// Takes such rules out of the list, which is in the order in which HAProxy tries them; those for which no split says
// the same are told.
void share_out(std::vector<HaproxyRule>& rules, Remarks& remarks);

// The ways of a rule with their shares of all its requests, and the key of the shares. Targets are backends' names.
struct HaproxyShares {
  std::string key;
  std::vector<WayDraft> ways;
};
HaproxyShares shares_of(const HaproxyRule& rule);

}  // namespace trellis::app
