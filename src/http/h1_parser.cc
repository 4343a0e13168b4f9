#include "http/h1_parser.h"

#include <arpa/inet.h>

#include <cstring>
#include <string>

#include "http/h1_names.h"
#include "http/h1_scan.h"
#include "http/target.h"

namespace trellis::http {

namespace {

using scan::classes_of;
using scan::is_a;
using scan::is_digit;

constexpr size_t kMaxMethod = 32;
constexpr size_t kMaxHostName = 255;

// What a byte that must not stand where it stands is called.
H1Error fault_at(const char* p, const char* end, H1Error otherwise) noexcept {
  if (p == end) return otherwise;
  if (*p == '\n') return H1Error::bare_lf;
  if (*p == '\0') return H1Error::nul_byte;
  if (*p == '\r' && (p + 1 == end || p[1] != '\n')) return H1Error::bare_cr;
  return otherwise;
}

bool at_crlf(const char* p, const char* end) noexcept { return end - p >= 2 && p[0] == '\r' && p[1] == '\n'; }

std::string_view between(const char* from, const char* to) noexcept { return {from, static_cast<size_t>(to - from)}; }

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// "HTTP/1.x" and CRLF, or (for a status line) what follows the version.
H1Error read_version(const char*& p, const char* end, uint8_t& minor) noexcept {
  if (end - p < 8 || std::memcmp(p, "HTTP/", 5) != 0 || !is_digit(p[5]) || p[6] != '.' || !is_digit(p[7])) {
    for (const char* q = p; q != end && q - p < 9; ++q) {
      if (scan::is_control(*q)) return fault_at(q, end, H1Error::bad_version);
    }
    return H1Error::bad_version;
  }
  if (p[5] != '1' || p[7] > '1') return H1Error::unsupported_version;
  minor = static_cast<uint8_t>(p[7] - '0');
  p += 8;
  return H1Error::none;
}

struct RequestLine {
  std::string_view method;
  std::string_view target;
  uint8_t minor = 1;
};

// Leaves `p` behind the line's CRLF. The target is only known to be visible ASCII.
H1Error read_request_line(const char*& p, const char* end, size_t max_line, RequestLine& line) noexcept {
  const char* const start = p;
  while (p != end && is_a(*p, scan::kToken)) ++p;
  line.method = between(start, p);
  if (line.method.empty() || p == end || *p != ' ') return fault_at(p, end, H1Error::bad_request_line);
  if (line.method.size() > kMaxMethod) return H1Error::bad_method;
  ++p;

  const char* const target = p;
  p = scan::find_invisible(p, end);
  line.target = between(target, p);
  if (p == end || *p != ' ') {
    if (p != end && (*p == '\x7f' || (*p & 0x80) != 0)) return H1Error::bad_target;
    return fault_at(p, end, H1Error::bad_request_line);
  }
  if (line.target.empty()) return H1Error::bad_request_line;
  ++p;

  if (const H1Error error = read_version(p, end, line.minor); error != H1Error::none) {
    // Only a whole and otherwise sound line speaks another version.
    if (error == H1Error::unsupported_version && !at_crlf(p + 8, end))
      return fault_at(p + 8, end, H1Error::bad_version);
    return error;
  }
  if (!at_crlf(p, end)) {
    const bool space = p != end && (*p == ' ' || *p == '\t');
    return fault_at(p, end, space ? H1Error::bad_request_line : H1Error::bad_version);
  }
  if (static_cast<size_t>(p - start) > max_line) return H1Error::target_too_long;
  p += 2;
  return H1Error::none;
}

struct StatusLine {
  int status = 0;
  uint8_t minor = 1;
  std::string_view reason;
};

H1Error read_status_line(const char*& p, const char* end, size_t max_line, StatusLine& line) noexcept {
  const char* const start = p;
  if (const H1Error error = read_version(p, end, line.minor); error != H1Error::none) return error;
  if (end - p < 4 || p[0] != ' ' || !is_digit(p[1]) || !is_digit(p[2]) || !is_digit(p[3]))
    return H1Error::bad_status_line;
  line.status = (p[1] - '0') * 100 + (p[2] - '0') * 10 + (p[3] - '0');
  if (line.status < 100 || line.status > 599) return H1Error::bad_status_line;
  p += 4;
  if (p != end && *p == ' ') {
    ++p;
    const char* const reason = p;
    p = scan::find_control(start, p, end);
    line.reason = between(reason, p);
  }
  if (!at_crlf(p, end)) return fault_at(p, end, H1Error::bad_status_line);
  if (static_cast<size_t>(p - start) > max_line) return H1Error::head_too_large;
  p += 2;
  return H1Error::none;
}

// Names with '_' that some servers (CGI and its heirs) take for the same name with '-', where that would change how the
// message is framed, routed or trusted.
bool is_ambiguous(std::string_view name) noexcept {
  char dashed[32];
  if (name.size() > sizeof(dashed)) return false;
  for (size_t i = 0; i < name.size(); ++i) dashed[i] = name[i] == '_' ? '-' : scan::lower(name[i]);
  const std::string_view text(dashed, name.size());
  if (text.starts_with("x-forwarded-")) return true;
  switch (field_id(text)) {
    case FieldId::content_length:
    case FieldId::transfer_encoding:
    case FieldId::keep_alive:
    case FieldId::proxy_connection:
    case FieldId::proxy_authorization:
    case FieldId::x_real_ip:
    case FieldId::x_request_id: return true;
    default: return false;
  }
}

// A name that is none, or what stands where it should.
H1Error name_fault(const char* name, const char* p, const char* end) noexcept {
  if (p == end) return H1Error::bad_field_line;
  if (*p == ' ' || *p == '\t') {
    if (p == name) return H1Error::obs_fold;
    while (p != end && (*p == ' ' || *p == '\t')) ++p;
    return p != end && *p == ':' ? H1Error::space_before_colon : H1Error::bad_field_name;
  }
  return fault_at(p, end, *p == '\r' ? H1Error::bad_field_line : H1Error::bad_field_name);
}

// One field line; leaves `p` behind its CRLF.
// Memory may be read from `begin` on.
[[gnu::always_inline]] inline H1Error read_field(const char* begin, const char*& p, const char* end,
                                                 Field& field) noexcept {
  const char* const name = p;
  // A name that is known needs no look at its characters: most are, and are told by their first 32 bytes.
  const size_t colon = scan::find_colon(begin, p, end);
  if (colon > 0) field.id = names::find(between(p, p + colon));
  if (field.id != FieldId::unknown) {
    p += colon;
  } else {
    uint8_t seen = 0;
    for (; p != end; ++p) {
      const uint8_t classes = classes_of(*p);
      if ((classes & scan::kToken) == 0) break;
      seen |= classes;
    }
    if (p == end || *p != ':' || p == name) [[unlikely]]
      return name_fault(name, p, end);
    if (colon == 0) field.id = names::find(between(name, p));
    if ((seen & scan::kUnderscore) != 0 && is_ambiguous(between(name, p))) [[unlikely]]
      return H1Error::ambiguous_name;
  }
  field.name = between(name, p);
  ++p;
  while (p != end && (*p == ' ' || *p == '\t')) ++p;
  const char* const value = p;
  p = scan::find_control(begin, p, end);
  if (!at_crlf(p, end)) [[unlikely]]
    return fault_at(p, end, H1Error::bad_field_value);
  const char* last = p;
  while (last != value && (last[-1] == ' ' || last[-1] == '\t')) --last;
  field.value = between(value, last);
  p += 2;
  return H1Error::none;
}

// What the fields of a head say about framing and the connection.
struct Summary {
  uint64_t length = 0;
  bool has_length = false;
  uint8_t transfer_encodings = 0;  // 2: two or more
  uint8_t hosts = 0;
  std::string_view transfer_encoding;
  std::string_view host;
  bool close = false;
  bool keep_alive = false;
  bool connection_upgrade = false;
  bool has_upgrade = false;
  bool upgrade_to_http = false;
  bool te_trailers = false;
  uint8_t expectations = 0;
  bool expects_other = false;
};

H1Error read_length(std::string_view text, uint64_t& length) noexcept {
  if (text.empty() || text.size() > 19) return H1Error::bad_content_length;
  uint64_t value = 0;
  for (const char c : text) {
    if (!is_digit(c)) return H1Error::bad_content_length;
    value = value * 10 + static_cast<uint64_t>(c - '0');  // 19 digits cannot overflow 64 bits
  }
  if (value > static_cast<uint64_t>(INT64_MAX)) return H1Error::bad_content_length;
  length = value;
  return H1Error::none;
}

H1Error read_connection(std::string_view value, HeadKind kind, Summary& seen) noexcept {
  if (iequal(value, "keep-alive")) {
    seen.keep_alive = true;
    return H1Error::none;
  }
  while (true) {
    const size_t comma = value.find(',');
    const std::string_view option = trimmed(value.substr(0, comma));
    if (!option.empty()) {
      if (!valid_token(option)) return H1Error::bad_connection;
      switch (const FieldId id = field_id(option)) {
        case FieldId::unknown:
          if (iequal(option, "close")) {
            seen.close = true;
          } else if ((option[0] | 0x20) == 'x' && option.size() > 12 && iequal(option.substr(0, 12), "x-forwarded-")) {
            return H1Error::bad_connection;
          }
          break;
        case FieldId::keep_alive: seen.keep_alive = true; break;
        case FieldId::upgrade: seen.connection_upgrade = true; break;
        case FieldId::te:
        case FieldId::trailer:
        case FieldId::proxy_connection: break;
        default:
          // Removing a field because Connection names it must not change what the message means to the next hop. Some
          // servers do name Transfer-Encoding in answers; it is for one hop, and we have read it already.
          if (id != FieldId::transfer_encoding || kind == HeadKind::request) return H1Error::bad_connection;
      }
    }
    if (comma == std::string_view::npos) return H1Error::none;
    value.remove_prefix(comma + 1);
  }
}

// Upgrade to something in which further requests may follow, past whoever reads them: h2c, h2, HTTP/2.0, or TLS, behind
// which HTTP goes on (RFC 2817).
bool names_http(std::string_view protocols) noexcept {
  while (const auto protocol = next_element(protocols)) {
    for (const std::string_view begin : {"h2", "http", "tls"}) {
      if (iequal(protocol->substr(0, begin.size()), begin)) return true;
    }
  }
  return false;
}

// All field lines up to the empty line, which must be the end of the head.
H1Error read_fields(const char* begin, const char* p, const char* end, size_t max_fields, HeadKind kind, Fields& fields,
                    Summary& seen) {
  size_t count = 0;
  while (!at_crlf(p, end)) {
    Field field;
    if (const H1Error error = read_field(begin, p, end, field); error != H1Error::none) [[unlikely]]
      return error;
    if (++count > max_fields) return H1Error::too_many_fields;
    switch (field.id) {
      case FieldId::content_length:
        if (seen.has_length) return H1Error::content_length_conflict;
        seen.has_length = true;
        if (const H1Error error = read_length(field.value, seen.length); error != H1Error::none) return error;
        continue;
      case FieldId::transfer_encoding:
        if (seen.transfer_encodings < 2) ++seen.transfer_encodings;
        seen.transfer_encoding = field.value;
        continue;
      case FieldId::host:
        if (seen.hosts < 2) ++seen.hosts;
        seen.host = field.value;
        break;
      case FieldId::connection:
        if (const H1Error error = read_connection(field.value, kind, seen); error != H1Error::none) return error;
        break;
      case FieldId::upgrade:
        seen.has_upgrade = true;
        if (names_http(field.value)) seen.upgrade_to_http = true;
        break;
      case FieldId::te: seen.te_trailers |= list_has(field.value, "trailers"); break;
      case FieldId::expect:
        if (seen.expectations < 2) ++seen.expectations;
        if (!iequal(field.value, "100-continue")) seen.expects_other = true;
        break;
      default: break;
    }
    fields.add(field);
  }
  return p + 2 == end ? H1Error::none : H1Error::bad_field_line;
}

// Transfer-Encoding is there: is it exactly chunked?
H1Error check_transfer_encoding(const Summary& seen, uint8_t minor) noexcept {
  if (minor == 0) return H1Error::te_in_http10;
  if (seen.has_length) return H1Error::transfer_encoding_and_content_length;
  if (seen.transfer_encodings > 1) return H1Error::bad_transfer_encoding;
  if (iequal(seen.transfer_encoding, "chunked")) return H1Error::none;
  // A list of codings that ends in one chunked is honest, only not supported.
  std::string_view rest = seen.transfer_encoding;
  while (true) {
    const size_t comma = rest.find(',');
    const std::string_view coding = trimmed(rest.substr(0, comma));
    if (!valid_token(coding)) return H1Error::bad_transfer_encoding;
    const bool last = comma == std::string_view::npos;
    if (iequal(coding, "chunked") != last) return H1Error::bad_transfer_encoding;
    if (last) return H1Error::unknown_transfer_coding;
    rest.remove_prefix(comma + 1);
  }
}

std::string_view lower_case(std::string_view text, Arena& arena) {
  for (size_t i = 0; i < text.size(); ++i) {
    if (!is_a(text[i], scan::kUpper)) continue;
    char* const to = arena.alloc(text.size());
    for (size_t j = 0; j < text.size(); ++j) to[j] = scan::lower(text[j]);
    return {to, text.size()};
  }
  return text;
}

struct HostPort {
  std::string_view host;
  std::string_view port;  // "" without one
};
HostPort split_authority(std::string_view text) noexcept {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || text.find(']', colon) != std::string_view::npos) return {text, {}};
  return {text.substr(0, colon), text.substr(colon + 1)};
}

bool same_authority(std::string_view a, std::string_view b, std::string_view default_port) noexcept {
  const HostPort left = split_authority(a);
  const HostPort right = split_authority(b);
  if (!iequal(left.host, right.host)) return false;
  return (left.port.empty() ? default_port : left.port) == (right.port.empty() ? default_port : right.port);
}

// "http://host[:port][/path][?query]"
H1Error read_absolute_form(std::string_view target, Request& out) {
  std::string_view rest;
  if (target.size() > 7 && iequal(target.substr(0, 7), "http://")) {
    out.scheme = "http";
    rest = target.substr(7);
  } else if (target.size() > 8 && iequal(target.substr(0, 8), "https://")) {
    out.scheme = "https";
    rest = target.substr(8);
  } else {
    return H1Error::bad_target;
  }
  const size_t end = rest.find_first_of("/?#");
  out.authority = rest.substr(0, end);
  if (!valid_authority(out.authority)) return H1Error::bad_target;
  rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end);
  if (rest.empty()) {
    out.path = out.method == Method::options ? "*" : "/";
    out.query = {};
    return H1Error::none;
  }
  Arena& arena = out.fields.arena();
  if (rest.front() != '/') rest = arena.concat({"/", rest});
  return normalise_target(rest, arena, out.path, out.query);
}

