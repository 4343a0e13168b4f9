// The lock of a shard of the memory cache: held for tens of nanoseconds, so a waiter tries again a few times before it
// sleeps. It sleeps in the kernel when the holder was preempted, which a plain spin lock would burn a time slice for.
// Any thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace trellis::cache {

class ShardLock {
 public:
  void lock() noexcept {
    uint32_t free = 0;
    if (state_.compare_exchange_strong(free, 1, std::memory_order_acquire, std::memory_order_relaxed)) [[likely]]
      return;
    lock_slowly();
  }
  void unlock() noexcept {
    if (state_.exchange(0, std::memory_order_release) == 2) state_.notify_one();
  }

 private:
  void lock_slowly() noexcept {
    for (int i = 0; i < 100; ++i) {
      uint32_t free = 0;
      if (state_.load(std::memory_order_relaxed) == 0 &&
          state_.compare_exchange_weak(free, 1, std::memory_order_acquire, std::memory_order_relaxed)) {
        return;
      }
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    }
    while (state_.exchange(2, std::memory_order_acquire) != 0) state_.wait(2, std::memory_order_relaxed);
  }

  std::atomic<uint32_t> state_{0};  // 0 free, 1 held, 2 held and somebody sleeps
};

}  // namespace trellis::cache
