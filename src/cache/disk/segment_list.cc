#include "cache/disk/segment_list.h"

#include <algorithm>
#include <utility>

namespace trellis::cache {

uint32_t SegmentList::free_slot() const {
  const std::lock_guard lock(mutex_);
  for (uint32_t slot = 0; slot < slots_.size(); ++slot) {
    if (!slots_[slot]) return slot;
  }
  return static_cast<uint32_t>(std::min<size_t>(slots_.size(), kMostSlots));
}

void SegmentList::add(Kept kept) {
  const std::lock_guard lock(mutex_);
  const uint32_t slot = kept.segment->slot;
  if (slots_.size() <= slot) slots_.resize(slot + 1);
  slots_[slot] = kept.segment;
  bytes_.fetch_add(kept.bytes, std::memory_order_relaxed);
  order_.push_back(std::move(kept));
}

void SegmentList::seal(uint32_t slot, uint64_t bytes, std::unique_ptr<DiskFile> file) {
  const std::lock_guard lock(mutex_);
  for (Kept& kept : order_) {
    if (kept.segment->slot != slot) continue;
    bytes_.fetch_add(bytes - kept.bytes, std::memory_order_relaxed);
    kept.bytes = bytes;
    kept.sealed = true;
    if (!file) continue;
    auto segment = std::make_shared<Segment>();
    segment->label = kept.segment->label;
    segment->slot = slot;
    segment->path = kept.segment->path;
    segment->file = std::move(file);
    kept.segment = segment;
    slots_[slot] = std::move(segment);
  }
}

SegmentList::Kept SegmentList::oldest() const {
  const std::lock_guard lock(mutex_);
  return order_.front();
}

void SegmentList::remove(uint32_t slot) {
  const std::lock_guard lock(mutex_);
  const auto at =
      std::find_if(order_.begin(), order_.end(), [&](const Kept& kept) { return kept.segment->slot == slot; });
  if (at == order_.end()) return;
  bytes_.fetch_sub(at->bytes, std::memory_order_relaxed);
  slots_[slot] = nullptr;
  order_.erase(at);
}

SegmentRef SegmentList::at(uint32_t slot) const {
  const std::lock_guard lock(mutex_);
  return slot < slots_.size() ? slots_[slot] : nullptr;
}

std::vector<SegmentList::Kept> SegmentList::all() const {
  const std::lock_guard lock(mutex_);
  return {order_.begin(), order_.end()};
}

size_t SegmentList::size() const {
  const std::lock_guard lock(mutex_);
  return order_.size();
}

std::vector<DiskIndex::Object> objects_of(const SegmentList::Kept& kept, const DiskIndex& index) {
  const uint32_t slot = kept.segment->slot;
  const Result<SegmentContents> contents =
      kept.sealed ? read_segment(*kept.segment->file) : fail(Code::not_found, "no table yet");
  if (!contents || !contents->sealed) return index.objects_in(slot);
  std::vector<DiskIndex::Object> objects;
  for (const TableEntry& entry : contents->entries) {
    if (entry.units > 0) objects.push_back({entry.hash, {slot, entry.unit, entry.units}});
  }
  return objects;
}

}  // namespace trellis::cache
