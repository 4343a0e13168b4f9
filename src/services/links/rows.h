// The tables of the links service and what is done with their rows: plain functions over a connection, each called
// inside an operation of the store (a read in the blocking pool, or a write on the writer's thread). They block and
// know nothing of cores, caches or HTTP.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "services/links/codes.h"
#include "store/migrations.h"

namespace trellis::store {
class SqliteConnection;
}

namespace trellis::services::links {

std::span<const store::Migration> migrations() noexcept;
std::span<const store::Migration> password_migrations() noexcept;

// Times are milliseconds since 1970.
struct Link {
  int64_t id = 0;    // the counter value
  std::string code;  // its name (link_name.h): with the host before it, but on the default domain
  std::string url;
  std::string title;
  int status = 302;
  int64_t created_at = 0;
  int64_t updated_at = 0;
  std::optional<int64_t> not_before;  // until then it answers 404
  std::optional<int64_t> expires_at;
  std::optional<int64_t> max_visits;
  int64_t visits = 0;  // exact; counted only while there is a maximum
  bool forward_query = false;
  std::vector<std::string> tags;
  std::string password;  // as scrypt_text() writes it; "": none
  std::string rules;     // as JSON (rules.h); "": none
  bool deleted = false;  // a tombstone: only id and code are left
  int64_t version = 1;
  int64_t clicks = 0;
};

// The key of the permutation, made and kept at the first start.
Result<CodeKey> load_key(store::SqliteConnection& db, const CodeKey& fresh);

// [begin, end) of the counter, never given to anybody again, and those of them that aliases have taken.
// resource_exhausted when no numbers are left.
struct Lease {
  uint64_t begin = 0;
  uint64_t end = 0;
  std::vector<uint64_t> burned;
};
Result<Lease> lease_ids(store::SqliteConnection& db, uint64_t count);

Result<std::optional<Link>> find_link(store::SqliteConnection& db, std::string_view name);
Result<std::optional<Link>> find_link(store::SqliteConnection& db, int64_t id);

// The first answer to an Idempotency-Key.
struct Replay {
  std::string request;  // a digest of what was asked
  int status = 0;
  std::string code;
  std::string body;
  std::string etag;
};
Result<std::optional<Replay>> find_replay(store::SqliteConnection& db, std::string_view key, int64_t not_before);
Result<void> keep_replay(store::SqliteConnection& db, std::string_view key, const Replay& replay, int64_t now);
// A bounded number of those made before this; gives how many.
Result<int64_t> drop_replays(store::SqliteConnection& db, int64_t before);

// `counter`: the value an alias of the form of a generated code stands for. False: the name is taken. not_found (side
// client): the domain is gone.
Result<bool> insert_link(store::SqliteConnection& db, const Link& link, std::optional<uint64_t> counter);
// Likewise, for one of many: whoever calls it puts them into the index of URLs afterwards, all at once (link_urls.h).
Result<bool> insert_unindexed_link(store::SqliteConnection& db, const Link& link);
// Everything but id, code, created_at and clicks.
Result<void> update_link(store::SqliteConnection& db, const Link& link);
Result<void> bury_link(store::SqliteConnection& db, int64_t id, int64_t now);
// One visit of a link with a maximum. False: it has had them all, or is gone.
Result<bool> count_visit(store::SqliteConnection& db, int64_t id);

struct Page {
  std::vector<Link> links;
  std::optional<int64_t> next;  // links below this id follow
};
struct LinkFilter {
  std::string search;                 // in code, URL or title (ASCII letters in any case)
  std::string tag;                    // they carry it
  std::optional<std::string> domain;  // they are of it: as split_name() gives it, "" for the default one
};
// Newest first, below `before`. Looks at no more than kMaxScanned rows, so a page may be short with a next one.
inline constexpr int kMaxScanned = 20'000;
Result<Page> list_links(store::SqliteConnection& db, const LinkFilter& filter, int64_t before, size_t limit);

// Oldest first, above `after`, without the removed ones.
Result<std::vector<Link>> links_after(store::SqliteConnection& db, int64_t after, size_t limit);

struct LinkCount {
  int64_t link = 0;
  int64_t clicks = 0;
};
Result<void> add_clicks(store::SqliteConnection& db, std::span<const LinkCount> counts);
// Of a link that was just made: clicks of which only the number is known, and visits of its maximum.
Result<void> bring_counts(store::SqliteConnection& db, int64_t id, int64_t clicks, int64_t visits);

}  // namespace trellis::services::links
