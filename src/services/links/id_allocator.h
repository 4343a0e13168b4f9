// Counter values for new links, shared by all cores: leased from the store in blocks whose end is durable before their
// first value is used, so that a crash wastes values and never repeats one. A block lasts about ten seconds; the next
// is fetched in the background when half is used, so taking one usually waits for nothing. Owned by the service;
// start() and stop() on its home loop, take() on any.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "cache/flight.h"
#include "cache/shard_lock.h"
#include "runtime/sync.h"
#include "runtime/task.h"
#include "services/links/rows.h"

namespace trellis::store {
class SqliteStore;
}

namespace trellis::services::links {

class IdAllocator {
 public:
  static constexpr uint64_t kMinBlock = 64;
  static constexpr uint64_t kMaxBlock = 1 << 20;

  IdAllocator(store::SqliteStore& store, Loop& home, Clock& clock);

  // The first block.
  Task<Result<void>> start();
  // A value that nobody else has or had. Waits only when a block was used up before the next one came.
  Task<Result<uint64_t>> take(Deadline deadline);
  // Values from here on only, on any core: what was leased below is wasted. For whoever leased numbers of his own, so
  // that links made after his have higher ones.
  void skip_to(uint64_t value);
  // After the last take(): waits for a lease under way.
  Task<> stop(Deadline deadline);

  uint64_t block_size() const noexcept { return block_size_; }

 private:
  struct Block {
    uint64_t next = 0;
    uint64_t end = 0;
    uint64_t half = 0;
    std::vector<uint64_t> burned;
  };
  struct Leasing {
    cache::Flight flight;
    std::optional<Error> error;  // before flight.finish()
  };

  // Under the lock.
  std::optional<uint64_t> next_value() noexcept;
  static Block block_of(Lease lease);
  void begin_lease(std::shared_ptr<Leasing> leasing);
  Task<> lease(std::shared_ptr<Leasing> leasing);

  store::SqliteStore& store_;
  Loop& home_;
  Clock& clock_;
  // WHY a lock: the values of a block go to whichever core asks, a few nanoseconds each.
  cache::ShardLock lock_;
  Block current_;
  std::optional<Block> upcoming_;
  std::shared_ptr<Leasing> leasing_;  // null: none under way
  uint64_t given_ = 0;                // since the last lease began
  uint64_t floor_ = 0;
  uint64_t block_size_ = kMinBlock;  // of the home loop, as all below
  Time last_lease_;
  TaskGroup group_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace trellis::services::links
