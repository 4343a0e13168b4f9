#include "services/links/reports/report_rows.h"

#include <array>
#include <chrono>
#include <utility>

#include "queue/jobs_rows.h"
#include "store/sqlite_connection.h"

namespace trellis::services::links {

namespace {

using store::Blob;
using store::Query;
using store::SqliteConnection;

// Files apart, so that a list reads none. AUTOINCREMENT: a job never makes a later report.
constexpr std::array<store::Migration, 1> kMigrations = {{{1, "reports", R"sql(
CREATE TABLE link_reports(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  question TEXT NOT NULL,
  link INTEGER NOT NULL,
  job INTEGER NOT NULL,
  percent INTEGER NOT NULL,
  size INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  ended_at INTEGER
) STRICT;
CREATE TABLE link_report_files(report INTEGER PRIMARY KEY, file BLOB NOT NULL) STRICT;
)sql"}}};

constexpr std::array<std::string_view, 4> kStates = {"waiting", "running", "done", "failed"};
constexpr int64_t kRemovedAtOnce = 20;

struct Row {
  ReportRecord report;
  int64_t job = 0;
};

Result<Row> row_of(const Query& row) {
  Row out;
  out.report.id = row.integer(0);
  auto question = read_report_question(row.text(1), 0);
  if (!question) return fail(Error(Code::data_loss, "a report's row is damaged").from(Side::self));
  out.report.question = *std::move(question);
  out.report.link = row.integer(2);
  out.job = row.integer(3);
  out.report.percent = static_cast<int>(row.integer(4));
  out.report.size = row.integer(5);
  out.report.created_at = row.integer(6);
  out.report.ended_at = row.integer_or_null(7);
  return out;
}

Result<void> add_state(SqliteConnection& db, Row& row) {
  ReportRecord& report = row.report;
  if (report.ended_at) {
    report.state = ReportState::done;
    return {};
  }
  TRY(const std::optional<queue::JobRecord> job, queue::find_job(db, row.job));
  if (!job || job->state == queue::JobState::dead || job->state == queue::JobState::done) {
    report.state = ReportState::failed;
  } else if (job->state == queue::JobState::leased) {
    report.state = ReportState::running;
  }
  if (!job) {
    report.error = "its job is not there any more";
  } else if (!job->history.empty()) {
    report.error = job->history.back().error;
  }
  return {};
}

}  // namespace

std::string_view to_string(ReportState state) noexcept { return kStates[static_cast<size_t>(state)]; }

std::span<const store::Migration> report_migrations() noexcept { return kMigrations; }

Result<int64_t> insert_report(SqliteConnection& db, const ReportQuestion& question, int64_t link, int64_t now) {
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  append_question(json, question);
  json.end_object();
  TRY_VOID(
      db.execute("INSERT INTO link_reports(question, link, job, percent, size, created_at) SELECT ?1, ?2, 0, 0, 0, ?3 "
                 "WHERE (SELECT count(*) FROM link_reports) < ?4",
                 text, link, now, kMaxReports));
  if (db.changes() != 1) return 0;
  int64_t id = 0;
  {
    TRY(Query row, db.query("SELECT last_insert_rowid()"));
    TRY(const bool there, row.next());
    id = there ? row.integer(0) : 0;
  }
  queue::NewJob job;
  job.queue = kReportsQueue;
  job.kind = kMakeReport;
  job.payload = std::to_string(id);
  job.max_attempts = kReportAttempts;
  TRY(const queue::Enqueued enqueued, queue::enqueue_job(db, job, WallTime(std::chrono::milliseconds(now))));
  TRY_VOID(db.execute("UPDATE link_reports SET job = ?2 WHERE id = ?1", id, enqueued.id));
  return id;
}

Result<std::optional<ReportRecord>> find_report(SqliteConnection& db, int64_t id) {
  Row found;
  {
    TRY(Query row, db.query("SELECT id, question, link, job, percent, size, created_at, ended_at FROM link_reports "
                            "WHERE id = ?1",
                            id));
    TRY(const bool there, row.next());
    if (!there) return std::optional<ReportRecord>();
    TRY(found, row_of(row));
  }
  TRY_VOID(add_state(db, found));
  return std::optional<ReportRecord>(std::move(found.report));
}

Result<std::vector<ReportRecord>> list_reports(SqliteConnection& db, int64_t before, size_t limit) {
  std::vector<Row> found;
  {
    TRY(Query rows, db.query("SELECT id, question, link, job, percent, size, created_at, ended_at FROM link_reports "
                             "WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
                             before, limit));
    while (true) {
      TRY(const bool there, rows.next());
      if (!there) break;
      TRY(Row row, row_of(rows));
      found.push_back(std::move(row));
    }
  }
  std::vector<ReportRecord> reports;
  for (Row& row : found) {
    TRY_VOID(add_state(db, row));
    reports.push_back(std::move(row.report));
  }
  return reports;
}

Result<void> keep_percent(SqliteConnection& db, int64_t id, int percent) {
  return db.execute("UPDATE link_reports SET percent = ?2 WHERE id = ?1 AND ended_at IS NULL", id, percent);
}

Result<bool> end_report(SqliteConnection& db, int64_t id, std::string_view file, int64_t now) {
  TRY_VOID(
      db.execute("UPDATE link_reports SET percent = 100, size = ?2, ended_at = ?3 WHERE id = ?1 AND ended_at IS NULL",
                 id, file.size(), now));
  if (db.changes() != 1) return false;
  TRY_VOID(db.execute("INSERT INTO link_report_files(report, file) VALUES(?1, ?2)", id, Blob{file}));
  return true;
}

Result<std::optional<std::string>> report_file(SqliteConnection& db, int64_t id) {
  TRY(Query row, db.query("SELECT file FROM link_report_files WHERE report = ?1", id));
  TRY(const bool there, row.next());
  if (!there) return std::optional<std::string>();
  return std::optional<std::string>(row.blob(0));
}

Result<bool> remove_report(SqliteConnection& db, int64_t id) {
  int64_t job = 0;
  {
    TRY(Query row, db.query("SELECT job FROM link_reports WHERE id = ?1 AND ended_at IS NULL", id));
    TRY(const bool there, row.next());
    if (there) job = row.integer(0);
  }
  if (job != 0) {
    const Result<void> cancelled = queue::cancel_job(db, job);
    const bool fine = cancelled || cancelled.error().code() == Code::not_found ||
                      cancelled.error().code() == Code::failed_precondition;
    if (!fine) return fail(cancelled.error().clone());
  }
  TRY_VOID(db.execute("DELETE FROM link_report_files WHERE report = ?1", id));
  TRY_VOID(db.execute("DELETE FROM link_reports WHERE id = ?1", id));
  return db.changes() == 1;
}

Result<int64_t> remove_reports(SqliteConnection& db, int64_t before) {
  std::vector<int64_t> ids;
  {
    TRY(Query rows,
        db.query("SELECT id FROM link_reports WHERE created_at < ?1 ORDER BY id LIMIT ?2", before, kRemovedAtOnce));
    while (true) {
      TRY(const bool there, rows.next());
      if (!there) break;
      ids.push_back(rows.integer(0));
    }
  }
  for (const int64_t id : ids) {
    TRY_VOID(remove_report(db, id));
  }
  return static_cast<int64_t>(ids.size());
}

}  // namespace trellis::services::links
