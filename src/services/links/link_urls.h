// Finds links by where they lead: an index on a hash of the URL, so that "is there one already?" costs a lookup however
// long addresses are. rows.cc keeps it up to date with every link that is made, changed or removed; index_more() brings
// in those of a file that is older than the index. Plain functions over a connection, as in rows.h: inside an operation
// of the store.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "services/links/rows.h"
#include "store/migrations.h"

namespace trellis::services::links {

std::span<const store::Migration> url_migrations() noexcept;  // after migrations()

Result<void> index_url(store::SqliteConnection& db, int64_t link, std::string_view url);
// Many links that were made: in the order of the index, which is several times faster than in theirs.
struct UrlEntry {
  int64_t hash = 0;
  int64_t link = 0;
  auto operator<=>(const UrlEntry&) const = default;
};
UrlEntry url_entry(const Link& link) noexcept;
Result<void> index_urls(store::SqliteConnection& db, std::vector<UrlEntry> entries);
Result<void> unindex_url(store::SqliteConnection& db, int64_t link, std::string_view url);
// Up to `count` links that are older than the index. True: all are in.
Result<bool> index_more(store::SqliteConnection& db, size_t count);

// Whether a visitor meets the same on both: URL, status, conditions, password, tags (in any order). Not code, title and
// counts.
bool same_settings(const Link& a, const Link& b);

// Of how many links of the domain with the same hash find_same() looks at, oldest first, and among how many of all
// domains it looks for them: the writer waits.
inline constexpr size_t kMaxSame = 100;
inline constexpr size_t kMaxSameAnywhere = 20'000;
// A link that can be followed at `now` or later, on the domain of `wanted` and with its settings; if `wanted` has a
// code, this one.
// `title_too`: and its title. Links with a password are never the same as another.
Result<std::optional<Link>> find_same(store::SqliteConnection& db, const Link& wanted, bool title_too, int64_t now);

}  // namespace trellis::services::links
