// Loss of power at any write or sync of a store under load: what was acknowledged is there, nothing is half there, and
// the file is whole. The same with syncs that fail on the way.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <random>
#include <set>
#include <string>

#include "base/log.h"
#include "base/metrics.h"
#include "runtime/loop.h"
#include "runtime/sync.h"
#include "store/sqlite.h"
#include "tests/fakes/run_task.h"
#include "tests/unit/store/power_loss_vfs.h"

namespace trellis::store {
namespace {

constexpr Migration kSchema{1, "halves",
                            "CREATE TABLE one(id INTEGER PRIMARY KEY, text TEXT); CREATE TABLE other(id INTEGER "
                            "PRIMARY KEY, text TEXT UNIQUE)"};

// Each look at it is a second later: the store's pauses between two attempts cost the test nothing.
class HastyClock final : public Clock {
 public:
  Time now() const noexcept override { return Time{} + std::chrono::seconds(++ticks_); }
  WallTime wall() const noexcept override { return WallTime{} + std::chrono::seconds(ticks_.load()); }

 private:
  mutable std::atomic<int64_t> ticks_{1};
};

std::string text_of(int64_t id) {
  return std::to_string(id) + std::string(static_cast<size_t>(id * 7919 % 3000), static_cast<char>('a' + id % 26));
}

struct Outcome {
  std::set<int64_t> acknowledged;
  std::set<int64_t> found;
  std::string problem;  // "" for a whole file without half an operation
};

class StorePowerLoss : public testing::Test {
 protected:
  StorePowerLoss() {
    std::string pattern = testing::TempDir() + "powerXXXXXX";
    folder_ = mkdtemp(pattern.data());
    LoopOptions options;
    options.seed = 1;
    loop_ = *Loop::make(options);
  }
  ~StorePowerLoss() override { std::filesystem::remove_all(folder_); }

  SqliteOptions options(const std::string& path) {
    SqliteOptions options;
    options.path = path;
    options.vfs = power_loss_vfs();
    options.checkpoint_bytes = 24 << 10;  // often, so that the loss meets checkpoints and new WALs too
    options.truncate_bytes = 96 << 10;
    options.truncate_after = {};
    options.clock = &clock_;
    return options;
  }

  static Result<std::unique_ptr<SqliteStore>> open(SqliteOptions options, Metrics& metrics) {
    TRY(auto store, SqliteStore::open(std::move(options), metrics));
    TRY_VOID(store->migrate("test", std::span(&kSchema, 1)));
    return store;
  }

  static Task<> insert(SqliteStore& store, int64_t id, std::set<int64_t>& acknowledged) {
    auto written = co_await store.write([id](SqliteConnection& db) -> Result<void> {
      const std::string text = text_of(id);
      TRY_VOID(db.execute("INSERT INTO one(id, text) VALUES(?1, ?2)", id, text));
      return db.execute("INSERT INTO other(id, text) VALUES(?1, ?2)", id, text);
    });
    if (written) acknowledged.insert(id);
  }
  static Task<> join(TaskGroup& group) { (void)co_await group.join(kNever); }

  // Writes until power is lost, and looks at what is there when it is back.
  Outcome run(uint32_t seed, int steps, int sync_fails_one_in, PowerLossDisk::Syncs syncs) {
    PowerLossDisk& disk = PowerLossDisk::instance();
    std::mt19937 random(seed);
    const std::string path = folder_ + "/" + std::to_string(seed) + ".db";
    disk.begin(seed, steps, sync_fails_one_in, syncs);
    Outcome outcome;
    {
      Metrics metrics;
      Result<std::unique_ptr<SqliteStore>> store = open(options(path), metrics);
      for (int64_t id = 0; store && !disk.lost() && id < 5000;) {
        TaskGroup group;
        const int together = 1 + static_cast<int>(random() % 12);
        for (int i = 0; i < together; ++i) group.spawn(insert(**store, id++, outcome.acknowledged));
        fakes::run_task(*loop_, join(group));
      }
      disk.lose_power();
    }
    failed_syncs_ += disk.failed_syncs();
    disk.restore_power();
    Metrics metrics;
    const Result<std::unique_ptr<SqliteStore>> store = open(options(path), metrics);
    if (!store) {
      outcome.problem = store.error().to_string();
      return outcome;
    }
    const auto read = (*store)->write_now([&](SqliteConnection& db) -> Result<void> { return look(db, outcome); });
    if (!read) outcome.problem = read.error().to_string();
    // It takes writes as before.
    if (!(*store)->write_now([](SqliteConnection& db) { return db.execute("INSERT INTO one(id) VALUES(-1)"); }))
      outcome.problem += " takes no writes";
    return outcome;
  }

