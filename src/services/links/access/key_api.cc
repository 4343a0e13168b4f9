#include "services/links/access/key_api.h"

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/json.h"
#include "http/problem.h"
#include "services/links/access/access.h"
#include "services/links/answers.h"
#include "services/links/domains/domain_json.h"
#include "services/links/json_object.h"
#include "services/links/resource.h"

namespace trellis::services::links {

using http::FieldId;
using http::Method;
using http::PathParameters;
using http::Request;
using http::RequestContext;
using http::Response;
using http::RouteDoc;
using http::Scope;
using Json = nlohmann::json;

namespace {

constexpr std::string_view kKeysAreOff =
    "This node takes requests without keys; set services.links.keys to required, and make the first key by trellis key "
    "add --store.";

std::optional<Response> refuse_off(const Access& access, RequestContext& context) {
  if (access.required()) return std::nullopt;
  return refuse(context, 403, "keys_off", kKeysAreOff);
}

Response no_key(RequestContext& context) { return refuse(context, 404, "not_found", "There is no such key."); }

Response not_changed(RequestContext& context, Access::Changed::Kind kind) {
  return kind == Access::Changed::Kind::not_found ? no_key(context) : changed_meanwhile(context, "key");
}

struct KeyPatch {
  std::optional<std::string> name;
  std::optional<Scope> scope;
  std::string domain;  // as it was written; "": none was said
  std::optional<std::optional<int64_t>> expires_at;
};

std::expected<KeyPatch, Fault> read_key(std::string_view body, int64_t now) {
  static constexpr std::array<std::string_view, 4> kMembers = {"name", "scope", "domain", "expires_at"};
  auto json = read_object(body, kMembers);
  if (!json) return std::unexpected(std::move(json).error());
  KeyPatch out;
  if (const auto name = json->find("name"); name != json->end()) {
    if (!name->is_string() || !is_key_name(name->get_ref<const std::string&>()))
      return std::unexpected(Fault{"name", "A name is 1 to 128 bytes without control characters."});
    out.name = name->get<std::string>();
  }
  if (const auto scope = json->find("scope"); scope != json->end()) {
    if (scope->is_string()) out.scope = key_scope(scope->get_ref<const std::string&>());
    if (!out.scope) return std::unexpected(Fault{"scope", "A scope is read, write or admin."});
  }
  if (const auto domain = json->find("domain"); domain != json->end() && !domain->is_null()) {
    if (!domain->is_string() || domain->get_ref<const std::string&>().empty())
      return std::unexpected(Fault{"domain", "The domain is a host such as go.example.com."});
    out.domain = domain->get<std::string>();
  }
  if (const auto end = json->find("expires_at"); end != json->end()) {
    std::optional<int64_t> time;
    if (end->is_string()) time = parse_time(end->get_ref<const std::string&>());
    if (!end->is_null() && (!time || *time <= now))
      return std::unexpected(
          Fault{"expires_at", "The time must be written as in 2030-01-31T12:00:00Z and lie in the future."});
    out.expires_at = time;
  }
  return out;
}

constexpr const char* kKey = R"json({"type":"object","description":"An API key.",
"required":["id","name","begins","scope","domain","created_at","expires_at","last_used_at"],"properties":{
"id":{"type":"integer"},
"name":{"type":"string"},
"key":{"type":"string","description":"The key itself; only in the answer to its making."},
"begins":{"type":"string","description":"The first characters of the key, to know it again."},
"scope":{"type":"string","enum":["read","write","admin"]},
"domain":{"type":["string","null"],"description":"The host of the only domain whose links it sees and changes; null: all."},
"created_at":{"type":"string","format":"date-time"},
"expires_at":{"type":["string","null"],"format":"date-time"},
"last_used_at":{"type":["string","null"],"format":"date-time","description":"To about a second; half a minute may be lost in a crash."}}})json";

constexpr const char* kNewKey =
    R"json({"type":"object","required":["name","scope"],"additionalProperties":false,"properties":{
"name":{"type":"string","minLength":1,"maxLength":128,"description":"For people."},
"scope":{"type":"string","enum":["read","write","admin"],"description":"Each contains the ones before it."},
"domain":{"type":["string","null"],"description":"The host of the only domain that it is for; it cannot be changed later."},
"expires_at":{"type":["string","null"],"format":"date-time"}}})json";

constexpr const char* kKeyPatch = R"json({"type":"object","additionalProperties":false,"properties":{
"name":{"type":"string","minLength":1,"maxLength":128},
"scope":{"type":"string","enum":["read","write","admin"]},
"expires_at":{"type":["string","null"],"format":"date-time"}}})json";

constexpr const char* kKeyPage = R"json({"type":"object","required":["items","next"],"properties":{
"items":{"type":"array","items":{"$ref":"#/components/schemas/Key"}},
"next":{"type":["string","null"],"description":"The cursor of the next page; null at the end."}}})json";

