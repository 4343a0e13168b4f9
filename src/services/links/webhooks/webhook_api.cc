#include "services/links/webhooks/webhook_api.h"

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "http/preconditions.h"
#include "http/problem.h"
#include "runtime/loop.h"
#include "services/links/answers.h"
#include "services/links/idempotency.h"
#include "services/links/json_object.h"
#include "services/links/resource.h"
#include "services/links/secrets.h"
#include "services/links/url.h"
#include "services/links/webhooks/webhook_rows.h"
#include "store/sqlite.h"

namespace trellis::services::links {

using http::FieldId;
using http::Method;
using http::PathParameters;
using http::Request;
using http::RequestContext;
using http::Response;
using http::RouteDoc;
using http::Scope;

namespace {

constexpr size_t kLeastSecret = 16;
constexpr size_t kMostSecret = 128;
constexpr size_t kMadeSecret = 32;  // bytes of a secret that we make
constexpr uint32_t kAllEvents = 15;

Response no_webhook(RequestContext& context) { return refuse(context, 404, "not_found", "There is no such webhook."); }

struct Patch {
  std::optional<std::string> url;
  std::optional<uint32_t> events;
  std::optional<std::string> secret;
};

std::expected<Patch, Fault> read_webhook(std::string_view body) {
  static constexpr std::array<std::string_view, 3> kMembers = {"url", "events", "secret"};
  auto json = read_object(body, kMembers);
  if (!json) return std::unexpected(std::move(json).error());
  Patch out;
  if (const auto url = json->find("url"); url != json->end()) {
    if (!url->is_string()) return std::unexpected(Fault{"url", "The URL must be text."});
    out.url = url->get<std::string>();
    if (const Result<UrlHost> host = check_url(*out.url); !host)
      return std::unexpected(Fault{"url", host.error().what()});
  }
  if (const auto events = json->find("events"); events != json->end()) {
    if (!events->is_array() || events->empty())
      return std::unexpected(Fault{"events", "The events are a list, not empty."});
    uint32_t set = 0;
    for (const auto& each : *events) {
      const auto event = each.is_string() ? link_event(each.get_ref<const std::string&>()) : std::nullopt;
      if (!event)
        return std::unexpected(Fault{"events", "There is link.created, link.changed, link.deleted and link.expired."});
      set |= static_cast<uint32_t>(*event);
    }
    out.events = set;
  }
  if (const auto secret = json->find("secret"); secret != json->end()) {
    if (!secret->is_string()) return std::unexpected(Fault{"secret", "The secret must be text."});
    out.secret = secret->get<std::string>();
    if (out.secret->size() < kLeastSecret || out.secret->size() > kMostSecret)
      return std::unexpected(Fault{"secret", "A secret has 16 to 128 bytes."});
  }
  return out;
}

void append_webhook(std::string& out, const Webhook& webhook, bool with_secret) {
  JsonWriter json(out);
  json.begin_object().member("id", webhook.id).member("url", webhook.url).key("events").begin_array();
  for (const LinkEvent event : {LinkEvent::created, LinkEvent::changed, LinkEvent::deleted, LinkEvent::expired}) {
    if ((webhook.events & static_cast<uint32_t>(event)) != 0) json.value(to_string(event));
  }
  json.end_array();
  if (with_secret) json.member("secret", webhook.secret);
  json.member("created_at", format_time(webhook.created_at)).end_object();
}

// `made`: its code is the webhook's number.
Response made_answer(RequestContext& context, Replay made) {
  Response response = json_answer(context, made.status, std::move(made.body), made.etag);
  response.fields.add_copy(FieldId::location, "/v1/webhooks/" + made.code);
  return response;
}

// What became of a change or a removal; none was done unless `kind` says so.
struct ChangedWebhook {
  enum class Kind : uint8_t { done, not_found, precondition } kind = Kind::done;
  Webhook webhook;
};

Response not_changed(RequestContext& context, ChangedWebhook::Kind kind) {
  return kind == ChangedWebhook::Kind::not_found ? no_webhook(context) : changed_meanwhile(context, "webhook");
}

// The webhook, if it is there and in the version that the request is about.
Result<ChangedWebhook> find_for_change(store::SqliteConnection& db, int64_t id,
                                       const http::EtagConditions& conditions) {
  TRY(std::optional<Webhook> webhook, find_webhook(db, id));
  if (!webhook) return ChangedWebhook{ChangedWebhook::Kind::not_found, {}};
  if (!conditions.hold(etag_of(webhook->id, webhook->version)))
    return ChangedWebhook{ChangedWebhook::Kind::precondition, {}};
  return ChangedWebhook{ChangedWebhook::Kind::done, *std::move(webhook)};
}

constexpr const char* kWebhook = R"json({"type":"object","required":["id","url","events","created_at"],"properties":{
"id":{"type":"integer"},
"url":{"type":"string","format":"uri"},
"events":{"type":"array","items":{"type":"string","enum":["link.created","link.changed","link.deleted","link.expired"]}},
"secret":{"type":"string","description":"Only in the answer to its making."},
"created_at":{"type":"string","format":"date-time"}}})json";

