#include "proxy/access_log.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstring>
#include <optional>

#include "base/ascii.h"
#include "base/encoding.h"
#include "base/file_writer.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/log.h"
#include "http/handler.h"
#include "http/message.h"

namespace trellis::proxy {
namespace {

using http::FieldId;

constexpr size_t kFixedRoom = 1024;  // all names, numbers, times and ids of a line
constexpr size_t kMaxMethod = 32;
constexpr size_t kMaxName = 64;  // of a query parameter that is decoded before it is compared
constexpr size_t kMaxOwn = 256;  // our own words: route, upstream, cache and so on
constexpr std::string_view kRedacted = "***";

char* put(char* out, std::string_view text) noexcept {
  std::memcpy(out, text.data(), text.size());
  return out + text.size();
}

char* put_number(char* out, uint64_t value) noexcept { return std::to_chars(out, out + 20, value).ptr; }

char* put_two(char* out, unsigned value) noexcept {
  out[0] = static_cast<char>('0' + value / 10);
  out[1] = static_cast<char>('0' + value % 10);
  return out + 2;
}

char* put_three(char* out, unsigned value) noexcept {
  out[0] = static_cast<char>('0' + value / 100);
  return put_two(out + 1, value % 100);
}

// Milliseconds with three decimals.
char* put_millis(char* out, Duration span) noexcept {
  const auto micros = static_cast<uint64_t>(std::max<int64_t>(0, span.count()) / 1000);
  out = put_number(out, micros / 1000);
  *out++ = '.';
  return put_three(out, static_cast<unsigned>(micros % 1000));
}

// At most `max` bytes, not ending inside a UTF-8 sequence that was whole before.
std::string_view limited(std::string_view text, size_t max) noexcept {
  if (text.size() <= max) return text;
  size_t end = max;
  while (end > 0 && max - end < 3 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

std::string_view method_of(const http::Request& request) noexcept {
  const std::string_view usual = http::to_string(request.method);
  return usual.empty() ? limited(request.method_text, kMaxMethod) : usual;
}

// The seconds of a time as text, made anew once a second and thread.
struct CachedTime {
  int64_t second = INT64_MIN;
  char rfc3339[kRfc3339Size];
  char combined[26];  // 10/Oct/2000:13:55:36 +0000
};

const CachedTime& cached_time(WallTime now) noexcept {
  thread_local CachedTime cache;
  const int64_t second = unix_seconds(now);
  if (cache.second == second) [[likely]]
    return cache;
  cache.second = second;
  write_rfc3339(cache.rfc3339, now);
  static constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  const char* const iso = cache.rfc3339;  // 2026-03-01T12:34:56.789Z
  char* out = put(cache.combined, {iso + 8, 2});
  *out++ = '/';
  out = put(out, kMonths.substr(static_cast<size_t>((iso[5] - '0') * 10 + (iso[6] - '0') - 1) * 3, 3));
  *out++ = '/';
  out = put(out, {iso, 4});
  *out++ = ':';
  out = put(out, {iso + 11, 8});
  put(out, " +0000");
  return cache;
}

// The last kMaxName bytes of a name with %xx decoded, in `out`: endings are what is compared.
std::string_view decoded(std::string_view name, std::array<char, kMaxName>& out) noexcept {
  if (name.size() > 3 * kMaxName) name.remove_prefix(name.size() - 3 * kMaxName);
  size_t size = 0;
  for (size_t i = 0; i < name.size(); ++i) {
    char c = name[i];
    if (c == '%' && i + 2 < name.size() && hex_digit(name[i + 1]) >= 0 && hex_digit(name[i + 2]) >= 0) {
      c = static_cast<char>(hex_digit(name[i + 1]) * 16 + hex_digit(name[i + 2]));
      i += 2;
    }
    if (size == out.size()) {
      std::memmove(out.data(), out.data() + 1, --size);
    }
    out[size++] = c;
  }
  return {out.data(), size};
}

bool ends_in_secret(std::string_view name, const std::vector<std::string>& secrets) noexcept {
  // password[] and user[password]
  while (!name.empty() && (name.back() == ']' || name.back() == '[')) name.remove_suffix(1);
  if (name.empty()) return false;
  const char last = ascii_lower(name.back());
  for (const std::string& secret : secrets) {
    if (secret.back() != last || secret.size() > name.size()) continue;
    const std::string_view end = name.substr(name.size() - secret.size());
    if (std::equal(end.begin(), end.end(), secret.begin(), [](char a, char b) { return ascii_lower(a) == b; }))
      return true;
  }
  return false;
}

bool is_secret(std::string_view name, const std::vector<std::string>& secrets) noexcept {
  std::array<char, kMaxName> room;
  if (name.find('%') != std::string_view::npos) name = decoded(name, room);
  return ends_in_secret(name, secrets);
}

// Is there a secret name in a parameter? Some servers split at ';' as well, others do not: both readings count.
bool has_secret(std::string_view parameter, size_t& value_at, const std::vector<std::string>& secrets) noexcept {
  for (size_t from = 0; from < parameter.size();) {
    const size_t equals = parameter.find('=', from);
    if (equals == std::string_view::npos) return false;
    const size_t semicolon = parameter.rfind(';', equals);
    const size_t name_at = semicolon == std::string_view::npos || semicolon < from ? from : semicolon + 1;
    if (is_secret(parameter.substr(name_at, equals - name_at), secrets)) {
      value_at = equals + 1;
      return true;
    }
    from = parameter.find(';', equals);
    if (from == std::string_view::npos) return false;
    ++from;
  }
  return false;
}

// As Apache and nginx do: what could end the quoted string or the line becomes \xHH.
char* combined_escape(char* out, std::string_view text) noexcept {
  static constexpr char kHex[] = "0123456789ABCDEF";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F && c != '"' && c != '\\') [[likely]] {
      *out++ = c;
    } else {
      out = put(out, "\\x");
      *out++ = kHex[byte >> 4];
      *out++ = kHex[byte & 15];
    }
  }
  return out;
}

using Escape = char* (*)(char*, std::string_view) noexcept;

template <Escape escape>
char* put_redacted(char* out, std::string_view query, const std::vector<std::string>& secrets) noexcept {
  size_t written = 0;
  for (size_t from = 0; from < query.size();) {
    const size_t end = std::min(query.find('&', from), query.size());
    size_t value_at = 0;
    if (has_secret(query.substr(from, end - from), value_at, secrets) && from + value_at < end) {
      out = escape(out, query.substr(written, from + value_at - written));
      out = put(out, kRedacted);
      written = end;
    }
    from = end + 1;
  }
  return escape(out, query.substr(written));
}

// A URL: what follows its question mark is a query.
template <Escape escape>
char* put_url(char* out, std::string_view url, const std::vector<std::string>& secrets) noexcept {
  const size_t mark = url.find('?');
  if (mark == std::string_view::npos) return escape(out, url);
  out = escape(out, url.substr(0, mark + 1));
  return put_redacted<escape>(out, url.substr(mark + 1), secrets);
}

// ,"name":"text" unless there is no text; `name` comes with its punctuation.
inline char* put_text(char* out, std::string_view name, std::string_view text) noexcept {
  if (text.empty()) return out;
  out = put(out, name);
  out = json_escape(out, text);
  *out++ = '"';
  return out;
}

// The same for a text that needs no escaping.
inline char* put_plain(char* out, std::string_view name, std::string_view text) noexcept {
  if (text.empty()) return out;
  out = put(out, name);
  out = put(out, text);
  *out++ = '"';
  return out;
}

char* put_dash(char* out) noexcept {
  *out++ = '-';
  return out;
}

}  // namespace

Result<std::unique_ptr<AccessLog>> AccessLog::open(AccessLogConfig config, std::string node) {
  TRY(std::unique_ptr<FileWriter> writer, FileWriter::open({.path = config.path}));
  return std::make_unique<AccessLog>(std::move(config), std::move(node), std::move(writer));
}

AccessLog::AccessLog(AccessLogConfig config, std::string node, std::unique_ptr<FileWriter> writer)
    : config_(std::move(config)), writer_(std::move(writer)) {
  append_json(node_json_, limited(node, kMaxOwn));
  if (node.empty()) node_json_.clear();
  std::erase(config_.redact, std::string());
  for (std::string& name : config_.redact) {
    std::transform(name.begin(), name.end(), name.begin(), ascii_lower);
    const char last = name.back();
    ends_secret_[static_cast<unsigned char>(last)] = true;
    if (last >= 'a' && last <= 'z') ends_secret_[static_cast<unsigned char>(last - 'a' + 'A')] = true;
    ends_secret_['['] = ends_secret_[']'] = true;
  }
}

AccessLog::~AccessLog() = default;

void AccessLog::reopen() noexcept { writer_->reopen(); }

struct AccessLog::Line {
  const AccessRecord& record;
  std::string_view path;
  std::string_view query;
  std::string_view host;
  std::string_view user_agent;
  std::string_view referer;

