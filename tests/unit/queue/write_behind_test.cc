#include "queue/write_behind.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "base/metrics.h"
#include "queue/event_log.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "store/sqlite.h"
#include "tests/fakes/faulty_disk.h"
#include "tests/fakes/run_task.h"

namespace trellis::queue {
namespace {

using namespace std::chrono_literals;

constexpr std::array<store::Migration, 1> kTable = {
    {{1, "places", "CREATE TABLE places(key TEXT PRIMARY KEY, value TEXT NOT NULL, writes INTEGER NOT NULL) STRICT;"}}};

class WriteBehindTest : public testing::Test {
 protected:
  WriteBehindTest() : pool_(2) {
    LoopOptions options;
    options.pool = &pool_;
    loop_ = *Loop::make(options);
    std::string pattern = testing::TempDir() + "behindXXXXXX";
    folder_ = mkdtemp(pattern.data());
    open();
  }
  ~WriteBehindTest() override {
    close();
    std::filesystem::remove_all(folder_);
  }
  void open() {
    store_ = *store::SqliteStore::open({.path = folder_ + "/app.db"}, metrics_);
    ASSERT_TRUE(store_->migrate("places", kTable));
    EventLogOptions how;
    how.folder = "/log";
    how.disk = disk_.get();
    log_ = *EventLog::open(std::move(how), metrics_);
  }
  void close() {
    behind_.reset();
    log_.reset();
    store_.reset();
  }
  std::unique_ptr<WriteBehind> start(WriteBehindOptions how = {}) {
    how.topic = "places";
    how.pace = 1ms;
    auto behind = std::make_unique<WriteBehind>(*log_, *store_, metrics_, how,
                                                [this](store::SqliteConnection& db, std::span<const LateWrite> writes) {
                                                  if (refuse_) {
                                                    ++refused_;
                                                    return Result<void>(fail(Code::unavailable, "not now"));
                                                  }
                                                  return put(db, writes);
                                                });
    const auto started = run(behind->start());
    EXPECT_TRUE(started) << started.error().to_string();
    return behind;
  }
  // The rows, and how often each was written.
  static Result<void> put(store::SqliteConnection& db, std::span<const LateWrite> writes) {
    for (const LateWrite& write : writes) {
      if (write.value) {
        TRY_VOID(
            db.execute("INSERT INTO places(key, value, writes) VALUES(?1, ?2, 1) ON CONFLICT(key) DO UPDATE SET "
                       "value = excluded.value, writes = writes + 1",
                       write.key, *write.value));
      } else {
        TRY_VOID(db.execute("DELETE FROM places WHERE key = ?1", write.key));
      }
    }
    return {};
  }
  template <class T>
  T run(Task<T> task) {
    return fakes::run_task(*loop_, std::move(task));
  }
  Result<void> write(const std::string& key, std::optional<std::string> value) {
    return run(behind_->write(key, std::move(value), kNever));
  }
  std::map<std::string, std::pair<std::string, int64_t>> rows() {
    std::map<std::string, std::pair<std::string, int64_t>> found;
    const auto read = store_->write_now([&](store::SqliteConnection& db) -> Result<void> {
      TRY(store::Query row, db.query("SELECT key, value, writes FROM places"));
      while (true) {
        TRY(const bool more, row.next());
        if (!more) return {};
        found[std::string(row.text(0))] = {std::string(row.text(1)), row.integer(2)};
      }
    });
    EXPECT_TRUE(read);
    return found;
  }
  // What is under way was gathered before: the batch after it has all that was written until now.
  void until_refused_again() {
    const int before = refused_;
    for (int turn = 0; turn < 100'000 && refused_ < before + 2; ++turn) loop_->run_once(2ms);
    EXPECT_GE(refused_, before + 2);
  }
  void until_stored(WriteBehind& behind) {
    for (int turn = 0; turn < 100'000 && behind.waiting() > 0; ++turn) loop_->run_once(2ms);
    EXPECT_EQ(behind.waiting(), 0u);
  }

  std::unique_ptr<FaultyDisk> disk_ = std::make_unique<FaultyDisk>();
  Metrics metrics_;
  std::unique_ptr<Loop> loop_;
  BlockingPool pool_;  // ends before the loop: its work comes back to it
  std::string folder_;
  std::atomic<bool> refuse_{false};
  std::atomic<int> refused_{0};
  std::unique_ptr<store::SqliteStore> store_;
  std::unique_ptr<EventLog> log_;
  std::unique_ptr<WriteBehind> behind_;
};

TEST_F(WriteBehindTest, AValueIsReadAtOnceAndStoredLater) {
  refuse_ = true;
  behind_ = start();
  ASSERT_TRUE(write("a", "1"));
  EXPECT_EQ(behind_->find("a"), std::optional(std::optional<std::string>("1")));
  EXPECT_EQ(behind_->find("b"), std::nullopt);
  EXPECT_TRUE(rows().empty());
  refuse_ = false;
  until_stored(*behind_);
  EXPECT_EQ(behind_->find("a"), std::nullopt);
  EXPECT_EQ(rows()["a"].first, "1");
}

TEST_F(WriteBehindTest, OfManyWritesOfAKeyTheLastIsStoredOnce) {
  refuse_ = true;
  behind_ = start();
  for (int i = 0; i <= 50; ++i) ASSERT_TRUE(write("a", std::to_string(i)));
  ASSERT_TRUE(write("b", "x"));
  ASSERT_TRUE(write("b", std::nullopt));
  ASSERT_TRUE(behind_->find("b"));
  EXPECT_EQ(*behind_->find("b"), std::nullopt) << "removed";
  EXPECT_EQ(behind_->waiting(), 2u);
  until_refused_again();
  refuse_ = false;
  until_stored(*behind_);
  EXPECT_EQ(rows(), (std::map<std::string, std::pair<std::string, int64_t>>{{"a", {"50", 1}}}));
}

TEST_F(WriteBehindTest, ARemovalTakesARowAway) {
  behind_ = start();
  ASSERT_TRUE(write("a", "1"));
  until_stored(*behind_);
  ASSERT_EQ(rows().size(), 1u);
  ASSERT_TRUE(write("a", std::nullopt));
  until_stored(*behind_);
  EXPECT_TRUE(rows().empty());
}

TEST_F(WriteBehindTest, WhatWasAcknowledgedIsThereAfterACrash) {
  std::map<std::string, std::string> acknowledged;
  for (int crash = 0; crash < 20; ++crash) {
    refuse_ = crash % 2 == 0;  // with nothing in the store, and with some
    behind_ = start();
    for (const auto& [key, value] : acknowledged) {
      const auto late = behind_->find(key);
      EXPECT_EQ(late ? **late : rows()[key].first, value) << key;
    }
    for (int i = 0; i < 30; ++i) {
      const std::string key = "key" + std::to_string(i % 7);
      const std::string value = std::to_string(crash * 100 + i);
      ASSERT_TRUE(write(key, value));
      acknowledged[key] = value;
    }
    for (int turn = 0; turn < crash; ++turn) loop_->run_once(1ms);
    close();  // without a stop
    disk_->lose_power();
    open();
  }
  refuse_ = false;
  behind_ = start();
  until_stored(*behind_);
  for (const auto& [key, value] : acknowledged) EXPECT_EQ(rows()[key].first, value) << key;
}

TEST_F(WriteBehindTest, TooManyThatWaitAreRefused) {
  refuse_ = true;
  behind_ = start({.max_waiting = 3});
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(write("a", std::to_string(i)));
  const auto refused = write("a", "3");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::resource_exhausted);
  EXPECT_EQ(**behind_->find("a"), "2");
  refuse_ = false;
  until_stored(*behind_);
  EXPECT_TRUE(write("a", "4"));
}

TEST_F(WriteBehindTest, TwoInstancesStoreEachBatchOnce) {
  refuse_ = true;
  behind_ = start();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(write("key" + std::to_string(i), "x"));
  auto second = start();
  EXPECT_EQ(**second->find("key7"), "x");
  refuse_ = false;
  until_stored(*behind_);
  until_stored(*second);
  for (const auto& [key, row] : rows()) EXPECT_EQ(row.second, 1) << key;
  EXPECT_EQ(rows().size(), 20u);
  ASSERT_TRUE(write("late", "y"));  // by the first, stored by either
  until_stored(*behind_);
  EXPECT_TRUE(run(behind_->stop(kNever)));
  EXPECT_TRUE(run(second->stop(kNever)));
  EXPECT_EQ(rows()["late"].second, 1);
}

TEST_F(WriteBehindTest, AStopWritesWhatWaits) {
  behind_ = start();
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(write("key" + std::to_string(i), "x"));
  EXPECT_TRUE(run(behind_->stop(kNever)));
  EXPECT_EQ(rows().size(), 100u);
}

TEST_F(WriteBehindTest, ALogThatIsShorterThanTheStoreSaysIsRefused) {
  behind_ = start();
  ASSERT_TRUE(write("a", "1"));
  EXPECT_TRUE(run(behind_->stop(kNever)));
  close();
  disk_ = std::make_unique<FaultyDisk>();
  open();
  WriteBehindOptions how;
  how.topic = "places";
  WriteBehind other(*log_, *store_, metrics_, how,
                    [](store::SqliteConnection&, std::span<const LateWrite>) { return Result<void>(); });
  const auto started = run(other.start());
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code(), Code::data_loss);
}

}  // namespace
}  // namespace trellis::queue
