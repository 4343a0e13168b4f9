// Webhooks in the store, and what is enqueued for them: plain functions over a connection, as in rows.h. A change of a
// link calls enqueue_webhooks() in its own write (LinkEvents::tell), so that each change that is on disk will be told,
// and no other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "services/links/rows.h"

namespace trellis::services::links {

class DomainTable;

inline constexpr const char* kWebhooksQueue = "webhooks";
inline constexpr const char* kDeliverWebhook = "deliver";
inline constexpr int64_t kMaxWebhooks = 100;
inline constexpr int kWebhookAttempts = 12;  // over about four hours

// expired: taken away by the clock.
enum class LinkEvent : uint8_t { created = 1, changed = 2, deleted = 4, expired = 8 };
// "link.created"; nullopt: no such event.
std::string_view to_string(LinkEvent event) noexcept;
std::optional<LinkEvent> link_event(std::string_view name) noexcept;

struct Webhook {
  int64_t id = 0;
  std::string url;
  uint32_t events = 0;  // of LinkEvent
  std::string secret;
  int64_t created_at = 0;  // milliseconds since 1970
  int64_t version = 1;     // rises with every change
};

std::span<const store::Migration> webhook_migrations() noexcept;

Result<std::vector<Webhook>> all_webhooks(store::SqliteConnection& db);  // by id
Result<std::optional<Webhook>> find_webhook(store::SqliteConnection& db, int64_t id);
// The id; 0: there are kMaxWebhooks.
Result<int64_t> insert_webhook(store::SqliteConnection& db, const Webhook& webhook);
Result<void> update_webhook(store::SqliteConnection& db, const Webhook& webhook);
Result<void> remove_webhook(store::SqliteConnection& db, int64_t id);

// A job for each webhook that wants the event, and each link.
Result<void> enqueue_webhooks(store::SqliteConnection& db, LinkEvent event, std::span<const Link* const> links,
                              const DomainTable& domains, int64_t now);

// An event without its braces: "event":"link.created","at":"...","link":{...}; of a link that is gone, its id, code and
// domain.
void append_link_event(std::string& out, LinkEvent event, const Link& link, const DomainTable& domains, int64_t now);

}  // namespace trellis::services::links
