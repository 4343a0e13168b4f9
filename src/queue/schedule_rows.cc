#include "queue/schedule_rows.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "queue/jobs_rows.h"
#include "queue/schedule.h"
#include "store/sqlite_connection.h"

namespace trellis::queue {

namespace {

using store::Blob;
using store::Query;
using store::SqliteConnection;

constexpr Duration kKeepKeys = std::chrono::hours(48);    // so long a clock that is set back makes no job twice
constexpr Duration kFullQueue = std::chrono::seconds(5);  // until the next look at a schedule whose queue is full

struct Row {
  Schedule schedule;
  WallTime fired_at;
};

WallTime wall_of(int64_t unix_ms) noexcept { return WallTime(std::chrono::milliseconds(unix_ms)); }

Result<std::vector<Row>> read_rows(SqliteConnection& db) {
  TRY(Query rows,
      db.query("SELECT name, cron, missed, queue, kind, payload, fired_at FROM job_schedules ORDER BY name"));
  std::vector<Row> all;
  while (true) {
    TRY(const bool row, rows.next());
    if (!row) return all;
    Row one;
    one.schedule.name = rows.text(0);
    one.schedule.cron = rows.text(1);
    one.schedule.missed = rows.integer(2) == 0 ? Missed::run_once : Missed::skip;
    one.schedule.queue = rows.text(3);
    one.schedule.kind = rows.text(4);
    one.schedule.payload = rows.blob(5);
    one.fired_at = wall_of(rows.integer(6));
    all.push_back(std::move(one));
  }
}

// The due time that wants a job now, if any.
std::optional<WallTime> due(const Cron& cron, const Row& row, WallTime wall) noexcept {
  // A clock that was set back goes on from where it is; what is due again has its key still.
  WallTime since = row.fired_at <= wall ? row.fired_at : wall - kOnTime;
  if (row.schedule.missed == Missed::skip) since = std::max(since, wall - kOnTime);
  return cron.latest(wall, since);
}

}  // namespace

Result<void> put_schedule(SqliteConnection& db, const Schedule& schedule, WallTime wall) {
  const auto refused = [&](std::string why) {
    return fail(Error(Code::invalid_argument, "schedule " + schedule.name + ": " + std::move(why)).from(Side::client));
  };
  if (!is_job_name(schedule.name) || !is_job_name(schedule.queue) || !is_job_name(schedule.kind))
    return refused("a name, queue and kind are 1 to 64 of A-Z a-z 0-9 - _ .");
  if (schedule.payload.size() > kMaxPayload) return refused("the payload is too large");
  const Result<Cron> cron = Cron::parse(schedule.cron);
  if (!cron) return refused(cron.error().what());
  {
    TRY(Query row, db.query("SELECT count(*) FROM job_schedules WHERE name <> ?1", schedule.name));
    TRY(const bool found, row.next());
    if (found && row.integer(0) >= static_cast<int64_t>(kMaxSchedules))
      return fail(Error(Code::resource_exhausted, "there are too many schedules").from(Side::client));
  }
  return db.execute(
      "INSERT INTO job_schedules(name, cron, missed, queue, kind, payload, fired_at) VALUES(?1, ?2, ?3, ?4, ?5, ?6, "
      "?7) "
      "ON CONFLICT(name) DO UPDATE SET fired_at = iif(cron = ?2, fired_at, ?7), cron = ?2, missed = ?3, queue = ?4, "
      "kind = ?5, payload = ?6",
      schedule.name, schedule.cron, schedule.missed == Missed::run_once ? 0 : 1, schedule.queue, schedule.kind,
      Blob{schedule.payload}, unix_millis(wall));
}

Result<bool> remove_schedule(SqliteConnection& db, std::string_view name) {
  TRY_VOID(db.execute("DELETE FROM job_schedules WHERE name = ?1", name));
  return db.changes() > 0;
}

Result<std::vector<Schedule>> list_schedules(SqliteConnection& db) {
  TRY(std::vector<Row> rows, read_rows(db));
  std::vector<Schedule> all;
  for (Row& row : rows) all.push_back(std::move(row.schedule));
  return all;
}

Result<Fired> fire_schedules(SqliteConnection& db, WallTime wall) {
  TRY(const std::vector<Row> rows, read_rows(db));
  Fired fired;
  for (const Row& row : rows) {
    const Schedule& schedule = row.schedule;
    const Result<Cron> cron = Cron::parse(schedule.cron);
    if (!cron) return fail(Error(Code::data_loss, "schedule " + schedule.name).because(cron.error().clone()));
    const WallTime next = cron->next_after(wall);
    if (!fired.next || next < *fired.next) fired.next = next;
    const std::optional<WallTime> time = due(*cron, row, wall);
    if (time) {
      NewJob job;
      job.queue = schedule.queue;
      job.kind = schedule.kind;
      job.payload = schedule.payload;
      job.dedupe_key = "schedule:" + schedule.name + ":" + std::to_string(unix_seconds(*time));
      job.dedupe_for = kKeepKeys;
      const Result<Enqueued> enqueued = enqueue_job(db, job, wall);
      if (!enqueued && enqueued.error().code() == Code::resource_exhausted) {
        // Its queue is full: the due time stays, and the other schedules go on.
        fired.next = std::min(*fired.next, wall + kFullQueue);
        continue;
      }
      if (!enqueued) return fail(enqueued.error().clone());
      if (!enqueued->duplicate) fired.queues.push_back(schedule.queue);
    }
    // Not at every look, so that idle ones write nothing.
    if (time || row.fired_at > wall) {
      TRY_VOID(db.execute("UPDATE job_schedules SET fired_at = ?2 WHERE name = ?1", schedule.name, unix_millis(wall)));
    }
  }
  return fired;
}

}  // namespace trellis::queue
