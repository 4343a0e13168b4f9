// The control API's purges of what the `cache` filter keeps (docs/edge-cache-purge.md).
#include <array>

#include "app/control/control_area.h"
#include "app/node/node.h"
#include "proxy/cache/purge.h"

namespace trellis::app {

namespace {

using cache::PurgeRule;
using http::Method;
using http::Request;
using http::RequestContext;
using http::Response;

constexpr size_t kListed = 100;  // the latest rules

std::string names_of(const std::map<std::string, PurgeHands>& caches) {
  std::string names;
  for (const auto& [name, hands] : caches) names += (names.empty() ? "" : ", ") + name;
  return names.empty() ? "none" : names;
}

// The cache that `cache` names; all of them where it names none.
Result<std::map<std::string, PurgeHands>> caches_of(Node& node, Request& request, RequestContext& context) {
  TRY(const std::optional<std::string> name, text_parameter(request, context, "cache"));
  std::map<std::string, PurgeHands> caches = node.purges();
  if (caches.empty()) return fail(refused(Code::not_found, "no route of this node has a cache filter"));
  if (!name) return caches;
  if (!caches.contains(*name)) {
    return fail(refused(Code::not_found,
                        "there is no cache \"" + *name + "\" of a cache filter; there are: " + names_of(caches)));
  }
  std::erase_if(caches, [&](const auto& one) { return one.first != *name; });
  return caches;
}

Task<Result<Response>> purge(Node& node, Request& request, RequestContext& context) {
  CO_TRY_VOID(no_other_parameters(request, {"cache", "kind", "text", "soft"}));
  CO_TRY(const std::optional<std::string> kind_text, text_parameter(request, context, "kind"));
  CO_TRY(const std::optional<std::string> text, text_parameter(request, context, "text"));
  CO_TRY(const std::optional<bool> soft, flag_parameter(request, context, "soft"));
  const auto kind = cache::purge_kind_from(kind_text.value_or("key"));
  if (!kind) co_return fail(refused(Code::invalid_argument, "kind is key, prefix, host, tag or all"));
  CO_TRY(const PurgeRule rule, cache::make_purge_rule(*kind, text.value_or(""), soft.value_or(false)));
  CO_TRY(const auto caches, caches_of(node, request, context));
  std::string answer;
  JsonWriter json(answer);
  json.begin_object().member("kind", cache::to_string(rule.kind)).member("text", rule.text);
  json.member("soft", rule.soft).key("caches").begin_array();
  bool complete = true;
  for (const auto& [name, hands] : caches) {
    const Result<proxy::PurgeOutcome> outcome = co_await proxy::purge(hands.cache, hands.members.get(), rule);
    if (!outcome) co_return proxy::purge_failed(outcome.error(), context);
    complete = complete && outcome->complete();
    json.begin_object();
    proxy::write_outcome(json, name, *outcome);
    json.end_object();
  }
  json.end_array().member("complete", complete).end_object();
  co_return json_answer(context, complete ? 200 : 202, std::move(answer));
}

Task<Result<Response>> list(Node& node, Request& request, RequestContext& context) {
  CO_TRY_VOID(no_other_parameters(request, {"cache"}));
  CO_TRY(const auto caches, caches_of(node, request, context));
  std::string answer;
  JsonWriter json(answer);
  json.begin_object().key("caches").begin_array();
  for (const auto& [name, hands] : caches) {
    const cache::PurgeBook::Figures figures = hands.cache->book().figures();
    json.begin_object().member("cache", name).member("rules", figures.rules);
    json.member("kept", !figures.failing).member("waiting", figures.waiting).key("latest").begin_array();
    for (const cache::PurgeRecord& record : hands.cache->book().latest(kListed)) {
      json.begin_object().member("kind", cache::to_string(record.rule.kind)).member("text", record.rule.text);
      json.member("soft", record.rule.soft);
      json.member("at", time_text(WallTime(std::chrono::milliseconds(record.at_ms)))).end_object();
    }
    json.end_array().end_object();
  }
  json.end_array().end_object();
  co_return json_answer(context, 200, std::move(answer));
}

constexpr std::array<ControlEndpoint, 2> kEndpoints = {
    {{"/v1/purges", Method::get, &list}, {"/v1/purges", Method::post, &purge}}};

}  // namespace

std::span<const ControlEndpoint> purge_endpoints() noexcept { return kEndpoints; }

}  // namespace trellis::app
