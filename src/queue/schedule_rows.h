// Repeated jobs: a cron expression and the job that it makes, kept in the store with the time up to which it was looked
// at. For each due time one job, whoever looks and how often: the look is a transaction, and the job carries a dedupe
// key with its due time. Pure functions on a connection, for the store's writer; the tables are those of jobs_rows.h.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"

namespace trellis::store {
class SqliteConnection;
}

namespace trellis::queue {

// Due times that nobody saw because no node ran.
enum class Missed : uint8_t {
  run_once,  // one job for the latest of them
  skip,
};

struct Schedule {
  std::string name;
  std::string cron;  // see schedule.h; UTC
  Missed missed = Missed::run_once;
  std::string queue;
  std::string kind;
  std::string payload;
};

inline constexpr size_t kMaxSchedules = 1000;
// Later than this a due time counts as missed.
inline constexpr Duration kOnTime = std::chrono::minutes(1);

// Adds it, or changes the one of that name. Its due times count from now on; those of one that stays as it was go on.
// invalid_argument: the expression, a name or a size; resource_exhausted: there are kMaxSchedules.
Result<void> put_schedule(store::SqliteConnection& db, const Schedule& schedule, WallTime wall);
// False: there was none.
Result<bool> remove_schedule(store::SqliteConnection& db, std::string_view name);
Result<std::vector<Schedule>> list_schedules(store::SqliteConnection& db);

struct Fired {
  std::vector<std::string> queues;  // of the jobs that were enqueued, one for each
  std::optional<WallTime> next;     // when to look again; none without schedules
};
// A schedule whose queue is full keeps its due time until there is room; the others go on.
Result<Fired> fire_schedules(store::SqliteConnection& db, WallTime wall);

}  // namespace trellis::queue
