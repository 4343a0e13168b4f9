#include "services/links/compat/yourls.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/arena.h"
#include "base/json.h"
#include "http/field_text.h"
#include "http/problem.h"
#include "http/target.h"
#include "runtime/loop.h"
#include "services/links/access/access.h"
#include "services/links/answers.h"
#include "services/links/link_book.h"
#include "services/links/link_search.h"
#include "services/links/preview.h"
#include "store/sqlite.h"

namespace trellis::services::links {

using http::FieldId;
using http::Method;
using http::Request;
using http::RequestContext;
using http::Response;

namespace {

constexpr size_t kMostFields = 64;
constexpr size_t kMostLinks = 1000;
constexpr std::string_view kYourlsVersion = "1.10.0";
constexpr const char* kNeedsFormat = "Need either XML or JSON format for stats";

YourlsValue text(std::string name, std::string value) { return {std::move(name), std::move(value), {}}; }
YourlsValue object(std::string name, std::vector<YourlsValue> members) {
  return {std::move(name), {}, std::move(members)};
}

// "2026-03-01 12:34:56"
std::string date_of(int64_t millis) {
  std::string time = format_time(millis).substr(0, 19);
  time[10] = ' ';
  return time;
}

YourlsValue link_value(std::string name, const Link& link, const DomainTable& domains) {
  return object(std::move(name), {text("shorturl", domains.short_url(link.code)), text("url", link.url),
                                  text("title", link.title), text("timestamp", date_of(link.created_at)),
                                  text("ip", ""), text("clicks", std::to_string(link.clicks))});
}

YourlsValue totals_value(std::string name, const LinkTotals& totals) {
  return object(std::move(name), {text("total_links", std::to_string(totals.links)),
                                  text("total_clicks", std::to_string(totals.clicks))});
}

void append_object(std::string& out, const std::vector<YourlsValue>& members) {
  out += '{';
  for (const YourlsValue& each : members) {
    if (out.back() != '{') out += ',';
    append_json(out, each.name);
    out += ':';
    if (each.members.empty()) {
      append_json(out, each.text);
    } else {
      append_object(out, each.members);
    }
  }
  out += '}';
}

void append_elements(std::string& out, const std::vector<YourlsValue>& members) {
  for (const YourlsValue& each : members) {
    out += '<' + each.name + '>';
    if (each.members.empty()) {
      append_html(out, each.text);
    } else {
      append_elements(out, each.members);
    }
    out += "</" + each.name + '>';
  }
}

std::string_view between(std::string_view text, std::string_view begin, std::string_view end) noexcept {
  const size_t at = text.find(begin);
  if (at == std::string_view::npos) return {};
  text.remove_prefix(at + begin.size());
  const size_t until = text.find(end);
  return until == std::string_view::npos ? std::string_view() : text.substr(0, until);
}

std::string_view host_of(std::string_view url) noexcept {
  const size_t at = url.find("//");
  if (at == std::string_view::npos) return url;
  url.remove_prefix(at + 2);
  return url.substr(0, url.find('/'));
}

}  // namespace

// --- Forms ---

std::string YourlsForm::get(std::string_view name) const {
  for (auto at = fields.rbegin(); at != fields.rend(); ++at) {
    if (at->first == name) return at->second;
  }
  return {};
}

void YourlsForm::read_query(std::string_view query) {
  Arena arena;
  while (const auto parameter = http::next_parameter(query)) {
    const auto name = http::decode_component(parameter->key, arena, true);
    const auto value = http::decode_component(parameter->value, arena, true);
    if (name && value && fields.size() < kMostFields) fields.emplace_back(*name, *value);
  }
}

bool YourlsForm::read_multipart(std::string_view body, std::string_view boundary) {
  if (boundary.empty() || boundary.size() > 70) return false;
  const std::string mark = "--" + std::string(boundary);
  if (!body.starts_with(mark)) return false;
  body.remove_prefix(mark.size());
  const std::string next = "\r\n" + mark;
  while (!body.starts_with("--")) {
    if (!body.starts_with("\r\n")) return false;
    body.remove_prefix(2);
    const size_t end = body.find(next);
    const size_t head = body.find("\r\n\r\n");
    if (end == std::string_view::npos || head == std::string_view::npos || head + 4 > end) return false;
    const std::string_view fields_of_part = body.substr(0, head);
    const std::string_view name = between(fields_of_part, " name=\"", "\"");
    const bool file = fields_of_part.find("filename") != std::string_view::npos;
    if (!name.empty() && !file && fields.size() < kMostFields)
      fields.emplace_back(name, body.substr(head + 4, end - head - 4));
    body.remove_prefix(end + next.size());
  }
  return true;
}

// --- Answers ---

std::string yourls_json(const std::vector<YourlsValue>& members) {
  std::string out;
  append_object(out, members);
  return out;
}

std::string yourls_xml(const std::vector<YourlsValue>& members) {
  std::string out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<root>";
  append_elements(out, members);
  out += "</root>\n";
  return out;
}

bool is_callback(std::string_view name) noexcept {
  return !name.empty() && name.size() <= 128 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '$' ||
           c == '.';
  });
}

