// Reads the head of an HTTP/1.x message (RFC 9110, RFC 9112) from bytes already in memory: no I/O, no allocation but
// the field array in the arena, every string a view into the head. It is strict: whatever two parsers could read in two
// ways is refused, because a proxy that guesses is how requests get smuggled. The server reads requests with it, the
// client answers of upstreams; any core, no state but HeadScanner, which belongs to one connection.
//
// Where the RFCs leave a choice, the choice is written at the function that makes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "http/fields.h"
#include "http/message.h"

namespace trellis::http {

// A start line and a head that are longer than this, or have more fields, are refused (414, 431).
struct H1Limits {
  size_t max_start_line = 8 * 1024;
  size_t max_head = 32 * 1024;  // start line, fields and the empty line
  size_t max_fields = 100;
};

enum class H1Error : uint8_t {
  none,
  bad_request_line,
  bad_status_line,
  bad_method,
  bad_target,
  bad_version,          // not HTTP/DIGIT.DIGIT
  unsupported_version,  // another version than 1.0 and 1.1: 505
  bad_field_line,       // no colon
  bad_field_name,
  bad_field_value,
  space_before_colon,
  obs_fold,
  bare_cr,
  bare_lf,
  nul_byte,
  too_many_fields,
  head_too_large,
  target_too_long,
  no_host,
  many_hosts,
  bad_host,
  host_mismatch,  // Host is not the authority of the target
  bad_content_length,
  content_length_conflict,  // more than one, equal or not
  transfer_encoding_and_content_length,
  bad_transfer_encoding,
  unknown_transfer_coding,  // well-formed, ends in chunked, but has a coding before it: 501
  te_in_http10,
  bad_connection,      // malformed, or names a field that is not for one hop
  ambiguous_name,      // Content_Length and the like, which some servers read as Content-Length
  expectation_failed,  // 417
  body_not_allowed,    // CONNECT with any framing, TRACE with a body, 1xx or 204 with one
  bad_chunk_size,
  bad_chunk_extension,
  chunk_overhead,  // far more chunk lines and extensions than data
  bad_chunk_end,   // no CRLF after the data
  bad_trailer,
  trailers_too_large,
};
std::string_view to_string(H1Error error) noexcept;  // a stable code: the enumerator's name
// The status that answers a request with this fault; the connection closes after it. (A fault of an upstream's answer
// is a 502.)
int status_for(H1Error error) noexcept;
// The same as an Error, for bodies: invalid_argument of a client, data_loss of an upstream.
Error error_for(H1Error error, Side side);

enum class BodyKind : uint8_t { none, length, chunked, until_close };

struct RequestFraming {
  BodyKind body = BodyKind::none;  // never until_close. `Content-Length: 0` is length with length == 0
  uint64_t length = 0;
  bool keep_alive = true;          // what the client wishes
  bool expect_continue = false;    // the client waits for 100 before it sends its (non-empty) body
  bool upgrade_requested = false;  // Upgrade named in Connection, no body, HTTP/1.1, not to a form of HTTP
  bool te_trailers = false;        // the client takes trailers
};

struct ResponseHead {
  explicit ResponseHead(Arena& arena) noexcept : fields(arena) {}
  int status = 0;
  uint8_t version_minor = 1;
  std::string_view reason;
  Fields fields;
};

struct ResponseFraming {
  BodyKind body = BodyKind::none;
  uint64_t length = 0;
  bool keep_alive = true;  // the connection can be used again once the body was read to its end
  bool interim = false;    // 1xx but 101: the final answer follows
  bool switched = false;  // 101, or 2xx to CONNECT: the bytes behind are no HTTP. Whoever did not ask for it refuses it
};

enum class HeadKind : uint8_t { request, response };

// Finds the end of a head while its bytes come in. Remembers how far it looked, so a client that sends byte by byte
// costs O(n). Control bytes, a bare CR or LF, limits and a start line that can be none are reported as soon as they are
// seen, so that nobody waits for the rest. 8 bytes, reset between messages.
class HeadScanner {
 public:
  explicit HeadScanner(HeadKind kind = HeadKind::request) noexcept : kind_(kind) {}

  // `bytes` holds everything received since the message began (the same bytes as at the last call, and more). The size
  // of the head with its empty line; nullopt: not complete, or wrong when error() is not none. One empty line before a
  // request line belongs to the head and is ignored (RFC 9112 §2.2), a second one is refused.
  std::optional<size_t> find_end(std::string_view bytes, const H1Limits& limits = {}) noexcept;
  H1Error error() const noexcept { return error_; }
  void reset() noexcept { *this = HeadScanner(kind_); }

 private:
  std::optional<size_t> refuse(H1Error error) noexcept {
    error_ = error;
    return std::nullopt;
  }

  uint32_t looked_ = 0;     // every byte before was found good
  bool line_seen_ = false;  // the start line is complete and may be one
  HeadKind kind_;
  H1Error error_ = H1Error::none;
};

// `head`: a complete head as HeadScanner found it, in memory that lives as long as the arena of `out`. Fills method,
// version, target, authority, path, query and fields; scheme only from an absolute-form target. After an error `out` is
// not to be used.
//
// - Content-Length and Transfer-Encoding are taken out of the fields: `framing` says what they said.
// - Request line: one SP between its parts, nothing around them. Target: origin-form, absolute-form with http or https,
// authority-form
//   with CONNECT only, "*" with OPTIONS only; no fragment. Path and query as http/target.h says.
// - Host: exactly one (HTTP/1.0: at most one), a name of letters, digits, "-._~", an IPv4 address or an [IPv6] one, and
// a port
//   1..65535 if any; not empty. An absolute-form target or CONNECT whose authority is another than Host is refused,
//   where RFC 9112 §3.2.2 would have us replace Host: nothing honest sends that.
// - Content-Length: digits only, once, below 2^63; leading zeros are fine. Equal repetitions are refused too.
// - Transfer-Encoding: exactly "chunked", once, HTTP/1.1 only, never with Content-Length.
// - Connection must name no end-to-end field. Expect other than 100-continue is 417.
H1Error parse_request_head(std::string_view head, const H1Limits& limits, Request& out, RequestFraming& framing);

// The same for an answer. `request_method` decides about HEAD and CONNECT. Content-Length and Transfer-Encoding leave
// the fields, but Content-Length of an answer to HEAD and of a 304 stays, as it describes what a GET would get. 1xx and
// 204 with Transfer-Encoding or a Content-Length above 0 are refused; a missing reason phrase is fine, even without its
// space.
H1Error parse_response_head(std::string_view head, const H1Limits& limits, Method request_method, ResponseHead& out,
                            ResponseFraming& framing);

// Field lines up to the end of `lines` (each with its CRLF, no empty line): for trailers. No framing is looked at.
H1Error parse_field_lines(std::string_view lines, size_t max_fields, Fields& out);

// A host with an optional port, as Host and targets may have it (see above).
bool valid_authority(std::string_view text) noexcept;
bool valid_token(std::string_view text) noexcept;        // RFC 9110 §5.6.2, not empty
bool valid_field_value(std::string_view text) noexcept;  // no control bytes but HTAB

}  // namespace trellis::http
