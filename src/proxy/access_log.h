// The access log: one line for each finished exchange, as JSON or in the combined format. One object serves all cores;
// a line is formatted straight into the calling core's buffer of the FileWriter: no allocation, no system call, no
// lock. Foreign text is limited in length and escaped, values of secret query parameters are replaced by "***", and the
// text of an error never gets in.
//
// JSON fields, in this order; those marked * are left out when empty: time node* listener client method host* path
// query* version status bytes_in bytes_out duration_ms first_byte_ms* upstream* upstream_host* attempts* cache* way*
// route* request_id* trace_id* user_agent* referer* side* outcome*.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"

namespace trellis {
inline namespace base {
class FileWriter;
}
}  // namespace trellis
namespace trellis::http {
struct Request;
struct RequestContext;
}  // namespace trellis::http

namespace trellis::proxy {

struct AccessLogConfig {
  enum class Format : uint8_t { json, combined };

  std::string path;  // "stdout" and "stderr" name the standard streams
  Format format = Format::json;
  size_t max_path = 1024;  // bytes of path and of query that are kept each
  size_t max_value = 512;  // bytes of every other text of the client that are kept
  // Query parameters whose names end in one of these, in any case, percent-encoded or not, have their values replaced:
  // "key" covers api_key and apiKey. So too in Referer.
  std::vector<std::string> redact = {"token", "key", "password", "secret", "signature"};
};

// What is known when an exchange is over. Borrowed for the call.
struct AccessRecord {
  const http::Request& request;
  int status = 0;  // 0: nothing was answered (the client went away)
  const http::RequestContext& context;
  uint64_t bytes_in = 0;   // of the request's body
  uint64_t bytes_out = 0;  // of the response's body
  Time first_byte{};       // of the response; Time{} when there was none
  Time finished{};
  WallTime wall{};  // now
};

class AccessLog {
 public:
  static Result<std::unique_ptr<AccessLog>> open(AccessLogConfig config, std::string node);
  // With a writer of the caller's.
  AccessLog(AccessLogConfig config, std::string node, std::unique_ptr<FileWriter> writer);
  ~AccessLog();

  // On the exchange's core. A line that finds no room is dropped and counted (FileWriter::dropped).
  void write(const AccessRecord& record) const noexcept;
  // For log rotation (SIGUSR1).
  void reopen() noexcept;
  FileWriter& writer() const noexcept { return *writer_; }
  AccessLogConfig::Format format() const noexcept { return config_.format; }
  std::string_view node_json() const noexcept { return node_json_; }  // the node's name, quoted; "" for none

  // The line as text, for tests and tools.
  std::string line(const AccessRecord& record) const;

 private:
  struct Line;  // a record and what was looked up for it
  size_t room_for(const Line& line) const noexcept;
  char* format(char* out, const Line& line) const noexcept;
  char* format_json(char* out, const Line& line) const noexcept;
  char* format_combined(char* out, const Line& line) const noexcept;
  bool may_hold_secrets(std::string_view query) const noexcept;

  AccessLogConfig config_;
  std::array<bool, 256> ends_secret_{};  // the bytes that can stand before the '=' of a secret
  std::string node_json_;                // escaped once
  std::unique_ptr<FileWriter> writer_;
};

}  // namespace trellis::proxy
