#include "store/sqlite.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <semaphore>
#include <thread>
#include <vector>

#include "base/metrics.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "runtime/sync.h"
#include "tests/fakes/run_task.h"
#include "tests/unit/store/fault_vfs.h"

namespace trellis::store {
namespace {

class SqliteStoreTest : public testing::Test {
 protected:
  SqliteStoreTest() : pool_(2) {
    LoopOptions options;
    options.seed = 1;
    options.pool = &pool_;
    loop_ = *Loop::make(options);
    std::string pattern = testing::TempDir() + "storeXXXXXX";
    folder_ = mkdtemp(pattern.data());
    disk_faults().full = false;
    disk_faults().sync_fails = false;
    disk_faults().open_fails = false;
  }
  ~SqliteStoreTest() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  SqliteOptions options() const {
    SqliteOptions options;
    options.path = folder_ + "/test.db";
    return options;
  }
  void open(SqliteOptions how) {
    auto opened = SqliteStore::open(std::move(how), metrics_);
    ASSERT_TRUE(opened) << opened.error().to_string();
    store_ = *std::move(opened);
    const Migration migration{1, "items",
                              "CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT UNIQUE, real REAL, bytes BLOB)"};
    const auto migrated = store_->migrate("test", std::span(&migration, 1));
    ASSERT_TRUE(migrated) << migrated.error().to_string();
  }
  Task<Result<int64_t>> insert(int64_t id, std::string name) {
    return store_->write([id, name = std::move(name)](SqliteConnection& db) -> Result<int64_t> {
      TRY_VOID(db.execute("INSERT INTO items(id, name) VALUES(?1, ?2)", id, name));
      return id;
    });
  }
  Task<Result<int64_t>> count() {
    return store_->read([](SqliteConnection& db) -> Result<int64_t> {
      TRY(Query rows, db.query("SELECT count(*) FROM items"));
      TRY(const bool row, rows.next());
      EXPECT_TRUE(row);
      return rows.integer(0);
    });
  }
  template <class T>
  T run_to_end(Task<T> task) {
    return fakes::run_task(*loop_, std::move(task));
  }

