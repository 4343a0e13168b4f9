#include "proxy/config.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "proxy/filter_order.h"
#include "proxy/filters/addresses.h"
#include "proxy/filters/body_limit.h"
#include "proxy/filters/buffer.h"
#include "proxy/filters/cache.h"
#include "proxy/filters/compress.h"
#include "proxy/filters/fault.h"
#include "proxy/filters/headers.h"
#include "proxy/filters/mirror.h"
#include "proxy/filters/redirect.h"
#include "proxy/filters/rewrite.h"
#include "proxy/filters/split.h"

namespace trellis::proxy {

config::Fields<MatchConfig> MatchConfig::fields() {
  return {{"listeners", "listeners where they come in, by name", &MatchConfig::listeners, config::default_is("all")},
          {"host", "host without port: api.example.com, or *.example.com for every name below it", &MatchConfig::host,
           config::default_is("any")},
          {"path", "path: * is one segment, ** is any number of them", &MatchConfig::path, config::default_is("any")},
          {"methods", "methods; GET takes HEAD too", &MatchConfig::methods, config::default_is("any")},
          {"headers", "headers and the values they must have; * is any value", &MatchConfig::headers},
          {"query", "parameters of the query and the values they must have; * is any value", &MatchConfig::query},
          {"cookies", "cookies and the values they must have; * is any value", &MatchConfig::cookies}};
}

bool MatchConfig::takes(std::string_view listener) const {
  return listeners.empty() || std::ranges::find(listeners, listener) != listeners.end();
}

Match MatchConfig::match() const {
  Match out{host, path, methods, {}, {}};
  const auto conditions = [](const auto& from, std::vector<Condition>& to) {
    for (const auto& [name, value] : from)
      to.push_back({name, value == "*" ? std::nullopt : std::optional<std::string>(value)});
  };
  conditions(headers, out.headers);
  conditions(query, out.query);
  conditions(cookies, out.cookies);
  return out;
}

std::string MatchConfig::label() const {
  std::string out;
  for (const std::string& method : methods) out += (out.empty() ? "" : ",") + method;
  if (!out.empty()) out += ' ';
  out += host;
  out += path.empty() ? "/**" : path;
  return out;
}

std::string MatchConfig::conditions() const {
  std::string out;
  const auto add = [&out](std::string_view kind, const std::string& text) {
    if (!out.empty()) out += ", ";
    out.append(kind).append(text);
  };
  std::vector<std::string> names = listeners;
  std::ranges::sort(names);
  for (const std::string& name : names) add("listener ", name);
  const auto add_all = [&](std::string_view kind, auto pairs) {
    std::ranges::sort(pairs);
    for (const auto& [name, value] : pairs) add(kind, name + "=" + value);
  };
  add_all("header ", headers);
  add_all("query ", query);
  add_all("cookie ", cookies);
  return out;
}

std::string_view to_string(TargetConfig::Kind kind) noexcept {
  switch (kind) {
    case TargetConfig::Kind::none: return "none";
    case TargetConfig::Kind::upstream: return "upstream";
    case TargetConfig::Kind::service: return "service";
    case TargetConfig::Kind::files: return "files";
    case TargetConfig::Kind::redirect: return "redirect";
    case TargetConfig::Kind::fixed: return "fixed";
    case TargetConfig::Kind::status: return "status";
    case TargetConfig::Kind::page: return "page";
  }
  return "none";
}

Result<TargetConfig> TargetConfig::from_text(std::string_view text) {
  TargetConfig out;
  const auto named = [&](std::string_view prefix, Kind kind) {
    if (!text.starts_with(prefix)) return false;
    out.kind = kind;
    out.name = text.substr(prefix.size());
    return true;
  };
  if (named("upstream.", Kind::upstream) || named("service.", Kind::service)) {
    if (out.name.empty()) return fail(Code::invalid_argument, "the name is missing");
    return out;
  }
  if (text.starts_with("files ")) {
    std::string_view root = text.substr(6);
    while (root.starts_with(' ')) root.remove_prefix(1);
    if (root.empty()) return fail(Code::invalid_argument, "the directory is missing");
    out.kind = Kind::files;
    out.files.emplace().root = root;
    return out;
  }
  if (text == "status" || text == "page") {
    out.kind = text == "status" ? Kind::status : Kind::page;
    return out;
  }
  return fail(Code::invalid_argument, "no such target");
}

config::Fields<TargetConfig> TargetConfig::fields() {
  return {{"files", "files below a directory", &TargetConfig::files},
          {"redirect", "sends the client elsewhere", &TargetConfig::redirect},
          {"fixed", "the same answer every time", &TargetConfig::fixed}};
}

void TargetConfig::check(config::Checker& at) const { at.exactly_one({"files", "redirect", "fixed"}); }

TargetConfig::Kind TargetConfig::which() const noexcept {
  if (kind != Kind::none) return kind;
  if (files) return Kind::files;
  if (redirect) return Kind::redirect;
  return fixed ? Kind::fixed : Kind::none;
}

std::string TargetConfig::label() const {
  const std::string kind_name(to_string(which()));
  switch (which()) {
    case Kind::upstream:
    case Kind::service: return kind_name + "." + name;
    case Kind::files: return kind_name + " " + files->root;
    default: return kind_name;
  }
}

config::Fields<RouteConfig> RouteConfig::fields() {
  return {{"name", "name in logs and metrics", &RouteConfig::name, config::default_is("the match in short")},
          {"match", "which requests; see the guide on routing for which route wins", &RouteConfig::match},
          {"filters", "what is done on the way; their order is fixed by safety, not by this list",
           &RouteConfig::filters, config::one_key(filter_kinds)},
          {"to", "where requests go", &RouteConfig::to, config::kRequired},
          {"priority", "who is refused last when the node has too much to do: high", &RouteConfig::priority,
           config::one_of<Priority>({{"low", Priority::low}, {"normal", Priority::normal}, {"high", Priority::high}})}};
}

bool RouteConfig::has_cache() const {
  return std::ranges::any_of(filters,
                             [](const config::Entry& each) { return each.as<CacheFilterConfig>() != nullptr; });
}

void RouteConfig::check(config::Checker& at) const {
  for (size_t i = 0; i < filters.size(); ++i) {
    const bool twice = std::any_of(filters.begin(), filters.begin() + static_cast<ptrdiff_t>(i),
                                   [&](const config::Entry& earlier) { return earlier.name == filters[i].name; });
    if (twice) at.problem("filters[" + std::to_string(i) + "]", "`" + filters[i].name + "` stands twice in this route");
  }
  const CacheFilterConfig* cache = nullptr;
  for (const config::Entry& filter : filters) cache = cache ? cache : filter.as<CacheFilterConfig>();
  for (size_t i = 0; cache && i < filters.size(); ++i) {
    const auto* split = filters[i].as<SplitConfig>();
    if (!split || split->is_told_by(cache->key)) continue;
    at.problem("filters[" + std::to_string(i) + "]",
               "`cache` stands before `split`, and would give the answer of one client's way to all",
               "ways of `share: 0%` whose `when` is in key.headers or key.cookies of the cache, or key: path");
  }
}

std::vector<config::KindOf> filter_kinds() {
  return {config::kind<std::vector<AddressBlock>>("allow", "only clients of these address blocks"),
          config::kind<std::vector<AddressBlock>>("deny", "no clients of these address blocks"),
          config::kind<FaultConfig>("fault", "answers late, with errors, slowly or not at all, for tests and drills"),
          config::kind<BodyLimitConfig>("body_limit", "refuses large request bodies"),
          config::kind<HeadersConfig>("headers", "sets, adds and removes header fields"),
          config::kind<RedirectConfig>("redirect", "answers with a redirect"),
          config::kind<RewriteConfig>("rewrite", "changes the path that the target sees"),
          config::kind<CompressConfig>("compress", "compresses answers"),
          config::kind<CacheFilterConfig>("cache", "answers from what was stored, by RFC 9111"),
          config::kind<BufferConfig>("buffer", "keeps bodies, so that slow clients hold no connection to an upstream"),
          config::kind<MirrorConfig>("mirror", "sends copies of requests to another upstream, too"),
          config::kind<SplitConfig>("split", "leads shares of the requests to other targets")};
}

std::vector<std::pair<std::string, const TargetConfig*>> targets_of(const RouteConfig& route) {
  std::vector<std::pair<std::string, const TargetConfig*>> targets = {{"to", &route.to}};
  for (size_t i = 0; i < route.filters.size(); ++i) {
    const std::string place = "filters[" + std::to_string(i) + "].";
    if (const auto* mirror = route.filters[i].as<MirrorConfig>())
      targets.emplace_back(place + "mirror.to", &mirror->to);
    const auto* split = route.filters[i].as<SplitConfig>();
    for (size_t way = 0; split && way < split->ways.size(); ++way)
      targets.emplace_back(place + "split.ways[" + std::to_string(way) + "].to", &split->ways[way].to);
  }
  return targets;
}

namespace {
std::vector<Match> matches_of(const std::vector<RouteConfig>& routes) {
  std::vector<Match> matches;
  for (const RouteConfig& route : routes) matches.push_back(route.match.match());
  return matches;
}
std::vector<size_t> places_of(const std::vector<RouteConfig>& routes, std::string_view listener) {
  std::vector<size_t> places;
  for (size_t i = 0; i < routes.size(); ++i) {
    if (listener.empty() || routes[i].match.takes(listener)) places.push_back(i);
  }
  return places;
}
}  // namespace

void check_routes(const std::vector<RouteConfig>& routes, std::string_view child, config::Checker& at,
                  std::span<const std::string_view> listeners) {
  const std::vector<Match> matches = matches_of(routes);
  constexpr std::string_view kAll[] = {""};
  if (listeners.empty()) listeners = kAll;
  // Each listener has a router of its own, and a fault of a match shows in each of them.
  std::map<std::tuple<size_t, std::string, std::string>, size_t> faults;
  std::map<size_t, std::pair<size_t, std::string>> hidden;  // by route: on how many listeners it never matches, and why
  for (const std::string_view listener : listeners) {
    std::vector<RouteProblem> problems;
    Router::compile(matches, places_of(routes, listener), problems);
    for (RouteProblem& problem : problems) {
      if (!problem.key.empty()) {
        ++faults[{problem.route, std::move(problem.key), std::move(problem.reason)}];
      } else if (++hidden[problem.route].first == 1) {
        hidden[problem.route].second = std::move(problem.reason);
      }
    }
  }
  const auto report = [&](size_t place, const std::string& key, const std::string& reason) {
    const std::string route = std::string(child) + "[" + std::to_string(place) + "]";
    const std::string whole = at.given(route + ".match") ? route + ".match" : route;
    const std::string part = whole + "." + key;
    at.problem(!key.empty() && at.given(part) ? part : whole, reason);
  };
  for (const auto& [fault, count] : faults) report(std::get<0>(fault), std::get<1>(fault), std::get<2>(fault));
  for (const auto& [place, seen] : hidden) {
    const auto takes = [&](std::string_view listener) {
      return listener.empty() || routes[place].match.takes(listener);
    };
    if (seen.first == static_cast<size_t>(std::ranges::count_if(listeners, takes))) report(place, "", seen.second);
  }
}

Router make_router(const std::vector<RouteConfig>& routes, std::string_view listener) {
  std::vector<RouteProblem> problems;
  return Router::compile(matches_of(routes), places_of(routes, listener), problems);
}

Result<std::unique_ptr<Filter>> make_filter(const config::Entry& entry, const FilterParts& parts) {
  if (const auto* blocks = entry.as<std::vector<AddressBlock>>())
    return std::make_unique<AddressFilter>(*blocks, entry.name == "allow");
  if (const auto* config = entry.as<BodyLimitConfig>()) return std::make_unique<BodyLimitFilter>(*config);
  if (const auto* config = entry.as<HeadersConfig>()) return std::make_unique<HeadersFilter>(*config);
  if (const auto* config = entry.as<RedirectConfig>()) return std::make_unique<RedirectFilter>(*config);
  if (const auto* config = entry.as<RewriteConfig>()) return std::make_unique<RewriteFilter>(*config);
  if (const auto* config = entry.as<CompressConfig>()) return std::make_unique<CompressFilter>(*config);
  if (const auto* config = entry.as<FaultConfig>()) return std::make_unique<FaultFilter>(*config, parts);
  if (const auto* config = entry.as<BufferConfig>()) return std::make_unique<BufferFilter>(*config, parts);
  if (const auto* config = entry.as<CacheFilterConfig>()) {
    TRY(std::unique_ptr<Filter> cache, CacheFilter::make(*config, parts));
    return cache;
  }
  if (const auto* config = entry.as<MirrorConfig>()) {
    TRY(std::unique_ptr<Filter> mirror, MirrorFilter::make(*config, parts));
    return mirror;
  }
  if (const auto* config = entry.as<SplitConfig>()) {
    TRY(std::unique_ptr<Filter> split, SplitFilter::make(*config, parts));
    return split;
  }
  return fail(Code::invalid_argument, "no filter '" + entry.name + "'");
}

Result<std::vector<std::unique_ptr<Filter>>> make_filters(const RouteConfig& route, const FilterParts& parts) {
  std::vector<config::Entry> entries = route.filters;
  sort_filters(entries);
  FilterParts of_route = parts;
  of_route.conditions = route.match.conditions();
  of_route.hosts = route.match.host;
  of_route.encoded = std::any_of(entries.begin(), entries.end(),
                                 [](const config::Entry& entry) { return entry.as<CompressConfig>() != nullptr; });
  std::vector<std::unique_ptr<Filter>> filters;
  for (const config::Entry& entry : entries) {
    TRY(std::unique_ptr<Filter> filter, make_filter(entry, of_route));
    filter->name = step_name(entry.name);
    filters.push_back(std::move(filter));
  }
  return filters;
}

Result<std::unique_ptr<http::Handler>> make_target(const TargetConfig& config) {
  switch (config.which()) {
    case TargetConfig::Kind::files: {
      TRY(std::unique_ptr<FilesTarget> files, FilesTarget::make(*config.files));
      return files;
    }
    case TargetConfig::Kind::redirect: return std::make_unique<RedirectTarget>(*config.redirect);
    case TargetConfig::Kind::fixed: {
      TRY(std::unique_ptr<FixedTarget> fixed, FixedTarget::make(*config.fixed));
      return fixed;
    }
    default:
      return fail(Code::invalid_argument,
                  "a target of kind " + std::string(to_string(config.which())) + " is made elsewhere");
  }
}

}  // namespace trellis::proxy
