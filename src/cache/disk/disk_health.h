// Whether a store's disk can be relied on. Three errors in a row and it counts as failed: nothing is asked of it then
// but, every few seconds, a try by the writing thread. Each change is said once in the log. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "base/time.h"
#include "cache/disk/disk_store.h"

namespace trellis::cache {

class DiskHealth {
 public:
  static constexpr Duration kTryEvery = std::chrono::seconds(5);

  DiskHealth(std::string name, Clock& clock) : name_(std::move(name)), clock_(clock) {}

  DiskState state() const noexcept { return state_.load(std::memory_order_acquire); }
  bool usable() const noexcept { return state() == DiskState::ok || state() == DiskState::full; }

  void opened();  // waiting no longer
  void not_opened(const Error& error);
  void error(const Error& error);
  void worked() noexcept { errors_.store(0, std::memory_order_relaxed); }
  void full(bool full);
  // Of a failed disk: whether it is time for the next try; once true, not again for kTryEvery.
  bool try_now() noexcept;
  void works_again();

 private:
  bool change(DiskState from, DiskState to) noexcept;

  const std::string name_;
  Clock& clock_;
  std::atomic<DiskState> state_{DiskState::waiting};
  std::atomic<uint32_t> errors_{0};
  std::atomic<Time> next_try_{Time::min()};
};

}  // namespace trellis::cache
