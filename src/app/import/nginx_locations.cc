#include "app/import/nginx_locations.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>
#include <set>

#include "app/import/nginx_path.h"
#include "http/fields.h"
#include "proxy/field_rules.h"
#include "proxy/filters/addresses.h"

namespace trellis::app {

namespace {

enum class How : uint8_t { exact, prefix, prefix_first, regex, named };

constexpr uint64_t kKept = 1 << 20;
constexpr uint64_t kKeptAnswer = 64 << 10;  // proxy_buffers 8 8k

struct Location {
  How how = How::prefix;
  std::string path;
  const NginxDirective* block = nullptr;
  NginxSettings settings;
};

// One route with how nginx would come to it.
struct Placed {
  How how;
  std::string pattern;
  RouteDraft route;
};

std::string label(const NginxDirective& one) {
  std::string text = one.name;
  for (const std::string& word : one.words) text += " " + word;
  return text;
}

std::optional<int> status_of(std::string_view text) {
  int status = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), status);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return status;
}

constexpr std::string_view kRunsCode[] = {"fastcgi_pass",         "uwsgi_pass",          "scgi_pass", "grpc_pass",
                                          "memcached_pass",       "js_content",          "perl",      "content_by_lua",
                                          "content_by_lua_block", "content_by_lua_file", "echo",      "empty_gif",
                                          "dav_methods"};
const NginxDirective* code_of(const NginxDirective& block) {
  for (const NginxDirective& one : block.block) {
    if (std::ranges::find(kRunsCode, one.name) != std::end(kRunsCode)) return &one;
  }
  return nullptr;
}
bool denies_all(const NginxSettings& settings) {
  return !settings.access.empty() && !settings.access.front().allow && settings.access.front().block == "all";
}

class ServerRoutes {
 public:
  ServerRoutes(const NginxServer& server, NginxUpstreams& upstreams, Remarks& remarks)
      : server_(server), upstreams_(upstreams), remarks_(remarks) {}

  std::vector<RouteDraft> make() {
    if (const NginxDirective* answer = server_.block.find("return")) {
      std::vector<RouteDraft> out = conditions(server_.block);
      RouteDraft all = draft(*answer);
      all.path = "/**";
      returned(*answer, server_.settings, all);
      out.push_back(std::move(all));
      return out;
    }
    collect(server_.block, server_.settings);
    find_dangers();
    for (const Location& location : locations_) place(location);
    moved();
    close_gaps();
    catch_all();
    drop_unreached();
    std::vector<RouteDraft> out = conditions(server_.block);
    for (Placed& placed : placed_) out.push_back(std::move(placed.route));
    return out;
  }

 private:
  void tell(Remark::Kind kind, const NginxDirective& at, std::string why, std::string instead = {}) {
    remarks_.add({kind, at.at, at.name, std::move(why), std::move(instead)});
  }
  void left_out(const NginxDirective& at, std::string why, std::string instead = {}) {
    tell(Remark::Kind::left_out, at, std::move(why), std::move(instead));
  }
  void differs(const NginxDirective& at, std::string why, std::string instead = {}) {
    tell(Remark::Kind::differs, at, std::move(why), std::move(instead));
  }

  static RouteDraft draft(const NginxDirective& from) {
    RouteDraft route;
    route.at = from.at;
    route.directive = label(from);
    return route;
  }
  static void refuse(RouteDraft& route, std::string_view what) { route = refused_route(route, what); }

  // --- reading the locations ---

  void collect(const NginxDirective& block, const NginxSettings& settings) {
    for (const NginxDirective& one : block.block) {
      if (one.name != "location") continue;
      Location location;
      location.block = &one;
      location.settings = settings;
      if (!name_of(one, location)) {
        left_out(one, "is no location: " + label(one));
        continue;
      }
      apply_nginx_settings(one, location.settings, remarks_);
      const NginxSettings inner = location.settings;
      locations_.push_back(std::move(location));
      collect(one, inner);
    }
  }

  static bool name_of(const NginxDirective& one, Location& out) {
    std::string_view first = one.word(0);
    if (one.words.size() == 1) {
      if (first.starts_with('@')) {
        out.how = How::named;
      } else if (first.starts_with("~")) {  // written without a space
        out.how = How::regex;
        first.remove_prefix(first.starts_with("~*") ? 2 : 1);
      } else if (first.starts_with("=")) {
        out.how = How::exact;
        first.remove_prefix(1);
      } else if (first.starts_with("^~")) {
        out.how = How::prefix_first;
        first.remove_prefix(2);
      }
      out.path = first;
      return out.how == How::named || out.how == How::regex || first.starts_with('/');
    }
    if (one.words.size() != 2) return false;
    out.path = one.word(1);
    if (first == "=") {
      out.how = How::exact;
    } else if (first == "^~") {
      out.how = How::prefix_first;
    } else if (first == "~" || first == "~*") {
      out.how = How::regex;
      return true;
    } else {
      return false;
    }
    return out.path.starts_with('/');
  }
  static bool ignores_case(const NginxDirective& one) { return one.word(0).starts_with("~*"); }

