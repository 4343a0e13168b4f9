// Does jobs: claims them from a queue, runs the handler of their kind with a limit on how many at once, and tells the
// queue what became of each. Wakes up when this process enqueues, and looks by itself now and then otherwise. While a
// handler runs, its lease is extended; a handler that stays longer than its deadline loses the job to another, and
// whatever it answers then is refused. All of it lives on the loop it was made on; owned by the app.
//
// A handler may run twice for one job (the node died after the effect and before the end of the job was written). One
// whose effect is in the same store makes it happen once: it ends the job in the same write (end_job) and returns
// Done::ended.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "queue/jobs.h"
#include "runtime/sync.h"
#include "runtime/task.h"

namespace trellis::queue {

// What a handler gets. Lives until the handler has ended.
struct JobRun {
  Lease lease;
  std::string kind;
  std::string payload;
  int tried = 1;
  int max_attempts = 1;
  Deadline deadline = kNever;  // of the handler; the lease is extended until then and no longer
};

enum class Done : uint8_t {
  yes,        // the worker writes that it is done
  ended,      // the handler has written so, with its effect
  not_begun,  // given back as it was taken: ready at once, the attempt not counted
};
// An error brings the job back after a backoff, but for invalid_argument, failed_precondition and unimplemented: a
// repeat cannot help, and the job is buried.
using Handler = std::function<Task<Result<Done>>(const JobRun& job)>;

struct WorkerOptions {
  std::string queue;
  std::string name = "worker";  // in the rows and in errors: who has a job
  size_t concurrency = 4;       // handlers at once
  size_t ahead = 0;             // jobs claimed beyond these: fewer and larger claims for short jobs
  Duration lease = std::chrono::seconds(30);
  Duration timeout = std::chrono::minutes(5);  // of a handler
  Duration poll = std::chrono::seconds(1);     // how late a delayed job or one of another process may be seen
  Duration housekeeping = std::chrono::seconds(15);
};

class Worker {
 public:
  Worker(JobSource& queue, WorkerOptions options);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Before start(). A job of a kind that has no handler is retried, for another node may know it.
  void handle(std::string kind, Handler handler);
  void start();
  // Claims nothing more, gives back what it had not begun, waits for the handlers under way; those that are not through
  // by the deadline are cancelled and their jobs given back at once. False: there were some.
  Task<bool> stop(Deadline deadline);

  size_t running() const noexcept { return running_.size(); }

 private:
  struct Run {
    JobRun job;
    Time lease_until;
    bool lost = false;  // the queue said that the lease is another's
  };
  using Runs = std::list<Run>;

  Task<> claim_loop();
  Task<> settle_loop();
  Task<> extend_loop();
  Task<> keep_house();
  Task<> run(Runs::iterator run);
  void begin_waiting();
  void decide(Run& run, const Result<Done>& result);
  void settle(Settlement settlement);
  Task<bool> settle_some(Deadline deadline);

  JobSource& queue_;
  WorkerOptions options_;
  std::map<std::string, Handler> handlers_;
  std::deque<Run> waiting_;  // claimed, not begun
  Runs running_;
  std::deque<Settlement> settlements_;
  bool stopping_ = false;
  bool beginning_ = false;
  runtime::Event wake_;       // of the claim loop
  runtime::Event unsettled_;  // of the settle loop
  runtime::Event ending_;     // of the others
  std::shared_ptr<void> listening_;
  TaskGroup claims_;
  TaskGroup service_;
  TaskGroup handlers_running_;  // last: its tasks use all of the above
};

}  // namespace trellis::queue
