#include "services/links/target.h"

#include "base/log.h"
#include "services/links/access/blocklist.h"
#include "services/links/rows.h"
#include "services/links/rules/rules.h"
#include "services/links/url.h"

namespace trellis::services::links {

Target target_of(const Link& link, const Blocklist& blocklist) {
  Target target;
  target.id = link.id;
  target.status = static_cast<int16_t>(link.status);
  target.blocklist = blocklist.version();  // before it is asked: a change in between is seen as one
  if (link.deleted) {
    target.ending = Target::Ending::deleted;
    return target;
  }
  if (blocklist.blocks(link, OwnHosts())) {
    target.ending = Target::Ending::blocked;
    return target;
  }
  if (link.not_before) target.not_before = *link.not_before;
  if (link.expires_at) target.expires_at = *link.expires_at;
  target.locked = !link.password.empty();
  target.limited = link.max_visits.has_value();
  if (link.max_visits && link.visits >= *link.max_visits) target.ending = Target::Ending::used_up;
  target.forward_query = link.forward_query;
  target.location = cache::EntryText(location_of(link.url));
  if (!link.rules.empty()) {
    // They were checked when they came: hosts that have become ours since do not take them away.
    if (auto rules = Rules::read(link.rules, OwnHosts())) {
      target.rules = std::make_shared<const Rules>(*std::move(rules));
    } else {
      log_warn("the rules of a link cannot be read", {{"link", link.id}});
    }
  }
  return target;
}

size_t memory_of(const Target& target) noexcept { return target.rules ? target.rules->memory() : 0; }

}  // namespace trellis::services::links
