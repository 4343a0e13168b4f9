// What picking a host costs, by policy and number of hosts, and building a balancer and the table of its keys anew.
#include <benchmark/benchmark.h>

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "upstream/balancer.h"
#include "upstream/region_balancer.h"

namespace {

using namespace trellis;
using namespace trellis::upstream;

constexpr Balance kPolicies[] = {Balance::round_robin, Balance::weighted,   Balance::least_connections,
                                 Balance::two_choices, Balance::least_time, Balance::hash,
                                 Balance::maglev};
const char* const kNames[] = {"round_robin", "weighted", "least_connections", "two_choices", "least_time",
                              "hash",        "maglev"};
constexpr size_t kUnderWay = 4;  // requests a host
constexpr size_t kRegions = 5;

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

// Picks with what goes with them: one request begins, the oldest ends. `regions_of`: the order of a request's client.
template <class RegionsOf>
void run_picks(benchmark::State& state, Upstream& upstream, Balancer& balancer, Rng& rng, RegionsOf regions_of) {
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
      balancer.load_changed(slot);
    }
    const uint64_t key = rng.next();
    slot = *balancer.pick({.now = now, .key = key, .active = active, .tried = {}, .regions = regions_of(key)});
    ++upstream.loads[slot].active;
    ++active;
    balancer.load_changed(slot);
  }
}

void pick(benchmark::State& state) {
  const auto policy = static_cast<size_t>(state.range(0));
  Upstream upstream(static_cast<size_t>(state.range(1)));
  Rng rng(1);
  const BalanceOptions options{.bound = state.range(2) == 0 ? 0 : 1.25};
  const auto balancer =
      make_balancer(kPolicies[policy], upstream.hosts, options, make_key_table(kPolicies[policy], upstream.hosts), rng);
  run_picks(state, upstream, *balancer, rng, [](uint64_t) { return std::span<const RegionId>(); });
  state.SetLabel(std::string(kNames[policy]) + (state.range(2) == 0 ? "" : ", bound 1.25"));
}

// Hosts in five regions, clients of each.
std::unique_ptr<Balancer> by_region(const Upstream& upstream, Rng& rng) {
  std::vector<RegionBalancer::Member> members;
  for (const BalanceHost& host : upstream.hosts)
    members.push_back({host, static_cast<RegionId>(host.id % kRegions), true});
  return std::make_unique<RegionBalancer>(members, kRegions, [&](std::vector<BalanceHost> hosts) {
    return make_balancer(Balance::two_choices, std::move(hosts), {}, nullptr, rng);
  });
}

void pick_in_region(benchmark::State& state) {
  Upstream upstream(static_cast<size_t>(state.range(0)));
  Rng rng(1);
  const auto balancer = by_region(upstream, rng);
  RegionId orders[kRegions][kRegions];
  for (size_t home = 0; home < kRegions; ++home) {
    for (size_t i = 0; i < kRegions; ++i) orders[home][i] = static_cast<RegionId>((home + i) % kRegions);
  }
  run_picks(state, upstream, *balancer, rng,
            [&](uint64_t key) { return std::span<const RegionId>(orders[key % kRegions]); });
  state.SetLabel("two_choices in five regions");
}

void build_regions(benchmark::State& state) {
  Upstream upstream(static_cast<size_t>(state.range(0)));
  Rng rng(1);
  for (auto _ : state) benchmark::DoNotOptimize(by_region(upstream, rng));
  state.SetLabel("two_choices in five regions");
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
BENCHMARK(pick_in_region)->Arg(10)->Arg(1'000)->Arg(10'000);
BENCHMARK(build_regions)->Arg(10)->Arg(1'000)->Arg(10'000);
BENCHMARK(build)->Apply([](benchmark::internal::Benchmark* bench) { sizes(bench, {0, 1, 2, 3, 4, 5, 6}); });
BENCHMARK(build_keys)
    ->Apply([](benchmark::internal::Benchmark* bench) { sizes(bench, {5, 6}); })
    ->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();
