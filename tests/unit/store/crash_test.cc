// kill -9 in the middle of writes, again and again: whatever was acknowledged is there, and the file is whole.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "base/metrics.h"
#include "store/sqlite.h"

namespace trellis::store {
namespace {

constexpr int kWriters = 4;
constexpr Migration kSchema{1, "acked",
                            "CREATE TABLE acked(writer INTEGER, n INTEGER, PRIMARY KEY(writer, n)) WITHOUT ROWID"};

// The process that is killed. Started by the test below and not by itself.
TEST(StoreCrash, DISABLED_Writer) {
  const char* path = std::getenv("TRELLIS_TEST_STORE");
  if (!path) return;
  Metrics metrics;
  SqliteOptions options;
  options.path = path;
  auto store = SqliteStore::open(options, metrics);
  ASSERT_TRUE(store) << store.error().to_string();
  ASSERT_TRUE((*store)->migrate("test", std::span(&kSchema, 1)));
  std::vector<std::thread> writers;
  for (int writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&, writer] {
      const auto first = (*store)->write_now([writer](SqliteConnection& db) -> Result<int64_t> {
        TRY(Query rows, db.query("SELECT coalesce(max(n), -1) + 1 FROM acked WHERE writer = ?1", writer));
        TRY(const bool row, rows.next());
        return row ? rows.integer(0) : 0;
      });
      for (int64_t n = *first;; ++n) {
        const auto written = (*store)->write_now([writer, n](SqliteConnection& db) -> Result<void> {
          return db.execute("INSERT INTO acked(writer, n) VALUES(?1, ?2)", writer, n);
        });
        if (!written) return;
        const int64_t message[2] = {writer, n};
        if (::write(3, message, sizeof(message)) != sizeof(message)) return;
      }
    });
  }
  for (std::thread& thread : writers) thread.join();
}

TEST(StoreCrash, EveryAcknowledgedRowSurvivesKill) {
  std::string pattern = testing::TempDir() + "crashXXXXXX";
  const std::string folder = mkdtemp(pattern.data());
  const std::string path = folder + "/crash.db";
  ::setenv("TRELLIS_TEST_STORE", path.c_str(), 1);
  std::vector<int64_t> acked(kWriters, -1);
  for (int round = 0; round < 20; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 3);
    std::string program = std::filesystem::read_symlink("/proc/self/exe");
    std::string filter = "--gtest_filter=StoreCrash.DISABLED_Writer";
    std::string disabled = "--gtest_also_run_disabled_tests";
    std::string quiet = "--gtest_brief=1";
    char* argv[] = {program.data(), filter.data(), disabled.data(), quiet.data(), nullptr};
    pid_t child = 0;
    ASSERT_EQ(::posix_spawn(&child, program.c_str(), &actions, nullptr, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    // The moment of the kill is counted in acknowledgements, a different number each time.
    int64_t message[2];
    const int wanted = 5 + round * 37 % 200;
    int seen = 0;
    bool killed = false;
    while (::read(ends[0], message, sizeof(message)) == sizeof(message)) {
      ASSERT_LT(message[0], kWriters);
      ASSERT_EQ(message[1], acked[static_cast<size_t>(message[0])] + 1) << "an acknowledged row was forgotten";
      acked[static_cast<size_t>(message[0])] = message[1];
      if (++seen >= wanted && !killed) {
        ::kill(child, SIGKILL);
        killed = true;
      }
    }
    ::close(ends[0]);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(killed && WIFSIGNALED(status)) << "the writer ended by itself";

    Metrics metrics;
    SqliteOptions options;
    options.path = path;
    auto store = SqliteStore::open(options, metrics);
    ASSERT_TRUE(store) << store.error().to_string();
    for (int writer = 0; writer < kWriters; ++writer) {
      const auto rows = (*store)->write_now([writer](SqliteConnection& db) -> Result<int64_t> {
        TRY(Query query, db.query("SELECT count(*), coalesce(max(n), -1) FROM acked WHERE writer = ?1", writer));
        TRY(const bool row, query.next());
        const bool whole = row && query.integer(0) == query.integer(1) + 1;
        return whole ? query.integer(1) : -1000;  // a row in between is missing
      });
      ASSERT_TRUE(rows) << rows.error().to_string();
      ASSERT_GE(*rows, acked[static_cast<size_t>(writer)]);
      acked[static_cast<size_t>(writer)] = *rows;  // what was committed and not told continues from there
    }
    const auto whole = (*store)->write_now([](SqliteConnection& db) -> Result<bool> {
      TRY(Query query, db.query("PRAGMA integrity_check"));
      TRY(const bool row, query.next());
      return row && query.text(0) == "ok";
    });
    ASSERT_TRUE(whole && *whole) << "integrity_check";
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace trellis::store
