// The table of API keys and what is done with its rows: plain functions over a connection, inside an operation of the
// store or, by `trellis key`, on the file of a node that is stopped. A key's text is stored nowhere, only its SHA-256.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "http/routes.h"
#include "services/links/secrets.h"
#include "store/migrations.h"

namespace trellis::store {
class SqliteConnection;
}

namespace trellis::services::links {

inline constexpr size_t kMaxKeys = 10'000;
inline constexpr size_t kMaxKeyName = 128;

// By its number, for the host may be added again and is another domain then. -1: it was removed before it was noted.
struct KeyDomain {
  int64_t id = -1;
  std::string host;  // as split_name() gives it, for people
};

// Times are milliseconds since 1970.
struct ApiKey {
  int64_t id = 0;
  std::string name;    // for people
  std::string begins;  // of the key's text, to know it again
  Digest digest{};
  http::Scope scope = http::Scope::read;
  std::optional<KeyDomain> domain;  // the only one it is for; none: all
  int64_t created_at = 0;
  std::optional<int64_t> expires_at;
  std::optional<int64_t> last_used_at;
  int64_t version = 1;
};

// The schema of everything that has to do with access; after those of the links and of the domains.
std::span<const store::Migration> access_migrations() noexcept;

// "trl_" and 128 random bits.
std::string make_key_text();
// A key with this text, ready to be inserted.
ApiKey key_of(std::string_view text, std::string name, http::Scope scope, std::optional<int64_t> expires_at,
              int64_t now);

bool is_key_name(std::string_view name) noexcept;  // 1 to kMaxKeyName bytes without control characters
std::optional<http::Scope> key_scope(std::string_view word) noexcept;  // read, write or admin

Result<std::vector<ApiKey>> all_keys(store::SqliteConnection& db);  // by id
// Gives the id; nothing when there are kMaxKeys already.
Result<std::optional<int64_t>> insert_key(store::SqliteConnection& db, const ApiKey& key);
Result<std::optional<ApiKey>> find_key(store::SqliteConnection& db, int64_t id);
// Name, scope, end and version.
Result<void> update_key(store::SqliteConnection& db, const ApiKey& key);
Result<bool> delete_key(store::SqliteConnection& db, int64_t id);

struct KeyUse {
  int64_t id = 0;
  int64_t at = 0;
};
Result<void> note_uses(store::SqliteConnection& db, std::span<const KeyUse> uses);

}  // namespace trellis::services::links
