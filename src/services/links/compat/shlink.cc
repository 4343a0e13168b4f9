#include "services/links/compat/shlink.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/json.h"
#include "http/problem.h"
#include "http/target.h"
#include "runtime/loop.h"
#include "services/links/access/access.h"
#include "services/links/answers.h"
#include "services/links/clicks/figures_rows.h"
#include "services/links/compat/shlink_json.h"
#include "services/links/link_book.h"
#include "services/links/link_events.h"
#include "services/links/link_search.h"
#include "store/sqlite.h"

namespace trellis::services::links {

using http::FieldId;
using http::Method;
using http::Request;
using http::RequestContext;
using http::Response;
using http::Scope;

namespace {

constexpr std::string_view kPrefix = "/rest";
constexpr std::string_view kVersion = "4.5.0";  // of the API that is spoken here, for clients that look at it
constexpr size_t kMostItems = 5000;
constexpr size_t kMostTags = 100;  // of one request
constexpr size_t kMostPages = 1'000'000;

// --- Problems ---

constexpr std::string_view kTypes = "https://shlink.io/api/error/";

// `more`: further members, each with a comma before it.
Response problem(RequestContext& context, int status, std::string_view type, std::string_view title,
                 std::string_view detail, std::string_view more = {}) {
  context.outcome = context.arena.copy(type);
  context.failed_side = Side::client;
  std::string body;
  JsonWriter json(body);
  json.begin_object().member("title", title).member("type", std::string(kTypes) + std::string(type));
  json.member("detail", detail).member("status", status);
  body += more;
  body += '}';
  Response response(context.arena, status);
  response.fields.add(FieldId::content_type, "application/problem+json");
  response.fields.add(FieldId::cache_control, "no-store");
  response.body = http::Body(std::move(body));
  return response;
}

std::string member(std::string_view name, std::string_view value) {
  std::string out = ",\"" + std::string(name) + "\":";
  append_json(out, value);
  return out;
}

Response no_link(RequestContext& context, std::string_view code) {
  return problem(context, 404, "short-url-not-found", "Short URL not found",
                 context.arena.concat({"No URL found with short code \"", code, "\""}), member("shortCode", code));
}

Response invalid(RequestContext& context, std::string_view element, std::string_view detail) {
  std::string more = ",\"invalidElements\":[";
  if (!element.empty()) append_json(more, element);
  more += ']';
  return problem(context, 400, "invalid-data", "Invalid data", detail, more);
}
Response invalid(RequestContext& context, const Fault& fault) {
  return invalid(context, shlink_name(fault.field.substr(0, fault.field.find('['))), fault.detail);
}

Response refuse_blocked(RequestContext& context, const Fault& blocked) {
  std::string more = ",\"invalidElements\":[";
  append_json(more, shlink_name(blocked.field));
  more += ']';
  return problem(context, 422, "invalid-data", "Invalid data", blocked.detail, more);
}

Response nothing(RequestContext& context) {
  return problem(context, 404, "not-found", "Not Found", "There is nothing at this address.");
}

Response failed(RequestContext& context, const Error& error) {
  if (error.side() == Side::client && std::string_view(error.what()).starts_with(http::kBodyTooLarge))
    return problem(context, 413, "invalid-data", "Invalid data", "The body is larger than 64 KiB.");
  return http::response_for(error, context);
}

// `domain`: what the key is limited to; null: that is gone.
Response beyond_key(RequestContext& context, const Domain* domain) {
  return problem(context, 403, "invalid-api-key", "Invalid API key",
                 domain ? context.arena.concat({"The key is limited to the domain ", domain->host, "."})
                        : std::string_view("The key is limited to a domain that is not here any more."));
}

Response no_tag(RequestContext& context, std::string_view tag) {
  return problem(context, 404, "tag-not-found", "Tag not found",
                 context.arena.concat({"Tag with name \"", tag, "\" could not be found"}), member("tag", tag));
}

Response no_content(RequestContext& context) { return Response(context.arena, 204); }

// --- Queries ---

struct Query {
  std::vector<std::pair<std::string, std::string>> parameters;

