// The routes of the links service with their words, from which /v1/openapi.json is made.
#include "services/links/access/access.h"
#include "services/links/access/blocklist_api.h"
#include "services/links/access/key_api.h"
#include "services/links/answers.h"
#include "services/links/bulk/bulk_api.h"
#include "services/links/compat/shlink.h"
#include "services/links/compat/yourls.h"
#include "services/links/domains/domain_api.h"
#include "services/links/idempotency.h"
#include "services/links/links.h"
#include "services/links/preview.h"
#include "services/links/qr.h"
#include "services/links/reports/report_api.h"
#include "services/links/resource.h"
#include "services/links/rules/rules.h"
#include "services/links/webhooks/webhook_api.h"

namespace trellis::services::links {

using http::AnswerDoc;
using http::Method;
using http::ParameterDoc;
using http::PathParameters;
using http::Request;
using http::RequestContext;
using http::RouteDoc;
using http::Routes;
using http::Scope;

namespace {

constexpr std::string_view kVersion = "1.0.0";

constexpr const char* kLink = R"json({"type":"object","description":"A short link.",
"required":["id","code","domain","short_url","url","title","status","created_at","updated_at","not_before","expires_at",
"max_visits","visits_left","forward_query","tags","rules","has_password","clicks","etag"],
"properties":{
"id":{"type":"integer","description":"Its number; later links have higher ones."},
"code":{"type":"string","pattern":"^[A-Za-z0-9_-]{1,128}$"},
"domain":{"type":"string","description":"The host it stands on; a code is one link on each."},
"short_url":{"type":"string","format":"uri","description":"What to give to people."},
"url":{"type":"string","description":"Where it leads, byte for byte as it was given."},
"title":{"type":"string"},
"status":{"type":"integer","enum":[301,302,307,308]},
"created_at":{"type":"string","format":"date-time"},
"updated_at":{"type":"string","format":"date-time"},
"not_before":{"type":["string","null"],"format":"date-time","description":"Until then it answers 404."},
"expires_at":{"type":["string","null"],"format":"date-time","description":"From then on it answers 410."},
"max_visits":{"type":["integer","null"],"description":"So many visits are granted, then it answers 410."},
"visits_left":{"type":["integer","null"],"description":"Of max_visits."},
"forward_query":{"type":"boolean","description":"The visitor's query is added to the URL's."},
"tags":{"type":"array","items":{"type":"string"}},
"rules":{"type":"array","description":"The first whose conditions hold gives the target.","items":{"$ref":"#/components/schemas/Rule"}},
"has_password":{"type":"boolean","description":"Visitors are asked for a password."},
"clicks":{"type":"integer","minimum":0,"description":"Those counted so far; usually less than half a second behind."},
"etag":{"type":"string","description":"The version, for If-Match. Clicks do not change it."}}})json";

constexpr const char* kNewLink = R"json({"type":"object","required":["url"],"additionalProperties":false,"properties":{
"url":{"type":"string","minLength":1,"maxLength":8192,"description":"http or https; not on a domain of this service."},
"domain":{"type":["string","null"],"description":"The host of one of /v1/domains; without it the default one."},
"alias":{"type":["string","null"],"pattern":"^[A-Za-z0-9_-]{1,128}$","description":"A code of your own; without it one is made."},
"title":{"type":["string","null"],"maxLength":512},
"status":{"type":"integer","enum":[301,302,307,308],"default":302},
"not_before":{"type":["string","null"],"format":"date-time"},
"max_visits":{"type":["integer","null"],"minimum":1,"maximum":1000000000},
"password":{"type":["string","null"],"minLength":1,"maxLength":128,"description":"Asked of visitors; never told."},
"forward_query":{"type":"boolean","default":false},
"tags":{"type":["array","null"],"maxItems":20,"uniqueItems":true,"items":{"type":"string","minLength":1,"maxLength":64}},
"rules":{"type":["array","null"],"maxItems":50,"items":{"$ref":"#/components/schemas/Rule"}},
"expires_at":{"type":["string","null"],"format":"date-time"},
"find_existing":{"type":"boolean","default":false,"description":"A link with the same URL and settings is answered with 200 instead of making another."}}})json";

constexpr const char* kLinkPatch =
    R"json({"type":"object","additionalProperties":false,"description":"Members that are absent stay as they are.",