  // Files whose names a regular expression protects, or hands to a program, must not be served as they are.
  void find_dangers() {
    for (const Location& location : locations_) {
      if (location.how != How::regex || paths_of_regex(location.path)) continue;
      const bool hidden_anyway = location.path.find("/\\.") != std::string::npos ||
                                 location.path.find("/[.]") != std::string::npos ||
                                 location.path.find("(^|/)\\.") != std::string::npos;
      const NginxDirective* code = code_of(*location.block);
      const NginxDirective* answer = location.block->find("return");
      const bool refuses = denies_all(location.settings) || location.block->find("internal") != nullptr ||
                           (answer && answer->word(0).starts_with('4')) || !location.settings.guard.empty();
      if (code || (refuses && !hidden_anyway)) danger_ = location.block;
    }
  }

  // --- where they stand ---

  void place(const Location& location) {
    const NginxDirective& block = *location.block;
    if (location.how == How::named) return;
    std::vector<std::string> patterns;
    if (location.how == How::exact) {
      patterns = {pattern_literal(location.path)};
    } else if (location.how == How::regex) {
      const std::optional<RegexPaths> paths = paths_of_regex(location.path);
      if (!paths) {
        const bool serves = code_of(block) || block.find("proxy_pass");
        left_out(block, "routes compare whole segments, this expression says something else: " + location.path,
                 serves ? "its requests go where the other locations lead; write routes for the paths that are meant"
                        : "its requests are treated as the other locations say");
        return;
      }
      patterns = paths->patterns;
      if (paths->wider) differs(block, "whole segments are compared: longer names that begin alike are not matched");
      if (ignores_case(block)) differs(block, "paths are compared with their case");
    } else {
      std::string path = pattern_literal(location.path);
      const bool closed = path.ends_with('/');
      while (path.ends_with('/')) path.pop_back();
      const bool with_slash_too = !closed && std::ranges::any_of(locations_, [&](const Location& other) {
        return (other.how == How::prefix || other.how == How::prefix_first) && other.path == location.path + "/";
      });
      patterns = {with_slash_too ? path : path + "/**"};
      if (!closed)
        differs(block,
                "whole segments are compared: " + location.path + " and what is below it, not " + location.path + "x");
    }
    RouteDraft route = draft(block);
    content(location, route);
    for (const std::string& pattern : patterns) {
      const auto taken = std::ranges::find(placed_, pattern, &Placed::pattern);
      if (taken != placed_.end()) {
        // Exact comes first, then ^~, then the first expression, then a prefix.
        if (rank(location.how) >= rank(taken->how)) continue;
        placed_.erase(taken);
      }
      RouteDraft copy = route;
      copy.path = pattern;
      placed_.push_back({location.how, pattern, std::move(copy)});
    }
    narrow_methods(location);
  }
  static int rank(How how) {
    switch (how) {
      case How::exact: return 0;
      case How::prefix_first: return 1;
      case How::regex: return 2;
      default: return 3;
    }
  }

  // limit_except GET { deny all; }: the methods beside it are refused.
  void narrow_methods(const Location& location) {
    const NginxDirective* limit = location.block->find("limit_except");
    if (!limit) return;
    NginxSettings inner;
    apply_nginx_settings(*limit, inner, remarks_);
    if (!denies_all(inner)) {
      left_out(*limit, "only \"deny all\" is known here");
      return;
    }
    std::vector<Placed> refusals;
    for (Placed& placed : placed_) {
      if (placed.route.at.line != location.block->at.line || placed.route.at.file != location.block->at.file) continue;
      if (!placed.route.methods.empty()) continue;
      Placed refusal{placed.how, placed.pattern, draft(*limit)};
      refusal.route.path = placed.pattern;
      refusal.route.to = "{ fixed: { status: 403 } }";
      placed.route.methods = limit->words;
      refusals.push_back(std::move(refusal));
    }
    std::ranges::move(refusals, std::back_inserter(placed_));
  }