constexpr const char* kNumber = "The number of the key.";

}  // namespace

void append_key(std::string& out, const ApiKey& key, std::string_view text, std::string_view default_host) {
  JsonWriter json(out);
  json.begin_object().member("id", key.id).member("name", key.name);
  if (!text.empty()) json.member("key", text);
  json.member("begins", key.begins).member("scope", http::to_string(key.scope));
  json.key("domain");
  if (key.domain) {
    json.value(key.domain->host.empty() ? default_host : std::string_view(key.domain->host));
  } else {
    json.null();
  }
  json.member("created_at", format_time(key.created_at));
  const auto when = [&json](const char* name, const std::optional<int64_t>& time) {
    json.key(name);
    if (time) {
      json.value(format_time(*time));
    } else {
      json.null();
    }
  };
  when("expires_at", key.expires_at);
  when("last_used_at", key.last_used_at);
  json.end_object();
}

std::string KeyApi::json_of(const ApiKey& key, std::string_view text) const {
  std::string body;
  append_key(body, key, text, domains_.table()->default_domain().host);
  return body;
}

Response KeyApi::key_answer(RequestContext& context, int status, const ApiKey& key, std::string_view text) {
  return json_answer(context, status, json_of(key, text), etag_of(key.id, key.version));
}

void KeyApi::mount(http::Routes& routes) {
  routes.schema("Key", kKey);
  routes.schema("NewKey", kNewKey);
  routes.schema("KeyPatch", kKeyPatch);
  routes.schema("KeyPage", kKeyPage);

  RouteDoc listing =
      doc_of("list_keys", Scope::admin, "List API keys", "By id. Expired ones too, until they are deleted.");
  listing.parameters = page_parameters("Keys a page.");
  listing.answers = {{200, "A page.", "KeyPage"}, {400, "A parameter is not valid.", "Problem"}};
  routes.add(Method::get, "/v1/keys", std::move(listing),
             [this](Request& request, RequestContext& context, PathParameters) { return list(request, context); });

  RouteDoc making = doc_of("create_key", Scope::admin, "Make an API key",
                           "The answer is the only one that has the key itself; the store has its SHA-256. It takes no "
                           "Idempotency-Key, for a second answer would have to tell the key again.");
  making.body = "NewKey";
  making.answers = {{201, "Made.", "Key"},
                    {400, "The body or a member of it is not valid; field names the member.", "Problem"},
                    {409, "There are 10,000 keys already.", "Problem"}};
  routes.add(Method::post, "/v1/keys", std::move(making),
             [this](Request& request, RequestContext& context, PathParameters) { return create(request, context); });

  RouteDoc showing = doc_of("get_key", Scope::admin, "Read an API key", "All but the key itself.");
  showing.parameters = {id_parameter(kNumber)};
  showing.answers = {{200, "The key.", "Key"}, {404, "No such key.", "Problem"}};
  routes.add(Method::get, "/v1/keys/{id}", std::move(showing),
             [this](Request& request, RequestContext& context, PathParameters path) {
               return show(request, context, path[0]);
             });

  RouteDoc changing =
      doc_of("change_key", Scope::admin, "Change an API key", "Name, scope and end; at once on this node.");
  changing.parameters = {id_parameter(kNumber), if_match_parameter()};
  changing.body = "KeyPatch";
  changing.answers = {{200, "The key as it is now.", "Key"},
                      {400, "The body or a member of it is not valid; field names the member.", "Problem"},
                      {404, "No such key.", "Problem"},
                      {412, "It was changed meanwhile.", "Problem"}};
  routes.add(Method::patch, "/v1/keys/{id}", std::move(changing),
             [this](Request& request, RequestContext& context, PathParameters path) {
               return change(request, context, path[0]);
             });

  RouteDoc removing = doc_of("delete_key", Scope::admin, "Revoke an API key", "It opens nothing from the answer on.");
  removing.parameters = {id_parameter(kNumber), if_match_parameter()};
  removing.answers = {
      {204, "Revoked."}, {404, "No such key.", "Problem"}, {412, "It was changed meanwhile.", "Problem"}};
  routes.add(Method::delete_, "/v1/keys/{id}", std::move(removing),
             [this](Request& request, RequestContext& context, PathParameters path) {
               return remove(request, context, path[0]);
             });
}

