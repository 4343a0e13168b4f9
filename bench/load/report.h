// What a run found, and its two faces: text for people, JSON for bench/run.py.
#pragma once

#include <optional>
#include <string>

#include "load/options.h"
#include "load/process_use.h"
#include "load/worker.h"

namespace trellis::load {

struct Report {
  double seconds = 0;  // measured, not asked for
  Tally tally;
  unsigned idle_alive = 0;
  std::string idle_error;            // why fewer idle connections are open than asked for
  std::optional<ProcessUse> used;    // CPU during the measured time; memory at its end
  uint64_t resident_before_kib = 0;  // before the idle connections were opened
  uint64_t resident_idle_kib = 0;    // when they were
  double own_cpu_micros = 0;         // of the generator itself during the measured time
};

std::string as_text(const Options& options, const Report& report);
std::string as_json(const Options& options, const Report& report);

}  // namespace trellis::load
