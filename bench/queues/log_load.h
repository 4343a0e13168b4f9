// Load on the embedded event log: producers, each a coroutine that appends one event, waits until it is on disk and
// appends the next. Called by main.
#pragma once

#include <string>

#include "base/error.h"
#include "queues/measured.h"

namespace trellis::bench {

// One line of JSON.
Result<std::string> run_log(const Options& options);

}  // namespace trellis::bench
