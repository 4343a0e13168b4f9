// kill -9 in the midst of work, a hundred times in a row, for the event log and for jobs: whatever was acknowledged is
// there, nothing is torn, no job has its effect twice, and no event of an outbox is in the log twice.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/metrics.h"
#include "queue/event_log.h"
#include "queue/jobs_rows.h"
#include "queue/jobs_sqlite.h"
#include "queue/outbox_relay.h"
#include "queue/worker.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "runtime/sync.h"
#include "store/sqlite.h"
#include "tests/fakes/killed_child.h"

namespace trellis::queue {
namespace {

using namespace std::chrono_literals;
using fakes::kill_after;
using fakes::tell;
using fakes::Told;

constexpr int kRounds = 100;
constexpr int kWriters = 4;

std::string fresh_folder(const char* variable) {
  std::string pattern = testing::TempDir() + "queuecrashXXXXXX";
  std::string folder = mkdtemp(pattern.data());
  ::setenv(variable, folder.c_str(), 1);
  return folder;
}

// --- The event log ---

constexpr uint32_t kPartitions = 2;

Result<std::unique_ptr<EventLog>> open_log(const std::string& folder, Metrics& metrics) {
  EventLogOptions options;
  options.folder = folder;
  TRY(auto log, EventLog::open(std::move(options), metrics));
  TopicOptions topic;
  topic.name = "clicks";
  topic.partitions = kPartitions;
  topic.keep.segment_bytes = 16 << 10;  // so that kills meet the change of a segment, too
  TRY_VOID(log->open_topic(std::move(topic)));
  return log;
}

// The numbers that each writer's events carry, in the order of the log.
Result<std::vector<std::vector<int64_t>>> read_all(EventLog& log) {
  std::vector<std::vector<int64_t>> numbers(kWriters);
  for (uint32_t partition = 0; partition < kPartitions; ++partition) {
    TRY(uint64_t from, log.first("clicks", partition));
    while (true) {
      TRY(const EventSlice slice, log.read_now("clicks", partition, from));
      if (slice.events.empty()) break;
      for (const auto& event : slice.events) {
        const auto writer = static_cast<size_t>(std::stoi(event.key));
        numbers.at(writer).push_back(std::stoll(event.value.value_or("-1")));
      }
      from = slice.next;
    }
  }
  return numbers;
}

// Started by the test below and not by itself.
TEST(EventLogCrash, DISABLED_Writer) {
  const char* folder = std::getenv("TRELLIS_TEST_LOG");
  if (!folder) return;
  Metrics metrics;
  auto log = open_log(folder, metrics);
  ASSERT_TRUE(log) << log.error().to_string();
  const auto before = read_all(**log);
  ASSERT_TRUE(before) << before.error().to_string();
  std::vector<std::thread> writers;
  for (int writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&, writer] {
      const std::vector<int64_t>& mine = (*before)[static_cast<size_t>(writer)];
      for (int64_t n = mine.empty() ? 0 : mine.back() + 1;; ++n) {
        std::vector<Event> events;
        events.push_back({std::to_string(writer), std::to_string(n)});
        const auto where = (*log)->append_now("clicks", std::move(events));
        if (!where || !tell({writer, n})) return;
        // A group of its own that follows: what it committed is durable, too.
        const auto kept = (*log)->commit_now("group-" + std::to_string(writer), "clicks", where->front().partition,
                                             where->front().offset + 1);
        if (!kept || !tell({kWriters + writer, static_cast<int64_t>(where->front().offset) + 1})) return;
      }
    });
  }
  for (std::thread& thread : writers) thread.join();
}

