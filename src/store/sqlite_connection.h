// One connection to an SQLite file: statements prepared once and kept, typed values in and out, errors as values.
// Parameters only: no text of a client ever becomes SQL. A connection is used by one thread at a time (the writer, or a
// reader in the blocking pool); it blocks, so never on a loop. SqliteStore owns them.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/hash.h"
#include "base/time.h"

struct sqlite3;
struct sqlite3_stmt;

namespace trellis::store {

// Bytes, as opposed to text.
struct Blob {
  std::string_view bytes;
};

class SqliteConnection;

// A statement with its parameters bound; gives its rows one by one. Given back to its connection when destroyed, before
// which the connection must live.
class Query {
 public:
  Query(Query&& other) noexcept
      : connection_(other.connection_), statement_(std::exchange(other.statement_, nullptr)), slot_(other.slot_) {}
  Query& operator=(Query&&) = delete;
  ~Query();

  // True: a row to be read. False: the end.
  Result<bool> next();
  // To the end, whatever it gives.
  Result<void> run();

  // Columns of the current row, from 0. Views live until the next call of next().
  int64_t integer(int column) const noexcept;
  double real(int column) const noexcept;
  std::string_view text(int column) const noexcept;
  std::string_view blob(int column) const noexcept;
  bool is_null(int column) const noexcept;
  std::optional<int64_t> integer_or_null(int column) const noexcept;

 private:
  friend class SqliteConnection;
  Query(SqliteConnection* connection, sqlite3_stmt* statement, bool* slot) noexcept
      : connection_(connection), statement_(statement), slot_(slot) {}

  SqliteConnection* connection_;
  sqlite3_stmt* statement_;
  bool* slot_;  // the "in use" mark of a kept statement; null: this one is not kept
};

class SqliteConnection {
 public:
  struct Options {
    std::string path;
    bool read_only = false;
    uint64_t mmap_bytes = uint64_t{256} << 20;
    uint64_t cache_bytes = uint64_t{16} << 20;  // of pages that were read or changed, at most
    Duration busy = std::chrono::milliseconds(2000);
    std::string vfs;  // "": the default one
  };
  static Result<std::unique_ptr<SqliteConnection>> open(const Options& options);
  ~SqliteConnection();
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  // Prepares (once a text) and binds the arguments to ?1, ?2, ... Arguments: integers, double, text, Blob, nullptr and
  // std::optional of these. Errors: already_exists for a broken UNIQUE or PRIMARY KEY, failed_precondition for other
  // constraints, resource_exhausted when the disk is full, unavailable when it cannot be read or written, data_loss
  // when the file is damaged.
  template <class... Args>
  Result<Query> query(std::string_view sql, const Args&... args) {
    return bound<Bytes::copied>(sql, args...);
  }
  template <class... Args>
  Result<void> execute(std::string_view sql, const Args&... args) {
    TRY(Query statement, bound<Bytes::borrowed>(sql, args...));
    return statement.run();
  }
  // Several statements without parameters, as in a migration.
  Result<void> script(const std::string& sql);

  int64_t changes() const noexcept;         // rows changed by the last statement
  bool in_transaction() const noexcept;     // false: SQLite has rolled it back by itself, or there is none
  bool last_was_io_error() const noexcept;  // of the last call that failed
  sqlite3* handle() const noexcept { return db_; }
  Error error(std::string_view what) const;

 private:
  friend class Query;
  struct Kept {
    sqlite3_stmt* statement = nullptr;
    bool in_use = false;
  };
  static constexpr size_t kKeptStatements = 256;

  // Of an argument: a statement that has ended before its arguments do borrows them.
  enum class Bytes : bool { copied, borrowed };

  explicit SqliteConnection(sqlite3* db) noexcept : db_(db) {}
  Result<Query> prepare(std::string_view sql);
  template <Bytes bytes, class... Args>
  Result<Query> bound(std::string_view sql, const Args&... args) {
    Result<Query> query = prepare(sql);
    if (!query) return query;
    int index = 0;
    bool all = true;
    ((all = all && bind<bytes>(query->statement_, ++index, args)), ...);
    if (!all) return fail(error("bind"));
    return query;
  }

  static bool bind_integer(sqlite3_stmt* statement, int index, int64_t value) noexcept;
  static bool bind_real(sqlite3_stmt* statement, int index, double value) noexcept;
  static bool bind_text(sqlite3_stmt* statement, int index, std::string_view value, Bytes bytes) noexcept;
  static bool bind_blob(sqlite3_stmt* statement, int index, std::string_view value, Bytes bytes) noexcept;
  static bool bind_null(sqlite3_stmt* statement, int index) noexcept;

  template <Bytes bytes, class T>
  static bool bind(sqlite3_stmt* statement, int index, const T& value) noexcept {
    if constexpr (std::is_same_v<T, std::nullptr_t> || std::is_same_v<T, std::nullopt_t>) {
      return bind_null(statement, index);
    } else if constexpr (std::is_same_v<T, Blob>) {
      return bind_blob(statement, index, value.bytes, bytes);
    } else if constexpr (std::is_integral_v<T>) {
      return bind_integer(statement, index, static_cast<int64_t>(value));
    } else if constexpr (std::is_floating_point_v<T>) {
      return bind_real(statement, index, value);
    } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
      return bind_text(statement, index, value, bytes);
    } else {
      return value ? bind<bytes>(statement, index, *value) : bind_null(statement, index);
    }
  }

  sqlite3* db_;
  std::unordered_map<std::string, Kept, StringHash, std::equal_to<>> kept_;
};

}  // namespace trellis::store
