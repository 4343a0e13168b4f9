// kill -9 for tests: a disabled test of the same program runs as a process of its own, tells what it was promised, and
// is killed in the midst of it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <string>

namespace trellis::fakes {

inline constexpr int kTold = 3;  // the descriptor on which a child tells what was acknowledged

struct Told {
  int64_t who = 0;
  int64_t number = 0;
};
inline bool tell(Told told) { return ::write(kTold, &told, sizeof(told)) == sizeof(told); }

// Runs the disabled test `name` of this program in a process of its own and kills it after `wanted` messages; each goes
// to `heard`, those that were still in the pipe too.
template <class F>
void kill_after(const std::string& name, int wanted, F heard) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], kTold);
  std::string program = std::filesystem::read_symlink("/proc/self/exe");
  std::string filter = "--gtest_filter=" + name;
  std::string disabled = "--gtest_also_run_disabled_tests";
  std::string quiet = "--gtest_brief=1";
  char* argv[] = {program.data(), filter.data(), disabled.data(), quiet.data(), nullptr};
  pid_t child = 0;
  ASSERT_EQ(::posix_spawn(&child, program.c_str(), &actions, nullptr, argv, environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  Told told;
  int seen = 0;
  bool killed = false;
  while (::read(ends[0], &told, sizeof(told)) == sizeof(told)) {
    heard(told);
    if (++seen >= wanted && !killed) {
      ::kill(child, SIGKILL);
      killed = true;
    }
  }
  ::close(ends[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(killed && WIFSIGNALED(status)) << "the child ended by itself";
}

}  // namespace trellis::fakes
