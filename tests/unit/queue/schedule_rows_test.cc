#include "queue/schedule_rows.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "queue/jobs_rows.h"
#include "store/sqlite_connection.h"
#include "tests/fakes/manual_clock.h"

namespace trellis::queue {
namespace {

using namespace std::chrono_literals;
using store::SqliteConnection;

class ScheduleRows : public testing::Test {
 protected:
  ScheduleRows() {
    std::string pattern = testing::TempDir() + "schedulesXXXXXX";
    folder_ = mkdtemp(pattern.data());
    SqliteConnection::Options options;
    options.path = folder_ + "/jobs.db";
    db_ = *SqliteConnection::open(options);
    EXPECT_TRUE(db_->script("PRAGMA synchronous=OFF"));
    EXPECT_TRUE(store::migrate(*db_, "jobs", job_migrations(), 0));
  }
  ~ScheduleRows() override {
    db_.reset();
    std::filesystem::remove_all(folder_);
  }
  void put(std::string cron, Missed missed = Missed::run_once) {
    const auto put = put_schedule(*db_, {"nightly", std::move(cron), missed, "chores", "clean", "all"}, clock_.wall());
    EXPECT_TRUE(put) << put.error().to_string();
  }
  size_t fire() {
    const auto fired = fire_schedules(*db_, clock_.wall());
    EXPECT_TRUE(fired) << fired.error().to_string();
    return fired->queues.size();
  }

  fakes::ManualClock clock_;  // 2026-01-01T00:00:00Z, a Thursday
  std::string folder_;
  std::unique_ptr<SqliteConnection> db_;
};

TEST_F(ScheduleRows, MakeOneJobForEachDueTime) {
  put("*/5 * * * *");
  size_t jobs = 0;
  for (int second = 0; second < 3600; second += 10) {
    clock_.advance(10s);
    jobs += fire();
    jobs += fire();  // another node
  }
  EXPECT_EQ(jobs, 12u);
  const auto claimed = claim_jobs(*db_, "chores", 100, "w", 30s, clock_.wall());
  ASSERT_EQ(claimed->jobs.size(), 12u);
  EXPECT_EQ(claimed->jobs[0].kind, "clean");
  EXPECT_EQ(claimed->jobs[0].payload, "all");
}

TEST_F(ScheduleRows, SayWhenToLookAgain) {
  EXPECT_EQ(fire_schedules(*db_, clock_.wall())->next, std::nullopt);
  put("30 6 * * *");
  EXPECT_EQ(*fire_schedules(*db_, clock_.wall())->next, clock_.wall() + 6h + 30min);
}

TEST_F(ScheduleRows, MakeOneJobForAllThatWereMissed) {
  put("0 * * * *");
  clock_.advance(5h + 20min);
  EXPECT_EQ(fire(), 1u);
  EXPECT_EQ(fire(), 0u);
  clock_.advance(40min);
  EXPECT_EQ(fire(), 1u);
}

TEST_F(ScheduleRows, SkipWhatWasMissedWhereToldTo) {
  put("0 * * * *", Missed::skip);
  clock_.advance(5h + 20min);
  EXPECT_EQ(fire(), 0u);
  clock_.advance(40min + 30s);  // a little late is on time
  EXPECT_EQ(fire(), 1u);
  EXPECT_EQ(fire(), 0u);
}

TEST_F(ScheduleRows, AreNeitherDoubledNorStrandedByAClockThatIsSetBack) {
  put("0 * * * *");
  clock_.advance(2h);
  EXPECT_EQ(fire(), 1u);
  clock_.jump_wall(-90min);  // 00:30
  EXPECT_EQ(fire(), 0u);
  clock_.advance(30min);  // 01:00 was one of the missed before: it has a job now
  EXPECT_EQ(fire(), 1u);
  clock_.advance(1h);  // 02:00 had its job
  EXPECT_EQ(fire(), 0u);
  clock_.advance(1h);
  EXPECT_EQ(fire(), 1u);
}

TEST_F(ScheduleRows, GoOnWhenPutAgainUnchanged) {
  put("0 * * * *");
  clock_.advance(70min);
  put("0 * * * *");  // as each start of a node does
  EXPECT_EQ(fire(), 1u);
  clock_.advance(70min);
  put("30 * * * *");  // another one counts from now
  EXPECT_EQ(fire(), 0u);
}

TEST_F(ScheduleRows, WaitForRoomInTheirQueueWithoutStoppingOthers) {
  ASSERT_TRUE(limit_jobs(*db_, 1));
  const auto other = put_schedule(*db_, {"other", "0 * * * *", Missed::run_once, "mail", "send", ""}, clock_.wall());
  ASSERT_TRUE(other);
  put("0 * * * *");
  NewJob filler;
  filler.queue = "chores";
  filler.kind = "clean";
  ASSERT_TRUE(enqueue_job(*db_, filler, clock_.wall()));
  clock_.advance(1h);
  const auto fired = fire_schedules(*db_, clock_.wall());
  ASSERT_TRUE(fired) << fired.error().to_string();
  EXPECT_EQ(fired->queues, std::vector<std::string>{"mail"});
  EXPECT_EQ(*fired->next, clock_.wall() + 5s);
  EXPECT_EQ(fire(), 0u);
  ASSERT_EQ(claim_jobs(*db_, "chores", 1, "w", 30s, clock_.wall())->jobs.size(), 1u);
  clock_.advance(5s);
  const auto again = fire_schedules(*db_, clock_.wall());
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(again->queues, std::vector<std::string>{"chores"});
  EXPECT_EQ(*again->next, clock_.wall() + 1h - 5s);
}

TEST_F(ScheduleRows, RefuseWhatCannotBe) {
  const auto bad = put_schedule(*db_, {"x", "0 0 30 2 *", Missed::skip, "q", "k", ""}, clock_.wall());
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code(), Code::invalid_argument);
  EXPECT_EQ(bad.error().what(), "schedule x: cron: no month of \"2\" has a day 30");
  EXPECT_FALSE(put_schedule(*db_, {"", "0 0 3 2 *", Missed::skip, "q", "k", ""}, clock_.wall()));
}

TEST_F(ScheduleRows, AreListedAndRemoved) {
  put("0 * * * *");
  ASSERT_EQ(list_schedules(*db_)->size(), 1u);
  EXPECT_EQ(list_schedules(*db_)->front().cron, "0 * * * *");
  EXPECT_TRUE(*remove_schedule(*db_, "nightly"));
  EXPECT_FALSE(*remove_schedule(*db_, "nightly"));
}

}  // namespace
}  // namespace trellis::queue
