// What one service of a node has of the jobs on its store: the queue that it enqueues into, the handlers of its kinds,
// its schedules, and the workers that do its jobs. The service adds handlers and schedules in its start(); the app
// writes the schedules and lets the workers begin when the whole node stands, gives them new plans on a reload, and
// stops them before the service. Workers are the service's own, so a service that a reload replaces ends with its
// handlers while the new one's are at work already; the queue hands each job to one of them. All of it on the home
// loop; made by the app for each service, destroyed after the service's stop and before the queue.
#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "queue/jobs.h"
#include "queue/schedule_rows.h"
#include "queue/worker.h"
#include "runtime/sync.h"
#include "runtime/task.h"

namespace trellis::queue {

class ScheduleRunner;

// How many workers this node has for which queues: an entry of `workers`.
struct WorkerPlan {
  std::vector<std::string> queues;    // empty: all that no other plan names
  std::shared_ptr<JobSource> remote;  // of another node; null: of the store
  size_t concurrency = 4;             // handlers at once in each queue; 0: none, the jobs wait
  Duration timeout = std::chrono::minutes(5);
};

// What a handler has to have at hand.
enum class Needs : uint8_t {
  store,    // the rows beside the job: it runs on the node that keeps them
  nothing,  // but the job itself: it runs on a worker node, too
};

class ServiceJobs {
 public:
  // `node`: who has a job, in its row. Borrows the queue and the schedules, which are of one store.
  ServiceJobs(JobQueue& queue, ScheduleRunner& schedules, std::string node);
  // Without a store: only jobs of other nodes are done, and nothing is repeated.
  explicit ServiceJobs(std::string node);
  ~ServiceJobs();
  ServiceJobs(const ServiceJobs&) = delete;
  ServiceJobs& operator=(const ServiceJobs&) = delete;

  // --- For the service, in start() ---

  // Precondition: there is a store.
  JobQueue& queue() noexcept { return *queue_; }
  // Jobs of this kind in this queue are done by this handler. A queue belongs to one service.
  // A handler that needs the store ends the job there, if it likes (end_job); one that needs nothing must not.
  void handle(const std::string& queue, const std::string& kind, Handler handler, Needs needs = Needs::store);
  // Named with the service's name in front, such as links.expire. It begins when the whole node has started.
  void repeat(Schedule schedule) { schedules_.push_back(std::move(schedule)); }

  // --- For the app ---

  std::vector<std::string> queues() const;
  // Those all of whose handlers need nothing.
  std::vector<std::string> movable_queues() const;
  const std::vector<Schedule>& schedules() const noexcept { return schedules_; }
  Task<Result<void>> put_schedules(Deadline deadline);
  // Workers as planned, from now on: those that there are and are wanted stay, the others claim nothing more and have
  // `patience` for what they are at. Without plans all of them leave. Waits for nothing.
  void work(const std::vector<WorkerPlan>& plans, Duration patience);
  // No worker is there any more, not even one that leaves.
  bool idle() const noexcept { return workers_.empty() && leaving_.size() == 0; }
  // All workers leave; those that leave already may take the time that they were given. False: handlers were cut.
  Task<bool> stop(Deadline deadline);

 private:
  struct Place {
    std::shared_ptr<JobSource> remote;  // null: the store's
    std::string queue;
    size_t concurrency;
    Duration timeout;
    auto operator<=>(const Place&) const = default;
  };
  std::vector<Place> places(const std::vector<WorkerPlan>& plans) const;
  static Task<> leave(std::shared_ptr<JobSource> remote, std::unique_ptr<Worker> worker, Deadline deadline,
                      bool& all_in_time);

  JobQueue* queue_ = nullptr;
  ScheduleRunner* runner_ = nullptr;
  std::string node_;
  std::map<std::string, std::map<std::string, Handler>> handlers_;  // by queue and kind
  std::set<std::string> bound_;                                     // queues with a handler that needs the store
  std::vector<Schedule> schedules_;
  std::multimap<Place, std::unique_ptr<Worker>> workers_;
  Time left_by_;
  bool all_in_time_ = true;
  TaskGroup leaving_;
};

}  // namespace trellis::queue