  Line(const AccessRecord& finished, const AccessLogConfig& config) noexcept
      : record(finished),
        path(limited(finished.request.path, config.max_path)),
        query(limited(finished.request.query, config.max_path)),
        host(limited(finished.request.authority, config.max_value)) {
    for (const http::Field& field : finished.request.fields) {
      if (field.id == FieldId::user_agent && user_agent.empty()) user_agent = limited(field.value, config.max_value);
      if (field.id == FieldId::referer && referer.empty()) referer = limited(field.value, config.max_value);
    }
  }
};

void AccessLog::write(const AccessRecord& record) const noexcept {
  const Line finished(record, config_);
  char* const room = writer_->try_begin(room_for(finished));
  if (room == nullptr) [[unlikely]]
    return;
  writer_->commit(static_cast<size_t>(format(room, finished) - room));
}

std::string AccessLog::line(const AccessRecord& record) const {
  const Line finished(record, config_);
  std::string text(room_for(finished), '\0');
  text.resize(static_cast<size_t>(format(text.data(), finished) - text.data()));
  return text;
}

// Almost every query is free of secrets; one look at what stands before each '=' tells. An encoded name needs the
// longer look.
bool AccessLog::may_hold_secrets(std::string_view query) const noexcept {
  if (config_.redact.empty()) return false;
  unsigned char before = 0;
  for (size_t i = 0; i < query.size(); ++i) {
    const auto c = static_cast<unsigned char>(query[i]);
    if (c == '%' || (c == '=' && ends_secret_[before] && ends_in_secret(query.substr(0, i), config_.redact)))
      return true;
    before = c;
  }
  return false;
}

size_t AccessLog::room_for(const Line& line) const noexcept {
  const http::RequestContext& context = line.record.context;
  const auto own = [](std::string_view text) { return std::min(text.size(), kMaxOwn); };
  const size_t foreign = line.path.size() + line.query.size() + line.host.size() + line.user_agent.size() +
                         line.referer.size() + std::min(line.record.request.method_text.size(), kMaxMethod);
  const size_t ours = own(context.listener) + own(context.client_address) + own(context.upstream) +
                      own(context.upstream_host) + own(context.cache_status) + own(context.way) + own(context.route) +
                      own(context.request_id) + own(context.outcome);
  return kFixedRoom + node_json_.size() + kJsonGrowth * (foreign + ours);
}

char* AccessLog::format(char* out, const Line& line) const noexcept {
  return config_.format == AccessLogConfig::Format::json ? format_json(out, line) : format_combined(out, line);
}

char* AccessLog::format_json(char* out, const Line& line) const noexcept {
  const AccessRecord& record = line.record;
  const http::Request& request = record.request;
  const http::RequestContext& context = record.context;
  const auto own = [](std::string_view text) { return limited(text, kMaxOwn); };

  out = put(out, "{\"time\":\"");
  out = put(out, {cached_time(record.wall).rfc3339, 20});  // to the point after the seconds
  const auto millis = std::chrono::floor<std::chrono::milliseconds>(record.wall.time_since_epoch()).count();
  out = put_three(out, static_cast<unsigned>((millis % 1000 + 1000) % 1000));
  out = put(out, "Z\"");
  if (!node_json_.empty()) {
    out = put(out, ",\"node\":");
    out = put(out, node_json_);
  }
  out = put_text(out, ",\"listener\":\"", own(context.listener));
  // A numeric address, a known method and a checked id hold nothing that wants escaping.
  out = put_plain(out, ",\"client\":\"", own(context.client_address));
  if (request.method != http::Method::other) {
    out = put_plain(out, ",\"method\":\"", http::to_string(request.method));
  } else {
    out = put_text(out, ",\"method\":\"", method_of(request));
  }
  out = put_text(out, ",\"host\":\"", line.host);
  out = put_text(out, ",\"path\":\"", line.path);
  if (!line.query.empty()) {
    out = put(out, ",\"query\":\"");
    out = may_hold_secrets(line.query) ? put_redacted<json_escape>(out, line.query, config_.redact)
                                       : json_escape(out, line.query);
    *out++ = '"';
  }
  out = put(out, ",\"version\":\"1.");
  out = put_number(out, request.version_minor);
  out = put(out, "\",\"status\":");
  out = put_number(out, static_cast<uint64_t>(std::max(0, record.status)));
  out = put(out, ",\"bytes_in\":");
  out = put_number(out, record.bytes_in);
  out = put(out, ",\"bytes_out\":");
  out = put_number(out, record.bytes_out);
  out = put(out, ",\"duration_ms\":");
  out = put_millis(out, record.finished - context.started);
  if (record.first_byte != Time{}) {
    out = put(out, ",\"first_byte_ms\":");
    out = put_millis(out, record.first_byte - context.started);
  }
  out = put_text(out, ",\"upstream\":\"", own(context.upstream));
  out = put_text(out, ",\"upstream_host\":\"", own(context.upstream_host));
  if (context.attempts > 0) {
    out = put(out, ",\"attempts\":");
    out = put_number(out, context.attempts);
  }
  out = put_text(out, ",\"cache\":\"", own(context.cache_status));
  out = put_text(out, ",\"way\":\"", own(context.way));
  out = put_text(out, ",\"route\":\"", own(context.route));
  out = put_plain(out, ",\"request_id\":\"", own(context.request_id));
  if ((context.trace.trace_id_high | context.trace.trace_id_low) != 0) {
    out = put(out, ",\"trace_id\":\"");
    write_hex64(out, context.trace.trace_id_high);
    write_hex64(out + 16, context.trace.trace_id_low);
    out = put(out + 32, "\"");
  }
  out = put_text(out, ",\"user_agent\":\"", line.user_agent);
  if (!line.referer.empty()) {
    out = put(out, ",\"referer\":\"");
    out = put_url<json_escape>(out, line.referer, config_.redact);
    *out++ = '"';
  }
  if (context.failed_side != Side::unset) out = put_text(out, ",\"side\":\"", to_string(context.failed_side));
  out = put_text(out, ",\"outcome\":\"", own(context.outcome));
  return put(out, "}\n");
}

char* AccessLog::format_combined(char* out, const Line& line) const noexcept {
  const AccessRecord& record = line.record;
  const http::Request& request = record.request;
  const http::RequestContext& context = record.context;

  const std::string_view client = limited(context.client_address, kMaxOwn);
  out = client.empty() ? put_dash(out) : combined_escape(out, client);
  out = put(out, " - - [");
  const CachedTime& time = cached_time(record.wall);
  out = put(out, {time.combined, sizeof(time.combined)});
  out = put(out, "] \"");
  out = combined_escape(out, method_of(request));
  *out++ = ' ';
  out = combined_escape(out, line.path);
  if (!line.query.empty()) {
    *out++ = '?';
    out = put_redacted<combined_escape>(out, line.query, config_.redact);
  }
  out = put(out, " HTTP/1.");
  out = put_number(out, request.version_minor);
  out = put(out, "\" ");
  out = put_number(out, static_cast<uint64_t>(std::max(0, record.status)));
  *out++ = ' ';
  out = record.bytes_out > 0 ? put_number(out, record.bytes_out) : put_dash(out);
  out = put(out, " \"");
  out = line.referer.empty() ? put_dash(out) : put_url<combined_escape>(out, line.referer, config_.redact);
  out = put(out, "\" \"");
  out = line.user_agent.empty() ? put_dash(out) : combined_escape(out, line.user_agent);
  return put(out, "\"\n");
}

}  // namespace trellis::proxy