  std::string get(std::string_view name) const {
    for (const auto& [key, value] : parameters) {
      if (key == name) return value;
    }
    return {};
  }
  // "name[]", "name[0]" and "name" repeated are all in use. Each value once.
  std::vector<std::string> list(std::string_view name) const {
    std::vector<std::string> out;
    for (const auto& [key, value] : parameters) {
      const bool same = key.starts_with(name) && (key.size() == name.size() || key[name.size()] == '[');
      if (same && out.size() < kMostTags && std::find(out.begin(), out.end(), value) == out.end()) out.push_back(value);
    }
    return out;
  }
};

Query query_of(const Request& request, Arena& arena) {
  Query out;
  std::string_view rest = request.query;
  while (const auto parameter = http::next_parameter(rest)) {
    const auto key = http::decode_component(parameter->key, arena, true);
    const auto value = http::decode_component(parameter->value, arena, true);
    if (key && value) out.parameters.emplace_back(*key, *value);
  }
  return out;
}

size_t number_of(const std::string& text, size_t fallback, size_t most) noexcept {
  size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1) return fallback;
  return std::min(value, most);
}

struct Paging {
  size_t page = 1;
  size_t items = 10;
  size_t offset() const noexcept { return (page - 1) * items; }
};
Paging paging_of(const Query& query, size_t items) {
  const std::string asked = query.get("itemsPerPage");
  return {number_of(query.get("page"), 1, kMostPages),
          asked == "-1" ? kMostItems : number_of(asked, items, kMostItems)};
}

void append_paging(std::string& out, const Paging& paging, size_t here, int64_t total) {
  const auto items = static_cast<int64_t>(paging.items);
  JsonWriter json(out);
  json.begin_object()
      .member("currentPage", paging.page)
      .member("pagesCount", std::max<int64_t>(1, (total + items - 1) / items));
  json.member("itemsPerPage", paging.items).member("itemsInCurrentPage", here).member("totalItems", total).end_object();
}

// Dates with a time and an offset, or a day alone.
std::expected<std::optional<int64_t>, Fault> date_of(const Query& query, const char* name, bool end) {
  std::string text = query.get(name);
  if (text.empty()) return std::nullopt;
  if (text.size() == 10) text += end ? "T23:59:59Z" : "T00:00:00Z";
  const std::optional<int64_t> time = parse_time(text);
  if (!time) return std::unexpected(Fault{name, "This is no date in the form of ISO 8601."});
  return time;
}

void append_summary(std::string& out, int64_t clicks) {
  JsonWriter json(out);
  json.begin_object().member("total", clicks).member("nonBots", clicks).member("bots", 0).end_object();
}

std::string_view host_of(std::string_view base) noexcept {
  const size_t at = base.find("//");
  return at == std::string_view::npos ? base : base.substr(at + 2);
}

void append_redirects(std::string& out, const Domain& domain) {
  const auto append = [&out](std::string_view name, const std::string& url) {
    out += name;
    if (url.empty()) {
      out += "null";
    } else {
      append_json(out, url);
    }
  };
  append("{\"baseUrlRedirect\":", domain.root_url);
  append(",\"regular404Redirect\":", {});
  append(",\"invalidShortUrlRedirect\":", domain.unknown_url);
  out += '}';
}

}  // namespace

ShlinkApi::ShlinkApi(LinkBook& book, Access& access) : book_(book), access_(access) {}

const Domain* ShlinkApi::domain_of(std::string_view domain, const DomainTable& domains) {
  return domain.empty() || domain == "DEFAULT" ? &domains.default_domain() : domains.find(domain);
}

std::string ShlinkApi::name_of(std::string_view code, const Request& request, RequestContext& context) const {
  const DomainTablePointer domains = book_.domain_table();
  const Domain* domain = domain_of(query_of(request, context.arena).get("domain"), *domains);
  return domain && is_code_text(code) ? domain->name_of(code) : std::string();
}

bool ShlinkApi::Way::is(std::initializer_list<std::string_view> pattern) const noexcept {
  if (pattern.size() != count) return false;
  size_t at = 0;
  for (const std::string_view each : pattern) {
    if (each == "*" ? parts[at].empty() : each != parts[at]) return false;
    ++at;
  }
  return true;
}

// Without keys whoever reaches the node may do everything: then pages of other origins may do nothing.
std::optional<Response> ShlinkApi::refuse_origin(const Request& request, RequestContext& context) const {
  if (access_.required() || !request.fields.has(FieldId::origin) || http::is_safe(request.method)) return std::nullopt;
  if (host_of(request.fields.value(FieldId::origin)) == request.authority) return std::nullopt;
  return problem(context, 403, "invalid-api-key", "Cross-origin request",
                 "Pages of other origins may change links only where keys are required.");
}

