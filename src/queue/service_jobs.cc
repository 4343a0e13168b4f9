#include "queue/service_jobs.h"

#include <algorithm>
#include <utility>

#include "queue/schedule_runner.h"
#include "runtime/loop.h"

namespace trellis::queue {

namespace {
constexpr Duration kLastWrites = std::chrono::seconds(5);  // of workers whose time is over: they give jobs back
// The claim itself waits at the other node.
constexpr Duration kRemotePoll = std::chrono::milliseconds(10);
}  // namespace

ServiceJobs::ServiceJobs(JobQueue& queue, ScheduleRunner& schedules, std::string node)
    : queue_(&queue), runner_(&schedules), node_(std::move(node)) {}

ServiceJobs::ServiceJobs(std::string node) : node_(std::move(node)) {}

ServiceJobs::~ServiceJobs() = default;

void ServiceJobs::handle(const std::string& queue, const std::string& kind, Handler handler, Needs needs) {
  handlers_[queue][kind] = std::move(handler);
  if (needs == Needs::store) bound_.insert(queue);
}

std::vector<std::string> ServiceJobs::queues() const {
  std::vector<std::string> names;
  for (const auto& [queue, kinds] : handlers_) names.push_back(queue);
  return names;
}

std::vector<std::string> ServiceJobs::movable_queues() const {
  std::vector<std::string> names;
  for (const auto& [queue, kinds] : handlers_) {
    if (!bound_.contains(queue)) names.push_back(queue);
  }
  return names;
}

Task<Result<void>> ServiceJobs::put_schedules(Deadline deadline) {
  if (!runner_) co_return Result<void>();
  for (const Schedule& schedule : schedules_) {
    auto putting = runner_->put(schedule, deadline);
    Result<void> put = co_await putting;
    if (!put) co_return put;
  }
  co_return Result<void>();
}

std::vector<ServiceJobs::Place> ServiceJobs::places(const std::vector<WorkerPlan>& plans) const {
  std::vector<Place> wanted;
  for (const auto& [queue, kinds] : handlers_) {
    const auto names = [&queue](const WorkerPlan& plan) { return std::ranges::count(plan.queues, queue) > 0; };
    const auto names_here = [&](const WorkerPlan& plan) { return !plan.remote && names(plan); };
    const bool named = std::ranges::any_of(plans, names_here);
    for (const WorkerPlan& plan : plans) {
      if (!plan.remote && !queue_) continue;
      const bool its = plan.remote ? names(plan) && !bound_.contains(queue) : named ? names(plan) : plan.queues.empty();
      if (its && plan.concurrency > 0) wanted.push_back({plan.remote, queue, plan.concurrency, plan.timeout});
    }
  }
  return wanted;
}

void ServiceJobs::work(const std::vector<WorkerPlan>& plans, Duration patience) {
  std::multimap<Place, std::unique_ptr<Worker>> before = std::exchange(workers_, {});
  for (const Place& place : places(plans)) {
    if (const auto same = before.find(place); same != before.end()) {
      workers_.insert(before.extract(same));
      continue;
    }
    WorkerOptions options;
    options.queue = place.queue;
    options.name = node_;
    options.concurrency = place.concurrency;
    options.timeout = place.timeout;
    if (place.remote) options.poll = kRemotePoll;
    auto worker = std::make_unique<Worker>(place.remote ? *place.remote : *queue_, std::move(options));
    for (const auto& [kind, handler] : handlers_.at(place.queue)) worker->handle(kind, handler);
    worker->start();
    workers_.emplace(place, std::move(worker));
  }
  const Time until = after(Loop::current().now(), patience);
  for (auto& [place, worker] : before) {
    left_by_ = std::max(left_by_, until);
    leaving_.spawn(leave(place.remote, std::move(worker), until, all_in_time_));
  }
}

// `remote` lives as long as its worker.
Task<> ServiceJobs::leave([[maybe_unused]] std::shared_ptr<JobSource> remote, std::unique_ptr<Worker> worker,
                          Deadline deadline, bool& all_in_time) {
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
