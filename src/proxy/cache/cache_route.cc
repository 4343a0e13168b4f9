#include "proxy/cache/cache_route.h"

#include <algorithm>
#include <array>

#include "base/hash.h"
#include "base/ids.h"
#include "base/metrics.h"
#include "cache/rules/conditions.h"
#include "cache/rules/vary.h"
#include "http/field_text.h"
#include "proxy/cache/members.h"
#include "proxy/files/files_target.h"

namespace trellis::proxy {

namespace {

// May its name alone say of it that it never changes? Not of a page or of data: some origins take any path below a page
// for the page (/account/x.3f2a9c1d.css), and a client may be led to ask for its own by such a name (web cache
// deception).
bool is_asset(const http::Fields& answer) {
  if (answer.has(http::FieldId::set_cookie)) return false;
  const std::string_view type = http::media_type(answer.value(http::FieldId::content_type));
  constexpr std::array<std::string_view, 4> kKinds = {"image", "font", "audio", "video"};
  constexpr std::array<std::string_view, 9> kTypes = {
      "text/css",         "text/javascript",       "application/javascript",        "application/x-javascript",
      "application/wasm", "application/font-woff", "application/vnd.ms-fontobject", "application/octet-stream",
      "application/pdf"};
  const auto is = [](std::string_view text) {
    return [text](std::string_view one) { return http::iequal(one, text); };
  };
  const size_t slash = type.find('/');
  return slash != std::string_view::npos &&
         (std::ranges::any_of(kKinds, is(type.substr(0, slash))) || std::ranges::any_of(kTypes, is(type)));
}

}  // namespace

std::string_view to_string(Cached what) noexcept {
  switch (what) {
    case Cached::hit: return "hit";
    case Cached::stale: return "stale";
    case Cached::revalidated: return "revalidated";
    case Cached::coalesced: return "coalesced";
    case Cached::miss: return "miss";
    case Cached::bypass: return "bypass";
    case Cached::refused: return "refused";
  }
  return "";
}

std::string_view status_word(Cached what) noexcept {
  switch (what) {
    case Cached::hit:
    case Cached::coalesced: return "HIT";
    case Cached::stale: return "STALE";
    case Cached::revalidated: return "REVALIDATED";
    case Cached::miss:
    case Cached::refused: return "MISS";
    case Cached::bypass: return "BYPASS";
  }
  return "";
}

CacheRoute::CacheRoute(std::shared_ptr<cache::EdgeCache> its_cache, Metrics& metrics, const std::string& space,
                       TaskGroup& its_background)
    : cache(std::move(its_cache)), background(its_background) {
  for (size_t i = 0; i < kOutcomes; ++i) {
    const std::string outcome(to_string(static_cast<Cached>(i)));
    requests_[i] = &metrics.counter("trellis_cache_requests_total", "Lookups in a cache by what came of them.",
                                    {{"cache", cache->name()}, {"space", space}, {"outcome", outcome}});
    bytes_[i] = &metrics.counter("trellis_cache_body_bytes_total",
                                 "Bytes of bodies of known length by what came of the lookup.",
                                 {{"cache", cache->name()}, {"space", space}, {"outcome", outcome}});
  }
}

bool CacheRoute::never_changes(std::string_view path, const http::Fields& answer) const {
  if (hashed_names_immutable && has_content_hash(path.substr(path.rfind('/') + 1)) && is_asset(answer)) return true;
  return std::any_of(immutable.begin(), immutable.end(),
                     [path](const PathPattern& pattern) { return pattern.matches(path); });
}

bool CacheRoute::asks_member(std::string_view uri_key) const {
  return members && members->owns_another(hash64(uri_key));
}

void CacheRoute::count(Cached what, std::optional<uint64_t> bytes) noexcept {
  requests_[static_cast<size_t>(what)]->add();
  if (bytes && *bytes > 0) bytes_[static_cast<size_t>(what)]->add(*bytes);
}

void CacheRoute::tell(http::Response& response, http::RequestContext& context, Cached what,
                      const cache::CacheStatus& status) const {
  cache::add_cache_status(response.fields, node, status);
  response.fields.set("X-Cache-Status", status_word(what));
  context.cache_status = to_string(what);
}

bool CacheRoute::is_failure(int status) const noexcept {
  return std::find(error_statuses.begin(), error_statuses.end(), status) != error_statuses.end();
}

std::string_view reason_to_bypass(const http::Request& request) {
  if (request.body) return "request-body";
  if (request.upgrade) return "upgrade";
  if (cache::asks_the_origin(request.fields)) return "precondition";
  if (cache::names_another_target(request.fields)) return "target-override";
  return "";
}

void append_variant_of(std::string& key, const cache::Object& marker, const http::Fields& request) {
  char id[16];
  const cache::Variants& vary = marker.vary();
  write_hex64(id, vary.id);
  key += "\n#";
  key.append(id, sizeof id);
  cache::append_variant(key, vary.names, request, vary.languages);
}

Found find_stored(cache::EdgeCache& cache, std::string& key, const http::Fields& request, Time now) {
  Found found;
  found.uri_key = key.size();
  found.object = cache.find(key, now);
  if (found.object && found.object->kind() == cache::Object::Kind::variants) {
    append_variant_of(key, *found.object, request);
    found.varied = true;
    found.object = cache.find(key, now);
  }
  return found;
}

cache::Reuse reuse_now(const cache::Object& object, const cache::RequestDirectives& wanted, Time now) {
  using cache::Use;
  cache::Reuse reuse = cache::reuse_of(wanted, object.head().freshness, object.since_response(now));
  if (object.expired.load(std::memory_order_relaxed) && reuse.use == Use::fresh) {
    reuse.use = object.head().freshness.stale_while_revalidate > 0 ? Use::stale_while_revalidate : Use::validate;
    reuse.reason = "purged";
    reuse.ttl = 0;
    if (wanted.only_if_cached && reuse.use == Use::validate) reuse.use = Use::refused;
  }
  return reuse;
}

Shared shared_as(const cache::Object& object, const cache::ObjectRef& stored) noexcept {
  if (stored && &*stored == &object) return {Cached::stale, "stale-if-error"};
  if (object.expired.load(std::memory_order_relaxed)) return {Cached::stale, "purged"};
  return {Cached::coalesced, {}};
}

bool may_share(const cache::Object& object, const cache::ObjectRef& stored, const cache::RequestDirectives& wanted,
               Time came, Time now) {
  const cache::ObjectHead& head = object.head();
  // What was stale before the fetch and is given now: the origin failed.
  if (stored && &*stored == &object)
    return cache::may_serve_on_error(wanted, head.freshness, object.since_response(now));
  // The answer to a request that was sent after this one came is as good as one of its own, whatever its lifetime; but
  // not where each use is to be validated.
  if (head.answered - head.took >= came) return !head.freshness.has(cache::Freshness::kNoCache);
  const cache::Use use = reuse_now(object, wanted, now).use;
  return use == cache::Use::fresh || use == cache::Use::stale || use == cache::Use::stale_while_revalidate;
}

}  // namespace trellis::proxy
