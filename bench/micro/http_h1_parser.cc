// Cost of reading a request or response head, scanner included: what every exchange pays before anything else happens.
#include <benchmark/benchmark.h>

#include <string_view>

#include "base/arena.h"
#include "http/h1_parser.h"
#include "http/h1_writer.h"

namespace trellis::http {
namespace {

constexpr std::string_view kSmall =
    "GET /aB3xYz9 HTTP/1.1\r\n"
    "Host: 127.0.0.1:8080\r\n"
    "User-Agent: wrk/4.1.0\r\n"
    "Accept: */*\r\n"
    "\r\n";

constexpr std::string_view kBrowser =
    "GET /articles/2026/growing-from-one-box?ref=front&page=2 HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 "
    "Safari/537.36\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    "Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Connection: keep-alive\r\n"
    "Referer: https://www.example.com/articles/\r\n"
    "Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; consent=1\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "If-None-Match: \"5d8c72a5edda8d6a:0\"\r\n"
    "\r\n";

constexpr std::string_view kAnswer =
    "HTTP/1.1 200 OK\r\n"
    "Server: origin\r\n"
    "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
    "Content-Type: application/json\r\n"
    "Content-Length: 1024\r\n"
    "ETag: \"5d8c72a5edda8d6a\"\r\n"
    "\r\n";

void parse_request(benchmark::State& state, std::string_view head) {
  const H1Limits limits;
  Arena arena;
  for (auto _ : state) {
    benchmark::DoNotOptimize(head);
    HeadScanner scanner;
    const auto end = scanner.find_end(head, limits);
    Request request(arena);
    RequestFraming framing;
    const H1Error error = parse_request_head(head.substr(0, *end), limits, request, framing);
    if (error != H1Error::none) state.SkipWithError("refused");
    benchmark::DoNotOptimize(request);
    arena.reset();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * head.size()));
}

void BM_SmallRequest(benchmark::State& state) { parse_request(state, kSmall); }
BENCHMARK(BM_SmallRequest);
void BM_BrowserRequest(benchmark::State& state) { parse_request(state, kBrowser); }
BENCHMARK(BM_BrowserRequest);

void BM_Response(benchmark::State& state) {
  const H1Limits limits;
  Arena arena;
  for (auto _ : state) {
    HeadScanner scanner(HeadKind::response);
    const auto end = scanner.find_end(kAnswer, limits);
    ResponseHead response(arena);
    ResponseFraming framing;
    const H1Error error = parse_response_head(kAnswer.substr(0, *end), limits, Method::get, response, framing);
    if (error != H1Error::none) state.SkipWithError("refused");
    benchmark::DoNotOptimize(response);
    arena.reset();
  }
}
BENCHMARK(BM_Response);

void BM_WriteResponseHead(benchmark::State& state) {
  Arena arena;
  Arena memory;
  Response response(arena, 302);
  response.fields.add(FieldId::location, "https://www.example.com/articles/2026/growing-from-one-box");
  response.fields.add(FieldId::cache_control, "private, max-age=0");
  response.fields.add(FieldId::x_request_id, "01JD0000000000000000000000");
  ResponseHeadOptions options;
  options.framing = framing_for(response, Method::get, 1, true);
  options.date = "Sun, 06 Nov 1994 08:49:37 GMT";
  for (auto _ : state) {
    OutBuffer out(memory);
    if (write_response_head(out, response, options) != H1Error::none) state.SkipWithError("refused");
    benchmark::DoNotOptimize(out.view().data());
    memory.reset();
  }
}
BENCHMARK(BM_WriteResponseHead);

}  // namespace
}  // namespace trellis::http

BENCHMARK_MAIN();
