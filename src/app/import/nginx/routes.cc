#include "app/import/nginx/routes.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "app/import/nginx/conditions.h"
#include "app/import/nginx/content.h"
#include "app/import/nginx/path.h"

namespace trellis::app {

namespace {

using How = NginxLocation::How;

// One route with how nginx would come to it.
struct Placed {
  How how;
  std::string pattern;
  RouteDraft route;
  const NginxDirective* limited_by = nullptr;  // the location whose limit_except has still to be heeded
};

// Exact comes first, then ^~, then the first expression, then a prefix.
int rank(How how) {
  switch (how) {
    case How::exact: return 0;
    case How::prefix_first: return 1;
    case How::regex: return 2;
    default: return 3;
  }
}

// Everything below "/a/", for "/a/**" without another wildcard.
std::optional<std::string> below_of(const std::string& pattern) {
  if (!pattern.ends_with("/**") || pattern.find('*') != pattern.size() - 2) return std::nullopt;
  return pattern.substr(0, pattern.size() - 2);
}

class ServerRoutes {
 public:
  ServerRoutes(const NginxServer& server, NginxUpstreams& upstreams, Remarks& remarks)
      : server_(server), remarks_(remarks), answers_at_once_(server.block.find("return")) {
    if (!answers_at_once_) locations_ = nginx_locations(server, remarks);
    content_.emplace(server_, locations_, upstreams, remarks);
  }

  std::vector<RouteDraft> make() {
    if (answers_at_once_) {
      RouteDraft all = route_from(*answers_at_once_);
      if (server_.settings.guards_returns()) {
        all = refused_route(all, *server_.settings.guards.begin());
      } else {
        content_->answer(*answers_at_once_, server_.settings, all);
      }
      put(How::prefix, "/**", std::move(all));
      place_moved();
    } else {
      for (const NginxLocation& location : locations_) place(location);
      place_moved();
      close_gaps();
      catch_all();
      drop_unreached();
    }
    for (const NginxDirective& one : server_.block.block) {
      if (&one == answers_at_once_) break;
      if (one.name == "if") limit_server(one);
    }
    std::vector<RouteDraft> out = content_->conditions_of_server();
    for (Placed& placed : placed_) out.push_back(std::move(placed.route));
    return out;
  }

 private:
  bool has(const std::string& pattern) const {
    return std::ranges::find(placed_, pattern, &Placed::pattern) != placed_.end();
  }
  void put(How how, const std::string& pattern, RouteDraft route, const NginxDirective* location = nullptr) {
    route.match.path = pattern;
    placed_.push_back({how, pattern, std::move(route), location});
  }

  void place(const NginxLocation& location) {
    if (location.how == How::named) return;
    const PathPatterns paths = patterns_of(location);
    if (paths.patterns.empty()) return;
    RouteDraft route = route_from(*location.block);
    content_->fill(location, route);
    for (RouteDraft& condition : content_->take_conditions()) {
      place_condition(condition);
      conditions_.emplace_back(location.block, std::move(condition));
    }
    for (const std::string& pattern : paths.patterns) {
      const std::string bare = pattern.ends_with("/**") ? pattern.substr(0, pattern.size() - 3) : pattern;
      const bool without_bare = std::ranges::find(paths.too_much, bare) != paths.too_much.end();
      const auto taken = std::ranges::find(placed_, pattern, &Placed::pattern);
      if (taken != placed_.end() && rank(location.how) >= rank(taken->how)) {
        const bool left_to_it = std::ranges::find(too_much_, bare) != too_much_.end() && !without_bare;
        if (left_to_it && !has(bare)) put(location.how, bare, route, location.block);
        continue;
      }
      if (taken != placed_.end()) placed_.erase(taken);
      put(location.how, pattern, route, location.block);
      if (without_bare) too_much_.push_back(bare);
    }
    narrow_methods(location);
  }
  // Beside all others of its path: of the same path, the route with more conditions comes first.
  void place_condition(const RouteDraft& condition) {
    placed_.push_back({How::exact, condition.match.path + "?" + std::to_string(placed_.size()), condition});
  }

