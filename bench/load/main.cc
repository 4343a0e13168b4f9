#include <fmt/format.h>
#include <netdb.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>
#include <vector>

#include "load/idle_connections.h"
#include "load/options.h"
#include "load/process_use.h"
#include "load/report.h"
#include "load/request_set.h"
#include "load/worker.h"

namespace trellis::load {
namespace {

Result<sockaddr_in> resolve(const Options& options) {
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  int rc = getaddrinfo(options.host.c_str(), options.port.c_str(), &hints, &found);
  if (rc != 0) return fail(Code::unavailable, options.host + ": " + gai_strerror(rc));
  sockaddr_in address = *reinterpret_cast<sockaddr_in*>(found->ai_addr);
  freeaddrinfo(found);
  return address;
}

void raise_open_files() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

double own_cpu_micros() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  auto micros = [](const timeval& t) { return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec); };
  return micros(use.ru_utime) + micros(use.ru_stime);
}

void pause(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

Result<uint64_t> resident(const Options& options) {
  if (options.cpu_of.empty()) return 0;
  TRY(ProcessUse use, process_use(options.cpu_of));
  return use.resident_kib;
}

Result<Report> measure(const Options& options, const sockaddr_in& server) {
  RequestSet requests(options);
  Report report;

  IdleConnections idle;
  TRY(report.resident_before_kib, resident(options));
  if (options.idle > 0) {
    auto opened = idle.open(options.idle, server, requests[0], options.method == "HEAD");
    if (!opened) report.idle_error = opened.error().to_string();
    constexpr double kSettle = 0.3;
    pause(kSettle);
    TRY(report.resident_idle_kib, resident(options));
  }

  std::atomic<Phase> phase{Phase::warmup};
  std::vector<std::unique_ptr<Worker>> workers;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < options.threads; ++i) {
    workers.push_back(std::make_unique<Worker>(options, requests, server, phase, i));
  }
  for (auto& worker : workers) threads.emplace_back([&worker] { worker->run(); });

  pause(options.warmup);
  auto before = options.cpu_of.empty() ? Result<ProcessUse>(ProcessUse()) : process_use(options.cpu_of);
  double own_before = own_cpu_micros();
  phase = Phase::measure;
  uint64_t begin = now_nanos();
  if (before) pause(options.seconds);
  auto after = options.cpu_of.empty() ? Result<ProcessUse>(ProcessUse()) : process_use(options.cpu_of);
  report.own_cpu_micros = own_cpu_micros() - own_before;
  report.seconds = static_cast<double>(now_nanos() - begin) / 1e9;
  phase = Phase::stop;
  for (std::thread& thread : threads) thread.join();
  for (auto& worker : workers) report.tally.merge(worker->tally());

  if (!before) return fail(std::move(before).error());
  if (!after) return fail(std::move(after).error());
  if (!options.cpu_of.empty()) {
    report.used = ProcessUse{after->user_micros - before->user_micros, after->system_micros - before->system_micros,
                             after->resident_kib};
  }
  report.idle_alive = idle.alive();
  return report;
}

int run(int argc, char** argv) {
  auto options = parse_options(argc, argv);
  if (!options) {
    fmt::print(stderr, "trellis_load: {} (see --help)\n", options.error().to_string());
    return 2;
  }
  if (options->help) {
    fmt::print("{}", kHelp);
    return 0;
  }
  raise_open_files();
  auto server = resolve(*options);
  if (!server) {
    fmt::print(stderr, "trellis_load: {}\n", server.error().to_string());
    return 1;
  }
  auto report = measure(*options, *server);
  if (!report) {
    fmt::print(stderr, "trellis_load: {}\n", report.error().to_string());
    return 1;
  }
  fmt::print("{}", options->json ? as_json(*options, *report) : as_text(*options, *report));
  if (!report->idle_error.empty()) fmt::print(stderr, "trellis_load: {}\n", report->idle_error);
  return report->tally.responses > 0 ? 0 : 1;
}

}  // namespace
}  // namespace trellis::load

int main(int argc, char** argv) { return trellis::load::run(argc, argv); }
