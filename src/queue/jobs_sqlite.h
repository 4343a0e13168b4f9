// JobQueue on an SQLite store: each call is an operation of the store's writer, so calls of many workers share one
// commit. Reads (stats, list) run in the blocking pool. Usable from every core; owned by the app, which destroys it
// after its workers and before the store.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "queue/jobs.h"
#include "queue/jobs_rows.h"

namespace trellis {
inline namespace base {
class Counter;
class Gauge;
class Metrics;
}  // namespace base
}  // namespace trellis
namespace trellis::store {
class SqliteStore;
}

namespace trellis::queue {

struct SqliteJobOptions {
  Backoff backoff;
  Duration keep_done = std::chrono::hours(1);  // zero: a job that is done is removed at once
  Duration keep_dead = std::chrono::hours(24 * 30);
  uint64_t max_waiting = kMaxWaitingJobs;  // of a queue; kept in the store, for whoever enqueues in a write
  Clock* clock = &system_clock();
};

class SqliteJobQueue final : public JobQueue {
 public:
  // Blocks: makes the tables where they are missing.
  static Result<std::unique_ptr<SqliteJobQueue>> open(store::SqliteStore& store, Metrics& metrics,
                                                      SqliteJobOptions options = {});
  ~SqliteJobQueue() override;

  Task<Result<std::vector<Enqueued>>> enqueue(std::vector<NewJob> jobs, Deadline deadline) override;
  Task<Result<std::vector<ClaimedJob>>> claim(std::string queue, size_t max, std::string worker, Duration lease,
                                              Deadline deadline) override;
  Task<Result<std::vector<Settled>>> settle(std::string queue, std::vector<Settlement> settlements, Duration lease,
                                            Deadline deadline) override;
  Task<Result<std::vector<QueueStats>>> stats(Deadline deadline) override;
  Task<Result<std::vector<JobRecord>>> list(std::string queue, JobState state, int64_t after, size_t limit,
                                            Deadline deadline) override;
  Task<Result<std::optional<JobRecord>>> find(int64_t id, Deadline deadline) override;
  Task<Result<size_t>> redrive(std::string queue, std::optional<int64_t> id, size_t limit, Deadline deadline) override;
  Task<Result<void>> cancel(int64_t id, Deadline deadline) override;
  Task<Result<size_t>> sweep(Deadline deadline) override;
  void announce(const std::string& queue, size_t jobs) override;
  std::shared_ptr<void> listen(const std::string& queue, runtime::Event& event) override;

 private:
  struct Bells;
  SqliteJobQueue(store::SqliteStore& store, Metrics& metrics, SqliteJobOptions options);
  void count(const std::string& queue, const char* event, size_t jobs);
  void show(const std::vector<QueueStats>& all);

  store::SqliteStore& store_;
  Metrics& metrics_;
  SqliteJobOptions options_;
  std::shared_ptr<Bells> bells_;
  // WHY a lock: every core counts, and a queue's counter is made when the queue is first seen.
  std::mutex mutex_;
  std::map<std::string, Gauge*> depths_;
  std::map<std::string, Gauge*> oldest_;
  std::map<std::pair<std::string, std::string>, Counter*> counters_;
};

}  // namespace trellis::queue
