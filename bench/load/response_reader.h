// Follows the framing of HTTP/1.1 responses on one connection: where each ends, its status, whether the server closes.
// It keeps no body and no header, only what finding the end needs, so that the generator costs less than the servers it
// loads. It is strict where a server's fault would go unseen: conflicting lengths, bad chunks and stray bytes are
// faults.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace trellis::load {

enum class Fault : uint8_t {
  none,
  status_line,      // not HTTP/1.x and three digits
  head_too_long,    // over 64 KiB
  field,            // a header line without a colon, or a bare CR or LF
  length,           // a Content-Length that is no number, or two that differ
  both_lengths,     // Content-Length and Transfer-Encoding
  transfer_coding,  // a transfer coding other than chunked
  chunk,            // a chunk size or the end of a chunk is wrong
};
inline constexpr size_t kFaults = 8;
std::string_view to_string(Fault fault) noexcept;

class ResponseReader {
 public:
  // Starts the next response. Answers to HEAD have no body whatever their head says.
  void start(bool head_request) noexcept;

  // Reads up to the end of one response and returns how many bytes that took; all of them when the end is not among
  // them.
  size_t feed(const char* data, size_t size);

  bool complete() const noexcept { return state_ == State::done; }
  bool broken() const noexcept { return fault_ != Fault::none; }
  bool untouched() const noexcept { return state_ == State::head && partial_.empty(); }
  Fault fault() const noexcept { return fault_; }

  // How many of the next bytes are body and may be dropped unread; skip() says that they were.
  uint64_t skippable() const noexcept {
    return state_ == State::body || state_ == State::chunk_data ? left_ : state_ == State::until_close ? UINT64_MAX : 0;
  }
  void skip(uint64_t bytes) noexcept;
  // The server closed: true when that is where this response ends.
  bool close() noexcept;

  // Of the response that is complete:
  int status() const noexcept { return status_; }
  bool server_closes() const noexcept { return server_closes_; }
  uint64_t body_bytes() const noexcept { return body_bytes_; }

 private:
  enum class State : uint8_t { head, body, chunk_size, chunk_data, chunk_end, trailer, until_close, done };

  bool read_head(std::string_view head);
  bool read_field(std::string_view line);
  void end_of_head() noexcept;
  size_t feed_head(const char* data, size_t size);
  size_t feed_line(const char* data, size_t size);
  void read_line(std::string_view line);
  size_t fail(Fault fault, size_t consumed) noexcept;

  State state_ = State::head;
  Fault fault_ = Fault::none;
  bool head_request_ = false;
  bool server_closes_ = false;
  bool has_length_ = false;
  bool chunked_ = false;
  uint16_t status_ = 0;
  uint64_t left_ = 0;
  uint64_t body_bytes_ = 0;
  std::string partial_;  // the piece of a head or line that has come so far
};

}  // namespace trellis::load
