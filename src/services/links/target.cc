#include "services/links/target.h"

#include "services/links/rows.h"
#include "services/links/url.h"

namespace trellis::services::links {

Target target_of(const Link& link) {
  Target target;
  target.id = link.id;
  target.status = static_cast<int16_t>(link.status);
  if (link.deleted) {
    target.ending = Target::Ending::deleted;
    return target;
  }
  if (link.not_before) target.not_before = *link.not_before;
  if (link.expires_at) target.expires_at = *link.expires_at;
  target.limited = link.max_visits.has_value();
  if (link.max_visits && link.visits >= *link.max_visits) target.ending = Target::Ending::used_up;
  target.forward_query = link.forward_query;
  target.location = cache::EntryText(location_of(link.url));
  return target;
}

}  // namespace trellis::services::links