constexpr const char* kNewWebhook =
    R"json({"type":"object","required":["url"],"additionalProperties":false,"properties":{
"url":{"type":"string","maxLength":8192},
"events":{"type":"array","minItems":1,"description":"All of them unless said.",
"items":{"type":"string","enum":["link.created","link.changed","link.deleted","link.expired"]}},
"secret":{"type":"string","minLength":16,"maxLength":128,"description":"Made unless said."}}})json";

constexpr const char* kWebhookPatch = R"json({"type":"object","additionalProperties":false,"properties":{
"url":{"type":"string","maxLength":8192},
"events":{"type":"array","minItems":1,
"items":{"type":"string","enum":["link.created","link.changed","link.deleted","link.expired"]}},
"secret":{"type":"string","minLength":16,"maxLength":128}}})json";

constexpr const char* kWebhookList = R"json({"type":"object","required":["items"],"properties":{
"items":{"type":"array","items":{"$ref":"#/components/schemas/Webhook"}}}})json";

constexpr const char* kNumber = "The number of the webhook.";

}  // namespace

void WebhookApi::mount(http::Routes& routes) {
  routes.schema("Webhook", kWebhook);
  routes.schema("NewWebhook", kNewWebhook);
  routes.schema("WebhookPatch", kWebhookPatch);
  routes.schema("WebhookList", kWebhookList);

  RouteDoc listing = doc_of("list_webhooks", Scope::admin, "List webhooks", "By id; there are at most 100.");
  listing.answers = {{200, "All of them.", "WebhookList"}};
  routes.add(Method::get, "/v1/webhooks", std::move(listing),
             [this](Request& request, RequestContext& context, PathParameters) { return list(request, context); });

  RouteDoc making = doc_of("create_webhook", Scope::admin, "Make a webhook",
                           "From then on each event is posted to the URL, signed with the secret.");
  making.parameters = {idempotency_parameter()};
  making.body = "NewWebhook";
  making.answers = {{201, "Made.", "Webhook"},
                    {400, "The body or a member of it is not valid; field names the member.", "Problem"},
                    {409, "There are 100 webhooks already.", "Problem"},
                    {422, "The Idempotency-Key was used with another body.", "Problem"}};
  routes.add(Method::post, "/v1/webhooks", std::move(making),
             [this](Request& request, RequestContext& context, PathParameters) { return create(request, context); });

  RouteDoc showing = doc_of("get_webhook", Scope::admin, "Read a webhook", "All but its secret.");
  showing.parameters = {id_parameter(kNumber)};
  showing.answers = {{200, "The webhook.", "Webhook"}, {404, "No such webhook.", "Problem"}};
  routes.add(Method::get, "/v1/webhooks/{id}", std::move(showing),
             [this](Request& request, RequestContext& context, PathParameters path) {
               return show(request, context, path[0]);
             });

  RouteDoc changing =
      doc_of("change_webhook", Scope::admin, "Change a webhook", "What waits is delivered as it is then.");
  changing.parameters = {id_parameter(kNumber), if_match_parameter()};
  changing.body = "WebhookPatch";
  changing.answers = {{200, "The webhook as it is now.", "Webhook"},
                      {400, "The body or a member of it is not valid; field names the member.", "Problem"},
                      {404, "No such webhook.", "Problem"},
                      {412, "It was changed meanwhile.", "Problem"}};
  routes.add(Method::patch, "/v1/webhooks/{id}", std::move(changing),
             [this](Request& request, RequestContext& context, PathParameters path) {
               return change(request, context, path[0]);
             });

  RouteDoc removing =
      doc_of("delete_webhook", Scope::admin, "Delete a webhook", "What waits for it is not delivered any more.");
  removing.parameters = {id_parameter(kNumber), if_match_parameter()};
  removing.answers = {
      {204, "Deleted."}, {404, "No such webhook.", "Problem"}, {412, "It was changed meanwhile.", "Problem"}};
  routes.add(Method::delete_, "/v1/webhooks/{id}", std::move(removing),
             [this](Request& request, RequestContext& context, PathParameters path) {
               return remove(request, context, path[0]);
             });
}