std::optional<Response> ShlinkApi::refuse_key(const Request& request, RequestContext& context,
                                              std::optional<int64_t>& only) const {
  const Scope wanted = http::is_safe(request.method) ? Scope::read : Scope::write;
  const std::string_view key = request.fields.find("X-Api-Key").value_or(std::string_view());
  switch (access_.judge(key, wanted, unix_millis(context.loop.wall()), &only)) {
    case Access::Verdict::allowed: return std::nullopt;
    case Access::Verdict::missing:
      return problem(context, 401, "missing-authentication", "Invalid authorization",
                     "Expected one of the following authentication headers, [\"X-Api-Key\"], but none were provided",
                     ",\"expectedHeaders\":[\"X-Api-Key\"]");
    case Access::Verdict::unknown:
      return problem(context, 401, "invalid-api-key", "Invalid API key",
                     "Provided API key does not exist or is invalid.");
    case Access::Verdict::too_little: break;
  }
  return problem(context, 403, "invalid-api-key", "Invalid API key", "The key does not allow this.");
}

std::optional<Response> ShlinkApi::confine(Request& request, RequestContext& context, const Way& way) const {
  const DomainTablePointer domains = book_.domain_table();
  const Domain* domain = Access::domain_of_key(*way.only, *domains);
  const bool of_tags = way.is({"tags"}) && !http::is_safe(request.method);  // which are those of all domains
  if (!domain || of_tags) return beyond_key(context, domain);
  for (const std::string& asked : query_of(request, context.arena).list("domain"))
    if (domain_of(asked, *domains) != domain) return beyond_key(context, domain);
  const std::string_view rest = request.query;
  request.query = context.arena.concat({"domain=", domain->host, rest.empty() ? "" : "&", rest});
  return std::nullopt;
}

Task<Result<Response>> ShlinkApi::handle(Request& request, RequestContext& context) {
  std::string_view rest = request.path.substr(std::min(kPrefix.size(), request.path.size()));
  if (rest.starts_with("/v3/")) {
    rest.remove_prefix(4);
  } else if (rest == "/health") {
    rest.remove_prefix(1);
  } else {
    rest = {};
  }
  Way way;
  while (!rest.empty() && way.count < way.parts.size()) {
    const size_t slash = std::min(rest.find('/'), rest.size());
    const auto part = http::decode_component(rest.substr(0, slash), context.arena);
    way.parts[way.count++] = part.value_or(std::string_view());
    rest.remove_prefix(std::min(slash + 1, rest.size()));
  }
  if (!rest.empty()) way.count = 0;

  Response response(context.arena);
  if (request.method == Method::options) {
    response = no_content(context);
    response.fields.add("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE");
    response.fields.add("Access-Control-Allow-Headers", "X-Api-Key, Content-Type");
    response.fields.add("Access-Control-Max-Age", "3600");
  } else if (std::optional<Response> foreign = refuse_origin(request, context)) {
    response = *std::move(foreign);
  } else {
    std::optional<Response> refused;
    if (!way.is({"health"})) refused = refuse_key(request, context, way.only);
    if (!refused && way.only) refused = confine(request, context, way);
    if (refused) {
      response = *std::move(refused);
    } else {
      auto answering = answer(request, context, way);
      Result<Response> answered = co_await answering;
      if (!answered) co_return fail(std::move(answered).error());
      response = *std::move(answered);
    }
  }
  // Only where a key is needed: elsewhere any page could read what its visitor can reach.
  if (access_.required()) response.fields.add("Access-Control-Allow-Origin", "*");
  co_return response;
}

