#include "cache/disk/disk_writer.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/log.h"
#include "base/rng.h"

namespace trellis::cache {
namespace {

using namespace std::chrono_literals;

constexpr Duration kLookAtFailed = 1s;                    // at a folder that could not be opened
constexpr Duration kLook = 100ms;                         // at the lock, and at a failed disk's clock
constexpr uint64_t kBatch = uint64_t{16} << 20;           // bytes of objects taken at once
constexpr size_t kMostRemovalsWaiting = size_t{1} << 20;  // while there is no index to say which are needed
constexpr unsigned kMostSqueezes = 3;                     // segments dropped for the sake of one
constexpr unsigned kCalm = 16;                            // segments between two attempts to have more of them

bool no_room(const Error& error) noexcept { return error.code() == Code::resource_exhausted; }

}  // namespace

void DiskWriter::start(bool is_open, std::function<bool()> open) {
  thread_ = std::thread([this, is_open, open = std::move(open)] {
    pthread_setname_np(pthread_self(), "cache-writer");
    while (!is_open && !open()) {
      const Duration pause = parts_.health.state() == DiskState::failed ? kLookAtFailed : kLook;
      std::unique_lock lock(mutex_);
      if (wake_.wait_for(lock, pause, [this] { return closing_; })) return;
    }
    run();
  });
}

void DiskWriter::loaded(uint64_t next_number) {
  const std::lock_guard lock(mutex_);
  next_number_ = next_number;
  running_ = true;
  for (const Removal& removal : removals_) parts_.index.remove(removal.hash);
}

void DiskWriter::stop() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  idle_.notify_all();
}

// --- Queueing: any thread ---

bool DiskWriter::queue(Operation operation) {
  if (!parts_.health.usable()) return false;
  {
    const std::lock_guard lock(mutex_);
    if (closing_ || queued_bytes_ + operation.bytes > parts_.options.max_queued) return false;
    if (operation.meta_only && last_.contains(operation.object.hash)) return false;
    operation.sequence = ++sequence_;
    last_[operation.object.hash] = operation.sequence;
    queued_bytes_ += operation.bytes;
    objects_.push_back(std::move(operation));
  }
  wake_.notify_one();
  return true;
}

bool DiskWriter::put(DiskObject object) {
  Operation operation;
  operation.bytes = sizeof(Operation) + object.key.size() + object.meta.size();
  for (const std::string_view run : object.body) operation.bytes += run.size();
  operation.object = std::move(object);
  return queue(std::move(operation));
}

bool DiskWriter::replace_meta(std::string key, uint64_t hash, std::string meta) {
  const auto place = parts_.index.find(hash);
  if (!place) return false;
  Operation operation;
  operation.bytes = sizeof(Operation) + key.size() + meta.size() + place->units * kDiskUnit;
  operation.object.key = std::move(key);
  operation.object.hash = hash;
  operation.object.meta = std::move(meta);
  operation.meta_only = true;
  return queue(std::move(operation));
}

void DiskWriter::remove(uint64_t hash) {
  {
    const std::lock_guard lock(mutex_);
    const bool queued = last_.contains(hash);
    const bool there = parts_.index.remove(hash);
    if (stopped_) return;
    if (!queued && !there) {
      // Without an index yet, the object may be in it later.
      if (running_ || removals_.size() >= kMostRemovalsWaiting) return;
    }
    last_[hash] = ++sequence_;
    removals_.push_back({hash, sequence_});
  }
  wake_.notify_one();
}

bool DiskWriter::remove_if(uint64_t hash, const DiskPlace& place) {
  {
    const std::lock_guard lock(mutex_);
    if (last_.contains(hash) || !parts_.index.remove_if(hash, place)) return false;
    if (stopped_) return true;
    last_[hash] = ++sequence_;
    removals_.push_back({hash, sequence_});
  }
  wake_.notify_one();
  return true;
}

void DiskWriter::remove_dropped(uint64_t hash) {
  const std::lock_guard lock(mutex_);
  if (stopped_ || last_.contains(hash) || parts_.index.find(hash)) return;  // something newer stands there
  last_[hash] = ++sequence_;
  removals_.push_back({hash, sequence_});
}

void DiskWriter::flush() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] {
    return !running_ || stopped_ || (!busy_ && objects_.empty() && (removals_.empty() || !parts_.health.usable()));
  });
}

bool DiskWriter::sync(std::function<void(bool)> reached) {
  {
    const std::lock_guard lock(mutex_);
    if (closing_ || !running_ || !parts_.health.usable()) return false;
    Operation operation;
    operation.reached = std::move(reached);
    objects_.push_back(std::move(operation));
  }
  wake_.notify_one();
  return true;
}

void DiskWriter::look() {
  const std::lock_guard lock(mutex_);  // or it might just be going to sleep
  wake_.notify_one();
}

