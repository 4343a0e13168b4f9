// What Cache-Control and its kin say (RFC 9111 §5.2; RFC 5861 stale-*, RFC 8246 immutable; RFC 9213 CDN-Cache-Control;
// the older Surrogate-Control; Pragma, §5.4). Read from one message, without judging it: storing.h and reuse.h do that.
// Pure; any core. All views live as long as the fields they were read from.
//
// Seconds are never negative; a number that is too large counts as kMaxSeconds (§1.2.2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "http/fields.h"

namespace trellis::cache {

inline constexpr int64_t kMaxSeconds = int64_t{1} << 31;
inline constexpr int64_t kAnySeconds = INT64_MAX;  // of max-stale without a number
// More field names than this in no-cache="..." or private="..." count as if no field were named: the stricter meaning.
inline constexpr size_t kMaxNamedFields = 32;

// What Surrogate-Control calls this cache, as Surrogate-Capability tells it to the origin.
inline constexpr std::string_view kSurrogateDevice = "trellis";
inline constexpr std::string_view kSurrogateCapability = "trellis=\"Surrogate/1.0\"";

// A number that cannot be read is as if the directive were not there: a cache must live with any request.
struct RequestDirectives {
  bool no_store = false;
  bool no_cache = false;  // also Pragma: no-cache where there is no Cache-Control (§5.4)
  bool only_if_cached = false;
  bool no_transform = false;
  std::optional<int64_t> max_age;
  std::optional<int64_t> min_fresh;
  std::optional<int64_t> max_stale;  // kAnySeconds: however stale
  std::optional<int64_t> stale_if_error;
};
RequestDirectives request_directives(const http::Fields& request);

// A lifetime that cannot be read is 0 (§4.2.1: invalid means stale); of several the first counts. A directive that
// forbids something is taken with any argument, and no-store, private and no-cache also as words of something that is
// no directive, such as "private; max-age=60".
struct ResponseDirectives {
  bool any = false;  // there was a Cache-Control, or a targeted field that counts
  bool no_store = false;
  bool no_cache = false;    // without field names
  bool is_private = false;  // without field names
  bool is_public = false;
  bool must_revalidate = false;
  bool proxy_revalidate = false;
  bool must_understand = false;
  bool no_transform = false;
  bool immutable = false;
  std::optional<int64_t> max_age;
  std::optional<int64_t> s_maxage;
  std::optional<int64_t> stale_while_revalidate;
  std::optional<int64_t> stale_if_error;
  std::vector<std::string_view> no_cache_fields;  // as written
  std::vector<std::string_view> private_fields;
  // All this comes from a field meant for caches like this one: then Cache-Control and Expires say nothing to us, only
  // to those behind us (RFC 9213 §2.1).
  bool targeted = false;
};
// CDN-Cache-Control, else Surrogate-Control, else Cache-Control. A CDN-Cache-Control that is no valid dictionary of
// structured fields, or empty, or has a span that is no integer, is as if it were not there.
ResponseDirectives response_directives(const http::Fields& response);

// Says no-store or private, to caches like this one or to those behind it.
bool is_kept_from_caches(const http::Fields& response);
// From now on it says this, to every cache.
void set_cache_control(http::Fields& response, std::string_view text);

// Digits only: as they are, at most kMaxSeconds. Anything else, the empty text too: nullopt.
std::optional<int64_t> parse_seconds(std::string_view text) noexcept;

}  // namespace trellis::cache