Task<Result<Response>> ShlinkApi::answer(Request& request, RequestContext& context, Way way) {
  const Method method = request.method == Method::head ? Method::get : request.method;
  const std::string name(way.count > 1 ? way.parts[1] : std::string_view());
  if (method == Method::get) {
    if (way.is({"health"})) {
      std::string body =
          "{\"status\":\"pass\"" + member("version", kVersion) +
          ",\"links\":{\"about\":\"https://shlink.io\",\"project\":\"https://github.com/shlinkio/shlink\"}}";
      Response response = json_answer(context, 200, std::move(body));
      response.fields.set(FieldId::content_type, "application/health+json");
      co_return response;
    }
    if (way.is({"domains"})) co_return domains(context, way.only);
    Task<Result<Response>> task;
    if (way.is({"short-urls"})) task = list(request, context);
    if (way.is({"short-urls", "*"})) task = show(request, context, name);
    if (way.is({"short-urls", "*", "visits"})) task = visits(request, context, name, {}, way.only);
    if (way.is({"short-urls", "*", "redirect-rules"})) task = rules(request, context, name);
    if (way.is({"tags"})) task = tags(request, context, false, way.only);
    if (way.is({"tags", "stats"})) task = tags(request, context, true, way.only);
    if (way.is({"tags", "*", "visits"})) task = visits(request, context, {}, name, way.only);
    if (way.is({"visits"})) task = overview(context, way.only);
    if (way.is({"visits", "non-orphan"})) task = visits(request, context, {}, {}, way.only);
    if (way.is({"domains", "*", "visits"})) {
      const DomainTablePointer domains = book_.domain_table();
      const Domain* domain = domain_of(name, *domains);
      if (way.only && (!domain || domain->id != *way.only)) co_return beyond_key(context, domains->find(*way.only));
      if (!domain) co_return problem(context, 404, "domain-not-found", "Domain not found", "There is no such domain.");
      task = visits(request, context, {}, {}, domain->id);
    }
    if (way.is({"visits", "orphan"})) {
      std::string body = "{\"visits\":{\"data\":[],\"pagination\":";
      append_paging(body, paging_of(query_of(request, context.arena), kMostItems), 0, 0);
      body += "}}";
      co_return json_answer(context, 200, std::move(body));
    }
    if (way.is({"mercure-info"})) {
      co_return problem(context, 501, "mercure-not-configured", "Mercure integration not configured",
                        "This Shlink instance is not integrated with a mercure hub.");
    }
    if (!task) co_return nothing(context);
    Result<Response> answered = co_await task;
    co_return answered;
  }
  Task<Result<Response>> task;
  if (method == Method::post && way.is({"short-urls"})) task = create(request, context, way.only);
  if (method == Method::patch && way.is({"short-urls", "*"})) task = change(request, context, name);
  if (method == Method::delete_ && way.is({"short-urls", "*"})) task = remove(request, context, name);
  if (method == Method::post && way.is({"short-urls", "*", "redirect-rules"})) task = set_rules(request, context, name);
  if (method == Method::put && way.is({"tags"})) task = rename(request, context);
  if (method == Method::delete_ && way.is({"tags"})) task = remove_tags(request, context);
  if (!task) co_return nothing(context);
  Result<Response> answered = co_await task;
  co_return answered;
}

// --- Short URLs ---

Task<Result<Response>> ShlinkApi::list(Request& request, RequestContext& context) {
  const Query query = query_of(request, context.arena);
  const Paging paging = paging_of(query, 10);
  LinkSearch search;
  search.text = query.get("searchTerm");
  search.tags = query.list("tags");
  search.all_tags = query.get("tagsMode") == "all";
  search.without_tags = query.list("excludeTags");
  search.without_all_tags = query.get("excludeTagsMode") == "all";
  const auto from = date_of(query, "startDate", false);
  const auto until = date_of(query, "endDate", true);
  if (!from) co_return invalid(context, from.error());
  if (!until) co_return invalid(context, until.error());
  search.from = *from;
  search.until = *until;
  search.with_visits_left = query.get("excludeMaxVisitsReached") == "true";
  if (query.get("excludePastValidUntil") == "true") search.alive_at = unix_millis(context.loop.wall());
  std::string order = query.get("orderBy");
  if (const size_t dash = order.rfind('-'); dash != std::string::npos) {
    search.descending = order.substr(dash) == "-DESC";
    order.resize(dash);
  } else {
    search.descending = order.empty();
  }
  if (order == "longUrl") search.order = LinkOrder::url;
  if (order == "shortCode") search.order = LinkOrder::code;
  if (order == "title") search.order = LinkOrder::title;
  if (order == "visits" || order == "nonBotVisits") search.order = LinkOrder::clicks;
  search.offset = paging.offset();
  search.limit = paging.items;
  const DomainTablePointer domains = book_.domain_table();
  const std::string asked = query.get("domain");
  const Domain* domain = domain_of(asked, *domains);
  if (!asked.empty() && domain) search.domain = domain->name_host();
  const bool none = !domain;

  LinksFound found;
  if (!none) {
    auto reading = book_.store().read(
        [search = std::move(search)](store::SqliteConnection& db) { return search_links(db, search); },
        context.deadline);
    Result<LinksFound> read = co_await reading;
    if (!read) co_return failed(context, read.error());
    found = *std::move(read);
  }
  std::string body = "{\"shortUrls\":{\"data\":[";
  for (const Link& link : found.links) {
    if (body.back() != '[') body += ',';
    append_shlink_link(body, link, *domains);
  }
  body += "],\"pagination\":";
  append_paging(body, paging, found.links.size(), found.total);
  body += "}}";
  co_return json_answer(context, 200, std::move(body));
}

