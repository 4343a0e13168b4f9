// What a filter costs that only hands on (as a coroutine, and without a frame), and what a fixed answer costs as a
// whole.
#include <benchmark/benchmark.h>

#include "proxy/filter.h"
#include "proxy/fixed_target.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"

namespace trellis::proxy {
namespace {

class CoroutinePass final : public Filter {
 public:
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context, Next next) override {
    CO_TRY(http::Response response, co_await next(request, context));
    co_return response;
  }
};
class PlainPass final : public Filter {
 public:
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context, Next next) override {
    return next(request, context);
  }
};

template <class Pass>
void run_chain(benchmark::State& state) {
  BlockingPool pool(1);
  LoopOptions options;
  options.io = IoKind::epoll;
  options.pool = &pool;
  Result<std::unique_ptr<Loop>> loop = Loop::make(options);
  FixedConfig config;
  config.body = "hello";
  Result<std::unique_ptr<FixedTarget>> target = FixedTarget::make(config);
  if (!loop || !target) return state.SkipWithError("set-up failed");
  std::vector<std::unique_ptr<Filter>> filters;
  for (int64_t i = 0; i < state.range(0); ++i) filters.push_back(std::make_unique<Pass>());
  const Chain chain(std::move(filters), **target);
  Arena arena;
  for (auto _ : state) {
    arena.reset();
    http::Request request(arena);
    http::RequestContext context{arena, **loop, (*loop)->now()};
    Task<Result<http::Response>> task = chain.run(request, context);
    task.start();
    Result<http::Response> response = task.take();
    benchmark::DoNotOptimize(response->body.bytes().data());
  }
}
BENCHMARK(run_chain<CoroutinePass>)->Name("chain_of_coroutines")->Arg(0)->Arg(4)->Arg(8);
BENCHMARK(run_chain<PlainPass>)->Name("chain_without_frames")->Arg(4)->Arg(8);

}  // namespace
}  // namespace trellis::proxy

BENCHMARK_MAIN();