  // None: no list of patterns says it, which is told.
  PathPatterns patterns_of(const NginxLocation& location) {
    const NginxDirective& block = *location.block;
    if (location.how == How::exact || is_one_file(location)) return {.patterns = {pattern_literal(location.path)}};
    if (location.how == How::regex) {
      std::optional<PathPatterns> paths = paths_of_regex(location.path);
      if (!paths) {
        const bool serves = code_of(block) || block.find("proxy_pass");
        remarks_.left_out(
            block.at, block.name,
            "routes compare whole segments, this expression says something else: " + location.path,
            serves ? "its requests go where the other locations lead; write routes for the paths that are meant"
                   : "its requests are treated as the other locations say");
        return {};
      }
      if (paths->wider)
        remarks_.differs(block.at, block.name,
                         "whole segments are compared: longer names that begin alike are not matched");
      if (location.ignores_case()) remarks_.differs(block.at, block.name, "paths are compared with their case");
      return *std::move(paths);
    }
    std::string path = pattern_literal(location.path);
    const bool closed = path.ends_with('/');
    while (path.ends_with('/')) path.pop_back();
    if (closed) return {.patterns = {path + "/**"}};
    remarks_.differs(
        block.at, block.name,
        "whole segments are compared: " + location.path + " and what is below it, not " + location.path + "x");
    const bool with_slash_too = std::ranges::any_of(
        locations_, [&](const NginxLocation& other) { return other.is_prefix() && other.path == location.path + "/"; });
    return {.patterns = {with_slash_too ? path : path + "/**"}};
  }

  // `if ($request_method !~ ^(GET|POST)$) { return 405; }` beside the locations: what no other route takes then.
  void limit_server(const NginxDirective& condition) {
    const auto methods = methods_of(condition);
    if (!methods) return;
    tell_head(condition, *methods);
    for (Placed& placed : placed_) {
      std::vector<std::string>& own = placed.route.match.methods;
      if (own.empty()) own = *methods;
      std::erase_if(own,
                    [&](const std::string& method) { return std::ranges::find(*methods, method) == methods->end(); });
    }
    std::erase_if(placed_, [](const Placed& placed) { return placed.route.match.methods.empty(); });
    RouteDraft refusal = route_from(condition);
    content_->answer(*return_of(condition), server_.settings, refusal);
    put(How::prefix, "/**", std::move(refusal));
  }
  // The same within a location, and limit_except GET { deny all; }: for the methods beside it there is a route of its
  // own.
  void narrow_methods(const NginxLocation& location) {
    const NginxDirective* limit = content_->method_limit(location);
    std::vector<Placed> others;
    for (const NginxDirective& one : location.block->block) {
      const auto methods = one.name == "if" ? methods_of(one) : std::nullopt;
      if (!methods) continue;
      if (limit || !others.empty()) {
        remarks_.left_out(one.at, one.name, "a location limits its methods once", "what it refused is let through");
        continue;
      }
      tell_head(one, *methods);
      for (Placed& placed : placed_) {
        if (placed.limited_by != location.block) continue;
        placed.limited_by = nullptr;
        RouteDraft refusal = route_from(one);
        content_->answer(*return_of(one), location.settings, refusal, location.path);
        refusal.match.path = placed.pattern;
        placed.route.match.methods = *methods;
        others.push_back({placed.how, placed.pattern, std::move(refusal)});
      }
    }
    if (!limit) {
      std::ranges::move(others, std::back_inserter(placed_));
      return;
    }
    for (Placed& placed : placed_) {
      if (placed.limited_by != location.block) continue;
      placed.limited_by = nullptr;
      Placed other = placed;
      other.route.at = limit->at;
      other.route.directive = directive_text(*limit);
      content_->limit_methods(*limit, other.route);
      placed.route.match.methods = limit->words;
      others.push_back(std::move(other));
    }
    std::ranges::move(others, std::back_inserter(placed_));
  }

  void tell_head(const NginxDirective& condition, const std::vector<std::string>& methods) {
    const auto has = [&](const char* method) { return std::ranges::find(methods, method) != methods.end(); };
    if (has("GET") && !has("HEAD")) remarks_.differs(condition.at, condition.name, "a route for GET takes HEAD, too");
  }

