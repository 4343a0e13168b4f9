#include "queue/schedule_runner.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "queue/jobs.h"
#include "runtime/loop.h"
#include "store/sqlite.h"

namespace trellis::queue {

namespace {

using store::SqliteConnection;

// A sleep is never longer: the wall clock may be set meanwhile, and another node may add a schedule.
constexpr Duration kLongestSleep = std::chrono::seconds(30);
constexpr Duration kAfterTrouble = std::chrono::seconds(5);

}  // namespace

Task<Result<void>> ScheduleRunner::put(Schedule schedule, Deadline deadline) {
  auto task = store_.write([schedule = std::move(schedule), wall = Loop::current().wall()](
                               SqliteConnection& db) { return put_schedule(db, schedule, wall); },
                           deadline);
  Result<void> put = co_await task;
  if (put) wake_.set();
  co_return put;
}

Task<Result<bool>> ScheduleRunner::remove(std::string name, Deadline deadline) {
  auto task =
      store_.write([name = std::move(name)](SqliteConnection& db) { return remove_schedule(db, name); }, deadline);
  co_return co_await task;
}

Task<Result<std::vector<Schedule>>> ScheduleRunner::list(Deadline deadline) {
  auto task = store_.read([](SqliteConnection& db) { return list_schedules(db); }, deadline);
  co_return co_await task;
}

void ScheduleRunner::start() { group_.spawn(work()); }

Task<> ScheduleRunner::work() {
  while (!stopping_) {
    wake_.reset();
    auto look =
        store_.write([wall = Loop::current().wall()](SqliteConnection& db) { return fire_schedules(db, wall); });
    const Result<Fired> fired = co_await look;
    Duration sleep = kLongestSleep;
    if (fired) {
      for (const std::string& queue : fired->queues) queue_.announce(queue, 1);
      if (fired->next)
        sleep = std::clamp<Duration>(*fired->next - Loop::current().wall(), Duration::zero(), kLongestSleep);
    } else {
      static LogThrottle throttle(std::chrono::seconds(10));
      log_every(throttle, LogLevel::warn, "schedules wait for the store", {{"error", fired.error().to_string()}});
      sleep = kAfterTrouble;
    }
    if (stopping_) co_return;
    (void)co_await wake_.wait(after(Loop::current().now(), sleep));
  }
}

Task<bool> ScheduleRunner::stop(Deadline deadline) {
  stopping_ = true;
  wake_.set();
  co_return co_await group_.join(deadline);
}

}  // namespace trellis::queue
