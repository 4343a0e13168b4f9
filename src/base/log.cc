#include "base/log.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include "base/json.h"

namespace trellis {
inline namespace base {
namespace {

constexpr size_t kMaxText = 8192;  // bytes of one message or value that are kept
constexpr auto kMaxFlushWait = std::chrono::seconds(5);
constexpr int kMaxStalls = 20;  // times that a descriptor may refuse bytes for kStallMillis before a batch is given up
constexpr int kStallMillis = 100;

std::atomic<LogLevel> current_level{LogLevel::info};
std::atomic<uint64_t> dropped_lines{0};

struct Log {
  // WHY: a lock; any thread may log, seldom, and holds it for a copy of one line. No I/O happens under it while the
  // writer runs.
  std::mutex mutex;
  std::condition_variable work;
  std::condition_variable done;
  std::string waiting;
  uint64_t queued = 0;    // bytes ever put into `waiting`
  uint64_t written = 0;   // bytes taken from it and written or given up
  uint64_t reported = 0;  // dropped lines that were told
  LogConfig config;
  LogFormat format = LogFormat::text;
  bool format_known = false;
  bool journal = false;
  bool running = false;
  bool stopping = false;
  std::thread thread;
};

// Never destroyed: threads and destructors of static objects may log until the very end.
Log& the_log() noexcept {
  static Log* log = new Log;
  return *log;
}

// systemd sets JOURNAL_STREAM to the device and inode of the stream that it reads; only then are "<6>" prefixes
// understood.
bool is_journal(int fd) noexcept {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat info{};
  if (stream == nullptr || fstat(fd, &info) != 0) return false;
  char expected[64];
  std::snprintf(expected, sizeof(expected), "%llu:%llu", static_cast<unsigned long long>(info.st_dev),
                static_cast<unsigned long long>(info.st_ino));
  return std::string_view(stream) == expected;
}

void settle_format(Log& log) noexcept {
  log.format = log.config.format;
  if (log.format == LogFormat::automatic) log.format = isatty(log.config.fd) != 0 ? LogFormat::text : LogFormat::json;
  log.journal = is_journal(log.config.fd);
  log.format_known = true;
}

std::string_view journal_prefix(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::debug: return "<7>";
    case LogLevel::info: return "<6>";
    case LogLevel::warn: return "<4>";
    case LogLevel::error:
    case LogLevel::off: break;
  }
  return "<3>";
}

// What a closed, full or broken descriptor does not take is lost: there is nobody left to tell.
void write_out(int fd, std::string_view bytes) noexcept {
  int stalls = 0;
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
    } else if (errno == EAGAIN && ++stalls <= kMaxStalls) {
      pollfd ready{fd, POLLOUT, 0};
      ::poll(&ready, 1, kStallMillis);
    } else if (errno != EINTR) {
      dropped_lines.fetch_add(static_cast<uint64_t>(std::count(bytes.begin(), bytes.end(), '\n')),
                              std::memory_order_relaxed);
      return;
    }
  }
}

void append_dropped(Log& log, std::string& out) {
  const uint64_t dropped = dropped_lines.load(std::memory_order_relaxed);
  if (dropped == log.reported) return;
  const LogField field{"lines", dropped - log.reported};
  log.reported = dropped;
  if (log.journal) out += journal_prefix(LogLevel::warn);
  append_log_line(out, log.format, log.config.node, system_clock().wall(), LogLevel::warn, "log lines were dropped",
                  {&field, 1});
}

void run_writer(Log& log) {
  std::string batch;
  std::unique_lock lock(log.mutex);
  while (true) {
    log.work.wait(lock, [&log] { return !log.waiting.empty() || log.stopping; });
    if (log.waiting.empty()) return;
    batch.clear();
    std::swap(batch, log.waiting);
    const size_t taken = batch.size();
    append_dropped(log, batch);
    const int fd = log.config.fd;
    lock.unlock();
    write_out(fd, batch);
    lock.lock();
    log.written += taken;
    log.done.notify_all();
  }
}

