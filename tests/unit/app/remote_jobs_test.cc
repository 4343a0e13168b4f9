// A worker that does the jobs of a whole node beside it, over its control API.
#include "app/node/remote_jobs.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "app/config.h"
#include "app/node/node.h"
#include "app/node/open_store.h"
#include "net/address.h"
#include "queue/jobs_sqlite.h"
#include "queue/worker.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "runtime/sync.h"
#include "tests/fakes/manual_clock.h"
#include "tests/fakes/run_task.h"

namespace trellis::app {
namespace {

using namespace std::chrono_literals;
using queue::ClaimedJob;
using queue::Settled;
using queue::Verdict;

class RemoteJobsTest : public testing::Test {
 protected:
  RemoteJobsTest() : pool_(2) {
    LoopOptions options;
    options.pool = &pool_;
    loop_ = *Loop::make(options);
    std::string pattern = testing::TempDir() + "remotejobsXXXXXX";
    folder_ = mkdtemp(pattern.data());
    open("127.0.0.1:0");
  }
  ~RemoteJobsTest() override {
    jobs_.reset();
    if (node_) node_->stop();
    node_.reset();
    std::filesystem::remove_all(folder_);
  }
  void open(const std::string& control) {
    std::ofstream(folder_ + "/node.yaml") << "node: owner\ncontrol: " << control
                                          << "\nlisteners: { web: { bind: \"127.0.0.1:0\" } }\n"
                                             "runtime: { cores: 1, drain: 1s, io: epoll }\n"
                                             "stores: { main: \"sqlite:"
                                          << folder_ << "/jobs.db\" }\n";
    auto config = load_config(folder_ + "/node.yaml", {});
    ASSERT_TRUE(config) << config.error().to_string();
    auto node = Node::start(*std::move(config));
    ASSERT_TRUE(node) << node.error().to_string();
    node_ = *std::move(node);
    if (!jobs_) jobs_ = std::make_unique<RemoteJobs>(RemoteJobsOptions{.from = place()});
  }
  std::string address() const { return node_->control_address(); }
  config::HostPort place() const {
    const auto port = static_cast<uint16_t>(std::stoi(address().substr(address().rfind(':') + 1)));
    return {.host = "127.0.0.1", .port = port, .form = config::HostPort::Form::ipv4};
  }
  template <class T>
  T run(Task<T> task) {
    return fakes::run_task(*loop_, std::move(task));
  }
  int64_t enqueue(std::string payload) {
    queue::NewJob job;
    job.queue = "work";
    job.kind = "note";
    job.payload = std::move(payload);
    const auto enqueued = run(node_->stores().at("main")->jobs->enqueue({job}, kNever));
    EXPECT_TRUE(enqueued) << enqueued.error().to_string();
    return enqueued ? enqueued->front().id : 0;
  }
  std::vector<ClaimedJob> claim(size_t max, Duration lease = 30s) {
    auto jobs = run(jobs_->claim("work", max, "worker", lease, after(system_clock().now(), 10s)));
    EXPECT_TRUE(jobs) << jobs.error().to_string();
    return jobs ? *std::move(jobs) : std::vector<ClaimedJob>();
  }
  Settled settle(queue::Lease lease, Verdict verdict) {
    const auto outcomes = run(jobs_->settle("work", {{lease, verdict, {}, {}}}, 30s, after(system_clock().now(), 10s)));
    EXPECT_TRUE(outcomes) << outcomes.error().to_string();
    return outcomes ? outcomes->front() : Settled::stale;
  }
  int64_t done() {
    const auto stats = run(node_->stores().at("main")->jobs->stats(kNever));
    EXPECT_TRUE(stats);
    return stats && !stats->empty() ? stats->front().done : 0;
  }

  std::unique_ptr<Loop> loop_;
  BlockingPool pool_;  // ends before the loop: its work comes back to it
  std::string folder_;
  std::unique_ptr<Node> node_;
  std::unique_ptr<RemoteJobs> jobs_;
};

TEST_F(RemoteJobsTest, ClaimsAndSettles) {
  const std::string bytes("\x00\xff\n", 3);
  const int64_t first = enqueue(bytes);
  const int64_t second = enqueue("two");
  const std::vector<ClaimedJob> jobs = claim(10);
  ASSERT_EQ(jobs.size(), 2u);
  EXPECT_EQ(jobs[0].lease.id, first);
  EXPECT_EQ(jobs[0].payload, bytes);
  EXPECT_EQ(jobs[0].kind, "note");
  EXPECT_EQ(jobs[1].lease.id, second);
  EXPECT_EQ(settle(jobs[0].lease, Verdict::ack), Settled::yes);
  EXPECT_EQ(settle(jobs[0].lease, Verdict::ack), Settled::stale);
  EXPECT_EQ(settle(jobs[1].lease, Verdict::release), Settled::yes);
  const std::vector<ClaimedJob> again = claim(10);
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].lease.attempt, jobs[1].lease.attempt + 1);
  EXPECT_EQ(settle(jobs[1].lease, Verdict::ack), Settled::stale) << "an old number ended the job of another";
  EXPECT_EQ(settle(again[0].lease, Verdict::extend), Settled::yes);
  EXPECT_EQ(settle(again[0].lease, Verdict::ack), Settled::yes);
}

