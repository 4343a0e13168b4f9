// The API of links: JSON in, JSON out, the link book in between.
#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <utility>

#include "base/json.h"
#include "http/preconditions.h"
#include "http/problem.h"
#include "http/target.h"
#include "services/links/answers.h"
#include "services/links/domains/domain_json.h"
#include "services/links/idempotency.h"
#include "services/links/link_json.h"
#include "services/links/links.h"

namespace trellis::services::links {

using http::FieldId;
using http::Request;
using http::RequestContext;
using http::Response;

namespace {

constexpr size_t kMaxSearch = 200;

std::expected<NewLink, Fault> read_wanted(std::string_view body, std::string_view query, const LinkBook& book,
                                          int64_t now, Arena& arena) {
  const DomainTablePointer domains = book.domain_table();
  const auto asked = domain_of_query(query, *domains, arena);
  if (!asked) return std::unexpected(asked.error());
  auto wanted = read_new_link(body, domains->own(), now);
  if (!wanted) return wanted;
  if (std::optional<Fault> wrong = settle_domain(*wanted, *domains, *asked)) return std::unexpected(*std::move(wrong));
  if (std::optional<Fault> blocked = book.refuse_blocked(wanted->set)) return std::unexpected(*std::move(blocked));
  return wanted;
}

Response made_answer(RequestContext& context, Replay answer) {
  Response response = json_answer(context, answer.status, std::move(answer.body), answer.etag);
  response.fields.add(FieldId::location, context.arena.copy(path_of_link(answer.code)));
  return response;
}

Response changed_answer(RequestContext& context, Changed::Kind kind) {
  switch (kind) {
    case Changed::Kind::not_found: return not_found(context);
    case Changed::Kind::gone: return gone(context);
    case Changed::Kind::precondition: return changed_meanwhile(context, "link");
    case Changed::Kind::upside_down:
      return http::field_problem(context, 400, "invalid_argument", "not_before",
                                 "The link would end before it begins.");
    case Changed::Kind::changed: break;
  }
  return Response(context.arena, 204);
}

}  // namespace

Response LinksService::link_answer(RequestContext& context, int status, const Link& link) const {
  std::string body;
  append_link(body, link, *book_->domain_table());
  return json_answer(context, status, std::move(body), etag_of(link));
}

Task<Result<Response>> LinksService::create(Request& request, RequestContext& context) {
  if (std::optional<Response> refused = refuse_media(request, context, true, false)) co_return *std::move(refused);
  if (std::optional<Response> refused = refuse_key(request, context)) co_return *std::move(refused);
  auto reading = http::read_all(request.body.get(), kMaxBody, context.deadline);
  Result<std::string> body = co_await reading;
  if (!body) co_return body_failed(body.error(), context);
  const int64_t now = unix_millis(context.loop.wall());
  auto wanted = read_wanted(*body, request.query, *book_, now, context.arena);
  if (!wanted) {
    auto looking = first_answer(request, *std::move(body), *book_, now, context.deadline);
    Result<std::optional<Replay>> first = co_await looking;
    if (!first) co_return http::response_for(first.error(), context);
    if (*first) co_return made_answer(context, **std::move(first));
    co_return refuse(context, wanted.error());
  }

  auto keying = key_of(request, *std::move(body), book_->passwords(), context.deadline);
  Result<IdempotencyKey> key = co_await keying;
  if (!key) co_return http::response_for(key.error(), context);
  auto creating = book_->create(*std::move(wanted), *std::move(key), now, context.deadline);
  Result<Created> created = co_await creating;
  if (!created) co_return http::response_for(created.error(), context);
  switch (created->kind) {
    case Created::Kind::created:
    case Created::Kind::exists:
    case Created::Kind::replayed: break;
    case Created::Kind::key_reused: co_return key_reused(context);
    case Created::Kind::taken:
      co_return http::field_problem(context, 409, "already_exists", "alias", "This alias is taken.");
  }
  co_return made_answer(context, std::move(created->answer));
}

Task<Result<Response>> LinksService::list(Request& request, RequestContext& context) {
  if (std::optional<Response> refused = refuse_media(request, context, false, false)) co_return *std::move(refused);
  size_t limit = 20;
  int64_t before = INT64_MAX;
  LinkFilter filter;
  const DomainTablePointer domains = book_->domain_table();
  std::string_view query = request.query;
  while (const auto parameter = http::next_parameter(query)) {
    const auto name = http::decode_component(parameter->key, context.arena, true);
    const auto value = http::decode_component(parameter->value, context.arena, true);
    if (!name || !value)
      co_return refuse(context, 400, "invalid_argument", "The query is not percent-encoded as it should be.");
    if (*name == "limit") {
      const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), limit);
      if (error != std::errc() || end != value->data() + value->size() || limit < 1 || limit > 100) {
        co_return http::field_problem(context, 400, "invalid_argument", "limit",
                                      "The limit is a number from 1 to 100.");
      }
    } else if (*name == "cursor") {
      const std::optional<int64_t> id = id_of_cursor(*value);
      if (!id)
        co_return http::field_problem(context, 400, "invalid_argument", "cursor", "This cursor was not made here.");
      before = *id;
    } else if (*name == "q") {
      if (value->size() > kMaxSearch)
        co_return http::field_problem(context, 400, "invalid_argument", "q", "The search is too long.");
      filter.search = *value;
    } else if (*name == "tag") {
      if (!is_tag(*value)) co_return http::field_problem(context, 400, "invalid_argument", "tag", "This is no tag.");
      filter.tag = *value;
    } else if (*name == "domain") {
      const auto named = named_domain(*value, *domains);
      if (!named) co_return refuse(context, named.error());
      filter.domain = (*named)->name_host();
    } else {
      co_return http::field_problem(context, 400, "unknown_parameter", name->substr(0, 64),
                                    "There is limit, cursor, q, tag and domain.");
    }
  }
  auto reading = book_->list(std::move(filter), before, limit, context.deadline);
  const Result<Page> page = co_await reading;
  if (!page) co_return http::response_for(page.error(), context);
  std::string body = "{\"items\":[";
  for (const Link& link : page->links) {
    if (body.back() != '[') body += ',';
    append_link(body, link, *domains);
  }
  body += "],\"next\":";
  if (page->next) {
    append_json(body, cursor_of(*page->next));
  } else {
    body += "null";
  }
  body += '}';
  co_return json_answer(context, 200, std::move(body));
}

