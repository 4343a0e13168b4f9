#include "services/links/answers.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "http/field_text.h"
#include "http/preconditions.h"
#include "http/problem.h"
#include "http/routes.h"
#include "http/target.h"

namespace trellis::services::links {

using http::FieldId;
using http::Request;
using http::RequestContext;
using http::Response;

namespace {

// Whether the client takes JSON; a q of 0 for it is a no.
bool takes_json(const Request& request) {
  if (!request.fields.has(FieldId::accept)) return true;
  std::string_view list = request.fields.joined(FieldId::accept);
  while (const auto element = http::next_element(list)) {
    const std::string_view type = http::media_type(*element);
    const bool fits = http::iequal(type, "application/json") || http::iequal(type, "application/*") || type == "*/*" ||
                      http::iequal(type, "application/problem+json");
    if (!fits) continue;
    const size_t q = element->find("q=0");
    if (q == std::string_view::npos || element->find_first_not_of("0.", q + 2) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace

Response refuse(RequestContext& context, int status, std::string_view code, std::string_view detail) {
  context.outcome = code;
  context.failed_side = Side::client;
  return http::problem(context.arena, status, code, detail, false, context.request_id);
}

Response refuse(RequestContext& context, const Fault& fault) {
  if (fault.field.empty()) return refuse(context, fault.status, context.arena.copy(fault.code), fault.detail);
  return http::field_problem(context, fault.status, fault.code, fault.field, fault.detail);
}

Response not_found(RequestContext& context) { return refuse(context, 404, "not_found", "There is no such link."); }
Response gone(RequestContext& context) { return refuse(context, 410, "gone", "This link was deleted."); }

std::optional<Response> refuse_media(const Request& request, RequestContext& context, bool has_body, bool patch) {
  if (!takes_json(request)) return refuse(context, 406, "not_acceptable", "This resource is application/json.");
  if (!has_body) return std::nullopt;
  const std::string_view type = http::media_type(request.fields.value(FieldId::content_type));
  if (http::iequal(type, "application/json") || (patch && http::iequal(type, "application/merge-patch+json")))
    return std::nullopt;
  Response response = refuse(context, 415, "unsupported_media_type", "The body must be application/json.");
  response.fields.add(FieldId::accept, "application/json");
  return response;
}

std::optional<Response> refuse_unclear(const Request& request, RequestContext& context) {
  const std::string_view coding = request.fields.joined(FieldId::content_encoding);
  if (!coding.empty() && !http::iequal(coding, "identity")) {
    Response response = refuse(context, 415, "unsupported_content_coding", "The body must be sent as it is.");
    response.fields.add(FieldId::accept_encoding, "identity");
    return response;
  }
  std::vector<std::string_view> names;
  std::string_view query = request.query;
  while (const auto parameter = http::next_parameter(query))
    names.push_back(http::decode_component(parameter->key, context.arena, true).value_or(parameter->key));
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice == names.end()) return std::nullopt;
  return http::field_problem(context, 400, "invalid_argument", twice->substr(0, 64), "The parameter is there twice.");
}

Response body_failed(const Error& error, RequestContext& context, std::string_view limit) {
  if (error.code() == Code::resource_exhausted && error.side() == Side::client) {
    return refuse(context, 413, http::kBodyTooLarge, "The body is larger than " + std::string(limit) + ".");
  }
  return http::response_for(error, context);
}

Response json_answer(RequestContext& context, int status, std::string body) {
  Response response(context.arena, status);
  response.fields.add(FieldId::content_type, "application/json");
  response.fields.add(FieldId::cache_control, "no-store");
  response.body = http::Body(std::move(body));
  return response;
}

Response json_answer(RequestContext& context, int status, std::string body, std::string_view etag) {
  Response response = json_answer(context, status, std::move(body));
  response.fields.add_copy(FieldId::etag, etag);
  return response;
}

Response changed_meanwhile(RequestContext& context, std::string_view what) {
  return refuse(context, 412, "precondition_failed",
                context.arena.concat({"The ", what, " was changed meanwhile; read it again."}));
}

Response read_answer(const Request& request, RequestContext& context, std::string_view what, std::string body,
                     std::string_view etag) {
  switch (http::evaluate(request, {.etag = etag, .last_modified = std::nullopt}, 0)) {
    case http::Verdict::failed: return changed_meanwhile(context, what);
    case http::Verdict::not_modified: {
      Response response(context.arena, 304);
      response.fields.add(FieldId::cache_control, "no-store");
      response.fields.add_copy(FieldId::etag, etag);
      return response;
    }
    case http::Verdict::proceed: break;
  }
  return json_answer(context, 200, std::move(body), etag);
}

}  // namespace trellis::services::links