Task<Result<Response>> WebhookApi::create(Request& request, RequestContext& context) {
  if (std::optional<Response> refused = refuse_media(request, context, true, false)) co_return *std::move(refused);
  if (std::optional<Response> refused = refuse_key(request, context)) co_return *std::move(refused);
  auto reading = http::read_all(request.body.get(), kMaxBody, context.deadline);
  const Result<std::string> body = co_await reading;
  if (!body) co_return body_failed(body.error(), context);
  const int64_t now = unix_millis(context.loop.wall());
  const IdempotencyKey key = key_of(request, "/v1/webhooks", *body);
  auto looking = first_answer(store_, key, now, context.deadline);
  Result<std::optional<Replay>> first = co_await looking;
  if (!first) co_return http::response_for(first.error(), context);
  if (*first) co_return made_answer(context, **std::move(first));
  auto wanted = read_webhook(*body);
  if (!wanted) co_return refuse(context, wanted.error());
  if (!wanted->url) co_return refuse(context, Fault{"url", "The URL is missing."});
  Webhook webhook;
  webhook.url = *std::move(wanted->url);
  webhook.events = wanted->events.value_or(kAllEvents);
  webhook.secret = wanted->secret ? *std::move(wanted->secret) : random_hex(kMadeSecret);
  webhook.created_at = now;
  auto insert = [webhook](store::SqliteConnection& db) -> Result<std::optional<Replay>> {
    Webhook made = webhook;
    TRY(made.id, insert_webhook(db, made));
    if (made.id == 0) return std::optional<Replay>();
    Replay answer{.request = {},
                  .status = 201,
                  .code = std::to_string(made.id),
                  .body = {},
                  .etag = etag_of(made.id, made.version)};
    append_webhook(answer.body, made, true);
    return std::optional<Replay>(std::move(answer));
  };
  auto write = [key, now, insert = std::move(insert)](store::SqliteConnection& db) {
    return make_once(db, key, now, insert);
  };
  auto writing = store_.write(std::move(write), context.deadline);
  Result<MadeOnce> made = co_await writing;
  if (!made) co_return http::response_for(made.error(), context);
  if (made->kind == MadeOnce::Kind::refused)
    co_return refuse(context, 409, "too_many_webhooks", "There are 100 webhooks already; delete some.");
  if (made->kind == MadeOnce::Kind::key_reused) co_return key_reused(context);
  co_return made_answer(context, std::move(made->answer));
}

