// The API of links: JSON in, JSON out, the store in between. Every change invalidates the code in the cache before it
// is answered.
#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <utility>

#include "base/hash.h"
#include "base/json.h"
#include "http/problem.h"
#include "http/target.h"
#include "services/links/link_json.h"
#include "services/links/links.h"
#include "services/links/rows.h"
#include "store/sqlite.h"

namespace trellis::services::links {

using http::FieldId;
using http::Request;
using http::RequestContext;
using http::Response;

namespace {

constexpr uint64_t kMaxBody = 64 * 1024;
constexpr size_t kMaxKey = 255;
constexpr size_t kMaxSearch = 200;
constexpr int64_t kKeysLast = 24 * 3600 * 1000;  // milliseconds

Response refuse(RequestContext& context, int status, std::string_view code, std::string_view detail) {
  context.outcome = code;
  context.failed_side = Side::client;
  return http::problem(context.arena, status, code, detail, false, context.request_id);
}

Response refuse(RequestContext& context, const Fault& fault) {
  if (fault.field.empty()) return refuse(context, 400, context.arena.copy(fault.code), fault.detail);
  return http::field_problem(context, 400, fault.code, fault.field, fault.detail);
}

Response not_found(RequestContext& context) { return refuse(context, 404, "not_found", "There is no such link."); }
Response gone(RequestContext& context) { return refuse(context, 410, "gone", "This link was deleted."); }

std::string_view media_type(std::string_view value) noexcept {
  value = value.substr(0, value.find(';'));
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  return value;
}

// Whether the client takes JSON; a q of 0 for it is a no.
bool takes_json(const Request& request) {
  if (!request.fields.has(FieldId::accept)) return true;
  std::string_view list = request.fields.joined(FieldId::accept);
  while (const auto element = http::next_element(list)) {
    const std::string_view type = media_type(*element);
    const bool fits = http::iequal(type, "application/json") || http::iequal(type, "application/*") || type == "*/*" ||
                      http::iequal(type, "application/problem+json");
    if (!fits) continue;
    const size_t q = element->find("q=0");
    if (q == std::string_view::npos || element->find_first_not_of("0.", q + 2) != std::string_view::npos) return true;
  }
  return false;
}

std::optional<Response> refuse_media(const Request& request, RequestContext& context, bool has_body, bool patch) {
  if (!takes_json(request)) return refuse(context, 406, "not_acceptable", "This resource is application/json.");
  if (!has_body) return std::nullopt;
  const std::string_view type = media_type(request.fields.value(FieldId::content_type));
  if (http::iequal(type, "application/json") || (patch && http::iequal(type, "application/merge-patch+json")))
    return std::nullopt;
  Response response = refuse(context, 415, "unsupported_media_type", "The body must be application/json.");
  response.fields.add(FieldId::accept, "application/json");
  return response;
}

Response body_failed(const Error& error, RequestContext& context) {
  if (error.code() == Code::resource_exhausted && error.side() == Side::client) {
    return refuse(context, 413, http::kBodyTooLarge, "The body is larger than 64 KiB.");
  }
  return http::response_for(error, context);
}

// Both halves of a 128-bit digest of what was asked.
std::string digest_of(std::string_view body) {
  const uint64_t halves[2] = {hash64(body, 0x6c696e6b73), hash64(body, 0x7265706c6179)};
  return std::string(reinterpret_cast<const char*>(halves), sizeof(halves));
}

bool is_key(std::string_view key) noexcept {
  return !key.empty() && key.size() <= kMaxKey &&
         std::all_of(key.begin(), key.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

// The list of an If-Match field: "*" or the tag itself, compared strongly (RFC 9110 §13.1.1).
bool etag_listed(std::string_view list, std::string_view etag) {
  while (const auto element = http::next_element(list)) {
    if (*element == "*" || *element == etag) return true;
  }
  return false;
}

Response json_answer(RequestContext& context, int status, std::string body) {
  Response response(context.arena, status);
  response.fields.add(FieldId::content_type, "application/json");
  response.fields.add(FieldId::cache_control, "no-store");
  response.body = http::Body(std::move(body));
  return response;
}

struct Created {
  enum class Kind : uint8_t { created, replayed, mismatch, taken } kind = Kind::created;
  Replay replay;
};

struct Changed {
  enum class Kind : uint8_t { changed, not_found, gone, precondition, upside_down } kind = Kind::changed;
  Link link;
};

}  // namespace

Response LinksService::link_answer(RequestContext& context, int status, const Link& link) const {
  std::string body;
  append_link(body, link, config_.base_url);
  Response response = json_answer(context, status, std::move(body));
  response.fields.add_copy(FieldId::etag, etag_of(link));
  return response;
}

Task<Result<Response>> LinksService::create(Request& request, RequestContext& context) {
  if (std::optional<Response> refused = refuse_media(request, context, true, false)) co_return *std::move(refused);
  const std::string key(request.fields.value(FieldId::idempotency_key));
  if (request.fields.has(FieldId::idempotency_key) &&
      (!is_key(key) || request.fields.count(FieldId::idempotency_key) > 1)) {
    co_return refuse(context, 400, "invalid_idempotency_key",
                     "An Idempotency-Key is 1 to 255 visible characters, once.");
  }
  auto reading = http::read_all(request.body.get(), kMaxBody, context.deadline);
  Result<std::string> body = co_await reading;
  if (!body) co_return body_failed(body.error(), context);
  const int64_t now = unix_millis(context.loop.wall());
  auto wanted = read_new_link(*body, own_, now);
  if (!wanted) co_return refuse(context, wanted.error());

  auto taking = ids_->take(context.deadline);
  const Result<uint64_t> id = co_await taking;
  if (!id) co_return http::response_for(id.error(), context);
  Link link;
  link.id = static_cast<int64_t>(*id);
  link.code = wanted->alias.empty() ? codes_->code_of(*id) : std::move(wanted->alias);
  link.status = config_.status;
  link.created_at = link.updated_at = now;
  wanted->set.apply_to(link);
  const bool custom = codes_->counter_of(link.code) != *id;
  const std::optional<uint64_t> burns = custom ? codes_->counter_of(link.code) : std::nullopt;

  Replay replay;
  replay.request = digest_of(*body);
  replay.status = 201;
  replay.code = link.code;
  replay.etag = etag_of(link);
  append_link(replay.body, link, config_.base_url);

  // Somebody may have asked for the code before it was a link.
  auto remember = [targets = targets_, code = link.code, target = target_of(link),
                   stamp = targets_->stamp(link.code)](const Result<Created>& done) mutable {
    if (done && done->kind == Created::Kind::created)
      targets->put(code, std::move(target), Loop::current().now(), stamp);
  };
  auto insert = [link, burns, key, replay, now](store::SqliteConnection& db) -> Result<Created> {
    if (!key.empty()) {
      TRY(std::optional<Replay> earlier, find_replay(db, key, now - kKeysLast));
      if (earlier && earlier->request != replay.request) return Created{Created::Kind::mismatch, {}};
      if (earlier) return Created{Created::Kind::replayed, *std::move(earlier)};
    }
    TRY(const bool inserted, insert_link(db, link, burns));
    if (!inserted) return Created{Created::Kind::taken, {}};
    if (!key.empty()) {
      TRY_VOID(keep_replay(db, key, replay, now));
    }
    return Created{Created::Kind::created, {}};
  };
  auto writing = store_.write(std::move(insert), context.deadline, 512 + body->size() * (key.empty() ? 1 : 2),
                              std::move(remember));
  Result<Created> written = co_await writing;
  if (!written) co_return http::response_for(written.error(), context);
  switch (written->kind) {
    case Created::Kind::created: break;
    case Created::Kind::replayed: replay = std::move(written->replay); break;
    case Created::Kind::mismatch:
      co_return refuse(context, 422, "idempotency_key_reused", "This Idempotency-Key was used with another body.");
    case Created::Kind::taken:
      if (custom) co_return http::field_problem(context, 409, "already_exists", "alias", "This alias is taken.");
      co_return http::response_for(Error(Code::internal, "a code was made twice").from(Side::self), context);
  }
  Response response = json_answer(context, replay.status, std::move(replay.body));
  response.fields.add(FieldId::location, context.arena.concat({"/v1/links/", replay.code}));
  response.fields.add_copy(FieldId::etag, replay.etag);
  co_return response;
}

Task<Result<Response>> LinksService::list(Request& request, RequestContext& context) {
  if (std::optional<Response> refused = refuse_media(request, context, false, false)) co_return *std::move(refused);
  size_t limit = 20;
  int64_t before = INT64_MAX;
  std::string search;
  std::string tag;
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
      search = *value;
    } else if (*name == "tag") {
      if (!is_tag(*value)) co_return http::field_problem(context, 400, "invalid_argument", "tag", "This is no tag.");
      tag = *value;
    } else {
      co_return http::field_problem(context, 400, "unknown_parameter", name->substr(0, 64),
                                    "There is limit, cursor, q and tag.");
    }
  }
  auto reading = store_.read([before, limit, search = std::move(search), tag = std::move(tag)](
                                 store::SqliteConnection& db) { return list_links(db, before, limit, search, tag); },
                             context.deadline);
  const Result<Page> page = co_await reading;
  if (!page) co_return http::response_for(page.error(), context);
  std::string body = "{\"items\":[";
  for (const Link& link : page->links) {
    if (body.back() != '[') body += ',';
    append_link(body, link, config_.base_url);
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
  auto reading = store_.read([name = std::string(code)](store::SqliteConnection& db) { return find_link(db, name); },
                             context.deadline);
  const Result<std::optional<Link>> link = co_await reading;
  if (!link) co_return http::response_for(link.error(), context);
  if (!*link) co_return not_found(context);
  if ((*link)->deleted) co_return gone(context);
  co_return link_answer(context, 200, **link);
}

Task<Result<Response>> LinksService::change(Request& request, RequestContext& context, std::string_view code) {
  if (std::optional<Response> refused = refuse_media(request, context, true, true)) co_return *std::move(refused);
  if (!is_code_text(code)) co_return not_found(context);
  auto reading = http::read_all(request.body.get(), kMaxBody, context.deadline);
  Result<std::string> body = co_await reading;
  if (!body) co_return body_failed(body.error(), context);
  const int64_t now = unix_millis(context.loop.wall());
  auto wanted = read_link_patch(*body, own_, now);
  if (!wanted) co_return refuse(context, wanted.error());

  // `request` outlives this coroutine but not the operation, which runs to its end even if the client leaves: it gets
  // its own copy.
  const bool conditional = request.fields.has(FieldId::if_match);
  std::string condition(conditional ? request.fields.joined(FieldId::if_match) : std::string_view());
  auto update = [patch = *std::move(wanted), name = std::string(code), conditional, condition = std::move(condition),
                 now](store::SqliteConnection& db) -> Result<Changed> {
    TRY(std::optional<Link> link, find_link(db, name));
    if (!link) return Changed{Changed::Kind::not_found, {}};
    if (link->deleted) return Changed{Changed::Kind::gone, {}};
    if (conditional && !etag_listed(condition, etag_of(*link))) return Changed{Changed::Kind::precondition, {}};
    if (!patch.empty()) {
      patch.apply_to(*link);
      if (link->not_before && link->expires_at && *link->not_before >= *link->expires_at)
        return Changed{Changed::Kind::upside_down, {}};
      ++link->version;
      link->updated_at = std::max(now, link->updated_at);
      TRY_VOID(update_link(db, *link));
    }
    return Changed{Changed::Kind::changed, *std::move(link)};
  };
  auto forget = [targets = targets_, name = std::string(code)](const Result<Changed>&) { targets->invalidate(name); };
  auto writing = store_.write(std::move(update), context.deadline, 512 + body->size(), std::move(forget));
  const Result<Changed> changed = co_await writing;
  if (!changed) co_return http::response_for(changed.error(), context);
  switch (changed->kind) {
    case Changed::Kind::not_found: co_return not_found(context);
    case Changed::Kind::gone: co_return gone(context);
    case Changed::Kind::precondition:
      co_return refuse(context, 412, "precondition_failed", "The link was changed meanwhile; read it again.");
    case Changed::Kind::upside_down:
      co_return http::field_problem(context, 400, "invalid_argument", "not_before",
                                    "The link would end before it begins.");
    case Changed::Kind::changed: break;
  }
  co_return link_answer(context, 200, changed->link);
}

Task<Result<Response>> LinksService::remove(Request& request, RequestContext& context, std::string_view code) {
  if (!is_code_text(code)) co_return not_found(context);
  const int64_t now = unix_millis(context.loop.wall());
  const bool conditional = request.fields.has(FieldId::if_match);
  std::string condition(conditional ? request.fields.joined(FieldId::if_match) : std::string_view());
  auto bury = [name = std::string(code), conditional, condition = std::move(condition),
               now](store::SqliteConnection& db) -> Result<Changed> {
    TRY(std::optional<Link> link, find_link(db, name));
    if (!link) return Changed{Changed::Kind::not_found, {}};
    if (link->deleted) return Changed{Changed::Kind::gone, {}};
    if (conditional && !etag_listed(condition, etag_of(*link))) return Changed{Changed::Kind::precondition, {}};
    TRY_VOID(bury_link(db, link->id, now));
    return Changed{Changed::Kind::changed, {}};
  };
  auto forget = [targets = targets_, name = std::string(code)](const Result<Changed>&) { targets->invalidate(name); };
  auto writing = store_.write(std::move(bury), context.deadline, 512, std::move(forget));
  const Result<Changed> changed = co_await writing;
  if (!changed) co_return http::response_for(changed.error(), context);
  switch (changed->kind) {
    case Changed::Kind::not_found: co_return not_found(context);
    case Changed::Kind::gone: co_return gone(context);
    case Changed::Kind::precondition:
      co_return refuse(context, 412, "precondition_failed", "The link was changed meanwhile; read it again.");
    case Changed::Kind::upside_down:
    case Changed::Kind::changed: break;
  }
  co_return Response(context.arena, 204);
}

Task<Result<Response>> LinksService::openapi(Request&, RequestContext& context) {
  Response response(context.arena, 200);
  response.fields.add(FieldId::content_type, "application/json");
  response.body = http::Body::of_static(openapi_);
  co_return response;
}

}  // namespace trellis::services::links
