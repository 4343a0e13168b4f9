// Brings a file's schema to the version that the code knows: each migration runs once, in order, in a transaction of
// its own, and is written down in schema_migrations. A file from a newer release is refused, because this code cannot
// know what its tables mean. Called by the store's writer thread.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/error.h"

namespace trellis::store {

class SqliteConnection;

// Never edited once released: a change is a new migration. `space` keeps the versions of several users of one file
// apart.
struct Migration {
  int64_t version;
  std::string_view name;
  std::string_view sql;
};

// Versions rise. `now` in milliseconds since 1970, for the record. failed_precondition: the file is newer, or a
// migration that was applied has another name now.
Result<void> migrate(SqliteConnection& connection, std::string_view space, std::span<const Migration> migrations,
                     int64_t now);

}  // namespace trellis::store