TEST(EventLogCrash, EveryAcknowledgedEventAndOffsetSurvivesAHundredKills) {
  const std::string folder = fresh_folder("TRELLIS_TEST_LOG");
  std::vector<int64_t> acked(kWriters, -1);
  std::vector<int64_t> committed(kWriters, 0);
  for (int round = 0; round < kRounds; ++round) {
    kill_after("EventLogCrash.DISABLED_Writer", 5 + round * 37 % 120, [&](Told told) {
      const auto who = static_cast<size_t>(told.who);
      if (who < kWriters) {
        EXPECT_EQ(told.number, acked.at(who) + 1) << "an event was forgotten";
        acked.at(who) = told.number;
      } else {
        committed.at(who - kWriters) = told.number;
      }
    });
    if (HasFatalFailure()) return;
    Metrics metrics;
    auto log = open_log(folder, metrics);
    ASSERT_TRUE(log) << log.error().to_string();
    const auto numbers = read_all(**log);
    ASSERT_TRUE(numbers) << "torn: " << numbers.error().to_string();
    for (size_t writer = 0; writer < kWriters; ++writer) {
      const std::vector<int64_t>& found = (*numbers)[writer];
      for (size_t i = 0; i < found.size(); ++i) ASSERT_EQ(found[i], static_cast<int64_t>(i)) << "round " << round;
      const auto last = static_cast<int64_t>(found.size()) - 1;
      ASSERT_GE(last, acked[writer]) << "round " << round;
      acked[writer] = last;  // what was written and not told goes on from there
      uint64_t kept = 0;
      for (uint32_t partition = 0; partition < kPartitions; ++partition)
        kept = std::max(kept, (*log)->committed("group-" + std::to_string(writer), "clicks", partition));
      ASSERT_GE(kept, static_cast<uint64_t>(committed[writer])) << "round " << round;
    }
  }
  std::filesystem::remove_all(folder);
}

// --- Jobs ---

constexpr store::Migration kEffects{1, "effects", "CREATE TABLE effects(job INTEGER NOT NULL, payload TEXT NOT NULL)"};
constexpr Duration kLease = 200ms;

struct JobsHere {
  Metrics metrics;
  std::unique_ptr<store::SqliteStore> store;
  std::unique_ptr<SqliteJobQueue> queue;
};
Result<std::unique_ptr<JobsHere>> open_jobs(const std::string& folder) {
  auto here = std::make_unique<JobsHere>();
  store::SqliteOptions options;
  options.path = folder + "/jobs.db";
  TRY(here->store, store::SqliteStore::open(options, here->metrics));
  TRY_VOID(here->store->migrate("test", std::span(&kEffects, 1)));
  SqliteJobOptions how;
  how.keep_done = 24h;
  TRY(here->queue, SqliteJobQueue::open(*here->store, here->metrics, how));
  return here;
}

// The effect and the end of the job in one write: that is what makes it happen once.
Task<Result<Done>> have_effect(store::SqliteStore& store, Lease lease, std::string payload) {
  auto writing = store.write([lease, payload = std::move(payload)](store::SqliteConnection& db) -> Result<void> {
    TRY_VOID(db.execute("INSERT INTO effects(job, payload) VALUES(?1, ?2)", lease.id, payload));
    return end_job(db, lease, system_clock().wall());
  });
  const Result<void> written = co_await writing;
  if (!written) co_return fail(written.error().clone());
  co_return Done::ended;
}

Task<> enqueue_for_ever(SqliteJobQueue& queue, bool& ended) {
  while (!ended) {
    NewJob job;
    job.queue = "work";
    job.kind = "effect";
    job.payload = "p";
    job.max_attempts = kMaxAttempts;
    std::vector<NewJob> jobs(2, job);
    auto enqueueing = queue.enqueue(std::move(jobs), kNever);
    const Result<std::vector<Enqueued>> enqueued = co_await enqueueing;
    if (!enqueued) break;
    for (const Enqueued& one : *enqueued) {
      if (!tell({0, one.id})) ended = true;
    }
  }
  ended = true;
}

// Started by the tests below and not by itself. Enqueues and does jobs, or does those that there are.
void work(bool enqueues) {
  const char* folder = std::getenv("TRELLIS_TEST_JOBS");
  if (!folder) return;
  auto here = open_jobs(folder);
  ASSERT_TRUE(here) << here.error().to_string();
  BlockingPool pool(2);
  LoopOptions options;
  options.pool = &pool;
  auto loop = Loop::make(options);
  ASSERT_TRUE(loop);
  WorkerOptions how;
  how.queue = "work";
  how.concurrency = 8;
  how.ahead = 8;
  how.lease = kLease;
  how.poll = 20ms;
  Worker worker(*(*here)->queue, how);
  worker.handle("effect", [&](const JobRun& job) { return have_effect(*(*here)->store, job.lease, job.payload); });
  worker.start();
  TaskGroup group;
  bool ended = false;
  if (enqueues) {
    for (int i = 0; i < kWriters; ++i) group.spawn(enqueue_for_ever(*(*here)->queue, ended));
  }
  while (!ended) (*loop)->run_once(1s);
  std::_Exit(1);  // the reader has gone; never in a good run
}
TEST(JobCrash, DISABLED_Worker) { work(true); }

