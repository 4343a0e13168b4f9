// What the access log and the trace context cost a core at each exchange.
#include <benchmark/benchmark.h>

#include "base/arena.h"
#include "base/file_writer.h"
#include "base/rng.h"
#include "http/handler.h"
#include "http/message.h"
#include "proxy/access_log.h"
#include "proxy/trace.h"

namespace trellis::proxy {
namespace {

using namespace std::chrono_literals;
using http::FieldId;

runtime::Loop& no_loop() {
  alignas(64) static char place[64];
  return reinterpret_cast<runtime::Loop&>(place);
}

struct Exchange {
  Arena arena;
  http::Request request{arena};
  http::RequestContext context{.arena = arena, .loop = no_loop(), .started = Time(10s)};

  Exchange() {
    request.method = http::Method::get;
    request.method_text = "GET";
    request.authority = "api.example.com";
    request.path = "/v1/links/a8Fk20x";
    request.query = "page=2&limit=50&sort=created";
    request.fields.add(
        FieldId::user_agent,
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36");
    request.fields.add(FieldId::referer, "https://www.example.com/dashboard/links");
    context.client_address = "203.0.113.195";
    context.listener = "web";
    context.trace = {.trace_id_high = 0x4bf92f3577b34da6, .trace_id_low = 0xa3ce929d0e0e4736};
    context.request_id = "01ARYZ6S41TSV4RRFFQ69G5FAV";
    context.route = "/v1/**";
    context.upstream = "api";
    context.upstream_host = "10.0.0.11:8080";
    context.attempts = 1;
    context.cache_status = "miss";
  }
  AccessRecord record() const {
    return {.request = request,
            .status = 200,
            .context = context,
            .bytes_out = 4096,
            .first_byte = Time(10s + 1500us),
            .finished = Time(10s + 12345678ns),
            .wall = WallTime(1772368496789ms)};
  }
};

void line(benchmark::State& state) {
  const Exchange exchange;
  const auto format = static_cast<AccessLogConfig::Format>(state.range(0));
  Result<std::unique_ptr<FileWriter>> writer = FileWriter::open({.path = "/dev/null"});
  if (!writer) return state.SkipWithError("cannot open /dev/null");
  const AccessLog log({.format = format}, "edge-1", *std::move(writer));
  const size_t size = log.line(exchange.record()).size();
  int lines = 0;
  for (auto _ : state) {
    log.write(exchange.record());
    // The background thread gets its turn: what is measured is the core's part, and no line may be dropped instead of
    // written.
    if (++lines % 512 == 0) {
      state.PauseTiming();
      log.writer().flush();
      state.ResumeTiming();
    }
  }
  state.SetBytesProcessed(static_cast<int64_t>(size) * state.iterations());
  state.counters["dropped"] = static_cast<double>(log.writer().dropped());
}
BENCHMARK(line)->ArgName("combined")->Arg(0)->Arg(1);

void trace_and_id(benchmark::State& state) {
  Exchange exchange;
  exchange.request.fields.add(FieldId::traceparent, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
  exchange.request.fields.add(FieldId::x_request_id, "01ARYZ6S41TSV4RRFFQ69G5FAV");
  Rng rng(1);
  for (auto _ : state) {
    begin_trace(exchange.request, exchange.context, rng);
    begin_request_id(exchange.request, exchange.context, WallTime(1s), rng);
    benchmark::DoNotOptimize(exchange.context);
  }
}
BENCHMARK(trace_and_id);

}  // namespace
}  // namespace trellis::proxy

BENCHMARK_MAIN();
