// The blocklist's table: entries that were made by the API. Plain functions over a connection, as in rows.h: inside an
// operation of the store.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "store/migrations.h"

namespace trellis::store {
class SqliteConnection;
}

namespace trellis::services::links {

inline constexpr int64_t kMaxBlocked = 10'000;

struct Blocked {
  int64_t id = 0;
  std::string pattern;  // as BlockEntry::text() has it
  std::string reason;
  int64_t created_at = 0;  // milliseconds since 1970
};

std::span<const store::Migration> blocklist_migrations() noexcept;  // after migrations()

Result<std::vector<Blocked>> blocked_after(store::SqliteConnection& db, int64_t after, size_t limit);  // by id
Result<std::optional<Blocked>> find_blocked(store::SqliteConnection& db, int64_t id);

// All of them, and how often they have changed.
struct BlockedPatterns {
  int64_t changes = 0;
  std::vector<std::string> patterns;
};
Result<BlockedPatterns> blocked_patterns(store::SqliteConnection& db);

struct Blocking {
  // exists: the same pattern is there, `id` is its. full: there are kMaxBlocked.
  enum class Kind : uint8_t { made, exists, full } kind = Kind::made;
  int64_t id = 0;
};
Result<Blocking> insert_blocked(store::SqliteConnection& db, const Blocked& blocked);
Result<bool> remove_blocked(store::SqliteConnection& db, int64_t id);

}  // namespace trellis::services::links