  // `rewrite ... permanent` beside the locations comes before all of them.
  void moved() {
    for (const NginxDirective& one : server_.block.block) {
      if (one.name != "rewrite") continue;
      const std::string_view flag = one.word(2);
      const bool away = flag == "permanent" || flag == "redirect" || one.word(1).starts_with("http");
      const std::optional<RegexPaths> paths = away ? paths_of_regex(one.word(0)) : std::nullopt;
      const WholePath whole = whole_path(one.word(0));
      std::string to(one.word(1));
      const bool fixed = to.find("$1") == std::string::npos;
      if (away && whole != WholePath::no) {
        RouteDraft route = draft(one);
        if (!redirect(one, to, flag == "permanent" ? 301 : 302, whole, server_.settings, route)) continue;
        placed_.clear();
        locations_.clear();
        route.path = "/**";
        placed_.push_back({How::exact, "/**", std::move(route)});
        return;
      }
      if (!away || !paths || !fixed || paths->wider) {
        left_out(one, "only a fixed path, or a prefix within a location, is rewritten",
                 "write a route with a redirect or with rewrite: { strip_prefix, add_prefix }");
        continue;
      }
      for (const std::string& pattern : paths->patterns) {
        RouteDraft route = draft(one);
        route.path = pattern;
        if (!redirect(one, to, flag == "permanent" ? 301 : 302, WholePath::unused, server_.settings, route)) break;
        std::erase_if(placed_, [&](const Placed& placed) { return placed.pattern == pattern; });
        placed_.push_back({How::exact, pattern, std::move(route)});
      }
    }
  }

  // `location /api/` does not take /api, and `/api/**` does: what nginx does with /api gets a route of its own.
  void close_gaps() {
    std::vector<Placed> more;
    for (const Location& location : locations_) {
      if (location.how != How::prefix && location.how != How::prefix_first) continue;
      if (!location.path.ends_with('/') || location.path == "/") continue;
      const std::string bare = location.path.substr(0, location.path.size() - 1);
      const std::string pattern = pattern_literal(bare);
      if (pattern.empty() || pattern.ends_with('/')) continue;
      const auto same = [&](const Placed& placed) { return placed.pattern == pattern; };
      if (std::ranges::any_of(placed_, same) || std::ranges::any_of(more, same)) continue;
      const auto expression_takes = [&](const Placed& placed) {
        return placed.how == How::regex && placed.pattern.ends_with("/**") &&
               pattern.starts_with(placed.pattern.substr(0, placed.pattern.size() - 2));
      };
      if (std::ranges::any_of(placed_, expression_takes)) continue;
      RouteDraft route = draft(*location.block);
      route.path = pattern;
      if (location.block->find("proxy_pass") || code_of(*location.block)) {
        route.to = "{ redirect: { to: " + yaml_text(pattern + "/?${query}") + ", status: 301 } }";
      } else {
        const Location* taker = longest_prefix(bare);
        if (!taker) continue;  // the server's own files, as for everything else
        content(*taker, route);
        route.path = pattern;
      }
      more.push_back({How::exact, pattern, std::move(route)});
    }
    std::ranges::move(more, std::back_inserter(placed_));
  }
  const Location* longest_prefix(std::string_view path) const {
    const Location* best = nullptr;
    for (const Location& location : locations_) {
      if (location.how != How::prefix && location.how != How::prefix_first) continue;
      if (path.starts_with(location.path) && (!best || location.path.size() > best->path.size())) best = &location;
    }
    return best;
  }

  // What no location takes is a file below the server's root.
  void catch_all() {
    const auto everything = [](const Placed& placed) {
      return placed.pattern == "/**" && placed.route.methods.empty();
    };
    if (std::ranges::any_of(placed_, everything)) return;
    Location rest{How::prefix, "/", &server_.block, server_.settings};
    RouteDraft route = draft(server_.block);
    content(rest, route);
    route.path = "/**";
    placed_.push_back({How::prefix, "/**", std::move(route)});
  }

  // An expression that takes all below a prefix keeps longer prefixes and later expressions there from ever being
  // asked.
  void drop_unreached() {
    for (size_t i = 0; i < placed_.size(); ++i) {
      if (placed_[i].how != How::regex) continue;
      const std::string pattern = placed_[i].pattern;
      if (!pattern.ends_with("/**") || pattern.find('*') != pattern.size() - 2) {
        if (pattern.find('*') != std::string::npos) {
          remarks_.add({Remark::Kind::differs, placed_[i].route.at, "location",
                        "a more specific path of another location comes before this expression", ""});
        }
        continue;
      }
      const std::string below = pattern.substr(0, pattern.size() - 2);
      std::vector<Placed> kept;
      for (size_t j = 0; j < placed_.size(); ++j) {
        Placed& other = placed_[j];
        const bool inside = other.pattern.size() > pattern.size() && other.pattern.starts_with(below);
        const bool later = other.how == How::prefix || (other.how == How::regex && j > i);
        if (j != i && inside && later) {
          remarks_.add({Remark::Kind::differs, other.route.at, "location",
                        "nginx never reaches it: the expression of line " + std::to_string(placed_[i].route.at.line) +
                            " comes first; it is dropped",
                        ""});
          continue;
        }
        if (j < i || j == i || !inside || !later) kept.push_back(other);
      }
      if (kept.size() != placed_.size()) {
        placed_ = std::move(kept);
        i = 0;
      }
    }
  }

