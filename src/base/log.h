// The process's own log: what happened to the node (not to each request: that is proxy/access_log.h). A line is a
// message with fields; it is human text where standard error is a terminal and one JSON object elsewhere. Callable from
// every thread: the caller formats and copies into a bounded buffer, one writer thread does the I/O; when the buffer is
// full, lines are dropped and their number is logged. Before start_log() and after stop_log() lines are written at
// once.
//
//   log_info("listening", {{"listener", name}, {"address", address}});
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/time.h"

namespace trellis {
inline namespace base {

class Error;

enum class LogLevel : uint8_t { debug, info, warn, error, off };
std::string_view to_string(LogLevel level) noexcept;
std::optional<LogLevel> log_level_from(std::string_view text) noexcept;

enum class LogFormat : uint8_t { automatic, text, json };  // automatic: text on a terminal, JSON elsewhere
std::optional<LogFormat> log_format_from(std::string_view text) noexcept;

// A borrowed value; lives for the call.
class LogValue {
 public:
  enum class Kind : uint8_t { text, signed_number, unsigned_number, real, flag };

  LogValue(std::string_view text) noexcept : kind_(Kind::text), text_(text) {}      // NOLINT
  LogValue(const char* text) noexcept : LogValue(std::string_view(text)) {}         // NOLINT
  LogValue(const std::string& text) noexcept : LogValue(std::string_view(text)) {}  // NOLINT
  LogValue(bool flag) noexcept : kind_(Kind::flag), unsigned_(flag) {}              // NOLINT
  LogValue(double real) noexcept : kind_(Kind::real), real_(real) {}                // NOLINT
  template <std::signed_integral Int>
  LogValue(Int number) noexcept : kind_(Kind::signed_number), signed_(number) {}  // NOLINT
  template <std::unsigned_integral Int>
    requires(!std::same_as<Int, bool>)
  LogValue(Int number) noexcept : kind_(Kind::unsigned_number), unsigned_(number) {}  // NOLINT

  Kind kind() const noexcept { return kind_; }
  std::string_view text() const noexcept { return text_; }
  int64_t as_signed() const noexcept { return signed_; }
  uint64_t as_unsigned() const noexcept { return unsigned_; }
  double real() const noexcept { return real_; }

 private:
  Kind kind_;
  std::string_view text_;
  union {
    int64_t signed_;
    uint64_t unsigned_ = 0;
    double real_;
  };
};

struct LogField {
  std::string_view key;
  LogValue value;
};
using LogFields = std::initializer_list<LogField>;

struct LogConfig {
  LogLevel level = LogLevel::info;
  LogFormat format = LogFormat::automatic;
  std::string node;             // a field of every JSON line; "" for none
  int fd = 2;                   // not owned
  size_t buffer = 1024 * 1024;  // bytes that wait for the writer thread
};

// Starts the writer thread; again: takes over the new settings. Called from main, before the loops.
void start_log(LogConfig config);
// Writes what waits and ends the thread.
void stop_log() noexcept;
// Waits until what was logged so far is written.
void flush_log() noexcept;

void set_log_level(LogLevel level) noexcept;
LogLevel log_level() noexcept;
bool log_enabled(LogLevel level) noexcept;
uint64_t log_dropped() noexcept;  // lines since the start of the process

void write_log(LogLevel level, std::string_view message, LogFields fields = {}) noexcept;
inline void log_debug(std::string_view message, LogFields fields = {}) noexcept {
  write_log(LogLevel::debug, message, fields);
}
inline void log_info(std::string_view message, LogFields fields = {}) noexcept {
  write_log(LogLevel::info, message, fields);
}
inline void log_warn(std::string_view message, LogFields fields = {}) noexcept {
  write_log(LogLevel::warn, message, fields);
}
inline void log_error(std::string_view message, LogFields fields = {}) noexcept {
  write_log(LogLevel::error, message, fields);
}

// Lets one message through each `every`, and says with it how many were held back. A static or a member beside the
// call:
//   static LogThrottle throttle(std::chrono::seconds(10));
//   log_every(throttle, LogLevel::warn, "accept failed", {{"error", text}});
class LogThrottle {
 public:
  explicit constexpr LogThrottle(Duration every) noexcept : every_(every) {}
  // nullopt: hold back; else how many were held back since the last one. Any thread.
  std::optional<uint64_t> pass(Time now) noexcept;

 private:
  Duration every_;
  std::atomic<int64_t> next_{INT64_MIN};
  std::atomic<uint64_t> held_{0};
};
void log_every(LogThrottle& throttle, LogLevel level, std::string_view message, LogFields fields = {}) noexcept;

// One line with its line feed, as the log writes it. `format` is text or json.
void append_log_line(std::string& out, LogFormat format, std::string_view node, WallTime now, LogLevel level,
                     std::string_view message, std::span<const LogField> fields);

// "2026-03-01T12:34:56.789Z" (24 characters) into out.
inline constexpr size_t kRfc3339Size = 24;
void write_rfc3339(char* out, WallTime now) noexcept;

}  // namespace base
}  // namespace trellis