Result<int64_t> number(store::SqliteStore& store, const std::string& sql) {
  return store.write_now([sql](store::SqliteConnection& db) -> Result<int64_t> {
    TRY(store::Query row, db.query(sql));
    TRY(const bool found, row.next());
    return found ? row.integer(0) : -1;
  });
}

TEST(JobCrash, NoJobIsLostOrHasItsEffectTwiceInAHundredKills) {
  const std::string folder = fresh_folder("TRELLIS_TEST_JOBS");
  std::vector<int64_t> acked;
  for (int round = 0; round < kRounds; ++round) {
    kill_after("JobCrash.DISABLED_Worker", 4 + round * 37 % 80, [&](Told told) { acked.push_back(told.number); });
    if (HasFatalFailure()) return;
    auto here = open_jobs(folder);
    ASSERT_TRUE(here) << here.error().to_string();
    store::SqliteStore& store = *(*here)->store;
    const auto twice = number(store, "SELECT count(*) FROM (SELECT job FROM effects GROUP BY job HAVING count(*) > 1)");
    ASSERT_TRUE(twice && *twice == 0) << "round " << round;
    // The effect and the end are one: a job is done exactly where it had its effect.
    const auto apart = number(store,
                              "SELECT (SELECT count(*) FROM jobs WHERE state = 3) - (SELECT count(*) FROM effects) + "
                              "(SELECT count(*) FROM effects WHERE job NOT IN (SELECT id FROM jobs WHERE state = 3))");
    ASSERT_TRUE(apart && *apart == 0) << "round " << round;
    for (const int64_t id : acked) {
      const auto there = number(store, "SELECT count(*) FROM jobs WHERE id = " + std::to_string(id));
      ASSERT_TRUE(there && *there == 1) << "job " << id << ", round " << round;
    }
    acked.clear();
    const auto dead = number(store, "SELECT count(*) FROM jobs WHERE state = 4");
    ASSERT_TRUE(dead && *dead == 0) << "round " << round;
    const auto whole = store.write_now([](store::SqliteConnection& db) -> Result<bool> {
      TRY(store::Query query, db.query("PRAGMA quick_check"));
      TRY(const bool row, query.next());
      return row && query.text(0) == "ok";
    });
    ASSERT_TRUE(whole && *whole) << "round " << round;
  }
  // What the killed ones held comes back when their leases have run out, and is done.
  auto here = open_jobs(folder);
  ASSERT_TRUE(here) << here.error().to_string();
  {
    BlockingPool pool(2);
    LoopOptions options;
    options.pool = &pool;
    auto loop = *Loop::make(options);
    Worker worker(*(*here)->queue, {.queue = "work", .name = "last", .concurrency = 8, .poll = 20ms});
    worker.handle("effect", [&](const JobRun& job) { return have_effect(*(*here)->store, job.lease, job.payload); });
    worker.start();
    bool through = false;
    for (int turn = 0; turn < 100'000 && !through; ++turn) {
      loop->run_once(10ms);
      const auto left = number(*(*here)->store, "SELECT count(*) FROM jobs WHERE state <> 3");
      ASSERT_TRUE(left);
      through = *left == 0;
    }
    EXPECT_TRUE(through);
    auto stopping = worker.stop(kNever);
    stopping.start();
    while (!stopping.done()) loop->run_once(10ms);
    pool.close();  // its work comes back to the loop
  }
  const auto jobs = number(*(*here)->store, "SELECT count(*) FROM jobs");
  const auto effects = number(*(*here)->store, "SELECT count(DISTINCT job) FROM effects");
  const auto rows = number(*(*here)->store, "SELECT count(*) FROM effects");
  EXPECT_EQ(*jobs, *effects);
  EXPECT_EQ(*jobs, *rows);
  here->reset();
  std::filesystem::remove_all(folder);
}

// --- The outbox ---

constexpr const char* kOrders = "orders.changes";
constexpr store::Migration kOrderRows{1, "orders", "CREATE TABLE orders(id INTEGER PRIMARY KEY) STRICT"};

struct OutboxHere {
  Metrics metrics;
  std::unique_ptr<Loop> loop;
  BlockingPool pool{2};  // ends before the loop: its work comes back to it
  std::unique_ptr<store::SqliteStore> store;
  std::unique_ptr<EventLog> log;
  std::shared_ptr<const Outbox> outbox = std::make_shared<const Outbox>(kOrders, kMaxOutboxWaiting);
  std::unique_ptr<OutboxRelay> relay;

