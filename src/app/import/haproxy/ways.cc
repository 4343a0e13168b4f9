#include "app/import/haproxy/ways.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>

#include "app/import/haproxy/order.h"

namespace trellis::app {

namespace {

// Can the rule leave such requests to another backend, beside those that it leaves already?
bool takes_way(const HaproxyRule& rule, const HaproxyConditions::Way& who) {
  // One key for all shares; and who asks for a way gets it before any share is drawn.
  const auto disagrees = [&](const HaproxyWay& way) { return !who.key.empty() && way.who.key != who.key; };
  return rule.ways.size() < kMaxWays && std::ranges::none_of(rule.ways, disagrees);
}

// Gives the requests of rules[at] to the rules behind it. False: no split says it, and nothing was changed.
bool share_one(std::vector<HaproxyRule>& rules, size_t at) {
  const HaproxyRule some = rules[at];
  const MatchDraft& match = some.route.match;
  std::vector<size_t> within;     // rules that leave some of all their requests
  std::optional<size_t> beneath;  // the rule for what the others do not take
  for (size_t i = at + 1; i < rules.size() && !beneath; ++i) {
    const MatchDraft& later = rules[i].route.match;
    if (rules[i].some || !may_meet(match, later)) continue;
    if (rules[i].tls != some.tls || !takes_way(rules[i], *some.some)) return false;
    if (covers(match, later)) within.push_back(i);
    if (covers(later, match)) {
      beneath = i;
    } else if (!covers(match, later)) {
      return false;  // some of its requests, and no match says which
    }
  }
  if (!beneath) return false;
  for (const size_t i : within) rules[i].ways.push_back({some.backend, *some.some});
  if (!within.empty() && within.back() == *beneath) {
    rules.erase(rules.begin() + static_cast<ptrdiff_t>(at));
    return true;
  }
  HaproxyRule own = rules[*beneath];  // of what both take; the rule beneath keeps all others
  own.route.at = some.route.at;
  own.route.directive = some.route.directive;
  own.route.match = match;
  own.ways.push_back({some.backend, *some.some});
  rules.insert(rules.begin() + static_cast<ptrdiff_t>(*beneath), std::move(own));
  rules.erase(rules.begin() + static_cast<ptrdiff_t>(at));
  return true;
}

}  // namespace

void share_out(std::vector<HaproxyRule>& rules, Remarks& remarks) {
  // The last ones first: those above them are asked before, and see what the lower ones leave.
  for (size_t i = rules.size(); i-- > 0;) {
    if (!rules[i].some || share_one(rules, i)) continue;
    remarks.left_out(rules[i].route.at, "use_backend " + rules[i].backend,
                     "its share of requests cannot be said beside the rules that it meets",
                     "filter split of the routes that it means");
    rules.erase(rules.begin() + static_cast<ptrdiff_t>(i));
  }
}

HaproxyShares shares_of(const HaproxyRule& rule) {
  HaproxyShares out;
  std::set<std::string> names;
  uint64_t taken = 0;
  // The rule that HAProxy asks first was added last.
  for (auto way = rule.ways.rbegin(); way != rule.ways.rend(); ++way) {
    const HaproxyConditions::Way& who = way->who;
    WayDraft draft;
    draft.name = plain_name(way->backend);
    for (int i = 2; !names.insert(draft.name).second; ++i)
      draft.name = plain_name(way->backend) + "_" + std::to_string(i);
    draft.when = who.when;
    draft.to = way->backend;
    if (!who.key.empty()) {
      out.key = who.key;
      const uint64_t part = who.part * kWholeShare / who.whole;
      // Each draws anew, or all look at the same number.
      const uint64_t share =
          who.key == "random" ? (kWholeShare - taken) * who.part / who.whole : std::max(part, taken) - taken;
      if (share == 0) continue;
      taken += share;
      draft.share = static_cast<uint32_t>(share);
    }
    out.ways.push_back(std::move(draft));
  }
  return out;
}

}  // namespace trellis::app
