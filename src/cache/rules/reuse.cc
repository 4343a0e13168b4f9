#include "cache/rules/reuse.h"

#include <algorithm>
#include <cmath>

namespace trellis::cache {

namespace {

using Flag = Freshness::Flag;

int64_t whole_seconds(Duration span) noexcept { return std::chrono::duration_cast<std::chrono::seconds>(span).count(); }

}  // namespace

std::string_view to_string(Use use) noexcept {
  switch (use) {
    case Use::fresh: return "fresh";
    case Use::stale: return "stale";
    case Use::stale_while_revalidate: return "stale-while-revalidate";
    case Use::validate: return "validate";
    case Use::refused: return "refused";
  }
  return "validate";
}

int64_t age_of(const Freshness& stored, Duration since_response) noexcept {
  return std::min(stored.age + std::max<int64_t>(whole_seconds(since_response), 0), kMaxSeconds);
}

Reuse reuse_of(const RequestDirectives& request, const Freshness& stored, Duration since_response) {
  Reuse out;
  out.age = age_of(stored, since_response);
  out.ttl = stored.lifetime - out.age;
  const auto decide = [&out](Use use, std::string_view reason) {
    out.use = use;
    out.reason = reason;
    return out;
  };
  const auto validate = [&](std::string_view reason) {
    return decide(request.only_if_cached ? Use::refused : Use::validate, reason);
  };
  if (request.no_cache) return validate("request-no-cache");
  if (stored.has(Flag::kNoCache)) return validate("always-validated");
  // Ages are whole seconds: what came half a second ago is not what a client that reloads wants.
  if (request.max_age && (out.age > *request.max_age || *request.max_age == 0)) return validate("request-max-age");
  if (out.ttl > 0) {
    if (request.min_fresh && out.ttl < *request.min_fresh) return validate("request-min-fresh");
    return decide(Use::fresh, "fresh");
  }
  if (stored.has(Flag::kMustRevalidate)) return validate("must-revalidate");
  // Who asks for a fresh or a fairly new answer is not given a stale one, whatever the answer allows.
  if (request.min_fresh) return validate("request-min-fresh");
  const int64_t staleness = -out.ttl;
  if (request.max_stale && !stored.has(Flag::kNoMaxStale) && staleness <= *request.max_stale)
    return decide(Use::stale, "request-max-stale");
  if (staleness < stored.stale_while_revalidate && !request.max_age)
    return decide(Use::stale_while_revalidate, "stale-while-revalidate");
  return validate("stale");
}

bool may_serve_on_error(const RequestDirectives& request, const Freshness& stored, Duration since_response) {
  if (stored.has(Flag::kNoCache) || stored.has(Flag::kMustRevalidate)) return false;
  int64_t span = stored.stale_if_error;
  // What a client offers counts only where the answer leaves it to clients.
  if (!stored.has(Flag::kNoMaxStale)) span = std::max(span, request.stale_if_error.value_or(0));
  return span > 0 && age_of(stored, since_response) - stored.lifetime < span;
}

bool came_fresh(const Freshness& stored) noexcept {
  return stored.lifetime > stored.age && !stored.has(Flag::kNoCache);
}

bool refresh_early(const Freshness& stored, Duration since_response, Duration fetch_took, double beta,
                   double unit_random) noexcept {
  if (beta <= 0 || unit_random <= 0 || stored.has(Flag::kImmutable) || stored.has(Flag::kNoCache)) return false;
  const double left = static_cast<double>(stored.lifetime - stored.age) - seconds(since_response);
  return left > 0 && seconds(fetch_took) * beta * -std::log(unit_random) >= left;
}

}  // namespace trellis::cache
