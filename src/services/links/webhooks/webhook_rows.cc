#include "services/links/webhooks/webhook_rows.h"

#include <array>
#include <chrono>
#include <utility>

#include "base/json.h"
#include "queue/jobs_rows.h"
#include "services/links/domains/domains.h"
#include "services/links/link_json.h"
#include "store/sqlite_connection.h"

namespace trellis::services::links {

namespace {

using store::Query;
using store::SqliteConnection;

// AUTOINCREMENT: a delivery that is still waiting never goes to a later webhook.
constexpr std::array<store::Migration, 2> kMigrations = {{{1, "webhooks", R"sql(
CREATE TABLE link_webhooks(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  url TEXT NOT NULL,
  events INTEGER NOT NULL,
  secret TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
)sql"},
                                                          {2, "versions of webhooks", R"sql(
ALTER TABLE link_webhooks ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
)sql"}}};

constexpr std::string_view kSelect = "SELECT id, url, events, secret, created_at, version FROM link_webhooks";

constexpr std::array<std::pair<LinkEvent, std::string_view>, 4> kEvents = {{{LinkEvent::created, "link.created"},
                                                                            {LinkEvent::changed, "link.changed"},
                                                                            {LinkEvent::deleted, "link.deleted"},
                                                                            {LinkEvent::expired, "link.expired"}}};

Webhook webhook_from(const Query& row) {
  Webhook webhook;
  webhook.id = row.integer(0);
  webhook.url = row.text(1);
  webhook.events = static_cast<uint32_t>(row.integer(2));
  webhook.secret = row.text(3);
  webhook.created_at = row.integer(4);
  webhook.version = row.integer(5);
  return webhook;
}

std::string payload_of(int64_t webhook, LinkEvent event, const Link& link, const DomainTable& domains, int64_t now) {
  std::string out = "{\"webhook\":" + std::to_string(webhook) + ",";
  append_link_event(out, event, link, domains, now);
  out += '}';
  return out;
}

}  // namespace

std::string_view to_string(LinkEvent event) noexcept {
  for (const auto& [each, name] : kEvents) {
    if (each == event) return name;
  }
  return "";
}

std::optional<LinkEvent> link_event(std::string_view name) noexcept {
  for (const auto& [event, each] : kEvents) {
    if (each == name) return event;
  }
  return std::nullopt;
}

void append_link_event(std::string& out, LinkEvent event, const Link& link, const DomainTable& domains, int64_t now) {
  out += "\"event\":";
  append_json(out, to_string(event));
  out += ",\"at\":";
  append_json(out, format_time(now));
  out += ",\"link\":";
  if (event == LinkEvent::deleted || event == LinkEvent::expired) {
    JsonWriter json(out);
    json.begin_object().member("id", link.id).member("code", split_name(link.code).code);
    json.member("domain", domains.of_link(link.code).host).end_object();
  } else {
    append_link(out, link, domains);
  }
}

std::span<const store::Migration> webhook_migrations() noexcept { return kMigrations; }

Result<std::vector<Webhook>> all_webhooks(SqliteConnection& db) {
  static const std::string kSql = std::string(kSelect) + " ORDER BY id";
  TRY(Query rows, db.query(kSql));
  std::vector<Webhook> webhooks;
  while (true) {
    TRY(const bool row, rows.next());
    if (!row) return webhooks;
    webhooks.push_back(webhook_from(rows));
  }
}

Result<std::optional<Webhook>> find_webhook(SqliteConnection& db, int64_t id) {
  static const std::string kSql = std::string(kSelect) + " WHERE id = ?1";
  TRY(Query row, db.query(kSql, id));
  TRY(const bool found, row.next());
  if (!found) return std::optional<Webhook>();
  return std::optional<Webhook>(webhook_from(row));
}

Result<int64_t> insert_webhook(SqliteConnection& db, const Webhook& webhook) {
  TRY_VOID(
      db.execute("INSERT INTO link_webhooks(url, events, secret, created_at) SELECT ?1, ?2, ?3, ?4 "
                 "WHERE (SELECT count(*) FROM link_webhooks) < ?5",
                 webhook.url, webhook.events, webhook.secret, webhook.created_at, kMaxWebhooks));
  if (db.changes() != 1) return 0;
  TRY(Query row, db.query("SELECT last_insert_rowid()"));
  TRY(const bool there, row.next());
  return there ? row.integer(0) : 0;
}

Result<void> update_webhook(SqliteConnection& db, const Webhook& webhook) {
  return db.execute("UPDATE link_webhooks SET url = ?2, events = ?3, secret = ?4, version = ?5 WHERE id = ?1",
                    webhook.id, webhook.url, webhook.events, webhook.secret, webhook.version);
}

Result<void> remove_webhook(SqliteConnection& db, int64_t id) {
  return db.execute("DELETE FROM link_webhooks WHERE id = ?1", id);
}

Result<void> enqueue_webhooks(SqliteConnection& db, LinkEvent event, std::span<const Link* const> links,
                              const DomainTable& domains, int64_t now) {
  TRY(const std::vector<Webhook> webhooks, all_webhooks(db));
  for (const Webhook& webhook : webhooks) {
    if ((webhook.events & static_cast<uint32_t>(event)) == 0) continue;
    for (const Link* const each : links) {
      const Link& link = *each;
      queue::NewJob job;
      job.queue = kWebhooksQueue;
      job.kind = kDeliverWebhook;
      job.max_attempts = kWebhookAttempts;
      job.payload = payload_of(webhook.id, event, link, domains, now);
      if (job.payload.size() > queue::kMaxPayload) {
        Link short_link = link;
        short_link.rules.clear();
        job.payload = payload_of(webhook.id, event, short_link, domains, now);
      }
      TRY_VOID(queue::enqueue_job(db, job, WallTime(std::chrono::milliseconds(now))));
    }
  }
  return {};
}

}  // namespace trellis::services::links
