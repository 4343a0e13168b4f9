#include "services/links/domains/domain_api.h"

#include <optional>
#include <string>
#include <utility>

#include "http/problem.h"
#include "services/links/answers.h"
#include "services/links/domains/domain_json.h"
#include "services/links/domains/domains.h"
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

namespace {

Response no_domain(RequestContext& context) { return refuse(context, 404, "not_found", "There is no such domain."); }

Response domain_answer(RequestContext& context, int status, const Domain& domain) {
  std::string body;
  append_domain(body, domain);
  return json_answer(context, status, std::move(body), etag_of(domain.id, domain.version));
}

Response not_changed(RequestContext& context, Domains::Change::Kind kind) {
  using Kind = Domains::Change::Kind;
  switch (kind) {
    case Kind::exists:
      return http::field_problem(context, 409, "already_exists", "base_url", "This host is a domain already.");
    case Kind::too_many:
      return refuse(context, 409, "too_many_domains", "There are 1,000 domains already; delete some.");
    case Kind::has_links:
      return refuse(context, 409, "domain_in_use", "There are links on this domain; delete them first.");
    case Kind::not_found: return no_domain(context);
    case Kind::precondition: return changed_meanwhile(context, "domain");
    case Kind::done: break;
  }
  return Response(context.arena, 204);
}

constexpr const char* kDomain = R"json({"type":"object","description":"A domain of short links.",
"required":["id","host","base_url","default","status","unknown_url","gone_url","root_url"],"properties":{
"id":{"type":"integer","description":"0: the default one."},
"host":{"type":"string","description":"With the port when it is not the usual one."},
"base_url":{"type":"string","format":"uri","description":"What its short URLs begin with."},
"default":{"type":"boolean","description":"It is that of the configuration."},
"status":{"type":["integer","null"],"enum":[301,302,307,308,null],"description":"Of links that do not name one; null: that of the configuration."},
"unknown_url":{"type":["string","null"],"description":"Where unknown codes lead; null: they answer 404."},
"gone_url":{"type":["string","null"],"description":"Where deleted, expired and used up links lead; null: they answer 410."},
"root_url":{"type":["string","null"],"description":"Where / leads; null: it answers 404."}}})json";

constexpr const char* kNewDomain =
    R"json({"type":"object","required":["base_url"],"additionalProperties":false,"properties":{
"base_url":{"type":"string","format":"uri","description":"http or https and the host, such as https://go.example.com."},
"status":{"type":["integer","null"],"enum":[301,302,307,308,null]},
"unknown_url":{"type":["string","null"],"maxLength":8192,"description":"http or https; not on a domain of this service."},
"gone_url":{"type":["string","null"],"maxLength":8192},
"root_url":{"type":["string","null"],"maxLength":8192}}})json";

constexpr const char* kDomainPatch =
    R"json({"type":"object","additionalProperties":false,"description":"Members that are absent stay as they are.","properties":{
"base_url":{"type":"string","format":"uri","description":"The host stays."},
"status":{"type":["integer","null"],"enum":[301,302,307,308,null]},
"unknown_url":{"type":["string","null"],"maxLength":8192},
"gone_url":{"type":["string","null"],"maxLength":8192},
"root_url":{"type":["string","null"],"maxLength":8192}}})json";

constexpr const char* kDomainPage = R"json({"type":"object","required":["items","next"],"properties":{
"items":{"type":"array","items":{"$ref":"#/components/schemas/Domain"}},
"next":{"type":["string","null"],"description":"The cursor of the next page; null at the end."}}})json";

constexpr const char* kNumber = "The number of the domain; 0 is the default one.";

}  // namespace

void DomainApi::mount(http::Routes& routes) {
  routes.schema("Domain", kDomain);
  routes.schema("NewDomain", kNewDomain);
  routes.schema("DomainPatch", kDomainPatch);
  routes.schema("DomainPage", kDomainPage);

  RouteDoc listing = doc_of("list_domains", Scope::read, "List domains", "By id, the default one first.");
  listing.parameters = page_parameters("Domains a page.");
  listing.answers = {{200, "A page.", "DomainPage"}, {400, "A parameter is not valid.", "Problem"}};
  routes.add(Method::get, "/v1/domains", std::move(listing),
             [this](Request& request, RequestContext& context, PathParameters) { return list(request, context); });

  RouteDoc making = doc_of("create_domain", Scope::admin, "Add a domain",
                           "Links can be made on it from the answer on. That its requests reach this node is for the "
                           "name service, certificates and routes.");
  making.body = "NewDomain";
  making.answers = {{201, "Added.", "Domain"},
                    {400, "The body or a member of it is not valid; field names the member.", "Problem"},
                    {409, "The host is a domain already, or there are 1,000.", "Problem"}};
  routes.add(Method::post, "/v1/domains", std::move(making),
             [this](Request& request, RequestContext& context, PathParameters) { return create(request, context); });

  RouteDoc showing = doc_of("get_domain", Scope::read, "Read a domain", "With its fallbacks.");
  showing.parameters = {id_parameter(kNumber, R"({"type":"integer","minimum":0})")};
  showing.answers = {{200, "The domain.", "Domain"}, {404, "No such domain.", "Problem"}};
  routes.add(Method::get, "/v1/domains/{id}", std::move(showing),
             [this](Request& request, RequestContext& context, PathParameters path) {
               return show(request, context, path[0]);
             });

  RouteDoc changing = doc_of("change_domain", Scope::admin, "Change a domain",
                             "At once on this node. Of the default domain the fallbacks can be changed.");
  changing.parameters = {id_parameter(kNumber, R"({"type":"integer","minimum":0})"), if_match_parameter()};
  changing.body = "DomainPatch";
  changing.answers = {{200, "The domain as it is now.", "Domain"},
                      {400, "The body or a member of it is not valid; field names the member.", "Problem"},
                      {404, "No such domain.", "Problem"},
                      {412, "It was changed meanwhile.", "Problem"}};
  routes.add(Method::patch, "/v1/domains/{id}", std::move(changing),
             [this](Request& request, RequestContext& context, PathParameters path) {
               return change(request, context, path[0]);
             });

  RouteDoc removing = doc_of("delete_domain", Scope::admin, "Remove a domain",
                             "Only when no links are on it. Its host is treated as the default domain from then on.");
  removing.parameters = {id_parameter(kNumber, R"({"type":"integer","minimum":0})"), if_match_parameter()};
  removing.answers = {{204, "Removed."},
                      {404, "No such domain.", "Problem"},
                      {409, "There are links on it, or it is the default one.", "Problem"},
                      {412, "It was changed meanwhile.", "Problem"}};
  routes.add(Method::delete_, "/v1/domains/{id}", std::move(removing),
             [this](Request& request, RequestContext& context, PathParameters path) {
               return remove(request, context, path[0]);
             });
}

