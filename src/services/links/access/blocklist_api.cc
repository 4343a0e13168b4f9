#include "services/links/access/blocklist_api.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/json.h"
#include "http/problem.h"
#include "runtime/loop.h"
#include "services/links/access/block_set.h"
#include "services/links/access/blocklist.h"
#include "services/links/answers.h"
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

namespace {

constexpr size_t kMaxReason = 256;

Response no_entry(RequestContext& context) { return refuse(context, 404, "not_found", "There is no such entry."); }

// Without id and time.
std::expected<Blocked, Fault> read_blocked(std::string_view body) {
  static constexpr std::array<std::string_view, 2> kMembers = {"pattern", "reason"};
  auto json = read_object(body, kMembers);
  if (!json) return std::unexpected(std::move(json).error());
  Blocked out;
  const auto pattern = json->find("pattern");
  if (pattern == json->end() || !pattern->is_string())
    return std::unexpected(Fault{"pattern", "The pattern is a host, or a host and a path."});
  const auto entry = read_block_entry(pattern->get_ref<const std::string&>());
  if (!entry) return std::unexpected(Fault{"pattern", entry.error()});
  out.pattern = entry->text();
  if (const auto reason = json->find("reason"); reason != json->end() && !reason->is_null()) {
    if (!reason->is_string()) return std::unexpected(Fault{"reason", "The reason must be text."});
    out.reason = reason->get<std::string>();
    const bool plain = std::all_of(out.reason.begin(), out.reason.end(),
                                   [](char c) { return static_cast<uint8_t>(c) >= 0x20 && c != 0x7f; });
    if (out.reason.size() > kMaxReason || !plain)
      return std::unexpected(Fault{"reason", "A reason has 256 bytes at most, without control characters."});
  }
  return out;
}

void append_blocked(std::string& out, const Blocked& blocked) {
  JsonWriter json(out);
  json.begin_object().member("id", blocked.id).member("pattern", blocked.pattern).member("reason", blocked.reason);
  json.member("created_at", format_time(blocked.created_at)).end_object();
}

Response blocked_answer(RequestContext& context, int status, const Blocked& blocked) {
  std::string body;
  append_blocked(body, blocked);
  return json_answer(context, status, std::move(body));
}

constexpr const char* kBlocked = R"json({"type":"object","description":"A destination that may not be linked.",
"required":["id","pattern","reason","created_at"],"properties":{
"id":{"type":"integer"},
"pattern":{"type":"string","description":"In its normal form."},
"reason":{"type":"string","description":"For those who keep the list; others are not told."},
"created_at":{"type":"string","format":"date-time"}}})json";

constexpr const char* kNewBlocked =
    R"json({"type":"object","required":["pattern"],"additionalProperties":false,"properties":{
"pattern":{"type":"string","maxLength":512,"description":"example.com: the host and its subdomains. =example.com: this host alone. Either with a path: that and all beneath it.",
"examples":["example.com","=example.com","example.com/bad"]},
"reason":{"type":["string","null"],"maxLength":256}}})json";

constexpr const char* kBlockedPage = R"json({"type":"object","required":["items","next"],"properties":{
"items":{"type":"array","items":{"$ref":"#/components/schemas/Blocked"}},
"next":{"type":["string","null"],"description":"The cursor of the next page; null at the end."}}})json";

constexpr const char* kNumber = "The number of the entry.";

}  // namespace

