#include "store/backup.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "base/metrics.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "store/sqlite.h"
#include "tests/fakes/run_task.h"
#include "tests/unit/store/fault_vfs.h"

namespace trellis::store {
namespace {

constexpr Migration kSchema{1, "pairs", "CREATE TABLE pairs(id INTEGER PRIMARY KEY, left TEXT, right TEXT)"};

class StoreBackup : public testing::Test {
 protected:
  StoreBackup() : pool_(2) {
    LoopOptions options;
    options.seed = 1;
    options.pool = &pool_;
    loop_ = *Loop::make(options);
    std::string pattern = testing::TempDir() + "backupXXXXXX";
    folder_ = mkdtemp(pattern.data());
    path_ = folder_ + "/test.db";
    copy_ = folder_ + "/copy.db";
    disk_faults().full = false;
    disk_faults().sync_fails = false;
    disk_faults().open_fails = false;
  }
  ~StoreBackup() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }
  void open() {
    SqliteOptions options;
    options.path = path_;
    auto opened = SqliteStore::open(options, metrics_);
    ASSERT_TRUE(opened) << opened.error().to_string();
    store_ = *std::move(opened);
    ASSERT_TRUE(store_->migrate("test", std::span(&kSchema, 1)));
  }
  // Both sides of a pair, or the file holds half an operation.
  Result<int64_t> insert(int64_t id) {
    const std::string text = std::to_string(id) + std::string(1000, 'x');
    return store_->write_now([id, text](SqliteConnection& db) -> Result<int64_t> {
      TRY_VOID(db.execute("INSERT INTO pairs(id, left) VALUES(?1, ?2)", id, text));
      TRY_VOID(db.execute("UPDATE pairs SET right = ?2 WHERE id = ?1", id, text));
      return id;
    });
  }
  // The number of rows when all of 0 .. n-1 are there and whole; -1 otherwise.
  static int64_t rows_of(const std::string& path) {
    SqliteConnection::Options how;
    how.path = path;
    how.read_only = true;
    auto connection = SqliteConnection::open(how);
    if (!connection) return -1;
    auto rows = (*connection)->query("SELECT count(*), coalesce(max(id) + 1, 0), sum(left IS NOT right) FROM pairs");
    if (!rows || !rows->next().value_or(false)) return -1;
    return rows->integer(0) == rows->integer(1) && rows->integer(2) == 0 ? rows->integer(0) : -1;
  }
  Result<uint64_t> backup(CopyOptions how = {}) {
    return fakes::run_task(*loop_, store_->backup(copy_, std::move(how)));
  }
  bool left_nothing() const { return !std::filesystem::exists(copy_) && !std::filesystem::exists(copy_ + ".part"); }

  Metrics metrics_;
  std::unique_ptr<Loop> loop_;
  BlockingPool pool_;  // ends before the loop: its work comes back to it
  std::string folder_;
  std::string path_;
  std::string copy_;
  std::unique_ptr<SqliteStore> store_;
};

TEST_F(StoreBackup, CopiesOneStateWhileWritesGoOn) {
  open();
  for (int64_t id = 0; id < 500; ++id) ASSERT_TRUE(insert(id));
  // Between any two steps of the copy something is committed, so that it could not end if commits began it anew.
  int64_t next = 500;
  int steps = 0;
  CopyOptions how;
  how.pages_a_step = 20;
  how.progress = [&](uint64_t done, uint64_t total) {
    EXPECT_LE(done, total);
    EXPECT_TRUE(insert(next));
    ++next;
    ++steps;
    return true;
  };
  const auto copied = backup(how);
  ASSERT_TRUE(copied) << copied.error().to_string();
  EXPECT_GT(steps, 10);
  EXPECT_EQ(*copied, std::filesystem::file_size(copy_));
  EXPECT_EQ(rows_of(copy_), 500);
  // One file, for nobody else to read.
  EXPECT_FALSE(std::filesystem::exists(copy_ + "-wal"));
  EXPECT_FALSE(std::filesystem::exists(copy_ + ".part"));
  struct stat about{};
  ASSERT_EQ(::stat(copy_.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777, 0600u);
  store_.reset();
  EXPECT_EQ(rows_of(path_), next);
}

TEST_F(StoreBackup, ReplacesAFileOnlyWhenTold) {
  open();
  ASSERT_TRUE(insert(0));
  ASSERT_TRUE(backup());
  ASSERT_TRUE(insert(1));
  const auto again = backup();
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), Code::already_exists);
  EXPECT_EQ(rows_of(copy_), 1);
  CopyOptions how;
  how.overwrite = true;
  ASSERT_TRUE(backup(how));
  EXPECT_EQ(rows_of(copy_), 2);
  copy_ = path_;
  const auto itself = backup(how);
  ASSERT_FALSE(itself);
  EXPECT_EQ(itself.error().code(), Code::invalid_argument);
}

