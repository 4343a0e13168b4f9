// The control API's caches: what they hold, and purging by hand (docs/cache.md#invalidation).
#include <array>

#include "app/control/control_area.h"
#include "app/node/node.h"
#include "cache/edge/edge_cache.h"
#include "cache/memory_cache.h"
#include "runtime/blocking_pool.h"

namespace trellis::app {

namespace {

using http::Method;
using http::Request;
using http::RequestContext;
using http::Response;

// What a cache filter adds: bodies that are alive, fetches under way, and the disk.
void write_edge(JsonWriter& json, cache::EdgeCache& edge) {
  json.key("edge").begin_object().member("body_bytes", edge.body_bytes()).member("fills", edge.fills());
  if (edge.disk()) {
    const cache::DiskFigures figures = edge.disk()->figures();
    json.key("disk").begin_object().member("bytes", figures.bytes).member("objects", figures.objects);
    json.member("state", cache::to_string(figures.state)).end_object();
  }
  json.end_object();
}

Task<Result<Response>> list(Node& node, Request&, RequestContext& context) {
  std::string text;
  JsonWriter json(text);
  json.begin_object().key("caches").begin_array();
  const auto edges = node.edges();
  for (const auto& [name, cache] : node.caches()) {
    json.begin_object().member("cache", name).member("bytes", cache->bytes()).member("capacity", cache->capacity());
    json.member("objects", cache->objects()).key("spaces").begin_array();
    for (const std::string& space : cache->spaces()) json.value(space);
    json.end_array();
    if (const auto edge = edges.find(name); edge != edges.end()) write_edge(json, *edge->second);
    json.end_object();
  }
  json.end_array().end_object();
  co_return json_answer(context, 200, std::move(text));
}

// `key` of `space`, or all of `space`, or all of the cache.
Task<Result<Response>> purge(Node& node, Request& request, RequestContext& context) {
  CO_TRY_VOID(no_other_parameters(request, {"cache", "space", "key"}));
  CO_TRY(const std::optional<std::string> name, text_parameter(request, context, "cache"));
  CO_TRY(const std::optional<std::string> space, text_parameter(request, context, "space"));
  CO_TRY(const std::optional<std::string> key, text_parameter(request, context, "key"));
  if (!name) co_return fail(refused(Code::invalid_argument, "cache is missing: which one is to be purged"));
  if (key && !space) co_return fail(refused(Code::invalid_argument, "a key is that of a space: say which"));
  const auto caches = node.caches();
  const auto found = caches.find(*name);
  std::string known;
  if (found == caches.end()) {
    for (const auto& [one, cache] : caches) known += (known.empty() ? "" : ", ") + one;
    co_return fail(refused(Code::not_found, "there is no cache \"" + *name + "\"; there are: " + known));
  }
  const std::vector<std::string> spaces = found->second->spaces();
  std::vector<std::string> purged;
  for (const std::string& one : spaces) {
    known += (known.empty() ? "" : ", ") + one;
    if (space && *space != one) continue;
    // All of an edge's may wait for its disk.
    auto work = [memory = found->second, one, key]() -> Result<bool> { return memory->purge(one, key); };
    CO_TRY(const bool there, co_await blocking(std::move(work)));
    if (there) purged.push_back(one);
  }
  if (space && purged.empty())
    co_return fail(refused(Code::not_found, "there is no space \"" + *space + "\" in it; there are: " + known));
  std::string text;
  JsonWriter json(text);
  json.begin_object().member("cache", *name).key("purged").begin_array();
  for (const std::string& one : purged) json.value(one);
  json.end_array().end_object();
  co_return json_answer(context, 200, std::move(text));
}

constexpr std::array<ControlEndpoint, 2> kEndpoints = {
    {{"/v1/caches", Method::get, &list}, {"/v1/caches/purge", Method::post, &purge}}};

}  // namespace

std::span<const ControlEndpoint> cache_endpoints() noexcept { return kEndpoints; }

}  // namespace trellis::app