// Target and Host become authority, path and query.
H1Error read_target(const RequestLine& line, const Summary& seen, Request& out) {
  const std::string_view target = line.target;
  if (seen.hosts > 1) return H1Error::many_hosts;
  if (seen.hosts == 0 && line.minor == 1) return H1Error::no_host;
  if (seen.hosts == 1 && !valid_authority(seen.host)) return H1Error::bad_host;

  if (out.method == Method::connect) {
    const HostPort parts = split_authority(target);
    if (!valid_authority(target) || parts.port.empty()) return H1Error::bad_target;
    out.authority = target;
    // Many clients leave the port out of Host here.
    if (seen.hosts == 1 && !same_authority(target, seen.host, parts.port)) return H1Error::host_mismatch;
    out.path = {};
    out.query = {};
  } else if (target.front() == '/') [[likely]] {
    if (const H1Error error = normalise_target(target, out.fields.arena(), out.path, out.query);
        error != H1Error::none) {
      return error;
    }
    out.authority = seen.host;
  } else if (target == "*") {
    if (out.method != Method::options) return H1Error::bad_target;
    out.path = target;
    out.query = {};
    out.authority = seen.host;
  } else {
    if (const H1Error error = read_absolute_form(target, out); error != H1Error::none) return error;
    const std::string_view default_port = out.scheme == "https" ? "443" : "80";
    if (seen.hosts == 1 && !same_authority(out.authority, seen.host, default_port)) return H1Error::host_mismatch;
  }
  out.authority = lower_case(out.authority, out.fields.arena());
  return H1Error::none;
}

