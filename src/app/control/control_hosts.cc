// The control API's upstreams: their hosts with what is known of them, and changes at run time that outlive the node
// (docs/hosts.md).
#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "app/control/control_area.h"
#include "app/node/host_state.h"
#include "app/node/node.h"
#include "http/busy.h"
#include "http/problem.h"
#include "runtime/loop.h"
#include "upstream/balancer.h"
#include "upstream/membership.h"

namespace trellis::app {

namespace {

using http::Method;
using http::Request;
using http::RequestContext;
using http::Response;
using upstream::HostChanges;
using upstream::HostFacts;
using upstream::Membership;

constexpr std::string_view kPrefix = "/v1/upstreams/";

// --- Telling ---

void write_host(JsonWriter& json, upstream::Host& host, size_t cores, Time now) {
  uint64_t answers = 0;
  uint64_t errors = 0;
  uint64_t nanos = 0;
  for (size_t core = 0; core < cores; ++core) {
    const upstream::HostTally& tally = host.tally(core);
    answers += tally.answers.load(std::memory_order_relaxed);
    errors += tally.errors.load(std::memory_order_relaxed);
    nanos += tally.nanos.load(std::memory_order_relaxed);
  }
  const HostFacts& facts = host.facts;
  json.begin_object()
      .member("host", facts.name)
      .member("address", facts.address.to_string())
      .member("weight", host.weight())
      .member("zone", facts.zone)
      .member("priority", facts.priority)
      .member("backup", facts.backup)
      .member("origin", to_string(facts.origin))
      .member("state", upstream::state_of(host, now));
  if (host.out_until() > now) json.member("ejected_seconds", seconds(host.out_until() - now));
  json.member("active", host.active()).member("answers", answers).member("errors", errors);
  json.member("mean_ms", answers > 0 ? static_cast<double>(nanos) / static_cast<double>(answers) / 1e6 : 0.0);
  json.end_object();
}

void write_sources(JsonWriter& json, const Membership& membership) {
  json.key("sources").begin_array();
  for (const Membership::SourceState& source : membership.sources()) {
    json.begin_object().member("kind", source.kind).member("name", source.text).member("hosts", source.hosts);
    json.member("trouble", source.trouble);
    if (source.next) json.member("next_seconds", seconds(*source.next));
    json.end_object();
  }
  json.end_array();
}

void write_texts(JsonWriter& json, std::string_view name, const std::set<std::string>& texts) {
  json.key(name).begin_array();
  for (const std::string& text : texts) json.value(text);
  json.end_array();
}

void write_upstream(JsonWriter& json, const std::string& name, Membership& membership) {
  const Time now = Loop::current().now();
  const size_t cores = membership.hosts().cores();
  json.begin_object().member("upstream", name).key("hosts").begin_array();
  const auto list = membership.hosts().list();
  for (const auto& host : *list) write_host(json, *host, cores, now);
  json.end_array();
  write_sources(json, membership);
  write_texts(json, "removed", membership.changes().removed);
  json.end_object();
}

Task<Result<Response>> list(Node& node, Request&, RequestContext& context) {
  std::string text;
  JsonWriter json(text);
  json.begin_object().key("upstreams").begin_array();
  for (const auto& [name, membership] : node.memberships()) write_upstream(json, name, *membership);
  json.end_array().end_object();
  co_return json_answer(context, 200, std::move(text));
}

// --- One upstream ---

struct Named {
  std::string name;
  std::shared_ptr<Membership> membership;
};
Result<Named> named_in(Node& node, const Request& request) {
  std::string_view name = request.path.substr(kPrefix.size());
  name = name.substr(0, name.find('/'));
  const auto memberships = node.memberships();
  const auto found = memberships.find(std::string(name));
  if (found != memberships.end()) return Named{found->first, found->second};
  std::string known;
  for (const auto& [one, membership] : memberships) known += (known.empty() ? "" : ", ") + one;
  return fail(refused(Code::not_found, "there is no upstream \"" + std::string(name) +
                                           "\"; there are: " + (known.empty() ? "none" : known)));
}

Task<Result<Response>> show(Node& node, Request& request, RequestContext& context) {
  CO_TRY(const Named named, named_in(node, request));
  std::string text;
  JsonWriter json(text);
  write_upstream(json, named.name, *named.membership);
  co_return json_answer(context, 200, std::move(text));
}

// The upstream as it is after the change.
using How = std::function<Result<>(HostChanges& changes, const std::vector<HostFacts>& members)>;
Task<Result<Response>> change(Node& node, Named named, How how, RequestContext& context) {
  // By name each time: a reload may put another one in its place while the change is written.
  const auto current = [&node, name = named.name]() -> std::shared_ptr<Membership> {
    const auto memberships = node.memberships();
    const auto found = memberships.find(name);
    return found == memberships.end() ? nullptr : found->second;
  };
  const auto edit = [current, how](HostChanges& changes) -> Result<> {
    const std::shared_ptr<Membership> membership = current();
    if (!membership) return fail(refused(Code::not_found, "the upstream is gone"));
    return how(changes, membership->members());
  };
  const auto apply = [current](const HostChanges& changes) {
    if (const std::shared_ptr<Membership> membership = current()) membership->set_changes(changes);
  };
  // What is changed now could be lost: the new process reads the changes when it begins.
  if (node.host_state().held()) {
    co_return http::busy(context, "upgrading",
                         "A new process is taking over the node. Nothing was changed; ask again in a moment.",
                         Duration::zero());
  }
  auto changing = node.host_state().change(named.name, edit, apply);
  const Result<> changed = co_await changing;
  if (!changed) {
    const Error& why = changed.error();
    if (why.side() != Side::self) co_return fail(why.clone());
    // A full disk, a folder that may not be written: whoever changes hosts is who can mend it.
    co_return http::problem(context.arena, 503, "not_written", context.arena.copy(why.to_string()), true,
                            context.request_id);
  }
  std::string text;
  JsonWriter json(text);
  const std::shared_ptr<Membership> after_it = current();
  write_upstream(json, named.name, after_it ? *after_it : *named.membership);
  co_return json_answer(context, 200, std::move(text));
}

Result<std::string> host_parameter(Request& request, RequestContext& context) {
  TRY(std::optional<std::string> host, text_parameter(request, context, "host"));
  if (!host || host->empty())
    return fail(refused(Code::invalid_argument, "host is missing: HOST:PORT, or a host's name as listed"));
  return *std::move(host);
}

Task<Result<Response>> add(Node& node, Request& request, RequestContext& context) {
  CO_TRY(Named named, named_in(node, request));
  CO_TRY_VOID(no_other_parameters(request, {"host", "weight", "zone", "priority", "backup"}));
  CO_TRY(const std::string host, host_parameter(request, context));
  CO_TRY(const std::optional<int64_t> weight, number_parameter(request, context, "weight", 0, upstream::kMaxWeight));
  CO_TRY(const std::optional<std::string> zone, text_parameter(request, context, "zone"));
  CO_TRY(const std::optional<int64_t> priority,
         number_parameter(request, context, "priority", 0, upstream::kMaxPriority));
  CO_TRY(const std::optional<bool> backup, flag_parameter(request, context, "backup"));
  upstream::AddedHost added;
  added.weight = static_cast<uint32_t>(weight.value_or(1));
  added.zone = zone.value_or("");
  added.priority = static_cast<uint32_t>(priority.value_or(0));
  added.backup = backup.value_or(false);
  const How how = [host, added](HostChanges& changes, const std::vector<HostFacts>& members) {
    return changes.add(host, added, members);
  };
  auto changing = change(node, std::move(named), how, context);
  Result<Response> answer = co_await changing;
  co_return answer;
}

Task<Result<Response>> remove(Node& node, Request& request, RequestContext& context) {
  CO_TRY(Named named, named_in(node, request));
  CO_TRY_VOID(no_other_parameters(request, {"host"}));
  CO_TRY(const std::string host, host_parameter(request, context));
  const How how = [host](HostChanges& changes, const std::vector<HostFacts>& members) {
    return changes.remove(host, members);
  };
  auto changing = change(node, std::move(named), how, context);
  Result<Response> answer = co_await changing;
  co_return answer;
}

Task<Result<Response>> alter(Node& node, Request& request, RequestContext& context) {
  CO_TRY(Named named, named_in(node, request));
  CO_TRY_VOID(no_other_parameters(request, {"host", "weight", "drain"}));
  CO_TRY(const std::string host, host_parameter(request, context));
  CO_TRY(const std::optional<int64_t> weight, number_parameter(request, context, "weight", 0, upstream::kMaxWeight));
  CO_TRY(const std::optional<bool> drain, flag_parameter(request, context, "drain"));
  if (!weight && !drain) co_return fail(refused(Code::invalid_argument, "say what changes: weight or drain"));
  const How how = [host, weight, drain](HostChanges& changes, const std::vector<HostFacts>& members) -> Result<> {
    if (weight) {
      TRY_VOID(changes.set_weight(host, static_cast<uint32_t>(*weight), members));
    }
    return drain ? changes.drain(host, *drain, members) : Result<>();
  };
  auto changing = change(node, std::move(named), how, context);
  Result<Response> answer = co_await changing;
  co_return answer;
}

constexpr std::array<ControlEndpoint, 5> kEndpoints = {{{"/v1/upstreams", Method::get, &list},
                                                        {"/v1/upstreams/*/hosts", Method::get, &show},
                                                        {"/v1/upstreams/*/hosts", Method::post, &add},
                                                        {"/v1/upstreams/*/hosts", Method::delete_, &remove},
                                                        {"/v1/upstreams/*/hosts", Method::patch, &alter}}};

}  // namespace

std::span<const ControlEndpoint> host_endpoints() noexcept { return kEndpoints; }

}  // namespace trellis::app
