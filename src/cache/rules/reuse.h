// May a stored answer be used for this request (RFC 9111 §4.2 to §4.2.4, §5.2.1; RFC 5861)? Pure; any core. Whether it
// fits the request at all (key, Vary) was seen before.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/time.h"
#include "cache/rules/directives.h"
#include "cache/rules/storing.h"

namespace trellis::cache {

enum class Use : uint8_t {
  fresh,
  stale,                   // the client takes it so: max-stale
  stale_while_revalidate,  // use it, and refresh it behind the client's back
  validate,                // ask the origin first
  refused,                 // it would have to be validated, and the client said only-if-cached: 504
};
std::string_view to_string(Use use) noexcept;

struct Reuse {
  Use use = Use::validate;
  int64_t age = 0;          // seconds, for the Age field
  int64_t ttl = 0;          // seconds of freshness left; negative once stale (ttl of Cache-Status)
  std::string_view reason;  // a token; static text
};

// `since_response`: how long the answer has been here, never negative.
Reuse reuse_of(const RequestDirectives& request, const Freshness& stored, Duration since_response);

// The origin failed: may the stored answer be given although it is stale (stale-if-error, RFC 5861 §4)?
// must-revalidate, proxy-revalidate and no-cache forbid it (§4.2.4).
bool may_serve_on_error(const RequestDirectives& request, const Freshness& stored, Duration since_response);

// Was it fresh when it came? Then it may be used for requests that come while it is still on its way (§4: collapsed
// requests); otherwise only for those that came before it was asked for.
bool came_fresh(const Freshness& stored) noexcept;

// Seconds, §4.2.3: current_age.
int64_t age_of(const Freshness& stored, Duration since_response) noexcept;

// Refresh a fresh answer ahead of its end, so that many clients do not find it stale at once (XFetch: Vattani et al.,
// "Optimal probabilistic cache stampede prevention"). `fetch_took`: how long the last fetch took; `beta`: 1 is the
// paper's, 0 never, more is earlier; `unit_random`: in (0, 1]. Immutable answers are not refreshed early (RFC 8246 §2).
bool refresh_early(const Freshness& stored, Duration since_response, Duration fetch_took, double beta,
                   double unit_random) noexcept;

}  // namespace trellis::cache
