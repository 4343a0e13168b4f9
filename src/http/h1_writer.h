// Writes HTTP/1.1 heads and chunk lines into memory of the exchange. What is written can be read in one way only:
// framing fields come from the options, never from the message's fields, and a name or value that would split the
// message is refused, nothing of it written. No malloc a message: OutBuffer lives in the arena or in memory given to
// it. One core, lives with its exchange.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "base/arena.h"
#include "http/h1_parser.h"
#include "http/message.h"

namespace trellis::http {

// Bytes in a row that grow at the end; starts in `first` if given, moves to (larger) arena memory when full.
class OutBuffer {
 public:
  explicit OutBuffer(Arena& arena, std::span<char> first = {}) noexcept
      : arena_(&arena), data_(first.data()), capacity_(first.size()) {}

  // At least `size` bytes behind the end; write there, then commit() what was used.
  char* reserve(size_t size) {
    if (capacity_ - size_ < size) [[unlikely]]
      grow(size);
    return data_ + size_;
  }
  void commit(size_t size) noexcept { size_ += size; }
  void append(std::string_view text) {
    if (text.empty()) return;
    char* to = reserve(text.size());
    std::memcpy(to, text.data(), text.size());
    size_ += text.size();
  }
  void truncate(size_t size) noexcept { size_ = size; }
  void clear() noexcept { size_ = 0; }  // keeps the memory
  std::string_view view() const noexcept { return {data_, size_}; }
  size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }

 private:
  void grow(size_t size);

  Arena* arena_;
  char* data_;
  size_t size_ = 0;
  size_t capacity_;
};

inline constexpr std::string_view kContinueHead = "HTTP/1.1 100 Continue\r\n\r\n";
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

// How a response is to be framed for a request of `method` over HTTP/1.`version_minor`: HEAD, 1xx, 204 and 304 have no
// body; a known length is said; else chunked, or for HTTP/1.0 the end of the connection (which clears keep_alive).
ResponseFraming framing_for(const Response& response, Method method, uint8_t version_minor, bool keep_alive) noexcept;

struct ResponseHeadOptions {
  ResponseFraming framing;      // from framing_for(); keep_alive decides what Connection says
  uint8_t version_minor = 1;    // of the request: an HTTP/1.0 client is told keep-alive explicitly
  Method method = Method::get;  // of the request
  std::string_view date;        // IMF-fixdate, kept by the loop; written where the fields have no Date. "" writes none
  std::string_view extra;       // whole field lines, each with CRLF, put in as they are (constants of ours only)
};

// Status line, fields, empty line. Left out of the fields: Connection, Keep-Alive, Proxy-Connection, Transfer-Encoding;
// Content-Length but of a HEAD answer or 304; Upgrade but of 101 and 426. Beside Upgrade "Connection: Upgrade" is
// written. bad_field_name or bad_field_value: the message is not writable, `out` is as it was, answer 500.
H1Error write_response_head(OutBuffer& out, const Response& response, const ResponseHeadOptions& options);

struct RequestHeadOptions {
  BodyKind body = BodyKind::none;  // none, length or chunked
  uint64_t length = 0;
  bool keep_alive = true;
  bool upgrade = false;          // keeps Upgrade and writes "Connection: Upgrade"
  bool te_trailers = false;      // writes "TE: trailers" and names it in Connection
  bool expect_continue = false;  // writes "Expect: 100-continue"
  bool absolute_form = false;    // to a proxy: scheme and authority stand in the target
  std::string_view host;         // instead of request.authority
};

// Request line (method, path and query as normalised), Host first, fields, empty line. Left out of the fields: Host,
// Connection, Keep-Alive, Proxy-Connection, TE, Expect, Content-Length, Transfer-Encoding, Upgrade (but with
// options.upgrade), HTTP2-Settings. The method, path, query and host are checked too: bad_method, bad_target, bad_host.
H1Error write_request_head(OutBuffer& out, const Request& request, const RequestHeadOptions& options);

// Takes out of a message what concerns one connection only (RFC 9110 §7.6.1): Connection, the fields it names,
// Keep-Alive, Proxy-Connection, Proxy-Authenticate, Proxy-Authorization, TE, Transfer-Encoding, Upgrade (kept with
// `keep_upgrade`). For whoever forwards.
void remove_hop_by_hop(Fields& fields, bool keep_upgrade);

// The line before a chunk's data ("1f40\r\n"); behind the data comes CRLF. Size 0 is never written so: see
// write_last_chunk.
void write_chunk_line(OutBuffer& out, uint64_t size);
// The last chunk with trailers (none: nullptr). Fields that are not allowed in trailers are left out, and so are
// unwritable ones.
void write_last_chunk(OutBuffer& out, const Fields* trailers);

// May a field with this name stand in a trailer section? (RFC 9110 §6.5.1)
bool allowed_in_trailer(const Field& field) noexcept;

}  // namespace trellis::http
