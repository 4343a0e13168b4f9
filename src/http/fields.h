// Header fields of a message (RFC 9110 §5): names and values are views into the exchange's arena (or static text), in
// the order received. Well-known names carry an id, so that looking one up compares a byte. One core; lives as long as
// its arena.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/arena.h"

namespace trellis::http {

// clang-format off
#define TRELLIS_HTTP_FIELDS(X) \
  X(accept, "Accept") X(accept_encoding, "Accept-Encoding") X(accept_language, "Accept-Language") X(accept_ranges, "Accept-Ranges") \
  X(age, "Age") X(allow, "Allow") X(alt_svc, "Alt-Svc") X(authorization, "Authorization") X(cache_control, "Cache-Control") X(cache_status, "Cache-Status") \
  X(connection, "Connection") X(content_disposition, "Content-Disposition") X(content_encoding, "Content-Encoding") \
  X(content_language, "Content-Language") X(content_length, "Content-Length") X(content_location, "Content-Location") \
  X(content_range, "Content-Range") X(content_security_policy, "Content-Security-Policy") X(content_type, "Content-Type") X(cookie, "Cookie") \
  X(date, "Date") X(etag, "ETag") X(expect, "Expect") X(expires, "Expires") X(forwarded, "Forwarded") X(from, "From") X(host, "Host") \
  X(idempotency_key, "Idempotency-Key") X(if_match, "If-Match") X(if_modified_since, "If-Modified-Since") X(if_none_match, "If-None-Match") \
  X(if_range, "If-Range") X(if_unmodified_since, "If-Unmodified-Since") X(keep_alive, "Keep-Alive") X(last_modified, "Last-Modified") \
  X(link, "Link") X(location, "Location") X(max_forwards, "Max-Forwards") X(origin, "Origin") X(pragma, "Pragma") \
  X(proxy_authenticate, "Proxy-Authenticate") X(proxy_authorization, "Proxy-Authorization") X(proxy_connection, "Proxy-Connection") \
  X(range, "Range") X(referer, "Referer") X(retry_after, "Retry-After") X(server, "Server") X(server_timing, "Server-Timing") \
  X(set_cookie, "Set-Cookie") X(te, "TE") X(traceparent, "traceparent") X(tracestate, "tracestate") X(trailer, "Trailer") \
  X(transfer_encoding, "Transfer-Encoding") X(upgrade, "Upgrade") X(user_agent, "User-Agent") X(vary, "Vary") X(via, "Via") \
  X(www_authenticate, "WWW-Authenticate") X(x_accel_buffering, "X-Accel-Buffering") X(x_content_type_options, "X-Content-Type-Options") \
  X(x_forwarded_for, "X-Forwarded-For") X(x_forwarded_host, "X-Forwarded-Host") X(x_forwarded_proto, "X-Forwarded-Proto") \
  X(x_real_ip, "X-Real-IP") X(x_request_id, "X-Request-Id") X(x_trellis_explain, "X-Trellis-Explain")
// clang-format on

enum class FieldId : uint8_t {
  unknown,
#define X(id, name) id,
  TRELLIS_HTTP_FIELDS(X)
#undef X
};

// The id of a name in any case, and the usual spelling of an id ("" for unknown).
FieldId field_id(std::string_view name) noexcept;
std::string_view field_name(FieldId id) noexcept;

// ASCII case-insensitive comparison, the one RFC 9110 asks for in names and tokens.
bool iequal(std::string_view a, std::string_view b) noexcept;
// Is `token` an element of the comma-separated list `value` (RFC 9110 §5.6.1), ignoring case?
bool list_has(std::string_view value, std::string_view token) noexcept;
// Cuts the next element off a comma-separated list (quoted commas respected, white space trimmed); nullopt at the end.
std::optional<std::string_view> next_element(std::string_view& list) noexcept;

struct Field {
  std::string_view name;
  std::string_view value;
  FieldId id = FieldId::unknown;
};

class Fields {
 public:
  explicit Fields(Arena& arena) noexcept : arena_(&arena) {}

  // Views must live as long as the arena; add_copy places a copy there.
  void add(FieldId id, std::string_view value) { push({field_name(id), value, id}); }
  void add(std::string_view name, std::string_view value) { push({name, value, field_id(name)}); }
  void add(Field field) { push(field); }
  void add_copy(std::string_view name, std::string_view value) { add(arena_->copy(name), arena_->copy(value)); }
  void add_copy(FieldId id, std::string_view value) { add(id, arena_->copy(value)); }

  // The first one's value; "" when it is absent is not told apart by value(), has() tells.
  std::optional<std::string_view> find(FieldId id) const noexcept;
  std::optional<std::string_view> find(std::string_view name) const noexcept;
  std::string_view value(FieldId id) const noexcept { return find(id).value_or(std::string_view{}); }
  bool has(FieldId id) const noexcept { return find(id).has_value(); }
  size_t count(FieldId id) const noexcept;
  // All values of a list field joined by ", " (RFC 9110 §5.3); the one value as it is when there is one. In the arena.
  std::string_view joined(FieldId id) const;

  void set(FieldId id, std::string_view value);  // replaces all of them by one
  void set(std::string_view name, std::string_view value);
  size_t remove(FieldId id) noexcept;
  size_t remove(std::string_view name) noexcept;
  template <class Predicate>
  void remove_if(Predicate gone) noexcept {
    size_t kept = 0;
    for (size_t i = 0; i < size_; ++i) {
      if (!gone(static_cast<const Field&>(items_[i]))) items_[kept++] = items_[i];
    }
    size_ = static_cast<uint32_t>(kept);
  }
  void clear() noexcept { size_ = 0; }

  const Field* begin() const noexcept { return items_; }
  const Field* end() const noexcept { return items_ + size_; }
  Field* begin() noexcept { return items_; }
  Field* end() noexcept { return items_ + size_; }
  size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  Arena& arena() const noexcept { return *arena_; }

 private:
  void push(Field field) {
    if (size_ == capacity_) [[unlikely]]
      grow();
    items_[size_++] = field;
  }
  void grow();

  Arena* arena_;
  Field* items_ = nullptr;
  uint32_t size_ = 0;
  uint32_t capacity_ = 0;
};

}  // namespace trellis::http
