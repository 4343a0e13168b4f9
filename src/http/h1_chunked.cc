#include "http/h1_chunked.h"

#include <algorithm>
#include <cstring>

#include "base/encoding.h"
#include "http/h1_scan.h"
#include "http/h1_writer.h"

namespace trellis::http {

namespace {

constexpr uint64_t kMaxChunk = uint64_t{1} << 62;
constexpr uint8_t kMaxSizeDigits = 16;
constexpr uint64_t kFreeOverhead = 16;  // bytes a chunk line may cost whatever it carries

// Would change how the message is read or where it goes: nobody sends that in a trailer in good faith.
bool is_refused_in_trailer(FieldId id) noexcept {
  switch (id) {
    case FieldId::content_length:
    case FieldId::transfer_encoding:
    case FieldId::host:
    case FieldId::connection:
    case FieldId::keep_alive:
    case FieldId::proxy_connection:
    case FieldId::te:
    case FieldId::trailer:
    case FieldId::upgrade:
    case FieldId::expect: return true;
    default: return false;
  }
}

constexpr bool is_quoted_text(char c) noexcept { return !scan::is_control(c) && c != '"' && c != '\\'; }

H1Error line_fault(char c, H1Error otherwise) noexcept {
  return c == '\n' ? H1Error::bare_lf : c == '\0' ? H1Error::nul_byte : otherwise;
}

}  // namespace

// A chunk line and its CRLF were read. Clients that send many lines and little data pay out of one budget.
bool ChunkedDecoder::size_line_done() noexcept {
  const uint64_t allowed = kFreeOverhead + 2 * std::min(left_, kMaxChunk);
  const uint64_t cost = uint64_t{line_} + 2;
  overhead_ = overhead_ + cost > allowed ? overhead_ + cost - allowed : 0;
  return overhead_ <= limits_.max_overhead;
}

ChunkedDecoder::Step ChunkedDecoder::next(std::string_view in, size_t& consumed) {
  consumed = 0;
  data_ = {};
  while (consumed < in.size()) {
    const char c = in[consumed];
    switch (state_) {
      case State::size_start:
        line_ = 0;
        digits_ = 0;
        left_ = 0;
        if (hex_digit(c) < 0) return refuse(line_fault(c, H1Error::bad_chunk_size));
        state_ = State::size;
        [[fallthrough]];
      case State::size:
        if (const int digit = hex_digit(c); digit >= 0) {
          if (++digits_ > kMaxSizeDigits) return refuse(H1Error::bad_chunk_size);
          left_ = left_ << 4 | static_cast<uint64_t>(digit);
          break;
        }
        if (left_ > kMaxChunk) return refuse(H1Error::bad_chunk_size);
        if (c == '\r') {
          state_ = State::size_lf;
        } else if (c == ';') {
          state_ = State::name_start;
        } else {
          return refuse(line_fault(c, H1Error::bad_chunk_size));
        }
        break;
      case State::name_start:
        if (!scan::is_a(c, scan::kToken)) return refuse(line_fault(c, H1Error::bad_chunk_extension));
        state_ = State::name;
        break;
      case State::name:
        if (scan::is_a(c, scan::kToken)) break;
        if (c == '=') {
          state_ = State::value_start;
        } else if (c == ';') {
          state_ = State::name_start;
        } else if (c == '\r') {
          state_ = State::size_lf;
        } else {
          return refuse(line_fault(c, H1Error::bad_chunk_extension));
        }
        break;
      case State::value_start:
        if (c == '"') {
          state_ = State::quoted;
        } else if (scan::is_a(c, scan::kToken)) {
          state_ = State::value_token;
        } else {
          return refuse(line_fault(c, H1Error::bad_chunk_extension));
        }
        break;
      case State::value_token:
        if (scan::is_a(c, scan::kToken)) break;
        [[fallthrough]];
      case State::quoted_end:
        if (c == ';') {
          state_ = State::name_start;
        } else if (c == '\r') {
          state_ = State::size_lf;
        } else {
          return refuse(line_fault(c, H1Error::bad_chunk_extension));
        }
        break;
      case State::quoted:
        if (c == '"') {
          state_ = State::quoted_end;
        } else if (c == '\\') {
          state_ = State::quoted_pair;
        } else if (!is_quoted_text(c)) {
          return refuse(c == '\r' ? H1Error::bare_cr : line_fault(c, H1Error::bad_chunk_extension));
        }
        break;
      case State::quoted_pair:
        if (scan::is_control(c))
          return refuse(c == '\r' ? H1Error::bare_cr : line_fault(c, H1Error::bad_chunk_extension));
        state_ = State::quoted;
        break;
      case State::size_lf:
        if (c != '\n') return refuse(H1Error::bare_cr);
        if (!size_line_done()) return refuse(H1Error::chunk_overhead);
        ++consumed;
        state_ = left_ > 0 ? State::data : State::trailer_start;
        continue;
      case State::data: {
        const size_t size = static_cast<size_t>(std::min<uint64_t>(left_, in.size() - consumed));
        data_ = in.substr(consumed, size);
        left_ -= size;
        consumed += size;
        if (left_ == 0) state_ = State::data_cr;
        return Step::data;
      }
      case State::data_cr:
        if (c != '\r') return refuse(c == '\n' ? H1Error::bare_lf : H1Error::bad_chunk_end);
        ++consumed;
        state_ = State::data_lf;
        continue;
      case State::data_lf:
        if (c != '\n') return refuse(H1Error::bad_chunk_end);
        ++consumed;
        state_ = State::size_start;
        continue;
      case State::trailer_start:
        if (c == '\r') {
          ++consumed;
          state_ = State::last_lf;
          continue;
        }
        state_ = State::trailer;
        trailer_match_ = 0;
        [[fallthrough]];
      case State::trailer: {
        // Up to CRLF CRLF, of which trailer_match_ bytes were seen. A CR or LF out of place is refused at once.
        size_t i = consumed;
        bool complete = false;
        while (i < in.size() && !complete) {
          const char b = in[i];
          if (b == '\r') {
            if (trailer_match_ == 1 || trailer_match_ == 3) return refuse(H1Error::bare_cr);
            ++trailer_match_;
          } else if (b == '\n') {
            if (trailer_match_ != 1 && trailer_match_ != 3) return refuse(H1Error::bare_lf);
            complete = ++trailer_match_ == 4;
          } else {
            if (trailer_match_ == 1 || trailer_match_ == 3) return refuse(H1Error::bare_cr);
            trailer_match_ = 0;
          }
          ++i;
        }
        if (const H1Error error = keep_trailer_bytes(in.substr(consumed, i - consumed)); error != H1Error::none) {
          return refuse(error);
        }
        consumed = i;
        if (!complete) return Step::need_more;
        if (const H1Error error = finish_trailers(); error != H1Error::none) return refuse(error);
        state_ = State::end;
        return Step::end;
      }
      case State::last_lf:
        if (c != '\n') return refuse(H1Error::bare_cr);
        ++consumed;
        state_ = State::end;
        return Step::end;
      case State::end: return Step::end;
      case State::error: return Step::error;
    }
    // Only the bytes of a chunk line come here.
    ++consumed;
    if (++line_ > limits_.max_line) return refuse(H1Error::bad_chunk_extension);
  }
  if (state_ == State::end) return Step::end;
  return state_ == State::error ? Step::error : Step::need_more;
}

H1Error ChunkedDecoder::keep_trailer_bytes(std::string_view bytes) {
  if (bytes.size() > limits_.max_trailer_bytes - trailer_size_) return H1Error::trailers_too_large;
  if (bytes.size() > trailer_capacity_ - trailer_size_) {
    const size_t capacity = std::max<size_t>({256, trailer_capacity_ * 2, trailer_size_ + bytes.size()});
    char* const larger = arena_->alloc(capacity);
    if (trailer_size_ > 0) std::memcpy(larger, trailer_bytes_, trailer_size_);
    trailer_bytes_ = larger;
    trailer_capacity_ = capacity;
  }
  std::memcpy(trailer_bytes_ + trailer_size_, bytes.data(), bytes.size());
  trailer_size_ += bytes.size();
  return H1Error::none;
}

H1Error ChunkedDecoder::finish_trailers() {
  trailers_.emplace(*arena_);
  const std::string_view lines(trailer_bytes_, trailer_size_ - 2);
  const H1Error error = parse_field_lines(lines, limits_.max_trailer_fields, *trailers_);
  if (error == H1Error::none) {
    bool refused = false;
    trailers_->remove_if([&refused](const Field& field) {
      refused = refused || is_refused_in_trailer(field.id);
      return !allowed_in_trailer(field);
    });
    if (!refused) return H1Error::none;
  }
  trailers_.reset();
  if (error == H1Error::none) return H1Error::bad_trailer;
  return error == H1Error::too_many_fields ? H1Error::trailers_too_large : error;
}

}  // namespace trellis::http
