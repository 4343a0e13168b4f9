#include "cache/s3fifo.h"

#include <algorithm>

namespace trellis::cache {

// --- GhostQueue ---

GhostQueue::GhostQueue(uint64_t capacity) : capacity_(capacity), table_(64) {}

size_t GhostQueue::find(uint64_t hash) const noexcept {
  const size_t mask = table_.size() - 1;
  size_t at = (hash >> 7) & mask;
  while (table_[at].place != 0 && table_[at].hash != hash) at = (at + 1) & mask;
  return at;
}

// Closes the gap behind the erased slot, so that probing needs no marks of erased ones.
void GhostQueue::erase(size_t at) noexcept {
  const size_t mask = table_.size() - 1;
  size_t next = at;
  while (true) {
    table_[at].place = 0;
    while (true) {
      next = (next + 1) & mask;
      if (table_[next].place == 0) return;
      const size_t home = (table_[next].hash >> 7) & mask;
      // Does its home lie cyclically outside (at, next]? Then it may move into the gap.
      if (((next - home) & mask) >= ((next - at) & mask)) break;
    }
    table_[at] = table_[next];
    at = next;
  }
}

void GhostQueue::grow() {
  std::vector<Slot> old(table_.size() * 2);
  old.swap(table_);
  for (const Slot& slot : old) {
    if (slot.place != 0) table_[find(slot.hash)] = slot;
  }
}

void GhostQueue::add(uint64_t hash, uint32_t charge) {
  if (charge > capacity_) return;
  take(hash);
  while (charge_ + charge > capacity_) drop_oldest();
  if ((count_ + 1) * 2 > table_.size()) grow();
  entries_.push_back({hash, charge, false});
  charge_ += charge;
  ++count_;
  table_[find(hash)] = {hash, first_ + entries_.size()};
  // Entries that were taken keep their place until they are the oldest; never more of them than live ones.
  while (!entries_.empty() && (entries_.front().taken || entries_.size() > 2 * count_ + 64)) drop_oldest();
}

void GhostQueue::drop_oldest() {
  const Entry entry = entries_.front();
  entries_.pop_front();
  ++first_;
  if (entry.taken) return;
  charge_ -= entry.charge;
  --count_;
  erase(find(entry.hash));
}

bool GhostQueue::take(uint64_t hash) {
  const size_t at = find(hash);
  if (table_[at].place == 0) return false;
  Entry& entry = entries_[table_[at].place - 1 - first_];
  entry.taken = true;
  charge_ -= entry.charge;
  --count_;
  erase(at);
  return true;
}

// --- S3Fifo ---

S3Fifo::S3Fifo(uint64_t capacity)
    : capacity_(capacity),
      small_capacity_(std::max<uint64_t>(1, capacity / 10)),
      main_capacity_(capacity > small_capacity_ ? capacity - small_capacity_ : 1),
      ghosts_(main_capacity_) {}

void S3Fifo::insert(EvictionNode& node) {
  node.hits = 0;
  // Who comes back soon after it left has shown that it belongs into the main queue.
  node.queue = ghosts_.take(node.hash) ? in_main : in_small;
  (node.queue == in_main ? main_ : small_).push(node);
}

EvictionNode* S3Fifo::evict() {
  if (main_.charge <= main_capacity_) {
    while (EvictionNode* node = small_.pop()) {
      if (node->hits < 2) {
        ghosts_.add(node->hash, node->charge);
        return node;
      }
      node->hits = 0;
      node->queue = in_main;
      main_.push(*node);
    }
  }
  return evict_main();
}

EvictionNode* S3Fifo::evict_main() noexcept {
  while (EvictionNode* node = main_.pop()) {
    if (node->hits == 0) return node;
    --node->hits;
    main_.push(*node);
  }
  return nullptr;
}

void S3Fifo::remove(EvictionNode& node) noexcept { (node.queue == in_main ? main_ : small_).unlink(node); }

}  // namespace trellis::cache
