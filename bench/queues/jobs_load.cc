#include "queues/jobs_load.h"

#include <fmt/format.h>

#include <charconv>
#include <deque>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "base/metrics.h"
#include "queue/jobs_sqlite.h"
#include "queue/worker.h"
#include "runtime/cores.h"
#include "runtime/sync.h"
#include "store/sqlite.h"

namespace trellis::bench {
namespace {

constexpr const char* kQueue = "bench";
constexpr const char* kKind = "nothing";

// A store with a queue, on one loop.
struct Node {
  Metrics metrics;
  std::unique_ptr<Cores> cores;
  std::unique_ptr<store::SqliteStore> store;
  std::unique_ptr<queue::SqliteJobQueue> jobs;
  std::unique_ptr<TaskGroup> tasks = std::make_unique<TaskGroup>();  // of the loop
  std::unique_ptr<queue::Worker> worker;                             // likewise

  Result<void> open(const Options& options) {
    std::error_code error;
    std::filesystem::create_directories(options.folder, error);
    if (error) return fail(Code::invalid_argument, options.folder + ": " + error.message());
    TRY(cores, Cores::start({.count = 1, .blocking_threads = 1}));
    store::SqliteOptions store_options;
    store_options.path = options.folder + "/jobs.db";
    TRY(store, store::SqliteStore::open(std::move(store_options), metrics));
    TRY(jobs, queue::SqliteJobQueue::open(*store, metrics));
    return {};
  }
  void start_worker(const Options& options, queue::Handler handler) {
    cores->run_on(0, [&] {
      queue::WorkerOptions how;
      how.queue = kQueue;
      how.concurrency = options.workers;
      how.ahead = options.ahead;
      worker = std::make_unique<queue::Worker>(*jobs, how);
      worker->handle(kKind, std::move(handler));
      worker->start();
    });
  }
  ~Node() {
    if (!cores) return;
    if (worker) {
      cores->finish_on(0, [&] { return worker->stop(after(Loop::current().now(), std::chrono::seconds(10))); });
    }
    cores->run_on(0, [&] {
      worker.reset();
      tasks.reset();
    });
    jobs.reset();
    store.reset();
    cores->stop();
  }
};

std::vector<queue::NewJob> some_jobs(size_t count, const std::string& payload) {
  std::vector<queue::NewJob> jobs(count);
  for (queue::NewJob& job : jobs) {
    job.queue = kQueue;
    job.kind = kKind;
    job.payload = payload;
  }
  return jobs;
}

Task<> produce(queue::JobQueue& queue, const std::string& payload, size_t batch, Tally& tally) {
  while (!tally.stopped()) {
    const uint64_t began = now_nanos();
    auto enqueue = queue.enqueue(some_jobs(batch, payload), kNever);
    const Result<std::vector<queue::Enqueued>> enqueued = co_await enqueue;
    if (!enqueued) {
      tally.fail(enqueued.error().to_string());
      co_return;
    }
    tally.record(batch, now_nanos() - began);
  }
}

Task<Result<void>> fill(queue::JobQueue& queue, const std::string& payload, size_t count) {
  while (count > 0) {
    const size_t now = std::min(count, queue::kMaxBatch);
    auto enqueue = queue.enqueue(some_jobs(now, payload), kNever);
    const Result<std::vector<queue::Enqueued>> enqueued = co_await enqueue;
    if (!enqueued) co_return fail(enqueued.error().clone());
    count -= now;
  }
  co_return Result<void>();
}

Task<Result<queue::Done>> count_one(Tally& tally) {
  tally.record(1, 0);
  co_return queue::Done::yes;
}

// A producer of run_jobs_begin(): one job at a time, which carries its number.
struct Chain {
  Event begun;
  uint64_t begun_at = 0;
};

Task<> chain(queue::JobQueue& queue, std::string payload, Chain& own, Tally& tally) {
  while (!tally.stopped()) {
    own.begun.reset();
    const uint64_t began = now_nanos();
    auto enqueue = queue.enqueue(some_jobs(1, payload), kNever);
    const Result<std::vector<queue::Enqueued>> enqueued = co_await enqueue;
    if (!enqueued) {
      tally.fail(enqueued.error().to_string());
      co_return;
    }
    const bool in_time = co_await own.begun.wait(after(Loop::current().now(), std::chrono::seconds(30)));
    if (!in_time) {
      tally.fail("a job did not begin within 30 s");
      co_return;
    }
    tally.record(1, own.begun_at - began);
  }
}

Task<Result<queue::Done>> note_begin(const queue::JobRun& job, std::deque<Chain>& chains) {
  const uint64_t now = now_nanos();
  size_t number = 0;
  std::from_chars(job.payload.data(), job.payload.data() + job.payload.size(), number);
  if (number >= chains.size()) co_return fail(Code::invalid_argument, "not a job of this benchmark");
  chains[number].begun_at = now;
  chains[number].begun.set();
  co_return queue::Done::yes;
}

}  // namespace

Result<std::string> run_jobs_enqueue(const Options& options) {
  Tally tally;
  const std::string payload = payload_of(options.size);
  Node node;
  TRY_VOID(node.open(options));
  node.cores->run_on(0, [&] {
    for (size_t i = 0; i < options.producers; ++i) {
      node.tasks->spawn(produce(*node.jobs, payload, options.batch, tally));
    }
  });
  const Result<Measurement> found = measure(options, tally);
  tally.phase.store(Phase::stop);
  node.cores->finish_on(0, [&] { return node.tasks->join(kNever); });
  if (!found) return fail(found.error().clone());
  return as_json(*found, tally, fmt::format(",\"commits\":{}", node.store->commits()));
}

Result<std::string> run_jobs_perform(const Options& options) {
  Tally tally;
  Node node;
  TRY_VOID(node.open(options));
  const std::string payload = payload_of(options.size);
  const Result<void> filled = node.cores->finish_on(0, [&] { return fill(*node.jobs, payload, options.backlog); });
  if (!filled) return fail(filled.error().clone());
  Options at_once = options;
  at_once.warmup = 0;  // of the backlog nothing is to be lost
  node.start_worker(options, [&tally](const queue::JobRun&) { return count_one(tally); });
  const Result<Measurement> found = measure(at_once, tally, [&] { return tally.done.load() >= options.backlog; });
  if (!found) return fail(found.error().clone());
  return as_json(*found, tally, fmt::format(",\"commits\":{}", node.store->commits()));
}

Result<std::string> run_jobs_begin(const Options& options) {
  Tally tally;
  std::deque<Chain> chains(options.producers);
  Node node;
  TRY_VOID(node.open(options));
  node.start_worker(options, [&chains](const queue::JobRun& job) { return note_begin(job, chains); });
  node.cores->run_on(0, [&] {
    for (size_t i = 0; i < chains.size(); ++i) {
      std::string payload = fmt::format("{:<{}}", i, std::max<size_t>(options.size, 8));
      node.tasks->spawn(chain(*node.jobs, std::move(payload), chains[i], tally));
    }
  });
  const Result<Measurement> found = measure(options, tally);
  tally.phase.store(Phase::stop);
  node.cores->finish_on(0, [&] { return node.tasks->join(kNever); });
  if (!found) return fail(found.error().clone());
  return as_json(*found, tally, fmt::format(",\"commits\":{}", node.store->commits()));
}

}  // namespace trellis::bench