// "get" and "Post" are methods of their own, yet some servers take them for GET and POST.
bool is_misspelt(std::string_view method) noexcept {
  char upper[8];
  if (method.size() > sizeof(upper)) return false;
  for (size_t i = 0; i < method.size(); ++i) {
    upper[i] = method[i] >= 'a' && method[i] <= 'z' ? static_cast<char>(method[i] & ~0x20) : method[i];
  }
  return method_from(std::string_view(upper, method.size())) != Method::other;
}

// An incomplete start line: can it still become one?
H1Error check_start(std::string_view bytes, HeadKind kind) noexcept {
  if (kind == HeadKind::response) {
    constexpr std::string_view kVersion = "HTTP/1.";
    const size_t size = bytes.size() < kVersion.size() ? bytes.size() : kVersion.size();
    return bytes.substr(0, size) == kVersion.substr(0, size) ? H1Error::none : H1Error::bad_status_line;
  }
  size_t i = 0;
  while (i < bytes.size() && i <= kMaxMethod && is_a(bytes[i], scan::kToken)) ++i;
  if (i > kMaxMethod) return H1Error::bad_method;
  if (i < bytes.size() && (i == 0 || bytes[i] != ' ') && bytes[i] != '\r') return H1Error::bad_request_line;
  return H1Error::none;
}

}  // namespace

