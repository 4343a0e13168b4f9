#include "app/node/open_store.h"

#include <utility>

#include "app/node/store_backup.h"
#include "base/log.h"
#include "base/time.h"
#include "queue/jobs_sqlite.h"
#include "queue/schedule_runner.h"
#include "runtime/cores.h"
#include "store/sqlite.h"

namespace trellis::app {

namespace {
constexpr Duration kLastLook = std::chrono::seconds(5);  // of the schedules, when they end
}  // namespace

OpenStore::OpenStore() = default;
OpenStore::~OpenStore() = default;

Result<std::shared_ptr<OpenStore>> open_store(const std::string& name, const StoreConfig& config,
                                              const JobsConfig& limits, Metrics& metrics, Cores& cores) {
  auto opened = std::make_shared<OpenStore>();
  opened->config = config;
  TRY(opened->store, store::SqliteStore::open({.name = name, .path = config.path}, metrics));
  auto jobs = queue::SqliteJobQueue::open(*opened->store, metrics, {.max_waiting = limits.max_waiting});
  if (!jobs) return fail(Error(jobs.error().code(), "stores." + name + ": its jobs").because(std::move(jobs).error()));
  opened->jobs = *std::move(jobs);
  cores.run_on(0, [&] {
    opened->schedules = std::make_unique<queue::ScheduleRunner>(*opened->store, *opened->jobs);
    opened->backup = std::make_unique<StoreBackup>(*opened->store, config.path);
  });
  return opened;
}

void run_schedules(OpenStore& store, Cores& cores) {
  if (std::exchange(store.schedules_run, true)) return;
  cores.run_on(0, [&store] { store.schedules->start(); });
}

void close_store(OpenStore& store, Cores& cores) {
  if (store.schedules) {
    const bool ended =
        cores.finish_on(0, [&store] { return store.schedules->stop(after(system_clock().now(), kLastLook)); });
    if (!ended) log_warn("a look at the schedules was cut", {{"store", store.store->name()}});
    cores.run_on(0, [&store] {
      store.schedules.reset();
      store.backup.reset();
    });
  }
  store.jobs.reset();
}

}  // namespace trellis::app
