#include "load/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace trellis::load {
namespace {

constexpr std::pair<const char*, double> kShares[] = {
    {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99_9", 0.999}, {"p99_99", 0.9999}};

double per(double sum, uint64_t count) { return count == 0 ? 0 : sum / static_cast<double>(count); }
double micros(uint64_t nanos) { return static_cast<double>(nanos) / 1000; }

// A time as people read it: 85 us, 1.27 ms, 2.5 s.
std::string span(uint64_t nanos) {
  if (nanos < 1'000'000) return fmt::format("{:.0f} us", micros(nanos));
  if (nanos < 1'000'000'000) return fmt::format("{:.2f} ms", micros(nanos) / 1e3);
  return fmt::format("{:.2f} s", micros(nanos) / 1e6);
}

}  // namespace

std::string as_text(const Options& options, const Report& report) {
  const Tally& tally = report.tally;
  std::string text;
  auto out = std::back_inserter(text);
  fmt::format_to(out, "{} s, {} connections, {}\n", options.seconds, options.connections,
                 options.rate > 0 ? fmt::format("{} requests/s due", options.rate) : std::string("closed loop"));
  fmt::format_to(out, "  answers      {} ({:.0f}/s, {:.1f} MB/s)\n", tally.responses,
                 per(static_cast<double>(tally.responses), 1) / report.seconds,
                 static_cast<double>(tally.bytes) / 1e6 / report.seconds);
  fmt::format_to(out, "  latency     ");
  for (auto [name, share] : kShares) fmt::format_to(out, " {} {}", name, span(tally.latency.at(share)));
  fmt::format_to(out, " max {} mean {}\n", span(tally.latency.max()),
                 span(static_cast<uint64_t>(tally.latency.mean())));
  fmt::format_to(out, "  status       2xx {} 3xx {} 4xx {} 5xx {} other {}\n", tally.status[2], tally.status[3],
                 tally.status[4], tally.status[5], tally.status[0] + tally.status[1]);
  fmt::format_to(out, "  errors       connect {} socket {} framing {} unanswered {}\n", tally.connect_errors,
                 tally.socket_errors, tally.framing_faults(), tally.unanswered);
  for (size_t i = 1; i < kFaults; ++i) {
    if (tally.faults[i] > 0) fmt::format_to(out, "    {} {}\n", to_string(static_cast<Fault>(i)), tally.faults[i]);
  }
  if (report.used) {
    fmt::format_to(out, "  CPU          {:.2f} us user + {:.2f} us system an answer, {:.0f} % of a core\n",
                   per(report.used->user_micros, tally.responses), per(report.used->system_micros, tally.responses),
                   (report.used->user_micros + report.used->system_micros) / report.seconds / 1e4);
    fmt::format_to(out, "  memory       {} KiB\n", report.used->resident_kib);
  }
  if (options.idle > 0) {
    fmt::format_to(out, "  idle         {} open of {}", report.idle_alive, options.idle);
    if (!report.idle_error.empty()) fmt::format_to(out, " ({})", report.idle_error);
    if (report.used) {
      fmt::format_to(out, ", memory {} KiB before, {} KiB with them", report.resident_before_kib,
                     report.resident_idle_kib);
    }
    fmt::format_to(out, "\n");
  }
  fmt::format_to(out, "  this program {:.2f} us an answer, {:.0f} % of a core\n",
                 per(report.own_cpu_micros, tally.responses), report.own_cpu_micros / report.seconds / 1e4);
  return text;
}

std::string as_json(const Options& options, const Report& report) {
  const Tally& tally = report.tally;
  std::string text;
  auto out = std::back_inserter(text);
  fmt::format_to(out,
                 "{{\"seconds\":{:.6f},\"connections\":{},\"rate_due\":{},\"answers\":{},\"rate\":{:.1f},\"bytes\":{}",
                 report.seconds, options.connections, options.rate, tally.responses,
                 static_cast<double>(tally.responses) / report.seconds, tally.bytes);
  fmt::format_to(out, ",\"latency_us\":{{");
  for (auto [name, share] : kShares) fmt::format_to(out, "\"{}\":{:.1f},", name, micros(tally.latency.at(share)));
  fmt::format_to(out, "\"max\":{:.1f},\"mean\":{:.1f}}}", micros(tally.latency.max()), tally.latency.mean() / 1000);
  fmt::format_to(out, ",\"status\":{{\"2xx\":{},\"3xx\":{},\"4xx\":{},\"5xx\":{},\"other\":{}}}", tally.status[2],
                 tally.status[3], tally.status[4], tally.status[5], tally.status[0] + tally.status[1]);
  fmt::format_to(out, ",\"connects\":{},\"connect_errors\":{},\"socket_errors\":{},\"unanswered\":{}", tally.connects,
                 tally.connect_errors, tally.socket_errors, tally.unanswered);
  fmt::format_to(out, ",\"framing_faults\":{},\"faults\":{{\"stray_bytes\":{}", tally.framing_faults(),
                 tally.stray_bytes);
  for (size_t i = 1; i < kFaults; ++i) {
    fmt::format_to(out, ",\"{}\":{}", to_string(static_cast<Fault>(i)), tally.faults[i]);
  }
  fmt::format_to(out, "}}");
  if (report.used) {
    fmt::format_to(out,
                   ",\"cpu_user_us\":{:.4f},\"cpu_system_us\":{:.4f},\"cpu_cores\":{:.4f},\"resident_kib\":{},"
                   "\"resident_before_kib\":{},\"resident_idle_kib\":{}",
                   per(report.used->user_micros, tally.responses), per(report.used->system_micros, tally.responses),
                   (report.used->user_micros + report.used->system_micros) / report.seconds / 1e6,
                   report.used->resident_kib, report.resident_before_kib, report.resident_idle_kib);
  }
  fmt::format_to(out, ",\"idle\":{},\"own_cpu_us\":{:.4f}}}\n", report.idle_alive,
                 per(report.own_cpu_micros, tally.responses));
  return text;
}

}  // namespace trellis::load
