#include "runtime/cores.h"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "base/metrics.h"

namespace trellis {
inline namespace runtime {

namespace {
size_t cores_allowed() noexcept {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return static_cast<size_t>(std::max(1, CPU_COUNT(&set)));
  return std::max(1U, std::thread::hardware_concurrency());
}

// Asks for short turns on the core: of threads that share one, such a thread runs as soon as it wakes, and what works
// in the background waits (Linux 6.12; sched_setattr(2), sched_runtime). Older kernels refuse, which is no harm.
void ask_for_short_slices() noexcept {
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;  // nanoseconds
  } attributes{};
  attributes.size = sizeof attributes;
  if (::syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0) return;
  if (attributes.policy != SCHED_OTHER) return;
  attributes.flags = 0;
  attributes.runtime = 100'000;
  (void)::syscall(SYS_sched_setattr, 0, &attributes, 0);
}

}  // namespace

Result<std::unique_ptr<Cores>> Cores::start(CoresOptions options) {
  std::unique_ptr<Cores> cores(new Cores);
  cores->pool_ = std::make_unique<BlockingPool>(options.blocking_threads);
  const size_t count = options.count != 0 ? options.count : std::min(cores_allowed(), kMaxSlots - 1);
  for (size_t i = 0; i < count; ++i) {
    auto core = std::make_unique<Core>();
    Core& made = *core;
    std::promise<Result<>> ready;
    auto future = ready.get_future();
    core->thread = std::thread([&made, &ready, &options, i, pool = cores->pool_.get()] {
      pthread_setname_np(pthread_self(), ("core-" + std::to_string(i)).c_str());
      ask_for_short_slices();
      set_metrics_slot(i);
      auto loop = Loop::make({.index = i, .io = options.io, .pool = pool});
      if (!loop) {
        ready.set_value(fail(std::move(loop).error()));
        return;
      }
      made.loop = *std::move(loop);
      made.group = std::make_unique<TaskGroup>();
      Loop& running = *made.loop;
      ready.set_value({});
      running.run();
      // Others may still post to this loop, and stop() may still be waking it: it goes when all have come to their end.
      made.ended.set_value();
      made.may_go.get_future().wait();
      made.group.reset();
      made.loop.reset();
    });
    Result<> started = future.get();
    if (!started) {
      core->thread.join();
      cores->stop();
      return fail(std::move(started).error());
    }
    cores->cores_.push_back(std::move(core));
  }
  return cores;
}

Cores::~Cores() { stop(); }

void Cores::stop() {
  if (pool_) pool_->close();  // first: its work comes back to the loops
  for (const auto& core : cores_) core->loop->stop();
  for (const auto& core : cores_) core->ended.get_future().wait();
  for (const auto& core : cores_) core->may_go.set_value();
  for (const auto& core : cores_) core->thread.join();
  cores_.clear();
  pool_.reset();
}

}  // namespace runtime
}  // namespace trellis