Task<Result<Response>> LinksService::show(Request& request, RequestContext& context, std::string_view code) {
  if (std::optional<Response> refused = refuse_media(request, context, false, false)) co_return *std::move(refused);
  if (!is_code_text(code)) co_return not_found(context);
  auto name = name_of_request(code, request.query, *book_->domain_table(), context.arena);
  if (!name) co_return refuse(context, name.error());
  auto reading = book_->find(*std::move(name), context.deadline);
  const Result<std::optional<Link>> link = co_await reading;
  if (!link) co_return http::response_for(link.error(), context);
  if (!*link) co_return not_found(context);
  if ((*link)->deleted) co_return gone(context);
  std::string body;
  append_link(body, **link, *book_->domain_table());
  co_return read_answer(request, context, "link", std::move(body), etag_of(**link));
}

Task<Result<Response>> LinksService::change(Request& request, RequestContext& context, std::string_view code) {
  if (std::optional<Response> refused = refuse_media(request, context, true, true)) co_return *std::move(refused);
  if (!is_code_text(code)) co_return not_found(context);
  auto name = name_of_request(code, request.query, *book_->domain_table(), context.arena);
  if (!name) co_return refuse(context, name.error());
  auto reading = http::read_all(request.body.get(), kMaxBody, context.deadline);
  Result<std::string> body = co_await reading;
  if (!body) co_return body_failed(body.error(), context);
  const int64_t now = unix_millis(context.loop.wall());
  auto wanted = read_link_patch(*body, book_->domain_table()->own(), now);
  if (!wanted) co_return refuse(context, wanted.error());
  if (const auto blocked = book_->refuse_blocked(*wanted)) co_return refuse(context, *blocked);

  auto changing =
      book_->change(*std::move(name), *std::move(wanted), http::EtagConditions::of(request), now, context.deadline);
  const Result<Changed> changed = co_await changing;
  if (!changed) co_return http::response_for(changed.error(), context);
  if (changed->kind != Changed::Kind::changed) co_return changed_answer(context, changed->kind);
  co_return link_answer(context, 200, changed->link);
}

Task<Result<Response>> LinksService::remove(Request& request, RequestContext& context, std::string_view code) {
  if (!is_code_text(code)) co_return not_found(context);
  auto name = name_of_request(code, request.query, *book_->domain_table(), context.arena);
  if (!name) co_return refuse(context, name.error());
  const int64_t now = unix_millis(context.loop.wall());
  auto removing = book_->remove(*std::move(name), http::EtagConditions::of(request), now, context.deadline);
  const Result<Changed> removed = co_await removing;
  if (!removed) co_return http::response_for(removed.error(), context);
  co_return changed_answer(context, removed->kind);
}

Task<Result<Response>> LinksService::openapi(Request&, RequestContext& context) {
  Response response(context.arena, 200);
  response.fields.add(FieldId::content_type, "application/json");
  response.body = http::Body::of_static(openapi_);
  co_return response;
}

}  // namespace trellis::services::links
