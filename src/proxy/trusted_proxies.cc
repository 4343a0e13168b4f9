#include "proxy/trusted_proxies.h"

#include <algorithm>
#include <array>
#include <optional>

#include "http/h1_parser.h"
#include "http/handler.h"

namespace trellis::proxy {

namespace {

using http::FieldId;

constexpr size_t kMaxHops = 32;  // addresses that are believed; those before them are not looked at

std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool is_port(std::string_view text) noexcept {
  return !text.empty() && text.size() <= 16 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' ||
           c == '.';
  });
}

// The address of 192.0.2.7, 192.0.2.7:80, 2001:db8::7, [2001:db8::7] and [2001:db8::7]:80; "" where it is none.
std::string_view bare_address(std::string_view text) noexcept {
  std::string_view port;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return {};
    port = text.substr(end + 1);
    text = text.substr(1, end - 1);
    if (text.find(':') == std::string_view::npos) return {};
  } else if (const size_t colon = text.find(':');
             colon != std::string_view::npos && text.find(':', colon + 1) == std::string_view::npos) {
    port = text.substr(colon);
    text = text.substr(0, colon);
  }
  if (!port.empty() && !(port.front() == ':' && is_port(port.substr(1)))) return {};
  return text;
}

// Cuts the last part off that stands behind `separator`, from the right: what a client put to the left, a quote without
// its end for example, changes nothing of what proxies added.
std::string_view take_last(std::string_view& list, char separator) noexcept {
  bool quoted = false;
  for (size_t i = list.size(); i > 0; --i) {
    const char c = list[i - 1];
    if (c == '"') {
      size_t escapes = 0;
      while (escapes + 1 < i && list[i - 2 - escapes] == '\\') ++escapes;
      if (escapes % 2 == 0) quoted = !quoted;
    } else if (c == separator && !quoted) {
      const std::string_view last = list.substr(i);
      list = list.substr(0, i - 1);
      return trimmed(last);
    }
  }
  return trimmed(std::exchange(list, {}));
}

std::string_view scheme_of(std::string_view text) noexcept {
  if (http::iequal(text, "https")) return "https";
  return http::iequal(text, "http") ? "http" : "";
}

// What one proxy says of who asked it.
struct Hop {
  std::string_view address;
  std::string_view scheme;
  std::string_view host;
};

// An element of Forwarded; nullopt when it is none, or when the proxy would not tell the address.
std::optional<Hop> read_forwarded(std::string_view element) noexcept {
  Hop hop;
  uint8_t seen = 0;
  while (!element.empty()) {
    const std::string_view pair = take_last(element, ';');
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) return std::nullopt;
    const std::string_view name = pair.substr(0, equals);
    std::string_view value = pair.substr(equals + 1);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') {
      value = value.substr(1, value.size() - 2);
      if (value.find_first_of("\"\\") != std::string_view::npos) return std::nullopt;
    } else if (!http::valid_token(value)) {
      return std::nullopt;
    }
    uint8_t bit = 0;
    if (http::iequal(name, "for")) {
      bit = 1;
      hop.address =
          value.find(':') != std::string_view::npos && !value.starts_with('[') && value.find(':') != value.rfind(':')
              ? std::string_view()  // IPv6 stands in brackets here
              : bare_address(value);
    } else if (http::iequal(name, "proto")) {
      bit = 2;
      hop.scheme = scheme_of(value);
    } else if (http::iequal(name, "host")) {
      bit = 4;
      if (http::valid_authority(value)) hop.host = value;
    }
    if ((seen & bit) != 0) return std::nullopt;
    seen |= bit;
  }
  return hop;
}

std::string_view only_value(const http::Fields& fields, FieldId id) noexcept {
  return fields.count(id) == 1 ? fields.value(id) : std::string_view();
}

}  // namespace

void TrustedProxies::believe(http::Request& request, http::RequestContext& context) const {
  http::Fields& fields = request.fields;
  if (!addresses_.has(context.client_address)) {
    context.from_stranger = true;
    fields.remove(FieldId::traceparent);
    fields.remove(FieldId::tracestate);
    fields.remove(FieldId::x_request_id);
    return;
  }
  const bool forwarded = reads_ == Reads::forwarded;
  std::string_view list = fields.joined(forwarded ? FieldId::forwarded : FieldId::x_forwarded_for);
  std::array<std::string_view, kMaxHops + 1> way;  // from here back to the client
  size_t hops = 0;
  way[hops++] = context.client_address;
  std::string_view scheme;
  while (!list.empty() && hops < way.size()) {
    const std::string_view element = take_last(list, ',');
    if (element.empty()) continue;
    const std::optional<Hop> hop = forwarded ? read_forwarded(element) : Hop{bare_address(element), {}, {}};
    const auto address = hop ? net::AddressSet::parse_address(hop->address) : std::nullopt;
    if (!address) break;
    way[hops++] = hop->address;
    scheme = hop->scheme;
    context.forwarded_host = hop->host;
    if (!addresses_.has(*address)) break;
  }
  if (!forwarded) {
    scheme = scheme_of(only_value(fields, FieldId::x_forwarded_proto));
    const std::string_view host = only_value(fields, FieldId::x_forwarded_host);
    if (http::valid_authority(host)) context.forwarded_host = host;
  }
  if (!scheme.empty()) request.scheme = scheme;
  if (hops == 1) return;

  context.client_address = way[hops - 1];
  context.client_port = 0;
  size_t size = 0;
  for (size_t i = 0; i < hops; ++i) size += way[i].size() + 2;
  char* const text = context.arena.alloc(size);
  char* to = text;
  for (size_t i = hops; i > 0; --i) {
    to = std::copy(way[i - 1].begin(), way[i - 1].end(), to);
    if (i > 1) to = std::copy_n(", ", 2, to);
  }
  context.forwarded_for = {text, static_cast<size_t>(to - text)};
}

}  // namespace trellis::proxy
