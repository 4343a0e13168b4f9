#include "store/sqlite_connection.h"

#include <sqlite3.h>

#include <algorithm>
#include <limits>

namespace trellis::store {

namespace {

Code code_for_sqlite(int extended) noexcept {
  switch (extended) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID: return Code::already_exists;
    default: break;
  }
  switch (extended & 0xff) {
    case SQLITE_CONSTRAINT:
    case SQLITE_READONLY: return Code::failed_precondition;
    case SQLITE_FULL:
    case SQLITE_NOMEM: return Code::resource_exhausted;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_PROTOCOL: return Code::unavailable;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return Code::data_loss;
    case SQLITE_TOOBIG: return Code::invalid_argument;
    case SQLITE_INTERRUPT: return Code::cancelled;
    default: return Code::internal;
  }
}

}  // namespace

// --- Query ---

Query::~Query() {
  if (!statement_) return;
  if (slot_) {
    sqlite3_reset(statement_);
    sqlite3_clear_bindings(statement_);
    *slot_ = false;
  } else {
    sqlite3_finalize(statement_);
  }
}

Result<bool> Query::next() {
  switch (sqlite3_step(statement_)) {
    case SQLITE_ROW: return true;
    case SQLITE_DONE: return false;
    default: return fail(connection_->error("run a statement"));
  }
}

Result<void> Query::run() {
  while (true) {
    TRY(const bool row, next());
    if (!row) return {};
  }
}

int64_t Query::integer(int column) const noexcept { return sqlite3_column_int64(statement_, column); }
double Query::real(int column) const noexcept { return sqlite3_column_double(statement_, column); }

