#include "queue/jobs_rows.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <set>

#include "base/rng.h"
#include "store/sqlite_connection.h"
#include "tests/fakes/manual_clock.h"

namespace trellis::queue {
namespace {

using namespace std::chrono_literals;
using store::Query;
using store::SqliteConnection;

class JobRows : public testing::Test {
 protected:
  JobRows() {
    SqliteConnection::Options options;
    std::string pattern = testing::TempDir() + "jobsXXXXXX";
    folder_ = mkdtemp(pattern.data());
    options.path = folder_ + "/jobs.db";
    db_ = *SqliteConnection::open(options);
    EXPECT_TRUE(db_->script("PRAGMA synchronous=OFF"));
    const auto migrated = store::migrate(*db_, "jobs", job_migrations(), 0);
    EXPECT_TRUE(migrated) << migrated.error().to_string();
  }
  ~JobRows() override {
    db_.reset();
    std::filesystem::remove_all(folder_);
  }

  static NewJob job(std::string payload = "p", int priority = 4) {
    NewJob job;
    job.queue = "mail";
    job.kind = "send";
    job.payload = std::move(payload);
    job.priority = priority;
    return job;
  }
  int64_t enqueue(const NewJob& job) {
    const auto enqueued = enqueue_job(*db_, job, clock_.wall());
    EXPECT_TRUE(enqueued) << enqueued.error().to_string();
    return enqueued->id;
  }
  Claim claim(size_t max, Duration lease = 30s, std::string_view worker = "w1") {
    auto claimed = claim_jobs(*db_, "mail", max, worker, lease, clock_.wall());
    EXPECT_TRUE(claimed) << claimed.error().to_string();
    return *std::move(claimed);
  }
  std::vector<int64_t> claim_ids(size_t max) {
    std::vector<int64_t> ids;
    for (const ClaimedJob& job : claim(max).jobs) ids.push_back(job.lease.id);
    return ids;
  }
  Settled settle(Lease lease, Verdict verdict, std::string error = "", std::optional<Duration> delay = {},
                 uint64_t random = 0) {
    SettleRules rules;
    rules.lease = 30s;
    rules.backoff = {2s, 1h};
    const auto settled = settle_job(*db_, {lease, verdict, std::move(error), delay}, rules, random, clock_.wall());
    EXPECT_TRUE(settled) << settled.error().to_string();
    return *settled;
  }
  QueueStats stats() {
    const auto all = job_stats(*db_, clock_.wall());
    EXPECT_TRUE(all) << all.error().to_string();
    return all->empty() ? QueueStats() : all->front();
  }
  JobRecord record(int64_t id) { return **find_job(*db_, id, clock_.wall()); }