  // --- if ---

  // `if` with one simple condition and a return, beside the locations: routes for the whole host.
  std::vector<RouteDraft> conditions(const NginxDirective& block) {
    std::vector<RouteDraft> out;
    for (const NginxDirective& one : block.block) {
      if (one.name != "if") continue;
      const NginxDirective* answer = one.find("return");
      RouteDraft route = draft(one);
      route.path = "/**";
      if (!answer || !condition(one, route, true)) {
        left_out(one, "only a comparison of $host with one name, and a return, is known here",
                 "write a route: match.host, methods, headers, query");
        continue;
      }
      if (route.host == "-") continue;  // never holds
      returned(*answer, server_.settings, route);
      out.push_back(std::move(route));
    }
    return out;
  }

  static std::string trimmed(std::string_view text) {
    while (text.starts_with('(')) text.remove_prefix(1);
    while (text.ends_with(')')) text.remove_suffix(1);
    return std::string(text);
  }
  bool condition(const NginxDirective& one, RouteDraft& route, bool whole_host) const {
    std::vector<std::string> words;
    for (const std::string& word : one.words) {
      if (std::string plain = trimmed(word); !plain.empty()) words.push_back(std::move(plain));
    }
    if (words.size() != 3 || words[1] != "=") return false;
    const std::string& variable = words[0];
    const std::string& value = words[2];
    if (value.empty() || value.find('$') != std::string::npos) return false;
    if (whole_host) {
      if (variable == "$scheme") {
        if ((value == "https") != server_.tls) route.host = "-";
        return true;
      }
      if (variable != "$host" && variable != "$http_host") return false;
      route.host = value;
      return true;
    }
    if (value == "*") return false;
    if (variable == "$request_method") {
      route.methods = {value};
    } else if (variable.starts_with("$http_") && variable.size() > 6) {
      std::string name = variable.substr(6);
      std::ranges::replace(name, '_', '-');
      route.headers = {{name, value}};
    } else if (variable.starts_with("$arg_") && variable.size() > 5) {
      route.query = {{variable.substr(5), value}};
    } else {
      return false;
    }
    return true;
  }

  // --- what a location does ---

  void content(const Location& location, RouteDraft& route) {
    const NginxDirective& block = *location.block;
    const NginxSettings& settings = location.settings;
    for (const NginxDirective& one : block.block) {
      if (one.name == "if" && &block != &server_.block) inner_condition(one, location);
    }
    if (const NginxDirective* answer = block.find("return"); answer && &block != &server_.block) {
      returned(*answer, settings, route);
      return;
    }
    if (!rewritten(location, route)) return;
    if (block.find("internal")) {
      route.to = "{ fixed: { status: 404 } }";
      return;
    }
    if (!settings.guard.empty()) {
      refuse(route, settings.guard);
      return;
    }
    if (denies_all(settings)) {
      route.to = "{ fixed: { status: 403 } }";
      return;
    }
    addresses(settings, route);
    if (const NginxDirective* code = code_of(block)) {
      auto [why, instead] = why_left_out(code->name);
      left_out(*code, std::move(why), std::move(instead));
      refuse(route, code->name);
      return;
    }
    if (const NginxDirective* pass = block.find("proxy_pass"); pass && &block != &server_.block) {
      forward(*pass, location, route);
      return;
    }
    if (const NginxDirective* status = block.find("stub_status")) {
      differs(*status,
              "the node's status is JSON with more figures; for Prometheus there is /metrics of the control address");
      route.to = "status";
      return;
    }
    files(location, route);
  }

  // A condition within a location that ends in an answer: one more route of the same path.
  void inner_condition(const NginxDirective& one, const Location& location) {
    if (!told_.insert(&one).second) return;
    RouteDraft route = draft(one);
    const NginxDirective* answer = one.find("return");
    if (!answer || location.how == How::regex || location.how == How::named || !condition(one, route, false)) {
      left_out(one,
               "only a comparison of the method, a header or a parameter with one value, and a return, is known here",
               "write a route: match.methods, headers, query");
      return;
    }
    std::string path = pattern_literal(location.path);
    if (location.how != How::exact) {
      while (path.ends_with('/')) path.pop_back();
      path += "/**";
    }
    route.path = path;
    returned(*answer, location.settings, route);
    placed_.push_back({How::exact, path + "?" + std::to_string(placed_.size()), std::move(route)});
  }