  Metrics metrics_;
  std::unique_ptr<Loop> loop_;
  BlockingPool pool_;  // ends before the loop: its work comes back to it
  std::string folder_;
  std::unique_ptr<SqliteStore> store_;
};

Task<> insert_and_note(Task<Result<int64_t>> task, int& done, int& failed) {
  Result<int64_t> result = co_await task;
  ++(result ? done : failed);
}

Task<> join(TaskGroup& group) { (void)co_await group.join(kNever); }

TEST_F(SqliteStoreTest, ReadsWhatWasWritten) {
  open(options());
  auto task = store_->write([](SqliteConnection& db) -> Result<int64_t> {
    TRY_VOID(db.execute("INSERT INTO items VALUES(?1, ?2, ?3, ?4)", 7, std::string("n\xc3\xa4me"), 2.5,
                        Blob{std::string_view("\0\1", 2)}));
    TRY_VOID(
        db.execute("INSERT INTO items VALUES(?1, ?2, ?3, ?4)", 8, std::optional<std::string>(), nullptr, std::nullopt));
    return db.changes();
  });
  const auto written = run_to_end(std::move(task));
  ASSERT_TRUE(written) << written.error().to_string();
  EXPECT_EQ(*written, 1);
  const auto read = run_to_end(store_->read([](SqliteConnection& db) -> Result<std::string> {
    TRY(Query rows, db.query("SELECT id, name, real, bytes FROM items ORDER BY id"));
    TRY(const bool first, rows.next());
    EXPECT_TRUE(first);
    EXPECT_EQ(rows.integer(0), 7);
    EXPECT_EQ(rows.real(2), 2.5);
    EXPECT_EQ(rows.blob(3), std::string_view("\0\1", 2));
    std::string name(rows.text(1));
    TRY(const bool second, rows.next());
    EXPECT_TRUE(second);
    EXPECT_TRUE(rows.is_null(1));
    EXPECT_EQ(rows.integer_or_null(2), std::nullopt);
    TRY(const bool third, rows.next());
    EXPECT_FALSE(third);
    return name;
  }));
  ASSERT_TRUE(read) << read.error().to_string();
  EXPECT_EQ(*read, "n\xc3\xa4me");
}

TEST_F(SqliteStoreTest, CommitsManyOperationsTogether) {
  open(options());
  // The writer is held, so that all of them wait when it comes back.
  std::binary_semaphore inside(0);
  std::binary_semaphore leave(0);
  std::thread holder([&] {
    (void)store_->write_now([&](SqliteConnection&) -> Result<int> {
      inside.release();
      leave.acquire();
      return 0;
    });
  });
  inside.acquire();
  const uint64_t before = store_->commits();
  TaskGroup group;
  int done = 0;
  int failed = 0;
  for (int i = 0; i < 200; ++i) group.spawn(insert_and_note(insert(i, "name" + std::to_string(i)), done, failed));
  EXPECT_EQ(store_->queued(), 200u);
  leave.release();
  run_to_end(join(group));
  holder.join();
  EXPECT_EQ(done, 200);
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(store_->commits() - before, 2u);
  EXPECT_EQ(run_to_end(count()).value(), 200);
}

TEST_F(SqliteStoreTest, AFailingOperationTakesOnlyItselfBack) {
  open(options());
  std::binary_semaphore inside(0);
  std::binary_semaphore leave(0);
  std::thread holder([&] {
    (void)store_->write_now([&](SqliteConnection&) -> Result<int> {
      inside.release();
      leave.acquire();
      return 0;
    });
  });
  inside.acquire();
  TaskGroup group;
  int done = 0;
  int failed = 0;
  for (int i = 0; i < 20; ++i) group.spawn(insert_and_note(insert(i, "name" + std::to_string(i / 2)), done, failed));
  leave.release();
  run_to_end(join(group));
  holder.join();
  EXPECT_EQ(done, 10);
  EXPECT_EQ(failed, 10);
  EXPECT_EQ(run_to_end(count()).value(), 10);
  const auto again = run_to_end(insert(100, "name1"));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), Code::already_exists);
  EXPECT_EQ(again.error().side(), Side::self);
  // The first statement of an operation that fails later is taken back with it.
  const auto half = run_to_end(store_->write([](SqliteConnection& db) -> Result<int> {
    TRY_VOID(db.execute("INSERT INTO items(id, name) VALUES(500, 'half')"));
    return fail(Code::invalid_argument, "no");
  }));
  ASSERT_FALSE(half);
  EXPECT_EQ(half.error().code(), Code::invalid_argument);
  EXPECT_EQ(run_to_end(count()).value(), 10);
}

TEST_F(SqliteStoreTest, ReadersCannotWrite) {
  open(options());
  const auto tried = run_to_end(store_->read(
      [](SqliteConnection& db) -> Result<void> { return db.execute("INSERT INTO items(id, name) VALUES(1, 'x')"); }));
  ASSERT_FALSE(tried);
  EXPECT_EQ(tried.error().code(), Code::failed_precondition);
}

TEST_F(SqliteStoreTest, RefusesWhatWaitedPastItsDeadline) {
  open(options());
  auto late = store_->write([](SqliteConnection&) -> Result<int> { return 1; }, Time{});
  const auto result = run_to_end(std::move(late));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code(), Code::deadline_exceeded);
  auto late_read = store_->read([](SqliteConnection&) -> Result<int> { return 1; }, Time{});
  const auto read = run_to_end(std::move(late_read));
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), Code::deadline_exceeded);
}

TEST_F(SqliteStoreTest, RefusesWhenItsQueueIsFull) {
  SqliteOptions how = options();
  how.max_queue = 3;
  open(how);
  std::binary_semaphore inside(0);
  std::binary_semaphore leave(0);
  std::thread holder([&] {
    (void)store_->write_now([&](SqliteConnection&) -> Result<int> {
      inside.release();
      leave.acquire();
      return 0;
    });
  });
  inside.acquire();
  TaskGroup group;
  int done = 0;
  int failed = 0;
  for (int i = 0; i < 5; ++i) group.spawn(insert_and_note(insert(i, "n" + std::to_string(i)), done, failed));
  EXPECT_EQ(failed, 2);
  leave.release();
  run_to_end(join(group));
  holder.join();
  EXPECT_EQ(done, 3);
}

