#include "base/file_writer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/log.h"
#include "base/rng.h"

namespace trellis {
namespace {

class FileWriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "trellis-file-writer-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    set_log_level(LogLevel::off);
  }
  void TearDown() override {
    set_log_level(LogLevel::info);
    std::filesystem::remove_all(folder_);
  }

  std::string path(const std::string& name = "lines.log") const { return (folder_ / name).string(); }

  static std::unique_ptr<FileWriter> open(const std::string& path, size_t buffer = 1024 * 1024) {
    Result<std::unique_ptr<FileWriter>> writer = FileWriter::open({.path = path, .buffer = buffer});
    EXPECT_TRUE(writer.has_value());
    return *std::move(writer);
  }

  static std::string content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::filesystem::path folder_;
};

TEST_F(FileWriterTest, WritesLinesInOrderAndAppendsToWhatIsThere) {
  {
    std::unique_ptr<FileWriter> writer = open(path());
    EXPECT_TRUE(writer->try_write("one\n"));
    EXPECT_TRUE(writer->try_write("two\n"));
    writer->flush();
    EXPECT_EQ(content(path()), "one\ntwo\n");
    EXPECT_EQ(writer->written_bytes(), 8u);
  }
  std::unique_ptr<FileWriter> writer = open(path());
  EXPECT_TRUE(writer->try_write("three\n"));
  writer.reset();  // flushes
  EXPECT_EQ(content(path()), "one\ntwo\nthree\n");
}

TEST_F(FileWriterTest, SaysWhyAFileCannotBeOpened) {
  Result<std::unique_ptr<FileWriter>> writer = FileWriter::open({.path = path("missing/lines.log")});
  ASSERT_FALSE(writer.has_value());
  EXPECT_EQ(writer.error().code(), Code::not_found);
}

