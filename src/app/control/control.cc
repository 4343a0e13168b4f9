#include "app/control/control.h"

#include <algorithm>

#include "app/control/control_area.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "http/busy.h"
#include "http/problem.h"
#include "http/target.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"

namespace trellis::app {

using http::FieldId;
using http::Method;

namespace {

// Against pages that point a name of their own at 127.0.0.1: only names that mean this machine are answered.
bool names_this_machine(std::string_view authority) noexcept {
  if (authority.starts_with("[::1]")) return true;
  const std::string_view host = authority.substr(0, authority.find(':'));
  return host.empty() || host == "127.0.0.1" || host == "localhost";
}

bool is_loopback(std::string_view address) noexcept {
  return address.starts_with("127.") || address == "::1" || address.starts_with("::ffff:127.");
}

// Those of the areas have a handler.
constexpr ControlEndpoint kEndpoints[] = {{"/metrics", Method::get, nullptr},    {"/healthz", Method::get, nullptr},
                                          {"/readyz", Method::get, nullptr},     {"/v1/status", Method::get, nullptr},
                                          {"/v1/reload", Method::post, nullptr}, {"/v1/upgrade", Method::post, nullptr},
                                          {"/v1/loglevel", Method::put, nullptr}};

bool matches(std::string_view pattern, std::string_view path) noexcept {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == path;
  const std::string_view behind = pattern.substr(star + 1);
  if (!path.starts_with(pattern.substr(0, star)) || !path.ends_with(behind)) return false;
  if (path.size() <= star + behind.size()) return false;
  return path.substr(star, path.size() - star - behind.size()).find('/') == std::string_view::npos;
}

struct Found {
  const ControlEndpoint* endpoint = nullptr;
  std::string methods;  // that the path has
};
Found find_endpoint(std::string_view path, Method method) {
  Found found;
  for (const std::span<const ControlEndpoint> area :
       {std::span<const ControlEndpoint>(kEndpoints), cache_endpoints(), cache_why_endpoints(), explain_endpoints(),
        host_endpoints(), job_endpoints(), log_endpoints(), purge_endpoints(), store_endpoints(), worker_endpoints()}) {
    for (const ControlEndpoint& one : area) {
      if (!matches(one.path, path)) continue;
      found.methods += (found.methods.empty() ? "" : ", ") + std::string(http::to_string(one.method));
      if (one.method == method) found.endpoint = &one;
    }
  }
  return found;
}

http::Response not_ready(http::RequestContext& context) {
  return http::busy(context, "not_ready", "The node is starting or stopping.", Duration::zero());
}

bool is_for_workers(std::string_view path) noexcept {
  return path == "/healthz" || path == "/readyz" ||
         std::ranges::any_of(worker_endpoints(), [path](const ControlEndpoint& one) { return one.path == path; });
}

}  // namespace

bool Control::knows(const http::Request& request) const noexcept {
  constexpr std::string_view kBearer = "Bearer ";
  const std::string_view shown = request.fields.value(FieldId::authorization);
  return !token_.empty() && shown.starts_with(kBearer) && constant_time_equal(shown.substr(kBearer.size()), token_);
}

Task<Result<http::Response>> Control::handle(http::Request& request, http::RequestContext& context) {
  // A page in somebody's browser must not steer the node: browsers say where a request comes from.
  if (request.fields.has(FieldId::origin) && request.method != Method::get) {
    co_return http::problem(context.arena, 403, "cross_origin", "The control API takes no requests of web pages.",
                            false, {});
  }
  if (!is_loopback(context.client_address)) {
    if (!knows(request)) {
      co_return http::problem(context.arena, 401, "unauthenticated", "A token is needed.", false, {});
    }
    if (!is_for_workers(request.path)) {
      co_return http::problem(context.arena, 403, "permission_denied",
                              "From another machine there are /v1/jobs/claim and /v1/jobs/settle only.", false, {});
    }
  } else if (!names_this_machine(request.authority) && !knows(request)) {
    co_return http::problem(context.arena, 403, "wrong_host", "The control API answers to localhost only.", false, {});
  }
  const Found found = find_endpoint(request.path, request.method == Method::head ? Method::get : request.method);
  if (found.methods.empty()) {
    co_return http::problem(
        context.arena, 404, "not_found",
        "The control API has /metrics, /healthz, /readyz, /v1/status, /v1/reload, /v1/upgrade, "
        "/v1/loglevel, "
        "/v1/explain, /v1/upstreams, /v1/jobs, /v1/log, /v1/caches, /v1/purges and /v1/store/backup.",
        false, {});
  }
  const ControlEndpoint* const endpoint = found.endpoint;
  if (!endpoint) {
    http::Response refused =
        http::problem(context.arena, 405, "method_not_allowed", "Another method is wanted here.", false, {});
    refused.fields.add_copy(FieldId::allow, found.methods);
    co_return refused;
  }
  if (endpoint->handle) {
    if (!node_.ready()) {
      co_return not_ready(context);
    }
    auto handling = endpoint->handle(node_, request, context);
    Result<http::Response> answered = co_await handling;
    if (answered) co_return answered;
    // Who runs the node is who can mend it: a full disk, a damaged file.
    co_return is_loopback(context.client_address) ? http::whole_response_for(answered.error(), context)
                                                  : http::response_for(answered.error(), context);
  }
  if (request.path == "/healthz") co_return control_answer(context, 200, "text/plain", "ok\n");
  if (request.path == "/readyz") {
    const bool ready = node_.ready();
    co_return control_answer(context, ready ? 200 : 503, "text/plain", ready ? "ready\n" : "not ready\n");
  }
  if (request.path == "/v1/status") co_return json_answer(context, 200, node_.status_json());
  if (request.path == "/v1/reload") {
    auto reloaded = co_await reload(context);
    co_return reloaded;
  }
  if (request.path == "/v1/upgrade") {
    auto upgraded = co_await upgrade(context);
    co_return upgraded;
  }
  if (request.path == "/v1/loglevel") {
    auto changed = co_await log_level(request, context);
    co_return changed;
  }
  // Thousands of lines: not on the loop.
  Metrics& metrics = node_.metrics();
  auto text = co_await blocking([&metrics]() -> Result<std::string> { return metrics.prometheus_text(); });
  CO_TRY(std::string exposition, std::move(text));
  co_return control_answer(context, 200, "text/plain; version=0.0.4; charset=utf-8", std::move(exposition));
}

Task<Result<http::Response>> Control::reload(http::RequestContext& context) {
  using Outcome = Result<ReloadReport>;
  if (!reload_ || !node_.ready()) {
    co_return not_ready(context);
  }
  auto state = std::make_shared<detail::Handoff<Outcome>>();
  Loop& home = Loop::current();
  reload_([state, &home](Outcome outcome) {
    state->value.emplace(std::move(outcome));
    home.post([state] { detail::finish_handoff(state); });
  });
  Outcome outcome = co_await detail::HandoffAwaiter<Outcome>(state);
  if (!outcome) {
    co_return http::problem(context.arena, 422, "reload_failed", outcome.error().to_string(), false, {});
  }
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  json.key("changes").begin_array();
  for (const std::string& change : outcome->changes) json.value(change);
  json.end_array();
  json.key("warnings").begin_array();
  for (const std::string& warning : outcome->warnings) json.value(warning);
  json.end_array();
  json.end_object();
  co_return json_answer(context, 200, std::move(text));
}

Task<Result<http::Response>> Control::upgrade(http::RequestContext& context) {
  using Outcome = Result<int64_t>;
  if (!upgrade_ || !node_.ready()) {
    co_return not_ready(context);
  }
  auto state = std::make_shared<detail::Handoff<Outcome>>();
  Loop& home = Loop::current();
  upgrade_([state, &home](Outcome outcome) {
    state->value.emplace(std::move(outcome));
    home.post([state] { detail::finish_handoff(state); });
  });
  Outcome outcome = co_await detail::HandoffAwaiter<Outcome>(state);
  if (!outcome) {
    co_return http::problem(context.arena, 422, "upgrade_failed", outcome.error().to_string(), false, {});
  }
  std::string text;
  JsonWriter(text).begin_object().member("pid", *outcome).end_object();
  co_return json_answer(context, 200, std::move(text));
}

Task<Result<http::Response>> Control::log_level(http::Request& request, http::RequestContext& context) {
  const auto wanted = http::query_value(request.query, "level", context.arena);
  const auto level = wanted ? log_level_from(*wanted) : std::nullopt;
  if (!level) {
    co_return http::problem(context.arena, 400, "bad_level", "level must be debug, info, warn, error or off.", false,
                            {});
  }
  set_log_level(*level);
  std::string text;
  JsonWriter(text).begin_object().member("level", to_string(*level)).end_object();
  co_return json_answer(context, 200, std::move(text));
}

}  // namespace trellis::app