TEST_F(SqliteStoreTest, AWaiterThatLeavesDoesNotStopItsOperation) {
  open(options());
  {
    Task<Result<int64_t>> task = insert(1, "left");
    task.start();
  }
  EXPECT_TRUE(run_to_end(insert(2, "stayed")));
  EXPECT_EQ(run_to_end(count()).value(), 2);
}

TEST_F(SqliteStoreTest, AFullDiskRefusesWritesAndKeepsReading) {
  SqliteOptions how = options();
  how.vfs = faulty_vfs();
  open(how);
  ASSERT_TRUE(run_to_end(insert(1, "before")));
  disk_faults().full = true;
  for (int i = 0; i < 3; ++i) {
    const auto refused = run_to_end(insert(2, "during"));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), Code::resource_exhausted) << refused.error().to_string();
    EXPECT_EQ(run_to_end(count()).value(), 1);
  }
  disk_faults().full = false;
  const auto after = run_to_end(insert(3, "after"));
  ASSERT_TRUE(after) << after.error().to_string();
  EXPECT_EQ(run_to_end(count()).value(), 2);
}

TEST_F(SqliteStoreTest, AFullDiskAcknowledgesNothingOfABatch) {
  SqliteOptions how = options();
  how.vfs = faulty_vfs();
  open(how);
  ASSERT_TRUE(run_to_end(insert(1, "before")));
  for (const bool sync : {false, true}) {
    std::binary_semaphore inside(0);
    std::binary_semaphore leave(0);
    std::thread holder([&] {
      (void)store_->write_now([&](SqliteConnection&) -> Result<int> {
        inside.release();
        leave.acquire();
        return 0;
      });
    });
    inside.acquire();
    TaskGroup group;
    int done = 0;
    int failed = 0;
    for (int i = 10; i < 50; ++i) group.spawn(insert_and_note(insert(i, std::to_string(i)), done, failed));
    (sync ? disk_faults().sync_fails : disk_faults().full) = true;
    leave.release();
    run_to_end(join(group));
    holder.join();
    EXPECT_EQ(done, 0);
    EXPECT_EQ(failed, 40);
    EXPECT_EQ(run_to_end(count()).value(), 1);
    disk_faults().full = false;
    disk_faults().sync_fails = false;
    while (!store_->writable()) loop_->run_once(std::chrono::milliseconds(5));
  }
  for (int i = 10; i < 50; ++i) EXPECT_TRUE(run_to_end(insert(i, std::to_string(i))));
  EXPECT_EQ(run_to_end(count()).value(), 41);
}

TEST_F(SqliteStoreTest, AFailedSyncAcknowledgesNothingAndRecoversByItself) {
  SqliteOptions how = options();
  how.vfs = faulty_vfs();
  open(how);
  ASSERT_TRUE(run_to_end(insert(1, "before")));
  disk_faults().sync_fails = true;
  const auto lost = run_to_end(insert(2, "during"));
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code(), Code::unavailable);
  EXPECT_FALSE(store_->writable());
  const auto refused = run_to_end(insert(3, "during"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::unavailable);
  EXPECT_TRUE(run_to_end(count()));
  disk_faults().sync_fails = false;
  while (!store_->writable()) loop_->run_once(std::chrono::milliseconds(5));
  const auto after = run_to_end(insert(4, "after"));
  ASSERT_TRUE(after) << after.error().to_string();
}