TEST_F(StoreBackup, LeavesNothingWhenItIsStopped) {
  open();
  for (int64_t id = 0; id < 100; ++id) ASSERT_TRUE(insert(id));
  CopyOptions how;
  how.pages_a_step = 5;
  how.progress = [](uint64_t, uint64_t) { return false; };
  const auto stopped = backup(how);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code(), Code::cancelled);
  EXPECT_TRUE(left_nothing());
}

TEST_F(StoreBackup, StopsWhenTheStoreIsClosed) {
  open();
  for (int64_t id = 0; id < 100; ++id) ASSERT_TRUE(insert(id));
  CopyOptions how;
  how.pages_a_step = 5;
  how.progress = [this](uint64_t, uint64_t) {
    store_->close();
    return true;
  };
  const auto stopped = backup(how);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code(), Code::cancelled);
  EXPECT_TRUE(left_nothing());
}

TEST_F(StoreBackup, LeavesNothingOnAFullDisk) {
  open();
  for (int64_t id = 0; id < 100; ++id) ASSERT_TRUE(insert(id));
  disk_faults().full = true;
  CopyOptions how;
  how.vfs = faulty_vfs();
  const auto failed = backup(how);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), Code::resource_exhausted) << failed.error().to_string();
  EXPECT_TRUE(left_nothing());
}

TEST_F(StoreBackup, RestoresWhatWasBackedUp) {
  open();
  for (int64_t id = 0; id < 50; ++id) ASSERT_TRUE(insert(id));
  ASSERT_TRUE(backup());
  for (int64_t id = 50; id < 80; ++id) ASSERT_TRUE(insert(id));
  const auto in_use = restore(copy_, path_, {.overwrite = true, .progress = {}, .vfs = {}});
  ASSERT_FALSE(in_use);
  EXPECT_EQ(in_use.error().code(), Code::failed_precondition);
  EXPECT_NE(in_use.error().to_string().find("process " + std::to_string(::getpid())), std::string::npos);
  store_.reset();
  const auto there = restore(copy_, path_, {});
  ASSERT_FALSE(there);
  EXPECT_EQ(there.error().code(), Code::already_exists);
  const auto restored = restore(copy_, path_, {.overwrite = true, .progress = {}, .vfs = {}});
  ASSERT_TRUE(restored) << restored.error().to_string();
  EXPECT_EQ(rows_of(path_), 50);
  EXPECT_EQ(rows_of(path_ + ".replaced"), 80);
  open();
  for (int64_t id = 50; id < 60; ++id) ASSERT_TRUE(insert(id));
  store_.reset();
  // Back to what was replaced.
  ASSERT_TRUE(restore(path_ + ".replaced", path_, {.overwrite = true, .progress = {}, .vfs = {}}));
  EXPECT_EQ(rows_of(path_), 80);
  std::filesystem::remove(path_);
  ASSERT_TRUE(restore(copy_, path_, {}));
  EXPECT_EQ(rows_of(path_), 50);
}

