// What counting costs on the hot path, on a loop's own slot and on the shared one.
#include <benchmark/benchmark.h>

#include <string>

#include "base/metrics.h"

namespace trellis {
namespace {

void counter_add(benchmark::State& state) {
  static Counter counter;
  set_metrics_slot(static_cast<size_t>(state.range(0)));
  for (auto _ : state) counter.add();
}
BENCHMARK(counter_add)->ArgName("slot")->Arg(0)->Arg(kMaxSlots - 1);

void histogram_record(benchmark::State& state) {
  static Histogram histogram;
  set_metrics_slot(static_cast<size_t>(state.range(0)));
  int64_t nanos = 1000;
  for (auto _ : state) {
    histogram.record(Duration(nanos));
    nanos = nanos * 5 & 0xFFFFFFF;
  }
}
BENCHMARK(histogram_record)->ArgName("slot")->Arg(0)->Arg(kMaxSlots - 1);

void prometheus_text(benchmark::State& state) {
  Metrics metrics;
  for (int i = 0; i < 100; ++i) {
    metrics.counter("requests_total", "Requests.", {{"route", std::to_string(i)}}).add();
    metrics.histogram("seconds", "Time.", {{"route", std::to_string(i)}}).record(std::chrono::milliseconds(i));
  }
  for (auto _ : state) benchmark::DoNotOptimize(metrics.prometheus_text());
}
BENCHMARK(prometheus_text)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace trellis

BENCHMARK_MAIN();
