// Finding links as the interfaces of other shorteners ask for them: by page, order, dates and several tags, with a
// total; tags with their counts; clicks by hour. Plain functions over a connection, called inside an operation of the
// store, as in rows.h. Unlike list_links() a search here looks at every link: it is for people at a screen.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "services/links/rows.h"

namespace trellis::services::links {

class DomainTable;

enum class LinkOrder : uint8_t { created, code, url, title, clicks, random };

struct LinkSearch {
  std::string text;                       // in code, URL, title or tags, ASCII letters in any case; "": any
  std::vector<std::string> tags;          // each once: one of them, or
  bool all_tags = false;                  // all of them
  std::vector<std::string> without_tags;  // each once: none of them, or
  bool without_all_tags = false;          // not all of them
  std::optional<int64_t> from;            // made at this time or later
  std::optional<int64_t> until;           // made at this time or before
  bool with_visits_left = false;
  std::optional<int64_t> alive_at;    // not expired then
  std::optional<std::string> domain;  // of it: as split_name() gives it, "" for the default one
  LinkOrder order = LinkOrder::created;
  bool descending = true;
  size_t offset = 0;
  size_t limit = 10;
};
// What `domain` of a search is for the one with this number, none for none. One that was removed meanwhile has no
// links.
std::optional<std::string> name_host_of_domain(std::optional<int64_t> number, const DomainTable& domains);
struct LinksFound {
  std::vector<Link> links;
  int64_t total = 0;
};
Result<LinksFound> search_links(store::SqliteConnection& db, const LinkSearch& search);
// Links with a password are passed over.
Result<std::optional<Link>> newest_with_url(store::SqliteConnection& db, std::string_view url, std::string_view domain);

struct TagCount {
  std::string tag;
  int64_t links = 0;
  int64_t clicks = 0;
};
// By name. `domain`, here and below: as LinkSearch has it; none: of all.
Result<std::vector<TagCount>> count_tags(store::SqliteConnection& db,
                                         const std::optional<std::string>& domain = std::nullopt);
// Whether a link has it.
Result<bool> has_tag(store::SqliteConnection& db, std::string_view tag,
                     const std::optional<std::string>& domain = std::nullopt);
enum class Renamed : uint8_t { yes, not_found, taken };
Result<Renamed> rename_tag(store::SqliteConnection& db, std::string_view from, std::string_view to, int64_t now);
Result<void> remove_tag(store::SqliteConnection& db, std::string_view tag, int64_t now);

struct LinkTotals {
  int64_t links = 0;
  int64_t clicks = 0;
};
// Of a domain every link is looked at.
Result<LinkTotals> count_links(store::SqliteConnection& db, const std::optional<std::string>& domain = std::nullopt);

// Of one link, of those with a tag, or of all; newest hour first.
struct HourClicks {
  int64_t hour = 0;  // hours since 1970
  int64_t people = 0;
  int64_t bots = 0;
};
struct HourSearch {
  std::optional<int64_t> link;
  std::string tag;
  std::optional<std::string> domain;  // of those with the tag, these
  int64_t from = 0;                   // hours, both included
  int64_t until = INT64_MAX - 1;
};
Result<std::vector<HourClicks>> clicks_by_hour(store::SqliteConnection& db, const HourSearch& search);

}  // namespace trellis::services::links
