// Cache-Status (RFC 9211): what this cache did with a request, appended to what caches nearer to the origin said. Pure;
// any core.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "http/fields.h"

namespace trellis::cache {

// Why a request went to the origin (§2.2).
enum class Forwarded : uint8_t {
  no,         // a hit
  bypass,     // this route or request is not cached at all
  method,     // the method's semantics want it
  uri_miss,   // nothing under this URI
  vary_miss,  // something, but for other request fields
  miss,       // nothing that fits, for a reason not told apart
  request,    // fresh, but the request wanted more (no-cache, max-age, min-fresh)
  stale,
  partial,  // not all bytes of the range
};
std::string_view to_string(Forwarded why) noexcept;  // the token; "" for no

struct CacheStatus {
  Forwarded forwarded = Forwarded::no;
  std::optional<int> forwarded_status;  // fwd-status
  std::optional<int64_t> ttl;           // seconds, negative once stale
  bool stored = false;
  bool collapsed = false;   // waited for another request's fetch
  bool refused = false;     // neither a hit nor forwarded: the client wanted it so
  std::string_view key;     // "": not told
  std::string_view detail;  // "": none; a token where it is one, else a string
};

// The member for this cache, in the arena: `trellis; hit; ttl=30`. `node` becomes a token where it is one, else a
// quoted string; bytes a structured field cannot hold become '?'.
std::string_view cache_status_text(std::string_view node, const CacheStatus& status, Arena& arena);

// Appends it to the fields, behind what is there already (§2: the one nearest to the client comes last).
void add_cache_status(http::Fields& response, std::string_view node, const CacheStatus& status);

}  // namespace trellis::cache