bool valid_token(std::string_view text) noexcept {
  for (const char c : text) {
    if (!is_a(c, scan::kToken)) return false;
  }
  return !text.empty();
}

bool valid_field_value(std::string_view text) noexcept {
  const char* const end = text.data() + text.size();
  return scan::find_control(text.data(), text.data(), end) == end;
}

namespace {
// Every request of a client names the same host: the last good one of this thread is known again at a glance.
struct KnownAuthority {
  char text[56];
  uint8_t size = 0;
};
thread_local KnownAuthority known_authority;

bool check_authority(std::string_view text) noexcept {
  size_t end = 0;  // of the host
  if (!text.empty() && text.front() == '[') {
    end = text.find(']');
    char address[INET6_ADDRSTRLEN];
    if (end == std::string_view::npos || end - 1 >= sizeof(address)) return false;
    std::memcpy(address, text.data() + 1, end - 1);
    address[end - 1] = '\0';
    in6_addr parsed;
    if (std::strlen(address) != end - 1 || inet_pton(AF_INET6, address, &parsed) != 1) return false;
    ++end;
  } else {
    char before = '.';
    for (; end < text.size() && is_a(text[end], scan::kHost); ++end) {
      if (text[end] == '.' && before == '.') return false;
      before = text[end];
    }
    if (end == 0 || end > kMaxHostName) return false;
  }
  if (end == text.size()) return true;
  if (text[end] != ':') return false;
  const std::string_view port = text.substr(end + 1);
  if (port.empty() || port.size() > 5) return false;
  uint32_t number = 0;
  for (const char c : port) {
    if (!is_digit(c)) return false;
    number = number * 10 + static_cast<uint32_t>(c - '0');
  }
  return number >= 1 && number <= 65535;
}
}  // namespace

