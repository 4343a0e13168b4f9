#include "proxy/received_fields.h"

#include <algorithm>

#include "http/h1_writer.h"

namespace trellis::proxy {

using http::FieldId;

namespace {

bool is_foreign(std::string_view name) noexcept {
  constexpr std::string_view kForwarded = "x-forwarded";
  switch (name[0] | 0x20) {
    case 'x':  // X-Forwarded-For and all of its kind: -Port, -Prefix, -Ssl, -Client-Cert, ...
      return name.size() >= kForwarded.size() && http::iequal(name.substr(0, kForwarded.size()), kForwarded);
    case 'p':  // what CGI makes HTTP_PROXY of, which programs take for the proxy they are to use
      return http::iequal(name, "proxy");
    default: return false;
  }
}

// Does a Connection name fields that are not taken off anyway?
bool names_fields(std::string_view options) noexcept {
  while (const auto option = http::next_element(options)) {
    switch (http::field_id(*option)) {
      case FieldId::keep_alive:
      case FieldId::proxy_connection:
      case FieldId::te:
      case FieldId::upgrade: break;
      default:
        if (!http::iequal(*option, "close")) return true;
    }
  }
  return false;
}

}  // namespace

void take_off_received(http::Request& request) {
  bool named = false;
  request.fields.remove_if([&](const http::Field& field) {
    switch (field.id) {
      case FieldId::connection:
        if (!names_fields(field.value)) return true;
        named = true;
        return false;
      case FieldId::keep_alive:
      case FieldId::proxy_authenticate:
      case FieldId::proxy_authorization:
      case FieldId::proxy_connection:
      case FieldId::te:
      case FieldId::transfer_encoding: return true;
      case FieldId::upgrade: return !request.upgrade;
      case FieldId::forwarded:
      case FieldId::traceparent:
      case FieldId::x_forwarded_for:
      case FieldId::x_forwarded_host:
      case FieldId::x_forwarded_proto:
      case FieldId::x_real_ip:
      case FieldId::x_request_id:
      case FieldId::x_trellis_explain: return true;
      case FieldId::unknown: return is_foreign(field.name);
      default: return false;
    }
  });
  if (named) [[unlikely]]
    http::remove_hop_by_hop(request.fields, request.upgrade);
}

size_t via_hops(std::string_view via) noexcept {
  size_t hops = 0;
  int depth = 0;  // of comments, which nest
  bool quoted = false;
  bool empty = true;
  for (size_t i = 0; i < via.size(); ++i) {
    const char c = via[i];
    if (c == '\\' && (quoted || depth > 0)) {
      ++i;
    } else if (c == '"' && depth == 0) {
      quoted = !quoted;
    } else if (quoted) {
      continue;
    } else if (c == '(') {
      ++depth;
    } else if (c == ')') {
      depth = std::max(depth - 1, 0);
    } else if (c == ',' && depth == 0) {
      hops += empty ? 0 : 1;
      empty = true;
      continue;
    }
    if (c != ' ' && c != '\t') empty = false;
  }
  // Who leaves a comment open would hide all that comes behind it.
  if (depth > 0 || quoted) return static_cast<size_t>(std::count(via.begin(), via.end(), ',')) + 1;
  return hops + (empty ? 0 : 1);
}

}  // namespace trellis::proxy
