#include "app/import/nginx/content.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "app/import/nginx/conditions.h"
#include "app/import/nginx/fields.h"
#include "app/import/nginx/forward.h"
#include "app/import/numbers.h"
#include "http/fields.h"
#include "proxy/files/mime.h"
#include "proxy/filters/addresses.h"

namespace trellis::app {

namespace {

using How = NginxLocation::How;

constexpr std::string_view kUnknownType = "application/octet-stream";

// The comparison as part of a match; false when no match says it.
bool add_to_match(const NginxComparison& one, MatchDraft& match) {
  const std::string& variable = one.variable;
  if (one.value == "*") return false;
  if (variable == "$request_method") {
    match.methods = {one.value};
  } else if (variable.starts_with("$http_") && variable.size() > 6) {
    std::string name = variable.substr(6);
    std::ranges::replace(name, '_', '-');
    match.headers = {{name, one.value}};
  } else if (variable.starts_with("$arg_") && variable.size() > 5) {
    match.query = {{variable.substr(5), one.value}};
  } else {
    return false;
  }
  return true;
}

void tell_condition(const NginxDirective& one, const NginxSettings& settings, const char* why, const char* instead,
                    Remarks& remarks) {
  if (!guard_of(one, settings.usually).empty()) return;  // has been told
  const std::string refused = refuses(one) ? "what it refused is let through; " : "";
  remarks.left_out(one.at, one.name, why, refused + instead);
}

}  // namespace

std::vector<RouteDraft> NginxContent::conditions_of_server() {
  std::vector<RouteDraft> out;
  for (const NginxDirective& one : server_.block.block) {
    if (one.name != "if" || methods_of(one)) continue;
    const NginxDirective* returned = return_of(one);
    const std::optional<NginxComparison> comparison = comparison_of(one);
    const bool host = comparison && (comparison->variable == "$host" || comparison->variable == "$http_host");
    const bool scheme = comparison && comparison->variable == "$scheme";
    if (!returned || (!host && !scheme)) {
      tell_condition(one, server_.settings, "only a comparison of $host with one name, and a return, is known here",
                     "write a route: match.host, methods, headers, query", remarks_);
      continue;
    }
    if (scheme && (comparison->value == "https") != server_.tls) continue;  // never holds
    RouteDraft route = route_from(one);
    route.match.path = "/**";
    if (host) route.match.host = comparison->value;
    answer(*returned, server_.settings, route);
    out.push_back(std::move(route));
  }
  return out;
}

void NginxContent::fill(const NginxLocation& location, RouteDraft& route) {
  const NginxDirective& block = *location.block;
  const NginxSettings& settings = location.settings;
  const bool server = &block == &server_.block;                // whose own directives stand beside the locations
  if (block.find("internal") && location.how != How::named) {  // before anything of it is asked
    route.to = "{ fixed: { status: 404 } }";
    return;
  }
  for (const NginxDirective& one : block.block) {
    if (one.name == "if" && !server && !methods_of(one)) condition_within(one, location);
  }
  if (settings.guards_returns()) {
    route = refused_route(route, *settings.guards.begin());
    return;
  }
  if (const NginxDirective* returned = block.find("return"); returned && !server) {
    for (const NginxDirective& one : block.block) {
      if (&one == returned) break;
      if (one.name == "rewrite")
        remarks_.left_out(one.at, one.name, "what it moves gets the answer of the return behind it",
                          "write a route with a redirect or with rewrite: { strip_prefix, add_prefix }");
    }
    answer(*returned, settings, route, location.how == How::regex ? std::string_view() : location.path);
    return;
  }
  if (!rewritten(location, route)) return;
  if (!settings.guards.empty()) {
    route = refused_route(route, *settings.guards.begin());
    return;
  }
  if (denies_all(settings)) {
    route.to = "{ fixed: { status: 403 } }";
    return;
  }
  if (!addresses(settings, route)) return;
  if (const NginxDirective* code = code_of(block)) {
    auto [why, instead] = why_left_out(code->name);
    remarks_.left_out(code->at, code->name, std::move(why), std::move(instead));
    route = refused_route(route, code->name);
    return;
  }
  if (const NginxDirective* pass = block.find("proxy_pass"); pass && !server) {
    forward_nginx(*pass, location, server_, upstreams_, remarks_, route);
    return;
  }
  if (const NginxDirective* status = block.find("stub_status")) {
    remarks_.differs(
        status->at, status->name,
        "the node's status is JSON with more figures; for Prometheus there is /metrics of the control address");
    route.to = "status";
    return;
  }
  files(location, route);
}

const NginxLocation* NginxContent::named_location(const std::string& name) const {
  const auto found = std::ranges::find_if(
      locations_, [&](const NginxLocation& other) { return other.how == How::named && other.path == name; });
  return found == locations_.end() ? nullptr : &*found;
}

const NginxDirective* NginxContent::method_limit(const NginxLocation& location) const {
  const NginxLocation* here = &location;
  for (size_t step = 0; here && step <= locations_.size(); ++step) {
    if (const NginxDirective* limit = here->block->find("limit_except")) return limit;
    const std::vector<std::string>& tried = here->settings.try_files;
    here = tried.empty() ? nullptr : named_location(tried.back());
  }
  return nullptr;
}

void NginxContent::limit_methods(const NginxDirective& limit, RouteDraft& route) {
  NginxSettings inner;
  apply_nginx_settings(limit, inner, remarks_);
  if (!inner.guards.empty()) {
    route = refused_route(route, *inner.guards.begin());
  } else if (denies_all(inner)) {
    route = RouteDraft{.at = route.at, .directive = route.directive, .match = route.match};
    route.to = "{ fixed: { status: 403 } }";
  } else if (!inner.access.empty()) {
    route.allow.clear();
    route.deny.clear();
    addresses(inner, route);
  } else {
    remarks_.left_out(limit.at, limit.name, "only allow, deny and who asks for a name are known here",
                      "its requests answer 501 until you decide");
    route = refused_route(route, directive_text(limit));
  }
}

// A condition within a location that ends in an answer: one more route of the same path.
void NginxContent::condition_within(const NginxDirective& one, const NginxLocation& location) {
  if (!told_.insert(&one).second) return;
  RouteDraft route = route_from(one);
  const NginxDirective* returned = return_of(one);
  const std::optional<NginxComparison> comparison = comparison_of(one);
  const bool placed = location.is_prefix() || location.how == How::exact;
  if (!returned || !placed || !comparison || !add_to_match(*comparison, route.match)) {
    tell_condition(
        one, location.settings,
        "only a comparison of the method, a header or a parameter with one value, and a return, is known here",
        "write a route: match.methods, headers, query", remarks_);
    return;
  }
  route.match.path = pattern_literal(location.path);
  if (location.is_prefix()) {
    while (route.match.path.ends_with('/')) route.match.path.pop_back();
    route.match.path += "/**";
  }
  NginxSettings own = location.settings;
  apply_nginx_settings(one, own, remarks_);
  answer(*returned, own, route, location.path);
  conditions_.push_back(std::move(route));
}

// return
void NginxContent::answer(const NginxDirective& one, const NginxSettings& settings, RouteDraft& route,
                          std::string_view path) {
  std::optional<uint64_t> status = whole_number(one.word(0));
  std::string text(one.word(1));
  if (!status && one.words.size() == 1) {
    status = 302;
    text = one.word(0);
  }
  if (!status || *status < 200 || *status > 599) {
    remarks_.left_out(one.at, one.name, "is no answer: " + directive_text(one));
    route = refused_route(route, directive_text(one));
    return;
  }
  if (*status == 444) {
    remarks_.differs(one.at, one.name, "a connection is not closed without an answer: 404 is sent");
    *status = 404;
    text.clear();
  }
  const bool moves = *status == 301 || *status == 302 || *status == 303 || *status == 307 || *status == 308;
  if (moves && !text.empty()) {
    redirect(one, text, *status, WholePath::no, settings, route);
    return;
  }
  if (text.find('$') != std::string::npos) {
    remarks_.left_out(one.at, one.name, "the body of a fixed answer holds no variables");
    text.clear();
  }
  const std::string_view by_name = proxy::mime_type(path.substr(path.rfind('/') + 1));
  std::string type(by_name == kUnknownType ? settings.default_type : by_name.substr(0, by_name.find(';')));
  for (const NginxSettings::Line& line : settings.add_header) {
    if (http::iequal(line.name, "Content-Type")) type = line.value;
  }
  add_answer_fields(AnswerOf::fixed, server_, settings, route, remarks_);
  std::string parts = "status: " + std::to_string(*status);
  if (!text.empty() && *status != 204 && *status != 304)
    parts += ", body: " + yaml_text(text) + ", content_type: " + yaml_text(type);
  route.to = "{ fixed: { " + parts + " } }";
}

bool NginxContent::redirect(const NginxDirective& one, std::string to, uint64_t status, WholePath whole,
                            const NginxSettings& settings, RouteDraft& route) {
  // rewrite adds the query of the request by itself, unless the new path ends with '?'.
  if (whole != WholePath::no) {
    const bool drops_query = to.ends_with('?');
    if (drops_query) to.pop_back();
    const std::string_view all = whole == WholePath::without_slash ? "/$1" : "$1";
    const bool used = whole != WholePath::unused && to.ends_with(all);
    if (used) to.replace(to.size() - all.size(), all.size(), "$uri");
    if (!drops_query && to.find('?') == std::string::npos && to.find("$request_uri") == std::string::npos)
      to += "$is_args$args";
  }
  std::string unknown;
  const std::optional<std::string> location = template_of(to, server_, settings, unknown);
  if (!location || location->find_first_of(" \t\"<>\\^`") != std::string::npos) {
    remarks_.left_out(one.at, one.name, location ? "no URL: " + to : "redirects have no variable " + unknown,
                      "write a route with a redirect; docs/routing.md has the variables");
    route = refused_route(route, directive_text(one));
    return false;
  }
  add_answer_fields(AnswerOf::anything, server_, settings, route, remarks_);
  route.to = "{ redirect: { to: " + yaml_text(*location) + ", status: " + std::to_string(status) + " } }";
  return true;
}

std::optional<std::string> NginxContent::redirect_below(const NginxDirective& rewrite, const NginxSettings& settings,
                                                        RouteDraft& route) {
  std::string_view to = rewrite.word(1);
  const bool without_query = to.ends_with('?');
  if (without_query) to.remove_suffix(1);
  const size_t scheme = to.find("://");
  const size_t path = to.find('/', scheme == std::string_view::npos ? 0 : scheme + 3);
  if (path == std::string_view::npos) return std::nullopt;
  const std::optional<PrefixChange> change = prefix_change(rewrite.word(0), to.substr(path));
  if (!change || change->strip.empty()) return std::nullopt;
  const std::string place = std::string(to.substr(0, path)) + (without_query ? "$uri" : "$request_uri");
  const uint64_t status = rewrite.word(2) == "permanent" ? 301 : 302;
  if (redirect(rewrite, place, status, WholePath::no, settings, route)) {
    route.strip_prefix = change->strip;
    route.add_prefix = change->add;
  }
  return change->strip;
}

// False: the location ends with a redirect.
bool NginxContent::rewritten(const NginxLocation& location, RouteDraft& route) {
  if (location.block == &server_.block) return true;
  for (const NginxDirective& one : location.block->block) {
    if (one.name != "rewrite") continue;
    const std::string_view flag = one.word(2);
    const WholePath whole = whole_path(one.word(0));
    const std::string_view to = one.word(1);
    const bool away = flag == "permanent" || flag == "redirect" || to.starts_with("http");
    const bool captures = to.find("$1") != std::string_view::npos || to.find("$2") != std::string_view::npos;
    if (away && (whole != WholePath::no || (location.how == How::exact && !captures))) {
      redirect(one, std::string(to), flag == "permanent" ? 301 : 302,
               whole == WholePath::no ? WholePath::unused : whole, location.settings, route);
      return false;
    }
    if (away && location.is_prefix()) {
      RouteDraft moved = route;
      const auto from = redirect_below(one, location.settings, moved);
      if (from && (location.path == *from || location.path.starts_with(*from + "/"))) {
        if (location.path == *from) remarks_.differs(one.at, one.name, *from + " itself is redirected, too");
        route = std::move(moved);
        return false;
      }
    }
    const std::optional<PrefixChange> change = prefix_change(one.word(0), to);
    if (!away && change) {
      const bool bare_too =
          location.is_prefix() && location.path == change->strip && one.word(0).find("/?(") == std::string_view::npos;
      if (bare_too)
        remarks_.differs(one.at, one.name, location.path + " itself is rewritten, too, not only what is below it");
      if (flag == "last") remarks_.differs(one.at, one.name, "the new path does not choose another location");
      route.strip_prefix = change->strip;
      route.add_prefix = change->add;
      continue;
    }
    remarks_.left_out(one.at, one.name, "only prefixes are rewritten",
                      "rewrite: { strip_prefix, add_prefix } of a route");
    route = refused_route(route, directive_text(one));
    return false;
  }
  return true;
}

// allow and deny, beside what stands in the route already: of a named location nginx asks the lists as well, so both
// must let a client pass. False: it was refused instead.
bool NginxContent::addresses(const NginxSettings& settings, RouteDraft& route) {
  std::vector<std::string> allow;
  const NginxSettings::Access* first_allow = nullptr;
  bool everybody_else = true;
  for (const NginxSettings::Access& rule : settings.access) {
    if (rule.block == "all") {
      everybody_else = rule.allow;
      break;
    }
    if (rule.block == "unix:") continue;
    if (!proxy::AddressBlock::from_text(rule.block)) {
      remarks_.left_out(rule.at, rule.allow ? "allow" : "deny", "no block of addresses: " + rule.block,
                        "its requests are refused");
      route.deny = {"0.0.0.0/0", "::/0"};
      return true;
    }
    if (rule.allow) {
      if (!first_allow) first_allow = &rule;
      allow.push_back(rule.block);
      continue;
    }
    if (first_allow) remarks_.differs(rule.at, "deny", "deny comes before allow: addresses of both are refused");
    if (std::ranges::find(route.deny, rule.block) == route.deny.end()) route.deny.push_back(rule.block);
  }
  if (everybody_else) return true;  // whom this list allows passes anyway
  if (allow.empty()) {
    route.deny = {"0.0.0.0/0", "::/0"};
  } else if (route.allow.empty()) {
    route.allow = std::move(allow);
  } else if (route.allow != allow) {
    remarks_.left_out(first_allow->at, "allow", "a route has one list, and another location's goes before this one",
                      "write into one allow who may pass both");
    route = refused_route(route, "allow " + first_allow->block);
    return false;
  }
  return true;
}

void NginxContent::files(const NginxLocation& location, RouteDraft& route) {
  const NginxSettings& settings = location.settings;
  const NginxDirective* alias = location.block == &server_.block ? nullptr : location.block->find("alias");
  std::string fallback;
  if (!settings.try_files.empty() && !tried(location, fallback, route)) return;
  std::string root = alias ? std::string(alias->word(0)) : settings.root;
  if (root.empty()) {
    route.to = "{ fixed: { status: 404 } }";
    return;
  }
  const NginxDirective& from = alias ? *alias : *location.block;
  if (root.find('$') != std::string::npos) {
    remarks_.left_out(from.at, from.name, "a directory without variables: " + root);
    route = refused_route(route, "root " + root);
    return;
  }
  // nginx asks no expression about exact locations and ^~, unless one stands within.
  const bool unasked =
      (location.how == How::exact || location.how == How::prefix_first) && location.block->find("location") == nullptr;
  if (danger_ && !unasked) {
    if (told_.insert(danger_).second) {
      remarks_.left_out(danger_->at, danger_->name,
                        "files that it protects, or hands to a program, would be sent as they are",
                        "the server's files answer 501 until you decide");
    }
    route = refused_route(route, directive_text(*danger_));
    return;
  }
  if (root.front() != '/') {
    remarks_.differs(from.at, from.name, "relative to the folder of the file that was imported");
    root = server_.folder + root;
  }
  while (root.size() > 1 && root.ends_with('/')) root.pop_back();
  if (alias) {
    if (location.how == How::regex) {
      remarks_.left_out(alias->at, alias->name, "needs a location with a prefix");
      route = refused_route(route, directive_text(*alias));
      return;
    }
    std::string strip = location.path;
    if (is_one_file(location)) {
      const size_t folder = root.rfind('/');
      const size_t above = strip.rfind('/');
      if (root.substr(folder) != strip.substr(above)) {
        add_answer_fields(AnswerOf::anything, server_, settings, route, remarks_);
        const std::string type(proxy::mime_type(root));
        route.to = "{ fixed: { file: " + yaml_text(root) + ", content_type: " + yaml_text(type) + " } }";
        return;
      }
      root.resize(std::max<size_t>(folder, 1));
      strip.resize(above);
    }
    while (strip.ends_with('/')) strip.pop_back();
    route.strip_prefix = pattern_literal(strip);
  }
  std::string parts = "root: " + yaml_text(root);
  std::vector<std::string> index = settings.index;
  if (index != std::vector<std::string>{"index.html"}) parts += ", index: " + yaml_list(index);
  if (settings.gzip_static || settings.brotli_static)
    parts += ", precompressed: " + encodings_of(settings.gzip_static, settings.brotli_static);
  if (settings.default_type_at.line > 0 && settings.default_type != kUnknownType)
    remarks_.differs(settings.default_type_at, "default_type",
                     "files of no known type are " + std::string(kUnknownType) + ", not " + settings.default_type,
                     "fixed: { file, content_type } for a single file");
  std::string cache_control = settings.cache_control;
  for (const NginxSettings::Line& line : settings.add_header) {
    if (!http::iequal(line.name, "Cache-Control")) continue;
    if (line.value.find('$') == std::string::npos) {
      cache_control += (cache_control.empty() ? "" : ", ") + line.value;
    } else {
      remarks_.left_out(line.at, "add_header " + line.name, "of files it is without variables: " + line.value);
    }
  }
  if (!cache_control.empty()) parts += ", cache_control: " + yaml_text(cache_control);
  if (!fallback.empty()) parts += ", fallback: " + yaml_text(fallback);
  add_answer_fields(AnswerOf::files, server_, settings, route, remarks_);
  route.to = "{ files: { " + parts + " } }";
}

// try_files: its last word decides. False: the route has been made.
bool NginxContent::tried(const NginxLocation& location, std::string& fallback, RouteDraft& route) {
  const NginxSettings& settings = location.settings;
  const auto told = [&](std::string why, std::string instead = {}) {
    remarks_.left_out(settings.try_files_at, "try_files", std::move(why), std::move(instead));
  };
  for (size_t i = 0; i + 1 < settings.try_files.size(); ++i) {
    const std::string& word = settings.try_files[i];
    if (word != "$uri" && word != "$uri/" && word != "$uri/index.html")
      told("a path stands for itself, not for " + word);
  }
  const std::string& last = settings.try_files.back();
  if (last == "=404" || last == "$uri" || last == "$uri/") return true;
  if (last.starts_with('@')) {
    const NginxLocation* named = named_location(last);
    if (!named) {
      told("there is no location " + last);
      route = refused_route(route, "try_files " + last);
      return false;
    }
    if (!following_.insert(named).second) {
      told("leads back to itself: " + last);
      route = refused_route(route, "try_files " + last);
      return false;
    }
    if (!settings.root.empty())
      told("files are not tried first: all goes to " + last, "give the folders with files routes of their own");
    fill(*named, route);
    following_.erase(named);
    return false;
  }
  if (last.starts_with('=')) {
    told("what is not there is answered by 404");
    return true;
  }
  std::string file = last.substr(0, last.find('?'));
  if (file.starts_with('/') && file.find('$') == std::string::npos && file.ends_with(".html")) {
    fallback = file.substr(1);
    const bool own = std::ranges::any_of(
        locations_, [&](const NginxLocation& other) { return other.how == How::exact && other.path == file; });
    if (own)
      remarks_.differs(settings.try_files_at, "try_files",
                       file + " is sent as this location says, not as location = " + file +
                           " does: without its fields and its Cache-Control",
                       "cache_control and headers of this route");
    return true;
  }
  told("only an HTML file stands in for what is not there: " + last, "let the application answer these paths");
  route = refused_route(route, "try_files " + last);
  return false;
}

}  // namespace trellis::app