uint64_t DiskWriter::queued() const {
  const std::lock_guard lock(mutex_);
  return queued_bytes_;
}

bool DiskWriter::superseded(uint64_t hash, uint64_t sequence) const {
  const std::lock_guard lock(mutex_);
  const auto at = last_.find(hash);
  return at == last_.end() || at->second != sequence;
}

void DiskWriter::forget(uint64_t hash, uint64_t sequence) {
  const auto at = last_.find(hash);
  if (at != last_.end() && at->second == sequence) last_.erase(at);
}

// An object was taken and is not written: what it was to replace must not be found in its place.
void DiskWriter::lose(uint64_t hash, uint64_t sequence, std::vector<Removal>& removals) {
  const auto at = last_.find(hash);
  if (at == last_.end() || at->second != sequence) return;  // something newer is queued
  if (!parts_.index.remove(hash)) {
    last_.erase(at);
    return;
  }
  at->second = ++sequence_;
  removals.push_back({hash, sequence_});
}

// --- The thread ---

void DiskWriter::run() {
  Batch batch;
  while (take(batch)) {
    if (!parts_.health.usable() && parts_.health.try_now()) {
      const Result<void> tried = try_disk();
      if (tried) {
        parts_.health.works_again();
      } else {
        give_up(batch, tried.error());
      }
    }
    write_or_refuse(batch);
  }
  if (!active_) return;
  const Result<uint64_t> bytes = active_->seal();
  if (!bytes)
    log_warn("a segment of a cache's disk was left without its table; it is read through at the next start",
             {{"cache", parts_.options.name}, {"error", bytes.error().to_string()}});
}

bool DiskWriter::take(Batch& batch) {
  std::unique_lock lock(mutex_);
  queued_bytes_ -= batch.bytes;
  batch = {};
  busy_ = false;
  idle_.notify_all();
  const bool usable = parts_.health.usable();
  const auto ready = [&] { return closing_ || !objects_.empty() || (usable && !removals_.empty()); };
  if (usable) {
    wake_.wait(lock, [&] { return ready() || !parts_.health.usable(); });
  } else {
    wake_.wait_for(lock, kLook, ready);
  }
  if (closing_ && objects_.empty() && (removals_.empty() || !parts_.health.usable())) return false;
  busy_ = true;
  size_t count = 0;
  while (count < objects_.size() && batch.bytes < kBatch) batch.bytes += objects_[count++].bytes;
  const auto end = objects_.begin() + static_cast<ptrdiff_t>(count);
  batch.objects.assign(std::make_move_iterator(objects_.begin()), std::make_move_iterator(end));
  objects_.erase(objects_.begin(), end);
  batch.removals.swap(removals_);
  return true;
}

// Removals go first: an object queued before one of them is superseded by it, one queued afterwards must stand behind.
void DiskWriter::write_or_refuse(Batch& batch) {
  while (parts_.health.usable()) {
    const Result<void> written = write(batch);
    if (written) return;
    give_up(batch, written.error());
  }
  const std::lock_guard lock(mutex_);
  for (; batch.objects_done < batch.objects.size(); ++batch.objects_done) {
    const Operation& operation = batch.objects[batch.objects_done];
    if (operation.reached) {
      operation.reached(false);
      continue;
    }
    if (operation.meta_only) {
      forget(operation.object.hash, operation.sequence);
    } else {
      lose(operation.object.hash, operation.sequence, batch.removals);
    }
    parts_.counts.refused.add();
  }
  removals_.insert(removals_.begin(), batch.removals.begin() + static_cast<ptrdiff_t>(batch.removals_done),
                   batch.removals.end());
}

Result<void> DiskWriter::write(Batch& batch) {
  TRY_VOID(write_removals(batch));
  while (batch.objects_done < batch.objects.size()) {
    TRY_VOID(write_object(batch.objects[batch.objects_done++]));
  }
  return settle();
}

Result<void> DiskWriter::write_removals(Batch& batch) {
  std::vector<uint64_t> hashes;
  while (batch.removals_done < batch.removals.size()) {
    const size_t count = std::min(kRemovalsInRecord, batch.removals.size() - batch.removals_done);
    TRY_VOID(make_room(removals_head(count), count));
    const auto from = batch.removals.begin() + static_cast<ptrdiff_t>(batch.removals_done);
    const auto end = from + static_cast<ptrdiff_t>(count);
    hashes.clear();
    for (auto at = from; at != end; ++at) hashes.push_back(at->hash);
    removed_.insert(removed_.end(), from, end);
    batch.removals_done += count;
    TRY_VOID(active_->append_removals(hashes));
  }
  return {};
}

