// JobQueue on SQLite and the Worker that does its jobs, on one loop whose clock is moved by hand.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "base/metrics.h"
#include "queue/jobs_sqlite.h"
#include "queue/schedule_runner.h"
#include "queue/worker.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "store/sqlite.h"
#include "tests/fakes/manual_clock.h"
#include "tests/fakes/run_task.h"

namespace trellis::queue {
namespace {

using namespace std::chrono_literals;

class JobWorker : public testing::Test {
 protected:
  JobWorker() : pool_(2) {
    LoopOptions options;
    options.seed = 1;
    options.pool = &pool_;
    options.clock = &clock_;
    loop_ = *Loop::make(options);
    std::string pattern = testing::TempDir() + "workerXXXXXX";
    folder_ = mkdtemp(pattern.data());
    store::SqliteOptions how;
    how.path = folder_ + "/jobs.db";
    how.clock = &clock_;
    store_ = *store::SqliteStore::open(how, metrics_);
    SqliteJobOptions jobs;
    jobs.clock = &clock_;
    jobs.backoff = {1s, 10s};
    auto opened = SqliteJobQueue::open(*store_, metrics_, jobs);
    EXPECT_TRUE(opened) << opened.error().to_string();
    queue_ = *std::move(opened);
  }
  ~JobWorker() override {
    worker_.reset();
    queue_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  static WorkerOptions options() {
    WorkerOptions options;
    options.queue = "mail";
    options.name = "w1";
    return options;
  }
  void make_worker(WorkerOptions how) { worker_ = std::make_unique<Worker>(*queue_, std::move(how)); }
  static NewJob job(std::string payload, std::string kind = "send") {
    NewJob job;
    job.queue = "mail";
    job.kind = std::move(kind);
    job.payload = std::move(payload);
    return job;
  }
  int64_t enqueue(NewJob job) {
    std::vector<NewJob> jobs;
    jobs.push_back(std::move(job));
    const auto enqueued = run(queue_->enqueue(std::move(jobs), kNever));
    EXPECT_TRUE(enqueued) << enqueued.error().to_string();
    return enqueued->front().id;
  }
  template <class T>
  T run(Task<T> task) {
    return fakes::run_task(*loop_, std::move(task));
  }
  QueueStats stats() {
    const auto all = run(queue_->stats(kNever));
    EXPECT_TRUE(all) << all.error().to_string();
    return all->empty() ? QueueStats() : all->front();
  }
  // Behind all writes that wait: comes back when the writer has answered them.
  void let_writer_catch_up() {
    auto nothing = store_->write([](store::SqliteConnection&) -> Result<int> { return 0; });
    ASSERT_TRUE(run(std::move(nothing)));
    loop_->run_once(0ms);
  }
  template <class F>
  bool turn_until(F what) {
    for (int turn = 0; turn < 1000; ++turn) {
      if (what()) return true;
      let_writer_catch_up();
    }
    return what();
  }
  // Time passes in steps, each with turns enough for what it set off.
  void pass(Duration span, Duration step) {
    for (Duration gone{0}; gone < span; gone += step) {
      clock_.advance(step);
      for (int i = 0; i < 3; ++i) let_writer_catch_up();
    }
  }

  fakes::ManualClock clock_;
  Metrics metrics_;
  std::unique_ptr<Loop> loop_;
  BlockingPool pool_;  // ends before the loop: its work comes back to it
  std::string folder_;
  std::unique_ptr<store::SqliteStore> store_;
  std::unique_ptr<SqliteJobQueue> queue_;
  std::unique_ptr<Worker> worker_;
};

// What handlers of these tests count; they are coroutines and capture nothing.
struct Seen {
  std::vector<std::string> payloads;
  int now = 0;
  int most = 0;
  Event go;
};

Task<Result<Done>> note(Seen& seen, std::string payload) {
  seen.payloads.push_back(std::move(payload));
  co_return Done::yes;
}
Task<Result<Done>> wait_for_go(Seen& seen) {
  ++seen.now;
  seen.most = std::max(seen.most, seen.now);
  (void)co_await seen.go.wait(kNever);
  --seen.now;
  co_return Done::yes;
}
Task<Result<Done>> not_begin(Seen& seen, std::string payload) {
  seen.payloads.push_back(std::move(payload));
  co_return seen.payloads.size() < 5 ? Done::not_begun : Done::yes;
}
Task<Result<Done>> answer_with(Seen& seen, Code code) {
  seen.payloads.emplace_back();
  co_return fail(Error(code, "the post office is closed").from(Side::upstream));
}

TEST_F(JobWorker, AnAttemptThatWasNotBegunDoesNotCount) {
  Seen seen;
  make_worker(options());
  worker_->handle("send", [&](const JobRun& run) { return not_begin(seen, run.payload); });
  worker_->start();
  NewJob once = job("a");
  once.max_attempts = 1;
  enqueue(std::move(once));
  // It comes back when the queue is looked at again.
  for (int i = 0; i < 60 && stats().done == 0; ++i) pass(1s, 500ms);
  EXPECT_EQ(stats().done, 1);
  EXPECT_EQ(seen.payloads.size(), 5u);
  EXPECT_EQ(stats().dead, 0);
  EXPECT_TRUE(run(worker_->stop(kNever)));
}

TEST_F(JobWorker, DoesAJobAsSoonAsThisProcessEnqueuesIt) {
  Seen seen;
  make_worker(options());
  worker_->handle("send", [&](const JobRun& run) { return note(seen, run.payload); });
  worker_->start();
  enqueue(job("hello"));
  // The clock stands still: no timer has helped.
  EXPECT_TRUE(turn_until([&] { return seen.payloads.size() == 1; }));
  EXPECT_EQ(seen.payloads.at(0), "hello");
  EXPECT_TRUE(turn_until([&] { return stats().done == 1; }));
  EXPECT_TRUE(run(worker_->stop(after(loop_->now(), 1s))));
}

TEST_F(JobWorker, IsWokenByAServiceThatEnqueuedInItsOwnWrite) {
  Seen seen;
  make_worker(options());
  worker_->handle("send", [&](const JobRun& run) { return note(seen, run.payload); });
  worker_->start();
  let_writer_catch_up();
  auto task = store_->write([this](store::SqliteConnection& db) { return enqueue_job(db, job("own"), clock_.wall()); });
  ASSERT_TRUE(run(std::move(task)));
  queue_->announce("mail", 1);
  EXPECT_TRUE(turn_until([&] { return seen.payloads.size() == 1; }));
  EXPECT_TRUE(run(worker_->stop(after(loop_->now(), 1s))));
}

TEST_F(JobWorker, RunsNoMoreAtOnceThanItMay) {
  Seen seen;
  WorkerOptions how = options();
  how.concurrency = 3;
  how.ahead = 4;
  make_worker(how);
  worker_->handle("send", [&](const JobRun&) { return wait_for_go(seen); });
  worker_->start();
  ASSERT_TRUE(run(queue_->enqueue(std::vector<NewJob>(20, job("x")), kNever)));
  EXPECT_TRUE(turn_until([&] { return stats().leased == 7; }));
  EXPECT_EQ(seen.now, 3);
  seen.go.set();
  EXPECT_TRUE(turn_until([&] { return stats().done == 20; }));
  EXPECT_EQ(seen.most, 3);
  EXPECT_TRUE(run(worker_->stop(after(loop_->now(), 1s))));
}

TEST_F(JobWorker, TriesAgainAfterAnErrorAndBuriesWhatCannotBeHelped) {
  Seen seen;
  make_worker(options());
  worker_->handle("send", [&](const JobRun&) { return answer_with(seen, Code::unavailable); });
  worker_->handle("parse", [&](const JobRun&) { return answer_with(seen, Code::invalid_argument); });
  worker_->start();
  NewJob failing = job("x");
  failing.max_attempts = 3;
  enqueue(std::move(failing));
  enqueue(job("x", "parse"));
  EXPECT_TRUE(turn_until([&] { return stats().dead == 1; }));
  for (int i = 0; i < 60 && stats().dead < 2; ++i) pass(1s, 500ms);
  EXPECT_EQ(stats().dead, 2);
  EXPECT_EQ(seen.payloads.size(), 4u);
  const auto dead = run(queue_->list("mail", JobState::dead, 0, 10, kNever));
  ASSERT_EQ(dead->size(), 2u);
  EXPECT_EQ((*dead)[0].history.size(), 3u);
  EXPECT_EQ((*dead)[1].history.size(), 1u);
  EXPECT_NE((*dead)[0].history[0].error.find("the post office is closed"), std::string::npos);
  EXPECT_TRUE(run(worker_->stop(after(loop_->now(), 1s))));
}

TEST_F(JobWorker, KeepsTheLeaseOfALongJob) {
  Seen seen;
  make_worker(options());
  worker_->handle("send", [&](const JobRun&) { return wait_for_go(seen); });
  worker_->start();
  enqueue(job("long"));
  EXPECT_TRUE(turn_until([&] { return seen.now == 1; }));
  pass(2min, 5s);
  const auto stolen = run(queue_->claim("mail", 10, "thief", 30s, kNever));
  EXPECT_TRUE(stolen->empty());
  seen.go.set();
  EXPECT_TRUE(turn_until([&] { return stats().done == 1; }));
  EXPECT_TRUE(run(worker_->stop(after(loop_->now(), 1s))));
}

TEST_F(JobWorker, LosesAJobThatOverrunsItsDeadline) {
  Seen seen;
  WorkerOptions how = options();
  how.timeout = 1min;
  make_worker(how);
  worker_->handle("send", [&](const JobRun&) { return wait_for_go(seen); });
  worker_->start();
  enqueue(job("hangs"));
  EXPECT_TRUE(turn_until([&] { return seen.now == 1; }));
  // The slot of the hanging one is taken; let it have but one, and another worker come.
  pass(100s, 5s);
  std::vector<ClaimedJob> stolen = *run(queue_->claim("mail", 10, "w2", 30s, kNever));
  // The worker itself may have claimed it anew: either way the first attempt is void.
  if (stolen.empty()) {
    EXPECT_EQ(seen.now, 2);
  } else {
    ASSERT_EQ(stolen.size(), 1u);
    EXPECT_EQ(stolen[0].lease.attempt, 2);
    seen.go.set();
    EXPECT_TRUE(turn_until([&] { return seen.now == 0; }));
    let_writer_catch_up();
    EXPECT_EQ(stats().leased, 1);  // the late end was refused
    std::vector<Settlement> end;
    end.push_back({stolen[0].lease, Verdict::ack, {}, {}});
    EXPECT_EQ(run(queue_->settle("mail", std::move(end), 30s, kNever))->front(), Settled::yes);
  }
  seen.go.set();
  EXPECT_TRUE(turn_until([&] { return stats().done == 1; }));
  EXPECT_TRUE(run(worker_->stop(after(loop_->now(), 1s))));
}

TEST_F(JobWorker, DrainsWithoutLosingOrBeginningAnything) {
  Seen seen;
  WorkerOptions how = options();
  how.concurrency = 1;
  how.ahead = 5;
  make_worker(how);
  worker_->handle("send", [&](const JobRun&) { return wait_for_go(seen); });
  worker_->start();
  for (int i = 0; i < 4; ++i) enqueue(job("x"));
  EXPECT_TRUE(turn_until([&] { return seen.now == 1 && stats().leased == 4; }));
  Task<bool> stopping = worker_->stop(after(loop_->now(), 10s));
  stopping.start();
  EXPECT_TRUE(turn_until([&] { return stats().ready == 3; }));
  EXPECT_FALSE(stopping.done());
  seen.go.set();
  EXPECT_TRUE(turn_until([&] { return stopping.done(); }));
  EXPECT_TRUE(stopping.take());
  EXPECT_EQ(stats().done, 1);
  EXPECT_EQ(stats().ready, 3);
}

TEST_F(JobWorker, GivesBackAtOnceWhatIsNotThroughWhenTheDrainEnds) {
  Seen seen;
  make_worker(options());
  worker_->handle("send", [&](const JobRun&) { return wait_for_go(seen); });
  worker_->start();
  NewJob once = job("x");
  once.max_attempts = 1;
  enqueue(std::move(once));
  EXPECT_TRUE(turn_until([&] { return seen.now == 1; }));
  Task<bool> stopping = worker_->stop(after(loop_->now(), 10s));
  stopping.start();
  let_writer_catch_up();
  clock_.advance(10s);
  EXPECT_TRUE(turn_until([&] { return stopping.done(); }));
  EXPECT_FALSE(stopping.take());
  EXPECT_EQ(stats().ready, 1);
  const auto next = run(queue_->claim("mail", 1, "w2", 30s, kNever));
  ASSERT_EQ(next->size(), 1u);
  EXPECT_EQ(next->front().tried, 1);
}

TEST_F(JobWorker, RetriesJobsOfAKindItDoesNotKnow) {
  make_worker(options());
  worker_->start();
  enqueue(job("x", "mystery"));
  EXPECT_TRUE(turn_until([&] { return stats().delayed + stats().leased == 1 && worker_->running() == 0; }));
  EXPECT_TRUE(run(worker_->stop(after(loop_->now(), 1s))));
  EXPECT_EQ(stats().dead, 0);
}

TEST_F(JobWorker, DoesThousandsOfJobsThatEndAtOnce) {
  Seen seen;
  WorkerOptions how = options();
  how.ahead = 500;
  make_worker(how);
  worker_->handle("send", [&](const JobRun& run) { return note(seen, run.payload); });
  worker_->start();
  for (int batch = 0; batch < 3; ++batch) {
    std::vector<NewJob> jobs;
    for (int i = 0; i < 1000; ++i) jobs.push_back(job(std::to_string(batch * 1000 + i)));
    ASSERT_TRUE(run(queue_->enqueue(std::move(jobs), kNever)));
  }
  EXPECT_TRUE(turn_until([&] { return seen.payloads.size() == 3000; }));
  EXPECT_TRUE(run(worker_->stop(after(loop_->now(), 1s))));
  EXPECT_EQ(stats().done, 3000);
  std::sort(seen.payloads.begin(), seen.payloads.end());
  EXPECT_EQ(std::unique(seen.payloads.begin(), seen.payloads.end()), seen.payloads.end());
}

TEST_F(JobWorker, DoesWhatASchedulePutsIntoItsQueue) {
  Seen seen;
  make_worker(options());
  worker_->handle("report", [&](const JobRun& run) { return note(seen, run.payload); });
  worker_->start();
  ScheduleRunner schedules(*store_, *queue_);
  schedules.start();
  const auto put = run(schedules.put({"hourly", "0 * * * *", Missed::run_once, "mail", "report", "sales"}, kNever));
  ASSERT_TRUE(put) << put.error().to_string();
  pass(59min, 10s);
  EXPECT_TRUE(seen.payloads.empty());
  pass(70s, 10s);
  EXPECT_EQ(seen.payloads, std::vector<std::string>{"sales"});
  pass(10min, 10s);
  EXPECT_EQ(seen.payloads.size(), 1u);
  EXPECT_EQ(run(schedules.list(kNever))->size(), 1u);
  EXPECT_TRUE(*run(schedules.remove("hourly", kNever)));
  EXPECT_TRUE(run(schedules.stop(after(loop_->now(), 1s))));
  EXPECT_TRUE(run(worker_->stop(after(loop_->now(), 1s))));
}

TEST_F(JobWorker, ShowsItsQueueInTheMetrics) {
  NewJob later = job("later");
  later.not_before = clock_.wall() + 1h;
  enqueue(job("x"));
  enqueue(std::move(later));
  clock_.advance(5s);
  (void)stats();
  const std::string text = metrics_.prometheus_text();
  EXPECT_NE(text.find(R"(trellis_queue_messages_total{topic="mail",event="enqueued"} 2)"), std::string::npos) << text;
  EXPECT_NE(text.find(R"(trellis_queue_depth{topic="mail",group="workers"} 2)"), std::string::npos);
  EXPECT_NE(text.find(R"(trellis_queue_oldest_seconds{topic="mail",group="workers"} 5)"), std::string::npos);
}

TEST_F(JobWorker, RefusesBatchesOutOfTheirLimits) {
  EXPECT_EQ(run(queue_->enqueue({}, kNever)).error().code(), Code::invalid_argument);
  EXPECT_EQ(run(queue_->enqueue(std::vector<NewJob>(1001, job("x")), kNever)).error().code(), Code::invalid_argument);
  std::vector<NewJob> mixed;
  mixed.push_back(job("good"));
  mixed.push_back(job("bad", ""));
  EXPECT_EQ(run(queue_->enqueue(std::move(mixed), kNever)).error().code(), Code::invalid_argument);
  EXPECT_EQ(stats().ready, 0);  // all or none
}

// Has one job, and does not take its end while it refuses.
class RefusingQueue final : public JobSource {
 public:
  Task<Result<std::vector<ClaimedJob>>> claim(std::string, size_t, std::string, Duration, Deadline) override {
    std::vector<ClaimedJob> jobs;
    if (!std::exchange(claimed_, true)) jobs.push_back({.lease = {1, 1}, .kind = "send", .payload = "one"});
    co_return jobs;
  }
  Task<Result<std::vector<Settled>>> settle(std::string, std::vector<Settlement> settlements, Duration,
                                            Deadline) override {
    if (settlements.front().verdict == Verdict::extend) co_return std::vector<Settled>(1, Settled::yes);
    ++asked;
    if (refuses) co_return fail(refused());
    co_return std::vector<Settled>(settlements.size(), Settled::yes);
  }
  Task<Result<void>> keep_house(Deadline) override { co_return Result<void>(); }
  std::shared_ptr<void> listen(const std::string&, runtime::Event&) override { return nullptr; }

  int asked = 0;
  bool refuses = true;

 private:
  static Error refused() { return Error(Code::unavailable, "not now"); }
  bool claimed_ = false;
};

TEST_F(JobWorker, AsksMoreAndMoreSeldomWhileEndsAreRefused) {
  RefusingQueue refusing;
  Seen seen;
  WorkerOptions how = options();
  how.poll = 10ms;
  Worker worker(refusing, how);
  worker.handle("send", [&seen](const JobRun& job) { return note(seen, job.payload); });
  loop_->post([&] { worker.start(); });
  ASSERT_TRUE(turn_until([&] { return refusing.asked > 0; }));
  pass(30s, 50ms);
  EXPECT_GE(refusing.asked, 10);  // 3 s apart at last, with jitter at least 1.5 s
  EXPECT_LE(refusing.asked, 30);
  refusing.refuses = false;
  const int before = refusing.asked;
  pass(4s, 50ms);
  EXPECT_EQ(refusing.asked, before + 1);
  auto stopping = worker.stop(after(clock_.now(), 1s));
  EXPECT_TRUE(run(std::move(stopping)));
}

}  // namespace
}  // namespace trellis::queue
