// A service's jobs as the node runs them: plans, changes of plans, two instances of a service during a reload.
#include "queue/service_jobs.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/metrics.h"
#include "queue/jobs_sqlite.h"
#include "queue/schedule_runner.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "store/sqlite.h"
#include "tests/fakes/manual_clock.h"
#include "tests/fakes/run_task.h"

namespace trellis::queue {
namespace {

using namespace std::chrono_literals;

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

class ServiceJobsTest : public testing::Test {
 protected:
  ServiceJobsTest() : pool_(2) {
    LoopOptions options;
    options.seed = 1;
    options.pool = &pool_;
    options.clock = &clock_;
    loop_ = *Loop::make(options);
    std::string pattern = testing::TempDir() + "servicejobsXXXXXX";
    folder_ = mkdtemp(pattern.data());
    store::SqliteOptions how;
    how.path = folder_ + "/jobs.db";
    how.clock = &clock_;
    store_ = *store::SqliteStore::open(how, metrics_);
    SqliteJobOptions jobs;
    jobs.clock = &clock_;
    queue_ = *SqliteJobQueue::open(*store_, metrics_, jobs);
    schedules_ = std::make_unique<ScheduleRunner>(*store_, *queue_);
    service_ = make();
  }
  ~ServiceJobsTest() override {
    (void)run(service_->stop(kNever));
    service_.reset();
    EXPECT_TRUE(run(schedules_->stop(kNever)));
    schedules_.reset();
    queue_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  std::unique_ptr<ServiceJobs> make() { return std::make_unique<ServiceJobs>(*queue_, *schedules_, "node-1"); }
  template <class T>
  T run(Task<T> task) {
    return fakes::run_task(*loop_, std::move(task));
  }
  void enqueue(const std::string& queue, const std::string& payload) {
    NewJob job;
    job.queue = queue;
    job.kind = "send";
    job.payload = payload;
    std::vector<NewJob> jobs;
    jobs.push_back(std::move(job));
    ASSERT_TRUE(run(queue_->enqueue(std::move(jobs), kNever)));
  }
  template <class F>
  bool turn_until(F what, int turns = 1000) {
    for (int turn = 0; turn < turns; ++turn) {
      if (what()) return true;
      auto nothing = store_->write([](store::SqliteConnection&) -> Result<int> { return 0; });
      EXPECT_TRUE(run(std::move(nothing)));
      loop_->run_once(0ms);
    }
    return what();
  }
  int64_t count(const std::string& queue, int64_t QueueStats::* state) {
    const auto all = run(queue_->stats(kNever));
    EXPECT_TRUE(all);
    for (const QueueStats& one : *all) {
      if (one.queue == queue) return one.*state;
    }
    return 0;
  }

  fakes::ManualClock clock_;
  Metrics metrics_;
  std::unique_ptr<Loop> loop_;
  BlockingPool pool_;  // ends before the loop: its work comes back to it
  std::string folder_;
  std::unique_ptr<store::SqliteStore> store_;
  std::unique_ptr<SqliteJobQueue> queue_;
  std::unique_ptr<ScheduleRunner> schedules_;
  std::unique_ptr<ServiceJobs> service_;
};

TEST_F(ServiceJobsTest, DoesNothingBeforeItIsPlannedAndEverythingAfterwards) {
  Seen seen;
  service_->handle("mail", "send", [&](const JobRun& job) { return note(seen, job.payload); });
  enqueue("mail", "first");
  EXPECT_TRUE(service_->idle());
  EXPECT_TRUE(seen.payloads.empty());
  service_->work({WorkerPlan()}, 1s);
  EXPECT_TRUE(turn_until([&] { return seen.payloads.size() == 1; }));
  enqueue("mail", "second");
  EXPECT_TRUE(turn_until([&] { return seen.payloads.size() == 2; }));
}

TEST_F(ServiceJobsTest, GivesAQueueThatAPlanNamesToThatPlanOnly) {
  Seen mail;
  Seen reports;
  service_->handle("mail", "send", [&](const JobRun&) { return wait_for_go(mail); });
  service_->handle("reports", "send", [&](const JobRun&) { return wait_for_go(reports); });
  for (int i = 0; i < 5; ++i) {
    enqueue("mail", "m");
    enqueue("reports", "r");
  }
  service_->work({{.queues = {"mail"}, .concurrency = 3}, {.queues = {}, .concurrency = 1}}, 1s);
  EXPECT_TRUE(turn_until([&] { return mail.now == 3 && reports.now == 1; }));
  EXPECT_EQ(mail.most, 3);
  EXPECT_EQ(reports.most, 1);
  mail.go.set();
  reports.go.set();
  EXPECT_TRUE(
      turn_until([&] { return count("mail", &QueueStats::done) == 5 && count("reports", &QueueStats::done) == 5; }));
}

TEST_F(ServiceJobsTest, LeavesJobsAloneWithoutWorkers) {
  Seen seen;
  service_->handle("mail", "send", [&](const JobRun& job) { return note(seen, job.payload); });
  enqueue("mail", "waits");
  service_->work({{.queues = {}, .concurrency = 0}}, 1s);
  EXPECT_TRUE(service_->idle());
  EXPECT_EQ(count("mail", &QueueStats::ready), 1);
}

TEST_F(ServiceJobsTest, ChangesPlansWithoutLosingOrDoublingAJob) {
  Seen seen;
  service_->handle("mail", "send", [&](const JobRun&) { return wait_for_go(seen); });
  for (int i = 0; i < 4; ++i) enqueue("mail", "m");
  service_->work({{.queues = {}, .concurrency = 1}}, 1h);
  EXPECT_TRUE(turn_until([&] { return seen.now == 1; }));
  service_->work({{.queues = {}, .concurrency = 2}}, 1h);  // the first one goes on with its job
  EXPECT_TRUE(turn_until([&] { return seen.now == 3; }));
  EXPECT_EQ(seen.most, 3);
  seen.go.set();
  EXPECT_TRUE(turn_until([&] { return count("mail", &QueueStats::done) == 4; }));
  EXPECT_EQ(seen.now, 0);
}

TEST_F(ServiceJobsTest, KeepsWorkersThatAreWantedAsTheyAre) {
  Seen seen;
  service_->handle("mail", "send", [&](const JobRun&) { return wait_for_go(seen); });
  enqueue("mail", "m");
  service_->work({WorkerPlan()}, 0s);
  EXPECT_TRUE(turn_until([&] { return seen.now == 1; }));
  service_->work({WorkerPlan()}, 0s);  // with no patience at all, and yet nothing is cut
  seen.go.set();
  EXPECT_TRUE(turn_until([&] { return count("mail", &QueueStats::done) == 1; }));
  EXPECT_EQ(seen.most, 1);
}

TEST_F(ServiceJobsTest, HandsOverToANewInstanceWhileTheOldOneEndsItsJobs) {
  Seen old_seen;
  Seen new_seen;
  service_->handle("mail", "send", [&](const JobRun&) { return wait_for_go(old_seen); });
  enqueue("mail", "for the old one");
  service_->work({{.queues = {}, .concurrency = 1}}, 1s);
  EXPECT_TRUE(turn_until([&] { return old_seen.now == 1; }));

  std::unique_ptr<ServiceJobs> replacement = make();
  replacement->handle("mail", "send", [&](const JobRun& job) { return note(new_seen, job.payload); });
  replacement->work({{.queues = {}, .concurrency = 1}}, 1s);
  service_->work({}, 1h);
  enqueue("mail", "for the new one");
  EXPECT_TRUE(turn_until([&] { return new_seen.payloads.size() == 1; }));
  EXPECT_FALSE(service_->idle());
  old_seen.go.set();
  EXPECT_TRUE(turn_until([&] { return service_->idle(); }));
  EXPECT_TRUE(run(service_->stop(kNever)));
  EXPECT_EQ(new_seen.payloads, (std::vector<std::string>{"for the new one"}));
  EXPECT_TRUE(turn_until([&] { return count("mail", &QueueStats::done) == 2; }));
  service_ = std::move(replacement);
}

TEST_F(ServiceJobsTest, GivesBackAtTheStopWhatIsNotThrough) {
  Seen seen;
  service_->handle("mail", "send", [&](const JobRun&) { return wait_for_go(seen); });
  enqueue("mail", "m");
  service_->work({WorkerPlan()}, 1s);
  EXPECT_TRUE(turn_until([&] { return seen.now == 1; }));
  Task<bool> stopping = service_->stop(after(loop_->now(), 10s));
  stopping.start();
  EXPECT_FALSE(turn_until([&] { return stopping.done(); }, 5));
  clock_.advance(10s);
  EXPECT_TRUE(turn_until([&] { return stopping.done(); }));
  EXPECT_FALSE(stopping.take());
  EXPECT_EQ(count("mail", &QueueStats::ready), 1);
  EXPECT_EQ(count("mail", &QueueStats::leased), 0);
}

TEST_F(ServiceJobsTest, RepeatsWhatTheServiceAskedForOnceTheNodeStands) {
  service_->repeat({.name = "links.expire",
                    .cron = "0 * * * *",
                    .missed = Missed::run_once,
                    .queue = "links",
                    .kind = "expire",
                    .payload = {}});
  EXPECT_TRUE(run(schedules_->list(kNever))->empty());
  ASSERT_TRUE(run(service_->put_schedules(kNever)));
  ASSERT_EQ(run(schedules_->list(kNever))->size(), 1U);
  EXPECT_EQ(run(schedules_->list(kNever))->front().name, "links.expire");
}

TEST_F(ServiceJobsTest, DoesJobsOfAnotherNodeWithHandlersThatNeedNothing) {
  Seen mail;
  Seen reports;
  ServiceJobs elsewhere("node-2");  // without a store
  elsewhere.handle("mail", "send", [&](const JobRun& job) { return note(mail, job.payload); }, Needs::nothing);
  elsewhere.handle("reports", "send", [&](const JobRun& job) { return note(reports, job.payload); });
  EXPECT_EQ(elsewhere.movable_queues(), (std::vector<std::string>{"mail"}));
  ASSERT_TRUE(run(elsewhere.put_schedules(kNever)));
  enqueue("mail", "m");
  enqueue("reports", "r");
  // The queue stands for one of another node; whose it is, it does not tell.
  const std::shared_ptr<JobSource> remote(queue_.get(), [](JobSource*) {});
  elsewhere.work({{.queues = {"mail", "reports"}, .remote = remote}, {.queues = {}}}, 1s);
  EXPECT_TRUE(turn_until([&] { return count("mail", &QueueStats::done) == 1; }));
  EXPECT_EQ(mail.payloads, (std::vector<std::string>{"m"}));
  EXPECT_EQ(count("reports", &QueueStats::ready), 1) << "its handler needs the store";
  (void)run(elsewhere.stop(kNever));
}

}  // namespace
}  // namespace trellis::queue