Result<void> DiskWriter::write_object(Operation& operation) {
  const DiskObject& object = operation.object;
  if (operation.reached) {
    Result<void> synced = sync_all();
    operation.reached(synced.has_value());
    return synced;
  }
  if (superseded(object.hash, operation.sequence)) return {};
  if (!operation.meta_only) {
    return append({object.hash, object.key, object.meta, object.body}, operation.sequence, 0, true);
  }
  const auto skip = [&] {
    const std::lock_guard lock(mutex_);
    forget(object.hash, operation.sequence);
    return Result<void>();
  };
  const auto place = parts_.index.find(object.hash);
  const SegmentRef segment = place ? parts_.segments.at(place->slot) : nullptr;
  if (!segment) return skip();
  auto loaded = load(object.hash, *segment, *place);
  if (!loaded || !*loaded || (*loaded)->start.key != object.key) return skip();
  const ObjectToWrite other{object.hash, object.key, object.meta, (*loaded)->body};
  if (other.head().size() > parts_.options.segment_bytes / 2) return skip();
  return append(other, operation.sequence, parts_.index.asked(object.hash, *place).value_or(0), false);
}

Result<void> DiskWriter::sync_all() {
  TRY_VOID(settle());
  return active_ ? active_->sync() : Result<void>();
}

Result<void> DiskWriter::append(const ObjectToWrite& object, uint64_t sequence, unsigned asked, bool replaces) {
  Result<void> done = make_room(object.head(), 1);
  DiskPlace place;
  if (done) {
    const Result<DiskPlace> at = active_->append(object);
    if (at) {
      place = *at;
    } else {
      done = fail(at.error().clone());
    }
  }
  appended_.push_back({object.hash, sequence, place, asked, replaces});  // also if it failed: give_up() counts it
  return done;
}

Result<void> DiskWriter::settle() {
  if (!active_) return {};
  TRY_VOID(active_->flush());
  parts_.health.worked();
  active_settled_ = true;
  const std::lock_guard lock(mutex_);
  for (const Appended& each : appended_) {
    const auto last = last_.find(each.hash);
    if (last == last_.end() || last->second != each.sequence) continue;
    parts_.index.put(each.hash, each.place, each.asked);
    last_.erase(last);
  }
  for (const Removal& each : removed_) forget(each.hash, each.sequence);
  parts_.counts.written.add(appended_.size());
  appended_.clear();
  removed_.clear();
  return {};
}

// What was not flushed is lost, but for removals, which are written again. The segment is not written to any more.
void DiskWriter::give_up(Batch& batch, const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    for (const Appended& each : appended_) {
      if (each.replaces) {
        lose(each.hash, each.sequence, batch.removals);
      } else {
        forget(each.hash, each.sequence);
      }
    }
  }
  parts_.counts.refused.add(appended_.size());
  appended_.clear();
  batch.removals.insert(batch.removals.end(), removed_.begin(), removed_.end());
  removed_.clear();
  const bool writing = active_ != nullptr;
  if (active_ && !active_settled_) {
    parts_.segments.remove(active_->segment()->slot);
    (void)parts_.disk.remove(active_->segment()->path);
  }
  active_.reset();
  const bool squeezed = no_room(error) && writing && parts_.segments.size() > 0 && squeeze();
  if (!squeezed) parts_.health.error(error);
}

// --- Segments ---

Result<void> DiskWriter::make_room(const RecordHead& head, size_t entries) {
  if (active_ && active_->fits(head, entries)) return {};
  TRY_VOID(next_segment(head.units() * kDiskUnit + table_size(entries)));
  TRELLIS_ASSERT(active_->fits(head, entries));
  return {};
}

// There is always room for one more segment than there are, so that the oldest is emptied into the newest. Half of that
// may be filled so: a quarter finds a hundredth less on traces of web pages, more finds no more.
Result<void> DiskWriter::next_segment(uint64_t needed) {
  if (active_) {
    TRY_VOID(settle());
    TRY(const uint64_t bytes, active_->seal());
    // Not written any more: it may be read by the page cache.
    Result<std::unique_ptr<DiskFile>> file = parts_.disk.open(active_->segment()->path, Disk::Open::existing);
    parts_.segments.seal(active_->segment()->slot, bytes, file ? *std::move(file) : nullptr);
    active_.reset();
  }
  const uint64_t segment_bytes = parts_.options.segment_bytes;
  while (parts_.segments.free_slot() == kMostSlots) {
    TRY_VOID(evict_oldest(0));
  }
  for (unsigned i = 0;; ++i) {
    Result<void> made = make_segment();
    if (made) break;
    if (!no_room(made.error()) || parts_.segments.size() == 0 || i == kMostSqueezes) return made;
    TRY_VOID(squeeze());
  }
  try_to_grow();
  uint64_t budget = std::min(segment_bytes / 2, segment_bytes / 8 * 7 - needed);  // an eighth for label and table
  while (parts_.segments.size() > 1 && parts_.segments.bytes() + segment_bytes > limit_) {
    TRY(budget, evict_oldest(budget));
  }
  return {};
}

