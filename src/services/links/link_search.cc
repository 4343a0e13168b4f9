#include "services/links/link_search.h"

#include <functional>
#include <map>
#include <utility>

#include "base/json.h"
#include "services/links/clicks/figures_reader.h"
#include "services/links/clicks/figures_rows.h"
#include "services/links/domains/domains.h"
#include "store/sqlite_connection.h"

namespace trellis::services::links {

namespace {

using store::Query;
using store::SqliteConnection;

// A list as one argument, for json_each().
std::string list_of(const std::vector<std::string>& texts) {
  std::string out;
  JsonWriter json(out);
  json.begin_array();
  for (const std::string& text : texts) json.value(text);
  json.end_array();
  return out;
}

// The domain of a link, as split_name() gives it.
constexpr std::string_view kOfItsDomain = "substr(l.code, 1, max(instr(l.code, '/') - 1, 0)) ";

constexpr std::string_view kWhere =
    " FROM links l LEFT JOIN link_totals t ON t.link = l.id WHERE l.deleted_at IS NULL "
    "AND (?1 = '' OR instr(lower(substr(l.code, instr(l.code, '/') + 1)), lower(?1)) OR instr(lower(l.url), lower(?1)) "
    "OR instr(lower(l.title), "
    "lower(?1)) OR instr(lower(l.tags), lower(?1))) "
    "AND (?2 IS NULL OR l.created_at >= ?2) AND (?3 IS NULL OR l.created_at <= ?3) "
    "AND (?4 = 0 OR l.max_visits IS NULL OR l.visits < l.max_visits) "
    "AND (?5 IS NULL OR l.expires_at IS NULL OR l.expires_at > ?5) "
    "AND (?7 = 0 OR (SELECT count(*) FROM link_tags g WHERE g.link = l.id AND g.tag IN (SELECT value FROM "
    "json_each(?6))) >= ?7) "
    "AND (?10 = 0 OR (SELECT count(*) FROM link_tags g WHERE g.link = l.id AND g.tag IN (SELECT value FROM "
    "json_each(?8))) < ?10) "
    "AND (?9 IS NULL OR substr(l.code, 1, max(instr(l.code, '/') - 1, 0)) = ?9) ";

std::string_view column_of(LinkOrder order) noexcept {
  switch (order) {
    case LinkOrder::created: return "l.created_at";
    case LinkOrder::code: return "substr(l.code, instr(l.code, '/') + 1) COLLATE NOCASE";
    case LinkOrder::url: return "l.url COLLATE NOCASE";
    case LinkOrder::title: return "l.title COLLATE NOCASE";
    case LinkOrder::clicks: return "coalesce(t.clicks, 0)";
    case LinkOrder::random: return "random()";
  }
  return "l.id";
}

// Tags are kept one a line; these are the statements' own pieces.
constexpr std::string_view kTouch =
    ", version = version + 1, updated_at = max(updated_at, ?2) "
    "WHERE id IN (SELECT link FROM link_tags WHERE tag = ?1)";

}  // namespace

std::optional<std::string> name_host_of_domain(std::optional<int64_t> number, const DomainTable& domains) {
  if (!number) return std::nullopt;
  const Domain* domain = domains.find(*number);
  return domain ? std::string(domain->name_host()) : std::string("/");
}

Result<LinksFound> search_links(SqliteConnection& db, const LinkSearch& search) {
  const std::string tags = list_of(search.tags);
  const std::string without = list_of(search.without_tags);
  // How many of them a link must have, and how many make it fall out; 0: that is not asked.
  const size_t least = search.tags.empty() ? 0 : search.all_tags ? search.tags.size() : 1;
  const size_t out = search.without_tags.empty() ? 0 : search.without_all_tags ? search.without_tags.size() : 1;
  LinksFound found;
  {
    static const std::string kCount = "SELECT count(*)" + std::string(kWhere);
    TRY(Query row, db.query(kCount, search.text, search.from, search.until, search.with_visits_left ? 1 : 0,
                            search.alive_at, tags, least, without, search.domain, out));
    TRY(const bool there, row.next());
    if (there) found.total = row.integer(0);
  }
  std::vector<std::string> codes;
  {
    std::string sql = "SELECT l.code" + std::string(kWhere) + "ORDER BY ";
    sql += column_of(search.order);
    sql += search.descending ? " DESC, l.id DESC" : " ASC, l.id ASC";
    sql += " LIMIT ?11 OFFSET ?12";
    TRY(Query rows, db.query(sql, search.text, search.from, search.until, search.with_visits_left ? 1 : 0,
                             search.alive_at, tags, least, without, search.domain, out, search.limit, search.offset));
    while (true) {
      TRY(const bool row, rows.next());
      if (!row) break;
      codes.emplace_back(rows.text(0));
    }
  }
  for (const std::string& code : codes) {
    TRY(std::optional<Link> link, find_link(db, code));
    if (link && !link->deleted) found.links.push_back(*std::move(link));
  }
  return found;
}

Result<std::optional<Link>> newest_with_url(SqliteConnection& db, std::string_view url, std::string_view domain) {
  std::string code;
  {
    TRY(Query row, db.query("SELECT code FROM links WHERE url = ?1 AND deleted_at IS NULL AND password = '' "
                            "AND substr(code, 1, max(instr(code, '/') - 1, 0)) = ?2 ORDER BY id DESC LIMIT 1",
                            url, domain));
    TRY(const bool there, row.next());
    if (!there) return std::optional<Link>();
    code = row.text(0);
  }
  return find_link(db, code);
}

Result<std::vector<TagCount>> count_tags(SqliteConnection& db, const std::optional<std::string>& domain) {
  static const std::string kOfDomain =
      "SELECT g.tag, count(*), coalesce(sum(t.clicks), 0) FROM link_tags g JOIN links l ON l.id = g.link "
      "LEFT JOIN link_totals t ON t.link = g.link WHERE " +
      std::string(kOfItsDomain) + "= ?1 GROUP BY g.tag ORDER BY g.tag";
  TRY(Query rows, domain ? db.query(kOfDomain, *domain)
                         : db.query("SELECT g.tag, count(*), coalesce(sum(t.clicks), 0) FROM link_tags g "
                                    "LEFT JOIN link_totals t ON t.link = g.link GROUP BY g.tag ORDER BY g.tag"));
  std::vector<TagCount> tags;
  while (true) {
    TRY(const bool row, rows.next());
    if (!row) return tags;
    tags.push_back({std::string(rows.text(0)), rows.integer(1), rows.integer(2)});
  }
}

Result<bool> has_tag(SqliteConnection& db, std::string_view tag, const std::optional<std::string>& domain) {
  static const std::string kOfDomain = "SELECT 1 FROM link_tags g JOIN links l ON l.id = g.link WHERE g.tag = ?1 AND " +
                                       std::string(kOfItsDomain) + "= ?2 LIMIT 1";
  TRY(Query row,
      domain ? db.query(kOfDomain, tag, *domain) : db.query("SELECT 1 FROM link_tags WHERE tag = ?1 LIMIT 1", tag));
  return row.next();
}

Result<Renamed> rename_tag(SqliteConnection& db, std::string_view from, std::string_view to, int64_t now) {
  TRY(const bool known, has_tag(db, from));
  if (!known) return Renamed::not_found;
  if (from == to) return Renamed::yes;
  TRY(const bool taken, has_tag(db, to));
  if (taken) return Renamed::taken;
  static const std::string kRename =
      "UPDATE links SET tags = trim(replace(char(10) || tags || char(10), char(10) || ?1 || char(10), "
      "char(10) || ?3 || char(10)), char(10))" +
      std::string(kTouch);
  TRY_VOID(db.execute(kRename, from, now, to));
  TRY_VOID(db.execute("UPDATE link_tags SET tag = ?2 WHERE tag = ?1", from, to));
  return Renamed::yes;
}

Result<void> remove_tag(SqliteConnection& db, std::string_view tag, int64_t now) {
  static const std::string kRemove =
      "UPDATE links SET tags = trim(replace(char(10) || tags || char(10), char(10) || ?1 || char(10), char(10)), "
      "char(10))" +
      std::string(kTouch);
  TRY_VOID(db.execute(kRemove, tag, now));
  return db.execute("DELETE FROM link_tags WHERE tag = ?1", tag);
}

Result<LinkTotals> count_links(SqliteConnection& db, const std::optional<std::string>& domain) {
  static const std::string kOfDomain =
      "SELECT count(*) FILTER (WHERE l.deleted_at IS NULL), coalesce(sum(t.clicks), 0) FROM links l "
      "LEFT JOIN link_totals t ON t.link = l.id WHERE " +
      std::string(kOfItsDomain) + "= ?1";
  TRY(Query row, domain ? db.query(kOfDomain, *domain)
                        : db.query("SELECT (SELECT count(*) FROM links WHERE deleted_at IS NULL), "
                                   "(SELECT coalesce(sum(clicks), 0) FROM link_totals)"));
  TRY(const bool there, row.next());
  if (!there) return LinkTotals{};
  return LinkTotals{row.integer(0), row.integer(1)};
}

Result<std::vector<HourClicks>> clicks_by_hour(SqliteConnection& db, const HourSearch& search) {
  std::vector<int64_t> links;
  if (search.link) {
    links.push_back(*search.link);
  } else if (search.tag.empty()) {
    links.push_back(kAllLinks);
  } else {
    static const std::string kOfDomain =
        "SELECT g.link FROM link_tags g JOIN links l ON l.id = g.link WHERE g.tag = ?1 AND " +
        std::string(kOfItsDomain) + "= ?2";
    TRY(Query rows, search.domain ? db.query(kOfDomain, search.tag, *search.domain)
                                  : db.query("SELECT link FROM link_tags WHERE tag = ?1", search.tag));
    while (true) {
      TRY(const bool row, rows.next());
      if (!row) break;
      links.push_back(rows.integer(0));
    }
  }
  std::map<int64_t, HourClicks, std::greater<>> hours;
  const auto count = [&hours](int64_t number, std::string_view stored) -> Result<void> {
    TRY(const FiguresTotals totals, totals_of(stored));
    HourClicks& hour = hours[number];
    hour.hour = number;
    hour.people += static_cast<int64_t>(totals.people);
    hour.bots += static_cast<int64_t>(totals.bots);
    return {};
  };
  for (const int64_t link : links) {
    TRY_VOID(each_figures(db, link, Span::hour, search.from, search.until + 1, count));
  }
  std::vector<HourClicks> out;
  out.reserve(hours.size());
  for (const auto& [number, hour] : hours) out.push_back(hour);
  return out;
}

}  // namespace trellis::services::links