bool valid_authority(std::string_view text) noexcept {
  KnownAuthority& known = known_authority;
  if (text.size() == known.size && known.size != 0 && std::memcmp(text.data(), known.text, known.size) == 0)
    return true;
  if (!check_authority(text)) return false;
  if (text.size() <= sizeof known.text) {
    std::memcpy(known.text, text.data(), text.size());
    known.size = static_cast<uint8_t>(text.size());
  }
  return true;
}

std::optional<size_t> HeadScanner::find_end(std::string_view bytes, const H1Limits& limits) noexcept {
  if (error_ != H1Error::none) return std::nullopt;
  const char* const begin = bytes.data();
  const char* const end = begin + bytes.size();
  // What the parser gets is read byte by byte there: here it is enough to know where it ends.
  if (const char* const head_end = scan::find_empty_line(begin + looked_, end)) {
    const auto size = static_cast<size_t>(head_end - begin);
    if (size > limits.max_head) return refuse(H1Error::head_too_large);
    return size;
  }
  const char* const first = kind_ == HeadKind::request && at_crlf(begin, end) ? begin + 2 : begin;
  const char* line_end = nullptr;  // of the start line, when it was found in this call
  const char* p = begin + looked_;
  std::optional<size_t> found;
  while (true) {
    p = scan::find_control(begin, p, end);
    if (p == end) break;
    if (*p != '\r') {
      const bool in_start_line = !line_seen_ && line_end == nullptr;
      const H1Error otherwise = !in_start_line               ? H1Error::bad_field_value
                                : kind_ == HeadKind::request ? H1Error::bad_request_line
                                                             : H1Error::bad_status_line;
      return refuse(fault_at(p, end, otherwise));
    }
    if (p + 1 == end) break;
    if (p[1] != '\n') return refuse(H1Error::bare_cr);
    if (p >= first && line_end == nullptr) line_end = p;
    if (p + 2 == end) break;  // what follows decides whether this is the end: look at this CRLF again
    if (p[2] == '\r') {
      if (p + 3 == end) break;
      if (p[3] != '\n') return refuse(H1Error::bare_cr);
      found = static_cast<size_t>(p + 4 - begin);
      break;
    }
    p += 2;
  }
  if (found) {
    if (*found > limits.max_head) return refuse(H1Error::head_too_large);
    return found;
  }
  looked_ = static_cast<uint32_t>(p - begin);
  if (!line_seen_) {
    const std::string_view start(first, static_cast<size_t>(end - first));
    if (line_end != nullptr) {
      line_seen_ = true;
      const char* at = first;
      H1Error error = H1Error::none;
      if (kind_ == HeadKind::request) {
        RequestLine line;
        error = read_request_line(at, end, limits.max_start_line, line);
      } else {
        StatusLine line;
        error = read_status_line(at, end, limits.max_start_line, line);
      }
      if (error != H1Error::none) return refuse(error);
    } else {
      if (const H1Error error = check_start(start, kind_); error != H1Error::none) return refuse(error);
      if (start.size() > limits.max_start_line + 1) {
        return refuse(kind_ == HeadKind::request ? H1Error::target_too_long : H1Error::head_too_large);
      }
    }
  }
  if (bytes.size() >= limits.max_head) return refuse(H1Error::head_too_large);
  return std::nullopt;
}

