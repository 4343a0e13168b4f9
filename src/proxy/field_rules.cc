#include "proxy/field_rules.h"

#include <algorithm>
#include <cstdint>

#include "http/fields.h"

namespace trellis::proxy {

bool is_field_name(std::string_view name) noexcept {
  return !name.empty() && name.size() <= 256 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

bool is_field_value(std::string_view value) noexcept {
  return std::none_of(value.begin(), value.end(), [](char c) {
    const auto byte = static_cast<uint8_t>(c);
    return (byte < 0x20 && c != '\t') || byte == 0x7f;
  });
}

const char* field_refusal(std::string_view name) noexcept {
  if (!is_field_name(name)) return "is no header name";
  switch (http::field_id(name)) {
    case http::FieldId::connection:
    case http::FieldId::keep_alive:
    case http::FieldId::proxy_connection:
    case http::FieldId::te:
    case http::FieldId::trailer:
    case http::FieldId::upgrade: return "concerns one connection only and is written by the server itself";
    case http::FieldId::transfer_encoding:
    case http::FieldId::content_length: return "frames the message and is written by the server itself";
    case http::FieldId::host: return "names the host that routing and caching rely on";
    default: return http::iequal(name, "HTTP2-Settings") ? "concerns one connection only" : nullptr;
  }
}

}  // namespace trellis::proxy
