#include "runtime/loop.h"

#include <pthread.h>
#include <time.h>

#include <algorithm>

#include "runtime/blocking_pool.h"
#include "runtime/io.h"

namespace trellis {
inline namespace runtime {

thread_local Loop* Loop::current_ = nullptr;

void ReadyNode::unlink() noexcept {
  if (!next_) return;
  next_->prev_ = prev_;
  prev_->next_ = next_;
  next_ = prev_ = nullptr;
}

Loop::Loop(const LoopOptions& options)
    : clock_(*options.clock),
      now_(clock_.now()),
      wall_(clock_.wall()),
      index_(options.index),
      rng_(options.seed != 0 ? options.seed : random_seed()),
      timers_(now_),
      pool_(options.pool),
      manual_clock_(options.clock != &system_clock()),
      busy_window_start_(now_),
      wall_read_(now_) {
  ready_.next_ = ready_.prev_ = &ready_;
  clockid_t id = CLOCK_THREAD_CPUTIME_ID;
  pthread_getcpuclockid(pthread_self(), &id);
  cpu_clock_ = id;
}

Result<std::unique_ptr<Loop>> Loop::make(LoopOptions options) {
  std::unique_ptr<Loop> loop(new Loop(options));
  current_ = loop.get();
  Result<std::unique_ptr<Io>> io = options.io == IoKind::epoll ? make_epoll_io() : make_uring_io();
  if (!io && options.io == IoKind::automatic) io = make_epoll_io();
  if (!io) {
    current_ = nullptr;
    return fail(std::move(io).error());
  }
  loop->io_ = *std::move(io);
  return loop;
}

Loop::~Loop() {
  for (Posted* node = posted_.exchange(nullptr); node;) {
    Posted* next = node->next;
    delete node;
    node = next;
  }
  io_.reset();
  ready_.next_ = ready_.prev_ = nullptr;
  if (current_ == this) current_ = nullptr;
}

void Loop::woke() noexcept {
  const Time before = now_;
  now_ = clock_.now();
  // Two clocks a turn are one too many: the wall is asked again after 10 ms and moved on in between.
  if (manual_clock_ || now_ - wall_read_ >= std::chrono::milliseconds(10)) {
    wall_ = clock_.wall();
    wall_read_ = now_;
  } else {
    wall_ += now_ - before;
  }
  waited_ += now_ - before_wait_;
  const Duration window = now_ - busy_window_start_;
  if (window < std::chrono::seconds(1)) return;
  busy_ratio_.store(1.0 - seconds(waited_) / seconds(window), std::memory_order_relaxed);
  busy_window_start_ = now_;
  waited_ = Duration::zero();
}

void Loop::run() {
  while (!stopping_.load(std::memory_order_acquire)) run_once(Duration::max());
}

void Loop::stop() noexcept {
  stopping_.store(true, std::memory_order_release);
  io_->wake();
}

void Loop::post(std::move_only_function<void()> work) {
  auto* node = new Posted{nullptr, std::move(work)};
  Posted* head = posted_.load(std::memory_order_relaxed);
  do {
    node->next = head;
  } while (!posted_.compare_exchange_weak(head, node, std::memory_order_release, std::memory_order_relaxed));
  if (!head && current_ != this) io_->wake();
}

void Loop::run_posted() {
  if (posted_.load(std::memory_order_relaxed) == nullptr) return;
  Posted* taken = posted_.exchange(nullptr, std::memory_order_acquire);
  Posted* ordered = nullptr;
  while (taken) {
    Posted* next = taken->next;
    taken->next = ordered;
    ordered = taken;
    taken = next;
  }
  while (ordered) {
    Posted* node = ordered;
    ordered = node->next;
    node->work();
    delete node;
  }
}

void Loop::make_ready(ReadyNode& node) noexcept {
  if (node.linked()) return;
  node.prev_ = ready_.prev_;
  node.next_ = &ready_;
  ready_.prev_->next_ = &node;
  ready_.prev_ = &node;
}

void Loop::run_ready() noexcept {
  // Only what is ready now: who makes itself ready again waits for the next turn, so that I/O is not starved.
  ReadyNode end;
  end.next_ = &ready_;
  end.prev_ = ready_.prev_;
  ready_.prev_->next_ = &end;
  ready_.prev_ = &end;
  while (ready_.next_ != &end) {
    ReadyNode& node = *ready_.next_;
    node.unlink();
    node.handle.resume();
  }
}

void Loop::run_once(Duration max_wait) {
  Duration wait = max_wait;
  before_wait_ = clock_.now();
  if (ready_.next_ != &ready_ || posted_.load(std::memory_order_relaxed) != nullptr || manual_clock_) {
    wait = Duration::zero();
  } else if (const Time due = timers_.next_due(); due != kNever) {
    wait = std::min(wait, due > before_wait_ ? due - before_wait_ : Duration::zero());
  }
  io_->turn(wait);
  run_posted();
  timers_.advance(now_);
  run_ready();
}

double Loop::cpu_seconds() const noexcept {
  timespec ts{};
  if (clock_gettime(cpu_clock_, &ts) != 0) return 0;
  return static_cast<double>(ts.tv_sec) + static_cast<double>(ts.tv_nsec) * 1e-9;
}

void SleepAwaiter::fire(Timer& timer) noexcept {
  auto& self = *static_cast<SleepAwaiter*>(timer.owner());
  self.waiter_.resume();
}

}  // namespace runtime
}  // namespace trellis