  static Result<void> look(SqliteConnection& db, Outcome& outcome) {
    {
      TRY(Query check, db.query("PRAGMA integrity_check"));
      TRY(const bool row, check.next());
      if (!row || check.text(0) != "ok") outcome.problem = "integrity_check: " + std::string(check.text(0));
    }
    std::set<int64_t> halves;
    for (const char* sql : {"SELECT id, text FROM one", "SELECT id, text FROM other"}) {
      TRY(Query rows, db.query(sql));
      while (true) {
        TRY(const bool row, rows.next());
        if (!row) break;
        const int64_t id = rows.integer(0);
        if (rows.text(1) != text_of(id)) outcome.problem = "other bytes in row " + std::to_string(id);
        if (!halves.insert(id).second) {
          halves.erase(id);
          outcome.found.insert(id);
        }
      }
    }
    if (!halves.empty()) outcome.problem = "half of operation " + std::to_string(*halves.begin());
    return {};
  }

  static bool holds(const Outcome& outcome) {
    return outcome.problem.empty() && std::includes(outcome.found.begin(), outcome.found.end(),
                                                    outcome.acknowledged.begin(), outcome.acknowledged.end());
  }

  void must_hold(uint32_t seeds, int sync_fails_one_in) {
    const LogLevel level = log_level();
    set_log_level(LogLevel::off);
    size_t acknowledged = 0;
    for (uint32_t seed = 1; seed <= seeds; ++seed) {
      // From the first write of a new file on; the larger half in the midst of work.
      const int steps = static_cast<int>(seed % 3 == 0 ? seed % 60 : seed * 7919 % 900);
      const Outcome outcome = run(seed, steps, sync_fails_one_in, PowerLossDisk::Syncs::honest);
      acknowledged += outcome.acknowledged.size();
      EXPECT_TRUE(holds(outcome)) << "seed " << seed << ", power lost at step " << steps << ": "
                                  << outcome.acknowledged.size() << " acknowledged, " << outcome.found.size()
                                  << " found. " << outcome.problem;
      if (HasFailure()) break;
    }
    set_log_level(level);
    EXPECT_GT(acknowledged, seeds * 10);  // how many depends on how often the WAL was written back between them
  }

  HastyClock clock_;
  std::unique_ptr<Loop> loop_;
  std::string folder_;
  int failed_syncs_ = 0;
};

TEST_F(StorePowerLoss, LosesNothingThatWasAcknowledged) { must_hold(300, 0); }

TEST_F(StorePowerLoss, LosesNothingThoughSyncsFailedBefore) {
  must_hold(150, 25);
  EXPECT_GT(failed_syncs_, 50);
}

// The test of the test: on a disk whose syncs do nothing it must find losses.
TEST_F(StorePowerLoss, IsSeenOnADiskThatLies) {
  const LogLevel level = log_level();
  set_log_level(LogLevel::off);
  int losses = 0;
  for (uint32_t seed = 1; seed <= 30; ++seed) {
    if (!holds(run(seed, 300, 0, PowerLossDisk::Syncs::lying))) ++losses;
  }
  set_log_level(level);
  EXPECT_GT(losses, 10);
}

}  // namespace
}  // namespace trellis::store
