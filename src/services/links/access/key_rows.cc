#include "services/links/access/key_rows.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "store/sqlite_connection.h"

namespace trellis::services::links {

using http::Scope;
using store::Blob;
using store::Query;
using store::SqliteConnection;

namespace {

// AUTOINCREMENT: the id of a revoked key is never another's.
constexpr std::array<store::Migration, 3> kMigrations = {{{1, "keys", R"sql(
CREATE TABLE link_keys(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  begins TEXT NOT NULL,
  digest BLOB NOT NULL UNIQUE,
  scope TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  last_used_at INTEGER,
  version INTEGER NOT NULL
) STRICT;
)sql"},
                                                          // Null: all of them. "": the default one.
                                                          {2, "keys of a domain", R"sql(
ALTER TABLE link_keys ADD COLUMN domain TEXT;
)sql"},
                                                          {3, "keys of a domain by its number", R"sql(
ALTER TABLE link_keys ADD COLUMN domain_id INTEGER;
UPDATE link_keys SET domain_id = iif(domain = '', 0, (SELECT id FROM link_domains WHERE host = link_keys.domain))
  WHERE domain IS NOT NULL;
)sql"}}};

constexpr std::string_view kPrefix = "trl_";
constexpr size_t kBegins = 8;  // of the text: enough to tell keys apart, 112 bits stay secret

constexpr std::string_view kSelect =
    "SELECT id, name, begins, digest, scope, created_at, expires_at, last_used_at, version, domain IS NOT NULL, "
    "domain, domain_id FROM link_keys";

Result<ApiKey> key_from(const Query& row) {
  ApiKey key;
  key.id = row.integer(0);
  key.name = row.text(1);
  key.begins = row.text(2);
  const std::string_view digest = row.blob(3);
  const std::optional<Scope> scope = key_scope(row.text(4));
  if (digest.size() != key.digest.size() || !scope)
    return fail(Error(Code::data_loss, "an API key in the store is damaged").from(Side::self));
  std::memcpy(key.digest.data(), digest.data(), digest.size());
  key.scope = *scope;
  key.created_at = row.integer(5);
  key.expires_at = row.integer_or_null(6);
  key.last_used_at = row.integer_or_null(7);
  key.version = row.integer(8);
  if (row.integer(9) != 0) key.domain = KeyDomain{row.integer_or_null(11).value_or(-1), std::string(row.text(10))};
  return key;
}

Blob blob_of(const Digest& digest) {
  return Blob{std::string_view(reinterpret_cast<const char*>(digest.data()), digest.size())};
}

}  // namespace

std::span<const store::Migration> access_migrations() noexcept { return kMigrations; }

std::string make_key_text() { return std::string(kPrefix) + random_hex(16); }

ApiKey key_of(std::string_view text, std::string name, Scope scope, std::optional<int64_t> expires_at, int64_t now) {
  ApiKey key;
  key.name = std::move(name);
  key.begins = text.substr(0, kBegins);
  key.digest = sha256(text);
  key.scope = scope;
  key.created_at = now;
  key.expires_at = expires_at;
  return key;
}

bool is_key_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= kMaxKeyName &&
         std::all_of(name.begin(), name.end(), [](char c) { return static_cast<uint8_t>(c) >= 0x20 && c != 0x7f; });
}

std::optional<Scope> key_scope(std::string_view word) noexcept {
  for (const Scope scope : {Scope::read, Scope::write, Scope::admin}) {
    if (word == http::to_string(scope)) return scope;
  }
  return std::nullopt;
}

Result<std::vector<ApiKey>> all_keys(SqliteConnection& db) {
  static const std::string kSql = std::string(kSelect) + " ORDER BY id";
  std::vector<ApiKey> keys;
  TRY(Query rows, db.query(kSql));
  while (true) {
    TRY(const bool row, rows.next());
    if (!row) return keys;
    TRY(ApiKey key, key_from(rows));
    keys.push_back(std::move(key));
  }
}

Result<std::optional<int64_t>> insert_key(SqliteConnection& db, const ApiKey& key) {
  {
    TRY(Query count, db.query("SELECT count(*) FROM link_keys"));
    TRY_VOID(count.next());
    if (count.integer(0) >= static_cast<int64_t>(kMaxKeys)) return std::optional<int64_t>();
  }
  const auto host = key.domain ? std::optional(key.domain->host) : std::nullopt;
  const auto domain = key.domain ? std::optional(key.domain->id) : std::nullopt;
  TRY(Query row, db.query("INSERT INTO link_keys(name, begins, digest, scope, created_at, expires_at, version, domain, "
                          "domain_id) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) RETURNING id",
                          key.name, key.begins, blob_of(key.digest), http::to_string(key.scope), key.created_at,
                          key.expires_at, key.version, host, domain));
  TRY_VOID(row.next());
  const int64_t id = row.integer(0);
  TRY_VOID(row.run());
  return std::optional<int64_t>(id);
}

Result<std::optional<ApiKey>> find_key(SqliteConnection& db, int64_t id) {
  static const std::string kSql = std::string(kSelect) + " WHERE id = ?1";
  TRY(Query row, db.query(kSql, id));
  TRY(const bool found, row.next());
  if (!found) return std::optional<ApiKey>();
  TRY(ApiKey key, key_from(row));
  return std::optional<ApiKey>(std::move(key));
}

Result<void> update_key(SqliteConnection& db, const ApiKey& key) {
  return db.execute("UPDATE link_keys SET name = ?2, scope = ?3, expires_at = ?4, version = ?5 WHERE id = ?1", key.id,
                    key.name, http::to_string(key.scope), key.expires_at, key.version);
}

Result<bool> delete_key(SqliteConnection& db, int64_t id) {
  TRY_VOID(db.execute("DELETE FROM link_keys WHERE id = ?1", id));
  return db.changes() == 1;
}

Result<void> note_uses(SqliteConnection& db, std::span<const KeyUse> uses) {
  for (const KeyUse& use : uses) {
    TRY_VOID(db.execute("UPDATE link_keys SET last_used_at = max(coalesce(last_used_at, 0), ?2) WHERE id = ?1", use.id,
                        use.at));
  }
  return {};
}

}  // namespace trellis::services::links