"properties":{
"url":{"type":"string","minLength":1,"maxLength":8192},
"title":{"type":["string","null"],"maxLength":512},
"status":{"type":"integer","enum":[301,302,307,308]},
"not_before":{"type":["string","null"],"format":"date-time"},
"max_visits":{"type":["integer","null"],"minimum":1,"maximum":1000000000},
"password":{"type":["string","null"],"minLength":1,"maxLength":128,"description":"Asked of visitors; never told."},
"forward_query":{"type":"boolean","default":false},
"tags":{"type":["array","null"],"maxItems":20,"uniqueItems":true,"items":{"type":"string","minLength":1,"maxLength":64}},
"rules":{"type":["array","null"],"maxItems":50,"items":{"$ref":"#/components/schemas/Rule"}},
"expires_at":{"type":["string","null"],"format":"date-time","description":"null: never."}}})json";

constexpr const char* kLinkPage = R"json({"type":"object","required":["items","next"],"properties":{
"items":{"type":"array","items":{"$ref":"#/components/schemas/Link"}},
"next":{"type":["string","null"],"description":"The cursor of the next page; null at the end."}}})json";

constexpr const char* kPreview = R"json({"type":"object","required":["code","short_url","protected","url","varies",
"title","created_at","expires_at"],"properties":{
"code":{"type":"string"},
"short_url":{"type":"string","format":"uri"},
"protected":{"type":"boolean","description":"By a password: url and the times are null, title is empty."},
"url":{"type":["string","null"],"description":"Where it leads, as in Location."},
"varies":{"type":"boolean","description":"Rules send some visitors elsewhere."},
"title":{"type":"string"},
"created_at":{"type":["string","null"],"format":"date-time"},
"expires_at":{"type":["string","null"],"format":"date-time"}}})json";

constexpr const char* kProblem = R"json({"type":"object","description":"RFC 9457.",
"required":["type","title","status","code","temporary"],"properties":{
"type":{"type":"string"},"title":{"type":"string"},"status":{"type":"integer"},"detail":{"type":"string"},
"code":{"type":"string","description":"Stable; for programs."},
"temporary":{"type":"boolean","description":"The same request may succeed later."},
"request_id":{"type":"string"},
"field":{"type":"string","description":"The member or parameter that is wrong."}}})json";

ParameterDoc code_parameter() {
  return {"code", "path", "The code of the link: its alias, or the seven characters that were made.",
          R"({"type":"string","pattern":"^[A-Za-z0-9_-]{1,128}$"})"};
}
ParameterDoc domain_parameter() {
  return {"domain", "query", "The host of the domain that the link is on; without it the default one."};
}

AnswerDoc answer(int status, std::string description, std::string schema = {}) {
  return {status, std::move(description), std::move(schema)};
}
AnswerDoc trouble(int status, std::string description) { return {status, std::move(description), "Problem"}; }

RouteDoc create_doc() {
  RouteDoc doc;
  doc.id = "create_link";
  doc.scope = Scope::write;
  doc.summary = "Make a short link";
  doc.description = "Answers when the link is on disk. Location is the resource, short_url what to give to people.";
  doc.parameters = {
      idempotency_parameter(),
      {"domain", "query", "The host of the domain for a link that does not name one; it must name no other."}};
  doc.body = "NewLink";
  doc.answers = {answer(200, "There was one that is the same, and find_existing.", "Link"),
                 answer(201, "Made.", "Link"),
                 trouble(400, "The body or a member of it is not valid; field names the member."),
                 trouble(406, "The client does not take application/json."),
                 trouble(409, "The alias is taken, or was before its link was deleted."),
                 trouble(413, "The body is larger than 64 KiB."),
                 trouble(415, "The body is not application/json."),
                 trouble(422, "The Idempotency-Key was used with another body, or the destination is blocked."),
                 trouble(503, "The store takes no writes now.")};
  return doc;
}

RouteDoc list_doc() {
  RouteDoc doc;
  doc.id = "list_links";
  doc.scope = Scope::read;
  doc.summary = "List links, newest first";
  doc.description =
      "A page may be shorter than the limit, or empty, with a next one: each call looks through a bounded number of "
      "links.";
  doc.parameters = {
      {"limit", "query", "Links a page.", R"({"type":"integer","minimum":1,"maximum":100,"default":20})"},
      {"cursor", "query", "next of the page before."},
      {"q", "query", "Only links with this in code, URL or title.", R"({"type":"string","maxLength":200})"},
      {"tag", "query", "Only links that carry this tag.", R"({"type":"string","maxLength":64})"},
      {"domain", "query", "Only links on the domain with this host."}};
  doc.answers = {answer(200, "A page.", "LinkPage"), trouble(400, "A parameter is not valid."),
                 trouble(503, "The store cannot be read now.")};
  return doc;
}

