#include "queue/worker.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "runtime/loop.h"

namespace trellis::queue {

namespace {

constexpr Duration kLastWrites = std::chrono::seconds(2);  // for a stop to give jobs back after its deadline
// Between two tries to write the ends of jobs; doubled with each that fails.
constexpr Duration kFirstWait = std::chrono::milliseconds(100);
constexpr Duration kLastWait = std::chrono::seconds(3);
// Ended jobs whose end is not yet written; the claims wait at so many.
constexpr size_t kMaxUnsettled = 10 * kMaxBatch;

bool is_hopeless(const Error& error) noexcept {
  return error.code() == Code::invalid_argument || error.code() == Code::failed_precondition ||
         error.code() == Code::unimplemented;
}

void log_trouble(std::string_view queue, const Error& error) {
  static LogThrottle throttle(std::chrono::seconds(10));
  log_every(throttle, LogLevel::warn, "the job queue does not answer",
            {{"queue", queue}, {"error", error.to_string()}});
}

}  // namespace

Worker::Worker(JobSource& queue, WorkerOptions options) : queue_(queue), options_(std::move(options)) {
  options_.concurrency = std::clamp<size_t>(options_.concurrency, 1, kMaxBatch);
  options_.ahead = std::min(options_.ahead, kMaxBatch - options_.concurrency);
}

Worker::~Worker() = default;

void Worker::handle(std::string kind, Handler handler) { handlers_[std::move(kind)] = std::move(handler); }

void Worker::start() {
  listening_ = queue_.listen(options_.queue, wake_);
  claims_.spawn(claim_loop());
  service_.spawn(settle_loop());
  service_.spawn(extend_loop());
  service_.spawn(keep_house());
}

// --- Claiming and running ---

Task<> Worker::claim_loop() {
  while (!stopping_) {
    wake_.reset();
    const size_t want = options_.concurrency + options_.ahead;
    const size_t have = running_.size() + waiting_.size();
    // With jobs claimed ahead, half of them are used up before more are asked for.
    const bool enough = have > want - (want - options_.concurrency + 1) / 2 || settlements_.size() >= kMaxUnsettled;
    bool more = false;
    if (have < want && !enough) {
      const Time asked = Loop::current().now();
      auto claim =
          queue_.claim(options_.queue, want - have, options_.name, options_.lease, after(asked, options_.lease / 2));
      Result<std::vector<ClaimedJob>> claimed = co_await claim;
      if (claimed) {
        more = claimed->size() == want - have;
        for (ClaimedJob& job : *claimed) {
          Run run;
          run.job.lease = job.lease;
          run.job.kind = std::move(job.kind);
          run.job.payload = std::move(job.payload);
          run.job.tried = job.tried;
          run.job.max_attempts = job.max_attempts;
          run.lease_until = after(asked, options_.lease);
          waiting_.push_back(std::move(run));
        }
        begin_waiting();
      } else {
        log_trouble(options_.queue, claimed.error());
      }
    }
    if (stopping_) break;
    if (more && running_.size() + waiting_.size() < want) continue;
    (void)co_await wake_.wait(after(Loop::current().now(), options_.poll));
  }
  // What was claimed while the stop began, and what waits.
  for (Run& run : waiting_) {
    if (!run.lost) settle({run.job.lease, Verdict::release, {}, {}});
  }
  waiting_.clear();
}

void Worker::begin_waiting() {
  if (beginning_) return;  // a handler that ends at once comes here from within
  beginning_ = true;
  const Time now = Loop::current().now();
  while (!stopping_ && !waiting_.empty() && running_.size() < options_.concurrency) {
    Run run = std::move(waiting_.front());
    waiting_.pop_front();
    if (run.lost || run.lease_until <= now) continue;  // another's by now
    run.job.deadline = after(now, options_.timeout);
    running_.push_back(std::move(run));
    handlers_running_.spawn(this->run(std::prev(running_.end())));
  }
  beginning_ = false;
}

Task<> Worker::run(Runs::iterator run) {
  const auto found = handlers_.find(run->job.kind);
  if (found == handlers_.end()) {
    const Result<Done> unknown =
        fail(Error(Code::not_found, "no handler for jobs of kind " + run->job.kind).from(Side::self));
    decide(*run, unknown);
  } else {
    auto handler = found->second(run->job);
    const Result<Done> result = co_await handler;
    decide(*run, result);
  }
  running_.erase(run);
  begin_waiting();
  wake_.set();
}

void Worker::decide(Run& run, const Result<Done>& result) {
  if (result) {
    if (*result == Done::yes) settle({run.job.lease, Verdict::ack, {}, {}});
    if (*result == Done::not_begun) settle({run.job.lease, Verdict::release, {}, {}});
    return;
  }
  const Verdict verdict = is_hopeless(result.error()) ? Verdict::bury : Verdict::retry;
  settle({run.job.lease, verdict, result.error().to_string(), {}});
}

// --- Settling ---

void Worker::settle(Settlement settlement) {
  settlements_.push_back(std::move(settlement));
  unsettled_.set();
}

// One batch. What could not be written is kept: the job is ended, and only if nothing can be written until its lease
// runs out is it done again.
Task<bool> Worker::settle_some(Deadline deadline) {
  std::vector<Settlement> batch;
  while (!settlements_.empty() && batch.size() < kMaxBatch) {
    batch.push_back(std::move(settlements_.front()));
    settlements_.pop_front();
  }
  if (batch.empty()) co_return true;
  auto task = queue_.settle(options_.queue, batch, options_.lease, deadline);
  const Result<std::vector<Settled>> settled = co_await task;
  if (settled) co_return true;
  log_trouble(options_.queue, settled.error());
  settlements_.insert(settlements_.begin(), std::make_move_iterator(batch.begin()),
                      std::make_move_iterator(batch.end()));
  co_return false;
}

Task<> Worker::settle_loop() {
  Duration wait = kFirstWait;
  while (!ending_.is_set()) {
    const bool written = co_await settle_some(after(Loop::current().now(), options_.lease / 2));
    if (!written) {
      // Jitter above a half: the workers that a queue refused do not all come back at once.
      const auto jitter = static_cast<int64_t>(Loop::current().rng().next() % static_cast<uint64_t>(wait.count() / 2));
      (void)co_await ending_.wait(after(Loop::current().now(), wait / 2 + Duration(jitter)));
      wait = std::min(kLastWait, wait * 2);
      continue;
    }
    wait = kFirstWait;
    if (!settlements_.empty() || ending_.is_set()) continue;
    unsettled_.reset();
    (void)co_await unsettled_.wait(kNever);
  }
}

// Three times a lease, so that two may fail.
Task<> Worker::extend_loop() {
  while (true) {
    const bool ended = co_await ending_.wait(after(Loop::current().now(), options_.lease / 3));
    if (ended) co_return;
    const Time now = Loop::current().now();
    std::vector<Settlement> batch;
    for (const Run& run : running_) {
      if (!run.lost && now < run.job.deadline) batch.push_back({run.job.lease, Verdict::extend, {}, {}});
    }
    for (const Run& run : waiting_) {
      if (!run.lost) batch.push_back({run.job.lease, Verdict::extend, {}, {}});
    }
    if (batch.empty()) continue;
    auto task = queue_.settle(options_.queue, batch, options_.lease, after(now, options_.lease / 3));
    const Result<std::vector<Settled>> settled = co_await task;
    if (!settled) {
      log_trouble(options_.queue, settled.error());
      continue;
    }
    std::map<int64_t, Settled> outcome;
    for (size_t i = 0; i < batch.size(); ++i) outcome[batch[i].lease.id] = (*settled)[i];
    const auto note = [&](Run& run) {
      const auto found = outcome.find(run.job.lease.id);
      if (found == outcome.end()) return;
      if (found->second == Settled::stale) {
        run.lost = true;
      } else {
        run.lease_until = after(now, options_.lease);
      }
    };
    for (Run& run : running_) note(run);
    for (Run& run : waiting_) note(run);
  }
}

Task<> Worker::keep_house() {
  while (true) {
    const bool ended = co_await ending_.wait(after(Loop::current().now(), options_.housekeeping));
    if (ended) co_return;
    const Deadline soon = after(Loop::current().now(), options_.housekeeping);
    auto keeping = queue_.keep_house(soon);
    const Result<void> kept = co_await keeping;
    if (!kept) log_trouble(options_.queue, kept.error());
  }
}

// --- The end ---

Task<bool> Worker::stop(Deadline deadline) {
  stopping_ = true;
  listening_.reset();
  wake_.set();
  // A claim under way is waited for: what it brings is given back.
  const Deadline last = std::max(deadline, after(Loop::current().now(), kLastWrites));
  (void)co_await claims_.join(last);
  const bool in_time = co_await handlers_running_.join(deadline);
  if (!in_time) {
    handlers_running_.cancel_all();
    for (const Run& run : running_) {
      if (!run.lost) settle({run.job.lease, Verdict::release, {}, {}});
    }
    running_.clear();
  }
  ending_.set();
  unsettled_.set();
  (void)co_await service_.join(last);
  const Deadline end = std::max(deadline, after(Loop::current().now(), kLastWrites));
  bool written = true;
  while (written && !settlements_.empty()) written = co_await settle_some(end);
  co_return in_time;
}

}  // namespace trellis::queue