  void returned(const NginxDirective& one, const NginxSettings& settings, RouteDraft& route) {
    std::optional<int> status = status_of(one.word(0));
    std::string text(one.word(1));
    if (!status && one.words.size() == 1) {
      status = 302;
      text = one.word(0);
    }
    if (!status || *status < 200 || *status > 599) {
      left_out(one, "is no answer: " + label(one));
      refuse(route, label(one));
      return;
    }
    if (*status == 444) {
      differs(one, "a connection is not closed without an answer: 404 is sent");
      *status = 404;
      text.clear();
    }
    const bool moves = *status == 301 || *status == 302 || *status == 303 || *status == 307 || *status == 308;
    if (moves && !text.empty()) {
      redirect(one, text, *status, WholePath::no, settings, route);
      return;
    }
    if (text.find('$') != std::string::npos) {
      left_out(one, "the body of a fixed answer holds no variables");
      text.clear();
    }
    std::string type = settings.default_type;
    for (const NginxSettings::Line& line : settings.add_header) {
      if (http::iequal(line.name, "Content-Type")) type = line.value;
    }
    answer_fields(settings, route, false);
    std::string parts = "status: " + std::to_string(*status);
    if (!text.empty() && *status != 204 && *status != 304)
      parts += ", body: " + yaml_text(text) + ", content_type: " + yaml_text(type);
    route.to = "{ fixed: { " + parts + " } }";
  }