  // `rewrite ... permanent` beside the locations comes before all of them, and the first before the others.
  void place_moved() {
    std::vector<std::string> moved;  // patterns
    const auto by_others = [&](const Placed& placed) {
      return std::ranges::find(moved, placed.pattern) == moved.end();
    };
    for (const NginxDirective& one : server_.block.block) {
      if (&one == answers_at_once_) return;  // those behind it are never asked
      if (one.name != "rewrite") continue;
      const std::string_view flag = one.word(2);
      const std::string to(one.word(1));
      const uint64_t status = flag == "permanent" ? 301 : 302;
      const bool away = flag == "permanent" || flag == "redirect" || to.starts_with("http");
      const WholePath whole = whole_path(one.word(0));
      RouteDraft route = route_from(one);
      if (away && whole != WholePath::no) {
        if (!content_->redirect(one, to, status, whole, server_.settings, route)) continue;
        std::erase_if(placed_, by_others);
        locations_.clear();
        put(How::exact, "/**", std::move(route));
        return;
      }
      if (const auto below = away ? content_->redirect_below(one, server_.settings, route) : std::nullopt) {
        const std::string path = pattern_literal(*below);
        if (below_moved(moved, path + "/")) continue;
        if (answers_at_once_) {
          remarks_.differs(one.at, one.name, *below + " is redirected, too, not only what is below it");
        } else {
          too_much_.push_back(path);
        }
        std::erase_if(
            placed_, [&](const Placed& placed) { return by_others(placed) && placed.pattern.starts_with(path + "/"); });
        put(How::exact, path + "/**", std::move(route));
        moved.push_back(path + "/**");
        continue;
      }
      const std::optional<PathPatterns> paths = away ? paths_of_regex(one.word(0)) : std::nullopt;
      if (!paths || paths->wider || to.find("$1") != std::string::npos) {
        remarks_.left_out(one.at, one.name, "only a fixed path, or a prefix within a location, is rewritten",
                          "write a route with a redirect or with rewrite: { strip_prefix, add_prefix }");
        continue;
      }
      for (const std::string& path : paths->too_much)
        remarks_.differs(one.at, one.name, path + " is redirected, too, not only what is below it");
      for (const std::string& pattern : paths->patterns) {
        if (below_moved(moved, pattern)) continue;
        RouteDraft fixed = route_from(one);
        if (!content_->redirect(one, to, status, WholePath::unused, server_.settings, fixed)) break;
        std::erase_if(placed_, [&](const Placed& placed) { return placed.pattern == pattern; });
        put(How::exact, pattern, std::move(fixed));
        moved.push_back(pattern);
      }
    }
  }
  // Does an earlier rewrite take the pattern, or everything around it?
  static bool below_moved(const std::vector<std::string>& moved, const std::string& pattern) {
    return std::ranges::any_of(moved, [&](const std::string& one) {
      const std::optional<std::string> below = below_of(one);
      return one == pattern || (below && pattern.starts_with(*below));
    });
  }

