#include "cache/rules/storing.h"

#include <algorithm>
#include <array>
#include <optional>

#include "cache/rules/invalidation.h"
#include "cache/rules/vary.h"
#include "http/date.h"
#include "http/field_text.h"

namespace trellis::cache {

namespace {

using http::FieldId;
using http::Method;
using Flag = Freshness::Flag;

int64_t whole_seconds(Duration span) noexcept { return std::chrono::duration_cast<std::chrono::seconds>(span).count(); }

// A date that is there once and can be read. Of several lines the first counts (§4.2.1).
std::optional<int64_t> date_in(const http::Fields& fields, FieldId id, int64_t now) noexcept {
  const auto value = fields.find(id);
  return value ? http::parse_http_date(*value, now) : std::nullopt;
}

// Age (§5.1): of several lines or members the first counts; what is no number is as if it were not there.
int64_t age_in(const http::Fields& fields) noexcept {
  const std::string_view value = fields.value(FieldId::age);
  return parse_seconds(http::trimmed(value.substr(0, value.find(',')))).value_or(0);
}

// s-maxage, max-age, Expires minus Date, in this order (§4.2.1). nullopt: the answer names none.
std::optional<int64_t> named_lifetime(const http::Fields& response, const ResponseDirectives& directives, int64_t date,
                                      int64_t now) noexcept {
  if (directives.s_maxage) return directives.s_maxage;
  if (directives.max_age) return directives.max_age;
  if (directives.targeted || !response.has(FieldId::expires)) return std::nullopt;
  const auto expires = date_in(response, FieldId::expires, now);
  if (!expires) return 0;  // "0" and all else that is no date: in the past (§5.3)
  return std::clamp<int64_t>(*expires - date, 0, kMaxSeconds);
}

bool says_no_cache_by_pragma(const http::Fields& response) noexcept {
  for (const http::Field& field : response) {
    if (field.id == FieldId::pragma && http::list_has(field.value, "no-cache")) return true;
  }
  return false;
}

// For an answer that names no lifetime: the route's for its status, else a tenth of its age at the origin.
int64_t assumed_lifetime(int status, const http::Fields& response, const ResponseDirectives& directives,
                         const StorePolicy& policy, int64_t date, int64_t now, uint16_t& flags) noexcept {
  // Old programs forbid caching by Pragma alone. It means nothing in an answer (§5.4), but nothing speaks against it.
  if (!directives.any && says_no_cache_by_pragma(response)) return 0;
  if (const int64_t ttl = whole_seconds(policy.ttl_of(status)); ttl > 0) {
    flags |= Flag::kFromPolicy;
    return std::min(ttl, kMaxSeconds);
  }
  if (!policy.heuristic || !(is_heuristically_cacheable(status) || directives.is_public)) return 0;
  const auto modified = date_in(response, FieldId::last_modified, now);
  if (!modified || *modified >= date) return 0;
  flags |= Flag::kHeuristic;
  return std::min((date - *modified) / 10, whole_seconds(policy.heuristic_max));
}

// Where neither a route's default nor a client's wish may bring a stale answer: s-maxage has the meaning of
// proxy-revalidate (§5.2.2.10). A stale-* directive beside it is heeded, as sites that write both want it.
int64_t stale_span(const ResponseDirectives& directives, std::optional<int64_t> named, Duration of_policy) noexcept {
  if (directives.must_revalidate || directives.proxy_revalidate || directives.no_cache) return 0;
  if (named) return *named;
  return directives.s_maxage ? 0 : std::min(whole_seconds(of_policy), kMaxSeconds);
}

// A POST's answer may stand for later GETs (RFC 9110 §9.3.3).
bool answers_later_gets(const http::Request& request, const http::Response& response) {
  const auto location = response.fields.find(FieldId::content_location);
  StoredUri uri;
  return response.status == 200 && location && resolve_same_origin(request, *location, request.fields.arena(), uri) &&
         uri.path == request.path && uri.query == request.query;
}

constexpr std::array<int, 12> kHeuristicallyCacheable = {200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501};

// "stored", or why not.
std::string_view store_reason(const http::Request& request, const http::Response& response, const StorePolicy& policy,
                              const ResponseDirectives& directives, const Freshness& freshness) {
  const http::Fields& fields = response.fields;
  const bool posted = request.method == Method::post;
  if (request.method != Method::get && !posted) return "method";
  if (request.body && !posted) return "request-body";
  if (response.status < 200 || response.status == 304) return "status";
  if (!policy.ignore_request_directives && request_directives(request.fields).no_store) return "request-no-store";
  if (directives.must_understand && !is_understood(response.status)) return "not-understood";
  if (directives.no_store && !directives.must_understand) return "no-store";
  if (directives.is_private) return "private";
  if (freshness.has(Flag::kAuthorized) && !directives.is_public && !directives.must_revalidate && !directives.s_maxage)
    return "authorization";
  if (varies_on_everything(fields.joined(FieldId::vary))) return "vary";

  const bool names_lifetime =
      directives.s_maxage || directives.max_age || (!directives.targeted && fields.has(FieldId::expires));
  if (posted && (!names_lifetime || !answers_later_gets(request, response))) return "method";
  if (!names_lifetime && !directives.is_public && !freshness.has(Flag::kFromPolicy) &&
      !is_heuristically_cacheable(response.status))
    return "status";
  if (fields.has(FieldId::set_cookie) && !policy.store_set_cookie && !names_lifetime && !directives.is_public)
    return "set-cookie";

  if (freshness.has_validator()) return "stored";
  if (freshness.has(Flag::kNoCache)) return "no-cache";
  const int64_t usable = freshness.lifetime + std::max(freshness.stale_while_revalidate, freshness.stale_if_error);
  if (usable == 0) return names_lifetime ? "no-lifetime" : "no-lifetime-named";
  return freshness.age < usable ? "stored" : "stale-on-arrival";
}

}  // namespace

bool Freshness::valid() const noexcept {
  // Of the years that a Date can name: no difference of two of them overflows.
  const auto is_moment = [](int64_t moment) { return moment >= -62'167'219'200 && moment <= 253'402'300'799; };
  const auto is_span = [](int64_t span) { return span >= 0 && span <= kMaxSeconds; };
  return version == kVersion && is_moment(answered) && is_moment(date) && is_span(lifetime) && is_span(age) &&
         is_span(stale_while_revalidate) && is_span(stale_if_error);
}

Duration StorePolicy::ttl_of(int status) const noexcept {
  if (status == 206) status = 200;
  Duration any{};
  for (const auto& [each, span] : ttl) {
    if (each == status) return span;
    if (each == 0) any = span;
  }
  return any;
}

bool is_heuristically_cacheable(int status) noexcept {
  return std::find(kHeuristicallyCacheable.begin(), kHeuristicallyCacheable.end(), status) !=
         kHeuristicallyCacheable.end();
}

bool is_understood(int status) noexcept {
  return status >= 200 && status != 205 && status != 304 && !http::reason_phrase(status).empty() && status != 499;
}

Freshness freshness_of(int status, const http::Fields& response, const ResponseDirectives& directives,
                       const StorePolicy& policy, WallTime asked, WallTime answered) {
  Freshness out;
  out.answered = unix_seconds(answered);
  out.date = date_in(response, FieldId::date, out.answered).value_or(out.answered);

  if (const auto named = named_lifetime(response, directives, out.date, out.answered)) {
    out.lifetime = *named;
  } else {
    out.lifetime = assumed_lifetime(status, response, directives, policy, out.date, out.answered, out.flags);
  }
  if (policy.ttl_max > Duration::zero()) out.lifetime = std::min(out.lifetime, whole_seconds(policy.ttl_max));

  // §4.2.3: the larger of what Date and what Age tell.
  const int64_t apparent = std::clamp<int64_t>(out.answered - out.date, 0, kMaxSeconds);
  const int64_t delay = std::clamp<int64_t>(whole_seconds(answered - asked), 0, kMaxSeconds);
  out.age = std::min(std::max(apparent, age_in(response) + delay), kMaxSeconds);

  out.stale_while_revalidate = stale_span(directives, directives.stale_while_revalidate, policy.stale_while_revalidate);
  out.stale_if_error = stale_span(directives, directives.stale_if_error, policy.stale_if_error);

  const auto set = [&out](bool when, Flag flag) { out.flags |= when ? flag : 0; };
  set(directives.no_cache, Flag::kNoCache);
  set(directives.must_revalidate || directives.proxy_revalidate, Flag::kMustRevalidate);
  set(directives.s_maxage.has_value(), Flag::kNoMaxStale);
  set(directives.immutable, Flag::kImmutable);
  set(directives.targeted, Flag::kTargeted);
  set(!response.value(FieldId::etag).empty(), Flag::kHasEtag);
  set(date_in(response, FieldId::last_modified, out.answered).has_value(), Flag::kHasLastModified);
  return out;
}

StoreVerdict may_store(const http::Request& request, const http::Response& response, const StorePolicy& policy,
                       WallTime asked, WallTime answered) {
  const ResponseDirectives directives = response_directives(response.fields);
  StoreVerdict out;
  out.freshness = freshness_of(response.status, response.fields, directives, policy, asked, answered);
  if (request.fields.has(FieldId::authorization)) out.freshness.flags |= Flag::kAuthorized;
  out.reason = store_reason(request, response, policy, directives, out.freshness);
  out.store = out.reason == "stored";
  return out;
}

bool is_of_request(std::string_view reason) noexcept {
  return reason == "method" || reason == "request-body" || reason == "request-no-store" || reason == "authorization";
}

void ensure_date(http::Fields& response, WallTime answered) {
  if (!response.has(FieldId::date))
    response.add(FieldId::date, http::http_date(unix_seconds(answered), response.arena()));
}

bool is_stored_field(const http::Field& field, const ResponseDirectives& directives,
                     const StorePolicy& policy) noexcept {
  switch (field.id) {
    case FieldId::set_cookie:
      if (!policy.store_set_cookie) return false;
      break;
    case FieldId::age:
    case FieldId::connection:
    case FieldId::keep_alive:
    case FieldId::proxy_authenticate:
    case FieldId::proxy_authorization:
    case FieldId::proxy_connection:
    case FieldId::te:
    case FieldId::trailer:
    case FieldId::transfer_encoding:
    case FieldId::upgrade: return false;
    case FieldId::unknown:
      if (http::iequal(field.name, "Proxy-Authentication-Info")) return false;
      break;
    default: break;
  }
  const auto names_it = [&field](std::string_view name) { return http::iequal(name, field.name); };
  return std::none_of(directives.no_cache_fields.begin(), directives.no_cache_fields.end(), names_it) &&
         std::none_of(directives.private_fields.begin(), directives.private_fields.end(), names_it);
}

}  // namespace trellis::cache