H1Error parse_request_head(std::string_view head, const H1Limits& limits, Request& out, RequestFraming& framing) {
  if (head.size() > limits.max_head) return H1Error::head_too_large;
  const char* p = head.data();
  const char* const end = p + head.size();
  if (at_crlf(p, end)) p += 2;

  RequestLine line;
  if (const H1Error error = read_request_line(p, end, limits.max_start_line, line); error != H1Error::none)
    return error;
  out.method = method_from(line.method);
  if (out.method == Method::other && is_misspelt(line.method)) return H1Error::bad_method;
  out.method_text = line.method;
  out.target = line.target;
  out.version_minor = line.minor;

  Summary seen;
  if (const H1Error error = read_fields(head.data(), p, end, limits.max_fields, HeadKind::request, out.fields, seen);
      error != H1Error::none) {
    return error;
  }
  if (const H1Error error = read_target(line, seen, out); error != H1Error::none) return error;

  framing = RequestFraming{};
  if (seen.transfer_encodings > 0) [[unlikely]] {
    if (const H1Error error = check_transfer_encoding(seen, line.minor); error != H1Error::none) return error;
    framing.body = BodyKind::chunked;
  } else if (seen.has_length) {
    framing.body = BodyKind::length;
    framing.length = seen.length;
  }
  const bool has_body = framing.body == BodyKind::chunked || framing.length > 0;
  if (out.method == Method::connect && framing.body != BodyKind::none) return H1Error::body_not_allowed;
  if (out.method == Method::trace && has_body) return H1Error::body_not_allowed;

  framing.keep_alive = !seen.close && (line.minor == 1 || seen.keep_alive);
  if (line.minor == 1) {
    if (seen.expectations > 1 || seen.expects_other) return H1Error::expectation_failed;
    framing.expect_continue = seen.expectations == 1 && has_body;
    framing.upgrade_requested = seen.has_upgrade && seen.connection_upgrade && !seen.upgrade_to_http && !has_body;
    framing.te_trailers = seen.te_trailers;
  }
  return H1Error::none;
}

