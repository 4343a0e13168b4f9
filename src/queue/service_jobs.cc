#include "queue/service_jobs.h"

#include <algorithm>
#include <utility>

#include "queue/schedule_runner.h"
#include "runtime/loop.h"

namespace trellis::queue {

namespace {
constexpr Duration kLastWrites = std::chrono::seconds(5);  // of workers whose time is over: they give jobs back
}  // namespace

ServiceJobs::ServiceJobs(JobQueue& queue, ScheduleRunner& schedules, std::string node)
    : queue_(queue), runner_(schedules), node_(std::move(node)) {}

ServiceJobs::~ServiceJobs() = default;

void ServiceJobs::handle(const std::string& queue, const std::string& kind, Handler handler) {
  handlers_[queue][kind] = std::move(handler);
}

std::vector<std::string> ServiceJobs::queues() const {
  std::vector<std::string> names;
  for (const auto& [queue, kinds] : handlers_) names.push_back(queue);
  return names;
}

Task<Result<void>> ServiceJobs::put_schedules(Deadline deadline) {
  for (const Schedule& schedule : schedules_) {
    auto putting = runner_.put(schedule, deadline);
    Result<void> put = co_await putting;
    if (!put) co_return put;
  }
  co_return Result<void>();
}

void ServiceJobs::work(const std::vector<WorkerPlan>& plans, Duration patience) {
  std::vector<Place> wanted;
  for (const auto& [queue, kinds] : handlers_) {
    const auto names = [&queue](const WorkerPlan& plan) { return std::ranges::count(plan.queues, queue) > 0; };
    const bool named = std::ranges::any_of(plans, names);
    for (const WorkerPlan& plan : plans) {
      const bool its = named ? names(plan) : plan.queues.empty();
      if (its && plan.concurrency > 0) wanted.push_back({queue, plan.concurrency, plan.timeout});
    }
  }
  std::multimap<Place, std::unique_ptr<Worker>> before = std::exchange(workers_, {});
  for (const Place& place : wanted) {
    if (const auto same = before.find(place); same != before.end()) {
      workers_.insert(before.extract(same));
      continue;
    }
    WorkerOptions options;
    options.queue = place.queue;
    options.name = node_;
    options.concurrency = place.concurrency;
    options.timeout = place.timeout;
    auto worker = std::make_unique<Worker>(queue_, std::move(options));
    for (const auto& [kind, handler] : handlers_.at(place.queue)) worker->handle(kind, handler);
    worker->start();
    workers_.emplace(place, std::move(worker));
  }
  const Time until = after(Loop::current().now(), patience);
  for (auto& [place, worker] : before) {
    left_by_ = std::max(left_by_, until);
    leaving_.spawn(leave(std::move(worker), until, all_in_time_));
  }
}

Task<> ServiceJobs::leave(std::unique_ptr<Worker> worker, Deadline deadline, bool& all_in_time) {
  auto stopping = worker->stop(deadline);
  const bool in_time = co_await stopping;
  all_in_time = all_in_time && in_time;
}

Task<bool> ServiceJobs::stop(Deadline deadline) {
  const Time now = Loop::current().now();
  work({}, deadline > now ? deadline - now : Duration::zero());
  auto joining = leaving_.join(after(std::max(left_by_, now), kLastWrites));
  const bool left = co_await joining;
  if (!left) leaving_.cancel_all();
  co_return left&& all_in_time_;
}

}  // namespace trellis::queue
