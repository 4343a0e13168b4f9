#include "proxy/router.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <tuple>

#include "base/rng.h"
#include "proxy/config.h"

namespace trellis::proxy {
namespace {

struct Ask {
  std::string method = "GET";
  std::string host = "example.com";
  std::string path = "/";
  std::string query;
  std::vector<std::pair<std::string, std::string>> headers;
};

Router::Decision ask(const Router& router, const Ask& what) {
  Arena arena;
  http::Request request(arena);
  request.method_text = what.method;
  request.method = http::method_from(what.method);
  request.authority = what.host;
  request.path = what.path;
  request.query = what.query;
  for (const auto& [name, value] : what.headers) request.fields.add_copy(name, value);
  return router.find(request);
}

Router compile(const std::vector<Match>& routes) {
  std::vector<RouteProblem> problems;
  Router router = Router::compile(routes, problems);
  for (const RouteProblem& each : problems) ADD_FAILURE() << each.route << ' ' << each.key << ": " << each.reason;
  return router;
}
Match path(std::string text) { return {"", std::move(text), {}, {}, {}}; }

TEST(PathPattern, TakesWholeSegments) {
  const auto takes = [](const char* pattern, const char* path) { return PathPattern::parse(pattern)->matches(path); };
  EXPECT_TRUE(takes("/a/b", "/a/b"));
  EXPECT_FALSE(takes("/a/b", "/a/b/"));
  EXPECT_FALSE(takes("/a/b", "/a"));
  EXPECT_TRUE(takes("/a/*", "/a/x"));
  EXPECT_FALSE(takes("/a/*", "/a/"));
  EXPECT_FALSE(takes("/a/*", "/a/x/y"));
  EXPECT_TRUE(takes("/a/**", "/a"));
  EXPECT_TRUE(takes("/a/**", "/a/"));
  EXPECT_TRUE(takes("/a/**", "/a/b/c"));
  EXPECT_FALSE(takes("/a/**", "/ab"));
  EXPECT_TRUE(takes("/a/**/z", "/a/z"));
  EXPECT_TRUE(takes("/a/**/z", "/a/b/c/z"));
  EXPECT_FALSE(takes("/a/**/z", "/a/z/b"));
  EXPECT_TRUE(takes("/**", "/"));
  EXPECT_TRUE(takes("", "/any/thing"));
  EXPECT_TRUE(takes("/", "/"));
  EXPECT_FALSE(takes("/", "//"));
  EXPECT_TRUE(takes("/caf%c3%a9", "/caf%C3%A9"));
  EXPECT_TRUE(takes("/café", "/caf%C3%A9"));
  EXPECT_TRUE(takes("/%7euser", "/~user"));
}

TEST(PathPattern, RefusesWhatCannotBeMeant) {
  for (const char* bad : {"a", "/a*", "/**/b/**", "/a?b", "/a#b", "/%zz", "/%4", "/a/../b", "/%00", "/a\nb"})
    EXPECT_FALSE(PathPattern::parse(bad)) << bad;
  EXPECT_FALSE(PathPattern::parse("/" + std::string(5000, 'x')));
}

TEST(Router, TheMostSpecificPathWins) {
  const Router router = compile({path("/**"), path("/v1/**"), path("/v1/*"), path("/v1/links"), path("/v1/*/clicks"),
                                 path("/v1/links/**"), path("/v1/**/clicks"), path("/v1/**/x/clicks")});
  EXPECT_EQ(ask(router, {.path = "/other"}).route, 0u);
  EXPECT_EQ(ask(router, {.path = "/v1"}).route, 1u);
  EXPECT_EQ(ask(router, {.path = "/v1/x"}).route, 2u);
  EXPECT_EQ(ask(router, {.path = "/v1/links"}).route, 3u);
  EXPECT_EQ(ask(router, {.path = "/v1/x/clicks"}).route, 4u);
  EXPECT_EQ(ask(router, {.path = "/v1/links/clicks"}).route, 5u);
  EXPECT_EQ(ask(router, {.path = "/v1/a/b/clicks"}).route, 6u);
  EXPECT_EQ(ask(router, {.path = "/v1/a/x/clicks"}).route, 7u);
  EXPECT_EQ(ask(router, {.path = "/v1/a/b"}).route, 1u);
}

TEST(Router, GoesBackWhenAMoreSpecificBranchEndsInNothing) {
  const Router router = compile({path("/a/b/c"), path("/a/*/d"), path("/**/e")});
  EXPECT_EQ(ask(router, {.path = "/a/b/d"}).route, 1u);
  EXPECT_EQ(ask(router, {.path = "/a/b/e"}).route, 2u);
  EXPECT_EQ(ask(router, {.path = "/a/b/f"}).route, Router::kNone);
}

TEST(Router, TheHostComesBeforeThePath) {
  const Router router = compile({{"", "/v1/links", {}, {}, {}},
                                 {"*.example.com", "/**", {}, {}, {}},
                                 {"*.eu.example.com", "", {}, {}, {}},
                                 {"api.example.com", "/v2/**", {}, {}, {}},
                                 {"[2001:db8::1]", "", {}, {}, {}}});
  EXPECT_EQ(ask(router, {.host = "other.com", .path = "/v1/links"}).route, 0u);
  EXPECT_EQ(ask(router, {.host = "api.example.com", .path = "/v1/links"}).route, 1u);
  EXPECT_EQ(ask(router, {.host = "api.example.com:8443", .path = "/v2/x"}).route, 3u);
  EXPECT_EQ(ask(router, {.host = "api.example.com.", .path = "/v2/x"}).route, 3u);
  EXPECT_EQ(ask(router, {.host = "a.b.eu.example.com", .path = "/"}).route, 2u);
  EXPECT_EQ(ask(router, {.host = "example.com", .path = "/x"}).route, Router::kNone);
  EXPECT_EQ(ask(router, {.host = "[2001:db8::1]:80", .path = "/x"}).route, 4u);
  EXPECT_EQ(ask(router, {.host = "", .path = "/v1/links"}).route, 0u);
}

TEST(Router, MoreConditionsWinAndValuesBreakTies) {
  const Router router = compile({{"", "/a", {}, {}, {}},
                                 {"", "/a", {}, {{"X-Beta", std::nullopt}}, {}},
                                 {"", "/a", {}, {{"x-beta", "1"}}, {}},
                                 {"", "/a", {"GET"}, {{"x-beta", "1"}}, {}},
                                 {"", "/a", {}, {}, {{"v", "2"}}}});
  EXPECT_EQ(ask(router, {.path = "/a"}).route, 0u);
  EXPECT_EQ(ask(router, {.path = "/a", .headers = {{"X-Beta", "0"}}}).route, 1u);
  EXPECT_EQ(ask(router, {.method = "POST", .path = "/a", .headers = {{"x-BETA", "1"}}}).route, 2u);
  EXPECT_EQ(ask(router, {.method = "HEAD", .path = "/a", .headers = {{"x-beta", "1"}}}).route, 3u);
  EXPECT_EQ(ask(router, {.path = "/a", .query = "x&v=%32"}).route, 4u);
  EXPECT_EQ(ask(router, {.path = "/a", .query = "v=3"}).route, 0u);
}

TEST(Router, GoesByCookies) {
  const Router router = compile({{"", "/a", {}, {}, {}},
                                 {"", "/a", {}, {}, {}, {{"beta", std::nullopt}}},
                                 {"", "/a", {}, {}, {}, {{"beta", "1"}}},
                                 {"", "/a", {}, {{"x-beta", std::nullopt}}, {}, {{"beta", "1"}}}});
  const auto with = [&](std::vector<std::pair<std::string, std::string>> headers) {
    return ask(router, {.path = "/a", .headers = std::move(headers)}).route;
  };
  EXPECT_EQ(with({}), 0u);
  EXPECT_EQ(with({{"Cookie", "alpha=1; betamax=1; Beta=1; beta"}}), 0u) << "names have their case";
  EXPECT_EQ(with({{"Cookie", "beta=0"}}), 1u);
  EXPECT_EQ(with({{"Cookie", "alpha=1;beta=1"}}), 2u);
  EXPECT_EQ(with({{"Cookie", "beta=0; beta=1"}}), 2u) << "one of them is enough";
  EXPECT_EQ(with({{"Cookie", "alpha=1"}, {"cookie", "beta=1 "}}), 2u);
  EXPECT_EQ(with({{"Cookie", "beta=1"}, {"X-Beta", ""}}), 3u);
  std::vector<RouteProblem> problems;
  Router::compile(std::vector<Match>{{"", "", {}, {}, {}, {{"a b", "1"}}}}, problems);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].key, "cookies");
}

