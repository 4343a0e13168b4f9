#include "services/links/access/blocklist_rows.h"

#include <array>

#include "store/sqlite_connection.h"

namespace trellis::services::links {

namespace {

using store::Query;
using store::SqliteConnection;

constexpr std::array<store::Migration, 1> kMigrations = {{{1, "blocklist", R"sql(
CREATE TABLE link_blocklist(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  pattern TEXT NOT NULL UNIQUE,
  reason TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
-- How often it has changed.
INSERT INTO link_settings(name, value) VALUES('blocklist', 0);
)sql"}}};

constexpr std::string_view kSelect = "SELECT id, pattern, reason, created_at FROM link_blocklist";

Blocked blocked_from(const Query& row) {
  Blocked blocked;
  blocked.id = row.integer(0);
  blocked.pattern = row.text(1);
  blocked.reason = row.text(2);
  blocked.created_at = row.integer(3);
  return blocked;
}

Result<void> note_change(SqliteConnection& db) {
  return db.execute("UPDATE link_settings SET value = value + 1 WHERE name = 'blocklist'");
}

}  // namespace

std::span<const store::Migration> blocklist_migrations() noexcept { return kMigrations; }

Result<std::vector<Blocked>> blocked_after(SqliteConnection& db, int64_t after, size_t limit) {
  static const std::string kSql = std::string(kSelect) + " WHERE id > ?1 ORDER BY id LIMIT ?2";
  TRY(Query rows, db.query(kSql, after, limit));
  std::vector<Blocked> out;
  while (true) {
    TRY(const bool row, rows.next());
    if (!row) return out;
    out.push_back(blocked_from(rows));
  }
}

Result<std::optional<Blocked>> find_blocked(SqliteConnection& db, int64_t id) {
  static const std::string kSql = std::string(kSelect) + " WHERE id = ?1";
  TRY(Query row, db.query(kSql, id));
  TRY(const bool found, row.next());
  if (!found) return std::optional<Blocked>();
  return std::optional<Blocked>(blocked_from(row));
}

Result<BlockedPatterns> blocked_patterns(SqliteConnection& db) {
  BlockedPatterns out;
  {
    TRY(Query row, db.query("SELECT value FROM link_settings WHERE name = 'blocklist'"));
    TRY(const bool found, row.next());
    if (found) out.changes = row.integer(0);
  }
  TRY(Query rows, db.query("SELECT pattern FROM link_blocklist"));
  while (true) {
    TRY(const bool row, rows.next());
    if (!row) return out;
    out.patterns.emplace_back(rows.text(0));
  }
}

Result<Blocking> insert_blocked(SqliteConnection& db, const Blocked& blocked) {
  {
    TRY(Query row, db.query("SELECT id FROM link_blocklist WHERE pattern = ?1", blocked.pattern));
    TRY(const bool found, row.next());
    if (found) return Blocking{Blocking::Kind::exists, row.integer(0)};
  }
  TRY_VOID(
      db.execute("INSERT INTO link_blocklist(pattern, reason, created_at) SELECT ?1, ?2, ?3 "
                 "WHERE (SELECT count(*) FROM link_blocklist) < ?4",
                 blocked.pattern, blocked.reason, blocked.created_at, kMaxBlocked));
  if (db.changes() != 1) return Blocking{Blocking::Kind::full, 0};
  TRY_VOID(note_change(db));
  TRY(Query row, db.query("SELECT id FROM link_blocklist WHERE pattern = ?1", blocked.pattern));
  TRY(const bool there, row.next());
  return Blocking{Blocking::Kind::made, there ? row.integer(0) : 0};
}

Result<bool> remove_blocked(SqliteConnection& db, int64_t id) {
  TRY_VOID(db.execute("DELETE FROM link_blocklist WHERE id = ?1", id));
  if (db.changes() != 1) return false;
  TRY_VOID(note_change(db));
  return true;
}

}  // namespace trellis::services::links
