#include "services/links/reports/report_maker.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <vector>

#include "base/log.h"
#include "queue/jobs_rows.h"
#include "queue/service_jobs.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "services/links/clicks/figures_rows.h"
#include "services/links/reports/report.h"
#include "services/links/reports/report_rows.h"
#include "services/links/rows.h"
#include "services/mail/message.h"
#include "store/sqlite.h"

namespace trellis::services::links {

namespace {

using store::Query;
using store::SqliteConnection;

constexpr int64_t kMostLinks = 100'000;  // of a report about several
constexpr size_t kPage = 100;            // links looked up at once
constexpr size_t kPieceRows = 2'000;     // figures of a day read at once, about
constexpr int64_t kPieceDays = 31;
constexpr int kPercentTold = 5;
constexpr size_t kMailLines = 10;                    // of a section in the text of a mail
constexpr size_t kMostAttached = size_t{128} << 10;  // a larger file is named only
constexpr Duration kSpare = std::chrono::seconds(5);

// How far the figures of a report are read. Moved from thread to thread, never used by two.
struct Reading {
  Reading(ReportQuestion question, int64_t its_link)
      : sums(std::move(question)), link(its_link), day(sums.question().from) {}

  ReportSums sums;
  int64_t link;  // 0: not of one
  int64_t day;   // of the link, or of all together, to be read next
  bool counted = false;
  bool ended = false;
  int64_t after = 0;  // links up to this one are read
  int64_t links = 0;  // read
  int64_t total = 0;
};

Result<int64_t> count_links(SqliteConnection& db, const std::string& tag) {
  TRY(Query row,
      tag.empty()
          ? db.query("SELECT count(*) FROM (SELECT 1 FROM links WHERE deleted_at IS NULL LIMIT ?1)", kMostLinks + 1)
          : db.query("SELECT count(*) FROM (SELECT 1 FROM link_tags WHERE tag = ?2 LIMIT ?1)", kMostLinks + 1, tag));
  TRY(const bool there, row.next());
  return there ? row.integer(0) : 0;
}

struct LinkName {
  int64_t id = 0;
  std::string code;
};
Result<std::vector<LinkName>> links_behind(SqliteConnection& db, const std::string& tag, int64_t after) {
  TRY(Query rows, tag.empty()
                      ? db.query("SELECT id, code FROM links WHERE id > ?1 AND deleted_at IS NULL ORDER BY id LIMIT ?2",
                                 after, kPage)
                      : db.query("SELECT links.id, links.code FROM link_tags JOIN links ON links.id = link_tags.link "
                                 "WHERE link_tags.tag = ?3 AND link_tags.link > ?1 ORDER BY link_tags.link LIMIT ?2",
                                 after, kPage, tag));
  std::vector<LinkName> links;
  while (true) {
    TRY(const bool there, rows.next());
    if (!there) return links;
    links.push_back({rows.integer(0), std::string(rows.text(1))});
  }
}

// Days of the one link, or of all together.
Result<void> read_days(SqliteConnection& db, Reading& reading) {
  const ReportQuestion& question = reading.sums.question();
  const int64_t end = std::min(reading.day + kPieceDays, question.to);
  TRY(const std::vector<FiguresRow> rows, read_figures(db, reading.link, Span::day, reading.day, end));
  const bool by_link = question.by_link && reading.link != kAllLinks;
  for (const FiguresRow& row : rows) {
    reading.sums.add(row);
    if (by_link) reading.sums.add_to_link(row);
  }
  reading.day = end;
  if (end < question.to) return {};
  reading.ended = reading.link != kAllLinks || !question.by_link;
  if (reading.link == kAllLinks) return {};
  // Its figures went with it.
  TRY(const std::optional<Link> link, find_link(db, reading.link));
  if (!link || link->deleted)
    return fail(Error(Code::failed_precondition, "the link was deleted meanwhile").from(Side::client));
  if (by_link) reading.sums.end_link(link->code);
  return {};
}

// Links with all their days, until there were enough rows.
Result<void> read_links(SqliteConnection& db, Reading& reading) {
  const ReportQuestion& question = reading.sums.question();
  const bool tagged = !question.tag.empty();
  TRY(const std::vector<LinkName> links, links_behind(db, question.tag, reading.after));
  size_t count = 0;
  for (const LinkName& link : links) {
    if (count > kPieceRows) return {};
    TRY(const std::vector<FiguresRow> rows, read_figures(db, link.id, Span::day, question.from, question.to));
    for (const FiguresRow& row : rows) {
      if (tagged) reading.sums.add(row);
      if (question.by_link) reading.sums.add_to_link(row);
    }
    if (question.by_link) reading.sums.end_link(link.code);
    count += rows.size();
    reading.after = link.id;
    ++reading.links;
  }
  reading.ended = links.size() < kPage;
  return {};
}

// A bounded part of the figures.
Result<void> read_piece(SqliteConnection& db, Reading& reading) {
  const ReportQuestion& question = reading.sums.question();
  if (question.tag.empty() && reading.day < question.to) return read_days(db, reading);
  if (reading.counted) return read_links(db, reading);
  reading.counted = true;
  TRY(reading.total, count_links(db, question.tag));
  if (reading.total > kMostLinks)
    return fail(Error(Code::failed_precondition, "these are more than 100,000 links; name a tag").from(Side::client));
  return {};
}

struct Made {
  std::string file;
  std::optional<queue::NewJob> mail;
};

Result<queue::NewJob> mail_of(const Report& report, const ReportQuestion& question, int64_t id, const std::string& file,
                              const std::string& base_url, int64_t now) {
  mail::Message message;
  message.to = question.mail_to;
  message.subject = report_title(question);
  message.at = now;
  const std::string url = base_url + "/v1/reports/" + std::to_string(id) + "/file";
  message.text = report_text(report, question, kMailLines) + "\nThe whole report: " + url + "\n";
  message.html = report_page(report, question, kMailLines);
  if (file.size() <= kMostAttached) {
    message.attachments.push_back(
        {"report-" + std::to_string(id) + "." + std::string(to_string(question.format)),
         std::string(media_type_of(question.format).substr(0, media_type_of(question.format).find(';'))), file});
  }
  Result<queue::NewJob> job = mail::mail_job(message);
  if (!job && job.error().code() == Code::resource_exhausted) {
    message.attachments.clear();
    message.html.clear();
    job = mail::mail_job(message);
  }
  if (job) job->dedupe_key = "links.report." + std::to_string(id);
  return job;
}

Result<std::shared_ptr<const Made>> write_made(const Reading& reading, int64_t id, const std::string& base_url,
                                               int64_t now) {
  const ReportQuestion& question = reading.sums.question();
  const Report report = reading.sums.report();
  auto made = std::make_shared<Made>();
  made->file = write_report(report, question);
  if (made->file.size() > kMaxReportFile)
    return fail(Error(Code::failed_precondition, "the report is larger than 4 MiB; ask for less").from(Side::client));
  if (!question.mail_to.empty()) {
    TRY(made->mail, mail_of(report, question, id, made->file, base_url, now));
  }
  return made;
}

}  // namespace

Task<Result<void>> ReportMaker::start(queue::ServiceJobs* jobs, Clock& clock) {
  jobs_ = jobs;
  clock_ = &clock;
  auto migrating =
      blocking([store = &store_]() -> Result<void> { return store->migrate("links_reports", report_migrations()); });
  Result<void> migrated = co_await migrating;
  if (!migrated) co_return fail(std::move(migrated).error());
  if (!jobs) co_return Result<void>();
  jobs->handle(kReportsQueue, kMakeReport,
               [this](const queue::JobRun& job) { return make(job.lease, job.payload, job.deadline); });
  jobs->handle(kReportsQueue, kRepeatReport,
               [this](const queue::JobRun& job) { return repeat(job.lease, job.payload, job.deadline); });
  jobs->handle(kReportsQueue, kRemoveReports, [this](const queue::JobRun& job) { return remove_old(job.deadline); });
  jobs->repeat({.name = "links.remove-reports",
                .cron = "37 * * * *",
                .missed = queue::Missed::run_once,
                .queue = kReportsQueue,
                .kind = kRemoveReports,
                .payload = {}});
  for (const RepeatedReport& report : config_.repeat) {
    const auto question = question_of(report);
    if (!question) co_return fail(Code::invalid_argument, question.error().detail);
    queue::Schedule schedule;
    schedule.name = "links.report." + report.name;
    schedule.cron = report.cron;
    schedule.missed = queue::Missed::run_once;
    schedule.queue = kReportsQueue;
    schedule.kind = kRepeatReport;
    JsonWriter json(schedule.payload);
    json.begin_object();
    append_question(json, *question);
    json.end_object();
    jobs->repeat(std::move(schedule));
  }
  co_return Result<void>();
}

Task<Result<queue::Done>> ReportMaker::make(queue::Lease lease, std::string payload, Deadline deadline) {
  int64_t id = 0;
  (void)std::from_chars(payload.data(), payload.data() + payload.size(), id);
  auto finding = store_.read([id](SqliteConnection& db) { return find_report(db, id); }, deadline);
  const Result<std::optional<ReportRecord>> found = co_await finding;
  if (!found) co_return fail(found.error().clone());
  // Deleted meanwhile, or the job is done for the second time.
  if (!*found || (*found)->ended_at) co_return queue::Done::yes;

  auto reading = std::make_shared<Reading>((*found)->question, (*found)->link);
  int told = 0;
  while (!reading->ended) {
    if (Loop::current().now() + kSpare >= deadline)
      co_return fail(Error(Code::deadline_exceeded, "the report took longer than a job may").from(Side::self));
    auto read = store_.read([reading](SqliteConnection& db) { return read_piece(db, *reading); }, deadline);
    const Result<void> piece = co_await read;
    if (!piece) co_return fail(piece.error().clone());
    const int percent =
        reading->total > 0 ? static_cast<int>(std::min<int64_t>(99, reading->links * 100 / reading->total)) : 0;
    if (percent < told + kPercentTold) continue;
    told = percent;
    auto telling =
        store_.write([id, percent](SqliteConnection& db) { return keep_percent(db, id, percent); }, deadline);
    const Result<void> kept = co_await telling;
    if (!kept) co_return fail(kept.error().clone());
  }

  const WallTime wall = clock_->wall();
  auto writing = blocking(
      [reading, id, base_url = base_url_, now = unix_millis(wall)] { return write_made(*reading, id, base_url, now); });
  const Result<std::shared_ptr<const Made>> made = co_await writing;
  if (!made) co_return fail(made.error().clone());
  auto end = [id, lease, made = *made, wall](SqliteConnection& db) -> Result<bool> {
    TRY(const bool kept, end_report(db, id, made->file, unix_millis(wall)));
    const bool mails = kept && made->mail;
    if (mails) {
      TRY_VOID(queue::enqueue_job(db, *made->mail, wall));
    }
    TRY_VOID(queue::end_job(db, lease, wall));
    return mails;
  };
  auto ending = store_.write(std::move(end), deadline, (*made)->file.size() + queue::kMaxPayload);
  const Result<bool> mails = co_await ending;
  if (!mails) co_return fail(mails.error().clone());
  if (*mails) jobs_->queue().announce(mail::kMailQueue, 1);
  co_return queue::Done::ended;
}

Task<Result<queue::Done>> ReportMaker::repeat(queue::Lease lease, std::string payload, Deadline deadline) {
  auto question = read_report_question(payload, 0);
  if (!question) co_return fail(Code::invalid_argument, question.error().detail);
  const WallTime wall = clock_->wall();
  const int64_t days = question->to - question->from;
  question->to = unix_millis(wall) / millis_of(Span::day);
  question->from = question->to - days;
  auto write = [question = *std::move(question), lease, wall](SqliteConnection& db) -> Result<int64_t> {
    TRY(const int64_t id, insert_report(db, question, 0, unix_millis(wall)));
    TRY_VOID(queue::end_job(db, lease, wall));
    return id;
  };
  auto writing = store_.write(std::move(write), deadline);
  const Result<int64_t> id = co_await writing;
  if (!id) co_return fail(id.error().clone());
  if (*id == 0) {
    log_warn("a repeated report was not made: there are as many as may be", {{"reports", kMaxReports}});
  } else {
    jobs_->queue().announce(kReportsQueue, 1);
  }
  co_return queue::Done::ended;
}

Task<Result<queue::Done>> ReportMaker::remove_old(Deadline deadline) {
  const int64_t before = unix_millis(clock_->wall() - config_.keep);
  while (Loop::current().now() + kSpare < deadline) {
    auto removing = store_.write([before](SqliteConnection& db) { return remove_reports(db, before); }, deadline);
    const Result<int64_t> removed = co_await removing;
    if (!removed) co_return fail(removed.error().clone());
    if (*removed == 0) break;
  }
  co_return queue::Done::yes;
}

}  // namespace trellis::services::links