Task<Result<Response>> ShlinkApi::create(Request& request, RequestContext& context, std::optional<int64_t> only) {
  auto reading = http::read_all(request.body.get(), kMaxBody, context.deadline);
  const Result<std::string> body = co_await reading;
  if (!body) co_return failed(context, body.error());
  auto asked = read_shlink_new(*body);
  if (!asked) co_return invalid(context, asked.error());
  const DomainTablePointer domains = book_.domain_table();
  const Domain* domain = only && asked->domain.empty() ? domains->find(*only) : domain_of(asked->domain, *domains);
  if (only && (!domain || domain->id != *only)) co_return beyond_key(context, domains->find(*only));
  if (!domain) co_return invalid(context, "domain", "There is no such domain here.");
  const int64_t now = unix_millis(context.loop.wall());
  auto wanted = read_new_link(asked->ours, domains->own(), now);
  if (!wanted) co_return invalid(context, wanted.error());
  if (const auto blocked = book_.refuse_blocked(wanted->set)) co_return refuse_blocked(context, *blocked);
  wanted->domain = domain->host;
  const std::string alias = wanted->alias;

  Link link;
  bool found = false;
  if (asked->find_if_exists) {
    auto finding = book_.store().read([url = *wanted->set.url, host = std::string(domain->name_host())](
                                          store::SqliteConnection& db) { return newest_with_url(db, url, host); },
                                      context.deadline);
    Result<std::optional<Link>> same = co_await finding;
    if (!same) co_return failed(context, same.error());
    found = *same && (alias.empty() || (*same)->code == domain->name_of(alias));
    if (found) link = **std::move(same);
  }
  if (!found) {
    auto creating = book_.create(*std::move(wanted), {}, now, context.deadline);
    Result<Created> created = co_await creating;
    if (!created) co_return failed(context, created.error());
    if (created->kind == Created::Kind::taken) {
      co_return problem(context, 400, "non-unique-slug", "Invalid custom slug",
                        context.arena.concat({"Provided slug \"", alias, "\" is already in use."}),
                        member("customSlug", alias));
    }
    link = std::move(created->link);
  }
  std::string out;
  append_shlink_link(out, link, *domains);
  co_return json_answer(context, 200, std::move(out));
}

Task<Result<Response>> ShlinkApi::show(Request& request, RequestContext& context, std::string code) {
  auto reading = book_.find(name_of(code, request, context), context.deadline);
  const Result<std::optional<Link>> link = co_await reading;
  if (!link) co_return failed(context, link.error());
  if (!*link || (*link)->deleted) co_return no_link(context, code);
  std::string out;
  append_shlink_link(out, **link, *book_.domain_table());
  co_return json_answer(context, 200, std::move(out));
}

Task<Result<Response>> ShlinkApi::change(Request& request, RequestContext& context, std::string code) {
  auto reading = http::read_all(request.body.get(), kMaxBody, context.deadline);
  const Result<std::string> body = co_await reading;
  if (!body) co_return failed(context, body.error());
  auto asked = read_shlink_patch(*body);
  if (!asked) co_return invalid(context, asked.error());
  const int64_t now = unix_millis(context.loop.wall());
  auto patch = read_link_patch(*asked, book_.domain_table()->own(), now);
  if (!patch) co_return invalid(context, patch.error());
  if (const auto blocked = book_.refuse_blocked(*patch)) co_return refuse_blocked(context, *blocked);
  auto changing = book_.change(name_of(code, request, context), *std::move(patch), {}, now, context.deadline);
  const Result<Changed> changed = co_await changing;
  if (!changed) co_return failed(context, changed.error());
  if (changed->kind == Changed::Kind::upside_down)
    co_return invalid(context, "validSince", "The link would end before it begins.");
  if (changed->kind != Changed::Kind::changed) co_return no_link(context, code);
  std::string out;
  append_shlink_link(out, changed->link, *book_.domain_table());
  co_return json_answer(context, 200, std::move(out));
}