RouteDoc show_doc() {
  RouteDoc doc;
  doc.id = "get_link";
  doc.scope = Scope::read;
  doc.summary = "Read a link";
  doc.description = "With its clicks as far as they are counted.";
  doc.parameters = {code_parameter(), domain_parameter(), {"If-None-Match", "header", "The ETag that is known."}};
  doc.answers = {answer(200, "The link.", "Link"), answer(304, "It is still this version; clicks do not change it."),
                 trouble(400, "There is no such domain."), trouble(404, "No such link."),
                 trouble(410, "It was deleted.")};
  return doc;
}

RouteDoc change_doc() {
  RouteDoc doc;
  doc.id = "change_link";
  doc.scope = Scope::write;
  doc.summary = "Change a link";
  doc.description = "Takes effect at once on this node. Members that are absent stay as they are.";
  doc.parameters = {code_parameter(), domain_parameter(), if_match_parameter()};
  doc.body = "LinkPatch";
  doc.answers = {answer(200, "The link as it is now.", "Link"),
                 trouble(400, "The body or a member of it is not valid; field names the member."),
                 trouble(404, "No such link."),
                 trouble(410, "It was deleted."),
                 trouble(412, "The link was changed meanwhile."),
                 trouble(413, "The body is larger than 64 KiB."),
                 trouble(415, "The body is not application/json."),
                 trouble(422, "The destination is blocked.")};
  return doc;
}

RouteDoc remove_doc() {
  RouteDoc doc;
  doc.id = "delete_link";
  doc.scope = Scope::write;
  doc.summary = "Delete a link";
  doc.description = "Its code answers 410 from then on and is never given again.";
  doc.parameters = {code_parameter(), domain_parameter(), if_match_parameter()};
  doc.answers = {answer(204, "Deleted."), trouble(400, "There is no such domain."), trouble(404, "No such link."),
                 trouble(410, "It was deleted before."), trouble(412, "The link was changed meanwhile.")};
  return doc;
}

RouteDoc redirect_doc() {
  RouteDoc doc;
  doc.id = "follow_link";
  doc.scope = Scope::open;
  doc.summary = "Follow a link";
  doc.description =
      "Redirects with the link's status and counts a click, but for HEAD. Links with 307 or 308 redirect every method. "
      "A link with a password answers with a page whose form is a POST to the same place, or takes Basic credentials. "
      "The domain is that of the Host field; where it has fallbacks, they take the place of 404 and 410. "
      "These are problems, or pages for a client that prefers text/html.";
  doc.parameters = {code_parameter()};
  doc.answers.push_back(answer(200, "The link has a password: a page that asks for it."));
  doc.answers.push_back(answer(303, "The password was right; Location is where the link leads."));
  for (const int status : {301, 302, 307, 308})
    doc.answers.push_back(answer(status, "Location is where the link leads."));
  doc.answers.push_back(trouble(403, "The password is wrong: the page again."));
  doc.answers.push_back(trouble(404, "No such link, or not yet."));
  doc.answers.push_back(trouble(405, "This link redirects GET and HEAD only."));
  doc.answers.push_back(
      trouble(410, "The link was deleted, has expired, has had all its visits or leads to a blocked destination."));
  doc.answers.push_back(
      trouble(429, "Too many unknown codes, or wrong passwords (the page again), from there; see Retry-After."));
  doc.answers.push_back(trouble(503, "Too many passwords are being checked."));
  return doc;
}

RouteDoc root_doc() {
  RouteDoc doc;
  doc.id = "follow_root";
  doc.scope = Scope::open;
  doc.summary = "Where a domain itself leads";
  doc.description = "The domain is that of the Host field.";
  doc.answers = {answer(302, "Location is root_url of the domain."), trouble(404, "It has none.")};
  return doc;
}

RouteDoc preview_doc() {
  RouteDoc doc;
  doc.id = "preview_link";
  doc.scope = Scope::open;
  doc.summary = "See where a link leads";
  doc.description = "A page, or JSON for a client that prefers it. No visit: nothing is counted.";
  doc.parameters = {code_parameter()};
  doc.answers = {
      answer(200, "Where it leads.", "Preview"), trouble(404, "No such link, or not yet."),
      trouble(410, "The link was deleted, has expired, has had all its visits or leads to a blocked destination."),
      trouble(429, "Too many unknown codes from there; see Retry-After.")};
  return doc;
}

