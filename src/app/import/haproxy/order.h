// HAProxy tries rules in their order, Trellis the most specific host and path first: the rules of a frontend, chosen
// and ordered so that each request meets the same one in both. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "app/import/haproxy/rules.h"
#include "app/import/remark.h"

namespace trellis::app {

// Each host that a rule names gets every rule that may meet it, and a rule that an earlier one leaves nothing to is
// dropped. Where both still choose differently it is told.
std::vector<HaproxyRule> rules_by_host(const std::vector<HaproxyRule>& rules, Remarks& remarks);

// Of a proxy. What is made of them, for each case by itself, stops here: twenty conditions have a million cases.
constexpr size_t kMaxHaproxyRules = 1'000;

// What a rule leaves to later ones comes before it, as rules for these requests alone. Where no match says them, it
// is told: the rule is left out, and one that refuses leaves nothing to others.
void leave_exceptions(std::vector<HaproxyRule>& rules, Remarks& remarks);

// Does every request that the narrow match takes meet the wide one, too? May one request meet both?
bool covers(const MatchDraft& wide, const MatchDraft& narrow);
bool may_meet(const MatchDraft& a, const MatchDraft& b);
// The requests that meet both; nothing when no match says them.
std::optional<MatchDraft> common(const MatchDraft& a, const MatchDraft& b);

}  // namespace trellis::app
