#include "queue/event_log_groups.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

namespace trellis::queue {
namespace {

std::string key_of(std::string_view group, std::string_view topic, uint32_t partition) {
  std::string key;
  key.reserve(group.size() + topic.size() + 8);
  key += group;
  key += '\0';
  key += topic;
  key += '\0';
  key += std::to_string(partition);
  return key;
}

GroupOffsets::Entry entry_of(std::string_view key, uint64_t next) {
  GroupOffsets::Entry entry;
  const size_t first = key.find('\0');
  const size_t second = key.find('\0', first + 1);
  entry.group = key.substr(0, first);
  entry.topic = key.substr(first + 1, second - first - 1);
  std::from_chars(key.data() + second + 1, key.data() + key.size(), entry.partition);
  entry.next = next;
  return entry;
}

}  // namespace

Result<std::unique_ptr<GroupOffsets>> GroupOffsets::open(Disk& disk, std::string folder) {
  PartitionOptions options;
  options.segment_bytes = uint64_t{1} << 20;
  options.compact = true;
  TRY(std::unique_ptr<Partition> partition, Partition::open(disk, std::move(folder), options));
  std::unique_ptr<GroupOffsets> groups(new GroupOffsets(std::move(partition)));
  TRY_VOID(groups->load());
  return groups;
}

Result<void> GroupOffsets::load() {
  uint64_t from = 0;
  while (from < partition_->head()) {
    Result<EventSlice> slice = partition_->read(from, 10'000, size_t{1} << 20);
    if (!slice && slice.error().code() == Code::data_loss) {
      TRY(const uint64_t next, partition_->next_whole(from));
      if (next <= from) return fail(std::move(slice).error());  // the disk does not read, which is another matter
      from = next;
      continue;
    }
    if (!slice) return fail(std::move(slice).error());
    if (slice->events.empty()) break;
    for (const StoredEvent& event : slice->events) {
      const auto separators = std::count(event.key.begin(), event.key.end(), '\0');
      if (!event.value || event.value->size() != sizeof(uint64_t) || separators != 2) continue;
      uint64_t next = 0;
      std::memcpy(&next, event.value->data(), sizeof(next));
      next_[event.key] = next;
    }
    from = slice->next;
  }
  return {};
}

void GroupOffsets::stage(Entry entry, int64_t at_ms) {
  std::string key = key_of(entry.group, entry.topic, entry.partition);
  char value[sizeof(entry.next)];
  std::memcpy(value, &entry.next, sizeof(value));
  partition_->stage(key, std::string_view(value, sizeof(value)), at_ms);
  staged_.emplace_back(std::move(key), entry.next);
}

Result<void> GroupOffsets::commit() {
  Result<void> done = partition_->commit();
  if (done) {
    const std::lock_guard lock(mutex_);
    for (auto& [key, next] : staged_) next_[std::move(key)] = next;
  }
  staged_.clear();
  return done;
}

uint64_t GroupOffsets::next_of(std::string_view group, std::string_view topic, uint32_t partition) const {
  const std::string key = key_of(group, topic, partition);
  const std::lock_guard lock(mutex_);
  const auto at = next_.find(key);
  return at == next_.end() ? 0 : at->second;
}

std::vector<GroupOffsets::Entry> GroupOffsets::all() const {
  std::vector<Entry> entries;
  const std::lock_guard lock(mutex_);
  entries.reserve(next_.size());
  for (const auto& [key, next] : next_) entries.push_back(entry_of(key, next));
  return entries;
}

size_t GroupOffsets::lower_to(std::string_view topic, uint32_t partition, uint64_t head) {
  size_t lowered = 0;
  const std::lock_guard lock(mutex_);
  for (auto& [key, next] : next_) {
    if (next <= head) continue;
    const Entry entry = entry_of(key, next);
    if (entry.topic != topic || entry.partition != partition) continue;
    next = head;
    ++lowered;
  }
  return lowered;
}

}  // namespace trellis::queue
