// Hits of the memory cache a second, by policy, on one thread and on two: 10,000 texts of 100 bytes, asked for at
// random or by a Zipf distribution (s = 1), the keys drawn beforehand.
#include <benchmark/benchmark.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/rng.h"
#include "cache/memory_cache.h"

namespace trellis::cache {
namespace {

constexpr size_t kKeys = 10'000;
constexpr size_t kDraws = 1 << 16;
constexpr Time kNow = Time(std::chrono::hours(1));

struct Filled {
  explicit Filled(EvictionPolicy policy)
      : cache({.name = "bench", .capacity = uint64_t{64} << 20, .policy = policy}, metrics), space(cache, options()) {
    for (size_t i = 0; i < kKeys; ++i) {
      keys.push_back("key" + std::to_string(i));
      space.put(keys.back(), std::string(100, 'x'), kNow, space.stamp(keys.back()));
    }
  }
  static CacheSpace<std::string>::Options options() {
    CacheSpace<std::string>::Options options;
    options.name = "texts";
    options.bytes_of = [](const std::string& text) { return text.capacity(); };
    return options;
  }
  Metrics metrics;
  MemoryCache cache;
  CacheSpace<std::string> space;
  std::vector<std::string> keys;
};

std::vector<uint32_t> draws(bool zipf, uint64_t seed) {
  Rng rng(seed);
  std::vector<uint32_t> drawn(kDraws);
  // Keys by a Zipf distribution with s = 1 lie evenly on a logarithmic scale.
  for (uint32_t& key : drawn) {
    const double at = zipf ? std::pow(static_cast<double>(kKeys), rng.unit()) - 1 : rng.unit() * kKeys;
    key = static_cast<uint32_t>(at);
  }
  return drawn;
}

void hit(benchmark::State& state) {
  static std::unique_ptr<Filled> filled;
  const auto thread = static_cast<size_t>(state.thread_index());
  if (thread == 0) filled = std::make_unique<Filled>(kEvictionPolicies[state.range(0)]);
  set_metrics_slot(thread);
  const std::vector<uint32_t> order = draws(state.range(1) != 0, thread + 1);
  size_t i = 0;
  uint64_t bytes = 0;
  for (auto _ : state) {
    filled->space.look(filled->keys[order[i++ & (kDraws - 1)]], kNow,
                       [&](const std::string& text) { bytes += text.size(); });
  }
  if (bytes != 100 * static_cast<uint64_t>(state.iterations())) state.SkipWithError("missed");
  state.SetItemsProcessed(state.iterations());
  state.SetLabel(std::string(to_string(kEvictionPolicies[state.range(0)])));
}
BENCHMARK(hit)
    ->ArgNames({"policy", "zipf"})
    ->ArgsProduct({{0, 1, 2, 3, 4, 5}, {0, 1}})
    ->ThreadRange(1, 2)
    ->UseRealTime();

// A miss of a full cache: the object is put and another leaves.
void put(benchmark::State& state) {
  Filled filled(kEvictionPolicies[state.range(0)]);
  uint64_t next = 0;
  const auto make_room = [&] {
    const std::string key = "new" + std::to_string(next++);
    filled.space.put(key, std::string(100, 'x'), kNow, filled.space.stamp(key));
  };
  while (filled.cache.bytes() < filled.cache.capacity() * 95 / 100) make_room();
  for (auto _ : state) make_room();
  state.SetItemsProcessed(state.iterations());
  state.SetLabel(std::string(to_string(kEvictionPolicies[state.range(0)])));
}
BENCHMARK(put)->ArgName("policy")->DenseRange(0, 5);

}  // namespace
}  // namespace trellis::cache

BENCHMARK_MAIN();