TEST_F(FileWriterTest, MakesFilesThatOthersCannotRead) {
  std::unique_ptr<FileWriter> writer = open(path());
  struct stat info{};
  ASSERT_EQ(stat(path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07, 0u);
}

TEST_F(FileWriterTest, FormatsInPlace) {
  std::unique_ptr<FileWriter> writer = open(path());
  char* room = writer->try_begin(100);
  ASSERT_NE(room, nullptr);
  std::memcpy(room, "abc\n", 4);
  writer->commit(4);
  ASSERT_NE(writer->try_begin(100), nullptr);
  writer->commit(0);
  EXPECT_TRUE(writer->try_write("def\n"));
  writer->flush();
  EXPECT_EQ(content(path()), "abc\ndef\n");
}

TEST_F(FileWriterTest, KeepsEveryLineWholeWhereTheRingWraps) {
  Rng rng(5);
  std::unique_ptr<FileWriter> writer = open(path(), 4096);
  std::string expected;
  for (int i = 0; i < 5000; ++i) {
    // Sizes that end exactly at the ring's end included.
    std::string line(i % 50 == 0 ? 1023 : rng.below(700), static_cast<char>('a' + i % 26));
    line += '\n';
    bool written = writer->try_write(line);
    if (!written) {
      writer->flush();
      written = writer->try_write(line);
    }
    ASSERT_TRUE(written);
    expected += line;
  }
  writer.reset();
  EXPECT_TRUE(content(path()) == expected);
}

TEST_F(FileWriterTest, RefusesALineOfMoreThanHalfARing) {
  std::unique_ptr<FileWriter> writer = open(path(), 4096);
  EXPECT_FALSE(writer->try_write(std::string(2049, 'x')));
  EXPECT_TRUE(writer->try_write(std::string(2048, 'x')));
  EXPECT_EQ(writer->dropped(), 1u);
}

TEST_F(FileWriterTest, DropsAndCountsWhenTheDiskIsFull) {
  std::unique_ptr<FileWriter> writer = open("/dev/full", 4096);
  const std::string line = std::string(99, 'x') + "\n";
  uint64_t refused = 0;
  for (int i = 0; i < 100; ++i) refused += writer->try_write(line) ? 0 : 1;
  EXPECT_EQ(refused, 60u);
  EXPECT_EQ(writer->dropped(), 60u);
  writer->flush();
  EXPECT_GE(writer->write_failures(), 1u);
  EXPECT_EQ(writer->written_bytes(), 0u);
}

// A limit on the size of files stands for a disk that is full and later has room again: it cuts a line in the middle
// too.
class SmallDisk {
 public:
  explicit SmallDisk(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit small{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
  }
  ~SmallDisk() { setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

TEST_F(FileWriterTest, GoesOnInTheMiddleOfALineWhenThereIsRoomAgain) {
  std::unique_ptr<FileWriter> writer = open(path());
  std::string expected;
  uint64_t failures = 0;
  size_t size = 0;
  {
    SmallDisk disk(5000);
    for (int i = 0; i < 100; ++i) {
      const std::string line = std::to_string(i) + std::string(90, 'x') + "\n";
      EXPECT_TRUE(writer->try_write(line));
      expected += line;
    }
    writer->flush();
    failures = writer->write_failures();
    size = content(path()).size();
  }
  EXPECT_GE(failures, 1u);
  EXPECT_EQ(size, 5000u);
  writer->flush();
  EXPECT_TRUE(content(path()) == expected);
  EXPECT_EQ(writer->dropped(), 0u);
}

TEST_F(FileWriterTest, WritesACutLineWholeToTheNewFile) {
  std::unique_ptr<FileWriter> writer = open(path());
  const std::string first = std::string(59, 'a') + "\n";
  const std::string second = std::string(59, 'b') + "\n";
  {
    SmallDisk disk(100);
    EXPECT_TRUE(writer->try_write(first));
    EXPECT_TRUE(writer->try_write(second));
    writer->flush();
    std::filesystem::rename(path(), path("old.log"));
    writer->reopen();
    writer->flush();
  }
  writer->flush();
  EXPECT_EQ(content(path("old.log")), first + second.substr(0, 40));
  EXPECT_EQ(content(path()), second);
}

TEST_F(FileWriterTest, ReopenPutsEarlierLinesIntoTheOldFile) {
  std::unique_ptr<FileWriter> writer = open(path());
  EXPECT_TRUE(writer->try_write("before\n"));
  std::filesystem::rename(path(), path("old.log"));
  EXPECT_TRUE(writer->try_write("between\n"));
  writer->reopen();
  writer->flush();
  EXPECT_TRUE(writer->try_write("after\n"));
  writer->flush();
  EXPECT_EQ(content(path("old.log")), "before\nbetween\n");
  EXPECT_EQ(content(path()), "after\n");
}

TEST_F(FileWriterTest, KeepsTheOldFileWhileThePathCannotBeOpened) {
  std::filesystem::create_directory(folder_ / "sub");
  std::unique_ptr<FileWriter> writer = open(path("sub/lines.log"));
  std::filesystem::rename(folder_ / "sub", folder_ / "moved");
  writer->reopen();
  writer->flush();
  EXPECT_GE(writer->write_failures(), 1u);
  EXPECT_TRUE(writer->try_write("kept\n"));
  writer->flush();
  EXPECT_EQ(content(path("moved/lines.log")), "kept\n");
  std::filesystem::create_directory(folder_ / "sub");
  writer->flush();  // tries again
  EXPECT_TRUE(writer->try_write("new\n"));
  writer->flush();
  EXPECT_EQ(content(path("sub/lines.log")), "new\n");
}

TEST_F(FileWriterTest, ASlowReaderOfAPipeHoldsNobodyUp) {
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  const int reader = ::open(path("pipe").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  ASSERT_GE(reader, 0);
  std::unique_ptr<FileWriter> pipe = open(path("pipe"));
  std::unique_ptr<FileWriter> file = open(path());
  const std::string line = std::string(999, 'p') + "\n";
  for (int i = 0; i < 500; ++i) EXPECT_TRUE(pipe->try_write(line));  // more than a pipe holds
  EXPECT_TRUE(file->try_write("file\n"));
  file->flush();
  EXPECT_EQ(content(path()), "file\n");
  size_t read_bytes = 0;
  char buffer[65536];
  for (int i = 0; i < 1000 && read_bytes < 500'000; ++i) {
    const ssize_t n = ::read(reader, buffer, sizeof(buffer));
    if (n > 0) read_bytes += static_cast<size_t>(n);
    pipe->flush();
  }
  EXPECT_EQ(read_bytes, 500'000u);
  pipe.reset();
  ::close(reader);
}

// Every line of every thread once, in the thread's order, over all files in the order of their numbers.
void expect_all_lines(const std::vector<std::string>& contents, size_t threads, size_t lines) {
  std::map<size_t, size_t> next;
  for (const std::string& text : contents) {
    ASSERT_TRUE(text.empty() || text.back() == '\n');
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
      size_t thread = 0;
      size_t number = 0;
      int used = 0;
      ASSERT_EQ(std::sscanf(line.c_str(), "%zu %zu end%n", &thread, &number, &used), 2) << line;
      ASSERT_EQ(static_cast<size_t>(used), line.size()) << line;
      ASSERT_EQ(number, next[thread]++);
    }
  }
  ASSERT_EQ(next.size(), threads);
  for (const auto& [thread, count] : next) EXPECT_EQ(count, lines);
}

TEST_F(FileWriterTest, LosesAndTearsNothingWhenTwoThreadsWriteDuringReopens) {
  constexpr size_t kThreads = 2;
  constexpr size_t kLines = 20000;
  constexpr int kReopens = 40;
  std::vector<std::string> contents;
  {
    std::unique_ptr<FileWriter> writer = open(path(), 4 * 1024 * 1024);
    std::vector<std::thread> threads;
    for (size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&writer, t] {
        for (size_t i = 0; i < kLines; ++i) writer->try_write(std::to_string(t) + " " + std::to_string(i) + " end\n");
      });
    }
    for (int i = 0; i < kReopens; ++i) {
      std::filesystem::rename(path(), path(std::to_string(i)));
      writer->reopen();
      if (i % 2 == 0) std::this_thread::yield();
      writer->flush();
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(writer->dropped(), 0u);
  }
  for (int i = 0; i < kReopens; ++i) contents.push_back(content(path(std::to_string(i))));
  contents.push_back(content(path()));
  expect_all_lines(contents, kThreads, kLines);
}

TEST_F(FileWriterTest, CountsEveryLineThatAFullRingRefuses) {
  constexpr size_t kThreads = 3;
  constexpr size_t kLines = 20000;
  std::unique_ptr<FileWriter> writer = open(path(), 4096);
  std::atomic<uint64_t> accepted{0};
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&writer, &accepted] {
      for (size_t i = 0; i < kLines; ++i) {
        if (writer->try_write("0123456789 0123456789\n")) accepted.fetch_add(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(accepted.load() + writer->dropped(), kThreads * kLines);
  writer.reset();
  const std::string text = content(path());
  EXPECT_EQ(text.size(), accepted.load() * 22);
  for (size_t at = 0; at < text.size(); at += 22) ASSERT_EQ(text.compare(at, 22, "0123456789 0123456789\n"), 0);
}

TEST_F(FileWriterTest, MoreThreadsThanRingsShareTheLastOne) {
  constexpr size_t kThreads = 80;
  constexpr size_t kLines = 50;
  std::unique_ptr<FileWriter> writer = open(path(), 64 * 1024);
  std::barrier everyone(kThreads);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&writer, &everyone, t] {
      writer->try_write(std::to_string(t) + " 0 end\n");
      everyone.arrive_and_wait();  // all of them are alive at once
      for (size_t i = 1; i < kLines; ++i) writer->try_write(std::to_string(t) + " " + std::to_string(i) + " end\n");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(writer->dropped(), 0u);
  writer.reset();
  expect_all_lines({content(path())}, kThreads, kLines);
}

TEST_F(FileWriterTest, ManyWritersComeAndGo) {
  for (int i = 0; i < 30; ++i) {
    std::unique_ptr<FileWriter> one = open(path("one"));
    std::unique_ptr<FileWriter> two = open(path("two"));
    EXPECT_TRUE(one->try_write("1\n"));
    EXPECT_TRUE(two->try_write("2\n"));
  }
  EXPECT_EQ(content(path("one")).size(), 60u);
  EXPECT_EQ(content(path("two")).size(), 60u);
}

}  // namespace
}  // namespace trellis