H1Error parse_response_head(std::string_view head, const H1Limits& limits, Method request_method, ResponseHead& out,
                            ResponseFraming& framing) {
  if (head.size() > limits.max_head) return H1Error::head_too_large;
  const char* p = head.data();
  const char* const end = p + head.size();

  StatusLine line;
  if (const H1Error error = read_status_line(p, end, limits.max_start_line, line); error != H1Error::none) return error;
  out.status = line.status;
  out.version_minor = line.minor;
  out.reason = line.reason;

  Summary seen;
  if (const H1Error error = read_fields(head.data(), p, end, limits.max_fields, HeadKind::response, out.fields, seen);
      error != H1Error::none) {
    return error;
  }
  if (seen.transfer_encodings > 0) {
    if (const H1Error error = check_transfer_encoding(seen, line.minor); error != H1Error::none) return error;
  }

  framing = ResponseFraming{};
  framing.keep_alive = !seen.close && (line.minor == 1 || seen.keep_alive);
  const bool bodiless_status = line.status < 200 || line.status == 204;
  if (bodiless_status && (seen.transfer_encodings > 0 || seen.length > 0)) return H1Error::body_not_allowed;
  if (request_method == Method::connect && line.status >= 200 && line.status < 300) {
    // RFC 9110 §9.3.6: framing fields mean nothing here. An upstream that sends them may mean something: refused.
    if (seen.transfer_encodings > 0 || seen.length > 0) return H1Error::body_not_allowed;
    framing.switched = true;
  } else if (bodiless_status) {
    framing.switched = line.status == 101;
    framing.interim = line.status < 200 && line.status != 101;
  } else if (request_method == Method::head || line.status == 304) {
    if (seen.has_length) {
      // As text again, in its plain form: leading zeros are gone.
      out.fields.add_copy(FieldId::content_length, std::to_string(seen.length));
    }
  } else if (seen.transfer_encodings > 0) {
    framing.body = BodyKind::chunked;
  } else if (seen.has_length) {
    framing.body = BodyKind::length;
    framing.length = seen.length;
  } else {
    framing.body = BodyKind::until_close;
    framing.keep_alive = false;
  }
  return H1Error::none;
}