std::string_view Query::text(int column) const noexcept {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  if (!text) return {};
  return {text, static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

std::string_view Query::blob(int column) const noexcept {
  const auto* bytes = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  if (!bytes) return {};
  return {bytes, static_cast<size_t>(sqlite3_column_bytes(statement_, column))};
}

bool Query::is_null(int column) const noexcept { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

std::optional<int64_t> Query::integer_or_null(int column) const noexcept {
  if (is_null(column)) return std::nullopt;
  return integer(column);
}

// --- SqliteConnection ---

Result<std::unique_ptr<SqliteConnection>> SqliteConnection::open(const Options& options) {
  // SQLite counts the memory it uses under one lock, taken at every allocation of every connection; nobody reads it.
  // Can be said before the first connection only, and is refused, without harm, when somebody was faster.
  static const int uncounted = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  (void)uncounted;
  sqlite3* db = nullptr;
  const int flags =
      SQLITE_OPEN_NOMUTEX | (options.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  const int opened =
      sqlite3_open_v2(options.path.c_str(), &db, flags, options.vfs.empty() ? nullptr : options.vfs.c_str());
  std::unique_ptr<SqliteConnection> connection(new SqliteConnection(db));
  if (opened != SQLITE_OK) {
    if (!db) return fail(Error(Code::resource_exhausted, "open " + options.path + ": no memory").from(Side::self));
    return fail(connection->error("open " + options.path));
  }
  sqlite3_extended_result_codes(db, 1);
  const auto busy = std::chrono::duration_cast<std::chrono::milliseconds>(options.busy).count();
  sqlite3_busy_timeout(db, static_cast<int>(busy));
  // Only the writer checkpoints, and only where it says so: a checkpoint that races with the reset of the WAL by
  // another connection can lose commits in this release of SQLite.
  sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DML, 0, nullptr);
  sqlite3_db_config(db, SQLITE_DBCONFIG_DQS_DDL, 0, nullptr);
  std::string pragmas = "PRAGMA wal_autocheckpoint=0; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-" +
                        std::to_string(options.cache_bytes >> 10) +
                        "; PRAGMA mmap_size=" + std::to_string(options.mmap_bytes) + ";";
  if (options.read_only) {
    pragmas += "PRAGMA query_only=1;";
  } else {
    pragmas += "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=1; PRAGMA secure_delete=0;";
  }
  TRY_VOID(connection->script(pragmas));
  if (!options.read_only) {
    TRY(Query mode, connection->query("PRAGMA journal_mode"));
    TRY(const bool row, mode.next());
    if (!row || mode.text(0) != "wal") {
      return fail(Error(Code::failed_precondition, options.path + ": the file system allows no write-ahead log")
                      .from(Side::self));
    }
  }
  return connection;
}

SqliteConnection::~SqliteConnection() {
  for (auto& [sql, kept] : kept_) sqlite3_finalize(kept.statement);
  sqlite3_close_v2(db_);
}

Result<Query> SqliteConnection::prepare(std::string_view sql) {
  auto found = kept_.find(sql);
  if (found != kept_.end() && !found->second.in_use) {
    found->second.in_use = true;
    return Query(this, found->second.statement, &found->second.in_use);
  }
  const bool keep = found == kept_.end() && kept_.size() < kKeptStatements;
  sqlite3_stmt* statement = nullptr;
  const unsigned flags = keep ? SQLITE_PREPARE_PERSISTENT : 0;
  if (sqlite3_prepare_v3(db_, sql.data(), static_cast<int>(sql.size()), flags, &statement, nullptr) != SQLITE_OK) {
    return fail(error("prepare a statement"));
  }
  if (!keep) return Query(this, statement, nullptr);
  // A node of an unordered_map stays where it is, so the mark's address is good for as long as the connection.
  found = kept_.emplace(std::string(sql), Kept{statement, true}).first;
  return Query(this, statement, &found->second.in_use);
}

Result<void> SqliteConnection::script(const std::string& sql) {
  if (sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) return fail(error("run a script"));
  return {};
}

int64_t SqliteConnection::changes() const noexcept { return sqlite3_changes64(db_); }
bool SqliteConnection::in_transaction() const noexcept { return sqlite3_get_autocommit(db_) == 0; }

bool SqliteConnection::last_was_io_error() const noexcept {
  const int code = sqlite3_errcode(db_) & 0xff;
  return code == SQLITE_IOERR || code == SQLITE_CORRUPT || code == SQLITE_CANTOPEN || code == SQLITE_NOTADB;
}

Error SqliteConnection::error(std::string_view what) const {
  const int extended = sqlite3_extended_errcode(db_);
  const Code code = code_for_sqlite(extended);
  std::string text(what);
  text += ": ";
  text += sqlite3_errmsg(db_);
  Error error(code, std::move(text));
  const bool again = (extended & 0xff) == SQLITE_BUSY || (extended & 0xff) == SQLITE_LOCKED;
  return std::move(error).from(Side::self).retry(again ? Retry::yes : Retry::no);
}

bool SqliteConnection::bind_integer(sqlite3_stmt* statement, int index, int64_t value) noexcept {
  return sqlite3_bind_int64(statement, index, value) == SQLITE_OK;
}
bool SqliteConnection::bind_real(sqlite3_stmt* statement, int index, double value) noexcept {
  return sqlite3_bind_double(statement, index, value) == SQLITE_OK;
}
// Copied: the arguments of query() may be temporaries.
bool SqliteConnection::bind_text(sqlite3_stmt* statement, int index, std::string_view value, Bytes bytes) noexcept {
  const char* data = value.data() ? value.data() : "";
  const auto life = bytes == Bytes::borrowed ? SQLITE_STATIC : SQLITE_TRANSIENT;
  return sqlite3_bind_text64(statement, index, data, value.size(), life, SQLITE_UTF8) == SQLITE_OK;
}
bool SqliteConnection::bind_blob(sqlite3_stmt* statement, int index, std::string_view value, Bytes bytes) noexcept {
  const char* data = value.data() ? value.data() : "";
  const auto life = bytes == Bytes::borrowed ? SQLITE_STATIC : SQLITE_TRANSIENT;
  return sqlite3_bind_blob64(statement, index, data, value.size(), life) == SQLITE_OK;
}
bool SqliteConnection::bind_null(sqlite3_stmt* statement, int index) noexcept {
  return sqlite3_bind_null(statement, index) == SQLITE_OK;
}

}  // namespace trellis::store