// What is committed to a file without a name is gone at the next start.
TEST_F(SqliteStoreTest, AcknowledgesNothingToAFileThatWasMovedAway) {
  open(options());
  ASSERT_TRUE(run_to_end(insert(1, "before")));
  const std::string path = options().path;
  const auto refused = [&](int64_t id) {
    const auto written = run_to_end(insert(id, std::to_string(id)));
    EXPECT_FALSE(written);
    return !written && written.error().code() == Code::unavailable;
  };
  std::filesystem::rename(path, path + ".gone");
  EXPECT_TRUE(refused(2));
  EXPECT_TRUE(refused(3));
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_TRUE(run_to_end(count()));
  std::filesystem::rename(path + ".gone", path);
  while (!store_->writable()) loop_->run_once(std::chrono::milliseconds(5));
  ASSERT_TRUE(run_to_end(insert(4, "back")));
  // Another file in its place is not gone on with, nor is it touched.
  std::filesystem::copy_file(path, path + ".other");
  const auto size = std::filesystem::file_size(path);
  std::filesystem::rename(path + ".other", path);
  EXPECT_TRUE(refused(5));
  EXPECT_TRUE(refused(6));
  store_.reset();
  EXPECT_EQ(std::filesystem::file_size(path), size);
  EXPECT_EQ(std::filesystem::exists(path + "-wal") ? std::filesystem::file_size(path + "-wal") : 0, 0u);
}

TEST_F(SqliteStoreTest, LeavesADatabaseOfOthersAlone) {
  const std::string path = options().path;
  sqlite3* theirs = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &theirs), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(theirs, "CREATE TABLE theirs(id); INSERT INTO theirs VALUES(1)", nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(theirs);
  const auto content = [&path] {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string before = content();
  const auto opened = SqliteStore::open(options(), metrics_);
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), Code::failed_precondition);
  EXPECT_EQ(content(), before);
}

TEST_F(SqliteStoreTest, TellsWhichFileMayNotBeWritten) {
  open(options());
  store_.reset();
  const std::string wal = options().path + "-wal";
  std::ofstream(wal) << "";
  ASSERT_EQ(::chmod(wal.c_str(), 0400), 0);
  // The administrator may write anything.
  constexpr uid_t kNobody = 65534;
  const bool root = ::geteuid() == 0;
  if (root) {
    for (const auto& entry : std::filesystem::directory_iterator(folder_))
      ASSERT_EQ(::chown(entry.path().c_str(), kNobody, kNobody), 0);
    ASSERT_EQ(::chown(folder_.c_str(), kNobody, kNobody), 0);
    if (::seteuid(kNobody) != 0) GTEST_SKIP() << "this process may not become another user";
  }
  const auto opened = SqliteStore::open(options(), metrics_);
  ASSERT_EQ(::seteuid(::getuid()), 0);
  ::prctl(PR_SET_DUMPABLE, 1);  // which the change took away, and sanitizers need
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().to_string().find("test.db-wal may not be written"), std::string::npos)
      << opened.error().to_string();
}

TEST_F(SqliteStoreTest, OneProcessAtATime) {
  open(options());
  Metrics other;
  const auto second = SqliteStore::open(options(), other);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Code::failed_precondition);
  store_.reset();
  EXPECT_TRUE(SqliteStore::open(options(), other));
}

TEST_F(SqliteStoreTest, WritesTheWalBackWhenItGrows) {
  SqliteOptions how = options();
  how.checkpoint_bytes = 64 << 10;
  open(how);
  const std::string text(2000, 'x');
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(run_to_end(insert(i, text + std::to_string(i))));
  EXPECT_LT(std::filesystem::file_size(options().path + "-wal"), 512u << 10);
  EXPECT_GT(std::filesystem::file_size(options().path), 300u << 10);
  store_.reset();
  // Closing leaves nothing in the WAL.
  const std::string wal = options().path + "-wal";
  EXPECT_TRUE(!std::filesystem::exists(wal) || std::filesystem::file_size(wal) == 0);
}

