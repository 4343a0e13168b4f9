// The rows of jobs in an SQLite store: pure functions on a connection, each a step of the caller's transaction. A
// service calls enqueue_job() in the same write as its own rows, and a handler may end_job() in the same write as its
// effect, which makes the effect happen exactly once. Called on the store's writer (the reads also on a read
// connection); they block.
//
// `wall` is the wall clock. Rows hold the queue's own time instead, which goes on with the wall clock but never back:
// when the wall clock has been set back, the queue's time stands still for that moment and goes on from there, so
// leases and delays that were running take as long as they should, and no job is stranded in the future.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "queue/jobs.h"
#include "store/migrations.h"

namespace trellis::store {
class SqliteConnection;
}

namespace trellis::queue {

// For SqliteStore::migrate("jobs", ...).
std::span<const store::Migration> job_migrations() noexcept;

// The queue's time in milliseconds. The first reads only; the second, on the writer, also keeps it.
Result<int64_t> read_job_time(store::SqliteConnection& db, WallTime wall);
Result<int64_t> job_time(store::SqliteConnection& db, WallTime wall);

// How many jobs of a queue may be ready or delayed; kept.
Result<void> limit_jobs(store::SqliteConnection& db, uint64_t max_waiting);

// invalid_argument: a name, a size or a number out of its limits; resource_exhausted: too many of the queue wait.
Result<Enqueued> enqueue_job(store::SqliteConnection& db, const NewJob& job, WallTime wall);

struct Claim {
  std::vector<ClaimedJob> jobs;
  size_t expired = 0;  // leases that had run out; their jobs are ready again, or dead
  size_t buried = 0;   // the dead among them
};
Result<Claim> claim_jobs(store::SqliteConnection& db, std::string_view queue, size_t max, std::string_view worker,
                         Duration lease, WallTime wall);

struct SettleRules {
  Duration lease = std::chrono::seconds(30);  // extend
  Backoff backoff;                            // retry
  bool keep_done = true;                      // false: a job that is done is removed at once
};
// `random`: 64 random bits for the jitter.
Result<Settled> settle_job(store::SqliteConnection& db, const Settlement& settlement, const SettleRules& rules,
                           uint64_t random, WallTime wall);
// The end of a job as a part of the handler's own write. aborted: the lease is stale, and the write must be taken back.
Result<void> end_job(store::SqliteConnection& db, const Lease& lease, WallTime wall);

Result<std::vector<QueueStats>> job_stats(store::SqliteConnection& db, WallTime wall);
// As JobQueue::list() says.
Result<std::vector<JobRecord>> list_jobs(store::SqliteConnection& db, std::string_view queue, JobState state,
                                         int64_t after, size_t limit, WallTime wall);
// Without a time, as it stands in its row.
Result<std::optional<JobRecord>> find_job(store::SqliteConnection& db, int64_t id, std::optional<WallTime> wall = {});
Result<size_t> redrive_jobs(store::SqliteConnection& db, std::string_view queue, std::optional<int64_t> id,
                            size_t limit, WallTime wall);
// Without a time a lease counts, whether it ran out or not.
Result<void> cancel_job(store::SqliteConnection& db, int64_t id, std::optional<WallTime> wall = {});
// Jobs that ended (done, or dead) more than `older` ago.
Result<size_t> purge_jobs(store::SqliteConnection& db, JobState state, Duration older, size_t limit, WallTime wall);
Result<size_t> purge_dedupe_keys(store::SqliteConnection& db, size_t limit, WallTime wall);

// Letters, digits and - _ . of at most kMaxName bytes, not empty.
bool is_job_name(std::string_view name) noexcept;

}  // namespace trellis::queue
