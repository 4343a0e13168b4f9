#include "cache/disk/disk_index.h"

#include <algorithm>
#include <mutex>

#include "base/error.h"
#include "cache/disk/disk_format.h"

namespace trellis::cache {
namespace {

constexpr size_t kFirstCells = 16;

// A table is never fuller than 17 in 20, where it grows by a fifth, nor emptier than 11, where it shrinks.
constexpr bool too_full(size_t used, size_t cells) noexcept { return used * 20 > cells * 17; }
constexpr bool too_empty(size_t used, size_t cells) noexcept { return cells > kFirstCells && used * 20 < cells * 11; }
constexpr size_t cells_for(size_t used) noexcept { return std::max(kFirstCells, used * 20 / 17 * 6 / 5 + 1); }

constexpr unsigned kSlotShift = 43;
constexpr unsigned kUnitShift = 22;
constexpr unsigned kUnitsShift = 2;
constexpr uint64_t kAskedMask = 3;

uint64_t pack(const DiskPlace& place, unsigned asked) noexcept {
  TRELLIS_ASSERT(place.slot < kMostSlots && place.unit < kMostUnitsInSlot && place.units > 0 &&
                 place.units <= kMaxUnits);
  return (uint64_t{place.slot} << kSlotShift) | (uint64_t{place.unit} << kUnitShift) |
         (uint64_t{place.units} << kUnitsShift) | asked;
}
DiskPlace unpack(uint64_t word) noexcept {
  return {static_cast<uint32_t>(word >> kSlotShift) & (kMostSlots - 1),
          static_cast<uint32_t>(word >> kUnitShift) & (kMostUnitsInSlot - 1),
          static_cast<uint32_t>(word >> kUnitsShift) & kMaxUnits};
}

}  // namespace

DiskIndex::DiskIndex() : shards_(std::make_unique<Shard[]>(kShards)) {}

size_t DiskIndex::cell_of(const Shard& shard, uint64_t hash) noexcept {
  size_t cell = home(shard, hash);
  while (shard.cells[cell].place != 0 && shard.cells[cell].hash != hash) {
    if (++cell == shard.cells.size()) cell = 0;
  }
  return cell;
}

std::optional<DiskPlace> DiskIndex::find(uint64_t hash) const noexcept {
  const Shard& shard = shard_of(hash);
  const std::lock_guard lock(shard.lock);
  if (shard.used == 0) return std::nullopt;
  const uint64_t word = shard.cells[cell_of(shard, hash)].place;
  if (word == 0) return std::nullopt;
  return unpack(word);
}

std::optional<DiskPlace> DiskIndex::ask(uint64_t hash) noexcept {
  Shard& shard = shard_of(hash);
  const std::lock_guard lock(shard.lock);
  if (shard.used == 0) return std::nullopt;
  uint64_t& word = shard.cells[cell_of(shard, hash)].place;
  if (word == 0) return std::nullopt;
  if ((word & kAskedMask) < kMostAsked) ++word;
  return unpack(word);
}

std::optional<unsigned> DiskIndex::asked(uint64_t hash, const DiskPlace& place) const noexcept {
  const Shard& shard = shard_of(hash);
  const std::lock_guard lock(shard.lock);
  if (shard.used == 0) return std::nullopt;
  const uint64_t word = shard.cells[cell_of(shard, hash)].place;
  if (word == 0 || unpack(word) != place) return std::nullopt;
  return static_cast<unsigned>(word & kAskedMask);
}

void DiskIndex::put(uint64_t hash, const DiskPlace& place, unsigned asked) {
  Shard& shard = shard_of(hash);
  const std::lock_guard lock(shard.lock);
  if (shard.cells.empty() || too_full(shard.used + 1, shard.cells.size())) resize(shard, cells_for(shard.used + 1));
  Cell& cell = shard.cells[cell_of(shard, hash)];
  if (cell.place == 0) {
    ++shard.used;
    objects_.fetch_add(1, std::memory_order_relaxed);
  }
  cell = {hash, pack(place, asked)};
}

bool DiskIndex::remove(uint64_t hash) {
  Shard& shard = shard_of(hash);
  const std::lock_guard lock(shard.lock);
  if (shard.used == 0) return false;
  const size_t cell = cell_of(shard, hash);
  if (shard.cells[cell].place == 0) return false;
  erase(shard, cell);
  return true;
}

bool DiskIndex::remove_if(uint64_t hash, const DiskPlace& place) {
  Shard& shard = shard_of(hash);
  const std::lock_guard lock(shard.lock);
  if (shard.used == 0) return false;
  const size_t cell = cell_of(shard, hash);
  if (shard.cells[cell].place == 0 || unpack(shard.cells[cell].place) != place) return false;
  erase(shard, cell);
  return true;
}

std::vector<DiskIndex::Object> DiskIndex::objects_in(uint32_t slot) const {
  std::vector<Object> found;
  for (size_t i = 0; i < kShards; ++i) {
    const std::lock_guard lock(shards_[i].lock);
    for (const Cell& cell : shards_[i].cells) {
      if (cell.place == 0) continue;
      const DiskPlace place = unpack(cell.place);
      if (place.slot == slot) found.push_back({cell.hash, place});
    }
  }
  return found;
}

std::vector<DiskIndex::Object> DiskIndex::objects_of_part(size_t part) const {
  std::vector<Object> found;
  const std::lock_guard lock(shards_[part].lock);
  found.reserve(shards_[part].used);
  for (const Cell& cell : shards_[part].cells) {
    if (cell.place != 0) found.push_back({cell.hash, unpack(cell.place)});
  }
  return found;
}

void DiskIndex::resize(Shard& shard, size_t cells) {
  std::vector<Cell> old(cells);
  old.swap(shard.cells);
  bytes_.fetch_add((cells - old.size()) * sizeof(Cell), std::memory_order_relaxed);
  for (const Cell& cell : old) {
    if (cell.place != 0) shard.cells[cell_of(shard, cell.hash)] = cell;
  }
}

// What follows moves up unless it stands at or behind its home then, so that no empty cell parts it from there.
void DiskIndex::erase(Shard& shard, size_t cell) {
  const size_t size = shard.cells.size();
  for (size_t next = (cell + 1) % size; shard.cells[next].place != 0; next = (next + 1) % size) {
    const size_t from_home = (next + size - home(shard, shard.cells[next].hash)) % size;
    if (from_home < (next + size - cell) % size) continue;
    shard.cells[cell] = shard.cells[next];
    cell = next;
  }
  shard.cells[cell] = {};
  --shard.used;
  objects_.fetch_sub(1, std::memory_order_relaxed);
  if (too_empty(shard.used, size)) resize(shard, cells_for(shard.used));
}

}  // namespace trellis::cache