// --- The API ---

namespace {

std::vector<YourlsValue> forbidden_members(const std::string& why) {
  return {text("message", why), text("errorCode", "403")};
}

// Of "https://go.example.com/abc", of any of our domains, or "abc", which is of this one.
std::string name_of(std::string_view short_url, const Domain& domain, const DomainTable& domains) {
  if (std::string name = domains.name_of_url(short_url); !name.empty()) return name;
  while (short_url.starts_with('/')) short_url.remove_prefix(1);
  return is_code_text(short_url) ? domain.name_of(short_url) : std::string();
}

}  // namespace

YourlsApi::YourlsApi(LinkBook& book, Access& access) : book_(book), access_(access) {}

void YourlsApi::mount(http::Routes& routes) {
  http::RouteDoc doc;
  doc.id = "yourls_api";
  doc.summary = "YOURLS' API";
  doc.description =
      "Takes query and form parameters and answers in the shapes of YOURLS; its own documents describe it.";
  doc.parameters = {{"action", "query", "What to do.",
                     R"({"type":"string","enum":["shorturl","expand","url-stats","stats","db-stats","version"]})"},
                    {"format", "query", "How to answer.",
                     R"({"type":"string","enum":["json","jsonp","xml","simple"],"default":"xml"})"},
                    {"signature", "query", "A key, where they are required; or it is the password of any user name."}};
  doc.answers = {{200, "Done.", ""},
                 {400, "What was asked is not valid.", "Problem"},
                 {403, "There is no key that allows it.", "Problem"},
                 {404, "No such link.", "Problem"}};
  doc.scope = http::Scope::open;  // the key is in a parameter: see refuse()
  routes.add_any(
      "/yourls-api.php", {Method::get, Method::post}, std::move(doc),
      [this](Request& request, RequestContext& context, http::PathParameters) { return answer(request, context); });
}

std::optional<YourlsApi::Reply> YourlsApi::refuse(const Request& request, const RequestContext& context,
                                                  const YourlsForm& form, bool writes,
                                                  std::optional<int64_t>& only) const {
  const auto forbidden = [](std::string why) { return Reply{403, forbidden_members(why), why}; };
  if (!access_.required()) {
    // A GET that makes a link, and nothing that a foreign page could not send: the browser has to say whose it is.
    const std::string_view site = request.fields.find("Sec-Fetch-Site").value_or(std::string_view());
    const std::string_view origin = request.fields.value(FieldId::origin);
    const bool foreign = site == "cross-site" || (!origin.empty() && host_of(origin) != request.authority);
    if (writes && foreign) return forbidden("Pages of other origins may make links only where keys are required");
    return std::nullopt;
  }
  if (!form.get("timestamp").empty()) return forbidden("Signatures with a timestamp are not supported");
  std::string key = form.get("signature");
  if (key.empty()) key = form.get("password");
  const http::Scope wanted = writes ? http::Scope::write : http::Scope::read;
  switch (access_.judge(key, wanted, unix_millis(context.loop.wall()), &only)) {
    case Access::Verdict::allowed:
      if (only && !Access::domain_of_key(*only, *book_.domain_table()))
        return forbidden("The key is limited to a domain that is not here any more");
      return std::nullopt;
    case Access::Verdict::missing: return forbidden("Please log in");
    case Access::Verdict::unknown: return forbidden("Invalid username or password");
    case Access::Verdict::too_little: break;
  }
  return forbidden("The key does not allow this");
}

