// Counts per key in windows of a minute, in a table of fixed size: when it is full, those with the lowest counts are
// forgotten, never those that count most. Any core.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/time.h"
#include "cache/shard_lock.h"

namespace trellis::services::links {

class WindowCounts {
 public:
  static constexpr Duration kWindow = std::chrono::minutes(1);

  explicit WindowCounts(size_t keys);  // that are remembered; a multiple of 4

  struct Count {
    uint32_t count = 0;
    Duration left{};  // of its window
  };
  Count add(uint64_t key, Time now);       // one more
  void take_back(uint64_t key, Time now);  // one less
  Count get(uint64_t key, Time now);

 private:
  struct Place {
    uint64_t key = 0;  // 0: free
    uint32_t count = 0;
    Time since;
  };
  static constexpr size_t kWays = 4;
  using Set = std::array<Place, kWays>;

  size_t sets_count_;
  // WHY a lock: a key counts on whichever core it comes up. It is held for a look at four places.
  cache::ShardLock lock_;
  std::unique_ptr<Set[]> sets_;
};

}  // namespace trellis::services::links
