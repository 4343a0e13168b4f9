// What picking a host costs, by policy and number of hosts, and building a balancer and the table of its keys anew.
#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "upstream/balancer.h"

namespace {

using namespace trellis;
using namespace trellis::upstream;

constexpr Balance kPolicies[] = {Balance::round_robin, Balance::weighted,   Balance::least_connections,
                                 Balance::two_choices, Balance::least_time, Balance::hash,
                                 Balance::maglev};
const char* const kNames[] = {"round_robin", "weighted", "least_connections", "two_choices", "least_time",
                              "hash",        "maglev"};
constexpr size_t kUnderWay = 4;  // requests a host

struct Upstream {
  explicit Upstream(size_t count) : loads(count) {
    for (size_t i = 0; i < count; ++i) names.push_back("10.0.0." + std::to_string(i) + ":8080");
    for (size_t i = 0; i < count; ++i)
      hosts.push_back({static_cast<HostId>(i), names[i], static_cast<uint32_t>(1 + i % 5), &loads[i]});
  }
  std::vector<std::string> names;
  std::vector<HostLoad> loads;
  std::vector<BalanceHost> hosts;
};

// A pick with what goes with it: one request begins, the oldest ends.
void pick(benchmark::State& state) {
  const auto policy = static_cast<size_t>(state.range(0));
  Upstream upstream(static_cast<size_t>(state.range(1)));
  Rng rng(1);
  const BalanceOptions options{.bound = state.range(2) == 0 ? 0 : 1.25};
  const auto balancer =
      make_balancer(kPolicies[policy], upstream.hosts, options, make_key_table(kPolicies[policy], upstream.hosts), rng);
  std::vector<HostId> under_way(kUnderWay * upstream.hosts.size(), UINT32_MAX);
  size_t next = 0;
  uint64_t active = 0;
  const Time now{};
  for (auto _ : state) {
    HostId& slot = under_way[next];
    next = next + 1 == under_way.size() ? 0 : next + 1;
    if (slot != UINT32_MAX) {
      --upstream.loads[slot].active;
      --active;
      balancer->load_changed(slot);
    }
    slot = *balancer->pick({.now = now, .key = rng.next(), .active = active, .tried = {}});
    ++upstream.loads[slot].active;
    ++active;
    balancer->load_changed(slot);
  }
  state.SetLabel(std::string(kNames[policy]) + (state.range(2) == 0 ? "" : ", bound 1.25"));
}

void build(benchmark::State& state) {
  const auto policy = static_cast<size_t>(state.range(0));
  Upstream upstream(static_cast<size_t>(state.range(1)));
  Rng rng(1);
  const auto keys = make_key_table(kPolicies[policy], upstream.hosts);
  for (auto _ : state) {
    benchmark::DoNotOptimize(make_balancer(kPolicies[policy], upstream.hosts, {}, keys, rng));
  }
  state.SetLabel(kNames[policy]);
}

void build_keys(benchmark::State& state) {
  const auto policy = static_cast<size_t>(state.range(0));
  Upstream upstream(static_cast<size_t>(state.range(1)));
  for (auto _ : state) benchmark::DoNotOptimize(make_key_table(kPolicies[policy], upstream.hosts));
  state.SetLabel(kNames[policy]);
}

void sizes(benchmark::internal::Benchmark* bench, std::initializer_list<int64_t> policies) {
  for (const int64_t policy : policies) {
    for (const int64_t hosts : {10, 1'000, 10'000}) bench->Args({policy, hosts, 0});
  }
}

BENCHMARK(pick)
    ->Apply([](benchmark::internal::Benchmark* bench) { sizes(bench, {0, 1, 2, 3, 4, 5, 6}); })
    ->Args({5, 1'000, 1})
    ->Args({6, 1'000, 1});
BENCHMARK(build)->Apply([](benchmark::internal::Benchmark* bench) { sizes(bench, {0, 1, 2, 3, 4, 5, 6}); });
BENCHMARK(build_keys)
    ->Apply([](benchmark::internal::Benchmark* bench) { sizes(bench, {5, 6}); })
    ->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