TEST_F(RemoteJobsTest, AClaimWaitsForAJob) {
  auto claiming = jobs_->claim("work", 1, "worker", 30s, after(system_clock().now(), 10s));
  claiming.start();
  for (int turn = 0; turn < 50; ++turn) loop_->run_once(1ms);
  enqueue("late");
  while (!claiming.done()) loop_->run_once(1s);
  auto jobs = claiming.take();
  ASSERT_TRUE(jobs) << jobs.error().to_string();
  if (jobs->empty()) jobs = claim(1);  // a slow machine: it had waited as long as a claim does
  ASSERT_EQ(jobs->size(), 1u);
}

Task<Result<queue::Done>> note(std::map<std::string, int>& seen, std::string payload) {
  ++seen[payload];
  co_return queue::Done::yes;
}

TEST_F(RemoteJobsTest, AWorkerDoesEverythingOverARestartOfTheNode) {
  std::map<std::string, int> seen;
  queue::WorkerOptions how;
  how.queue = "work";
  how.poll = 10ms;
  how.concurrency = 4;
  queue::Worker worker(*jobs_, how);
  worker.handle("note", [&seen](const queue::JobRun& job) { return note(seen, job.payload); });
  for (int i = 0; i < 10; ++i) enqueue(std::to_string(i));
  loop_->post([&] { worker.start(); });
  const auto work_until = [&](int64_t count) {
    for (int turn = 0; turn < 20'000 && done() < count; ++turn) loop_->run_once(10ms);
    EXPECT_EQ(done(), count);
  };
  work_until(10);
  const std::string before = address();
  node_->stop();
  node_.reset();
  for (int turn = 0; turn < 30; ++turn) loop_->run_once(10ms);  // it finds nobody there
  open(before);
  for (int i = 10; i < 20; ++i) enqueue(std::to_string(i));
  work_until(20);
  EXPECT_EQ(seen.size(), 20u);
  for (const auto& [payload, times] : seen) EXPECT_EQ(times, 1) << payload;
  EXPECT_TRUE(run(worker.stop(after(system_clock().now(), 10s))));
}

TEST_F(RemoteJobsTest, WhoWantsWhatIsNotThereIsToldSo) {
  RemoteJobs other({.from = place(), .token = {}, .store = "nothing"});
  const auto jobs = run(other.claim("work", 1, "worker", 30s, after(system_clock().now(), 10s)));
  ASSERT_FALSE(jobs);
  EXPECT_NE(jobs.error().to_string().find("there is no store"), std::string::npos) << jobs.error().to_string();
}

TEST(ControlConfig, ListensOnLoopbackBesideAnAddressOfANetwork) {
  const auto beside = [](const std::string& text) {
    ControlConfig control;
    control.bind = *config::HostPort::from_text(text);
    const auto found = control.beside();
    return found ? found->to_text() : "";
  };
  EXPECT_EQ(beside("10.0.0.5:9900"), "127.0.0.1:9900");
  EXPECT_EQ(beside("[2001:db8::1]:9900"), "127.0.0.1:9900");
  for (const char* reached :
       {"127.0.0.1:9900", "127.0.0.2:9900", "[::1]:9900", "localhost:9900", "0.0.0.0:9900", "[::]:9900"})
    EXPECT_EQ(beside(reached), "") << reached;
}

TEST(RemoteJobsDeadline, HoldsForANodeThatDoesNotAnswer) {
  fakes::ManualClock clock;
  BlockingPool pool(1);
  LoopOptions options;
  options.pool = &pool;
  options.clock = &clock;
  const auto loop = *Loop::make(options);
  const int fd = *net::listen_tcp(*net::parse_address("127.0.0.1:0"));
  RemoteJobs jobs(
      {.from = {.host = "127.0.0.1", .port = net::local_of(fd).port(), .form = config::HostPort::Form::ipv4},
       .token = {},
       .store = {}});
  auto settling = jobs.settle("work", {{{1, 1}, Verdict::ack, {}, {}}}, 30s, after(clock.now(), 1s));
  settling.start();
  for (int turn = 0; turn < 100; ++turn) loop->run_once(1ms);
  clock.advance(1s);
  for (int turn = 0; turn < 1000 && !settling.done(); ++turn) loop->run_once(1ms);
  ASSERT_TRUE(settling.done());
  const auto settled = settling.take();
  ASSERT_FALSE(settled);
  EXPECT_EQ(settled.error().code(), Code::deadline_exceeded);
  ::close(fd);
  pool.close();  // its work comes back to the loop
}

}  // namespace
}  // namespace trellis::app
