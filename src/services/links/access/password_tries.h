// How many wrong passwords are tried: counted by link and by block of addresses, in windows of a minute. A try under
// way may turn out wrong, so it holds one of those that may still be; a right one gives it back and counts for nothing.
// Hence many at once have no more wrong ones than one after the other, and right ones are never refused for their
// number. A try belongs to the work that looks at it, not to the visitor: who leaves early has tried all the same.
// Owned by Passwords, shared with tries under way; any core, and the threads of the blocking pool.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>

#include "base/time.h"
#include "cache/shard_lock.h"
#include "services/links/window_counts.h"

namespace trellis::services::links {

class PasswordTries : public std::enable_shared_from_this<PasswordTries> {
 public:
  static constexpr uint32_t kWrongInAMinute = 10;
  static constexpr uint32_t kWrongFromLoopback = 100;  // it may be a proxy: then all visitors are this one block

  // `seed` keeps others from choosing who shares a place.
  explicit PasswordTries(uint64_t seed) : seed_(seed), wrong_(4096) {}

  // Somebody there, for one link.
  struct Who {
    uint64_t key = 0;
    uint32_t limit = kWrongInAMinute;
  };
  Who who(std::string_view address, int64_t link) const noexcept;

  class Try {
   public:
    Try(std::shared_ptr<PasswordTries> tries, uint64_t key, Time began) noexcept;
    Try(const Try&) = delete;
    Try& operator=(const Try&) = delete;
    ~Try();
    void wrong() noexcept { wrong_ = true; }  // else it counts for nothing

   private:
    std::shared_ptr<PasswordTries> tries_;
    uint64_t key_;
    Time began_;
    bool wrong_ = false;
  };

  // How long no more are looked at; nothing when they are.
  std::optional<Duration> slowed(Who who, Time now);
  // Null: not before a try that is under way has ended. Precondition: made as a std::shared_ptr.
  std::shared_ptr<Try> begin(Who who, Time now);

 private:
  uint64_t seed_;
  // WHY a lock: that there is room and that it is taken must be one step, on whichever core.
  cache::ShardLock lock_;
  WindowCounts wrong_;
  std::unordered_map<uint64_t, uint32_t> under_way_;  // as many as are looked at at once
};

}  // namespace trellis::services::links