Task<Result<Response>> WebhookApi::list(Request& request, RequestContext& context) {
  if (std::optional<Response> refused = refuse_media(request, context, false, false)) co_return *std::move(refused);
  auto reading = store_.read([](store::SqliteConnection& db) { return all_webhooks(db); }, context.deadline);
  const Result<std::vector<Webhook>> webhooks = co_await reading;
  if (!webhooks) co_return http::response_for(webhooks.error(), context);
  std::string body = "{\"items\":[";
  for (const Webhook& webhook : *webhooks) {
    if (body.back() != '[') body += ',';
    append_webhook(body, webhook, false);
  }
  body += "]}";
  co_return json_answer(context, 200, std::move(body));
}

Task<Result<Response>> WebhookApi::show(Request& request, RequestContext& context, std::string_view id) {
  auto reading = store_.read(
      [number = number_of(id).value_or(0)](store::SqliteConnection& db) { return find_webhook(db, number); },
      context.deadline);
  const Result<std::optional<Webhook>> webhook = co_await reading;
  if (!webhook) co_return http::response_for(webhook.error(), context);
  if (!*webhook) co_return no_webhook(context);
  std::string body;
  append_webhook(body, **webhook, false);
  co_return read_answer(request, context, "webhook", std::move(body), etag_of((*webhook)->id, (*webhook)->version));
}

Task<Result<Response>> WebhookApi::change(Request& request, RequestContext& context, std::string_view id) {
  if (std::optional<Response> refused = refuse_media(request, context, true, true)) co_return *std::move(refused);
  auto reading = http::read_all(request.body.get(), kMaxBody, context.deadline);
  const Result<std::string> body = co_await reading;
  if (!body) co_return body_failed(body.error(), context);
  auto wanted = read_webhook(*body);
  if (!wanted) co_return refuse(context, wanted.error());
  auto writing = store_.write(
      [number = number_of(id).value_or(0), conditions = http::EtagConditions::of(request),
       patch = *std::move(wanted)](store::SqliteConnection& db) -> Result<ChangedWebhook> {
        TRY(ChangedWebhook changed, find_for_change(db, number, conditions));
        if (changed.kind != ChangedWebhook::Kind::done) return changed;
        Webhook& webhook = changed.webhook;
        if (patch.url) webhook.url = *patch.url;
        if (patch.events) webhook.events = *patch.events;
        if (patch.secret) webhook.secret = *patch.secret;
        ++webhook.version;
        TRY_VOID(update_webhook(db, webhook));
        return changed;
      },
      context.deadline);
  const Result<ChangedWebhook> changed = co_await writing;
  if (!changed) co_return http::response_for(changed.error(), context);
  if (changed->kind != ChangedWebhook::Kind::done) co_return not_changed(context, changed->kind);
  std::string shown;
  append_webhook(shown, changed->webhook, false);
  co_return json_answer(context, 200, std::move(shown), etag_of(changed->webhook.id, changed->webhook.version));
}

Task<Result<Response>> WebhookApi::remove(Request& request, RequestContext& context, std::string_view id) {
  auto writing = store_.write(
      [number = number_of(id).value_or(0),
       conditions = http::EtagConditions::of(request)](store::SqliteConnection& db) -> Result<ChangedWebhook> {
        TRY(ChangedWebhook removed, find_for_change(db, number, conditions));
        if (removed.kind == ChangedWebhook::Kind::done) {
          TRY_VOID(remove_webhook(db, number));
        }
        return removed;
      },
      context.deadline);
  const Result<ChangedWebhook> removed = co_await writing;
  if (!removed) co_return http::response_for(removed.error(), context);
  if (removed->kind != ChangedWebhook::Kind::done) co_return not_changed(context, removed->kind);
  co_return Response(context.arena, 204);
}

}  // namespace trellis::services::links