Task<Result<Response>> YourlsApi::answer(Request& request, RequestContext& context) {
  YourlsForm form;
  form.read_query(request.query);
  if (request.body) {
    auto reading = http::read_all(request.body.get(), kMaxBody, context.deadline);
    const Result<std::string> body = co_await reading;
    if (!body) co_return body_failed(body.error(), context);
    const std::string_view type = request.fields.value(FieldId::content_type);
    if (http::iequal(http::media_type(type), "multipart/form-data")) {
      std::string_view boundary = type.substr(std::min(type.find("boundary="), type.size()));
      boundary.remove_prefix(std::min<size_t>(9, boundary.size()));
      boundary = boundary.substr(0, boundary.find(';'));
      if (boundary.size() > 1 && boundary.front() == '"' && boundary.back() == '"')
        boundary = boundary.substr(1, boundary.size() - 2);
      (void)form.read_multipart(*body, boundary);
    } else {
      form.read_query(*body);
    }
  }
  const std::string format = form.get("format");
  std::string callback = form.get("callback");
  if (callback.empty()) callback = form.get("jsonp");
  const bool writes = form.get("action") == "shorturl";

  Reply reply;
  std::optional<int64_t> only;
  if (std::optional<Reply> refused = refuse(request, context, form, writes, only)) {
    reply = *std::move(refused);
  } else if (!callback.empty() && !is_callback(callback)) {
    callback.clear();
    reply = {400, {text("message", "Invalid callback"), text("errorCode", "400")}, "Invalid callback"};
  } else {
    auto acting = act(context, std::move(form), only);
    Result<Reply> acted = co_await acting;
    if (!acted) co_return http::response_for(acted.error(), context);
    reply = *std::move(acted);
  }
  if (!callback.empty()) reply.members.push_back(text("callback", callback));

  Response response(context.arena, reply.status);
  response.fields.add(FieldId::cache_control, "no-store");
  response.fields.add(FieldId::x_content_type_options, "nosniff");
  if (format == "json") {
    response.fields.add(FieldId::content_type, "application/json");
    response.body = http::Body(yourls_json(reply.members));
  } else if (format == "jsonp") {
    response.fields.add(FieldId::content_type, "application/javascript");
    response.body = http::Body(callback + "(" + yourls_json(reply.members) + ")");
  } else if (format == "simple") {
    response.fields.add(FieldId::content_type, "text/plain; charset=utf-8");
    response.body = http::Body(std::move(reply.simple));
  } else {
    response.fields.add(FieldId::content_type, "application/xml");
    response.body = http::Body(yourls_xml(reply.members));
  }
  co_return response;
}

Task<Result<YourlsApi::Reply>> YourlsApi::act(RequestContext& context, YourlsForm form, std::optional<int64_t> only) {
  const std::string action = form.get("action");
  Task<Result<Reply>> task;
  if (action == "expand" || action == "url-stats") {
    task = expand(context, form.get("shorturl"), action == "url-stats", only);
  } else if (action == "shorturl") {
    task = shorten(context, std::move(form), only);
  } else if (action == "stats" || action == "db-stats") {
    task = stats(context, std::move(form), only);
  }
  if (task) {
    Result<Reply> reply = co_await task;
    co_return reply;
  }
  Reply reply;
  if (action == "version") {
    reply.members = {text("version", std::string(kYourlsVersion))};
    reply.simple = kYourlsVersion;
  } else {
    reply.status = 400;
    reply.simple = "Unknown or missing \"action\" parameter";
    reply.members = {text("errorCode", "400"), text("message", reply.simple)};
  }
  co_return reply;
}

Task<Result<YourlsApi::Reply>> YourlsApi::shorten(RequestContext& context, YourlsForm form,
                                                  std::optional<int64_t> only) {
  const auto failed = [](const char* code, std::string message, int status = 400) {
    Reply reply;
    reply.status = status;
    reply.members = {text("status", "fail"), text("code", code), text("message", std::move(message)),
                     text("errorCode", std::to_string(status)), text("statusCode", std::to_string(status))};
    return reply;
  };
  std::string url = form.get("url");
  if (url.find("://") == std::string::npos && !url.empty()) url = "http://" + url;
  const Result<UrlHost> host = check_url(url);
  if (!host) co_return failed("error:nourl", "Missing or malformed URL");
  const DomainTablePointer domains = book_.domain_table();
  if (domains->own().has(*host)) co_return failed("error:noloop", "URL is a short URL");
  const std::string keyword = form.get("keyword");
  nlohmann::json body = {{"url", url}};
  if (!keyword.empty()) body["alias"] = keyword;
  if (const std::string title = form.get("title"); !title.empty()) body["title"] = title;
  const int64_t now = unix_millis(context.loop.wall());
  auto wanted = read_new_link(body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), domains->own(), now);
  const std::string taken = "Short URL " + keyword + " already exists in database or is reserved";
  if (!wanted && wanted.error().field == "alias") co_return failed("error:keyword", taken);
  if (!wanted) co_return failed("error:nourl", wanted.error().detail);
  if (const auto blocked = book_.refuse_blocked(wanted->set)) co_return failed("error:blocked", blocked->detail, 422);
  if (only) {
    const Domain* domain = domains->find(*only);
    if (!domain) co_return failed("error:db", "The domain of the key was removed", 403);
    wanted->domain = domain->host;
  }
  auto creating = book_.create(*std::move(wanted), {}, now, context.deadline);
  Result<Created> created = co_await creating;
  if (!created) co_return fail(std::move(created).error());
  if (created->kind == Created::Kind::taken) co_return failed("error:keyword", taken);
  const Link& link = created->link;
  Reply reply;
  reply.simple = domains->short_url(link.code);
  reply.members = {text("status", "success"),
                   text("code", ""),
                   text("message", link.url + " added to database"),
                   text("errorCode", ""),
                   text("statusCode", "200"),
                   object("url", {text("keyword", std::string(split_name(link.code).code)), text("url", link.url),
                                  text("title", link.title), text("date", date_of(link.created_at)), text("ip", "")}),
                   text("title", link.title),
                   text("shorturl", reply.simple)};
  co_return reply;
}

