#include "queue/jobs_sqlite.h"

#include <algorithm>
#include <utility>

#include "base/metrics.h"
#include "base/rng.h"
#include "runtime/loop.h"
#include "runtime/sync.h"
#include "store/sqlite.h"

namespace trellis::queue {

namespace {

using store::SqliteConnection;

constexpr size_t kMaxQueuesInMetrics = 1000;  // names come from services, but a metric for each must not grow for ever

Error refused(std::string what) { return Error(Code::invalid_argument, std::move(what)).from(Side::client); }

}  // namespace

// Who wants to know that jobs came. Shared with what was posted to the listeners' loops.
struct SqliteJobQueue::Bells {
  struct Bell {
    std::string queue;
    Loop* home;
    Event* event;  // touched on `home` only; null once the listener has gone
  };
  // WHY a lock: jobs are enqueued on every core.
  std::mutex mutex;
  std::vector<std::shared_ptr<Bell>> bells;

  void ring(const std::string& queue) {
    const std::lock_guard lock(mutex);
    for (const std::shared_ptr<Bell>& bell : bells) {
      if (bell->queue != queue) continue;
      bell->home->post([bell] {
        if (bell->event) bell->event->set();
      });
    }
  }
};

Result<std::unique_ptr<SqliteJobQueue>> SqliteJobQueue::open(store::SqliteStore& store, Metrics& metrics,
                                                             SqliteJobOptions options) {
  TRY_VOID(store.migrate("jobs", job_migrations()));
  TRY_VOID(store.write_now([&](SqliteConnection& db) { return limit_jobs(db, options.max_waiting); }));
  return std::unique_ptr<SqliteJobQueue>(new SqliteJobQueue(store, metrics, options));
}

SqliteJobQueue::SqliteJobQueue(store::SqliteStore& store, Metrics& metrics, SqliteJobOptions options)
    : store_(store), metrics_(metrics), options_(options), bells_(std::make_shared<Bells>()) {}

SqliteJobQueue::~SqliteJobQueue() = default;

// --- Services ---

Task<Result<std::vector<Enqueued>>> SqliteJobQueue::enqueue(std::vector<NewJob> jobs, Deadline deadline) {
  if (jobs.empty() || jobs.size() > kMaxBatch) co_return fail(refused("a batch has 1 to 1000 jobs"));
  std::map<std::string, size_t> queues;
  std::vector<std::string> names;
  size_t bytes = 0;
  for (const NewJob& job : jobs) {
    names.push_back(job.queue);
    bytes += job.payload.size() + 256;
  }
  auto task = store_.write(
      [jobs = std::move(jobs), clock = options_.clock](SqliteConnection& db) -> Result<std::vector<Enqueued>> {
        std::vector<Enqueued> enqueued;
        enqueued.reserve(jobs.size());
        for (const NewJob& job : jobs) {
          TRY(const Enqueued one, enqueue_job(db, job, clock->wall()));
          enqueued.push_back(one);
        }
        return enqueued;
      },
      deadline, bytes);
  Result<std::vector<Enqueued>> enqueued = co_await task;
  if (!enqueued) {
    if (enqueued.error().code() == Code::resource_exhausted) {
      for (const std::string& queue : names) count(queue, "refused", 1);
    }
    co_return fail(std::move(enqueued).error());
  }
  for (size_t i = 0; i < names.size(); ++i) {
    if (!(*enqueued)[i].duplicate) ++queues[names[i]];
  }
  for (const auto& [queue, count] : queues) announce(queue, count);
  co_return std::move(*enqueued);
}

void SqliteJobQueue::announce(const std::string& queue, size_t jobs) {
  count(queue, "enqueued", jobs);
  bells_->ring(queue);
}

std::shared_ptr<void> SqliteJobQueue::listen(const std::string& queue, Event& event) {
  auto bell = std::make_shared<Bells::Bell>(queue, &Loop::current(), &event);
  {
    const std::lock_guard lock(bells_->mutex);
    bells_->bells.push_back(bell);
  }
  const auto leave = [bells = bells_](Bells::Bell* gone) {
    const std::lock_guard lock(bells->mutex);
    gone->event = nullptr;
    std::erase_if(bells->bells, [gone](const auto& other) { return other.get() == gone; });
  };
  return std::shared_ptr<void>(nullptr, [leave, bell](void*) { leave(bell.get()); });
}

// --- Workers ---

Task<Result<std::vector<ClaimedJob>>> SqliteJobQueue::claim(std::string queue, size_t max, std::string worker,
                                                            Duration lease, Deadline deadline) {
  if (max == 0 || max > kMaxBatch) co_return fail(refused("a claim is for 1 to 1000 jobs"));
  auto task =
      store_.write([queue, max, worker = std::move(worker), lease, clock = options_.clock](
                       SqliteConnection& db) { return claim_jobs(db, queue, max, worker, lease, clock->wall()); },
                   deadline);
  Result<Claim> claim = co_await task;
  if (!claim) co_return fail(std::move(claim).error());
  count(queue, "claimed", claim->jobs.size());
  count(queue, "expired", claim->expired);
  count(queue, "dead", claim->buried);
  co_return std::move(claim->jobs);
}

Task<Result<std::vector<Settled>>> SqliteJobQueue::settle(std::string queue, std::vector<Settlement> settlements,
                                                          Duration lease, Deadline deadline) {
  if (settlements.empty() || settlements.size() > kMaxBatch) co_return fail(refused("a batch has 1 to 1000 leases"));
  std::vector<Verdict> verdicts;
  for (const Settlement& one : settlements) verdicts.push_back(one.verdict);
  SettleRules rules;
  rules.lease = lease;
  rules.backoff = options_.backoff;
  rules.keep_done = options_.keep_done > Duration::zero();
  auto task = store_.write(
      [settlements = std::move(settlements), rules, clock = options_.clock,
       seed = Loop::current().rng().next()](SqliteConnection& db) -> Result<std::vector<Settled>> {
        Rng rng(seed);
        std::vector<Settled> outcomes;
        outcomes.reserve(settlements.size());
        for (const Settlement& one : settlements) {
          TRY(const Settled outcome, settle_job(db, one, rules, rng.next(), clock->wall()));
          outcomes.push_back(outcome);
        }
        return outcomes;
      },
      deadline, verdicts.size() * 256);
  Result<std::vector<Settled>> outcomes = co_await task;
  if (!outcomes) co_return fail(std::move(outcomes).error());
  for (size_t i = 0; i < verdicts.size(); ++i) {
    const Settled outcome = (*outcomes)[i];
    if (outcome == Settled::stale) {
      count(queue, "stale", 1);
    } else if (outcome == Settled::buried) {
      count(queue, "dead", 1);
    } else if (verdicts[i] == Verdict::ack) {
      count(queue, "done", 1);
    } else if (verdicts[i] == Verdict::retry) {
      count(queue, "retried", 1);
    } else if (verdicts[i] == Verdict::release) {
      count(queue, "released", 1);
      bells_->ring(queue);
    }
  }
  co_return std::move(*outcomes);
}

Task<Result<size_t>> SqliteJobQueue::sweep(Deadline deadline) {
  auto task = store_.write(
      [keep_done = options_.keep_done, keep_dead = options_.keep_dead,
       clock = options_.clock](SqliteConnection& db) -> Result<size_t> {
        const WallTime wall = clock->wall();
        TRY(const size_t done, purge_jobs(db, JobState::done, keep_done, kMaxBatch, wall));
        TRY(const size_t dead, purge_jobs(db, JobState::dead, keep_dead, kMaxBatch, wall));
        TRY(const size_t keys, purge_dedupe_keys(db, kMaxBatch, wall));
        return done + dead + keys;
      },
      deadline);
  co_return co_await task;
}

// --- People ---

Task<Result<std::vector<QueueStats>>> SqliteJobQueue::stats(Deadline deadline) {
  auto task =
      store_.read([clock = options_.clock](SqliteConnection& db) { return job_stats(db, clock->wall()); }, deadline);
  Result<std::vector<QueueStats>> all = co_await task;
  if (!all) co_return fail(std::move(all).error());
  show(*all);
  co_return std::move(*all);
}

Task<Result<std::vector<JobRecord>>> SqliteJobQueue::list(std::string queue, JobState state, int64_t after,
                                                          size_t limit, Deadline deadline) {
  auto task =
      store_.read([queue = std::move(queue), state, after, limit, clock = options_.clock](
                      SqliteConnection& db) { return list_jobs(db, queue, state, after, limit, clock->wall()); },
                  deadline);
  co_return co_await task;
}

Task<Result<std::optional<JobRecord>>> SqliteJobQueue::find(int64_t id, Deadline deadline) {
  auto task = store_.read(
      [id, clock = options_.clock](SqliteConnection& db) { return find_job(db, id, clock->wall()); }, deadline);
  co_return co_await task;
}

Task<Result<size_t>> SqliteJobQueue::redrive(std::string queue, std::optional<int64_t> id, size_t limit,
                                             Deadline deadline) {
  auto task = store_.write([queue, id, limit, clock = options_.clock](
                               SqliteConnection& db) { return redrive_jobs(db, queue, id, limit, clock->wall()); },
                           deadline);
  Result<size_t> redriven = co_await task;
  if (!redriven) co_return fail(std::move(redriven).error());
  count(queue, "redriven", *redriven);
  if (*redriven > 0) bells_->ring(queue);
  co_return *redriven;
}

Task<Result<void>> SqliteJobQueue::cancel(int64_t id, Deadline deadline) {
  auto task = store_.write(
      [id, clock = options_.clock](SqliteConnection& db) { return cancel_job(db, id, clock->wall()); }, deadline);
  co_return co_await task;
}

// --- Metrics ---

void SqliteJobQueue::count(const std::string& queue, const char* event, size_t jobs) {
  if (jobs == 0) return;
  const std::lock_guard lock(mutex_);
  Counter*& counter = counters_[{queue, event}];
  if (!counter) {
    if (counters_.size() > kMaxQueuesInMetrics * 8) {
      counters_.erase({queue, event});
      return;
    }
    // Those that died are asked for by a name of their own.
    counter = std::string_view(event) == "dead"
                  ? &metrics_.counter("trellis_queue_dead_total", "Jobs that were given up.",
                                      {{"topic", queue}, {"group", "workers"}})
                  : &metrics_.counter("trellis_queue_messages_total", "Messages of a queue by what became of them.",
                                      {{"topic", queue}, {"event", event}});
  }
  counter->add(jobs);
}

void SqliteJobQueue::show(const std::vector<QueueStats>& all) {
  const std::lock_guard lock(mutex_);
  // A queue that has no row any more is empty.
  for (const auto& [queue, gauge] : depths_) gauge->set(0);
  for (const auto& [queue, gauge] : oldest_) gauge->set(0);
  for (const QueueStats& stats : all) {
    if (depths_.size() >= kMaxQueuesInMetrics && !depths_.contains(stats.queue)) continue;
    const Labels labels{{"topic", stats.queue}, {"group", "workers"}};
    Gauge*& depth = depths_[stats.queue];
    if (!depth) depth = &metrics_.gauge("trellis_queue_depth", "Messages that wait.", labels);
    Gauge*& oldest = oldest_[stats.queue];
    if (!oldest)
      oldest = &metrics_.gauge("trellis_queue_oldest_seconds", "Age of the oldest message that waits.", labels);
    depth->set(static_cast<double>(stats.ready + stats.delayed + stats.leased));
    oldest->set(seconds(stats.oldest));
  }
}

}  // namespace trellis::queue
