#include "services/links/bulk/export.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "services/links/bulk/csv.h"
#include "services/links/bulk/import_formats.h"
#include "services/links/link_json.h"
#include "services/links/link_name.h"
#include "services/links/rows.h"
#include "store/sqlite.h"

namespace trellis::services::links {

namespace {

constexpr Duration kPageTimeout = std::chrono::seconds(30);
struct PageText {
  std::string text;
  int64_t last = 0;
  bool ended = false;
};

LinkImport import_of(const Link& link) {
  LinkImport out;
  const LinkName name = split_name(link.code);
  out.code = name.code;
  out.domain = name.host;
  out.url = link.url;
  out.title = link.title;
  out.tags = link.tags;
  out.status = link.status;
  out.created_at = link.created_at;
  out.expires_at = link.expires_at;
  out.not_before = link.not_before;
  if (link.max_visits) out.max_visits = static_cast<uint64_t>(*link.max_visits);
  if (link.max_visits || link.visits > 0) out.visits = static_cast<uint64_t>(link.visits);
  out.forward_query = link.forward_query;
  out.rules = link.rules;
  out.password_hash = link.password;
  out.clicks = static_cast<uint64_t>(link.clicks);
  return out;
}

void append_shlink_header(std::string& csv) {
  static constexpr std::array<std::string_view, 10> kColumns = {"longUrl",   "shortCode",  "domain",     "title",
                                                                "tags",      "createdAt",  "validSince", "validUntil",
                                                                "maxVisits", "visitsCount"};
  append_csv_row(csv, kColumns);
}

void append_shlink(std::string& csv, const Link& link) {
  std::string tags;
  for (const std::string& tag : link.tags) {
    if (!tags.empty()) tags.push_back('|');
    tags += tag;
  }
  const auto time = [](const std::optional<int64_t>& at) { return at ? format_time(*at) : std::string(); };
  const std::string created = format_time(link.created_at);
  const std::string since = time(link.not_before);
  const std::string until = time(link.expires_at);
  const std::string visits = link.max_visits ? std::to_string(*link.max_visits) : "";
  const std::string clicks = std::to_string(link.clicks);
  const LinkName name = split_name(link.code);
  const std::array<std::string_view, 10> fields = {link.url, name.code, name.host, link.title, tags,
                                                   created,  since,     until,     visits,     clicks};
  append_csv_row(csv, fields);
}

using PagePointer = std::unique_ptr<PageText>;

Result<PagePointer> read_page(store::SqliteConnection& db, ExportFormat format, int64_t after, size_t limit,
                              const std::optional<std::string>& domain) {
  auto made = std::make_unique<PageText>();
  PageText& page = *made;
  page.last = std::max<int64_t>(after, 0);
  if (after < 0 && format == ExportFormat::csv) append_import_header(page.text);
  if (after < 0 && format == ExportFormat::shlink) append_shlink_header(page.text);
  TRY(const std::vector<Link> links, links_after(db, page.last, limit));
  for (const Link& link : links) {
    if (domain && split_name(link.code).host != *domain) continue;
    switch (format) {
      case ExportFormat::csv: append_import_csv(page.text, import_of(link)); break;
      case ExportFormat::ndjson: append_import_ndjson(page.text, import_of(link)); break;
      case ExportFormat::shlink:
        // Elsewhere it would be open.
        if (link.password.empty()) append_shlink(page.text, link);
        break;
    }
  }
  if (!links.empty()) page.last = links.back().id;
  page.ended = links.size() < limit;
  return made;
}

}  // namespace

std::optional<ExportFormat> export_format_of(std::string_view name) noexcept {
  if (name == "csv") return ExportFormat::csv;
  if (name == "ndjson") return ExportFormat::ndjson;
  if (name == "shlink") return ExportFormat::shlink;
  return std::nullopt;
}

// The deadline is that of an answer of known length: here each page has its own, and however many may follow.
Task<Result<Chunk>> ExportBody::read(Deadline) {
  // A page may have nothing to write; an empty chunk is the end.
  while (!ended_) {
    const Deadline deadline = after(Loop::current().now(), kPageTimeout);
    auto look = [format = format_, after = last_, domain = domain_](store::SqliteConnection& db) {
      return read_page(db, format, after, kPage, domain);
    };
    auto reading = book_.store().read(std::move(look), deadline);
    Result<PagePointer> read = co_await reading;
    if (!read) co_return fail(std::move(read).error());
    PageText& page = **read;
    last_ = page.last;
    ended_ = page.ended;
    if (!page.text.empty()) co_return Chunk::from_string(std::move(page.text));
  }
  co_return Chunk();
}

}  // namespace trellis::services::links
