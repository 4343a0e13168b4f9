#include "cache/edge/purge_walk.h"

#include <utility>

#include "base/log.h"
#include "runtime/loop.h"

namespace trellis::cache {
namespace {

using namespace std::chrono_literals;

constexpr Duration kLook = 10s;          // whether the book wants a walk
constexpr Duration kPause = 5ms;         // after a step in memory: 25,000 objects a second, a hundredth of a core
constexpr Duration kPauseOfDisk = 20ms;  // after a step on disk: 3,000 records a second

}  // namespace

Task<bool> walk_once(std::weak_ptr<EdgeCache> weak) {
  uint64_t number = 0;
  bool has_disk = false;
  {
    const std::shared_ptr<EdgeCache> cache = weak.lock();
    if (!cache) co_return false;
    number = cache->book().newest();
    has_disk = cache->disk() != nullptr;
    // What is on its way to the disk is in its index then. What is queued from now on was compared with these rules.
    if (has_disk) {
      Task<Result<void>> syncing = cache->disk()->sync();
      const Result<void> synced = co_await syncing;
      if (!synced) co_return false;
    }
  }
  MemoryCache::Walk in_memory;
  for (bool more = true; more;) {
    {
      const std::shared_ptr<EdgeCache> cache = weak.lock();
      if (!cache) co_return false;
      more = cache->check_some(in_memory, Loop::current().now());
    }
    if (more) co_await sleep_for(kPause);
  }
  DiskStore::Walk on_disk;
  for (bool more = has_disk; more;) {
    {
      const std::shared_ptr<EdgeCache> cache = weak.lock();
      if (!cache) co_return false;
      Task<Result<bool>> step = cache->check_some_on_disk(on_disk);
      const Result<bool> looked = co_await step;
      if (!looked) co_return false;
      more = *looked;
    }
    if (more) co_await sleep_for(kPauseOfDisk);
  }
  const std::shared_ptr<EdgeCache> cache = weak.lock();
  if (!cache) co_return false;
  // What was removed must not come back without the rules that it was removed by.
  if (has_disk) {
    Task<Result<void>> syncing = cache->disk()->sync();
    const Result<void> synced = co_await syncing;
    if (!synced) co_return false;
  }
  cache->book().all_checked(number);
  log_debug("everything in a cache was compared with its purges",
            {{"cache", cache->name()}, {"up_to_micros", number}, {"removed_from_disk", on_disk.removed}});
  co_return true;
}

Task<> walk_for_purges(std::weak_ptr<EdgeCache> weak) {
  while (true) {
    co_await sleep_for(kLook);
    {
      const std::shared_ptr<EdgeCache> cache = weak.lock();
      if (!cache) co_return;
      if (!cache->book().wants_check()) continue;
    }
    Task<bool> walking = walk_once(weak);
    (void)co_await walking;
  }
}

}  // namespace trellis::cache