  fakes::ManualClock clock_;
  std::string folder_;
  std::unique_ptr<SqliteConnection> db_;
};

TEST_F(JobRows, GiveAJobToOneWorkerAndEndIt) {
  const int64_t id = enqueue(job("hello"));
  const Claim claimed = claim(10);
  ASSERT_EQ(claimed.jobs.size(), 1u);
  EXPECT_EQ(claimed.jobs[0].lease.id, id);
  EXPECT_EQ(claimed.jobs[0].lease.attempt, 1);
  EXPECT_EQ(claimed.jobs[0].payload, "hello");
  EXPECT_EQ(claimed.jobs[0].tried, 1);
  EXPECT_TRUE(claim(10).jobs.empty());
  EXPECT_EQ(settle(claimed.jobs[0].lease, Verdict::ack), Settled::yes);
  EXPECT_EQ(settle(claimed.jobs[0].lease, Verdict::ack), Settled::stale);
  EXPECT_EQ(stats().done, 1);
  EXPECT_TRUE(claim(10).jobs.empty());
}

TEST_F(JobRows, GoWithTheTransactionTheyWereEnqueuedIn) {
  ASSERT_TRUE(db_->script("BEGIN"));
  enqueue(job());
  ASSERT_TRUE(db_->script("ROLLBACK"));
  EXPECT_TRUE(claim(10).jobs.empty());
}

TEST_F(JobRows, AreClaimedByPriorityAndThenByAge) {
  const int64_t low = enqueue(job("a", 0));
  const int64_t first = enqueue(job("b", 5));
  const int64_t second = enqueue(job("c", 5));
  const int64_t high = enqueue(job("d", 9));
  EXPECT_EQ(claim_ids(10), (std::vector<int64_t>{high, first, second, low}));
}

TEST_F(JobRows, OfLowPriorityAreNotStarved) {
  const int64_t low = enqueue(job("low", 0));
  // More urgent jobs come all the time, two for each one that is done.
  int turns = 0;
  bool done = false;
  while (!done && turns < 100) {
    enqueue(job("high", 9));
    enqueue(job("high", 9));
    const Lease lease = claim(1).jobs.at(0).lease;
    done = lease.id == low;
    settle(lease, Verdict::ack);
    clock_.advance(20s);
    ++turns;
  }
  EXPECT_TRUE(done);
  // Those that came within nine steps of ageing go first, and nobody else.
  EXPECT_GE(turns, 2 * 27);
  EXPECT_LE(turns, 2 * 27 + 3);
}

TEST_F(JobRows, WaitForTheirTime) {
  NewJob later = job();
  later.not_before = clock_.wall() + 10s;
  enqueue(later);
  EXPECT_EQ(stats().delayed, 1);
  EXPECT_TRUE(claim(1).jobs.empty());
  clock_.advance(9999ms);
  EXPECT_TRUE(claim(1).jobs.empty());
  clock_.advance(1ms);
  EXPECT_EQ(claim(1).jobs.size(), 1u);
}

TEST_F(JobRows, AreNotEnqueuedTwiceWithOneKeyWithinItsWindow) {
  NewJob once = job();
  once.dedupe_key = "order-7";
  once.dedupe_for = 5min;
  const int64_t id = enqueue(once);
  auto again = enqueue_job(*db_, once, clock_.wall());
  ASSERT_TRUE(again);
  EXPECT_TRUE(again->duplicate);
  EXPECT_EQ(again->id, id);
  // The job's end does not end the window, and another queue has keys of its own.
  settle(claim(1).jobs[0].lease, Verdict::ack);
  EXPECT_EQ(enqueue(once), id);
  once.queue = "other";
  EXPECT_NE(enqueue(once), id);
  once.queue = "mail";
  clock_.advance(5min);
  const int64_t fresh = enqueue(once);
  EXPECT_NE(fresh, id);
  clock_.advance(6min);
  EXPECT_EQ(*purge_dedupe_keys(*db_, 100, clock_.wall()), 2u);
}

TEST_F(JobRows, RefuseWhatIsOutOfItsLimits) {
  const auto refused = [&](auto&& change) {
    NewJob bad = job();
    change(bad);
    const auto result = enqueue_job(*db_, bad, clock_.wall());
    return !result && result.error().code() == Code::invalid_argument;
  };
  EXPECT_TRUE(refused([](NewJob& bad) { bad.queue = ""; }));
  EXPECT_TRUE(refused([](NewJob& bad) { bad.queue = "a b"; }));
  EXPECT_TRUE(refused([](NewJob& bad) { bad.kind = std::string(65, 'x'); }));
  EXPECT_TRUE(refused([](NewJob& bad) { bad.payload = std::string(kMaxPayload + 1, 'x'); }));
  EXPECT_TRUE(refused([](NewJob& bad) { bad.priority = 10; }));
  EXPECT_TRUE(refused([](NewJob& bad) { bad.priority = -1; }));
  EXPECT_TRUE(refused([](NewJob& bad) { bad.max_attempts = 0; }));
  EXPECT_TRUE(refused([](NewJob& bad) { bad.dedupe_key = std::string(201, 'x'); }));
  EXPECT_FALSE(refused([](NewJob& good) { good.payload = std::string(kMaxPayload, '\0'); }));
  EXPECT_FALSE(refused([](NewJob& good) { good.payload = ""; }));
}

TEST_F(JobRows, AreRefusedFromAHolderWhoseLeaseIsAnothersByNow) {
  enqueue(job());
  const Lease first = claim(1, 30s, "w1").jobs[0].lease;
  clock_.advance(30s);
  const Claim second = claim(1, 30s, "w2");
  ASSERT_EQ(second.jobs.size(), 1u);
  EXPECT_EQ(second.expired, 1u);
  EXPECT_EQ(second.jobs[0].lease.attempt, 2);
  EXPECT_EQ(settle(first, Verdict::ack), Settled::stale);
  EXPECT_EQ(settle(first, Verdict::extend), Settled::stale);
  EXPECT_EQ(settle(first, Verdict::retry, "late"), Settled::stale);
  EXPECT_EQ(settle(first, Verdict::bury, "late"), Settled::stale);
  EXPECT_EQ(settle(first, Verdict::release), Settled::stale);
  EXPECT_EQ(end_job(*db_, first, clock_.wall()).error().code(), Code::aborted);
  EXPECT_TRUE(end_job(*db_, second.jobs[0].lease, clock_.wall()));
  const JobRecord ended = record(first.id);
  ASSERT_EQ(ended.history.size(), 1u);
  EXPECT_EQ(ended.history[0].error, "the lease of w1 ran out");
}

TEST_F(JobRows, StayWithAHolderWhoExtendsTheLease) {
  enqueue(job());
  const Lease lease = claim(1).jobs[0].lease;
  for (int i = 0; i < 5; ++i) {
    clock_.advance(20s);
    EXPECT_EQ(settle(lease, Verdict::extend), Settled::yes);
    EXPECT_TRUE(claim(1).jobs.empty());
  }
  // Late, but nobody else has it.
  clock_.advance(60s);
  EXPECT_EQ(settle(lease, Verdict::ack), Settled::yes);
}

TEST_F(JobRows, ComeBackAfterABackoffAndDieWithTheirHistory) {
  NewJob failing = job();
  failing.max_attempts = 3;
  const int64_t id = enqueue(failing);
  for (int attempt = 1; attempt <= 3; ++attempt) {
    const Claim claimed = claim(1);
    ASSERT_EQ(claimed.jobs.size(), 1u);
    EXPECT_EQ(claimed.jobs[0].tried, attempt);
    const Settled settled =
        settle(claimed.jobs[0].lease, Verdict::retry, "error " + std::to_string(attempt), {}, 1'500'000'000);
    EXPECT_EQ(settled, attempt == 3 ? Settled::buried : Settled::yes);
    EXPECT_TRUE(claim(1).jobs.empty());
    clock_.advance(1499ms);
    EXPECT_TRUE(claim(1).jobs.empty());
    clock_.advance(1ms);
  }
  EXPECT_EQ(stats().dead, 1);
  const JobRecord dead = record(id);
  EXPECT_EQ(dead.state, JobState::dead);
  ASSERT_EQ(dead.history.size(), 3u);
  EXPECT_EQ(dead.history[2].error, "error 3");
}

TEST_F(JobRows, ThatKillTheirWorkersDieToo) {
  NewJob poison = job();
  poison.max_attempts = 2;
  enqueue(poison);
  EXPECT_EQ(claim(1).jobs.size(), 1u);
  clock_.advance(31s);
  EXPECT_EQ(claim(1).jobs.size(), 1u);
  clock_.advance(31s);
  const Claim last = claim(1);
  EXPECT_TRUE(last.jobs.empty());
  EXPECT_EQ(last.buried, 1u);
  EXPECT_EQ(stats().dead, 1);
}

TEST_F(JobRows, KeepABoundedHistory) {
  NewJob failing = job();
  failing.max_attempts = 50;
  const int64_t id = enqueue(failing);
  for (int i = 0; i < 30; ++i) {
    settle(claim(1).jobs.at(0).lease, Verdict::retry, std::to_string(i) + std::string(10'000, 'x'), 0s);
  }
  const JobRecord failed = record(id);
  ASSERT_EQ(failed.history.size(), kMaxHistory);
  EXPECT_EQ(failed.history.back().attempt, 30);
  EXPECT_EQ(failed.history.back().error.size(), kMaxErrorText);
}

TEST_F(JobRows, AreRedrivenWithAllAttemptsBeforeThem) {
  NewJob failing = job();
  failing.max_attempts = 2;
  const int64_t id = enqueue(failing);
  const Lease first = claim(1).jobs[0].lease;
  settle(first, Verdict::bury, "no such address");
  EXPECT_TRUE(claim(1).jobs.empty());
  EXPECT_EQ(*redrive_jobs(*db_, "mail", id, 1, clock_.wall()), 1u);
  EXPECT_EQ(*redrive_jobs(*db_, "mail", id, 1, clock_.wall()), 0u);
  const ClaimedJob again = claim(1).jobs.at(0);
  EXPECT_EQ(again.tried, 1);
  EXPECT_EQ(again.lease.attempt, 2);  // the fencing number goes on
  EXPECT_EQ(settle(first, Verdict::ack), Settled::stale);
  EXPECT_EQ(settle(again.lease, Verdict::retry, "again", 0s), Settled::yes);
  EXPECT_EQ(settle(claim(1).jobs.at(0).lease, Verdict::retry, "and again", 0s), Settled::buried);
  EXPECT_EQ(*redrive_jobs(*db_, "mail", {}, 100, clock_.wall()), 1u);
}

TEST_F(JobRows, GivenBackDoNotLoseAnAttempt) {
  NewJob once = job();
  once.max_attempts = 1;
  enqueue(once);
  for (int i = 0; i < 5; ++i) {
    const ClaimedJob taken = claim(1).jobs.at(0);
    EXPECT_EQ(taken.tried, 1);
    EXPECT_EQ(settle(taken.lease, Verdict::release), Settled::yes);
  }
  EXPECT_EQ(settle(claim(1).jobs.at(0).lease, Verdict::ack), Settled::yes);
}

TEST_F(JobRows, AreCancelledUnlessSomebodyWorksOnThem) {
  NewJob keyed = job();
  keyed.dedupe_key = "k";
  const int64_t id = enqueue(keyed);
  const Lease lease = claim(1).jobs[0].lease;
  EXPECT_EQ(cancel_job(*db_, id).error().code(), Code::failed_precondition);
  settle(lease, Verdict::release);
  EXPECT_TRUE(cancel_job(*db_, id));
  EXPECT_EQ(cancel_job(*db_, id).error().code(), Code::not_found);
  EXPECT_NE(enqueue(keyed), id);
}

TEST_F(JobRows, AreCancelledWhenTheLeaseRanOutAndNobodyAsks) {
  const int64_t id = enqueue(job());
  ASSERT_EQ(claim(1).jobs.size(), 1u);
  EXPECT_EQ(cancel_job(*db_, id, clock_.wall()).error().code(), Code::failed_precondition);
  clock_.advance(31s);
  EXPECT_TRUE(cancel_job(*db_, id, clock_.wall()));
}

TEST_F(JobRows, ShowTheAttemptsThatCount) {
  NewJob twice = job();
  twice.max_attempts = 2;
  const int64_t id = enqueue(twice);
  settle(claim(1).jobs.at(0).lease, Verdict::release);
  EXPECT_EQ(record(id).tried, 0);
  settle(claim(1).jobs.at(0).lease, Verdict::retry, "no", 0s);
  EXPECT_EQ(record(id).tried, 1);
  EXPECT_EQ(settle(claim(1).jobs.at(0).lease, Verdict::retry, "no", 0s), Settled::buried);
  EXPECT_EQ(record(id).tried, 2);
  ASSERT_EQ(*redrive_jobs(*db_, "mail", id, 1, clock_.wall()), 1u);
  EXPECT_EQ(record(id).tried, 0);
  ASSERT_EQ(claim(1).jobs.size(), 1u);
  EXPECT_EQ(record(id).tried, 1);
  EXPECT_EQ(record(id).until, clock_.wall() + 30s);
}

// Jobs become ready in their rows when a worker asks. Where none does, people must see it all the same.
TEST_F(JobRows, AreReadyWhenTheirDelayIsOverThoughNobodyAsks) {
  NewJob later = job();
  later.not_before = clock_.wall() + 40s;
  const int64_t id = enqueue(later);
  EXPECT_EQ(record(id).state, JobState::delayed);
  EXPECT_EQ(record(id).until, clock_.wall() + 40s);
  EXPECT_EQ(stats().delayed, 1);
  const auto listed = [this](JobState state) { return list_jobs(*db_, "mail", state, 0, 10, clock_.wall())->size(); };
  EXPECT_EQ(listed(JobState::ready), 0u);
  clock_.advance(50s);
  EXPECT_EQ(record(id).state, JobState::ready);
  EXPECT_EQ(stats().delayed, 0);
  EXPECT_EQ(stats().ready, 1);
  EXPECT_EQ(stats().oldest, 10s);
  EXPECT_EQ(listed(JobState::ready), 1u);
  EXPECT_EQ(listed(JobState::delayed), 0u);
}

TEST_F(JobRows, AreNotDelayedForMoreThanTenYears) {
  NewJob later = job();
  later.not_before = clock_.wall() + 24h * 3660;
  EXPECT_TRUE(enqueue_job(*db_, later, clock_.wall()));
  later.not_before = clock_.wall() + 24h * 3661;
  EXPECT_EQ(enqueue_job(*db_, later, clock_.wall()).error().code(), Code::invalid_argument);
}

TEST_F(JobRows, AreListedDeadByTheirIdsOverAllQueues) {
  std::vector<int64_t> ids;
  for (const char* queue : {"b", "a", "b", "a", "c"}) {
    NewJob one = job();
    one.queue = queue;
    ids.push_back(enqueue(one));
    const auto claimed = claim_jobs(*db_, queue, 1, "w", 30s, clock_.wall());
    ASSERT_TRUE(claimed);
    settle(claimed->jobs.at(0).lease, Verdict::bury, "no");
  }
  std::vector<int64_t> paged;
  while (true) {
    const auto page = list_jobs(*db_, "", JobState::dead, paged.empty() ? 0 : paged.back(), 2, clock_.wall());
    ASSERT_TRUE(page) << page.error().to_string();
    if (page->empty()) break;
    for (const JobRecord& one : *page) paged.push_back(one.id);
  }
  EXPECT_EQ(paged, ids);
}

TEST_F(JobRows, ArePurgedWhenTheyEndedLongAgo) {
  for (int i = 0; i < 5; ++i) enqueue(job());
  for (const ClaimedJob& done : claim(4).jobs) settle(done.lease, Verdict::ack);
  EXPECT_EQ(*purge_jobs(*db_, JobState::done, 1h, 100, clock_.wall()), 0u);
  clock_.advance(1h);
  EXPECT_EQ(*purge_jobs(*db_, JobState::done, 1h, 3, clock_.wall()), 3u);
  EXPECT_EQ(*purge_jobs(*db_, JobState::done, 1h, 3, clock_.wall()), 1u);
  EXPECT_EQ(stats().ready, 1);
  EXPECT_FALSE(purge_jobs(*db_, JobState::ready, 1h, 3, clock_.wall()));
}

TEST_F(JobRows, ShowHowLongTheOldestHasBeenReady) {
  enqueue(job("a", 0));
  clock_.advance(90s);
  enqueue(job("b", 9));
  const QueueStats now = stats();
  EXPECT_EQ(now.ready, 2);
  EXPECT_EQ(now.oldest, 90s);
  const auto listed = list_jobs(*db_, "mail", JobState::ready, 0, 10, clock_.wall());
  ASSERT_EQ(listed->size(), 2u);
  EXPECT_EQ((*listed)[0].payload, "b");
}

TEST_F(JobRows, AreNotStrandedByAClockThatIsSetBack) {
  enqueue(job("leased"));
  claim(1);
  NewJob later = job("delayed");
  later.not_before = clock_.wall() + 40s;
  enqueue(later);
  clock_.advance(10s);
  claim(1);  // the time is looked at
  clock_.jump_wall(-1h);
  EXPECT_TRUE(claim(1).jobs.empty());
  const int64_t fresh = enqueue(job("fresh"));
  EXPECT_EQ(claim_ids(1), std::vector<int64_t>{fresh});
  clock_.advance(21s);
  const Claim back = claim(1);
  ASSERT_EQ(back.jobs.size(), 1u);
  EXPECT_EQ(back.jobs[0].payload, "leased");
  clock_.advance(10s);
  const Claim due = claim(5);
  ASSERT_GE(due.jobs.size(), 1u);
  EXPECT_TRUE(std::any_of(due.jobs.begin(), due.jobs.end(), [](const auto& j) { return j.payload == "delayed"; }));
}

TEST_F(JobRows, AreFoundByAnIndexHoweverManyWait) {
  // No sorting and no scan of the table in what a claim asks.
  for (const std::string_view sql :
       {"SELECT id FROM jobs WHERE state = 0 AND queue = ?1 ORDER BY rank, priority, id LIMIT ?2",
        "SELECT id FROM jobs WHERE state = 1 AND queue = ?1 AND until <= ?2 ORDER BY until LIMIT ?3",
        "SELECT id, attempt, attempt >= last_attempt, worker FROM jobs WHERE state = 2 AND queue = ?1 AND until <= ?2 "
        "ORDER BY until LIMIT ?3",
        "SELECT id FROM jobs WHERE state = 3 AND until <= ?1 ORDER BY until LIMIT ?2",
        "SELECT id FROM jobs WHERE state = 4 AND queue = ?1 ORDER BY id LIMIT ?4"}) {
    auto plan = db_->query("EXPLAIN QUERY PLAN " + std::string(sql));
    ASSERT_TRUE(plan) << plan.error().to_string();
    while (*plan->next()) {
      const std::string step(plan->text(3));
      EXPECT_TRUE(step.starts_with("SEARCH jobs USING")) << sql << ": " << step;
    }
  }
}

TEST(JobBackoff, GrowsToItsCapAndIsSpreadEvenly) {
  const Backoff backoff{1s, 10s};
  Rng rng(7);
  for (int tried = 1; tried <= 100; ++tried) {
    const Duration ceiling = std::min<Duration>(10s, 1s * (int64_t{1} << std::min(tried - 1, 10)));
    Duration least = 1h;
    Duration most{0};
    for (int i = 0; i < 200; ++i) {
      const Duration wait = backoff.wait(tried, rng.next());
      least = std::min(least, wait);
      most = std::max(most, wait);
    }
    EXPECT_LE(most, ceiling);
    EXPECT_GT(most, ceiling * 8 / 10);
    EXPECT_LT(least, ceiling * 2 / 10);
  }
  EXPECT_EQ((Backoff{0s, 0s}.wait(5, 99)), 0s);
}

// Workers that die, stall over their leases, fail, give back and end jobs, in a random order: every job is ended
// exactly once, and none is lost.
TEST_F(JobRows, EndExactlyOnceWhateverTheWorkersDo) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    Rng rng(seed);
    struct Held {
      Lease lease;
      std::string payload;
    };
    std::vector<Held> held;  // also by those who lost their lease and do not know it
    std::map<std::string, int> ended;
    std::set<std::string> sent;
    const std::string round = std::to_string(seed) + "-";
    const auto take = [&](size_t max) {
      for (ClaimedJob& taken : claim(max, Duration(1s * (1 + rng.below(10)))).jobs)
        held.push_back({taken.lease, std::move(taken.payload)});
    };
    const auto end = [&](const Held& job) {
      if (settle(job.lease, Verdict::ack) == Settled::yes) ++ended[job.payload];
    };
    for (int step = 0; step < 600; ++step) {
      const uint64_t what = rng.below(100);
      const size_t any = held.empty() ? 0 : rng.below(held.size());
      if (what < 25) {
        NewJob fresh = job(round + std::to_string(step), static_cast<int>(rng.below(10)));
        fresh.max_attempts = kMaxAttempts;
        if (rng.below(4) == 0) fresh.not_before = clock_.wall() + Duration(1s * rng.below(20));
        sent.insert(fresh.payload);
        enqueue(fresh);
      } else if (what < 50) {
        take(1 + rng.below(4));
      } else if (what < 60) {
        clock_.advance(Duration(1ms * rng.below(6000)));
      } else if (what < 62) {
        clock_.jump_wall(-Duration(1s * rng.below(100)));
      } else if (!held.empty()) {
        if (what < 80) {
          end(held[any]);  // and may try once more
          if (rng.below(2) == 0) held.erase(held.begin() + static_cast<std::ptrdiff_t>(any));
        } else if (what < 86) {
          settle(held[any].lease, Verdict::retry, "failed", {}, rng.next());
        } else if (what < 90) {
          settle(held[any].lease, Verdict::release);
        } else if (what < 95) {
          settle(held[any].lease, Verdict::extend);
        } else {
          held.erase(held.begin() + static_cast<std::ptrdiff_t>(any));  // its worker died
        }
      }
    }
    for (int turn = 0; turn < 1000 && ended.size() < sent.size(); ++turn) {
      clock_.advance(20min);
      held.clear();
      take(50);
      for (const Held& job : held) end(job);
    }
    EXPECT_EQ(ended.size(), sent.size()) << "seed " << seed;
    for (const auto& [payload, times] : ended) EXPECT_EQ(times, 1) << "seed " << seed << ", job " << payload;
  }
}

TEST_F(JobRows, RefusesBeyondTheLimitOfWaitingJobs) {
  ASSERT_TRUE(limit_jobs(*db_, 3));
  NewJob later = job();
  later.not_before = clock_.wall() + 1h;
  enqueue(job());
  enqueue(job());
  enqueue(later);
  const auto refused = enqueue_job(*db_, job(), clock_.wall());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::resource_exhausted);
  NewJob other = job();
  other.queue = "reports";
  enqueue(other);
  const Claim claimed = claim(1);
  enqueue(job());  // what is leased does not wait
  EXPECT_FALSE(enqueue_job(*db_, job(), clock_.wall()));
  EXPECT_EQ(settle(claimed.jobs[0].lease, Verdict::release), Settled::yes);
  EXPECT_FALSE(enqueue_job(*db_, job(), clock_.wall())) << "what comes back waits again, beyond the limit";
  for (const ClaimedJob& one : claim(2).jobs) EXPECT_EQ(settle(one.lease, Verdict::ack), Settled::yes);
  enqueue(job());
}

TEST_F(JobRows, CountsWaitingJobsThroughEverythingThatHappensToThem) {
  Rng rng(7);
  std::vector<Lease> leases;
  for (int step = 0; step < 2000; ++step) {
    switch (rng.below(8)) {
      case 0:
      case 1: {
        NewJob one = job("p", static_cast<int>(rng.below(10)));
        one.max_attempts = 2;
        if (rng.below(3) == 0) one.not_before = clock_.wall() + 10s;
        enqueue(one);
        break;
      }
      case 2:
        for (const ClaimedJob& one : claim(rng.below(5) + 1, 5s).jobs) leases.push_back(one.lease);
        break;
      case 3:
      case 4:
        if (!leases.empty()) {
          constexpr std::array kVerdicts = {Verdict::ack, Verdict::retry, Verdict::bury, Verdict::release};
          settle(leases.back(), kVerdicts[rng.below(4)], "e");
          leases.pop_back();
        }
        break;
      case 5: (void)cancel_job(*db_, static_cast<int64_t>(rng.below(1000)) + 1); break;
      case 6: (void)redrive_jobs(*db_, "mail", {}, 3, clock_.wall()); break;
      default: clock_.advance(1s);
    }
    const QueueStats now = stats();
    Query row = *db_->query("SELECT waiting FROM job_counts WHERE queue = 'mail'");
    const bool there = *row.next();
    ASSERT_EQ(there ? row.integer(0) : 0, now.ready + now.delayed) << "step " << step;
  }
}

}  // namespace
}  // namespace trellis::queue
