// The offsets that consumer groups committed: a map in memory over a compacted partition on disk, whose events are
// "group NUL topic NUL partition" -> offset. Written by the log's writer in its batches; read by any thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "queue/event_log_partition.h"

namespace trellis::queue {

class GroupOffsets {
 public:
  struct Entry {
    std::string group;
    std::string topic;
    uint32_t partition = 0;
    uint64_t next = 0;
  };

  // Blocks: reads all of it. Damaged places are left out: the group goes on from an earlier commit.
  static Result<std::unique_ptr<GroupOffsets>> open(Disk& disk, std::string folder);
  GroupOffsets(const GroupOffsets&) = delete;
  GroupOffsets& operator=(const GroupOffsets&) = delete;

  // The writer's thread, as in Partition: what is staged counts from commit() on.
  Result<void> prepare() { return partition_->prepare(); }
  void stage(Entry entry, int64_t at_ms);
  Result<void> commit();

  uint64_t next_of(std::string_view group, std::string_view topic, uint32_t partition) const;  // 0: never committed
  std::vector<Entry> all() const;
  // Lowers what lies above the head of a partition, which damage made shorter. How many groups.
  size_t lower_to(std::string_view topic, uint32_t partition, uint64_t head);

  Partition& partition() noexcept { return *partition_; }

 private:
  explicit GroupOffsets(std::unique_ptr<Partition> partition) : partition_(std::move(partition)) {}
  Result<void> load();

  std::unique_ptr<Partition> partition_;
  std::vector<std::pair<std::string, uint64_t>> staged_;
  // WHY a lock: the writer changes what every core and the scraper read; held for a lookup.
  mutable std::mutex mutex_;
  std::map<std::string, uint64_t, std::less<>> next_;
};

}  // namespace trellis::queue
