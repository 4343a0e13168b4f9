#include "services/links/rows.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/ascii.h"
#include "services/links/clicks/figures_rows.h"
#include "services/links/domains/domain_rows.h"
#include "services/links/link_urls.h"
#include "store/sqlite_connection.h"

namespace trellis::services::links {

namespace {

using store::Blob;
using store::Query;
using store::SqliteConnection;

// Clicks lie apart from the links: a batch of counts then writes a few dense pages and not one for each link.
constexpr std::array<store::Migration, 4> kMigrations = {{{1, "links", R"sql(
CREATE TABLE links(
  id INTEGER PRIMARY KEY,
  code TEXT NOT NULL UNIQUE,
  url TEXT NOT NULL,
  title TEXT NOT NULL,
  status INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  expires_at INTEGER,
  deleted_at INTEGER,
  version INTEGER NOT NULL
) STRICT;
-- The hour under way stands in the row of the total, so that counting writes one row a link; link_hours shows all hours.
CREATE TABLE link_totals(
  link INTEGER PRIMARY KEY,
  clicks INTEGER NOT NULL,
  hour INTEGER NOT NULL,
  hour_clicks INTEGER NOT NULL
) STRICT;
CREATE TABLE link_clicks(
  link INTEGER NOT NULL,
  hour INTEGER NOT NULL,
  clicks INTEGER NOT NULL,
  PRIMARY KEY(link, hour)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER link_hour_ends BEFORE UPDATE ON link_totals WHEN new.hour <> old.hour BEGIN
  INSERT INTO link_clicks(link, hour, clicks) VALUES(old.link, old.hour, old.hour_clicks)
    ON CONFLICT(link, hour) DO UPDATE SET clicks = clicks + excluded.clicks;
END;
CREATE VIEW link_hours(link, hour, clicks) AS
  SELECT link, hour, sum(clicks) FROM
    (SELECT link, hour, clicks FROM link_clicks UNION ALL SELECT link, hour, hour_clicks FROM link_totals)
  GROUP BY link, hour;
CREATE TABLE burned_codes(counter INTEGER PRIMARY KEY) STRICT;
CREATE TABLE link_settings(name TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE link_replays(
  key TEXT PRIMARY KEY,
  request BLOB NOT NULL,
  status INTEGER NOT NULL,
  code TEXT NOT NULL,
  body TEXT NOT NULL,
  etag TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX link_replays_by_age ON link_replays(created_at);
INSERT INTO link_settings(name, value) VALUES('next', 1);
)sql"},
                                                          {2, "conditions and tags", R"sql(
ALTER TABLE links ADD COLUMN not_before INTEGER;
ALTER TABLE links ADD COLUMN max_visits INTEGER;
ALTER TABLE links ADD COLUMN visits INTEGER NOT NULL DEFAULT 0;
ALTER TABLE links ADD COLUMN forward_query INTEGER NOT NULL DEFAULT 0;
-- For reading, one a line, in the order given; link_tags is for finding.
ALTER TABLE links ADD COLUMN tags TEXT NOT NULL DEFAULT '';
CREATE TABLE link_tags(
  tag TEXT NOT NULL,
  link INTEGER NOT NULL,
  PRIMARY KEY(tag, link)
) STRICT, WITHOUT ROWID;
)sql"},
                                                          {3, "rules", R"sql(
ALTER TABLE links ADD COLUMN rules TEXT NOT NULL DEFAULT '';
)sql"},
                                                          // Hours are among the figures now (figures_rows.h).
                                                          {4, "totals alone", R"sql(
DROP TRIGGER link_hour_ends;
DROP VIEW link_hours;
DROP TABLE link_clicks;
ALTER TABLE link_totals DROP COLUMN hour;
ALTER TABLE link_totals DROP COLUMN hour_clicks;
)sql"}}};

constexpr std::array<store::Migration, 1> kPasswordMigrations = {{{1, "passwords", R"sql(
ALTER TABLE links ADD COLUMN password TEXT NOT NULL DEFAULT '';
)sql"}}};

constexpr std::string_view kColumns =
    "id, code, url, title, status, created_at, updated_at, expires_at, deleted_at IS NOT NULL, version, "
    "coalesce((SELECT clicks FROM link_totals WHERE link = links.id), 0), not_before, max_visits, visits, "
    "forward_query, tags, rules, password";

Link link_of(const Query& row) {
  Link link;
  link.id = row.integer(0);
  link.code = row.text(1);
  link.url = row.text(2);
  link.title = row.text(3);
  link.status = static_cast<int>(row.integer(4));
  link.created_at = row.integer(5);
  link.updated_at = row.integer(6);
  link.expires_at = row.integer_or_null(7);
  link.deleted = row.integer(8) != 0;
  link.version = row.integer(9);
  link.clicks = row.integer(10);
  link.not_before = row.integer_or_null(11);
  link.max_visits = row.integer_or_null(12);
  link.visits = row.integer(13);
  link.forward_query = row.integer(14) != 0;
  for (std::string_view rest = row.text(15); !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    link.tags.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  link.rules = row.text(16);
  link.password = row.text(17);
  return link;
}

std::string lines_of(const std::vector<std::string>& tags) {
  std::string out;
  for (const std::string& tag : tags) {
    if (!out.empty()) out += '\n';
    out += tag;
  }
  return out;
}

Result<void> add_tags(SqliteConnection& db, const Link& link) {
  for (const std::string& tag : link.tags) {
    TRY_VOID(db.execute("INSERT INTO link_tags(tag, link) VALUES(?1, ?2) ON CONFLICT DO NOTHING", tag, link.id));
  }
  return {};
}

Result<void> add_to_indexes(SqliteConnection& db, const Link& link) {
  TRY_VOID(index_url(db, link.id, link.url));
  return add_tags(db, link);
}

// Takes the link out of the indexes by what it has: there is none the other way round.
Result<void> drop_from_indexes(SqliteConnection& db, int64_t id) {
  TRY(const std::optional<Link> link, find_link(db, id));
  if (!link) return {};
  TRY_VOID(unindex_url(db, id, link->url));
  for (const std::string& tag : link->tags) {
    TRY_VOID(db.execute("DELETE FROM link_tags WHERE tag = ?1 AND link = ?2", tag, id));
  }
  return {};
}

bool contains(std::string_view text, std::string_view piece) {
  const auto equal = [](char a, char b) { return ascii_lower(a) == ascii_lower(b); };
  return std::search(text.begin(), text.end(), piece.begin(), piece.end(), equal) != text.end();
}

Result<int64_t> next_counter(SqliteConnection& db) {
  TRY(Query row, db.query("SELECT value FROM link_settings WHERE name = 'next'"));
  TRY(const bool found, row.next());
  if (!found) return fail(Error(Code::data_loss, "the counter of links is missing").from(Side::self));
  return row.integer(0);
}

}  // namespace

std::span<const store::Migration> migrations() noexcept { return kMigrations; }
std::span<const store::Migration> password_migrations() noexcept { return kPasswordMigrations; }

Result<CodeKey> load_key(SqliteConnection& db, const CodeKey& fresh) {
  const std::string_view bytes(reinterpret_cast<const char*>(fresh.data()), fresh.size());
  TRY_VOID(db.execute("INSERT INTO link_settings(name, value) VALUES('key', ?1) ON CONFLICT DO NOTHING", Blob{bytes}));
  TRY(Query row, db.query("SELECT value FROM link_settings WHERE name = 'key'"));
  TRY(const bool found, row.next());
  const std::string_view kept = found ? row.blob(0) : std::string_view();
  CodeKey key;
  if (kept.size() != key.size())
    return fail(Error(Code::data_loss, "the key of link codes is damaged").from(Side::self));
  std::memcpy(key.data(), kept.data(), key.size());
  return key;
}

Result<Lease> lease_ids(SqliteConnection& db, uint64_t count) {
  TRY(const int64_t next, next_counter(db));
  Lease lease;
  lease.begin = static_cast<uint64_t>(next);
  lease.end = std::min(lease.begin + count, kCodeCount);
  if (lease.begin >= lease.end)
    return fail(Error(Code::resource_exhausted, "all codes of links have been given").from(Side::self));
  TRY_VOID(db.execute("UPDATE link_settings SET value = ?1 WHERE name = 'next'", lease.end));
  TRY(Query rows,
      db.query("SELECT counter FROM burned_codes WHERE counter >= ?1 AND counter < ?2", lease.begin, lease.end));
  while (true) {
    TRY(const bool row, rows.next());
    if (!row) break;
    lease.burned.push_back(static_cast<uint64_t>(rows.integer(0)));
  }
  return lease;
}

Result<std::optional<Link>> find_link(SqliteConnection& db, std::string_view name) {
  static const std::string kSql = "SELECT " + std::string(kColumns) + " FROM links WHERE code = ?1";
  TRY(Query row, db.query(kSql, name));
  TRY(const bool found, row.next());
  if (!found) return std::optional<Link>();
  return std::optional<Link>(link_of(row));
}

Result<std::optional<Link>> find_link(SqliteConnection& db, int64_t id) {
  static const std::string kSql = "SELECT " + std::string(kColumns) + " FROM links WHERE id = ?1";
  TRY(Query row, db.query(kSql, id));
  TRY(const bool found, row.next());
  if (!found) return std::optional<Link>();
  return std::optional<Link>(link_of(row));
}

Result<std::optional<Replay>> find_replay(SqliteConnection& db, std::string_view key, int64_t not_before) {
  TRY(Query row,
      db.query("SELECT request, status, code, body, etag FROM link_replays WHERE key = ?1 AND created_at >= ?2", key,
               not_before));
  TRY(const bool found, row.next());
  if (!found) return std::optional<Replay>();
  Replay replay;
  replay.request = row.blob(0);
  replay.status = static_cast<int>(row.integer(1));
  replay.code = row.text(2);
  replay.body = row.text(3);
  replay.etag = row.text(4);
  return std::optional<Replay>(std::move(replay));
}

Result<void> keep_replay(SqliteConnection& db, std::string_view key, const Replay& replay, int64_t now) {
  return db.execute(
      "INSERT OR REPLACE INTO link_replays(key, request, status, code, body, etag, created_at) VALUES(?1, ?2, ?3, ?4, "
      "?5, ?6, ?7)",
      key, Blob{replay.request}, replay.status, replay.code, replay.body, replay.etag, now);
}

Result<int64_t> drop_replays(SqliteConnection& db, int64_t before) {
  TRY_VOID(db.execute(
      "DELETE FROM link_replays WHERE key IN (SELECT key FROM link_replays WHERE created_at < ?1 LIMIT 1000)", before));
  return db.changes();
}

Result<bool> insert_link(SqliteConnection& db, const Link& link, std::optional<uint64_t> counter) {
  if (counter) {
    // Below the mark it was given to a link already, perhaps of another domain, or will be at any moment: whoever comes
    // second finds the name taken, and a link whose code is made goes on to the next number.
    TRY(const int64_t next, next_counter(db));
    if (*counter >= static_cast<uint64_t>(next)) {
      TRY_VOID(db.execute("INSERT INTO burned_codes(counter) VALUES(?1) ON CONFLICT DO NOTHING", *counter));
    }
  }
  TRY(const bool inserted, insert_unindexed_link(db, link));
  if (inserted) {
    TRY_VOID(index_url(db, link.id, link.url));
  }
  return inserted;
}

Result<bool> insert_unindexed_link(SqliteConnection& db, const Link& link) {
  if (const std::string_view host = split_name(link.code).host; !host.empty()) {
    TRY(const bool there, has_domain(db, host));
    if (!there) return fail(Error(Code::not_found, "the domain of the link was removed").from(Side::client));
  }
  TRY_VOID(db.execute(
      "INSERT INTO links(id, code, url, title, status, created_at, updated_at, expires_at, version, "
      "not_before, max_visits, forward_query, tags, rules, password) "
      "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT(code) DO NOTHING",
      link.id, link.code, link.url, link.title, link.status, link.created_at, link.updated_at, link.expires_at,
      link.version, link.not_before, link.max_visits, link.forward_query ? 1 : 0, lines_of(link.tags), link.rules,
      link.password));
  if (db.changes() != 1) return false;
  TRY_VOID(add_tags(db, link));
  return true;
}

Result<void> update_link(SqliteConnection& db, const Link& link) {
  TRY_VOID(drop_from_indexes(db, link.id));
  TRY_VOID(db.execute(
      "UPDATE links SET url = ?2, title = ?3, status = ?4, updated_at = ?5, expires_at = ?6, version = ?7, "
      "not_before = ?8, max_visits = ?9, forward_query = ?10, tags = ?11, rules = ?12, password = ?13 WHERE id = ?1",
      link.id, link.url, link.title, link.status, link.updated_at, link.expires_at, link.version, link.not_before,
      link.max_visits, link.forward_query ? 1 : 0, lines_of(link.tags), link.rules, link.password));
  return add_to_indexes(db, link);
}

Result<void> bury_link(SqliteConnection& db, int64_t id, int64_t now) {
  TRY_VOID(drop_from_indexes(db, id));
  TRY_VOID(
      db.execute("UPDATE links SET url = '', title = '', tags = '', rules = '', password = '', not_before = NULL, "
                 "expires_at = NULL, max_visits = NULL, "
                 "updated_at = ?2, deleted_at = ?2 WHERE id = ?1",
                 id, now));
  TRY_VOID(db.execute("DELETE FROM link_totals WHERE link = ?1", id));
  return drop_figures(db, id);
}

Result<bool> count_visit(SqliteConnection& db, int64_t id) {
  TRY_VOID(
      db.execute("UPDATE links SET visits = visits + 1 WHERE id = ?1 AND deleted_at IS NULL "
                 "AND (max_visits IS NULL OR visits < max_visits)",
                 id));
  return db.changes() == 1;
}

Result<Page> list_links(SqliteConnection& db, const LinkFilter& filter, int64_t before, size_t limit) {
  const std::string_view search = filter.search;
  const std::string_view tag = filter.tag;
  static const std::string kAll = "SELECT " + std::string(kColumns) + " FROM links WHERE id < ?1 ORDER BY id DESC";
  static const std::string kTagged = "SELECT " + std::string(kColumns) +
                                     " FROM link_tags JOIN links ON links.id = link_tags.link "
                                     "WHERE link_tags.tag = ?2 AND link_tags.link < ?1 ORDER BY link_tags.link DESC";
  Page page;
  TRY(Query rows, tag.empty() ? db.query(kAll, before) : db.query(kTagged, before, tag));
  int64_t last = before;
  for (int scanned = 0; scanned < kMaxScanned; ++scanned) {
    TRY(const bool row, rows.next());
    if (!row) return page;
    // One more than the page was found: there is a next one.
    const bool deleted = rows.integer(8) != 0;
    const LinkName name = split_name(rows.text(1));
    const bool fits = !deleted && (!filter.domain || name.host == *filter.domain) &&
                      (search.empty() || contains(name.code, search) || contains(rows.text(2), search) ||
                       contains(rows.text(3), search));
    if (fits && page.links.size() == limit) break;
    last = rows.integer(0);
    if (fits) page.links.push_back(link_of(rows));
  }
  page.next = last;
  return page;
}

Result<std::vector<Link>> links_after(SqliteConnection& db, int64_t after, size_t limit) {
  static const std::string kSql =
      "SELECT " + std::string(kColumns) + " FROM links WHERE id > ?1 AND deleted_at IS NULL ORDER BY id LIMIT ?2";
  std::vector<Link> links;
  TRY(Query rows, db.query(kSql, after, limit));
  while (true) {
    TRY(const bool row, rows.next());
    if (!row) return links;
    links.push_back(link_of(rows));
  }
}

Result<void> add_clicks(SqliteConnection& db, std::span<const LinkCount> counts) {
  for (const LinkCount& count : counts) {
    TRY_VOID(
        db.execute("INSERT INTO link_totals(link, clicks) VALUES(?1, ?2) "
                   "ON CONFLICT(link) DO UPDATE SET clicks = clicks + ?2",
                   count.link, count.clicks));
  }
  return {};
}

Result<void> bring_counts(SqliteConnection& db, int64_t id, int64_t clicks, int64_t visits) {
  if (clicks > 0) {
    // In the total only: when they happened is not known.
    TRY_VOID(db.execute("INSERT INTO link_totals(link, clicks) VALUES(?1, ?2)", id, clicks));
  }
  if (visits > 0) {
    TRY_VOID(db.execute("UPDATE links SET visits = ?2 WHERE id = ?1", id, visits));
  }
  return {};
}

}  // namespace trellis::services::links