// The file system has less than `size`: from now on, no more than what there is.
Result<void> DiskWriter::squeeze() {
  limit_ = std::min(limit_, std::max(parts_.segments.bytes(), 2 * parts_.options.segment_bytes));
  growth_ = parts_.options.segment_bytes;
  calm_ = 0;
  parts_.health.full(true);
  TRY_VOID(evict_oldest(0));
  return {};
}

// After a while without that, some more, and more each time.
void DiskWriter::try_to_grow() {
  if (limit_ == parts_.options.size || ++calm_ < kCalm) return;
  limit_ = std::min(parts_.options.size, limit_ + growth_);
  growth_ *= 2;
  calm_ = 0;
  if (limit_ == parts_.options.size) parts_.health.full(false);
}

Result<void> DiskWriter::make_segment() {
  SegmentLabel label{next_number_++, 0};
  random_bytes(&label.salt, sizeof(label.salt));
  TRY(active_, SegmentWriter::create(parts_.disk, parts_.options.path, label, parts_.segments.free_slot(),
                                     parts_.options.segment_bytes));
  active_settled_ = false;
  parts_.segments.add({active_->segment(), parts_.options.segment_bytes, false});
  return {};
}

// --- Making room ---

Result<uint64_t> DiskWriter::evict_oldest(uint64_t budget) {
  const SegmentList::Kept oldest = parts_.segments.oldest();
  const std::vector<DiskIndex::Object> objects = objects_of(oldest, parts_.index);
  for (const DiskIndex::Object& object : objects) {
    const unsigned asked = parts_.index.asked(object.hash, object.place).value_or(0);
    const uint64_t size = object.place.units * kDiskUnit;
    if (asked == 0 || size > budget) continue;
    TRY(const bool taken, take_along(*oldest.segment, object, asked - 1));
    if (taken) budget -= size;
  }
  TRY_VOID(settle());  // the index has what was taken along at its new place
  uint64_t gone = 0;
  for (const DiskIndex::Object& object : objects) gone += parts_.index.remove_if(object.hash, object.place) ? 1 : 0;
  parts_.counts.evicted.add(gone);
  parts_.segments.remove(oldest.segment->slot);
  TRY_VOID(parts_.disk.remove(oldest.segment->path));
  return budget;
}

// False: it is damaged, or something newer is queued under its hash.
Result<bool> DiskWriter::take_along(const Segment& segment, const DiskIndex::Object& object, unsigned asked) {
  const auto loaded = load(object.hash, segment, object.place);
  if (!loaded) return false;
  if (!*loaded) {
    parts_.counts.damaged.add(parts_.index.remove_if(object.hash, object.place) ? 1 : 0);
    return false;
  }
  uint64_t sequence = 0;
  {
    const std::lock_guard lock(mutex_);
    if (last_.contains(object.hash)) return false;
    sequence = ++sequence_;
    last_[object.hash] = sequence;
  }
  const RecordStart& start = (*loaded)->start;
  const ObjectToWrite other{object.hash, start.key, start.meta, (*loaded)->body};
  TRELLIS_ASSERT(active_->fits(other.head(), 1));
  TRY_VOID(append(other, sequence, asked, false));
  parts_.counts.moved.add();
  return true;
}

Result<std::unique_ptr<DiskWriter::Loaded>> DiskWriter::load(uint64_t hash, const Segment& segment,
                                                             const DiskPlace& place) {
  RecordReader reader(segment);
  TRY(auto start, reader.start(place.unit, place.units));
  if (!start || start->head.hash != hash) return nullptr;
  auto loaded = std::make_unique<Loaded>();
  loaded->start = *std::move(start);
  const RecordHead& head = loaded->start.head;
  const uint64_t first = loaded->start.first_size;
  for (uint64_t piece = first > 0 ? 1 : 0; piece < head.pieces(); ++piece) {
    TRY(auto bytes, reader.piece(head, loaded->start.sums[piece], piece));
    if (!bytes) return nullptr;
    loaded->pieces.push_back(*std::move(bytes));
  }
  if (first > 0) loaded->body.push_back(std::string_view(loaded->start.bytes).substr(head.size_to_body(), first));
  for (const std::string& piece : loaded->pieces) loaded->body.push_back(piece);
  return loaded;
}

// As if something was to be written: whether a new segment can be, and be read.
Result<void> DiskWriter::try_disk() {
  TRY_VOID(next_segment(0));
  TRY_VOID(active_->sync());
  std::string block(kDirectBlock, '\0');
  TRY_VOID(active_->segment()->file->read(0, std::span(block)));
  TRY_VOID(decode_label(block));
  return settle();
}

}  // namespace trellis::cache
