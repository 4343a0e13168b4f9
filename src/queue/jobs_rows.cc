#include "queue/jobs_rows.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "store/sqlite_connection.h"

namespace trellis::queue {

namespace {

using store::Blob;
using store::Query;
using store::SqliteConnection;

// Times are milliseconds of the queue's time, but created_at and job_failures.at, which are for people.
//   state: 0 ready, 1 delayed, 2 leased, 3 done, 4 dead (JobState)
//   rank: the time when it became ready, moved ahead by its priority; the order of claiming
//   until: delayed: when it becomes ready; leased: when the lease runs out; done and dead: since when
//   last_attempt: the attempt after which it is dead
// Each state has an index of its own, so that a claim costs the same however many jobs wait.
constexpr std::array<store::Migration, 2> kMigrations = {{{1, "jobs", R"sql(
CREATE TABLE jobs(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  queue TEXT NOT NULL,
  kind TEXT NOT NULL,
  payload BLOB NOT NULL,
  state INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  rank INTEGER NOT NULL,
  until INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  last_attempt INTEGER NOT NULL,
  max_attempts INTEGER NOT NULL,
  worker TEXT NOT NULL,
  dedupe_key TEXT NOT NULL,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX jobs_ready ON jobs(queue, rank, priority) WHERE state = 0;
CREATE INDEX jobs_delayed ON jobs(queue, until) WHERE state = 1;
CREATE INDEX jobs_leased ON jobs(queue, until) WHERE state = 2;
CREATE INDEX jobs_done ON jobs(until, queue) WHERE state = 3;
CREATE INDEX jobs_dead ON jobs(queue) WHERE state = 4;
CREATE TABLE job_failures(
  job INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  at INTEGER NOT NULL,
  error TEXT NOT NULL,
  PRIMARY KEY(job, attempt)
) STRICT, WITHOUT ROWID;
CREATE TABLE job_keys(
  queue TEXT NOT NULL,
  key TEXT NOT NULL,
  job INTEGER NOT NULL,
  until INTEGER NOT NULL,
  PRIMARY KEY(queue, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_keys_by_end ON job_keys(until);
CREATE TABLE job_clock(id INTEGER PRIMARY KEY CHECK(id = 1), wall INTEGER NOT NULL, time INTEGER NOT NULL) STRICT;
CREATE TABLE job_schedules(
  name TEXT PRIMARY KEY,
  cron TEXT NOT NULL,
  missed INTEGER NOT NULL,
  queue TEXT NOT NULL,
  kind TEXT NOT NULL,
  payload BLOB NOT NULL,
  fired_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
)sql"},
                                                          {2, "a limit of waiting jobs", R"sql(
CREATE TABLE job_counts(queue TEXT PRIMARY KEY, waiting INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE job_limits(id INTEGER PRIMARY KEY CHECK(id = 1), max_waiting INTEGER NOT NULL) STRICT;
INSERT INTO job_counts SELECT queue, count(*) FROM jobs WHERE state < 2 GROUP BY queue;
CREATE TRIGGER jobs_come AFTER INSERT ON jobs WHEN NEW.state < 2 BEGIN
  INSERT INTO job_counts VALUES(NEW.queue, 1) ON CONFLICT(queue) DO UPDATE SET waiting = waiting + 1;
END;
CREATE TRIGGER jobs_begin AFTER UPDATE OF state ON jobs WHEN OLD.state < 2 AND NEW.state >= 2 BEGIN
  UPDATE job_counts SET waiting = waiting - 1 WHERE queue = NEW.queue;
END;
CREATE TRIGGER jobs_return AFTER UPDATE OF state ON jobs WHEN OLD.state >= 2 AND NEW.state < 2 BEGIN
  UPDATE job_counts SET waiting = waiting + 1 WHERE queue = NEW.queue;
END;
CREATE TRIGGER jobs_go AFTER DELETE ON jobs WHEN OLD.state < 2 BEGIN
  UPDATE job_counts SET waiting = waiting - 1 WHERE queue = OLD.queue;
END;
)sql"}}};

constexpr int64_t kClockStep = 50;    // milliseconds; the queue's time is written down no more often
constexpr size_t kMinTurnover = 100;  // jobs that a claim brings back or lets become ready, at least
constexpr int64_t kMaxSpan = int64_t{1000} * 3600 * 24 * 3660;  // ten years: of delays and windows

int64_t millis(Duration span) noexcept {
  return std::clamp<int64_t>(std::chrono::ceil<std::chrono::milliseconds>(span).count(), 0, kMaxSpan);
}
int64_t ageing_millis() noexcept { return std::chrono::duration_cast<std::chrono::milliseconds>(kAgeing).count(); }
int64_t rank_of(int64_t ready_at, int64_t priority) noexcept { return ready_at - priority * ageing_millis(); }
WallTime wall_of(int64_t unix_ms) noexcept { return WallTime(std::chrono::milliseconds(unix_ms)); }

Error refused(Code code, std::string what) { return Error(code, std::move(what)).from(Side::client); }

struct JobClock {
  int64_t time = 0;  // the queue's time now
  int64_t kept = 0;  // as it stands in the row
  bool stepped_back = false;
};

Result<JobClock> read_clock(SqliteConnection& db, WallTime wall) {
  const int64_t now = unix_millis(wall);
  TRY(Query row, db.query("SELECT wall, time FROM job_clock WHERE id = 1"));
  TRY(const bool found, row.next());
  JobClock clock;
  if (!found) {
    clock.time = now;
    clock.stepped_back = true;  // to be written, that is
    return clock;
  }
  clock.kept = row.integer(1);
  clock.stepped_back = now < row.integer(0);
  clock.time = clock.kept + std::max<int64_t>(0, now - row.integer(0));
  return clock;
}

Result<void> check(const NewJob& job, WallTime wall) {
  if (!is_job_name(job.queue))
    return fail(refused(Code::invalid_argument, "a queue's name is 1 to 64 of A-Z a-z 0-9 - _ ."));
  if (!is_job_name(job.kind))
    return fail(refused(Code::invalid_argument, "a job's kind is 1 to 64 of A-Z a-z 0-9 - _ ."));
  if (job.payload.size() > kMaxPayload) {
    return fail(refused(Code::invalid_argument, "a payload has at most " + std::to_string(kMaxPayload) + " bytes"));
  }
  if (job.priority < 0 || job.priority > kMaxPriority)
    return fail(refused(Code::invalid_argument, "a priority is 0 to 9"));
  if (job.max_attempts < 1 || job.max_attempts > kMaxAttempts)
    return fail(refused(Code::invalid_argument, "max_attempts is 1 to " + std::to_string(kMaxAttempts)));
  if (job.not_before && *job.not_before - wall > std::chrono::milliseconds(kMaxSpan))
    return fail(refused(Code::invalid_argument, "a delay is at most ten years"));
  if (job.dedupe_key.size() > kMaxDedupeKey)
    return fail(
        refused(Code::invalid_argument, "a dedupe key has at most " + std::to_string(kMaxDedupeKey) + " bytes"));
  return {};
}

// Keeps the latest kMaxHistory.
Result<void> note_failure(SqliteConnection& db, const Lease& lease, std::string_view error, WallTime wall) {
  if (error.size() > kMaxErrorText) {
    size_t end = kMaxErrorText;
    while (end > 0 && (static_cast<unsigned char>(error[end]) & 0xc0) == 0x80) --end;  // not within a character
    error = error.substr(0, end);
  }
  TRY_VOID(db.execute("INSERT OR REPLACE INTO job_failures(job, attempt, at, error) VALUES(?1, ?2, ?3, ?4)", lease.id,
                      lease.attempt, unix_millis(wall), error));
  return db.execute(
      "DELETE FROM job_failures WHERE job = ?1 AND attempt <= "
      "(SELECT attempt FROM job_failures WHERE job = ?1 ORDER BY attempt DESC LIMIT 1 OFFSET ?2)",
      lease.id, kMaxHistory);
}

// Leases that ran out: the attempt counts as a failed one, for a job that kills whoever touches it must end too.
Result<void> take_back_expired(SqliteConnection& db, std::string_view queue, size_t limit, int64_t now, WallTime wall,
                               Claim& claim) {
  struct Expired {
    Lease lease;
    bool last;
    std::string worker;
  };
  std::vector<Expired> expired;
  {
    TRY(Query rows, db.query("SELECT id, attempt, attempt >= last_attempt, worker FROM jobs "
                             "WHERE state = 2 AND queue = ?1 AND until <= ?2 ORDER BY until LIMIT ?3",
                             queue, now, limit));
    while (true) {
      TRY(const bool row, rows.next());
      if (!row) break;
      expired.push_back({{rows.integer(0), rows.integer(1)}, rows.integer(2) != 0, std::string(rows.text(3))});
    }
  }
  for (const Expired& job : expired) {
    TRY_VOID(note_failure(db, job.lease, "the lease of " + job.worker + " ran out", wall));
    // The rank stays: it has waited since it became ready.
    TRY_VOID(db.execute("UPDATE jobs SET state = iif(?2, 4, 0), until = ?3 WHERE id = ?1", job.lease.id,
                        job.last ? 1 : 0, now));
    ++claim.expired;
    if (job.last) ++claim.buried;
  }
  return {};
}

Result<void> forget(SqliteConnection& db, int64_t id) {
  TRY_VOID(db.execute("DELETE FROM job_failures WHERE job = ?1", id));
  return db.execute("DELETE FROM jobs WHERE id = ?1", id);
}

constexpr std::string_view kRecordColumns =
    "id, queue, kind, payload, state, priority, attempt - last_attempt + max_attempts, max_attempts, worker, "
    "created_at, until";

struct Moment {
  WallTime wall;
  int64_t time = 0;  // the queue's
};
Result<std::optional<Moment>> moment_of(SqliteConnection& db, std::optional<WallTime> wall) {
  if (!wall) return std::optional<Moment>();
  TRY(const int64_t time, read_job_time(db, *wall));
  return std::optional<Moment>({*wall, time});
}

// A job whose delay is over by now is ready, though it is so in its row only when a worker asks.
JobRecord record_of(const Query& row, const std::optional<Moment>& now) {
  JobRecord job;
  job.id = row.integer(0);
  job.queue = row.text(1);
  job.kind = row.text(2);
  job.payload = row.blob(3);
  job.state = static_cast<JobState>(row.integer(4));
  job.priority = static_cast<int>(row.integer(5));
  // After a redrive it has all its attempts before it.
  job.tried = static_cast<int>(std::max<int64_t>(0, row.integer(6)));
  job.max_attempts = static_cast<int>(row.integer(7));
  job.worker = row.text(8);
  job.created = wall_of(row.integer(9));
  if (!now) return job;
  const int64_t until = row.integer(10);
  if (job.state == JobState::delayed && until <= now->time) job.state = JobState::ready;
  if (job.state == JobState::delayed || job.state == JobState::leased)
    job.until = now->wall + std::chrono::milliseconds(until - now->time);
  return job;
}

Result<void> read_history(SqliteConnection& db, JobRecord& job) {
  TRY(Query rows, db.query("SELECT attempt, at, error FROM job_failures WHERE job = ?1 ORDER BY attempt", job.id));
  while (true) {
    TRY(const bool row, rows.next());
    if (!row) return {};
    job.history.push_back({rows.integer(0), wall_of(rows.integer(1)), std::string(rows.text(2))});
  }
}

// The partial index of a state is used only where the statement names the state as a literal. ?2 is the queue's time,
// of dead jobs the last id.
std::string_view list_sql(JobState state) {
  static const std::string kSelect = "SELECT " + std::string(kRecordColumns) + " FROM jobs WHERE queue = ?1 ";
  static const std::array<std::string, 5> kSql = {
      kSelect + "AND state = 0 AND ?2 >= 0 ORDER BY rank, priority, id LIMIT ?3",
      kSelect + "AND state = 1 AND until > ?2 ORDER BY until, id LIMIT ?3",
      kSelect + "AND state = 2 AND ?2 >= 0 ORDER BY until, id LIMIT ?3",
      kSelect + "AND state = 3 AND ?2 >= 0 ORDER BY until, id LIMIT ?3",
      kSelect + "AND state = 4 AND id > ?2 ORDER BY id LIMIT ?3",
  };
  return kSql[static_cast<size_t>(state)];
}
std::string_view list_due_sql() {
  static const std::string kSql =
      "SELECT " + std::string(kRecordColumns) +
      " FROM jobs WHERE queue = ?1 AND state = 1 AND until <= ?2 ORDER BY until, id LIMIT ?3";
  return kSql;
}
// Of all queues. The index of the dead alone is read: others may be a million.
std::string_view list_all_dead_sql() {
  static const std::string kSql = "SELECT " + std::string(kRecordColumns) +
                                  " FROM jobs WHERE id IN (SELECT id FROM jobs INDEXED BY jobs_dead WHERE state = 4 "
                                  "AND id > ?1 ORDER BY id LIMIT ?2) ORDER BY id";
  return kSql;
}

}  // namespace

std::span<const store::Migration> job_migrations() noexcept { return kMigrations; }

bool is_job_name(std::string_view name) noexcept {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  };
  return !name.empty() && name.size() <= kMaxName && std::all_of(name.begin(), name.end(), fits);
}

// --- Time ---

Result<int64_t> read_job_time(SqliteConnection& db, WallTime wall) {
  TRY(const JobClock clock, read_clock(db, wall));
  return clock.time;
}

Result<int64_t> job_time(SqliteConnection& db, WallTime wall) {
  TRY(const JobClock clock, read_clock(db, wall));
  if (clock.stepped_back || clock.time - clock.kept >= kClockStep) {
    TRY_VOID(
        db.execute("INSERT INTO job_clock(id, wall, time) VALUES(1, ?1, ?2) "
                   "ON CONFLICT(id) DO UPDATE SET wall = ?1, time = ?2",
                   unix_millis(wall), clock.time));
  }
  return clock.time;
}

// --- Enqueue and claim ---

Result<void> limit_jobs(SqliteConnection& db, uint64_t max_waiting) {
  return db.execute(
      "INSERT INTO job_limits(id, max_waiting) VALUES(1, ?1) ON CONFLICT(id) DO UPDATE SET max_waiting = ?1",
      max_waiting);
}

Result<Enqueued> enqueue_job(SqliteConnection& db, const NewJob& job, WallTime wall) {
  TRY_VOID(check(job, wall));
  TRY(const int64_t now, job_time(db, wall));
  if (!job.dedupe_key.empty()) {
    TRY(Query row, db.query("SELECT job FROM job_keys WHERE queue = ?1 AND key = ?2 AND until > ?3", job.queue,
                            job.dedupe_key, now));
    TRY(const bool found, row.next());
    if (found) return Enqueued{row.integer(0), true};
  }
  {
    TRY(Query row,
        db.query("SELECT waiting FROM job_counts, job_limits WHERE queue = ?1 AND waiting >= max_waiting", job.queue));
    TRY(const bool full, row.next());
    if (full) {
      return fail(Error(Code::resource_exhausted,
                        "the queue " + job.queue + " is full: " + std::to_string(row.integer(0)) + " jobs wait")
                      .from(Side::self));
    }
  }
  // A point of the wall clock becomes a span from now: the queue's time may differ from the wall clock's.
  const int64_t delay = job.not_before ? millis(*job.not_before - wall) : 0;
  const int64_t ready_at = now + delay;
  int64_t id = 0;
  {
    TRY(Query row,
        db.query("INSERT INTO jobs(queue, kind, payload, state, priority, rank, until, attempt, last_attempt, "
                 "max_attempts, worker, dedupe_key, created_at) "
                 "VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?8, '', ?9, ?10) RETURNING id",
                 job.queue, job.kind, Blob{job.payload}, delay > 0 ? 1 : 0, job.priority,
                 rank_of(ready_at, job.priority), ready_at, job.max_attempts, job.dedupe_key, unix_millis(wall)));
    TRY(const bool inserted, row.next());
    if (inserted) id = row.integer(0);
    TRY_VOID(row.run());
  }
  if (!job.dedupe_key.empty()) {
    TRY_VOID(db.execute("INSERT OR REPLACE INTO job_keys(queue, key, job, until) VALUES(?1, ?2, ?3, ?4)", job.queue,
                        job.dedupe_key, id, now + millis(job.dedupe_for)));
  }
  return Enqueued{id, false};
}

Result<Claim> claim_jobs(SqliteConnection& db, std::string_view queue, size_t max, std::string_view worker,
                         Duration lease, WallTime wall) {
  Claim claim;
  if (max == 0) return claim;
  max = std::min(max, kMaxBatch);
  TRY(const int64_t now, job_time(db, wall));
  const size_t turnover = std::max(2 * max, kMinTurnover);
  TRY_VOID(take_back_expired(db, queue, turnover, now, wall, claim));
  TRY_VOID(
      db.execute("UPDATE jobs SET state = 0 WHERE id IN (SELECT id FROM jobs WHERE state = 1 AND queue = ?1 AND "
                 "until <= ?2 ORDER BY until LIMIT ?3)",
                 queue, now, turnover));
  std::vector<std::pair<int64_t, ClaimedJob>> taken;
  {
    TRY(Query rows,
        db.query("UPDATE jobs SET state = 2, attempt = attempt + 1, until = ?3, worker = ?4 WHERE id IN "
                 "(SELECT id FROM jobs WHERE state = 0 AND queue = ?1 ORDER BY rank, priority, id LIMIT ?2) "
                 "RETURNING id, attempt, kind, payload, last_attempt, max_attempts, priority, rank",
                 queue, max, now + std::max<int64_t>(1, millis(lease)), worker));
    while (true) {
      TRY(const bool row, rows.next());
      if (!row) break;
      ClaimedJob job;
      job.lease = {rows.integer(0), rows.integer(1)};
      job.kind = rows.text(2);
      job.payload = rows.blob(3);
      job.max_attempts = static_cast<int>(rows.integer(5));
      job.tried = static_cast<int>(rows.integer(1) - (rows.integer(4) - rows.integer(5)));
      job.priority = static_cast<int>(rows.integer(6));
      taken.emplace_back(rows.integer(7), std::move(job));
    }
  }
  // RETURNING gives them in no particular order.
  std::sort(taken.begin(), taken.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : a.second.lease.id < b.second.lease.id;
  });
  claim.jobs.reserve(taken.size());
  for (auto& [rank, job] : taken) claim.jobs.push_back(std::move(job));
  return claim;
}

// --- Settle ---

Result<Settled> settle_job(SqliteConnection& db, const Settlement& settlement, const SettleRules& rules,
                           uint64_t random, WallTime wall) {
  const Lease& lease = settlement.lease;
  int64_t last_attempt = 0;
  int64_t max_attempts = 0;
  int64_t priority = 0;
  {
    TRY(Query row, db.query("SELECT last_attempt, max_attempts, priority FROM jobs WHERE id = ?1 AND state = 2 AND "
                            "attempt = ?2",
                            lease.id, lease.attempt));
    TRY(const bool held, row.next());
    if (!held) return Settled::stale;
    last_attempt = row.integer(0);
    max_attempts = row.integer(1);
    priority = row.integer(2);
  }
  TRY(const int64_t now, job_time(db, wall));
  if (settlement.verdict == Verdict::retry || settlement.verdict == Verdict::bury) {
    TRY_VOID(note_failure(db, lease, settlement.error, wall));
  }
  const bool last = lease.attempt >= last_attempt;
  if (settlement.verdict == Verdict::bury || (settlement.verdict == Verdict::retry && last)) {
    TRY_VOID(db.execute("UPDATE jobs SET state = 4, until = ?2 WHERE id = ?1", lease.id, now));
    return Settled::buried;
  }
  const auto change = [&]() -> Result<void> {
    switch (settlement.verdict) {
      case Verdict::ack:
        if (!rules.keep_done) return forget(db, lease.id);
        return db.execute("UPDATE jobs SET state = 3, until = ?2 WHERE id = ?1", lease.id, now);
      case Verdict::extend:
        return db.execute("UPDATE jobs SET until = ?2 WHERE id = ?1", lease.id,
                          now + std::max<int64_t>(1, millis(rules.lease)));
      case Verdict::release:
        // The number rises all the same at the next claim, so the last attempt moves with it.
        return db.execute("UPDATE jobs SET state = 0, until = ?2, last_attempt = last_attempt + 1 WHERE id = ?1",
                          lease.id, now);
      case Verdict::retry: {
        const int tried = static_cast<int>(lease.attempt - (last_attempt - max_attempts));
        const int64_t ready_at = now + millis(settlement.delay ? *settlement.delay : rules.backoff.wait(tried, random));
        return db.execute("UPDATE jobs SET state = ?2, until = ?3, rank = ?4 WHERE id = ?1", lease.id,
                          ready_at > now ? 1 : 0, ready_at, rank_of(ready_at, priority));
      }
      case Verdict::bury: break;  // above
    }
    return {};
  };
  TRY_VOID(change());
  return Settled::yes;
}

Result<void> end_job(SqliteConnection& db, const Lease& lease, WallTime wall) {
  TRY(const Settled settled, settle_job(db, {lease, Verdict::ack, {}, {}}, {}, 0, wall));
  if (settled == Settled::yes) return {};
  return fail(
      Error(Code::aborted, "the lease of job " + std::to_string(lease.id) + " is another's by now").from(Side::self));
}

// --- For people ---

Result<std::vector<QueueStats>> job_stats(SqliteConnection& db, WallTime wall) {
  TRY(const int64_t now, read_job_time(db, wall));
  std::vector<QueueStats> all;
  const auto of = [&all](std::string_view queue) -> QueueStats& {
    auto found = std::find_if(all.begin(), all.end(), [&](const QueueStats& stats) { return stats.queue == queue; });
    if (found != all.end()) return *found;
    all.push_back({});
    all.back().queue = queue;
    return all.back();
  };
  // Each is answered by the index of its state alone.
  struct Part {
    std::string_view sql;
    int64_t QueueStats::* count;
  };
  static constexpr std::array<Part, 4> kParts = {{
      {"SELECT queue, count(*), min(rank + priority * ?1) FROM jobs WHERE state = 0 GROUP BY queue",
       &QueueStats::ready},
      {"SELECT queue, count(*), ?1 FROM jobs WHERE state = 2 GROUP BY queue", &QueueStats::leased},
      {"SELECT queue, count(*), ?1 FROM jobs WHERE state = 3 GROUP BY queue", &QueueStats::done},
      {"SELECT queue, count(*), ?1 FROM jobs WHERE state = 4 GROUP BY queue", &QueueStats::dead},
  }};
  const auto waited = [now](int64_t since) { return std::chrono::milliseconds(std::max<int64_t>(0, now - since)); };
  for (const Part& part : kParts) {
    TRY(Query rows, db.query(part.sql, ageing_millis()));
    while (true) {
      TRY(const bool row, rows.next());
      if (!row) break;
      QueueStats& stats = of(rows.text(0));
      stats.*part.count = rows.integer(1);
      if (part.count == &QueueStats::ready) stats.oldest = waited(rows.integer(2));
    }
  }
  // Those whose delay is over are ready, though they are so in their rows only when a worker asks: where none does, the
  // age of the oldest must tell it.
  {
    TRY(Query rows, db.query("SELECT queue, sum(until > ?1), sum(until <= ?1), min(until) FROM jobs WHERE state = 1 "
                             "GROUP BY queue",
                             now));
    while (true) {
      TRY(const bool row, rows.next());
      if (!row) break;
      QueueStats& stats = of(rows.text(0));
      stats.delayed = rows.integer(1);
      stats.ready += rows.integer(2);
      if (rows.integer(2) > 0) stats.oldest = std::max<Duration>(stats.oldest, waited(rows.integer(3)));
    }
  }
  std::sort(all.begin(), all.end(), [](const QueueStats& a, const QueueStats& b) { return a.queue < b.queue; });
  return all;
}

Result<std::vector<JobRecord>> list_jobs(SqliteConnection& db, std::string_view queue, JobState state, int64_t after,
                                         size_t limit, WallTime wall) {
  TRY(const std::optional<Moment> now, moment_of(db, wall));
  limit = std::min(limit, kMaxBatch);
  std::vector<JobRecord> jobs;
  const auto take = [&](Query rows) -> Result<void> {
    while (true) {
      TRY(const bool row, rows.next());
      if (!row) return {};
      jobs.push_back(record_of(rows, now));
    }
  };
  const int64_t second = state == JobState::dead ? std::max<int64_t>(0, after) : now->time;
  if (queue.empty() && state == JobState::dead) {
    TRY(Query rows, db.query(list_all_dead_sql(), second, limit));
    TRY_VOID(take(std::move(rows)));
  } else {
    TRY(Query rows, db.query(list_sql(state), queue, second, limit));
    TRY_VOID(take(std::move(rows)));
  }
  if (state == JobState::ready && jobs.size() < limit) {
    TRY(Query rows, db.query(list_due_sql(), queue, now->time, limit - jobs.size()));
    TRY_VOID(take(std::move(rows)));
  }
  for (JobRecord& job : jobs) {
    TRY_VOID(read_history(db, job));
  }
  return jobs;
}

Result<std::optional<JobRecord>> find_job(SqliteConnection& db, int64_t id, std::optional<WallTime> wall) {
  static const std::string kSql = "SELECT " + std::string(kRecordColumns) + " FROM jobs WHERE id = ?1";
  TRY(const std::optional<Moment> now, moment_of(db, wall));
  TRY(Query row, db.query(kSql, id));
  TRY(const bool found, row.next());
  if (!found) return std::optional<JobRecord>();
  JobRecord job = record_of(row, now);
  TRY_VOID(read_history(db, job));
  return std::optional<JobRecord>(std::move(job));
}

Result<size_t> redrive_jobs(SqliteConnection& db, std::string_view queue, std::optional<int64_t> id, size_t limit,
                            WallTime wall) {
  TRY(const int64_t now, job_time(db, wall));
  if (id) {
    TRY_VOID(
        db.execute("UPDATE jobs SET state = 0, until = ?3, rank = ?3 - priority * ?4, "
                   "last_attempt = attempt + max_attempts WHERE id = ?1 AND queue = ?2 AND state = 4",
                   *id, queue, now, ageing_millis()));
  } else {
    TRY_VOID(
        db.execute("UPDATE jobs SET state = 0, until = ?2, rank = ?2 - priority * ?3, "
                   "last_attempt = attempt + max_attempts WHERE id IN "
                   "(SELECT id FROM jobs WHERE state = 4 AND queue = ?1 ORDER BY id LIMIT ?4)",
                   queue, now, ageing_millis(), std::min(limit, kMaxBatch)));
  }
  return static_cast<size_t>(db.changes());
}

Result<void> cancel_job(SqliteConnection& db, int64_t id, std::optional<WallTime> wall) {
  JobState state{};
  {
    TRY(const std::optional<Moment> now, moment_of(db, wall));
    // Whose lease ran out has nobody, whether another worker asked for it or not.
    TRY(Query row, db.query("SELECT iif(state = 2 AND until <= ?2, 0, state) FROM jobs WHERE id = ?1", id,
                            now ? now->time : INT64_MIN));
    TRY(const bool found, row.next());
    if (!found) return fail(refused(Code::not_found, "there is no job " + std::to_string(id)));
    state = static_cast<JobState>(row.integer(0));
  }
  if (state == JobState::leased || state == JobState::done) {
    return fail(refused(Code::failed_precondition,
                        "job " + std::to_string(id) + " is " + std::string(to_string(state)) + " already"));
  }
  // Its key goes too, so that the same work can be asked for anew.
  TRY_VOID(
      db.execute("DELETE FROM job_keys WHERE job = ?1 AND (queue, key) = "
                 "(SELECT queue, dedupe_key FROM jobs WHERE id = ?1)",
                 id));
  return forget(db, id);
}

Result<size_t> purge_jobs(SqliteConnection& db, JobState state, Duration older, size_t limit, WallTime wall) {
  if (state != JobState::done && state != JobState::dead)
    return fail(refused(Code::invalid_argument, "only jobs that are done or dead are purged"));
  TRY(const int64_t now, job_time(db, wall));
  const std::string_view sql =
      state == JobState::done
          ? std::string_view("SELECT id FROM jobs WHERE state = 3 AND until <= ?1 ORDER BY until LIMIT ?2")
          : std::string_view("SELECT id FROM jobs WHERE state = 4 AND until <= ?1 LIMIT ?2");
  std::vector<int64_t> ids;
  {
    TRY(Query rows, db.query(sql, now - millis(older), std::min(limit, kMaxBatch)));
    while (true) {
      TRY(const bool row, rows.next());
      if (!row) break;
      ids.push_back(rows.integer(0));
    }
  }
  for (const int64_t id : ids) {
    TRY_VOID(forget(db, id));
  }
  return ids.size();
}

Result<size_t> purge_dedupe_keys(SqliteConnection& db, size_t limit, WallTime wall) {
  TRY(const int64_t now, job_time(db, wall));
  TRY_VOID(
      db.execute("DELETE FROM job_keys WHERE (queue, key) IN "
                 "(SELECT queue, key FROM job_keys WHERE until <= ?1 LIMIT ?2)",
                 now, std::min(limit, kMaxBatch)));
  return static_cast<size_t>(db.changes());
}

}  // namespace trellis::queue
