// A built-in service (links, feed, chat, shop): made without side effects from its configuration, started, mounted on
// routes, stopped. The app makes the whole new set beside the old one on a reload, swaps, and stops the old. Everything
// here runs on the loop that starts the node; the Handler that handler() gives is called on every core at once.
#pragma once

#include <cstddef>

#include "base/error.h"
#include "base/time.h"
#include "runtime/task.h"

namespace trellis {
inline namespace base {
class Metrics;
}
inline namespace runtime {
class Loop;
}
namespace http {
class Handler;
class Routes;
}  // namespace http
namespace queue {
class ServiceJobs;
}
}  // namespace trellis

namespace trellis::services {

// What a service may use of the node. Outlives it.
struct Env {
  Loop& loop;    // the one that calls start() and stop(); background work runs here
  size_t cores;  // loops have indices below this
  Metrics& metrics;
  Clock& clock;
  // The jobs on the service's store: what start() adds (handlers, schedules) begins when the whole node has started.
  // Null where nobody does jobs, as in tests.
  queue::ServiceJobs* jobs = nullptr;
};

class Service {
 public:
  virtual ~Service() = default;
  // On failure the destructor cleans up.
  virtual Task<Result<void>> start(Env& env) = 0;
  // Adds the service's routes, once, after start() and before the first request.
  virtual void mount(http::Routes& routes) = 0;
  // Whether files that start() read are others now. A reload then makes the service anew, although its configuration
  // is the same. Looks at the disk; between requests or beside them.
  virtual bool files_changed() const { return false; }
  // The node stops, or a reload has replaced the service: answers that would go on for ever end. Before stop(), while
  // requests are still being answered.
  virtual void begin_drain() {}
  // After the last request has been answered: writes what waits, ends the background work.
  virtual Task<Result<void>> stop(Deadline deadline) = 0;
};

}  // namespace trellis::services
