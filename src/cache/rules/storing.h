// May this answer be stored, and how long is it fresh (RFC 9111 §3, §4.2)? Pure; any core. The cache is a shared one:
// what is private is never stored. docs/edge-cache-rules.md has the same as tables.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/time.h"
#include "cache/rules/directives.h"
#include "http/message.h"

namespace trellis::cache {

// What a route adds to what the answers say themselves; from the configuration, immutable.
struct StorePolicy {
  // Lifetimes by status for answers that name none (no s-maxage, max-age or Expires), like proxy_cache_valid in nginx.
  // Status 0 is any status that is not listed. They win over the heuristic.
  std::vector<std::pair<int, Duration>> ttl;
  bool heuristic = true;                            // §4.2.2: a tenth of the time since Last-Modified ...
  Duration heuristic_max = std::chrono::hours(24);  // ... up to this
  Duration ttl_max{};                               // cuts any lifetime; 0: no limit
  Duration stale_while_revalidate{};                // where the answer does not say
  Duration stale_if_error{};                        // where the answer does not say
  // Set-Cookie is stored and given to every client. Without it, an answer that names a lifetime is stored without its
  // cookies (§7.3), and one that names none is not stored: it is most likely somebody's own.
  bool store_set_cookie = false;
  // Clients' Cache-Control and Pragma are as if they were not there, so that a reload does not reach the origin. The
  // filter, which reads them, heeds it for reuse.h too.
  bool ignore_request_directives = false;
  Duration ttl_of(int status) const noexcept;  // 0: none
};

// When a stored answer is fresh, as numbers. Written to the disk as it is, with its version.
struct Freshness {
  static constexpr uint16_t kVersion = 1;
  enum Flag : uint16_t {
    kNoCache = 1 << 0,         // never without validating it
    kMustRevalidate = 1 << 1,  // never stale, not on errors either (must-revalidate, proxy-revalidate)
    kNoMaxStale = 1 << 2,      // a client's max-stale and stale-if-error do not count (s-maxage, §5.2.2.10)
    kHeuristic = 1 << 3,       // nobody named the lifetime
    kFromPolicy = 1 << 4,      // StorePolicy::ttl named it
    kImmutable = 1 << 5,
    kHasEtag = 1 << 6,
    kHasLastModified = 1 << 7,
    kAuthorized = 1 << 8,  // the request held credentials
    kTargeted = 1 << 9,    // by CDN-Cache-Control or Surrogate-Control
  };

  int64_t answered = 0;                // wall clock, seconds since 1970: when the answer came
  int64_t date = 0;                    // Date, or `answered` where there is none
  int64_t lifetime = 0;                // seconds
  int64_t age = 0;                     // seconds when it came: corrected_initial_age
  int64_t stale_while_revalidate = 0;  // seconds behind the lifetime; 0 where it is forbidden
  int64_t stale_if_error = 0;
  uint16_t flags = 0;
  uint16_t version = kVersion;
  uint32_t reserved = 0;

  // Of bytes from a disk: are these numbers that freshness_of() could have given?
  bool valid() const noexcept;
  bool has(Flag flag) const noexcept { return (flags & flag) != 0; }
  bool has_validator() const noexcept { return (flags & (kHasEtag | kHasLastModified)) != 0; }
};
static_assert(std::is_trivially_copyable_v<Freshness> && sizeof(Freshness) <= 64);

struct StoreVerdict {
  bool store = false;
  // A token: "stored", or why not. Static text; for Cache-Status, explain and `ctl cache why`.
  std::string_view reason;
  Freshness freshness;  // also where it is not stored
};

// `asked` and `answered`: when the request was sent and the answer's head came. The response is as it came, before
// fields were taken off. A 206 is judged like a 200; partial.h tells what of it can be kept. A POST's answer is stored
// for later GETs if it says so (§9.3.3 of RFC 9110: a lifetime and a Content-Location that is the request's own URI).
// Vary is the caller's, but for "*".
StoreVerdict may_store(const http::Request& request, const http::Response& response, const StorePolicy& policy,
                       WallTime asked, WallTime answered);

// The reason speaks of the request, not of the answer: another client's may well be stored.
bool is_of_request(std::string_view reason) noexcept;

// The freshness of a stored answer whose fields are these; for answers that were freshened (update.h).
Freshness freshness_of(int status, const http::Fields& response, const ResponseDirectives& directives,
                       const StorePolicy& policy, WallTime asked, WallTime answered);

// Gives an answer that came without Date the time when it came (RFC 9110 §6.6.1): else each answer from the store would
// look new, and a 304 as old as what it confirms.
void ensure_date(http::Fields& response, WallTime answered);

// Is this field kept in the store (§3.1)? Not Set-Cookie (unless the policy says so), the fields of no-cache="..." and
// private="...", what belongs to a connection or a proxy, and Age, which is made anew for each answer. Fields that
// Connection named are gone before (proxy/received_fields.h, http/h1_writer.h).
bool is_stored_field(const http::Field& field, const ResponseDirectives& directives,
                     const StorePolicy& policy) noexcept;

// RFC 9110 §15.1, and the statuses must-understand means: those whose rules for caching this cache follows.
bool is_heuristically_cacheable(int status) noexcept;
bool is_understood(int status) noexcept;

}  // namespace trellis::cache