  // False: it was refused instead.
  bool redirect(const NginxDirective& one, std::string to, int status, WholePath whole, const NginxSettings& settings,
                RouteDraft& route) {
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
      left_out(one, location ? "no URL: " + to : "redirects have no variable " + unknown,
               "write a route with a redirect; docs/routing.md has the variables");
      refuse(route, label(one));
      return false;
    }
    answer_fields(settings, route, false);
    route.to = "{ redirect: { to: " + yaml_text(*location) + ", status: " + std::to_string(status) + " } }";
    return true;
  }

  // False: the location ends with a redirect.
  bool rewritten(const Location& location, RouteDraft& route) {
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
      const std::optional<PrefixChange> change = prefix_change(one.word(0), to);
      if (!away && change) {
        if (flag == "last") differs(one, "the new path does not choose another location");
        route.strip_prefix = change->strip;
        route.add_prefix = change->add;
        continue;
      }
      left_out(one, "only prefixes are rewritten", "rewrite: { strip_prefix, add_prefix } of a route");
      refuse(route, label(one));
      return false;
    }
    return true;
  }

  void addresses(const NginxSettings& settings, RouteDraft& route) {
    bool everybody_else = true;
    bool allowed_before = false;
    for (const NginxSettings::Access& rule : settings.access) {
      if (rule.block == "all") {
        everybody_else = rule.allow;
        break;
      }
      if (rule.block == "unix:") continue;
      if (!proxy::AddressBlock::from_text(rule.block)) {
        remarks_.add({Remark::Kind::left_out, rule.at, rule.allow ? "allow" : "deny",
                      "no block of addresses: " + rule.block, "its requests are refused"});
        route.deny = {"0.0.0.0/0", "::/0"};
        route.allow.clear();
        return;
      }
      if (!rule.allow && allowed_before) {
        remarks_.add(
            {Remark::Kind::differs, rule.at, "deny", "deny comes before allow: addresses of both are refused", ""});
      }
      allowed_before |= rule.allow;
      (rule.allow ? route.allow : route.deny).push_back(rule.block);
    }
    if (everybody_else) {
      route.allow.clear();  // all others pass anyway
    } else if (route.allow.empty()) {
      route.deny = {"0.0.0.0/0", "::/0"};
    }
  }

  // add_header, expires and hidden fields. Files have Cache-Control of their own.
  void answer_fields(const NginxSettings& settings, RouteDraft& route, bool of_files) {
    for (const NginxSettings::Line& line : settings.add_header) {
      if (http::iequal(line.name, "Content-Type") || (of_files && http::iequal(line.name, "Cache-Control"))) continue;
      std::string unknown;
      const std::optional<std::string> value = template_of(line.value, server_, settings, unknown);
      const auto told = [&](std::string why) {
        remarks_.add({Remark::Kind::left_out, line.at, "add_header " + line.name, std::move(why), ""});
      };
      if (!value) {
        told("there is no variable " + unknown);
        continue;
      }
      if (const char* why = proxy::field_refusal(line.name)) {
        told(why);
        continue;
      }
      if (value->empty()) continue;
      const auto before = std::ranges::find_if(route.response_add,
                                               [&](const auto& other) { return http::iequal(other.first, line.name); });
      if (before == route.response_add.end()) {
        route.response_add.emplace_back(line.name, *value);
      } else if (http::iequal(line.name, "Set-Cookie")) {
        told("one of a name can be added");
      } else {
        before->second += ", " + *value;
      }
    }
    if (!of_files && !settings.cache_control.empty()) route.response_set = {{"Cache-Control", settings.cache_control}};
    compress(settings, route);
  }

  static void compress(const NginxSettings& settings, RouteDraft& route) {
    if (!settings.gzip && !settings.brotli) return;
    std::string text = std::string("{ encodings: ") + (settings.gzip && settings.brotli ? "[br, gzip]"
                                                       : settings.gzip                  ? "[gzip]"
                                                                                        : "[br]");
    std::vector<std::string> types{"text/html"};
    for (const std::string& type : settings.types) {
      if (std::ranges::find(types, type) == types.end()) types.push_back(type);
    }
    text += ", types: " + yaml_list(types);
    if (settings.min_length) text += ", min_size: " + yaml_size(*settings.min_length);
    if (settings.gzip && settings.level) text += ", levels: { gzip: " + std::to_string(*settings.level) + " }";
    route.compress = text + " }";
  }

  // --- proxy_pass ---

  void forward(const NginxDirective& pass, const Location& location, RouteDraft& route) {
    const NginxSettings& settings = location.settings;
    std::string url(pass.word(0));
    for (const auto& [name, value] : settings.variables) {
      for (const std::string& spelled : {"${" + name + "}", "$" + name}) {
        const size_t at = url.find(spelled);
        if (at == std::string::npos) continue;
        const size_t end = at + spelled.size();
        const bool longer = spelled.back() != '}' && end < url.size() && (std::isalnum(url[end]) || url[end] == '_');
        if (!longer) url.replace(at, spelled.size(), value);
      }
    }
    const auto give_up = [&](std::string why, std::string instead) {
      left_out(pass, std::move(why), std::move(instead));
      refuse(route, label(pass));
    };
    if (url.starts_with("https://")) {
      give_up("hosts are spoken to without TLS: " + url, "use a private network, or a TLS tunnel to the host");
      return;
    }
    if (!url.starts_with("http://")) {
      give_up("not http://HOST: " + url, "");
      return;
    }
    url.erase(0, 7);
    if (url.starts_with("unix:")) {
      give_up("hosts are reached over TCP, not by " + url, "let it listen on 127.0.0.1 too");
      return;
    }
    const size_t slash = url.find_first_of("/?$");
    const std::string host = url.substr(0, slash);
    std::string uri = slash == std::string::npos ? std::string() : url.substr(slash);
    if (uri == "$request_uri") uri.clear();
    if (host.empty() || uri.find_first_of("$?#") != std::string::npos) {
      give_up("variables in proxy_pass lead to hosts that are known only later: " + std::string(pass.word(0)),
              "name the hosts in upstreams");
      return;
    }
    if (!uri.empty() && !change_path(pass, location, uri, route)) return;
    const std::optional<std::string> upstream = upstreams_.use(host, settings, pass);
    if (!upstream) {
      refuse(route, label(pass));
      return;
    }
    if (settings.max_body > 0) route.body_limit = settings.max_body;
    // nginx keeps bodies in memory and then on disk; Trellis in memory, and lets the rest stream.
    if (settings.buffers_requests)
      route.buffer_request = settings.max_body > 0 ? std::min(settings.max_body, kKept) : kKept;
    if (settings.buffers_answers) route.buffer_response = kKeptAnswer;
    request_fields(settings, route, host, pass);
    route.response_remove = settings.hide_header;
    std::erase_if(route.response_remove, [](const std::string& name) { return proxy::field_refusal(name) != nullptr; });
    answer_fields(settings, route, false);
    route.to = "upstream." + *upstream;
  }

  // The part of proxy_pass behind the host takes the place of the location's prefix.
  bool change_path(const NginxDirective& pass, const Location& location, std::string uri, RouteDraft& route) {
    std::string strip = location.path;
    const auto cut = [](std::string text) {
      while (text.ends_with('/')) text.pop_back();
      return text;
    };
    if (location.how == How::exact && strip != uri) {
      // Only whole segments in front are changed: the ends of both must be the same.
      const size_t one = strip.rfind('/');
      const size_t other = uri.rfind('/');
      if (uri.ends_with('/') && !strip.ends_with('/')) {
        route.strip_prefix = pattern_literal(strip);
        route.add_prefix = pattern_literal(cut(uri));
        return true;
      }
      if (strip.substr(one) != uri.substr(other)) {
        left_out(pass, "only what stands before the last segment can be changed: " + strip + " to " + uri,
                 "let the application answer " + strip + " too");
        refuse(route, label(pass));
        return false;
      }
      strip.resize(one);
      uri.resize(other);
    } else if (location.how == How::regex || location.how == How::named) {
      left_out(pass, "a path in proxy_pass needs a location with a prefix");
      refuse(route, label(pass));
      return false;
    } else if (strip.ends_with('/') && !uri.ends_with('/')) {
      differs(pass, "a slash stands between " + uri + " and the rest of the path");
    }
    route.strip_prefix = pattern_literal(cut(strip));
    route.add_prefix = pattern_literal(cut(uri));
    if (route.strip_prefix == route.add_prefix) {
      route.strip_prefix.clear();
      route.add_prefix.clear();
    }
    return true;
  }

  void request_fields(const NginxSettings& settings, RouteDraft& route, const std::string& host,
                      const NginxDirective& pass) {
    bool host_told = false;
    for (const NginxSettings::Line& line : settings.set_header) {
      const auto told = [&](std::string why, std::string instead = {}) {
        remarks_.add(
            {Remark::Kind::left_out, line.at, "proxy_set_header " + line.name, std::move(why), std::move(instead)});
      };
      const auto is = [&](std::string_view name) { return http::iequal(line.name, name); };
      if (is("Host")) {
        host_told = true;
        if (!line.value.starts_with("$host") && !line.value.starts_with("$http_host"))
          told("hosts hear the client's own Host", "make them answer to it");
        continue;
      }
      if (is("Upgrade") || is("Connection") || is("X-Forwarded-Host") || is("Forwarded")) continue;  // done anyway
      if (is("X-Forwarded-For") && (line.value == "$proxy_add_x_forwarded_for" || line.value == "$remote_addr"))
        continue;
      if (is("X-Forwarded-Proto") && line.value == "$scheme") continue;
      if (is("X-Request-Id") && line.value == "$request_id") continue;
      if (line.value.empty()) {
        if (!proxy::field_refusal(line.name)) route.request_remove.push_back(line.name);
        continue;
      }
      std::string unknown;
      const std::optional<std::string> value = template_of(line.value, server_, settings, unknown);
      if (!value) {
        told("there is no variable " + unknown);
      } else if (const char* why = proxy::field_refusal(line.name)) {
        told(why);
      } else {
        std::erase_if(route.request_set, [&](const auto& other) { return http::iequal(other.first, line.name); });
        route.request_set.emplace_back(line.name, *value);
      }
    }
    const bool name = host.find_first_not_of("0123456789.:[]") != std::string::npos;
    if (!host_told && name && !upstreams_.declared(host))
      left_out(pass, "hosts hear the client's own Host, not " + host, "make them answer to it");
    if (server_.tls) {
      const auto proto = [](const auto& line) { return http::iequal(line.first, "X-Forwarded-Proto"); };
      if (std::ranges::none_of(route.request_set, proto)) route.request_set.emplace_back("X-Forwarded-Proto", "https");
    }
  }

  // --- files ---

  void files(const Location& location, RouteDraft& route) {
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
      left_out(from, "a directory without variables: " + root);
      refuse(route, "root " + root);
      return;
    }
    // nginx asks no expression about exact locations and ^~, unless one stands within.
    const bool unasked = (location.how == How::exact || location.how == How::prefix_first) &&
                         location.block->find("location") == nullptr;
    if (danger_ && !unasked) {
      if (told_.insert(danger_).second) {
        left_out(*danger_, "files that it protects, or hands to a program, would be sent as they are",
                 "the server's files answer 501 until you decide");
      }
      refuse(route, label(*danger_));
      return;
    }
    if (root.front() != '/') {
      differs(from, "relative to the folder of the file that was imported");
      root = server_.folder + root;
    }
    while (root.size() > 1 && root.ends_with('/')) root.pop_back();
    if (alias) {
      if (location.how == How::regex) {
        left_out(*alias, "needs a location with a prefix");
        refuse(route, label(*alias));
        return;
      }
      std::string strip = location.path;
      if (location.how == How::exact) {  // one file
        route.to = "{ fixed: { file: " + yaml_text(root) + " } }";
        return;
      }
      while (strip.ends_with('/')) strip.pop_back();
      route.strip_prefix = pattern_literal(strip);
    }
    std::string parts = "root: " + yaml_text(root);
    std::vector<std::string> index = settings.index;
    if (index != std::vector<std::string>{"index.html"}) parts += ", index: " + yaml_list(index);
    if (settings.gzip_static || settings.brotli_static) {
      parts += std::string(", precompressed: ") + (settings.brotli_static && settings.gzip_static ? "[br, gzip]"
                                                   : settings.gzip_static                         ? "[gzip]"
                                                                                                  : "[br]");
    }
    std::string cache_control = settings.cache_control;
    for (const NginxSettings::Line& line : settings.add_header) {
      if (http::iequal(line.name, "Cache-Control") && line.value.find('$') == std::string::npos)
        cache_control += (cache_control.empty() ? "" : ", ") + line.value;
    }
    if (!cache_control.empty()) parts += ", cache_control: " + yaml_text(cache_control);
    if (!fallback.empty()) parts += ", fallback: " + yaml_text(fallback);
    answer_fields(settings, route, true);
    route.to = "{ files: { " + parts + " } }";
  }

  // try_files: its last word decides. False: the route has been made.
  bool tried(const Location& location, std::string& fallback, RouteDraft& route) {
    const NginxSettings& settings = location.settings;
    const auto told = [&](Remark::Kind kind, std::string why, std::string instead = {}) {
      remarks_.add({kind, settings.try_files_at, "try_files", std::move(why), std::move(instead)});
    };
    for (size_t i = 0; i + 1 < settings.try_files.size(); ++i) {
      const std::string& word = settings.try_files[i];
      if (word != "$uri" && word != "$uri/" && word != "$uri/index.html")
        told(Remark::Kind::left_out, "a path stands for itself, not for " + word);
    }
    const std::string& last = settings.try_files.back();
    if (last == "=404" || last == "$uri" || last == "$uri/") return true;
    if (last.starts_with('@')) {
      const auto named = std::ranges::find_if(
          locations_, [&](const Location& other) { return other.how == How::named && other.path == last; });
      if (named == locations_.end()) {
        told(Remark::Kind::left_out, "there is no location " + last);
        refuse(route, "try_files " + last);
        return false;
      }
      if (!settings.root.empty())
        told(Remark::Kind::left_out, "files are not tried first: all goes to " + last,
             "give the folders with files routes of their own");
      content(*named, route);
      return false;
    }
    if (last.starts_with('=')) {
      told(Remark::Kind::left_out, "what is not there is answered by 404");
      return true;
    }
    std::string file = last.substr(0, last.find('?'));
    if (file.starts_with('/') && file.find('$') == std::string::npos && file.ends_with(".html")) {
      fallback = file.substr(1);
      return true;
    }
    told(Remark::Kind::left_out, "only an HTML file stands in for what is not there: " + last,
         "let the application answer these paths");
    refuse(route, "try_files " + last);
    return false;
  }

  const NginxServer& server_;
  NginxUpstreams& upstreams_;
  Remarks& remarks_;
  std::vector<Location> locations_;
  std::vector<Placed> placed_;
  const NginxDirective* danger_ = nullptr;
  std::set<const NginxDirective*> told_;
};

bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

}  // namespace

std::optional<std::string> template_of(std::string_view text, const NginxServer& server, const NginxSettings& settings,
                                       std::string& unknown) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text[i] != '$') {
      out += text[i++];
      continue;
    }
    const bool braced = i + 1 < text.size() && text[i + 1] == '{';
    size_t end = i + (braced ? 2 : 1);
    const size_t begin = end;
    while (end < text.size() && is_name(text[end])) ++end;
    const std::string_view name = text.substr(begin, end - begin);
    if (braced && end < text.size()) ++end;  // '}'
    i = end;
    if (name == "host" || name == "http_host") {
      out += "${host}";
    } else if (name == "request_uri") {
      out += "${uri}";
    } else if (name == "uri" || name == "document_uri") {
      out += "${path}";
    } else if (name == "args" || name == "query_string") {
      out += "${query}";
    } else if (name == "is_args") {
      out += "?";
    } else if (name == "remote_addr" || name == "proxy_add_x_forwarded_for") {
      out += "${client.address}";
    } else if (name == "scheme") {
      out += server.tls ? "https" : "${scheme}";
    } else if (name == "request_method") {
      out += "${method}";
    } else if (name == "request_id") {
      out += "${request_id}";
    } else if (name == "server_name" && !server.name.empty()) {
      out += server.name;
    } else if (const auto constant = settings.variables.find(name); constant != settings.variables.end()) {
      out += constant->second;
    } else {
      unknown = "$" + std::string(name);
      return std::nullopt;
    }
  }
  return out;
}

std::vector<RouteDraft> nginx_routes(const NginxServer& server, NginxUpstreams& upstreams, Remarks& remarks) {
  return ServerRoutes(server, upstreams, remarks).make();
}

}  // namespace trellis::app