TEST_F(StoreBackup, NeverPutsAnOldWalBesideTheRestoredFile) {
  open();
  for (int64_t id = 0; id < 50; ++id) ASSERT_TRUE(insert(id));
  ASSERT_TRUE(backup());
  for (int64_t id = 50; id < 80; ++id) ASSERT_TRUE(insert(id));
  // As a crash leaves them: a file and a WAL that is not written back.
  const std::string crashed = folder_ + "/crashed.db";
  std::filesystem::copy_file(path_, crashed);
  std::filesystem::copy_file(path_ + "-wal", crashed + "-wal");
  ASSERT_GT(std::filesystem::file_size(crashed + "-wal"), 0u);
  const auto restored = restore(copy_, crashed, {.overwrite = true, .progress = {}, .vfs = {}});
  ASSERT_TRUE(restored) << restored.error().to_string();
  EXPECT_EQ(rows_of(crashed), 50);
  EXPECT_EQ(rows_of(crashed + ".replaced"), 80);
}

TEST_F(StoreBackup, RestoresOnlyWhatIsWholeAndAStore) {
  open();
  for (int64_t id = 0; id < 200; ++id) ASSERT_TRUE(insert(id));
  ASSERT_TRUE(backup());
  const std::string target = folder_ + "/target.db";
  {
    std::fstream file(copy_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096 * 20);
    file << std::string(4096, '\x7f');
  }
  const auto damaged = restore(copy_, target, {});
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code(), Code::data_loss) << damaged.error().to_string();
  std::ofstream(copy_, std::ios::trunc) << "These are notes, not a database. " << std::string(5000, '.');
  const auto notes = restore(copy_, target, {});
  ASSERT_FALSE(notes);
  EXPECT_EQ(notes.error().code(), Code::data_loss) << notes.error().to_string();
  std::ofstream(copy_, std::ios::trunc) << "";
  const auto nothing = restore(copy_, target, {});
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code(), Code::failed_precondition) << nothing.error().to_string();
  EXPECT_FALSE(restore(folder_ + "/missing.db", target, {}));
  EXPECT_FALSE(std::filesystem::exists(target));
}

TEST_F(StoreBackup, InspectsMigrationsSizesAndDamage) {
  open();
  for (int64_t id = 0; id < 200; ++id) ASSERT_TRUE(insert(id));
  store_.reset();
  const auto good = inspect(path_);
  ASSERT_TRUE(good) << good.error().to_string();
  EXPECT_TRUE(good->problems.empty());
  EXPECT_EQ(good->file_bytes, std::filesystem::file_size(path_));
  ASSERT_EQ(good->migrations.size(), 1u);
  EXPECT_EQ(good->migrations[0].space, "test");
  EXPECT_EQ(good->migrations[0].version, 1);
  EXPECT_EQ(good->migrations[0].name, "pairs");
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096 * 20);
    file << std::string(4096, '\x7f');
  }
  const auto bad = inspect(path_);
  ASSERT_TRUE(bad) << bad.error().to_string();
  EXPECT_FALSE(bad->problems.empty());
  EXPECT_FALSE(inspect(folder_ + "/missing.db"));
}

