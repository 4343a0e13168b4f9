// The control API's answer to "why does this come from the cache, or not?" (docs/edge-cache.md#telling-why): what the
// cache of the route that takes a URL has for it. Nothing is asked of the origin, and nothing changes.
#include <algorithm>
#include <array>

#include "app/control/control_area.h"
#include "app/node/node.h"
#include "base/arena.h"
#include "base/ascii.h"
#include "cache/rules/advice.h"
#include "cache/rules/key.h"
#include "http/field_text.h"
#include "http/target.h"
#include "proxy/cache/cache_route.h"
#include "proxy/cache/cache_view.h"
#include "proxy/cache/stored_answer.h"
#include "proxy/filters/cache.h"
#include "runtime/loop.h"

namespace trellis::app {

namespace {

using cache::Object;
using cache::ObjectRef;
using http::Method;
using http::Request;
using http::RequestContext;
using http::Response;

// "http://www.example.com/page?x=1" and the fields, as the request of a client.
Result<void> read_request(const std::string& url, Request& asking, Request& asked) {
  Arena& arena = asked.fields.arena();
  std::string_view rest = arena.copy(url);
  asked.scheme = rest.starts_with("https://") ? "https" : "http";
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (rest.starts_with(scheme)) rest.remove_prefix(scheme.size());
  }
  const size_t end = std::min(rest.find_first_of("/?"), rest.size());
  std::string authority(rest.substr(0, end));
  std::transform(authority.begin(), authority.end(), authority.begin(), ascii_lower);
  asked.authority = arena.copy(authority);
  rest.remove_prefix(end);
  asked.target = rest.starts_with('/') ? rest : arena.concat({"/", rest});
  if (authority.empty() || http::normalise_target(asked.target, arena, asked.path, asked.query) != http::H1Error{})
    return fail(refused(Code::invalid_argument, "url is no address such as http://www.example.com/page"));
  std::string_view query = asking.query;
  while (const auto parameter = http::next_parameter(query)) {
    if (parameter->key != "header") continue;
    const auto line = http::decode_component(parameter->value, arena, true);
    const size_t colon = line ? line->find(':') : std::string_view::npos;
    if (colon == std::string_view::npos || !http::is_token(line->substr(0, colon)))
      return fail(refused(Code::invalid_argument, "header is no NAME: VALUE"));
    asked.fields.add_copy(line->substr(0, colon), http::trimmed(line->substr(colon + 1)));
  }
  return {};
}

void write_advice(JsonWriter& json, std::string_view reason) {
  const cache::Advice advice = cache::advice_for(reason);
  json.member("reason", reason);
  if (!advice.meaning.empty()) json.member("meaning", advice.meaning);
  if (!advice.remedy.empty()) json.member("remedy", advice.remedy);
}

void write_answer(JsonWriter& json, cache::EdgeCache& cache, const Object& object, const Request& asked,
                  const proxy::CacheFilterConfig& filter) {
  const Time now = Loop::current().now();
  const cache::ObjectHead& head = object.head();
  const auto wanted =
      filter.ignore_request_directives ? cache::RequestDirectives{} : cache::request_directives(asked.fields);
  const cache::Reuse reuse = proxy::reuse_now(object, wanted, now);
  const cache::PurgeState purged = cache.purge_state(object);
  json.begin_object().member("status", head.status);
  if (const auto total = object.total()) json.member("bytes", *total);
  json.member("age", reuse.age).member("ttl", reuse.ttl).member("lifetime", head.freshness.lifetime);
  json.member("lifetime_from", head.freshness.has(cache::Freshness::kFromPolicy)  ? "the filter's ttl"
                               : head.freshness.has(cache::Freshness::kHeuristic) ? "the date of its last change"
                                                                                  : "the answer");
  json.member("stale_while_revalidate", head.freshness.stale_while_revalidate);
  json.member("stale_if_error", head.freshness.stale_if_error).member("validator", head.freshness.has_validator());
  json.member("tags", head.tags.size()).member("parts", object.parts().size());
  json.member("purged", purged == cache::PurgeState::dead ? "yes" : purged == cache::PurgeState::stale ? "soft" : "no");
  json.member("use", purged == cache::PurgeState::dead ? "none" : cache::to_string(reuse.use));
  write_advice(json, reuse.reason);
  json.end_object();
}

// In a word what the next request of this kind meets: hit, stale, partial, validate, miss, bypass, unshared.
std::string_view expect(cache::EdgeCache& cache, const proxy::CacheView& view, const Request& asked,
                        const cache::RequestDirectives& wanted, bool of_slice) {
  for (const ObjectRef& object : {view.memory, view.disk}) {
    if (!object || object->kind() == Object::Kind::variants) continue;
    if (object->kind() == Object::Kind::unshared) {
      if (object->until() > Loop::current().now()) return "unshared";
      continue;
    }
    if (cache.purge_state(*object) == cache::PurgeState::dead) continue;
    const cache::Use use = proxy::reuse_now(*object, wanted, Loop::current().now()).use;
    // What is read from the disk has no parts yet, and is whole.
    if (use != cache::Use::validate && use != cache::Use::refused && !object->parts().empty() && !of_slice &&
        !proxy::has_bytes_for(*object, asked, unix_seconds(Loop::current().wall())))
      return wanted.only_if_cached ? "refused" : "partial";
    switch (use) {
      case cache::Use::fresh: return "hit";
      case cache::Use::stale:
      case cache::Use::stale_while_revalidate: return "stale";
      case cache::Use::validate: return "validate";
      case cache::Use::refused: return "refused";
    }
  }
  return view.filling ? "wait" : "miss";
}

void write_view(JsonWriter& json, cache::EdgeCache& cache, const proxy::CacheView& view, const Request& asked,
                const proxy::CacheFilterConfig& filter, bool of_slice) {
  json.member("key", view.key).member("filling", view.filling);
  if (view.marker) {
    json.key("varies_by").begin_array();
    for (const std::string& name : view.marker->vary().names) json.value(name);
    json.end_array();
  }
  for (const auto& [tier, object] : {std::pair("memory", view.memory), std::pair("disk", view.disk)}) {
    if (object && object->kind() == Object::Kind::answer) {
      json.key(tier);
      write_answer(json, cache, *object, asked, filter);
    }
  }
  const auto wanted =
      filter.ignore_request_directives ? cache::RequestDirectives{} : cache::request_directives(asked.fields);
  const std::string_view next = expect(cache, view, asked, wanted, of_slice);
  json.member("next", next);
  if (next == "unshared") {
    json.key("unshared").begin_object();
    write_advice(json, view.memory->why());
    json.end_object();
  }
}

void write_slices(JsonWriter& json, const proxy::SlicesView& seen) {
  json.key("slices").begin_object().member("shown", seen.number).member("of", seen.of).member("needed", seen.needed);
  json.member("looked_at", seen.looked).member("memory", seen.memory).member("disk", seen.disk);
  json.member("usable", seen.usable).end_object();
}

// What there is for a request: as a whole, or in slices.
struct View {
  proxy::CacheView view;                    // of the whole, or of the first slice that is needed
  std::optional<proxy::SlicesView> slices;  // without the first one's view
  bool has_answer(cache::EdgeCache& cache) const {
    const auto is_there = [&cache](const ObjectRef& object) {
      return object && cache.purge_state(*object) != cache::PurgeState::dead;
    };
    return view.filling || is_there(view.memory) || is_there(view.disk);
  }
};

Task<View> look(const CachedRoute& route, std::shared_ptr<cache::EdgeCache> cache, const Request& asked,
                Deadline deadline) {
  const proxy::CacheFilterConfig& filter = *route.filter;
  View seen;
  std::string key;
  route.key->append(key, asked);
  Task<proxy::CacheView> viewing = proxy::view_cache(cache, key, asked.fields, deadline);
  seen.view = co_await viewing;
  if (filter.slice == 0 || seen.view.memory || seen.view.disk) co_return seen;
  const auto wanted =
      filter.ignore_request_directives ? cache::RequestDirectives{} : cache::request_directives(asked.fields);
  Task<proxy::SlicesView> counting = proxy::view_slices(cache, key, filter.slice, asked, wanted, deadline);
  proxy::SlicesView slices = co_await counting;
  if (!slices.first.memory && !slices.first.disk) co_return seen;
  seen.view = std::move(slices.first);
  seen.slices = std::move(slices);
  co_return seen;
}

Task<Result<Response>> why(Node& node, Request& request, RequestContext& context) {
  CO_TRY(const std::optional<std::string> url, text_parameter(request, context, "url"));
  CO_TRY(const std::optional<std::string> listener, text_parameter(request, context, "listener"));
  CO_TRY(const std::optional<std::string> name, text_parameter(request, context, "cache"));
  if (!url) co_return fail(refused(Code::invalid_argument, "url is missing: what is asked for"));
  Arena arena;
  Request asked(arena);
  CO_TRY_VOID(read_request(*url, request, asked));
  const CachedRoute route = node.cached_route(asked, listener.value_or(""));
  std::string text;
  JsonWriter json(text);
  json.begin_object().member("url", *url).member("listener", route.listener).member("route", route.route);
  if (!route.filter) {
    json.member("next", route.route.empty() ? "no-route" : "no-cache-filter").end_object();
    co_return json_answer(context, 200, std::move(text));
  }
  const proxy::CacheFilterConfig& filter = *route.filter;
  std::shared_ptr<cache::EdgeCache> cache = route.cache;
  if (name) {
    const auto edges = node.edges();
    const auto found = edges.find(*name);
    if (found == edges.end())
      co_return fail(refused(Code::not_found, "there is no cache \"" + *name + "\" of a cache filter"));
    cache = found->second;
  }
  json.member("cache", cache->name());
  if (const std::string_view passes = proxy::reason_to_bypass(asked); !passes.empty()) {
    json.member("next", "bypass").key("bypass").begin_object();
    write_advice(json, passes);
    json.end_object().end_object();
    co_return json_answer(context, 200, std::move(text));
  }
  // TLS is taken off before a request comes to a listener: who did that may have said so, or not.
  Task<View> viewing = look(route, cache, asked, context.deadline);
  View seen = co_await viewing;
  if (asked.scheme == "https" && !seen.has_answer(*cache)) {
    asked.scheme = "http";
    Task<View> again = look(route, cache, asked, context.deadline);
    seen = co_await again;
  }
  if (seen.slices) {
    json.member("slice", filter.slice);
    write_slices(json, *seen.slices);
  }
  write_view(json, *cache, seen.view, asked, filter, seen.slices.has_value());
  json.end_object();
  co_return json_answer(context, 200, std::move(text));
}

constexpr std::array<ControlEndpoint, 1> kEndpoints = {{{"/v1/caches/why", Method::get, &why}}};

}  // namespace

std::span<const ControlEndpoint> cache_why_endpoints() noexcept { return kEndpoints; }

}  // namespace trellis::app