Task<Result<Response>> KeyApi::create(Request& request, RequestContext& context) {
  if (std::optional<Response> refused = refuse_off(access_, context)) co_return *std::move(refused);
  if (std::optional<Response> refused = refuse_media(request, context, true, false)) co_return *std::move(refused);
  auto reading = http::read_all(request.body.get(), kMaxBody, context.deadline);
  Result<std::string> body = co_await reading;
  if (!body) co_return body_failed(body.error(), context);
  const int64_t now = unix_millis(context.loop.wall());
  auto wanted = read_key(*body, now);
  if (!wanted) co_return refuse(context, wanted.error());
  if (!wanted->name) co_return refuse(context, Fault{"name", "The name is missing."});
  if (!wanted->scope) co_return refuse(context, Fault{"scope", "The scope is missing: read, write or admin."});
  std::optional<KeyDomain> domain;
  if (!wanted->domain.empty()) {
    const DomainTablePointer domains = domains_.table();
    const auto named = named_domain(wanted->domain, *domains);
    if (!named) co_return refuse(context, named.error());
    domain = KeyDomain{(*named)->id, std::string((*named)->name_host())};
  }
  auto adding = access_.add(*std::move(wanted->name), *wanted->scope, std::move(domain),
                            wanted->expires_at.value_or(std::nullopt), now, context.deadline);
  const Result<std::optional<Access::Added>> added = co_await adding;
  if (!added) co_return http::response_for(added.error(), context);
  if (!*added) co_return refuse(context, 409, "too_many_keys", "There are 10,000 keys already; delete some.");
  Response response = key_answer(context, 201, (*added)->key, (*added)->text);
  response.fields.add_copy(FieldId::location, "/v1/keys/" + std::to_string((*added)->key.id));
  co_return response;
}

Task<Result<Response>> KeyApi::list(Request& request, RequestContext& context) {
  if (std::optional<Response> refused = refuse_off(access_, context)) co_return *std::move(refused);
  if (std::optional<Response> refused = refuse_media(request, context, false, false)) co_return *std::move(refused);
  const auto page = page_asked(request.query);
  if (!page) co_return refuse(context, page.error());
  const std::string default_host = domains_.table()->default_domain().host;
  const std::vector<ApiKey> keys = access_.list(page->after, static_cast<size_t>(page->limit));
  std::string body = "{\"items\":[";
  for (const ApiKey& key : keys) {
    if (body.back() != '[') body += ',';
    append_key(body, key, {}, default_host);
  }
  body += "],\"next\":";
  const bool more = keys.size() == static_cast<size_t>(page->limit) && !access_.list(keys.back().id, 1).empty();
  body += more ? "\"" + std::to_string(keys.back().id) + "\"" : "null";
  body += '}';
  co_return json_answer(context, 200, std::move(body));
}

Task<Result<Response>> KeyApi::show(Request& request, RequestContext& context, std::string_view id) {
  if (std::optional<Response> refused = refuse_off(access_, context)) co_return *std::move(refused);
  if (std::optional<Response> refused = refuse_media(request, context, false, false)) co_return *std::move(refused);
  const std::optional<ApiKey> key = access_.find(number_of(id).value_or(0));
  if (!key) co_return no_key(context);
  co_return read_answer(request, context, "key", json_of(*key), etag_of(key->id, key->version));
}

Task<Result<Response>> KeyApi::change(Request& request, RequestContext& context, std::string_view id) {
  if (std::optional<Response> refused = refuse_off(access_, context)) co_return *std::move(refused);
  if (std::optional<Response> refused = refuse_media(request, context, true, true)) co_return *std::move(refused);
  auto reading = http::read_all(request.body.get(), kMaxBody, context.deadline);
  Result<std::string> body = co_await reading;
  if (!body) co_return body_failed(body.error(), context);
  auto wanted = read_key(*body, unix_millis(context.loop.wall()));
  if (!wanted) co_return refuse(context, wanted.error());
  if (!wanted->domain.empty()) co_return refuse(context, Fault{"domain", "The domain of a key stays."});
  auto changing = access_.change(number_of(id).value_or(0), std::move(wanted->name), wanted->scope, wanted->expires_at,
                                 http::EtagConditions::of(request), context.deadline);
  const Result<Access::Changed> changed = co_await changing;
  if (!changed) co_return http::response_for(changed.error(), context);
  if (changed->kind != Access::Changed::Kind::done) co_return not_changed(context, changed->kind);
  co_return key_answer(context, 200, changed->key);
}

Task<Result<Response>> KeyApi::remove(Request& request, RequestContext& context, std::string_view id) {
  if (std::optional<Response> refused = refuse_off(access_, context)) co_return *std::move(refused);
  auto removing = access_.remove(number_of(id).value_or(0), http::EtagConditions::of(request), context.deadline);
  const Result<Access::Changed> removed = co_await removing;
  if (!removed) co_return http::response_for(removed.error(), context);
  if (removed->kind != Access::Changed::Kind::done) co_return not_changed(context, removed->kind);
  co_return Response(context.arena, 204);
}

}  // namespace trellis::services::links