void append_value_text(std::string& out, std::string_view text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return c > ' ' && c < 0x7F && c != '"' && c != '\\' && c != '=';
  });
  if (plain) {
    out += text;
  } else {
    append_json(out, text);
  }
}

template <class Number>
void append_number(std::string& out, Number value) {
  char text[32];
  const auto done = std::to_chars(text, text + sizeof(text), value);
  out.append(text, done.ptr);
}

void append_text_value(std::string& out, const LogValue& value) {
  switch (value.kind()) {
    case LogValue::Kind::text: append_value_text(out, value.text().substr(0, kMaxText)); break;
    case LogValue::Kind::signed_number: append_number(out, value.as_signed()); break;
    case LogValue::Kind::unsigned_number: append_number(out, value.as_unsigned()); break;
    case LogValue::Kind::real: append_number(out, value.real()); break;
    case LogValue::Kind::flag: out += value.as_unsigned() != 0 ? "true" : "false"; break;
  }
}

void add_json_value(JsonWriter& json, const LogValue& value) {
  switch (value.kind()) {
    case LogValue::Kind::text: json.value(value.text().substr(0, kMaxText)); break;
    case LogValue::Kind::signed_number: json.value(value.as_signed()); break;
    case LogValue::Kind::unsigned_number: json.value(value.as_unsigned()); break;
    case LogValue::Kind::real: json.value(value.real()); break;
    case LogValue::Kind::flag: json.value(value.as_unsigned() != 0); break;
  }
}

char* put_digits(char* out, unsigned value, int digits) noexcept {
  for (int i = digits - 1; i >= 0; --i) {
    out[i] = static_cast<char>('0' + value % 10);
    value /= 10;
  }
  return out + digits;
}

}  // namespace

std::string_view to_string(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::debug: return "debug";
    case LogLevel::info: return "info";
    case LogLevel::warn: return "warn";
    case LogLevel::error: return "error";
    case LogLevel::off: break;
  }
  return "off";
}

std::optional<LogLevel> log_level_from(std::string_view text) noexcept {
  for (const LogLevel level : {LogLevel::debug, LogLevel::info, LogLevel::warn, LogLevel::error, LogLevel::off}) {
    if (text == to_string(level)) return level;
  }
  return std::nullopt;
}

std::optional<LogFormat> log_format_from(std::string_view text) noexcept {
  if (text == "automatic") return LogFormat::automatic;
  if (text == "text") return LogFormat::text;
  if (text == "json") return LogFormat::json;
  return std::nullopt;
}

