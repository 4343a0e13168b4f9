// What strangers can say to a cluster of edges and of purges: marks of members and their parts, and texts to purge by.
// A mark that nobody signed is none; a rule that was made says the same when it is made again.
#include <cstdint>
#include <string>
#include <string_view>

#include "base/arena.h"
#include "cache/edge/purge_rule.h"
#include "proxy/cache/member_mark.h"
#include "proxy/cache/purge_request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis;
  using Kind = cache::PurgeRule::Kind;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const WallTime now(std::chrono::hours(24 * 365 * 55));
  Arena arena;
  http::Request request(arena);
  request.method_text = "GET";
  request.authority = "a.com";
  request.path = "/";
  request.target = "/";
  request.fields.set(proxy::kMemberField, text);
  TRELLIS_ASSERT(!proxy::member_mark_of(request, "a key", proxy::MemberPurpose::fetch, now));
  if (const auto hop = proxy::parse_hop_extra(text)) {
    const std::string again = proxy::hop_extra(hop->scheme, hop->marks);
    TRELLIS_ASSERT(proxy::parse_hop_extra(again).has_value());
  }
  for (const Kind kind : {Kind::key, Kind::prefix, Kind::host, Kind::tag, Kind::all}) {
    const auto rule = cache::make_purge_rule(kind, text, false);
    if (!rule) continue;
    const auto again = cache::make_purge_rule(kind, rule->text, false);
    TRELLIS_ASSERT(again.has_value() && again->text == rule->text);
  }
  // Signed, whatever it says.
  for (const char c : text) {
    if (c == '\n' || c == '\r') return 0;
  }
  const proxy::PurgeFields fields = proxy::sign_purge("a key", "a.com", "/", text, now);
  request.fields.set("X-Trellis-Purge", fields.what);
  request.fields.set("X-Trellis-Purge-Time", fields.time);
  request.fields.set("X-Trellis-Purge-Signature", fields.signature);
  const auto rule = proxy::purge_rule_of(request, "a key", now);
  TRELLIS_ASSERT(rule.has_value() || rule.error().code() == Code::invalid_argument);
  return 0;
}