TEST(Router, TellsTheMethodsOfAPathThatNoRouteTakes) {
  const Router router = compile({{"", "/a", {"POST", "PURGE"}, {}, {}},
                                 {"", "/*", {"GET"}, {}, {}},
                                 {"", "/open/**", {}, {}, {}},
                                 {"", "/open/x", {"GET"}, {}, {}}});
  const Router::Decision decision = ask(router, {.method = "DELETE", .path = "/a"});
  EXPECT_EQ(decision.route, Router::kNone);
  Arena arena;
  EXPECT_EQ(router.allow_text(decision.allowed, arena), "GET, HEAD, POST, PURGE");
  EXPECT_EQ(ask(router, {.method = "PURGE", .path = "/a"}).route, 0u);
  EXPECT_EQ(ask(router, {.method = "GET", .path = "/a"}).route, 1u);
  EXPECT_EQ(ask(router, {.method = "DELETE", .path = "/open/x"}).route, 2u) << "a less specific route takes it";
  EXPECT_EQ(ask(router, {.method = "DELETE", .path = "/a/b"}).allowed, 0u) << "no such path at all";
}

TEST(Router, TheStarOfOptionsGoesOnlyWhereNoPathIsAsked) {
  EXPECT_EQ(ask(compile({path("/a/**"), path("")}), {.method = "OPTIONS", .path = "*"}).route, 1u);
  EXPECT_EQ(ask(compile({path("/a/**")}), {.method = "OPTIONS", .path = "*"}).route, Router::kNone);
}

