#include "proxy/received_fields.h"

#include <algorithm>

#include "http/h1_writer.h"

namespace trellis::proxy {

using http::FieldId;

namespace {

// X-Forwarded-For and all of its kind: -Port, -Prefix, -Ssl, -Client-Cert, ...
bool is_claim(const http::Field& field) noexcept {
  constexpr std::string_view kForwarded = "x-forwarded";
  switch (field.id) {
    case FieldId::forwarded:
    case FieldId::x_real_ip:
    case FieldId::x_forwarded_for:
    case FieldId::x_forwarded_host:
    case FieldId::x_forwarded_proto: return true;
    case FieldId::unknown:
      return field.name.size() >= kForwarded.size() &&
             http::iequal(field.name.substr(0, kForwarded.size()), kForwarded);
    default: return false;
  }
}

}  // namespace

void take_off_received(http::Fields& fields) {
  if (std::any_of(fields.begin(), fields.end(), is_claim)) fields.remove_if(is_claim);
  if (fields.has(FieldId::connection)) http::remove_hop_by_hop(fields, false);
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