  ~OutboxHere() {
    if (relay) drive(relay->stop(kNever));
    relay.reset();
  }
  template <class T>
  void drive(Task<T> task) {
    task.start();
    while (!task.done()) loop->run_once(10ms);
  }
};
Task<> start_relay(OutboxHere& here, bool& started) {
  OutboxRelayOptions how;
  how.keep.segment_bytes = 16 << 10;
  how.max_events = 20;
  how.pace = 1ms;
  how.look = 5ms;
  how.tidy = 20ms;
  here.relay = std::make_unique<OutboxRelay>(here.outbox, *here.store, *here.log, here.metrics, how);
  auto starting = here.relay->start();
  const Result<void> done = co_await starting;
  started = done.has_value();
}
std::unique_ptr<OutboxHere> open_outbox_in(const std::string& folder) {
  auto here = std::make_unique<OutboxHere>();
  LoopOptions options;
  options.pool = &here->pool;
  here->loop = *Loop::make(options);
  here->store = *store::SqliteStore::open({.path = folder + "/app.db"}, here->metrics);
  EXPECT_TRUE(here->store->migrate("test", std::span(&kOrderRows, 1)));
  EventLogOptions how;
  how.folder = folder + "/log";
  here->log = *EventLog::open(how, here->metrics);
  bool started = false;
  here->drive(start_relay(*here, started));
  EXPECT_TRUE(started);
  return here;
}

// An order and its event in one write, each time some of them.
Task<> order_for_ever(OutboxHere& here, int64_t count) {
  while (true) {
    auto writing = here.store->write([outbox = here.outbox, count](store::SqliteConnection& db) -> Result<int64_t> {
      std::vector<OutboxEvent> events;
      int64_t id = 0;
      for (int64_t i = 0; i < count; ++i) {
        TRY(store::Query row, db.query("INSERT INTO orders DEFAULT VALUES RETURNING id"));
        TRY(const bool there, row.next());
        id = there ? row.integer(0) : 0;
        TRY_VOID(row.run());
        events.push_back({"order", "{\"order\":" + std::to_string(id) + "}"});
      }
      TRY_VOID(outbox->put(db, events, system_clock().wall()));
      return id;
    });
    const Result<int64_t> id = co_await writing;
    if (!id || !tell({0, *id})) std::_Exit(1);
  }
}
// Started by the test below and not by itself.
TEST(OutboxCrash, DISABLED_Shop) {
  const char* folder = std::getenv("TRELLIS_TEST_OUTBOX");
  if (!folder) return;
  const auto here = open_outbox_in(folder);
  TaskGroup group;
  for (int64_t count : {1, 1, 3, 30}) group.spawn(order_for_ever(*here, count));
  while (true) here->loop->run_once(1s);
}

std::vector<int64_t> orders_in_log(EventLog& log) {
  std::vector<int64_t> found;
  uint64_t from = 0;
  while (true) {
    const auto slice = log.read_now(kOrders, 0, from);
    EXPECT_TRUE(slice) << slice.error().to_string();
    if (!slice || slice->events.empty()) return found;
    for (const StoredEvent& event : slice->events)
      found.push_back(std::stoll(event.value->substr(event.value->find("order\":") + 7)));
    from = slice->next;
  }
}

TEST(OutboxCrash, EachEventIsInTheLogOnceAndInOrderAfterAHundredKills) {
  const std::string folder = fresh_folder("TRELLIS_TEST_OUTBOX");
  int64_t acked = 0;
  for (int round = 0; round < kRounds; ++round) {
    kill_after("OutboxCrash.DISABLED_Shop", 4 + round * 37 % 80,
               [&](Told told) { acked = std::max(acked, told.number); });
    if (HasFatalFailure()) return;
    // Every tenth time all that waits is moved; otherwise the next process finds it so.
    if (round % 10 != 9) continue;
    const auto here = open_outbox_in(folder);
    const auto waiting = [&] { return number(*here->store, "SELECT count(*) FROM outbox"); };
    for (int turn = 0; turn < 100'000 && *waiting() > 0; ++turn) here->loop->run_once(10ms);
    const auto orders = number(*here->store, "SELECT max(id) FROM orders");
    ASSERT_TRUE(orders && *orders >= acked) << "round " << round;
    const std::vector<int64_t> told = orders_in_log(*here->log);
    ASSERT_EQ(told.size(), static_cast<size_t>(*orders)) << "round " << round;
    for (size_t i = 0; i < told.size(); ++i) ASSERT_EQ(told[i], static_cast<int64_t>(i) + 1) << "round " << round;
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace trellis::queue