TEST_F(SqliteStoreTest, WritesTheWalBackLessOftenAmongLargeTransactions) {
  SqliteOptions how = options();
  how.checkpoint_bytes = 64 << 10;
  how.truncate_bytes = 1 << 20;
  how.truncate_after = std::chrono::hours(1);
  open(how);
  const auto checkpoints = [&] {
    return metrics_
        .histogram("trellis_store_seconds", "Time of an operation of the store, waiting included.",
                   {{"store", "main"}, {"op", "checkpoint"}, {"role", "primary"}})
        .snapshot()
        .count;
  };
  const uint64_t before = checkpoints();
  // Each stands in the index too.
  const auto large = [](int64_t id) { return std::string(100'000, 'x') + std::to_string(id); };
  for (int64_t id = 0; id < 4; ++id) ASSERT_TRUE(run_to_end(insert(id, large(id))));
  EXPECT_EQ(checkpoints(), before);
  for (int64_t id = 4; id < 8; ++id) ASSERT_TRUE(run_to_end(insert(id, large(id))));
  // The next operation comes after what the last one left to do; one that is small is not among large ones.
  ASSERT_TRUE(run_to_end(insert(8, "small")));
  EXPECT_EQ(checkpoints(), before + 1);
  ASSERT_TRUE(run_to_end(insert(9, "another")));
  EXPECT_EQ(checkpoints(), before + 2);
}

TEST_F(SqliteStoreTest, WritesTheRestBackWhenThereIsNothingToDo) {
  SqliteOptions how = options();
  how.checkpoint_bytes = 64 << 10;
  how.truncate_after = {};
  open(how);
  ASSERT_TRUE(run_to_end(insert(1, std::string(300'000, 'x'))));
  const auto written = [&] { return std::filesystem::file_size(options().path) >= 300'000; };
  for (int turn = 0; turn < 10'000 && !written(); ++turn) loop_->run_once(std::chrono::milliseconds(1));
  EXPECT_TRUE(written());
}

TEST_F(SqliteStoreTest, CutsALargeWalWhenThereIsNothingToDo) {
  SqliteOptions how = options();
  how.truncate_bytes = 64 << 10;
  how.truncate_after = {};
  open(how);
  const std::string wal = options().path + "-wal";
  ASSERT_TRUE(run_to_end(insert(1, std::string(300'000, 'x'))));
  for (int turn = 0; turn < 10'000 && std::filesystem::file_size(wal) > (64u << 10); ++turn)
    loop_->run_once(std::chrono::milliseconds(1));
  EXPECT_LE(std::filesystem::file_size(wal), 64u << 10);
  EXPECT_EQ(*run_to_end(count()), 1);
}

TEST_F(SqliteStoreTest, ServesManyThreadsAtOnce) {
  open(options());
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      LoopOptions how;
      how.seed = static_cast<uint64_t>(t) + 2;
      how.pool = &pool_;
      auto loop = *Loop::make(how);
      for (int i = 0; i < 50; ++i) {
        const int64_t id = t * 1000 + i;
        if (fakes::run_task(*loop, insert(id, std::to_string(id)))) ++done;
        if (i % 10 == 0) {
          EXPECT_GE(fakes::run_task(*loop, count()).value_or(0), 1);
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(done, 150);
  EXPECT_EQ(run_to_end(count()).value(), 150);
}

TEST_F(SqliteStoreTest, AppliesEachMigrationOnceAndRefusesANewerFile) {
  open(options());
  const Migration two[] = {{1, "items", "CREATE TABLE wrong(x)"}, {2, "more", "CREATE TABLE more(x)"}};
  ASSERT_TRUE(store_->migrate("test", two));
  ASSERT_TRUE(store_->migrate("test", two));
  // Another user of the file has versions of its own.
  const Migration other{1, "other", "CREATE TABLE other(x)"};
  ASSERT_TRUE(store_->migrate("other", std::span(&other, 1)));
  const auto newer = store_->migrate("test", std::span(two, 1));
  ASSERT_FALSE(newer);
  EXPECT_EQ(newer.error().code(), Code::failed_precondition);
  const Migration renamed[] = {{1, "things", ""}, {2, "more", ""}};
  EXPECT_FALSE(store_->migrate("test", renamed));
  // A migration that fails leaves nothing of itself.
  const Migration broken[] = {two[0], two[1], {3, "broken", "CREATE TABLE half(x); CREATE TABLE half(x)"}};
  EXPECT_FALSE(store_->migrate("test", broken));
  const auto half =
      store_->write_now([](SqliteConnection& db) -> Result<void> { return db.execute("SELECT * FROM half"); });
  EXPECT_FALSE(half);
}

}  // namespace
}  // namespace trellis::store
