// Jobs: work that is written down beside the data and done later by workers. What a job is, and the seam JobQueue that
// workers and services see; every driver keeps the same promises. A job is done at least once; a claim carries a
// fencing number, so that only the last one who claimed a job can end it. Called on every core; owned by the app.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "runtime/task.h"

namespace trellis {
inline namespace runtime {
class Loop;
class Event;
}  // namespace runtime
}  // namespace trellis

namespace trellis::queue {

inline constexpr size_t kMaxPayload = size_t{256} << 10;
inline constexpr size_t kMaxBatch = 1000;               // jobs in a call of JobQueue
inline constexpr size_t kMaxName = 64;                  // of queues, kinds, workers and schedules
inline constexpr uint64_t kMaxWaitingJobs = 1'000'000;  // of a queue, ready and delayed, where nothing else is said
inline constexpr size_t kMaxDedupeKey = 200;
inline constexpr int kMaxPriority = 9;
inline constexpr int kMaxAttempts = 100;
// A step of priority is worth this much waiting: a job is overtaken only by those of higher priority that became ready
// within so many steps after it, so no job starves.
inline constexpr Duration kAgeing = std::chrono::minutes(1);
inline constexpr size_t kMaxHistory = 10;     // failures that a job keeps, the latest ones
inline constexpr size_t kMaxErrorText = 500;  // bytes

// A job to be enqueued.
struct NewJob {
  std::string queue;
  std::string kind;  // which handler does it
  std::string payload;
  int priority = 4;                    // 0..9, 9 first
  int max_attempts = 10;               // then it is dead
  std::optional<WallTime> not_before;  // unset: at once
  // Within `dedupe_for` a second job with the same key in the same queue is not enqueued: its sender gets the id of the
  // first, whatever has become of that one.
  std::string dedupe_key;  // "": none
  Duration dedupe_for = std::chrono::hours(24);
};

struct Enqueued {
  int64_t id = 0;
  bool duplicate = false;  // `id` is the job that was there
};

// The right to work on a job until the lease runs out. `attempt` is the fencing number: it rises with each claim of the
// job and never falls.
struct Lease {
  int64_t id = 0;
  int64_t attempt = 0;
};

struct ClaimedJob {
  Lease lease;
  std::string kind;
  std::string payload;
  int tried = 1;  // attempts with this one, since it was enqueued or redriven
  int max_attempts = 1;
  int priority = 0;
};

enum class Verdict : uint8_t {
  ack,      // done
  retry,    // failed: again after a while, or dead when that was the last attempt
  bury,     // dead at once, for a repeat is useless
  release,  // given back as it was taken: ready at once, the attempt not counted
  extend,   // still at it: the lease runs anew from now
};
std::string_view to_string(Verdict verdict) noexcept;

struct Settlement {
  Lease lease;
  Verdict verdict = Verdict::ack;
  std::string error;              // retry, bury
  std::optional<Duration> delay;  // retry: instead of the backoff
};

// What became of a settlement.
enum class Settled : uint8_t {
  yes,
  buried,  // a retry of the last attempt
  stale,   // refused: the lease ran out and the job is another's by now, or ended
};

// The wait before the next attempt is uniform in [0, min(cap, base * 2^(tried-1))]: full jitter, so that jobs that
// failed together do not come back together.
struct Backoff {
  Duration base = std::chrono::seconds(2);
  Duration cap = std::chrono::hours(1);
  Duration wait(int tried, uint64_t random) const noexcept;
};

enum class JobState : uint8_t { ready, delayed, leased, done, dead };
std::string_view to_string(JobState state) noexcept;

struct QueueStats {
  std::string queue;
  int64_t ready = 0;
  int64_t delayed = 0;
  int64_t leased = 0;
  int64_t done = 0;
  int64_t dead = 0;
  Duration oldest{0};  // how long the oldest ready job has been ready
};

struct JobFailure {
  int64_t attempt = 0;
  WallTime at;
  std::string error;
};

// A job as people see it.
struct JobRecord {
  int64_t id = 0;
  std::string queue;
  std::string kind;
  std::string payload;
  JobState state = JobState::ready;
  int priority = 0;
  int tried = 0;  // attempts begun since it was enqueued or redriven; those that were given back do not count
  int max_attempts = 0;
  std::string worker;  // who has it, or had it last
  WallTime created;
  std::optional<WallTime> until;  // delayed: when it is ready; leased: when the lease runs out
  std::vector<JobFailure> history;
};

// What workers need of the queues they serve, wherever those are kept.
class JobSource {
 public:
  virtual ~JobSource() = default;

  // At most `max` jobs, in the order in which they should be done; none when none is ready.
  virtual Task<Result<std::vector<ClaimedJob>>> claim(std::string queue, size_t max, std::string worker, Duration lease,
                                                      Deadline deadline) = 0;
  // Each by itself; answers in the same order. `lease`: how long an extended one lives from now.
  virtual Task<Result<std::vector<Settled>>> settle(std::string queue, std::vector<Settlement> settlements,
                                                    Duration lease, Deadline deadline) = 0;
  // Workers call it now and then, for a queue that wants looking after.
  virtual Task<Result<void>> keep_house(Deadline deadline) = 0;
  // `event` (of this loop) is set whenever jobs are enqueued by this process, until the token is destroyed, which
  // happens on the same loop.
  virtual std::shared_ptr<void> listen(const std::string& queue, runtime::Event& event) = 0;
};

class JobQueue : public JobSource {
 public:
  // All of them or none, durable when it returns; answers in the same order. 1..kMaxBatch jobs. resource_exhausted: too
  // many wait in a queue already. A service that writes rows of its own enqueues in the same transaction with the
  // driver's own function and calls announce() afterwards.
  virtual Task<Result<std::vector<Enqueued>>> enqueue(std::vector<NewJob> jobs, Deadline deadline) = 0;

  // Of all queues; brings the figures of the metrics up to date too.
  virtual Task<Result<std::vector<QueueStats>>> stats(Deadline deadline) = 0;
  // The first `limit` in this state, in the order in which they come up; dead ones by id, those after `after`, and of
  // all queues where `queue` is "".
  virtual Task<Result<std::vector<JobRecord>>> list(std::string queue, JobState state, int64_t after, size_t limit,
                                                    Deadline deadline) = 0;
  // None: it never was, or is kept no longer.
  virtual Task<Result<std::optional<JobRecord>>> find(int64_t id, Deadline deadline) = 0;
  // Dead jobs are ready again, with all their attempts before them: this one, or the first `limit` of the queue.
  virtual Task<Result<size_t>> redrive(std::string queue, std::optional<int64_t> id, size_t limit,
                                       Deadline deadline) = 0;
  // Takes a job away that nobody is working on. not_found; failed_precondition: done, or leased and the lease holds.
  virtual Task<Result<void>> cancel(int64_t id, Deadline deadline) = 0;
  // Removes what is kept no longer, a bounded number a call: jobs that are done, keys whose window has passed.
  virtual Task<Result<size_t>> sweep(Deadline deadline) = 0;
  // sweep() and stats().
  Task<Result<void>> keep_house(Deadline deadline) override;

  // Any thread: jobs were enqueued here by somebody else's transaction, which has been committed.
  virtual void announce(const std::string& queue, size_t jobs) = 0;
};

}  // namespace trellis::queue