  // `location /api/` does not take /api, and `/api/**` does: what nginx does with /api gets a route of its own.
  void close_gaps() {
    for (const NginxLocation& location : locations_) {
      if (!location.is_prefix() || location.path == "/") continue;
      const bool closed = location.path.ends_with('/');
      const std::string bare = location.path.substr(0, location.path.size() - (closed ? 1 : 0));
      const std::string pattern = pattern_literal(bare);
      if (pattern.empty() || pattern.ends_with('/') || has(pattern)) continue;
      const bool forwards = location.block->find("proxy_pass") || code_of(*location.block);
      const bool alias = location.block->find("alias");
      const std::vector<RouteDraft> expression = expression_for(pattern);
      if (closed && forwards) {  // before any expression
        place_slash(location, pattern);
      } else if (!expression.empty()) {  // which `^~ /api/` keeps from what is below alone
        if (location.how == How::prefix_first) {
          for (const RouteDraft& route : expression) put(How::exact, pattern, route);
        }
      } else if (!closed && alias && has(pattern + "/**")) {
        place_slash(location, pattern);
      } else if (closed && (alias || longest_prefix(bare))) {  // else the server's own files, as for everything
        place_as_if_alone(pattern, bare);
      }
    }
    for (const std::string& pattern : too_much_) {
      if (!has(pattern) && expression_for(pattern).empty())
        place_as_if_alone(pattern, pattern.substr(0, pattern.find('*')));
    }
  }
  void place_slash(const NginxLocation& location, const std::string& pattern) {
    RouteDraft route = route_from(*location.block);
    route.to = "{ redirect: { to: " + yaml_text(pattern + "/?${query}") + ", status: 301 } }";
    put(How::exact, pattern, std::move(route));
  }
  // As the prefixes have the path, or else the server itself.
  void place_as_if_alone(const std::string& pattern, std::string_view path) {
    const NginxLocation* taker = longest_prefix(path);
    const NginxLocation rest = whole_server();
    if (!taker) taker = &rest;
    RouteDraft route = route_from(*taker->block);
    content_->fill(*taker, route);
    put(How::exact, pattern, std::move(route), taker->block);
    narrow_methods(*taker);
    for (auto [block, condition] : conditions_) {
      if (block != taker->block) continue;
      condition.match.path = pattern;
      place_condition(condition);
    }
  }
  NginxLocation whole_server() const { return {How::prefix, "/", &server_.block, server_.settings}; }
  // The routes of the first expression that takes everything around the path.
  std::vector<RouteDraft> expression_for(const std::string& pattern) const {
    std::vector<RouteDraft> out;
    std::string of;
    for (const Placed& placed : placed_) {
      if (placed.how != How::regex || !placed.pattern.ends_with("/**")) continue;
      if (!pattern.starts_with(placed.pattern.substr(0, placed.pattern.size() - 2))) continue;
      if (out.empty()) of = placed.pattern;
      if (placed.pattern == of) out.push_back(placed.route);
    }
    return out;
  }
  const NginxLocation* longest_prefix(std::string_view path) const {
    const NginxLocation* best = nullptr;
    for (const NginxLocation& location : locations_) {
      if (!location.is_prefix() || !path.starts_with(location.path)) continue;
      if (!best || location.path.size() > best->path.size()) best = &location;
    }
    return best;
  }

  // What no location takes is a file below the server's root.
  void catch_all() {
    const auto everything = [](const Placed& placed) {
      return placed.pattern == "/**" && placed.route.match.methods.empty();
    };
    if (std::ranges::any_of(placed_, everything)) return;
    const NginxLocation rest = whole_server();
    RouteDraft route = route_from(server_.block);
    content_->fill(rest, route);
    put(How::prefix, "/**", std::move(route));
  }

  // An expression that takes all below a prefix keeps longer prefixes and later expressions there from ever being
  // asked.
  void drop_unreached() {
    for (size_t i = 0; i < placed_.size(); ++i) {
      if (placed_[i].how != How::regex) continue;
      const std::string pattern = placed_[i].pattern;
      const std::optional<std::string> below = below_of(pattern);
      if (!below) {
        if (pattern.find('*') != std::string::npos)
          remarks_.differs(placed_[i].route.at, "location",
                           "a more specific path of another location comes before this expression");
        continue;
      }
      const std::string first = std::to_string(placed_[i].route.at.line);
      std::vector<Placed> kept;
      for (size_t j = 0; j < placed_.size(); ++j) {
        const Placed& other = placed_[j];
        const bool inside = other.pattern.size() > pattern.size() && other.pattern.starts_with(*below);
        const bool later = other.how == How::prefix || (other.how == How::regex && j > i);
        if (j != i && inside && later) {
          remarks_.differs(other.route.at, "location",
                           "nginx never reaches it: the expression of line " + first + " comes first; it is dropped");
          continue;
        }
        kept.push_back(other);
      }
      if (kept.size() != placed_.size()) {
        placed_ = std::move(kept);
        i = 0;
      }
    }
  }

  const NginxServer& server_;
  Remarks& remarks_;
  const NginxDirective* answers_at_once_;  // `return` beside the locations: they are never asked
  std::vector<NginxLocation> locations_;
  std::optional<NginxContent> content_;
  std::vector<Placed> placed_;
  std::vector<std::pair<const NginxDirective*, RouteDraft>> conditions_;  // by their locations
  std::vector<std::string> too_much_;  // taken by patterns of expressions and rewrites that do not match them
};

}  // namespace

std::vector<RouteDraft> nginx_routes(const NginxServer& server, NginxUpstreams& upstreams, Remarks& remarks) {
  return ServerRoutes(server, upstreams, remarks).make();
}

}  // namespace trellis::app
