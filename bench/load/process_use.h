// What processes have used, from /proc: CPU time of all their threads and of their living descendants (nginx and
// HAProxy work in children), and resident memory. The kernel keeps the sum of user and system time exactly and splits
// it by sampling, so trust the split over seconds, not over milliseconds. Any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>

#include "base/error.h"

namespace trellis::load {

struct ProcessUse {
  double user_micros = 0;
  double system_micros = 0;
  uint64_t resident_kib = 0;
};

// not_found when one of the processes does not exist.
Result<ProcessUse> process_use(std::span<const pid_t> pids);

}  // namespace trellis::load
