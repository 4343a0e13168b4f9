// A clock that moves only when told to. A loop with such a clock never sleeps for its timers.
#pragma once

#include <atomic>

#include "base/time.h"

namespace trellis::fakes {

class ManualClock final : public Clock {
 public:
  Time now() const noexcept override { return Time(Duration(mono_.load())); }
  WallTime wall() const noexcept override { return WallTime(Duration(wall_.load())); }
  void advance(Duration by) noexcept {
    mono_ += by.count();
    wall_ += by.count();
  }
  void jump_wall(Duration by) noexcept { wall_ += by.count(); }  // as an administrator or NTP would

 private:
  std::atomic<int64_t> mono_{1'000'000'000'000};
  std::atomic<int64_t> wall_{1'767'225'600'000'000'000};  // 2026-01-01T00:00:00Z
};

}  // namespace trellis::fakes
