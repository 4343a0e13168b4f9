// Decodes the chunked transfer coding (RFC 9112 §7.1) from pieces of any size, without copying data. As strict as the
// head parser: one reading of every byte, or none. One decoder a body, on the connection's core; trailers are kept in
// the arena given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/arena.h"
#include "http/fields.h"
#include "http/h1_parser.h"

namespace trellis::http {

struct ChunkedLimits {
  size_t max_line = 256;            // a chunk's size and extensions
  size_t max_overhead = 16 * 1024;  // bytes of chunk lines beyond 16 and twice the data's size a chunk
  size_t max_trailer_bytes = 8 * 1024;
  size_t max_trailer_fields = 32;
};

// - Size: 1 to 16 hex digits, at most 2^62. No sign, no "0x", no white space before or behind it.
// - Extensions: by the grammar, without its optional white space, and dropped.
// - CRLF only; exactly CRLF after the data.
// - Trailers: fields by the rules of a head. One that frames, routes or concerns the connection (Content-Length,
// Transfer-Encoding, Host,
//   Connection, ...) is refused (bad_trailer). Others that RFC 9110 §6.5.1 keeps out of trailers (authentication,
//   Content-*, cookies, caching, conditions) are dropped.
class ChunkedDecoder {
 public:
  enum class Step : uint8_t {
    need_more,  // all of `in` was consumed
    data,       // data() is a part of `in`; call again with what was not consumed
    end,        // the body and its trailers are complete; what was not consumed belongs to the next message
    error,      // error() says why; final
  };

  explicit ChunkedDecoder(Arena& arena, ChunkedLimits limits = {}) noexcept : arena_(&arena), limits_(limits) {}

  Step next(std::string_view in, size_t& consumed);
  std::string_view data() const noexcept { return data_; }
  H1Error error() const noexcept { return error_; }
  // After the end: the trailers that were let through; nullptr when there were none.
  const Fields* trailers() const noexcept { return trailers_ && !trailers_->empty() ? &*trailers_ : nullptr; }

 private:
  enum class State : uint8_t {
    size_start,
    size,
    name_start,
    name,
    value_start,
    value_token,
    quoted,
    quoted_pair,
    quoted_end,
    size_lf,
    data,
    data_cr,
    data_lf,
    trailer_start,
    trailer,
    last_lf,
    end,
    error
  };

  Step refuse(H1Error error) noexcept {
    error_ = error;
    state_ = State::error;
    return Step::error;
  }
  bool size_line_done() noexcept;
  H1Error keep_trailer_bytes(std::string_view bytes);
  H1Error finish_trailers();

  Arena* arena_;
  ChunkedLimits limits_;
  State state_ = State::size_start;
  H1Error error_ = H1Error::none;
  uint8_t digits_ = 0;
  uint8_t trailer_match_ = 0;  // how much of CRLF CRLF was seen last
  uint32_t line_ = 0;          // bytes of this chunk line
  uint64_t left_ = 0;          // size of the chunk, then what is still to come of it
  uint64_t overhead_ = 0;
  std::string_view data_;
  char* trailer_bytes_ = nullptr;
  size_t trailer_size_ = 0;
  size_t trailer_capacity_ = 0;
  std::optional<Fields> trailers_;
};

}  // namespace trellis::http
