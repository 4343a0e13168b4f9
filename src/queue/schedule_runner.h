// Looks after the schedules of a store: sleeps until the next is due, makes its job, tells the workers. Any number of
// nodes and restarts make one job for a due time (schedule_rows.h). Lives on the loop it was made on; owned by the app.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "queue/schedule_rows.h"
#include "runtime/sync.h"
#include "runtime/task.h"

namespace trellis::store {
class SqliteStore;
}

namespace trellis::queue {

class JobQueue;

class ScheduleRunner {
 public:
  // `queue` is on `store`, and both outlive the runner.
  ScheduleRunner(store::SqliteStore& store, JobQueue& queue) noexcept : store_(store), queue_(queue) {}
  ScheduleRunner(const ScheduleRunner&) = delete;
  ScheduleRunner& operator=(const ScheduleRunner&) = delete;

  Task<Result<void>> put(Schedule schedule, Deadline deadline);
  Task<Result<bool>> remove(std::string name, Deadline deadline);
  Task<Result<std::vector<Schedule>>> list(Deadline deadline);

  void start();
  // False: a look was under way and did not end by the deadline.
  Task<bool> stop(Deadline deadline);

 private:
  Task<> work();

  store::SqliteStore& store_;
  JobQueue& queue_;
  bool stopping_ = false;
  runtime::Event wake_;  // a schedule was put, or the end
  TaskGroup group_;
};

}  // namespace trellis::queue