void BlocklistApi::mount(http::Routes& routes) {
  routes.schema("Blocked", kBlocked);
  routes.schema("NewBlocked", kNewBlocked);
  routes.schema("BlockedPage", kBlockedPage);

  RouteDoc listing = doc_of("list_blocked", Scope::admin, "List blocked destinations",
                            "By id; those of the node's file are not among them.");
  listing.parameters = page_parameters("Entries a page.");
  listing.answers = {{200, "A page.", "BlockedPage"}, {400, "A parameter is not valid.", "Problem"}};
  routes.add(Method::get, "/v1/blocklist", std::move(listing),
             [this](Request& request, RequestContext& context, PathParameters) { return list(request, context); });

  RouteDoc adding = doc_of("block_destination", Scope::admin, "Block a destination",
                           "From the answer on no link to it can be made, and those that there are answer 410.");
  adding.body = "NewBlocked";
  adding.answers = {{201, "Blocked.", "Blocked"},
                    {400, "The body or a member of it is not valid; field names the member.", "Problem"},
                    {409, "It is blocked already, or there are 10,000 entries.", "Problem"}};
  routes.add(Method::post, "/v1/blocklist", std::move(adding),
             [this](Request& request, RequestContext& context, PathParameters) { return add(request, context); });

  RouteDoc showing = doc_of("get_blocked", Scope::admin, "Read a blocked destination", "With its reason.");
  showing.parameters = {id_parameter(kNumber)};
  showing.answers = {{200, "The entry.", "Blocked"}, {404, "No such entry.", "Problem"}};
  routes.add(Method::get, "/v1/blocklist/{id}", std::move(showing),
             [this](Request&, RequestContext& context, PathParameters path) { return show(context, path[0]); });

  RouteDoc removing = doc_of("unblock_destination", Scope::admin, "Unblock a destination",
                             "Links to it redirect again, unless another entry holds.");
  removing.parameters = {id_parameter(kNumber)};
  removing.answers = {{204, "Unblocked.", ""}, {404, "No such entry.", "Problem"}};
  routes.add(Method::delete_, "/v1/blocklist/{id}", std::move(removing),
             [this](Request&, RequestContext& context, PathParameters path) { return remove(context, path[0]); });
}

Task<Result<Response>> BlocklistApi::add(Request& request, RequestContext& context) {
  if (std::optional<Response> refused = refuse_media(request, context, true, false)) co_return *std::move(refused);
  auto reading = http::read_all(request.body.get(), kMaxBody, context.deadline);
  const Result<std::string> body = co_await reading;
  if (!body) co_return body_failed(body.error(), context);
  auto wanted = read_blocked(*body);
  if (!wanted) co_return refuse(context, wanted.error());
  Blocked blocked = *std::move(wanted);
  blocked.created_at = unix_millis(context.loop.wall());
  auto adding = blocklist_.add(blocked, context.deadline);
  const Result<Blocking> added = co_await adding;
  if (!added) co_return http::response_for(added.error(), context);
  if (added->kind == Blocking::Kind::full)
    co_return refuse(context, 409, "too_many_entries", "There are 10,000 entries; put more into the node's file.");
  if (added->kind == Blocking::Kind::exists)
    co_return http::field_problem(context, 409, "already_exists", "pattern", "This is blocked already.");
  blocked.id = added->id;
  Response response = blocked_answer(context, 201, blocked);
  response.fields.add_copy(FieldId::location, "/v1/blocklist/" + std::to_string(blocked.id));
  co_return response;
}

Task<Result<Response>> BlocklistApi::list(Request& request, RequestContext& context) {
  if (std::optional<Response> refused = refuse_media(request, context, false, false)) co_return *std::move(refused);
  const auto page = page_asked(request.query);
  if (!page) co_return refuse(context, page.error());
  auto reading = blocklist_.list(page->after, static_cast<size_t>(page->limit) + 1, context.deadline);
  Result<std::vector<Blocked>> entries = co_await reading;
  if (!entries) co_return http::response_for(entries.error(), context);
  const bool more = entries->size() > static_cast<size_t>(page->limit);
  if (more) entries->pop_back();
  std::string body = "{\"items\":[";
  for (const Blocked& each : *entries) {
    if (body.back() != '[') body += ',';
    append_blocked(body, each);
  }
  body += "],\"next\":";
  body += more ? "\"" + std::to_string(entries->back().id) + "\"" : "null";
  body += '}';
  co_return json_answer(context, 200, std::move(body));
}

Task<Result<Response>> BlocklistApi::show(RequestContext& context, std::string_view id) {
  auto reading = blocklist_.find(number_of(id).value_or(0), context.deadline);
  const Result<std::optional<Blocked>> entry = co_await reading;
  if (!entry) co_return http::response_for(entry.error(), context);
  if (!*entry) co_return no_entry(context);
  co_return blocked_answer(context, 200, **entry);
}

Task<Result<Response>> BlocklistApi::remove(RequestContext& context, std::string_view id) {
  auto removing = blocklist_.remove(number_of(id).value_or(0), context.deadline);
  const Result<bool> removed = co_await removing;
  if (!removed) co_return http::response_for(removed.error(), context);
  if (!*removed) co_return no_entry(context);
  co_return Response(context.arena, 204);
}

}  // namespace trellis::services::links
