#include "queues/measured.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <array>
#include <chrono>
#include <iterator>
#include <thread>

#include "base/rng.h"
#include "load/process_use.h"

namespace trellis::bench {
namespace {

struct Use {
  double user = 0;
  double system = 0;
};

Use own_use() {
  rusage use{};
  getrusage(RUSAGE_SELF, &use);
  const auto micros = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec);
  };
  return {micros(use.ru_utime), micros(use.ru_stime)};
}

Result<Use> server_use(const Options& options) {
  if (options.server == 0) return own_use();
  const std::array<pid_t, 1> pids{options.server};
  TRY(const load::ProcessUse use, load::process_use(pids));
  return Use{use.user_micros, use.system_micros};
}

std::string quoted(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return out;
}

}  // namespace

uint64_t now_nanos() noexcept {
  return static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1));
}

std::string payload_of(size_t size) {
  Rng rng(7);
  std::string text = "{\"at\":0,\"what\":\"";
  while (text.size() < size) text += static_cast<char>('a' + rng.below(26));
  text.resize(size);
  return text;
}

Result<Measurement> measure(const Options& options, Tally& tally, const std::function<bool()>& enough) {
  std::this_thread::sleep_for(std::chrono::duration<double>(options.warmup));
  TRY(const Use before, server_use(options));
  const Use own_before = own_use();
  const uint64_t began = now_nanos();
  tally.phase.store(Phase::measure);
  const uint64_t until = began + static_cast<uint64_t>(options.seconds * 1e9);
  while (now_nanos() < until && !(enough && enough())) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  const uint64_t ended = now_nanos();
  Measurement found;
  found.done = tally.done.load();
  const Result<Use> after = server_use(options);
  const Use own_after = own_use();
  tally.phase.store(Phase::stop);
  if (!after) return fail(after.error().clone());
  found.seconds = static_cast<double>(ended - began) / 1e9;
  found.cpu_user_micros = after->user - before.user;
  found.cpu_system_micros = after->system - before.system;
  found.own_cpu_micros = own_after.user + own_after.system - own_before.user - own_before.system;
  return found;
}

std::string as_json(const Measurement& measurement, const Tally& tally, const std::string& more) {
  const auto count = static_cast<double>(measurement.done == 0 ? 1 : measurement.done);
  std::string text;
  auto out = std::back_inserter(text);
  fmt::format_to(out, "{{\"seconds\":{:.6f},\"done\":{},\"rate\":{:.1f},\"failed\":{},\"latency_us\":{{",
                 measurement.seconds, measurement.done, static_cast<double>(measurement.done) / measurement.seconds,
                 tally.failed.load());
  for (const auto& [name, share] : {std::pair{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99_9", 0.999}}) {
    fmt::format_to(out, "\"{}\":{:.1f},", name, static_cast<double>(tally.latency.at(share)) / 1000);
  }
  fmt::format_to(out, "\"max\":{:.1f}}},\"cpu_user_us\":{:.4f},\"cpu_system_us\":{:.4f},\"own_cpu_us\":{:.4f}",
                 static_cast<double>(tally.latency.max()) / 1000, measurement.cpu_user_micros / count,
                 measurement.cpu_system_micros / count, measurement.own_cpu_micros / count);
  if (!tally.first_error.empty()) fmt::format_to(out, ",\"error\":\"{}\"", quoted(tally.first_error));
  fmt::format_to(out, "{}}}\n", more);
  return text;
}

}  // namespace trellis::bench