Task<Result<Response>> ShlinkApi::remove(Request& request, RequestContext& context, std::string code) {
  auto removing = book_.remove(name_of(code, request, context), {}, unix_millis(context.loop.wall()), context.deadline);
  const Result<Changed> removed = co_await removing;
  if (!removed) co_return failed(context, removed.error());
  if (removed->kind != Changed::Kind::changed) co_return no_link(context, code);
  co_return no_content(context);
}

// --- Rules ---

namespace {
std::string rules_body(const Link& link) {
  std::string out = "{\"defaultLongUrl\":";
  append_json(out, link.url);
  out += ",\"redirectRules\":";
  (void)append_shlink_rules(out, link.rules);
  out += '}';
  return out;
}
}  // namespace

Task<Result<Response>> ShlinkApi::rules(Request& request, RequestContext& context, std::string code) {
  auto reading = book_.find(name_of(code, request, context), context.deadline);
  const Result<std::optional<Link>> link = co_await reading;
  if (!link) co_return failed(context, link.error());
  if (!*link || (*link)->deleted) co_return no_link(context, code);
  co_return json_answer(context, 200, rules_body(**link));
}

Task<Result<Response>> ShlinkApi::set_rules(Request& request, RequestContext& context, std::string code) {
  auto reading = http::read_all(request.body.get(), kMaxBody, context.deadline);
  const Result<std::string> body = co_await reading;
  if (!body) co_return failed(context, body.error());
  auto rules = read_shlink_rules(*body);
  if (!rules) co_return invalid(context, rules.error());
  const std::string name = name_of(code, request, context);
  auto finding = book_.find(name, context.deadline);
  const Result<std::optional<Link>> link = co_await finding;
  if (!link) co_return failed(context, link.error());
  if (!*link || (*link)->deleted) co_return no_link(context, code);
  // What the client was not shown it would take away.
  std::string shown;
  if (!append_shlink_rules(shown, (*link)->rules)) {
    co_return problem(context, 409, "invalid-data", "Invalid data",
                      "This link has rules that can be seen and changed with /v1/links only.");
  }
  // Our own reader judges them.
  const std::string ours = "{\"rules\":" + (rules->empty() ? std::string("null") : *rules) + "}";
  const int64_t now = unix_millis(context.loop.wall());
  auto patch = read_link_patch(ours, book_.domain_table()->own(), now);
  if (!patch) co_return invalid(context, "redirectRules", patch.error().detail);
  if (const auto blocked = book_.refuse_blocked(*patch)) co_return refuse_blocked(context, *blocked);
  const std::string etag = etag_of(**link);
  auto changing = book_.change(name, *std::move(patch), {.match = etag}, now, context.deadline);
  const Result<Changed> changed = co_await changing;
  if (!changed) co_return failed(context, changed.error());
  if (changed->kind == Changed::Kind::precondition)
    co_return problem(context, 409, "invalid-data", "Invalid data", "The link was changed meanwhile; read it again.");
  if (changed->kind != Changed::Kind::changed) co_return no_link(context, code);
  co_return json_answer(context, 200, rules_body(changed->link));
}

// --- Tags ---