Task<Result<YourlsApi::Reply>> YourlsApi::expand(RequestContext& context, std::string short_url, bool stats,
                                                 std::optional<int64_t> only) {
  const DomainTablePointer domains = book_.domain_table();
  const Domain* domain = only ? domains->find(*only) : &domains->default_domain();
  const std::string name = domain ? name_of(short_url, *domain, *domains) : std::string();
  if (only && !name.empty() && &domains->of_link(name) != domain) {
    const std::string why = "The key is limited to the domain " + domain->host;
    co_return Reply{403, forbidden_members(why), why};
  }
  const std::string code(split_name(name).code);
  auto finding = book_.find(name, context.deadline);
  const Result<std::optional<Link>> found = co_await finding;
  if (!found) co_return fail(found.error().clone());
  Reply reply;
  reply.simple = kNeedsFormat;
  if (!*found || (*found)->deleted) {
    reply.status = 404;
    const std::string message = "Error: short URL not found";
    if (stats) {
      reply.members = {text("statusCode", "404"), text("message", message)};
    } else {
      reply.simple = "not found";
      reply.members = {text("keyword", code), text("message", message), text("errorCode", "404")};
    }
    co_return reply;
  }
  const Link& link = **found;
  if (stats) {
    reply.members = {text("statusCode", "200"), text("message", "success"), link_value("link", link, *domains)};
    co_return reply;
  }
  reply.simple = link.url;
  reply.members = {text("keyword", code),      text("shorturl", domains->short_url(link.code)),
                   text("longurl", link.url),  text("title", link.title),
                   text("message", "success"), text("statusCode", "200")};
  co_return reply;
}

Task<Result<YourlsApi::Reply>> YourlsApi::stats(RequestContext& context, YourlsForm form, std::optional<int64_t> only) {
  const bool totals_only = form.get("action") == "db-stats";
  const auto number = [&form](const char* name) {
    const std::string value = form.get(name);
    size_t out = 0;
    std::from_chars(value.data(), value.data() + value.size(), out);
    return out;
  };
  LinkSearch search;
  const std::string filter = form.get("filter");
  search.order = LinkOrder::clicks;
  if (filter == "bottom") search.descending = false;
  if (filter == "last") search.order = LinkOrder::created;
  if (filter == "rand" || filter == "random") search.order = LinkOrder::random;
  search.limit = totals_only ? 0 : std::min(number("limit"), kMostLinks);
  search.offset = number("start");
  search.domain = name_host_of_domain(only, *book_.domain_table());
  struct Both {
    LinkTotals totals;
    LinksFound found;
  };
  auto reading = book_.store().read(
      [search = std::move(search)](store::SqliteConnection& db) -> Result<Both> {
        Both both;
        TRY(both.totals, count_links(db, search.domain));
        if (search.limit > 0) {
          TRY(both.found, search_links(db, search));
        }
        return both;
      },
      context.deadline);
  const Result<Both> both = co_await reading;
  if (!both) co_return fail(both.error().clone());
  Reply reply;
  reply.simple = kNeedsFormat;
  if (totals_only) {
    reply.members = {totals_value("db-stats", both->totals), text("statusCode", "200"), text("message", "success")};
    co_return reply;
  }
  const DomainTablePointer domains = book_.domain_table();
  std::vector<YourlsValue> links;
  for (const Link& link : both->found.links)
    links.push_back(link_value("link_" + std::to_string(links.size() + 1), link, *domains));
  if (!links.empty()) reply.members.push_back(object("links", std::move(links)));
  reply.members.push_back(totals_value("stats", both->totals));
  reply.members.push_back(text("statusCode", "200"));
  reply.members.push_back(text("message", "success"));
  co_return reply;
}

}  // namespace trellis::services::links
