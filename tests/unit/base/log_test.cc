#include "base/log.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

namespace trellis {
namespace {

using namespace std::chrono_literals;

const WallTime kWhen = WallTime(1772368496789ms);  // 2026-03-01T12:34:56.789Z

std::string line(LogFormat format, LogLevel level, std::string_view message, std::vector<LogField> fields = {}) {
  std::string out;
  append_log_line(out, format, "edge-1", kWhen, level, message, fields);
  return out;
}

// A pipe whose reading end never waits.
class Pipe {
 public:
  Pipe() {
    EXPECT_EQ(pipe2(fds_, O_CLOEXEC), 0);
    fcntl(fds_[0], F_SETFL, O_NONBLOCK);
  }
  ~Pipe() {
    ::close(fds_[0]);
    ::close(fds_[1]);
  }
  int in() const { return fds_[1]; }
  std::string take() {
    std::string text;
    char buffer[65536];
    for (ssize_t n; (n = ::read(fds_[0], buffer, sizeof(buffer))) > 0;) text.append(buffer, static_cast<size_t>(n));
    return text;
  }

 private:
  int fds_[2]{};
};

TEST(Log, WritesOneJsonObjectALine) {
  EXPECT_EQ(
      line(LogFormat::json, LogLevel::warn, "a \"b\"",
           {{"text", "x\ny"}, {"int", -1}, {"size", size_t{7}}, {"real", 0.5}, {"flag", true}}),
      R"({"time":"2026-03-01T12:34:56.789Z","level":"warn","node":"edge-1","message":"a \"b\"","text":"x\ny","int":-1,)"
      R"("size":7,"real":0.5,"flag":true})"
      "\n");
}

TEST(Log, WritesTextForPeople) {
  EXPECT_EQ(line(LogFormat::text, LogLevel::info, "listening", {{"address", "[::]:80"}, {"name", "my web"}, {"n", 3}}),
            "2026-03-01T12:34:56.789Z info  listening address=[::]:80 name=\"my web\" n=3\n");
}

TEST(Log, TextCannotForgeALineOrMoveTheCursor) {
  const std::string text =
      line(LogFormat::text, LogLevel::info, "a\nb\x1b[2J", {{"k", "c\r\nd"}, {"e", ""}, {"f", "x=y"}});
  EXPECT_EQ(text, "2026-03-01T12:34:56.789Z info  a\\nb\\u001b[2J k=\"c\\r\\nd\" e=\"\" f=\"x=y\"\n");
}

TEST(Log, CutsLongText) { EXPECT_LT(line(LogFormat::json, LogLevel::info, std::string(100000, 'x')).size(), 10000u); }

TEST(Log, WritesTimesBefore1970AndLeapDays) {
  char out[kRfc3339Size];
  write_rfc3339(out, WallTime(-1ms));
  EXPECT_EQ(std::string(out, sizeof(out)), "1969-12-31T23:59:59.999Z");
  write_rfc3339(out, WallTime(std::chrono::sys_days(std::chrono::year(2028) / 2 / 29).time_since_epoch() + 1us));
  EXPECT_EQ(std::string(out, sizeof(out)), "2028-02-29T00:00:00.000Z");
}

TEST(Log, ReadsItsOwnLevels) {
  for (const LogLevel level : {LogLevel::debug, LogLevel::info, LogLevel::warn, LogLevel::error, LogLevel::off}) {
    EXPECT_EQ(log_level_from(to_string(level)), level);
  }
  EXPECT_FALSE(log_level_from("verbose"));
  EXPECT_EQ(log_format_from("json"), LogFormat::json);
  EXPECT_FALSE(log_format_from("xml"));
}

TEST(Log, WritesThroughItsThreadAndObeysTheLevel) {
  Pipe pipe;
  start_log({.level = LogLevel::info, .format = LogFormat::json, .node = "n", .fd = pipe.in()});
  log_debug("hidden");
  log_info("shown", {{"k", "v"}});
  set_log_level(LogLevel::debug);
  log_debug("now shown");
  set_log_level(LogLevel::off);
  log_error("not even this");
  flush_log();
  const std::string text = pipe.take();
  stop_log();
  set_log_level(LogLevel::info);
  EXPECT_EQ(text.find("hidden"), std::string::npos);
  EXPECT_NE(text.find(R"("message":"shown","k":"v"})"), std::string::npos);
  EXPECT_NE(text.find("now shown"), std::string::npos);
  EXPECT_EQ(text.find("not even"), std::string::npos);
  start_log({.fd = 2});  // the pipe goes
  stop_log();
}

TEST(Log, LosesNothingFromManyThreadsWhenItStops) {
  Pipe pipe;
  start_log({.format = LogFormat::json, .fd = pipe.in()});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 100; ++i) log_info("m", {{"t", t}, {"i", i}});
    });
  }
  for (std::thread& thread : threads) thread.join();
  stop_log();
  const std::string text = pipe.take();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 400);
  start_log({.fd = 2});
  stop_log();
}

TEST(Log, DropsAndCountsWhenTheReaderIsStuck) {
  Pipe pipe;
  const int size = fcntl(pipe.in(), F_GETPIPE_SZ);
  ASSERT_GT(size, 0);
  const std::string fill(static_cast<size_t>(size), '\n');
  ASSERT_EQ(::write(pipe.in(), fill.data(), fill.size()), size);
  start_log({.format = LogFormat::json, .fd = pipe.in(), .buffer = 500});
  const uint64_t before = log_dropped();
  for (int i = 0; i < 100; ++i) log_info("stuck");  // the writer waits in write(2), the buffer holds a few
  const uint64_t dropped = log_dropped() - before;
  EXPECT_GE(dropped, 80u);
  EXPECT_LT(dropped, 100u);
  std::string text = pipe.take();  // the writer goes on at once: its lines may be in here already
  flush_log();
  log_info("again");
  stop_log();
  text += pipe.take();
  EXPECT_NE(text.find(R"("message":"log lines were dropped","lines":)"), std::string::npos);
  EXPECT_NE(text.find("again"), std::string::npos);
  start_log({.fd = 2});
  stop_log();
}

TEST(LogThrottle, LetsOneThroughAnInterval) {
  LogThrottle throttle(10s);
  const Time start = Time(100s);
  EXPECT_EQ(throttle.pass(start), 0u);
  EXPECT_FALSE(throttle.pass(start));
  EXPECT_FALSE(throttle.pass(start + 9s));
  EXPECT_EQ(throttle.pass(start + 10s), 2u);
  EXPECT_FALSE(throttle.pass(start + 19s));
  EXPECT_EQ(throttle.pass(start + 100s), 1u);
}

TEST(LogThrottle, HoldsRepeatedMessagesBack) {
  Pipe pipe;
  start_log({.format = LogFormat::json, .fd = pipe.in()});
  LogThrottle throttle(1h);
  for (int i = 0; i < 5; ++i) log_every(throttle, LogLevel::warn, "again and again");
  stop_log();
  const std::string text = pipe.take();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
  start_log({.fd = 2});
  stop_log();
}

}  // namespace
}  // namespace trellis
