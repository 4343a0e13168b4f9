// A store of a running node with what lives on it: its jobs and their schedules. Shared by the configurations that name
// it, so a reload that leaves it as it is leaves its queue, too; services and requests keep it while they use it. Made
// and closed by Node on the main thread.
#pragma once

#include <memory>
#include <string>

#include "app/config.h"
#include "base/error.h"

namespace trellis {
inline namespace base {
class Metrics;
}
inline namespace runtime {
class Cores;
}
namespace queue {
class ScheduleRunner;
class SqliteJobQueue;
}  // namespace queue
namespace store {
class SqliteStore;
}
}  // namespace trellis

namespace trellis::app {

class StoreBackup;

struct OpenStore {
  OpenStore();
  ~OpenStore();
  OpenStore(const OpenStore&) = delete;
  OpenStore& operator=(const OpenStore&) = delete;

  StoreConfig config;
  std::unique_ptr<store::SqliteStore> store;
  std::unique_ptr<queue::SqliteJobQueue> jobs;
  std::unique_ptr<queue::ScheduleRunner> schedules;  // of core 0
  std::unique_ptr<StoreBackup> backup;               // of core 0
  bool schedules_run = false;
};

Result<std::shared_ptr<OpenStore>> open_store(const std::string& name, const StoreConfig& config,
                                              const JobsConfig& jobs, Metrics& metrics, Cores& cores);
// Its schedules make jobs from now on.
void run_schedules(OpenStore& store, Cores& cores);
// When nobody uses it any more: the end of its schedules and its jobs. The file closes with the last owner.
void close_store(OpenStore& store, Cores& cores);

}  // namespace trellis::app