Task<Result<Response>> DomainApi::create(Request& request, RequestContext& context) {
  if (std::optional<Response> refused = refuse_media(request, context, true, false)) co_return *std::move(refused);
  auto reading = http::read_all(request.body.get(), kMaxBody, context.deadline);
  Result<std::string> body = co_await reading;
  if (!body) co_return body_failed(body.error(), context);
  auto wanted = read_new_domain(*body, *domains_.table());
  if (!wanted) co_return refuse(context, wanted.error());
  if (domains_.table()->find(wanted->host)) co_return not_changed(context, Domains::Change::Kind::exists);
  auto adding = domains_.add(*std::move(wanted), context.deadline);
  const Result<Domains::Change> added = co_await adding;
  if (!added) co_return http::response_for(added.error(), context);
  if (!added->domain) co_return not_changed(context, added->kind);
  Response response = domain_answer(context, 201, *added->domain);
  response.fields.add_copy(FieldId::location, "/v1/domains/" + std::to_string(added->domain->id));
  co_return response;
}

Task<Result<Response>> DomainApi::list(Request& request, RequestContext& context) {
  if (std::optional<Response> refused = refuse_media(request, context, false, false)) co_return *std::move(refused);
  const auto page = page_asked(request.query, -1);
  if (!page) co_return refuse(context, page.error());
  const DomainTablePointer domains = domains_.table();
  std::string body = "{\"items\":[";
  int64_t told = 0;
  int64_t after = page->after;
  std::string next = "null";
  for (const Domain& domain : domains->all()) {
    if (domain.id <= after) continue;
    if (told == page->limit) {
      next = "\"" + std::to_string(after) + "\"";
      break;
    }
    if (told > 0) body += ',';
    append_domain(body, domain);
    after = domain.id;
    ++told;
  }
  body += "],\"next\":" + next + "}";
  co_return json_answer(context, 200, std::move(body));
}

Task<Result<Response>> DomainApi::show(Request& request, RequestContext& context, std::string_view id) {
  if (std::optional<Response> refused = refuse_media(request, context, false, false)) co_return *std::move(refused);
  const DomainTablePointer domains = domains_.table();
  const Domain* domain = domains->find(number_of(id).value_or(-1));
  if (!domain) co_return no_domain(context);
  std::string body;
  append_domain(body, *domain);
  co_return read_answer(request, context, "domain", std::move(body), etag_of(domain->id, domain->version));
}

Task<Result<Response>> DomainApi::change(Request& request, RequestContext& context, std::string_view id) {
  if (std::optional<Response> refused = refuse_media(request, context, true, true)) co_return *std::move(refused);
  auto reading = http::read_all(request.body.get(), kMaxBody, context.deadline);
  Result<std::string> body = co_await reading;
  if (!body) co_return body_failed(body.error(), context);
  const DomainTablePointer domains = domains_.table();
  const Domain* domain = domains->find(number_of(id).value_or(-1));
  if (!domain) co_return no_domain(context);
  auto wanted = read_domain_patch(*body, *domain, *domains);
  if (!wanted) co_return refuse(context, wanted.error());
  auto changing = domains_.change(domain->id, *std::move(wanted), http::EtagConditions::of(request), context.deadline);
  const Result<Domains::Change> changed = co_await changing;
  if (!changed) co_return http::response_for(changed.error(), context);
  if (!changed->domain) co_return not_changed(context, changed->kind);
  co_return domain_answer(context, 200, *changed->domain);
}

Task<Result<Response>> DomainApi::remove(Request& request, RequestContext& context, std::string_view id) {
  const int64_t number = number_of(id).value_or(-1);
  if (number == 0) co_return refuse(context, 409, "domain_in_use", "The default domain is set in the configuration.");
  auto removing = domains_.remove(number, http::EtagConditions::of(request), context.deadline);
  const Result<Domains::Change> removed = co_await removing;
  if (!removed) co_return http::response_for(removed.error(), context);
  co_return not_changed(context, removed->kind);
}

}  // namespace trellis::services::links