TEST(Router, ReportsRoutesThatCanNeverMatch) {
  std::vector<RouteProblem> problems;
  Router::compile(std::vector<Match>{{"a.com", "/x/**", {}, {}, {}},
                                     {"A.com", "/x/**", {}, {}, {}},
                                     {"", "/m", {"GET", "POST"}, {}, {}},
                                     {"", "/m", {"GET"}, {}, {}},
                                     {"", "/m", {"PUT"}, {}, {}},
                                     {"", "/m", {"PUT", "POST"}, {}, {}},
                                     {"", "/m", {}, {}, {}}},
                  problems);
  std::vector<size_t> routes;
  for (const RouteProblem& each : problems) routes.push_back(each.route);
  std::sort(routes.begin(), routes.end());
  EXPECT_EQ(routes, (std::vector<size_t>{1, 3, 5}));
}

TEST(Router, ReportsMatchesThatMakeNoSense) {
  std::vector<RouteProblem> problems;
  const Router router = Router::compile(std::vector<Match>{{"a.*.com", "", {}, {}, {}},
                                                           {"a.com:80", "", {}, {}, {}},
                                                           {"ü.com", "", {}, {}, {}},
                                                           {"", "x", {}, {}, {}},
                                                           {"", "", {"G T"}, {}, {}},
                                                           {"", "", {"Get"}, {}, {}},  // refused by the parser
                                                           {"", "", {}, {{"x y", "1"}}, {}},
                                                           {"", "", {}, {}, {{"", "1"}}}},
                                        problems);
  EXPECT_EQ(problems.size(), 8u);
  EXPECT_EQ(router.size(), 0u);
}

TEST(QueryHas, UndoesEscapes) {
  const std::string_view a = "a b";
  EXPECT_TRUE(query_has("x=1&n%61me=a+b", "name", &a));
  EXPECT_TRUE(query_has("name=a%20b", "name", &a));
  EXPECT_FALSE(query_has("name=a", "name", &a));
  EXPECT_TRUE(query_has("name", "name", nullptr));
  EXPECT_FALSE(query_has("names", "name", nullptr));
  const std::string_view broken = "%4";
  EXPECT_TRUE(query_has("name=%4", "name", &broken));
}

// The rules of docs/routing.md, written as directly as possible.
struct Reference {
  const std::vector<Match>& routes;