H1Error parse_field_lines(std::string_view lines, size_t max_fields, Fields& out) {
  const char* p = lines.data();
  const char* const end = p + lines.size();
  size_t count = 0;
  while (p != end) {
    Field field;
    if (const H1Error error = read_field(lines.data(), p, end, field); error != H1Error::none) return error;
    if (++count > max_fields) return H1Error::too_many_fields;
    out.add(field);
  }
  return H1Error::none;
}

std::string_view to_string(H1Error error) noexcept {
  switch (error) {
    case H1Error::none: return "none";
    case H1Error::bad_request_line: return "bad_request_line";
    case H1Error::bad_status_line: return "bad_status_line";
    case H1Error::bad_method: return "bad_method";
    case H1Error::bad_target: return "bad_target";
    case H1Error::bad_version: return "bad_version";
    case H1Error::unsupported_version: return "unsupported_version";
    case H1Error::bad_field_line: return "bad_field_line";
    case H1Error::bad_field_name: return "bad_field_name";
    case H1Error::bad_field_value: return "bad_field_value";
    case H1Error::space_before_colon: return "space_before_colon";
    case H1Error::obs_fold: return "obs_fold";
    case H1Error::bare_cr: return "bare_cr";
    case H1Error::bare_lf: return "bare_lf";
    case H1Error::nul_byte: return "nul_byte";
    case H1Error::too_many_fields: return "too_many_fields";
    case H1Error::head_too_large: return "head_too_large";
    case H1Error::target_too_long: return "target_too_long";
    case H1Error::no_host: return "no_host";
    case H1Error::many_hosts: return "many_hosts";
    case H1Error::bad_host: return "bad_host";
    case H1Error::host_mismatch: return "host_mismatch";
    case H1Error::bad_content_length: return "bad_content_length";
    case H1Error::content_length_conflict: return "content_length_conflict";
    case H1Error::transfer_encoding_and_content_length: return "transfer_encoding_and_content_length";
    case H1Error::bad_transfer_encoding: return "bad_transfer_encoding";
    case H1Error::unknown_transfer_coding: return "unknown_transfer_coding";
    case H1Error::te_in_http10: return "te_in_http10";
    case H1Error::bad_connection: return "bad_connection";
    case H1Error::ambiguous_name: return "ambiguous_name";
    case H1Error::expectation_failed: return "expectation_failed";
    case H1Error::body_not_allowed: return "body_not_allowed";
    case H1Error::bad_chunk_size: return "bad_chunk_size";
    case H1Error::bad_chunk_extension: return "bad_chunk_extension";
    case H1Error::chunk_overhead: return "chunk_overhead";
    case H1Error::bad_chunk_end: return "bad_chunk_end";
    case H1Error::bad_trailer: return "bad_trailer";
    case H1Error::trailers_too_large: return "trailers_too_large";
  }
  return "unknown";
}

int status_for(H1Error error) noexcept {
  switch (error) {
    case H1Error::none: return 200;
    case H1Error::target_too_long: return 414;
    case H1Error::expectation_failed: return 417;
    case H1Error::too_many_fields:
    case H1Error::head_too_large:
    case H1Error::trailers_too_large: return 431;
    case H1Error::unknown_transfer_coding: return 501;
    case H1Error::unsupported_version: return 505;
    default: return 400;
  }
}

Error error_for(H1Error error, Side side) {
  const Code code = side == Side::upstream ? Code::data_loss : Code::invalid_argument;
  return Error(code, std::string(to_string(error))).from(side);
}

}  // namespace trellis::http
