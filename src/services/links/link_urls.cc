#include "services/links/link_urls.h"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "base/hash.h"
#include "services/links/link_name.h"
#include "store/sqlite_connection.h"

namespace trellis::services::links {

namespace {

using store::Query;
using store::SqliteConnection;

constexpr std::array<store::Migration, 1> kMigrations = {{{1, "links by url", R"sql(
CREATE TABLE link_urls(
  hash INTEGER NOT NULL,
  link INTEGER NOT NULL,
  PRIMARY KEY(hash, link)
) STRICT, WITHOUT ROWID;
-- Links up to this id are in; then the highest integer, for those that are made put themselves in.
INSERT INTO link_settings(name, value) VALUES('urls_indexed', 0);
)sql"}}};

// Half of the hash: what it leaves open the comparison of the URLs decides, and the index is a third smaller.
int64_t hash_of(std::string_view url) noexcept { return static_cast<int32_t>(hash64(url)); }

bool is_live(const Link& link, int64_t now) noexcept {
  if (link.deleted || (link.expires_at && *link.expires_at <= now)) return false;
  return !link.max_visits || link.visits < *link.max_visits;
}

Result<void> put(SqliteConnection& db, UrlEntry entry) {
  return db.execute("INSERT INTO link_urls(hash, link) VALUES(?1, ?2) ON CONFLICT DO NOTHING", entry.hash, entry.link);
}

Result<int64_t> indexed_up_to(SqliteConnection& db) {
  TRY(Query row, db.query("SELECT value FROM link_settings WHERE name = 'urls_indexed'"));
  TRY(const bool found, row.next());
  if (!found) return fail(Error(Code::data_loss, "the mark of the links' URL index is missing").from(Side::self));
  return row.integer(0);
}

}  // namespace

std::span<const store::Migration> url_migrations() noexcept { return kMigrations; }

Result<void> index_url(SqliteConnection& db, int64_t link, std::string_view url) {
  return put(db, {hash_of(url), link});
}

UrlEntry url_entry(const Link& link) noexcept { return {hash_of(link.url), link.id}; }

Result<void> index_urls(SqliteConnection& db, std::vector<UrlEntry> entries) {
  std::sort(entries.begin(), entries.end());
  for (const UrlEntry entry : entries) {
    TRY_VOID(put(db, entry));
  }
  return {};
}

Result<void> unindex_url(SqliteConnection& db, int64_t link, std::string_view url) {
  return db.execute("DELETE FROM link_urls WHERE hash = ?1 AND link = ?2", hash_of(url), link);
}

Result<bool> index_more(SqliteConnection& db, size_t count) {
  TRY(int64_t last, indexed_up_to(db));
  if (last == INT64_MAX) return true;
  size_t done = 0;
  {
    TRY(Query rows,
        db.query("SELECT id, url FROM links WHERE id > ?1 AND deleted_at IS NULL ORDER BY id LIMIT ?2", last, count));
    while (true) {
      TRY(const bool row, rows.next());
      if (!row) break;
      last = rows.integer(0);
      TRY_VOID(index_url(db, last, rows.text(1)));
      ++done;
    }
  }
  const bool all = done < count;
  TRY_VOID(db.execute("UPDATE link_settings SET value = ?1 WHERE name = 'urls_indexed'", all ? INT64_MAX : last));
  return all;
}

bool same_settings(const Link& a, const Link& b) {
  if (a.url != b.url || a.status != b.status || a.not_before != b.not_before || a.expires_at != b.expires_at ||
      a.max_visits != b.max_visits || a.forward_query != b.forward_query || a.rules != b.rules ||
      a.password != b.password) {
    return false;
  }
  return a.tags.size() == b.tags.size() && std::is_permutation(a.tags.begin(), a.tags.end(), b.tags.begin());
}

Result<std::optional<Link>> find_same(SqliteConnection& db, const Link& wanted, bool title_too, int64_t now) {
  // What is kept of two passwords does not tell whether they are the same.
  if (!wanted.password.empty()) return std::optional<Link>();
  std::vector<int64_t> candidates;
  {
    static const std::string kSql =
        "SELECT u.link FROM link_urls u CROSS JOIN links l ON l.id = u.link WHERE u.hash = ?1 AND u.link < "
        "coalesce((SELECT link FROM link_urls WHERE hash = ?1 ORDER BY link LIMIT 1 OFFSET ?4), ?5) "
        "AND substr(l.code, 1, max(instr(l.code, '/') - 1, 0)) = ?2 ORDER BY u.link LIMIT ?3";
    TRY(Query rows,
        db.query(kSql, hash_of(wanted.url), split_name(wanted.code).host, kMaxSame, kMaxSameAnywhere, INT64_MAX));
    while (true) {
      TRY(const bool row, rows.next());
      if (!row) break;
      candidates.push_back(rows.integer(0));
    }
  }
  for (const int64_t id : candidates) {
    TRY(std::optional<Link> link, find_link(db, id));
    if (!link || !is_live(*link, now) || !same_settings(*link, wanted)) continue;
    if (title_too && link->title != wanted.title) continue;
    const LinkName name = split_name(link->code);
    const LinkName asked = split_name(wanted.code);
    if (name.host != asked.host || (!asked.code.empty() && name.code != asked.code)) continue;
    return link;
  }
  return std::optional<Link>();
}

}  // namespace trellis::services::links