// A command that was ended between two renames is simply run again; what was kept must not go by that.
TEST_F(StoreBackup, RunAgainKeepsWhatACutRestoreSetAside) {
  open();
  for (int64_t id = 0; id < 50; ++id) ASSERT_TRUE(insert(id));
  ASSERT_TRUE(backup());
  for (int64_t id = 50; id < 80; ++id) ASSERT_TRUE(insert(id));
  const auto crashed_as = [this](const std::string& name, const std::string& wal) {
    std::filesystem::copy_file(path_, name);
    std::filesystem::copy_file(path_ + "-wal", wal);
  };
  const CopyOptions how{.overwrite = true, .progress = {}, .vfs = {}};
  const std::string both = folder_ + "/both.db";  // cut before the copy got its name
  crashed_as(both + ".replaced", both + ".replaced-wal");
  ASSERT_TRUE(restore(copy_, both, how));
  EXPECT_EQ(rows_of(both), 50);
  EXPECT_EQ(rows_of(both + ".replaced"), 80);
  const std::string one = folder_ + "/one.db";  // cut before the WAL was set aside
  crashed_as(one + ".replaced", one + "-wal");
  ASSERT_TRUE(restore(copy_, one, how));
  EXPECT_EQ(rows_of(one), 50);
  EXPECT_EQ(rows_of(one + ".replaced"), 80);
}

TEST_F(StoreBackup, TakesTheNameOfNothingButAFile) {
  open();
  ASSERT_TRUE(insert(0));
  CopyOptions how;
  how.overwrite = true;
  std::filesystem::create_directory(folder_ + "/there");
  ASSERT_EQ(::mkfifo((folder_ + "/pipe").c_str(), 0600), 0);
  for (const std::string& name : {std::string(), folder_ + "/there", folder_ + "/pipe", path_ + "-wal", path_ + "-shm",
                                  path_ + ".lock", folder_ + "/./test.db-wal"}) {
    copy_ = name;
    const auto copied = backup(how);
    ASSERT_FALSE(copied) << name;
    EXPECT_EQ(copied.error().code(), Code::invalid_argument) << copied.error().to_string();
  }
  EXPECT_TRUE(std::filesystem::is_fifo(folder_ + "/pipe"));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/pipe.part"));
  store_.reset();
  EXPECT_EQ(rows_of(path_), 1);
  for (const std::string& name : {folder_ + "/there", folder_ + "/pipe"}) {
    const auto restored = restore(name, path_, how);
    ASSERT_FALSE(restored) << name;
    EXPECT_EQ(restored.error().code(), Code::invalid_argument) << restored.error().to_string();
    EXPECT_FALSE(inspect(name));
  }
}

TEST_F(StoreBackup, AFileThatEndsWithinAPageIsDamaged) {
  open();
  for (int64_t id = 0; id < 50; ++id) ASSERT_TRUE(insert(id));
  ASSERT_TRUE(backup());
  std::filesystem::resize_file(copy_, std::filesystem::file_size(copy_) - 1);
  const auto found = inspect(copy_);
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_FALSE(found->problems.empty());
  const auto restored = restore(copy_, folder_ + "/target.db", {});
  ASSERT_FALSE(restored);
  EXPECT_EQ(restored.error().code(), Code::data_loss);
}

TEST_F(StoreBackup, ADatabaseThatIsNoStoreIsNotWhole) {
  std::ofstream(copy_, std::ios::trunc) << "";
  const auto empty = inspect(copy_);
  ASSERT_TRUE(empty) << empty.error().to_string();
  EXPECT_FALSE(empty->problems.empty());
}

// A link to the file is another name for the same store.
TEST_F(StoreBackup, ALinkLeadsToTheSameStore) {
  open();
  ASSERT_TRUE(insert(0));
  ASSERT_TRUE(backup());
  ASSERT_TRUE(insert(1));
  const std::string link = folder_ + "/link.db";
  std::filesystem::create_symlink("test.db", link);
  Metrics metrics;
  const auto second = SqliteStore::open({.path = link}, metrics);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Code::failed_precondition) << second.error().to_string();
  const CopyOptions how{.overwrite = true, .progress = {}, .vfs = {}};
  EXPECT_FALSE(restore(copy_, link, how));
  store_.reset();
  ASSERT_TRUE(restore(copy_, link, how));
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_EQ(rows_of(path_), 1);
  EXPECT_EQ(rows_of(path_ + ".replaced"), 2);
}

}  // namespace
}  // namespace trellis::store
