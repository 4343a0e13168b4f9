// How long it takes to find a route, with few routes and with many: what grows is cache misses, not steps.
//
// Measured on a busy two-core machine, medians of 15 alternating runs in CPU ns (smallest to largest): 10 routes 130
// (84 to 164), 1000 routes 166 (113 to 174), 10,000 routes 227 (161 to 254). Before the tables were packed, with this
// same benchmark: 129, 169 and 299 (191 to 418), so packing pays with many routes only.
#include <benchmark/benchmark.h>

#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "proxy/router.h"

namespace trellis::proxy {
namespace {

struct Ask {
  std::string host;
  std::string path;
};

// Routes as an API gateway has them: some hosts, versions, resources, ids and a catch-all for each host.
void fill(size_t count, std::vector<Match>& routes, std::vector<Ask>& asks) {
  const size_t hosts = count < 100 ? 2 : count / 50;
  while (routes.size() < count) {
    const size_t i = routes.size();
    const std::string host = "api" + std::to_string(i % hosts) + ".example.com";
    const std::string resource = "/v1/resource" + std::to_string(i / hosts);
    switch (i % 4) {
      case 0: routes.push_back({host, resource + "/**", {}, {}, {}}); break;
      case 1: routes.push_back({host, resource + "/*", {"GET"}, {}, {}}); break;
      case 2: routes.push_back({host, resource, {"GET", "POST"}, {}, {}}); break;
      default: routes.push_back({host, resource + "/*/items/*", {}, {}, {}}); break;
    }
    static constexpr const char* kTails[] = {"/a/b/c", "/7f3a", "", "/7f3a/items/12"};
    asks.push_back({host, resource + kTails[i % 4]});
  }
}

void find_route(benchmark::State& state) {
  std::vector<Match> routes;
  std::vector<Ask> asks;
  fill(static_cast<size_t>(state.range(0)), routes, asks);
  std::vector<RouteProblem> problems;
  const Router router = Router::compile(routes, problems);
  Rng rng(1);
  for (size_t i = asks.size(); i > 1; --i) std::swap(asks[i - 1], asks[rng.below(i)]);
  // Read in the order they lie in, as a request that was just parsed: what may miss the caches is the router's own.
  Arena arena;
  std::vector<std::pair<std::string_view, std::string_view>> requests;
  for (const Ask& ask : asks) requests.emplace_back(arena.copy(ask.host), arena.copy(ask.path));
  http::Request request(arena);
  request.method_text = "GET";
  request.fields.add("User-Agent", "bench");
  size_t at = 0;
  size_t found = 0;
  for (auto _ : state) {
    std::tie(request.authority, request.path) = requests[at];
    if (++at == requests.size()) at = 0;
    found += router.find(request).route != Router::kNone;
  }
  if (found != static_cast<size_t>(state.iterations())) state.SkipWithError("a route was not found");
}
BENCHMARK(find_route)->Arg(10)->Arg(1000)->Arg(10'000);

}  // namespace
}  // namespace trellis::proxy

BENCHMARK_MAIN();
