// What happens to links, told in the write in which it happens: to webhooks, as jobs, and to the topic links.changes of
// the service's log, by the outbox. Every write of links comes by here. Immutable, shared with writes under way; called
// on the store's writer, but for written().
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "queue/outbox_rows.h"
#include "services/links/webhooks/webhook_rows.h"

namespace trellis::queue {
class Outbox;
}

namespace trellis::services::links {

inline constexpr const char* kChangesTopic = "links.changes";

class LinkEvents {
 public:
  // `outbox` null: there is no log.
  explicit LinkEvents(std::shared_ptr<const queue::Outbox> outbox);

  Result<void> tell(store::SqliteConnection& db, LinkEvent event, std::span<const Link* const> links,
                    const DomainTable& domains, int64_t now) const;
  Result<void> tell(store::SqliteConnection& db, LinkEvent event, const Link& link, const DomainTable& domains,
                    int64_t now) const;

  // The same in two steps, for many: the events for the log, which any thread can write out, and the rest.
  using Written = Result<std::vector<queue::OutboxRow>>;
  Written written(LinkEvent event, std::span<const Link* const> links, const DomainTable& domains, int64_t now) const;
  Result<void> tell(store::SqliteConnection& db, LinkEvent event, std::span<const Link* const> links, Written written,
                    const DomainTable& domains, int64_t now) const;
  // All links that had the tag have the other one now, or none (""). One event, however many they are.
  Result<void> tell_tag(store::SqliteConnection& db, std::string_view from, std::string_view to, int64_t now) const;

 private:
  std::shared_ptr<const queue::Outbox> outbox_;
};

}  // namespace trellis::services::links
