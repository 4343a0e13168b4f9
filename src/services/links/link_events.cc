#include "services/links/link_events.h"

#include <chrono>
#include <utility>
#include <vector>

#include "base/json.h"
#include "queue/outbox_relay.h"
#include "services/links/link_json.h"

namespace trellis::services::links {

namespace {

constexpr size_t kUsualPayload = 640;  // of a link without its URL: saves making room again and again

WallTime wall_of(int64_t now) { return WallTime(std::chrono::milliseconds(now)); }

std::string payload_of(LinkEvent event, const Link& link, const DomainTable& domains, int64_t now) {
  std::string payload;
  payload.reserve(kUsualPayload + link.url.size());
  payload = "{";
  append_link_event(payload, event, link, domains, now);
  payload += '}';
  return payload;
}

}  // namespace

LinkEvents::LinkEvents(std::shared_ptr<const queue::Outbox> outbox) : outbox_(std::move(outbox)) {}

LinkEvents::Written LinkEvents::written(LinkEvent event, std::span<const Link* const> links, const DomainTable& domains,
                                        int64_t now) const {
  if (!outbox_) return {};
  std::vector<queue::OutboxEvent> events;
  events.reserve(links.size());
  for (const Link* const link : links) {
    queue::OutboxEvent& one = events.emplace_back();
    one.key = link->code;
    one.payload = payload_of(event, *link, domains, now);
    if (one.payload.size() > queue::kMaxOutboxPayload) {
      Link short_link = *link;
      short_link.rules.clear();
      one.payload = payload_of(event, short_link, domains, now);
    }
  }
  return queue::outbox_rows(events);
}

Result<void> LinkEvents::tell(store::SqliteConnection& db, LinkEvent event, std::span<const Link* const> links,
                              Written written, const DomainTable& domains, int64_t now) const {
  TRY(const std::vector<queue::OutboxRow> rows, std::move(written));
  if (links.empty()) return {};
  TRY_VOID(enqueue_webhooks(db, event, links, domains, now));
  if (!outbox_) return {};
  return outbox_->put(db, rows, wall_of(now));
}

Result<void> LinkEvents::tell(store::SqliteConnection& db, LinkEvent event, std::span<const Link* const> links,
                              const DomainTable& domains, int64_t now) const {
  return tell(db, event, links, written(event, links, domains, now), domains, now);
}

Result<void> LinkEvents::tell(store::SqliteConnection& db, LinkEvent event, const Link& link,
                              const DomainTable& domains, int64_t now) const {
  const Link* const one = &link;
  return tell(db, event, {&one, 1}, domains, now);
}

Result<void> LinkEvents::tell_tag(store::SqliteConnection& db, std::string_view from, std::string_view to,
                                  int64_t now) const {
  if (!outbox_) return {};
  queue::OutboxEvent event;
  JsonWriter json(event.payload);
  json.begin_object().member("event", to.empty() ? "tag.deleted" : "tag.renamed").member("at", format_time(now));
  json.member("tag", from);
  if (!to.empty()) json.member("to", to);
  json.end_object();
  return outbox_->put(db, {&event, 1}, wall_of(now));
}

}  // namespace trellis::services::links
