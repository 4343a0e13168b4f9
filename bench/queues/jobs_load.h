// Load on jobs in SQLite. `enqueue`: producers, each a coroutine that enqueues, waits until it is on disk and enqueues
// again. `perform`: a worker does jobs, which do nothing, of a backlog. `begin`: producers enqueue a job and wait until
// its handler begins, which is what is timed. Called by main.
#pragma once

#include <string>

#include "base/error.h"
#include "queues/measured.h"

namespace trellis::bench {

// One line of JSON each.
Result<std::string> run_jobs_enqueue(const Options& options);
Result<std::string> run_jobs_perform(const Options& options);
Result<std::string> run_jobs_begin(const Options& options);

}  // namespace trellis::bench
