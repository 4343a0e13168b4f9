#include "cache/rules/status_field.h"

#include <charconv>

#include "http/structured.h"

namespace trellis::cache {

namespace {

std::string_view number_text(int64_t number, Arena& arena) {
  char text[24];
  const char* const end = std::to_chars(text, std::end(text), number).ptr;
  return arena.copy({text, static_cast<size_t>(end - text)});
}

}  // namespace

std::string_view to_string(Forwarded why) noexcept {
  switch (why) {
    case Forwarded::no: return "";
    case Forwarded::bypass: return "bypass";
    case Forwarded::method: return "method";
    case Forwarded::uri_miss: return "uri-miss";
    case Forwarded::vary_miss: return "vary-miss";
    case Forwarded::miss: return "miss";
    case Forwarded::request: return "request";
    case Forwarded::stale: return "stale";
    case Forwarded::partial: return "partial";
  }
  return "";
}

std::string_view cache_status_text(std::string_view node, const CacheStatus& status, Arena& arena) {
  std::string_view text = http::structured_text(node, arena);
  const auto add = [&](std::string_view name, std::string_view value) { text = arena.concat({text, name, value}); };
  if (status.forwarded != Forwarded::no)
    add("; fwd=", to_string(status.forwarded));
  else if (!status.refused)
    add("; hit", "");
  if (status.forwarded_status) add("; fwd-status=", number_text(*status.forwarded_status, arena));
  if (status.ttl) add("; ttl=", number_text(*status.ttl, arena));
  if (status.stored) add("; stored", "");
  if (status.collapsed) add("; collapsed", "");
  if (!status.key.empty()) add("; key=", http::structured_string(status.key, arena));
  if (!status.detail.empty()) add("; detail=", http::structured_text(status.detail, arena));
  return text;
}

void add_cache_status(http::Fields& response, std::string_view node, const CacheStatus& status) {
  const std::string_view ours = cache_status_text(node, status, response.arena());
  const std::string_view before = response.joined(http::FieldId::cache_status);
  response.set(http::FieldId::cache_status, before.empty() ? ours : response.arena().concat({before, ", ", ours}));
}

}  // namespace trellis::cache