  static std::vector<std::string> split(const std::string& path) {
    std::vector<std::string> out;
    std::stringstream in(path.substr(1));
    for (std::string part; std::getline(in, part, '/');) out.push_back(part);
    if (path.back() == '/') out.push_back("");
    return out;
  }
  static bool path_fits(const std::vector<std::string>& pattern, size_t p, const std::vector<std::string>& path,
                        size_t at) {
    if (p == pattern.size()) return at == path.size();
    if (pattern[p] == "**") {
      for (size_t next = at; next <= path.size(); ++next) {
        if (path_fits(pattern, p + 1, path, next)) return true;
      }
      return false;
    }
    if (at == path.size() || (pattern[p] == "*" ? path[at].empty() : pattern[p] != path[at])) return false;
    return path_fits(pattern, p + 1, path, at + 1);
  }
  static bool host_fits(const std::string& pattern, const std::string& host) {
    if (pattern.empty()) return true;
    if (!pattern.starts_with("*")) return pattern == host;
    return host.size() > pattern.size() - 1 && host.ends_with(pattern.substr(1));
  }
  static bool method_fits(const Match& match, const std::string& method) {
    if (match.methods.empty()) return true;
    for (const std::string& each : match.methods) {
      if (each == method || (each == "GET" && method == "HEAD")) return true;
    }
    return false;
  }
  static bool conditions_fit(const Match& match, const Ask& what) {
    for (const Condition& want : match.headers) {
      const bool there = std::any_of(what.headers.begin(), what.headers.end(), [&](const auto& have) {
        return have.first == want.name && (!want.equals || have.second == *want.equals);
      });
      if (!there) return false;
    }
    return true;
  }
  // Lower is more specific.
  static auto rank(const Match& match, size_t index) {
    const int host = match.host.empty() ? 2 : match.host.starts_with("*") ? 1 : 0;
    const auto segments = split(match.path);
    std::vector<int> path;
    for (size_t i = 0; i < segments.size(); ++i) {
      if (segments[i] == "**") {
        path.push_back(3);
        path.push_back(-static_cast<int>(segments.size() - i));  // the longer tail
      } else {
        path.push_back(segments[i] == "*" ? 2 : 1);
      }
    }
    int values = 0;
    for (const Condition& each : match.headers) values += each.equals.has_value();
    const int conditions = static_cast<int>(match.headers.size()) + !match.methods.empty();
    return std::make_tuple(host, -static_cast<int>(match.host.size()), path, -conditions, -values, index);
  }
  uint32_t find(const Ask& what) const {
    uint32_t best = Router::kNone;
    for (size_t i = 0; i < routes.size(); ++i) {
      const Match& match = routes[i];
      if (!host_fits(match.host, what.host) || !path_fits(split(match.path), 0, split(what.path), 0)) continue;
      if (!conditions_fit(match, what) || !method_fits(match, what.method)) continue;
      if (best == Router::kNone || rank(match, i) < rank(routes[best], best)) best = static_cast<uint32_t>(i);
    }
    return best;
  }
};

TEST(Router, AgreesWithAPlainReadingOfTheRules) {
  Rng rng(2026);
  const std::vector<std::string> names = {"a", "b", "c"};
  const std::vector<std::string> hosts = {"x.com", "a.x.com", "b.a.x.com", "y.org"};
  const std::vector<std::string> host_patterns = {"", "", "x.com", "a.x.com", "*.x.com", "*.a.x.com"};
  const std::vector<std::string> methods = {"GET", "POST", "HEAD", "PURGE"};
  const auto any = [&](const auto& list) { return list[rng.below(list.size())]; };
  for (int round = 0; round < 150; ++round) {
    std::vector<Match> routes;
    const size_t count = 1 + rng.below(25);
    for (size_t i = 0; i < count; ++i) {
      Match match;
      match.host = any(host_patterns);
      bool rest = false;
      for (size_t depth = 1 + rng.below(4); depth > 0; --depth) {
        const uint64_t kind = rng.below(6);
        if (kind == 0 && !rest) {
          match.path += "/**";
          rest = true;
        } else {
          match.path += kind == 1 ? "/*" : "/" + any(names);
        }
      }
      if (!rest && rng.below(8) == 0) match.path += "/";
      if (rng.below(3) == 0) match.methods = {any(methods)};
      for (const char* header : {"x-a", "x-b"}) {
        if (rng.below(4) == 0)
          match.headers.push_back({header, rng.below(2) == 0 ? std::nullopt : std::optional<std::string>("1")});
      }
      routes.push_back(std::move(match));
    }
    std::vector<RouteProblem> problems;
    const Router router = Router::compile(routes, problems);
    for (const RouteProblem& each : problems) EXPECT_TRUE(each.reason.starts_with("never matches")) << each.reason;
    std::vector<bool> taken(routes.size(), false);
    for (int i = 0; i < 200; ++i) {
      Ask what{any(methods), any(hosts), "", "", {}};
      for (size_t depth = 1 + rng.below(5); depth > 0; --depth)
        what.path += "/" + (rng.below(15) == 0 ? std::string() : any(names));
      for (const char* header : {"x-a", "x-b"}) {
        if (rng.below(2) == 0) what.headers.emplace_back(header, rng.below(2) == 0 ? "1" : "2");
      }
      const uint32_t want = Reference{routes}.find(what);
      const uint32_t got = ask(router, what).route;
      ASSERT_EQ(got, want) << what.method << ' ' << what.host << what.path << " round " << round
                           << (want == Router::kNone ? "" : " want " + routes[want].host + routes[want].path)
                           << (got == Router::kNone ? "" : " got " + routes[got].host + routes[got].path);
      if (got != Router::kNone) taken[got] = true;
    }
    for (const RouteProblem& each : problems)
      EXPECT_FALSE(taken[each.route]) << "a route that was called unreachable was taken";
  }
}

