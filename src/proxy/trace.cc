#include "proxy/trace.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "base/arena.h"
#include "base/ids.h"
#include "base/rng.h"
#include "http/handler.h"
#include "http/message.h"

namespace trellis::proxy {
namespace {

using http::FieldId;

constexpr size_t kTraceparentSize = 55;  // 2 + 1 + 32 + 1 + 16 + 1 + 2
constexpr size_t kMaxTracestateMembers = 32;
constexpr size_t kMaxTracestate = 8192;
constexpr size_t kMaxKey = 256;
constexpr size_t kMaxValue = 256;
constexpr size_t kMaxRequestId = 64;

// Two lower-case hex digits, -1 otherwise.
int hex_byte(std::string_view text) noexcept {
  int value = 0;
  for (const char c : text.substr(0, 2)) {
    if (c >= '0' && c <= '9') {
      value = value * 16 + (c - '0');
    } else if (c >= 'a' && c <= 'f') {
      value = value * 16 + (c - 'a' + 10);
    } else {
      return -1;
    }
  }
  return value;
}

bool is_lower_or_digit(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_key_char(char c) noexcept { return is_lower_or_digit(c) || c == '_' || c == '-' || c == '*' || c == '/'; }

// simple-key or tenant@system of §3.3.1.3.1 (level 2 allows a digit first, so it is allowed here).
bool valid_key(std::string_view key) noexcept {
  if (key.empty() || key.size() > kMaxKey || !is_lower_or_digit(key[0])) return false;
  const size_t at = key.find('@');
  if (at == std::string_view::npos) return std::all_of(key.begin(), key.end(), is_key_char);
  const std::string_view tenant = key.substr(0, at);
  const std::string_view system = key.substr(at + 1);
  return tenant.size() <= 241 && !system.empty() && system.size() <= 14 && system[0] >= 'a' && system[0] <= 'z' &&
         std::all_of(tenant.begin(), tenant.end(), is_key_char) &&
         std::all_of(system.begin(), system.end(), is_key_char);
}

bool valid_value(std::string_view value) noexcept {
  return !value.empty() && value.size() <= kMaxValue && value.back() != ' ' &&
         std::all_of(value.begin(), value.end(), [](char c) { return c >= 0x20 && c <= 0x7E && c != ',' && c != '='; });
}

std::string_view trim(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

uint64_t nonzero(Rng& rng) noexcept {
  // Zero has one chance in 2^64; an id of zero means "none".
  const uint64_t value = rng.next();
  return value != 0 ? value : 1;
}

}  // namespace

std::optional<TraceParent> parse_traceparent(std::string_view value) noexcept {
  if (value.size() < kTraceparentSize || value[2] != '-' || value[35] != '-' || value[52] != '-') return std::nullopt;
  const int version = hex_byte(value);
  if (version < 0 || version == 0xFF) return std::nullopt;
  if (value.size() > kTraceparentSize && (version == 0 || value[kTraceparentSize] != '-')) return std::nullopt;
  const auto high = read_hex64(value.substr(3, 16));
  const auto low = read_hex64(value.substr(19, 16));
  const auto span = read_hex64(value.substr(36, 16));
  const int flags = hex_byte(value.substr(53));
  if (!high || !low || !span || flags < 0 || (*high | *low) == 0 || *span == 0) return std::nullopt;
  return TraceParent{*high, *low, *span, (flags & 1) != 0};
}

bool valid_tracestate(std::string_view value) noexcept {
  if (value.size() > kMaxTracestate) return false;
  std::array<std::string_view, kMaxTracestateMembers> keys;
  size_t count = 0;
  while (true) {
    const size_t comma = value.find(',');
    const std::string_view member = trim(value.substr(0, comma));
    if (!member.empty()) {  // empty members are allowed
      const size_t equals = member.find('=');
      if (equals == std::string_view::npos || count == keys.size()) return false;
      const std::string_view key = member.substr(0, equals);
      if (!valid_key(key) || !valid_value(member.substr(equals + 1))) return false;
      if (std::find(keys.begin(), keys.begin() + count, key) != keys.begin() + count) return false;
      keys[count++] = key;
    }
    if (comma == std::string_view::npos) return count > 0;
    value.remove_prefix(comma + 1);
  }
}

void begin_trace(http::Request& request, http::RequestContext& context, Rng& rng, bool sample) {
  http::TraceContext& trace = context.trace;
  trace = {};
  std::optional<TraceParent> parent;
  // More than one traceparent contradict each other.
  if (request.fields.count(FieldId::traceparent) == 1)
    parent = parse_traceparent(request.fields.value(FieldId::traceparent));
  if (parent) {
    trace.trace_id_high = parent->trace_id_high;
    trace.trace_id_low = parent->trace_id_low;
    trace.parent_span_id = parent->span_id;
    trace.sampled = parent->sampled;
  } else {
    trace.trace_id_high = rng.next();
    trace.trace_id_low = nonzero(rng);
    trace.sampled = sample;
  }
  trace.span_id = nonzero(rng);
  if (request.fields.has(FieldId::tracestate) &&
      (!parent || !valid_tracestate(request.fields.joined(FieldId::tracestate)))) {
    request.fields.remove(FieldId::tracestate);
  }
}

std::string_view format_traceparent(Arena& arena, const http::TraceContext& trace) {
  char* const out = arena.alloc(kTraceparentSize);
  std::memcpy(out, "00-", 3);
  write_hex64(out + 3, trace.trace_id_high);
  write_hex64(out + 19, trace.trace_id_low);
  out[35] = '-';
  write_hex64(out + 36, trace.span_id);
  std::memcpy(out + 52, trace.sampled ? "-01" : "-00", 3);
  return {out, kTraceparentSize};
}

bool valid_request_id(std::string_view id) noexcept {
  return !id.empty() && id.size() <= kMaxRequestId && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'A' && c <= 'Z') || is_lower_or_digit(c) || c == '.' || c == '_' || c == '-';
  });
}

void begin_request_id(const http::Request& request, http::RequestContext& context, WallTime now, Rng& rng) {
  const std::string_view given = request.fields.value(FieldId::x_request_id);
  if (valid_request_id(given) && request.fields.count(FieldId::x_request_id) == 1) {
    context.request_id = given;
    return;
  }
  context.request_id = make_ulid(std::span<char, kUlidSize>(context.arena.alloc(kUlidSize), kUlidSize), now, rng);
}

}  // namespace trellis::proxy
