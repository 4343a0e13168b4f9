// What one measurement of trellis_queue_load counts, and its phases: main moves the phase from warm-up to measuring to
// the end; whoever makes the load reads it and records only while measuring. One thread counts.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "load/histogram.h"

namespace trellis::bench {

enum class Phase : uint8_t { warmup, measure, stop };

struct Tally {
  std::atomic<Phase> phase{Phase::warmup};
  std::atomic<uint64_t> done{0};    // events or jobs, while measuring
  std::atomic<uint64_t> failed{0};  // at any time
  load::Histogram latency;          // nanoseconds, while measuring
  std::string first_error;

  bool measuring() const noexcept { return phase.load(std::memory_order_relaxed) == Phase::measure; }
  bool stopped() const noexcept { return phase.load(std::memory_order_relaxed) == Phase::stop; }
  void record(uint64_t events, uint64_t nanos) noexcept {
    if (!measuring()) return;
    done.fetch_add(events, std::memory_order_relaxed);
    latency.record(nanos);
  }
  void fail(std::string why) {
    if (failed.fetch_add(1, std::memory_order_relaxed) == 0) first_error = std::move(why);
  }
};

struct Options {
  std::string folder;    // for what runs in this process: empty or new
  uint16_t port = 0;     // for other servers, on the loopback
  int32_t server = 0;    // process of that server, for its CPU time; 0: this process is the server
  size_t producers = 1;  // each with one request on its way
  size_t size = 100;     // bytes of an event or a payload
  size_t partitions = 1;
  size_t syncs = 8;     // files of a batch that the log syncs at once
  size_t batch = 1;     // jobs that are enqueued, or asked for, together
  size_t workers = 16;  // jobs that are done at once
  size_t ahead = 0;     // jobs that a worker claims beyond these
  size_t backlog = 0;   // jobs that wait before the measuring begins
  size_t keys = 1;      // that a cache has
  double seconds = 3;
  double warmup = 0.5;
};

// The measurement: `use` is asked for the CPU microseconds, user and system, at both ends of the time.
struct Measurement {
  double seconds = 0;
  uint64_t done = 0;
  double cpu_user_micros = 0;
  double cpu_system_micros = 0;
  double own_cpu_micros = 0;  // of this process, which made the load
};
// Blocks: warm-up, measuring, end of the phase. `enough`: asked every now and then whether it shall end early.
Result<Measurement> measure(const Options& options, Tally& tally, const std::function<bool()>& enough = {});

// One line of JSON for bench/run.py. `more`: further members, each as `,"name":value`.
std::string as_json(const Measurement& measurement, const Tally& tally, const std::string& more);

uint64_t now_nanos() noexcept;
// Bytes that look like JSON and do not compress to nothing; the same for the same size.
std::string payload_of(size_t size);

}  // namespace trellis::bench
