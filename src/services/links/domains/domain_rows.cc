#include "services/links/domains/domain_rows.h"

#include <array>

#include "store/sqlite_connection.h"

namespace trellis::services::links {

namespace {

using store::Query;
using store::SqliteConnection;

// AUTOINCREMENT: the id of a domain that was removed is never another's.
constexpr std::array<store::Migration, 2> kMigrations = {{{1, "domains", R"sql(
CREATE TABLE link_domains(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  host TEXT NOT NULL UNIQUE,
  base_url TEXT NOT NULL,
  status INTEGER,
  unknown_url TEXT NOT NULL,
  gone_url TEXT NOT NULL,
  root_url TEXT NOT NULL
) STRICT;
-- The default one: host and base_url are the configuration's.
INSERT INTO link_domains(id, host, base_url, unknown_url, gone_url, root_url) VALUES(0, '', '', '', '', '');
INSERT INTO link_settings(name, value) VALUES('domains_revision', 0);
)sql"},
                                                          {2, "versions of domains", R"sql(
ALTER TABLE link_domains ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
)sql"}}};

constexpr std::string_view kSelect =
    "SELECT id, host, base_url, status, unknown_url, gone_url, root_url, version FROM link_domains";

Domain domain_from(const Query& row) {
  Domain domain;
  domain.id = row.integer(0);
  domain.host = row.text(1);
  domain.base_url = row.text(2);
  if (const std::optional<int64_t> status = row.integer_or_null(3)) domain.status = static_cast<int>(*status);
  domain.unknown_url = row.text(4);
  domain.gone_url = row.text(5);
  domain.root_url = row.text(6);
  domain.version = row.integer(7);
  return domain;
}

Result<void> raise_revision(SqliteConnection& db) {
  return db.execute("UPDATE link_settings SET value = value + 1 WHERE name = 'domains_revision'");
}

Result<bool> has_links(SqliteConnection& db, const std::string& host) {
  // All names that begin with "host/": '0' is the character behind the slash.
  TRY(Query row, db.query("SELECT 1 FROM links WHERE code > ?1 AND code < ?2 AND deleted_at IS NULL LIMIT 1",
                          host + "/", host + "0"));
  return row.next();
}

}  // namespace

std::span<const store::Migration> domain_migrations() noexcept { return kMigrations; }

Result<DomainRows> all_domains(SqliteConnection& db) {
  DomainRows out;
  {
    TRY(Query row, db.query("SELECT value FROM link_settings WHERE name = 'domains_revision'"));
    TRY(const bool found, row.next());
    if (found) out.revision = row.integer(0);
  }
  static const std::string kSql = std::string(kSelect) + " ORDER BY id";
  TRY(Query rows, db.query(kSql));
  while (true) {
    TRY(const bool row, rows.next());
    if (!row) return out;
    out.all.push_back(domain_from(rows));
  }
}

Result<std::optional<Domain>> find_domain(SqliteConnection& db, int64_t id) {
  static const std::string kSql = std::string(kSelect) + " WHERE id = ?1";
  TRY(Query row, db.query(kSql, id));
  TRY(const bool found, row.next());
  if (!found) return std::optional<Domain>();
  return std::optional<Domain>(domain_from(row));
}

Result<std::optional<int64_t>> insert_domain(SqliteConnection& db, const Domain& domain) {
  TRY(const bool there, has_domain(db, domain.host));
  if (there) return std::optional<int64_t>();
  {
    TRY(Query count, db.query("SELECT count(*) FROM link_domains"));
    TRY_VOID(count.next());
    if (count.integer(0) > static_cast<int64_t>(kMaxDomains)) return std::optional<int64_t>(0);
  }
  TRY_VOID(
      db.execute("INSERT INTO link_domains(host, base_url, status, unknown_url, gone_url, root_url) "
                 "VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
                 domain.host, domain.base_url, domain.status, domain.unknown_url, domain.gone_url, domain.root_url));
  TRY_VOID(raise_revision(db));
  TRY(Query row, db.query("SELECT id FROM link_domains WHERE host = ?1", domain.host));
  TRY_VOID(row.next());
  return std::optional<int64_t>(row.integer(0));
}

Result<void> update_domain(SqliteConnection& db, const Domain& domain) {
  TRY_VOID(db.execute(
      "UPDATE link_domains SET base_url = ?2, status = ?3, unknown_url = ?4, gone_url = ?5, root_url = ?6, "
      "version = ?7 WHERE id = ?1",
      domain.id, domain.base_url, domain.status, domain.unknown_url, domain.gone_url, domain.root_url, domain.version));
  return raise_revision(db);
}

Result<bool> delete_domain(SqliteConnection& db, const Domain& domain) {
  TRY(const bool used, has_links(db, domain.host));
  if (used) return false;
  TRY_VOID(db.execute("DELETE FROM link_domains WHERE id = ?1", domain.id));
  TRY_VOID(raise_revision(db));
  return true;
}

Result<bool> has_domain(SqliteConnection& db, std::string_view host) {
  TRY(Query row, db.query("SELECT 1 FROM link_domains WHERE host = ?1", host));
  return row.next();
}

}  // namespace trellis::services::links