RouteDoc qr_doc() {
  RouteDoc doc;
  doc.id = "link_qr_code";
  doc.scope = Scope::open;
  doc.summary = "The QR code of a link";
  doc.description = "Of its short URL with the mark ?qr, by which a scan is told apart from a click.";
  doc.parameters = {
      code_parameter(),
      {"format", "query", "What is drawn.", R"({"type":"string","enum":["svg","png"],"default":"svg"})"},
      {"size", "query", "Pixels of a side.", R"({"type":"integer","minimum":32,"maximum":2048,"default":300})"},
      {"margin", "query", "Modules left white at each side.",
       R"({"type":"integer","minimum":0,"maximum":32,"default":4})"},
      {"ecc", "query", "Error correction.", R"({"type":"string","enum":["L","M","Q","H"],"default":"M"})"},
      {"domain", "query", "The host of the link's domain; without it that of the Host field."}};
  doc.answers = {answer(200, "image/svg+xml or image/png, with ETag."),
                 answer(304, "It is the one that is known."),
                 trouble(400, "A parameter is not valid."),
                 trouble(404, "No such link, or not yet."),
                 trouble(410, "The link was deleted."),
                 trouble(429, "Too many unknown codes from there; see Retry-After.")};
  return doc;
}

RouteDoc openapi_doc() {
  RouteDoc doc;
  doc.id = "openapi";
  doc.scope = Scope::open;
  doc.summary = "This document";
  doc.description = "OpenAPI 3.1, made from the routes that answer.";
  doc.answers = {answer(200, "The document.")};
  return doc;
}

}  // namespace

void LinksService::mount(Routes& routes) {
  routes.guard([this](Request& request, RequestContext& context, Scope wanted, const RouteDoc& route) {
    std::optional<http::Response> refused = access_->check(request, context, wanted, route, *book_->domain_table());
    return refused ? std::move(refused) : refuse_unclear(request, context);
  });
  routes.schema("Link", kLink);
  routes.schema("NewLink", kNewLink);
  routes.schema("LinkPatch", kLinkPatch);
  routes.schema("LinkPage", kLinkPage);
  routes.schema("Preview", kPreview);
  routes.schema("Problem", kProblem);
  routes.schema("Rule", rule_schema());
  routes.add(Method::get, "/v1/links", list_doc(),
             [this](Request& request, RequestContext& context, PathParameters) { return list(request, context); });
  routes.add(Method::post, "/v1/links", create_doc(),
             [this](Request& request, RequestContext& context, PathParameters) { return create(request, context); });
  bulk_->mount(routes);
  routes.add(Method::get, "/v1/links/{code}", show_doc(),
             [this](Request& request, RequestContext& context, PathParameters path) {
               return show(request, context, path[0]);
             });
  routes.add(Method::patch, "/v1/links/{code}", change_doc(),
             [this](Request& request, RequestContext& context, PathParameters path) {
               return change(request, context, path[0]);
             });
  routes.add(Method::delete_, "/v1/links/{code}", remove_doc(),
             [this](Request& request, RequestContext& context, PathParameters path) {
               return remove(request, context, path[0]);
             });
  mount_stats(routes);
  routes.add(Method::get, "/v1/openapi.json", openapi_doc(),
             [this](Request& request, RequestContext& context, PathParameters) { return openapi(request, context); });
  routes.add(Method::get, "/{code}+", preview_doc(),
             [this](Request& request, RequestContext& context, PathParameters path) {
               return slowed(answer_preview(*book_, request, context, std::string(path[0])), context);
             });
  routes.add(Method::get, "/{code}.qr", qr_doc(),
             [this](Request& request, RequestContext& context, PathParameters path) {
               return slowed(answer_qr(*book_, request, context, std::string(path[0])), context);
             });
  routes.add_any("/{code}", {Method::get, Method::head, Method::post}, redirect_doc(),
                 [this](Request& request, RequestContext& context, PathParameters path) {
                   return redirect(request, context, path[0]);
                 });
  routes.add(Method::get, "/", root_doc(),
             [this](Request& request, RequestContext& context, PathParameters) { return root(request, context); });
  domain_api_->mount(routes);
  key_api_->mount(routes);
  yourls_->mount(routes);
  webhook_api_->mount(routes);
  report_api_->mount(routes);
  blocklist_api_->mount(routes);
  routes.beneath("/rest/", *shlink_);
  routes.beneath("/", elsewhere_);
  openapi_ = routes.openapi("Trellis links", kVersion, "Short links with click counts.");
}

}  // namespace trellis::services::links
