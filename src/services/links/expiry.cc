#include "services/links/expiry.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "queue/service_jobs.h"
#include "runtime/loop.h"
#include "services/links/link_book.h"
#include "services/links/link_events.h"
#include "services/links/rows.h"
#include "store/sqlite.h"

namespace trellis::services::links {

namespace {

using store::Query;
using store::SqliteConnection;

// A tombstone has no expires_at any more, so the index holds only what is still to come.
constexpr std::array<store::Migration, 1> kMigrations = {{{1, "links by expiry", R"sql(
CREATE INDEX links_by_expiry ON links(expires_at) WHERE expires_at IS NOT NULL;
)sql"}}};

constexpr size_t kPiece = 200;  // links of one write: some milliseconds of the writer
constexpr Duration kSpare = std::chrono::seconds(5);

Result<std::vector<Link>> bury_piece(SqliteConnection& db, const LinkEvents& events, const DomainTable& domains,
                                     int64_t before, int64_t now) {
  std::vector<Link> links;
  {
    TRY(Query rows, db.query("SELECT id, code FROM links WHERE expires_at IS NOT NULL AND expires_at < ?1 "
                             "ORDER BY expires_at LIMIT ?2",
                             before, kPiece));
    while (true) {
      TRY(const bool row, rows.next());
      if (!row) break;
      Link link;
      link.id = rows.integer(0);
      link.code = rows.text(1);
      links.push_back(std::move(link));
    }
  }
  std::vector<const Link*> gone;
  for (const Link& link : links) {
    TRY_VOID(bury_link(db, link.id, now));
    gone.push_back(&link);
  }
  TRY_VOID(events.tell(db, LinkEvent::expired, gone, domains, now));
  return links;
}

Task<Result<queue::Done>> run(LinkBook& book, Clock& clock, Duration after, Deadline deadline) {
  const int64_t now = unix_millis(clock.wall());
  const int64_t before = now - std::chrono::duration_cast<std::chrono::milliseconds>(after).count();
  // What does not fit into the job's time is left to the next one.
  auto removing = remove_expired(book, before, now, deadline - std::min(kSpare, deadline - Loop::current().now()));
  const Result<size_t> removed = co_await removing;
  if (!removed) co_return fail(removed.error().clone());
  if (*removed > 0) log_info("expired links were removed", {{"links", *removed}});
  co_return queue::Done::yes;
}

}  // namespace

Task<Result<void>> start_expiry(queue::ServiceJobs& jobs, LinkBook& book, Clock& clock, Duration after) {
  jobs.handle(kLinksQueue, kRemoveExpired,
              [&book, &clock, after](const queue::JobRun& job) { return run(book, clock, after, job.deadline); });
  jobs.repeat({.name = "links.remove-expired",
               .cron = "17 * * * *",
               .missed = queue::Missed::run_once,
               .queue = kLinksQueue,
               .kind = kRemoveExpired,
               .payload = {}});
  auto migrating =
      blocking([store = &book.store()]() -> Result<void> { return store->migrate("links_expiry", kMigrations); });
  Result<void> migrated = co_await migrating;
  co_return migrated;
}

Task<Result<size_t>> remove_expired(LinkBook& book, int64_t before, int64_t now, Deadline deadline) {
  size_t removed = 0;
  while (Loop::current().now() < deadline) {
    auto burying =
        book.store().write([events = book.shared_events(), domains = book.domain_table(), before,
                            now](SqliteConnection& db) { return bury_piece(db, *events, *domains, before, now); });
    const Result<std::vector<Link>> buried = co_await burying;
    if (!buried) co_return fail(buried.error().clone());
    // The cache knows the time of their end, too, and has answered 410 since.
    for (const Link& link : *buried) book.targets().invalidate(link.code);
    removed += buried->size();
    if (buried->size() < kPiece) break;
  }
  co_return removed;
}

}  // namespace trellis::services::links
