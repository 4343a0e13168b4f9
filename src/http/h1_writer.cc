#include "http/h1_writer.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "http/h1_scan.h"

namespace trellis::http {

namespace {

struct StatusText {
  char text[48];
  uint8_t size;
};
using StatusTable = std::array<StatusText, 500>;  // 100 to 599

StatusTable make_status_table() noexcept {
  StatusTable table{};
  for (size_t i = 0; i < table.size(); ++i) {
    const int status = static_cast<int>(i) + 100;
    StatusText& line = table[i];
    char* to = line.text;
    const auto put = [&to](std::string_view text) {
      std::memcpy(to, text.data(), text.size());
      to += text.size();
    };
    put("HTTP/1.1 ");
    *to++ = static_cast<char>('0' + status / 100);
    *to++ = static_cast<char>('0' + status / 10 % 10);
    *to++ = static_cast<char>('0' + status % 10);
    put(" ");
    const std::string_view reason = reason_phrase(status);
    if (!reason.empty()) put(reason);
    put("\r\n");
    line.size = static_cast<uint8_t>(to - line.text);
  }
  return table;
}

std::string_view status_line(int status) noexcept {
  static const StatusTable table = make_status_table();
  const StatusText& line = table[static_cast<size_t>(status - 100)];
  return {line.text, line.size};
}

char* put(char* to, std::string_view text) noexcept {
  if (!text.empty()) std::memcpy(to, text.data(), text.size());
  return to + text.size();
}

char* put_field(char* to, std::string_view name, std::string_view value) noexcept {
  to = put(to, name);
  *to++ = ':';
  *to++ = ' ';
  to = put(to, value);
  *to++ = '\r';
  *to++ = '\n';
  return to;
}

constexpr size_t kMaxDigits = 20;
char* put_number(char* to, uint64_t number) noexcept { return std::to_chars(to, to + kMaxDigits, number).ptr; }

char* put_length(char* to, uint64_t length) noexcept {
  to = put(to, "Content-Length: ");
  to = put_number(to, length);
  return put(to, "\r\n");
}

constexpr size_t kLineExtra = 4;    // ": " and CRLF
constexpr size_t kOwnFields = 256;  // room for the lines written here: framing, Connection, Date, TE, Expect

size_t size_of(const Fields& fields) noexcept {
  size_t size = 0;
  for (const Field& field : fields) size += field.name.size() + field.value.size() + kLineExtra;
  return size;
}

H1Error check_field(const Field& field) noexcept {
  // A known name is a token: it has been compared with one.
  if (field.id == FieldId::unknown && !valid_token(field.name)) [[unlikely]]
    return H1Error::bad_field_name;
  if (!valid_field_value(field.value)) [[unlikely]]
    return H1Error::bad_field_value;
  return H1Error::none;
}

bool all_digits(std::string_view text) noexcept {
  return !text.empty() && std::all_of(text.begin(), text.end(), scan::is_digit);
}

bool all_visible(std::string_view text) noexcept {
  const char* const end = text.data() + text.size();
  return scan::find_invisible(text.data(), end) == end;
}

// The target of a request line stands between two spaces and ends the path at '?'.
H1Error check_target(const Request& request) noexcept {
  if (request.method == Method::connect) return H1Error::none;  // it is the authority, checked as such
  if (!all_visible(request.path) || request.path.find_first_of("?#") != std::string_view::npos)
    return H1Error::bad_target;
  if (!all_visible(request.query) || request.query.find('#') != std::string_view::npos) return H1Error::bad_target;
  if (request.path.starts_with('/')) return H1Error::none;
  const bool asterisk = request.path == "*" && request.method == Method::options && request.query.empty();
  return asterisk ? H1Error::none : H1Error::bad_target;
}

}  // namespace

void OutBuffer::grow(size_t size) {
  const size_t capacity = std::max<size_t>({512, capacity_ * 2, size_ + size});
  char* const larger = arena_->alloc(capacity);
  if (size_ > 0) std::memcpy(larger, data_, size_);
  data_ = larger;
  capacity_ = capacity;
}

ResponseFraming framing_for(const Response& response, Method method, uint8_t version_minor, bool keep_alive) noexcept {
  ResponseFraming framing;
  framing.keep_alive = keep_alive;
  framing.interim = response.status < 200 && response.status != 101;
  framing.switched =
      response.status == 101 || (method == Method::connect && response.status >= 200 && response.status < 300);
  if (response.status < 200 || response.status == 204 || response.status == 304 || method == Method::head ||
      framing.switched) {
    return framing;
  }
  if (const std::optional<uint64_t> length = response.body.length()) {
    framing.body = BodyKind::length;
    framing.length = *length;
  } else if (version_minor >= 1) {
    framing.body = BodyKind::chunked;
  } else {
    framing.body = BodyKind::until_close;
    framing.keep_alive = false;
  }
  return framing;
}

H1Error write_response_head(OutBuffer& out, const Response& response, const ResponseHeadOptions& options) {
  const int status = response.status;
  if (status < 100 || status > 599) return H1Error::bad_status_line;
  const ResponseFraming& framing = options.framing;
  const std::string_view first = status_line(status);
  char* const start =
      out.reserve(first.size() + size_of(response.fields) + options.extra.size() + options.date.size() + kOwnFields);
  char* to = put(start, first);

  // These describe a body that is not sent.
  const bool keeps_length =
      framing.body == BodyKind::none && (options.method == Method::head || status == 304) && !framing.switched;
  bool has_length = false;
  bool has_date = false;
  bool has_upgrade = false;
  for (const Field& field : response.fields) {
    switch (field.id) {
      case FieldId::connection:
      case FieldId::keep_alive:
      case FieldId::proxy_connection:
      case FieldId::transfer_encoding: continue;
      case FieldId::content_length:
        if (!keeps_length) continue;
        if (has_length || !all_digits(field.value)) return H1Error::bad_content_length;
        has_length = true;
        break;
      case FieldId::upgrade:
        if (status != 101 && status != 426) continue;
        has_upgrade = true;
        break;
      case FieldId::date: has_date = true; break;
      default: break;
    }
    if (const H1Error error = check_field(field); error != H1Error::none) return error;
    to = put_field(to, field.name, field.value);
  }

  switch (framing.body) {
    case BodyKind::length: to = put_length(to, framing.length); break;
    case BodyKind::chunked: to = put(to, "Transfer-Encoding: chunked\r\n"); break;
    case BodyKind::none:
      if (keeps_length && !has_length && response.body.kind() != Body::Kind::none) {
        if (const std::optional<uint64_t> length = response.body.length()) to = put_length(to, *length);
      }
      break;
    case BodyKind::until_close: break;
  }
  if (status == 101) {
    to = put(to, "Connection: Upgrade\r\n");
  } else if (!framing.interim && !framing.switched) {
    if (has_upgrade) [[unlikely]] {  // RFC 9110 section 7.8: whoever sends Upgrade names it
      to = put(to, framing.keep_alive ? "Connection: Upgrade\r\n" : "Connection: close, Upgrade\r\n");
    } else if (!framing.keep_alive) {
      to = put(to, "Connection: close\r\n");
    } else if (options.version_minor == 0) {
      to = put(to, "Connection: keep-alive\r\n");
    }
  }
  if (!has_date && !options.date.empty() && !framing.interim) to = put_field(to, "Date", options.date);
  to = put(to, options.extra);
  to = put(to, "\r\n");
  out.commit(static_cast<size_t>(to - start));
  return H1Error::none;
}

H1Error write_request_head(OutBuffer& out, const Request& request, const RequestHeadOptions& options) {
  const std::string_view method = request.method == Method::other ? request.method_text : to_string(request.method);
  const std::string_view host = options.host.empty() ? request.authority : options.host;
  const bool connects = request.method == Method::connect;
  if (!valid_token(method)) return H1Error::bad_method;
  // An HTTP/1.0 request may have had no host.
  if (!host.empty() && !valid_authority(host)) return H1Error::bad_host;
  if (connects && !valid_authority(request.authority)) return H1Error::bad_target;
  if (const H1Error error = check_target(request); error != H1Error::none) return error;
  const bool absolute = options.absolute_form && !connects && request.path != "*";
  if (absolute && ((request.scheme != "http" && request.scheme != "https") || host.empty())) return H1Error::bad_target;

  char* const start = out.reserve(method.size() + request.scheme.size() + request.authority.size() + 2 * host.size() +
                                  request.path.size() + request.query.size() + size_of(request.fields) + kOwnFields);
  char* to = put(start, method);
  *to++ = ' ';
  if (connects) {
    to = put(to, request.authority);
  } else {
    if (absolute) {
      to = put(to, request.scheme);
      to = put(to, "://");
      to = put(to, host);
    }
    to = put(to, request.path);
    if (!request.query.empty()) {
      *to++ = '?';
      to = put(to, request.query);
    }
  }
  to = put(to, " HTTP/1.1\r\n");
  to = put_field(to, "Host", host);

  for (const Field& field : request.fields) {
    switch (field.id) {
      case FieldId::host:
      case FieldId::connection:
      case FieldId::keep_alive:
      case FieldId::proxy_connection:
      case FieldId::te:
      case FieldId::expect:
      case FieldId::content_length:
      case FieldId::transfer_encoding: continue;
      case FieldId::upgrade:
        if (!options.upgrade) continue;
        break;
      case FieldId::unknown:
        if (iequal(field.name, "HTTP2-Settings")) continue;
        break;
      default: break;
    }
    if (const H1Error error = check_field(field); error != H1Error::none) return error;
    to = put_field(to, field.name, field.value);
  }

  switch (options.body) {
    case BodyKind::length: to = put_length(to, options.length); break;
    case BodyKind::chunked: to = put(to, "Transfer-Encoding: chunked\r\n"); break;
    case BodyKind::none:
    case BodyKind::until_close:  // no request has it
      // RFC 9110 §8.6: methods that usually carry content say that there is none.
      if (request.method == Method::post || request.method == Method::put || request.method == Method::patch) {
        to = put(to, "Content-Length: 0\r\n");
      }
      break;
  }
  if (options.te_trailers) to = put(to, "TE: trailers\r\n");
  if (options.expect_continue) to = put(to, "Expect: 100-continue\r\n");
  if (options.upgrade) {
    to = put(to, options.te_trailers ? "Connection: Upgrade, TE\r\n" : "Connection: Upgrade\r\n");
  } else if (options.te_trailers) {
    to = put(to, options.keep_alive ? "Connection: TE\r\n" : "Connection: close, TE\r\n");
  } else if (!options.keep_alive) {
    to = put(to, "Connection: close\r\n");
  }
  to = put(to, "\r\n");
  out.commit(static_cast<size_t>(to - start));
  return H1Error::none;
}

void remove_hop_by_hop(Fields& fields, bool keep_upgrade) {
  if (fields.has(FieldId::connection)) {
    std::string_view options = fields.joined(FieldId::connection);
    while (const auto option = next_element(options)) {
      if (!(keep_upgrade && iequal(*option, "upgrade"))) fields.remove(*option);
    }
  }
  fields.remove_if([keep_upgrade](const Field& field) {
    switch (field.id) {
      case FieldId::connection:
      case FieldId::keep_alive:
      case FieldId::proxy_authenticate:
      case FieldId::proxy_authorization:
      case FieldId::proxy_connection:
      case FieldId::te:
      case FieldId::transfer_encoding: return true;
      case FieldId::upgrade: return !keep_upgrade;
      default: return false;
    }
  });
}

void write_chunk_line(OutBuffer& out, uint64_t size) {
  char* const start = out.reserve(18);
  char* to = std::to_chars(start, start + 16, size, 16).ptr;
  *to++ = '\r';
  *to++ = '\n';
  out.commit(static_cast<size_t>(to - start));
}

void write_last_chunk(OutBuffer& out, const Fields* trailers) {
  if (trailers == nullptr || trailers->empty()) {
    out.append(kLastChunk);
    return;
  }
  char* const start = out.reserve(kLastChunk.size() + size_of(*trailers));
  char* to = put(start, "0\r\n");
  for (const Field& field : *trailers) {
    if (allowed_in_trailer(field) && check_field(field) == H1Error::none) to = put_field(to, field.name, field.value);
  }
  to = put(to, "\r\n");
  out.commit(static_cast<size_t>(to - start));
}

bool allowed_in_trailer(const Field& field) noexcept {
  const auto begins = [&field](std::string_view prefix) {
    return field.name.size() >= prefix.size() && iequal(field.name.substr(0, prefix.size()), prefix);
  };
  switch (field.id) {
    case FieldId::etag:
    case FieldId::server_timing: return true;
    case FieldId::unknown:
      // RFC 9530 means Content-Digest for trailers.
      return !(begins("content-") && !iequal(field.name, "content-digest")) && !begins("x-forwarded-") &&
             !begins("proxy-");
    default: return false;  // every other name known here frames, routes, authenticates or says how to read the body
  }
}

}  // namespace trellis::http