Task<Result<Response>> ShlinkApi::tags(Request& request, RequestContext& context, bool stats,
                                       std::optional<int64_t> only) {
  const Query query = query_of(request, context.arena);
  const bool with_stats = !stats && query.get("withStats") == "true";
  auto reading = book_.store().read([host = name_host_of_domain(only, *book_.domain_table())](
                                        store::SqliteConnection& db) { return count_tags(db, host); },
                                    context.deadline);
  Result<std::vector<TagCount>> counted = co_await reading;
  if (!counted) co_return failed(context, counted.error());
  std::vector<TagCount>& all = *counted;
  const std::string term = query.get("searchTerm");
  if (!term.empty())
    std::erase_if(all, [&term](const TagCount& each) { return each.tag.find(term) == std::string::npos; });
  const std::string order = query.get("orderBy");
  const auto by = [&order](const TagCount& a, const TagCount& b) {
    if (order.starts_with("shortUrlsCount")) return std::tie(a.links, a.tag) < std::tie(b.links, b.tag);
    if (order.starts_with("visits") || order.starts_with("nonBotVisits"))
      return std::tie(a.clicks, a.tag) < std::tie(b.clicks, b.tag);
    return a.tag < b.tag;
  };
  std::sort(all.begin(), all.end(), by);
  if (order.ends_with("-DESC")) std::reverse(all.begin(), all.end());
  const auto total = static_cast<int64_t>(all.size());
  const Paging paging = paging_of(query, std::max<size_t>(1, std::min(all.size(), kMostItems)));
  const size_t begin = std::min(paging.offset(), all.size());
  const size_t end = std::min(begin + paging.items, all.size());

  const auto append = [&all, begin, end](std::string& out, bool counts) {
    out += '[';
    for (size_t at = begin; at < end; ++at) {
      if (at > begin) out += ',';
      if (!counts) {
        append_json(out, all[at].tag);
        continue;
      }
      out += "{\"tag\":";
      append_json(out, all[at].tag);
      out += ",\"shortUrlsCount\":" + std::to_string(all[at].links) + ",\"visitsSummary\":";
      append_summary(out, all[at].clicks);
      out += '}';
    }
    out += ']';
  };
  std::string body = "{\"tags\":{\"data\":";
  append(body, stats);
  if (with_stats) {
    body += ",\"stats\":";
    append(body, true);
  }
  body += ",\"pagination\":";
  append_paging(body, paging, end - begin, total);
  body += "}}";
  co_return json_answer(context, 200, std::move(body));
}

Task<Result<Response>> ShlinkApi::rename(Request& request, RequestContext& context) {
  auto reading = http::read_all(request.body.get(), kMaxBody, context.deadline);
  const Result<std::string> body = co_await reading;
  if (!body) co_return failed(context, body.error());
  const auto json = nlohmann::json::parse(*body, nullptr, false);
  std::string from;
  std::string to;
  if (json.is_object()) {
    if (const auto found = json.find("oldName"); found != json.end() && found->is_string()) from = *found;
    if (const auto found = json.find("newName"); found != json.end() && found->is_string()) to = *found;
  }
  if (!is_tag(from)) co_return invalid(context, "oldName", "Provided data is not valid");
  if (!is_tag(to)) co_return invalid(context, "newName", "Provided data is not valid");
  const int64_t now = unix_millis(context.loop.wall());
  auto writing = book_.store().write(
      [from, to, events = book_.shared_events(), now](store::SqliteConnection& db) -> Result<Renamed> {
        TRY(const Renamed renamed, rename_tag(db, from, to, now));
        if (renamed == Renamed::yes && from != to) {
          TRY_VOID(events->tell_tag(db, from, to, now));
        }
        return renamed;
      },
      context.deadline);
  const Result<Renamed> renamed = co_await writing;
  if (!renamed) co_return failed(context, renamed.error());
  if (*renamed == Renamed::not_found) co_return no_tag(context, from);
  if (*renamed == Renamed::taken) {
    co_return problem(context, 409, "tag-conflict", "Tag conflict",
                      context.arena.concat({"You cannot rename tag ", from, " to ", to, ", because it already exists"}),
                      member("oldName", from) + member("newName", to));
  }
  co_return no_content(context);
}

Task<Result<Response>> ShlinkApi::remove_tags(Request& request, RequestContext& context) {
  std::vector<std::string> names = query_of(request, context.arena).list("tags");
  const int64_t now = unix_millis(context.loop.wall());
  auto writing = book_.store().write(
      [names = std::move(names), events = book_.shared_events(), now](store::SqliteConnection& db) -> Result<bool> {
        for (const std::string& name : names) {
          TRY_VOID(remove_tag(db, name, now));
          TRY_VOID(events->tell_tag(db, name, {}, now));
        }
        return true;
      },
      context.deadline);
  const Result<bool> removed = co_await writing;
  if (!removed) co_return failed(context, removed.error());
  co_return no_content(context);
}

// --- Visits ---

Task<Result<Response>> ShlinkApi::overview(RequestContext& context, std::optional<int64_t> only) {
  auto reading = book_.store().read([host = name_host_of_domain(only, *book_.domain_table())](
                                        store::SqliteConnection& db) { return count_links(db, host); },
                                    context.deadline);
  const Result<LinkTotals> totals = co_await reading;
  if (!totals) co_return failed(context, totals.error());
  std::string body = "{\"visits\":{\"nonOrphanVisits\":";
  append_summary(body, totals->clicks);
  body += ",\"orphanVisits\":";
  append_summary(body, 0);
  body += "}}";
  co_return json_answer(context, 200, std::move(body));
}

