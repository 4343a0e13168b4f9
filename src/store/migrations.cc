#include "store/migrations.h"

#include <string>

#include "store/sqlite_connection.h"

namespace trellis::store {

namespace {

Result<void> apply(SqliteConnection& connection, std::string_view space, const Migration& migration, int64_t now) {
  TRY_VOID(connection.script(std::string(migration.sql)));
  return connection.execute("INSERT INTO schema_migrations(space, version, name, applied_at) VALUES(?1, ?2, ?3, ?4)",
                            space, migration.version, migration.name, now);
}

Error about(std::string_view space, int64_t version, std::string_view what) {
  return Error(Code::failed_precondition,
               "schema of " + std::string(space) + ", version " + std::to_string(version) + ": " + std::string(what))
      .from(Side::self);
}

}  // namespace

Result<void> migrate(SqliteConnection& connection, std::string_view space, std::span<const Migration> migrations,
                     int64_t now) {
  TRY_VOID(
      connection.script("CREATE TABLE IF NOT EXISTS schema_migrations(space TEXT NOT NULL, version INTEGER NOT NULL, "
                        "name TEXT NOT NULL, applied_at INTEGER NOT NULL, PRIMARY KEY(space, version)) WITHOUT ROWID"));
  int64_t applied = 0;
  {
    TRY(Query rows,
        connection.query("SELECT version, name FROM schema_migrations WHERE space = ?1 ORDER BY version", space));
    while (true) {
      TRY(const bool row, rows.next());
      if (!row) break;
      applied = rows.integer(0);
      const Migration* known = nullptr;
      for (const Migration& migration : migrations) {
        if (migration.version == applied) known = &migration;
      }
      if (!known) return fail(about(space, applied, "is newer than this release knows"));
      if (known->name != rows.text(1))
        return fail(about(space, applied, "was applied as \"" + std::string(rows.text(1)) + "\""));
    }
  }
  for (const Migration& migration : migrations) {
    if (migration.version <= applied) continue;
    TRY_VOID(connection.script("BEGIN IMMEDIATE"));
    Result<void> done = apply(connection, space, migration, now);
    if (done) done = connection.script("COMMIT");
    if (!done) {
      if (connection.in_transaction()) (void)connection.script("ROLLBACK");
      return fail(about(space, migration.version, migration.name).because(std::move(done).error()));
    }
    applied = migration.version;
  }
  return {};
}

}  // namespace trellis::store