void write_rfc3339(char* out, WallTime now) noexcept {
  const auto millis = std::chrono::floor<std::chrono::milliseconds>(now);
  const auto day = std::chrono::floor<std::chrono::days>(millis);
  const std::chrono::year_month_day date(day);
  const auto of_day = static_cast<unsigned>((millis - day).count());
  out = put_digits(out, static_cast<unsigned>(static_cast<int>(date.year())), 4);
  *out++ = '-';
  out = put_digits(out, static_cast<unsigned>(date.month()), 2);
  *out++ = '-';
  out = put_digits(out, static_cast<unsigned>(date.day()), 2);
  *out++ = 'T';
  out = put_digits(out, of_day / 3'600'000, 2);
  *out++ = ':';
  out = put_digits(out, of_day / 60'000 % 60, 2);
  *out++ = ':';
  out = put_digits(out, of_day / 1000 % 60, 2);
  *out++ = '.';
  out = put_digits(out, of_day % 1000, 3);
  *out = 'Z';
}

void append_log_line(std::string& out, LogFormat format, std::string_view node, WallTime now, LogLevel level,
                     std::string_view message, std::span<const LogField> fields) {
  message = message.substr(0, kMaxText);
  char time[kRfc3339Size];
  write_rfc3339(time, now);
  if (format == LogFormat::json) {
    JsonWriter json(out);
    json.begin_object().member("time", std::string_view(time, sizeof(time))).member("level", to_string(level));
    if (!node.empty()) json.member("node", node);
    json.member("message", message);
    for (const LogField& field : fields) {
      json.key(field.key);
      add_json_value(json, field.value);
    }
    json.end_object();
  } else {
    out.append(time, sizeof(time));
    out += ' ';
    const std::string_view name = to_string(level);
    out += name;
    out.append(6 - name.size(), ' ');
    const size_t before = out.size();
    append_json(out, message);  // escaped, so that no message can move the cursor or forge a line; without the quotes
    out.erase(before, 1);
    out.pop_back();
    for (const LogField& field : fields) {
      out += ' ';
      out += field.key;
      out += '=';
      append_text_value(out, field.value);
    }
  }
  out += '\n';
}

void start_log(LogConfig config) {
  Log& log = the_log();
  const std::lock_guard lock(log.mutex);
  set_log_level(config.level);
  log.config = std::move(config);
  settle_format(log);
  if (log.running) return;
  // Signals are the main thread's and the loops' affair; a SIGPIPE of standard error must not end the process either.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  log.thread = std::thread(run_writer, std::ref(log));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  log.running = true;
}

void stop_log() noexcept {
  Log& log = the_log();
  std::thread thread;
  {
    const std::lock_guard lock(log.mutex);
    if (!log.running || log.stopping) return;
    log.stopping = true;
    thread = std::move(log.thread);
  }
  log.work.notify_one();
  thread.join();
  const std::lock_guard lock(log.mutex);
  write_out(log.config.fd, log.waiting);  // what came after the writer's last look
  log.written = log.queued;
  log.waiting.clear();
  log.running = false;
  log.stopping = false;
  log.done.notify_all();
}

void flush_log() noexcept {
  Log& log = the_log();
  std::unique_lock lock(log.mutex);
  const uint64_t until = log.queued;
  log.done.wait_for(lock, kMaxFlushWait, [&log, until] { return log.written >= until; });
}

void set_log_level(LogLevel level) noexcept { current_level.store(level, std::memory_order_relaxed); }
LogLevel log_level() noexcept { return current_level.load(std::memory_order_relaxed); }
bool log_enabled(LogLevel level) noexcept { return level >= log_level() && level != LogLevel::off; }
uint64_t log_dropped() noexcept { return dropped_lines.load(std::memory_order_relaxed); }

namespace {

void write_fields(LogLevel level, std::string_view message, std::span<const LogField> fields) noexcept {
  if (!log_enabled(level)) return;
  Log& log = the_log();
  LogFormat format;
  std::string line;
  std::string node;
  {
    const std::lock_guard lock(log.mutex);
    if (!log.format_known) settle_format(log);
    format = log.format;
    node = log.config.node;
    if (log.journal) line += journal_prefix(level);
  }
  append_log_line(line, format, node, system_clock().wall(), level, message, fields);

  const std::lock_guard lock(log.mutex);
  if (!log.running) {
    write_out(log.config.fd, line);
  } else if (log.waiting.size() + line.size() > log.config.buffer) {
    dropped_lines.fetch_add(1, std::memory_order_relaxed);
  } else {
    log.waiting += line;
    log.queued += line.size();
    if (log.waiting.size() == line.size()) log.work.notify_one();
  }
}

}  // namespace

void write_log(LogLevel level, std::string_view message, LogFields fields) noexcept {
  write_fields(level, message, {fields.begin(), fields.size()});
}

std::optional<uint64_t> LogThrottle::pass(Time now) noexcept {
  const int64_t at = now.time_since_epoch().count();
  int64_t next = next_.load(std::memory_order_relaxed);
  // Only one of several threads that come at the right time goes through.
  if (at < next || !next_.compare_exchange_strong(next, at + every_.count(), std::memory_order_relaxed)) {
    held_.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
  }
  return held_.exchange(0, std::memory_order_relaxed);
}

void log_every(LogThrottle& throttle, LogLevel level, std::string_view message, LogFields fields) noexcept {
  if (!log_enabled(level)) return;
  const std::optional<uint64_t> held = throttle.pass(system_clock().now());
  if (!held) return;
  if (*held == 0) return write_log(level, message, fields);
  std::vector<LogField> more(fields);
  more.push_back({"held_back", *held});
  write_fields(level, message, more);
}

}  // namespace base
}  // namespace trellis