// Visits are not kept one by one: each stands here with the hour in which it was counted, and with nothing of who it
// was.
Task<Result<Response>> ShlinkApi::visits(Request& request, RequestContext& context, std::string code, std::string tag,
                                         std::optional<int64_t> domain) {
  const Query query = query_of(request, context.arena);
  const Paging paging = paging_of(query, kMostItems);
  const auto from = date_of(query, "startDate", false);
  const auto until = date_of(query, "endDate", true);
  if (!from) co_return invalid(context, from.error());
  if (!until) co_return invalid(context, until.error());
  constexpr int64_t kHour = 3'600'000;
  HourSearch search;
  search.tag = tag;
  if (domain) {
    const DomainTablePointer domains = book_.domain_table();
    search.domain = name_host_of_domain(domain, *domains);
    if (tag.empty()) search.link = domains->all().size() > 1 ? links_of_domain(*domain) : kAllLinks;
  }
  if (*from) search.from = (**from + kHour - 1) / kHour;
  if (*until) search.until = **until / kHour;
  if (!code.empty()) {
    auto finding = book_.find(name_of(code, request, context), context.deadline);
    const Result<std::optional<Link>> link = co_await finding;
    if (!link) co_return failed(context, link.error());
    if (!*link || (*link)->deleted) co_return no_link(context, code);
    search.link = (*link)->id;
  }
  using Hours = std::optional<std::vector<HourClicks>>;  // nothing: there is no such tag
  auto reading = book_.store().read(
      [search](store::SqliteConnection& db) -> Result<Hours> {
        if (!search.tag.empty()) {
          TRY(const bool known, has_tag(db, search.tag, search.domain));
          if (!known) return Hours();
        }
        TRY(std::vector<HourClicks> hours, clicks_by_hour(db, search));
        return Hours(std::move(hours));
      },
      context.deadline);
  const Result<Hours> hours = co_await reading;
  if (!hours) co_return failed(context, hours.error());
  if (!*hours) co_return no_tag(context, tag);
  const bool no_bots = query.get("excludeBots") == "true";
  int64_t total = 0;
  auto skip = static_cast<int64_t>(paging.offset());
  size_t here = 0;
  std::string body = "{\"visits\":{\"data\":[";
  const auto append = [&](int64_t hour, int64_t clicks, bool bot) {
    total += clicks;
    const int64_t skipped = std::min(skip, clicks);
    skip -= skipped;
    const std::string one =
        "{\"referer\":\"\",\"date\":\"" + shlink_time(hour * kHour) +
        "\",\"userAgent\":\"\",\"visitLocation\":null,\"potentialBot\":" + (bot ? "true" : "false") +
        ",\"visitedUrl\":\"\",\"redirectUrl\":null}";
    for (int64_t at = skipped; at < clicks && here < paging.items; ++at, ++here) {
      if (body.back() != '[') body += ',';
      body += one;
    }
  };
  for (const HourClicks& hour : **hours) {
    append(hour.hour, hour.people, false);
    if (!no_bots) append(hour.hour, hour.bots, true);
  }
  body += "],\"pagination\":";
  append_paging(body, paging, here, total);
  body += "}}";
  co_return json_answer(context, 200, std::move(body));
}

Response ShlinkApi::domains(RequestContext& context, std::optional<int64_t> only) const {
  const DomainTablePointer domains = book_.domain_table();
  std::string body = "{\"domains\":{\"data\":[";
  for (const Domain& domain : domains->all()) {
    if (only && domain.id != *only) continue;
    if (body.back() != '[') body += ',';
    body += "{\"domain\":";
    append_json(body, domain.host);
    body += domain.is_default() ? ",\"isDefault\":true" : ",\"isDefault\":false";
    body += ",\"redirects\":";
    append_redirects(body, domain);
    body += '}';
  }
  body += "],\"defaultRedirects\":";
  const Domain* own = only ? domains->find(*only) : nullptr;
  append_redirects(body, own ? *own : domains->default_domain());
  body += "}}";
  return json_answer(context, 200, std::move(body));
}

}  // namespace trellis::services::links
