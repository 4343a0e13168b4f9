#include "proxy/cache/purge.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/metrics.h"
#include "http/busy.h"
#include "http/problem.h"
#include "proxy/cache/purge_request.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"

namespace trellis::proxy {

bool PurgeOutcome::complete() const noexcept {
  return not_kept.empty() && std::ranges::all_of(members, [](const MemberAck& member) { return member.error.empty(); });
}

Task<Result<PurgeOutcome>> purge(std::shared_ptr<cache::EdgeCache> cache, Members* members, cache::PurgeRule rule) {
  cache->memory()
      .metrics()
      .counter("trellis_cache_purges_total", "purges that this node took itself, by what they name",
               {{"cache", cache->name()}, {"kind", std::string(cache::to_string(rule.kind))}})
      .add();
  auto add = [cache = std::move(cache),
              rule = std::move(rule)]() mutable -> Result<std::unique_ptr<cache::PurgeBook::Added>> {
    std::vector<cache::PurgeRule> rules(1, std::move(rule));
    TRY(cache::PurgeBook::Added added, cache->book().add_asked(std::move(rules)));
    return std::make_unique<cache::PurgeBook::Added>(std::move(added));
  };
  CO_TRY(const std::unique_ptr<cache::PurgeBook::Added> added, co_await blocking(std::move(add)));
  PurgeOutcome outcome;
  if (!added->kept) outcome.not_kept = added->kept.error().to_string();
  if (members) outcome.members = co_await members->tell(std::move(added->batch));
  co_return outcome;
}

void write_outcome(JsonWriter& json, std::string_view cache, const PurgeOutcome& outcome) {
  json.member("cache", cache).member("complete", outcome.complete()).member("kept", outcome.not_kept.empty());
  if (!outcome.not_kept.empty()) json.member("error", outcome.not_kept);
  json.key("members").begin_array();
  for (const MemberAck& member : outcome.members) {
    json.begin_object().member("member", member.member).member("acknowledged", member.error.empty());
    if (!member.error.empty()) json.member("error", member.error);
    json.end_object();
  }
  json.end_array();
}

http::Response purge_failed(const Error& why, http::RequestContext& context) {
  if (why.code() != Code::unavailable) return http::response_for(why, context);
  return http::busy(context, "upgrading",
                    "A new process is taking over the node. Nothing was purged; ask again in a moment.",
                    Duration::zero());
}

Task<Result<http::Response>> answer_purge(const http::Request& request, http::RequestContext& context, std::string key,
                                          std::shared_ptr<cache::EdgeCache> cache, Members* members) {
  const Result<cache::PurgeRule> rule = purge_rule_of(request, key, context.loop.wall());
  if (!rule) {
    const bool denied = rule.error().code() == Code::permission_denied;
    context.failed_side = Side::client;
    context.outcome = denied ? "purge_denied" : "invalid_argument";
    co_return http::problem(context.arena, denied ? 403 : 400, context.outcome, rule.error().what(), false,
                            context.request_id);
  }
  log_info("a purge by a signed request", {{"cache", cache->name()},
                                           {"kind", cache::to_string(rule->kind)},
                                           {"text", rule->text},
                                           {"soft", rule->soft},
                                           {"client", context.client_address}});
  const std::string name = cache->name();
  const Result<PurgeOutcome> purged = co_await purge(std::move(cache), members, *rule);
  if (!purged) co_return purge_failed(purged.error(), context);
  const PurgeOutcome& outcome = *purged;
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  write_outcome(json, name, outcome);
  json.end_object();
  http::Response response(context.arena, outcome.complete() ? 200 : 202);
  response.fields.add(http::FieldId::content_type, "application/json");
  response.fields.add(http::FieldId::cache_control, "no-store");
  response.body = http::Body(std::move(text));
  co_return response;
}

}  // namespace trellis::proxy