struct DocRoutes {
  std::vector<RouteConfig> routes;
  static config::Fields<DocRoutes> fields() { return {{"routes", "routes", &DocRoutes::routes}}; }
  void check(config::Checker& at) const { check_routes(routes, "routes", at); }
};

// The same with two listeners.
struct TwoListeners {
  std::vector<RouteConfig> routes;
  static config::Fields<TwoListeners> fields() { return {{"routes", "routes", &TwoListeners::routes}}; }
  void check(config::Checker& at) const {
    constexpr std::string_view kNames[] = {"inner", "outer"};
    check_routes(routes, "routes", at, kNames);
  }
};
std::string problems_with(std::string_view yaml) {
  config::Problems problems;
  std::ignore = config::read<TwoListeners>(config::parse(yaml, "r.yaml", {}, problems), problems);
  return problems.to_string();
}

TEST(Router, GivesEachListenerItsOwnRoutes) {
  config::Problems problems;
  const auto read = config::read<TwoListeners>(config::parse(R"(
routes:
  - { match: { listeners: [inner], path: /status }, to: status }
  - { match: { path: /** }, to: { fixed: { body: all } } }
  - { match: { listeners: [outer], path: /x }, to: { fixed: { body: x } } })",
                                                             "r.yaml", {}, problems),
                                               problems);
  ASSERT_TRUE(read) << problems.to_string();
  const Router inner = make_router(read->routes, "inner");
  const Router outer = make_router(read->routes, "outer");
  EXPECT_EQ(ask(inner, {.path = "/status"}).route, 0u);
  EXPECT_EQ(ask(outer, {.path = "/status"}).route, 1u);
  EXPECT_EQ(ask(inner, {.path = "/x"}).route, 1u);
  EXPECT_EQ(ask(outer, {.path = "/x"}).route, 2u);  // places stay those of the file
}

TEST(Router, ReportsARouteThatNoneOfItsListenersEverTakes) {
  EXPECT_EQ(problems_with(R"(
routes:
  - { match: { listeners: [inner], path: /a }, to: status }
  - { match: { path: /a }, to: status })"),
            "");  // the second one is for outer
  EXPECT_NE(problems_with(R"(
routes:
  - { match: { path: /a }, to: status }
  - { match: { listeners: [inner], path: /a }, to: status })")
                .find("routes[1].match: never matches"),
            std::string::npos);
  EXPECT_EQ(problems_with("routes:\n  - { match: { host: a b }, to: status }\n").find("no host name"),
            problems_with("routes:\n  - { match: { host: a b }, to: status }\n").rfind("no host name"));
}

// The routes and the table of docs/routing.md, so that what is promised there is what happens.
TEST(Router, DoesWhatTheGuideSays) {
  std::ifstream file(std::string(TRELLIS_SOURCE_DIR) + "/docs/routing.md");
  std::stringstream text;
  text << file.rdbuf();
  const std::string guide = text.str();
  const size_t begin = guide.find("```yaml\nroutes:");
  ASSERT_NE(begin, std::string::npos);
  const std::string yaml = guide.substr(begin + 8, guide.find("```", begin + 8) - begin - 8);
  config::Problems problems;
  const auto read = config::read<DocRoutes>(config::parse(yaml, "routing.md", {}, problems), problems);
  ASSERT_TRUE(read) << problems.to_string();
  const Router router = make_router(read->routes);

  int rows = 0;
  std::istringstream lines(guide);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("| `GET ") && !line.starts_with("| `POST ") && !line.starts_with("| `DELETE ")) continue;
    const size_t end = line.find('`', 3);
    std::istringstream request(line.substr(3, end - 3));
    Ask what;
    std::string url;
    request >> what.method >> url;
    for (std::string header; request >> header;)
      what.headers.emplace_back(header.substr(0, header.find(':')), header.substr(header.find(':') + 1));
    const size_t slash = url.find('/');
    const size_t question = url.find('?');
    what.host = url.substr(0, slash);
    what.path = url.substr(slash, question - slash);
    if (question != std::string::npos) what.query = url.substr(question + 1);
    const size_t cell = line.find("| ", end) + 2;
    const std::string want = line.substr(cell, line.find(" |", cell) - cell);
    const Router::Decision decision = ask(router, what);
    Arena arena;
    const std::string got = decision.route != Router::kNone ? read->routes[decision.route].name
                            : decision.allowed != 0
                                ? "405, Allow: " + std::string(router.allow_text(decision.allowed, arena))
                                : "404";
    EXPECT_EQ(got, want) << line;
    ++rows;
  }
  EXPECT_GE(rows, 12);
}

}  // namespace
}  // namespace trellis::proxy
