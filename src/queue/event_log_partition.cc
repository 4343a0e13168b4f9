#include "queue/event_log_partition.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/rng.h"

namespace trellis::queue {
namespace {

uint32_t new_salt() noexcept {
  uint32_t salt = 0;
  random_bytes(&salt, sizeof(salt));
  return salt;
}

}  // namespace

// --- Opening ---

Partition::Partition(Disk& disk, std::string folder, const PartitionOptions& options)
    : disk_(disk), folder_(std::move(folder)), options_(options) {}

Result<std::unique_ptr<Partition>> Partition::open(Disk& disk, std::string folder, const PartitionOptions& options) {
  std::unique_ptr<Partition> partition(new Partition(disk, std::move(folder), options));
  TRY_VOID(disk.make_folder(partition->folder_));
  TRY_VOID(partition->load());
  return partition;
}

Result<void> Partition::load() {
  TRY(const std::vector<Disk::Entry> entries, disk_.list(folder_));
  for (const Disk::Entry& entry : entries) {
    if (entry.folder) continue;
    const std::string path = folder_ + "/" + entry.name;
    // A compaction that did not get as far as replacing the segment.
    if (entry.name.ends_with(".compact")) {
      TRY_VOID(disk_.remove(path));
    }
    const std::optional<uint64_t> base = base_of_segment(entry.name);
    if (!base) continue;
    auto segment = std::make_shared<Segment>();
    segment->base = *base;
    segment->path = path;
    segment->size = entry.size;
    segments_.push_back(std::move(segment));
  }
  uint64_t least = 0;  // the next offset, for compaction may have taken the last events before it
  while (!segments_.empty()) {
    Segment& last = *segments_.back();
    least = std::max(least, last.base);
    TRY(last.file, disk_.open(last.path, Disk::Open::existing));
    TRY(SegmentScan scan, scan_segment(*last.file, last.base, std::nullopt));
    next_offset_ = std::max(scan.next_offset, least);
    if (scan.records == 0 && scan.damage.empty()) {
      // Nothing was acknowledged in it, and whether its header is on disk is not known.
      TRY_VOID(disk_.remove(last.path));
      segments_.pop_back();
      if (segments_.empty()) break;
      continue;
    }
    if (scan.torn) {
      log_warn("a torn tail was cut off",
               {{"file", last.path}, {"position", scan.end}, {"bytes", last.size - std::min(last.size, scan.end)}});
      TRY_VOID(last.file->truncate(scan.end));
    }
    // Whole records that a crash left unsynced are served from now on.
    TRY_VOID(last.file->sync());
    const bool headless = scan.records == 0;
    for (const Damage& damage : scan.damage) {
      damaged_.fetch_add(1, std::memory_order_relaxed);
      log_error("a segment is damaged", {{"file", last.path}, {"position", damage.position}});
    }
    last_at_ms_ = scan.last_at_ms;
    last.size = scan.end;
    last.scan = std::move(scan);
    head_.store(next_offset_, std::memory_order_release);
    if (headless) break;
    active_ = segments_.back();
    return {};
  }
  head_.store(next_offset_, std::memory_order_release);
  return begin_segment();
}

Result<void> Partition::begin_segment() {
  auto segment = std::make_shared<Segment>();
  segment->base = next_offset_;
  segment->path = folder_ + "/" + segment_name(next_offset_);
  const SegmentHeader header{.base = next_offset_, .salt = new_salt()};
  const auto make = [&]() -> Result<void> {
    TRY(segment->file, disk_.open(segment->path, Disk::Open::create_empty));
    TRY_VOID(segment->file->write(0, encode_header(header)));
    TRY_VOID(segment->file->sync());
    return disk_.sync_folder(folder_);
  };
  Result<void> made = make();
  if (!made) {
    (void)disk_.remove(segment->path);  // it has no records; the next attempt makes it empty again
    return made;
  }
  SegmentScan scan;
  scan.header = header;
  scan.end = kSegmentHeader;
  scan.next_offset = next_offset_;
  scan.last_at_ms = last_at_ms_;
  segment->scan = std::move(scan);
  segment->size = kSegmentHeader;
  active_ = segment;
  const std::lock_guard lock(mutex_);
  segments_.push_back(std::move(segment));
  return {};
}

// --- Appending ---

Result<void> Partition::prepare() {
  if (distrusted_) {
    TRY_VOID(recover());
  }
  const Segment& active = *active_;
  if (active.size > kSegmentHeader && active.size >= std::min(options_.segment_bytes, kMaxSegment)) {
    TRY_VOID(begin_segment());
  }
  return {};
}

uint64_t Partition::stage(std::string_view key, std::optional<std::string_view> value, int64_t at_ms) {
  const Segment& active = *active_;
  last_at_ms_ = std::max(last_at_ms_, at_ms);
  Record record;
  record.offset = next_offset_++;
  record.at_ms = last_at_ms_;
  record.batch = static_cast<uint32_t>(active.size);
  record.key = key;
  record.value = value;
  const uint64_t position = active.size + staged_.size();
  append_record(staged_, record, active.scan->header.salt);
  const size_t size = record.size();
  record.key = {};
  record.value.reset();
  placed_.push_back({record, position, size});
  return record.offset;
}

Result<void> Partition::commit() {
  if (staged_.empty()) return {};
  Segment& active = *active_;
  Result<void> done = active.file->write(active.size, staged_);
  if (done) {
    done = active.file->sync();
    // What the kernel still holds of the file may not be on disk, and it will not say so a second time.
    if (!done) distrusted_ = true;
  }
  if (done) {
    const std::lock_guard lock(active.mutex);
    for (const Placed& placed : placed_) {
      active.scan->add(placed.record, placed.position);
      active.scan->end = placed.position + placed.size;
    }
    active.size += staged_.size();
    head_.store(next_offset_, std::memory_order_release);
  } else {
    next_offset_ = head_.load(std::memory_order_relaxed);
    if (!distrusted_ && !cut_back()) distrusted_ = true;
  }
  staged_.clear();
  placed_.clear();
  if (staged_.capacity() > (size_t{4} << 20)) staged_.shrink_to_fit();
  return done;
}

Result<void> Partition::cut_back() {
  Segment& active = *active_;
  TRY_VOID(active.file->truncate(active.size));
  return active.file->sync();
}

Result<void> Partition::recover() {
  Segment& active = *active_;
  TRY(std::shared_ptr<DiskFile> file, disk_.open(active.path, Disk::Open::existing));
  const std::vector<IndexEntry>& index = active.scan->index;
  const uint64_t from = index.empty() ? kSegmentHeader : index.back().position;
  RecordCursor cursor(*file, active.scan->header.salt, from, active.size, active.base);
  while (true) {
    TRY(const RecordCursor::Step step, cursor.next());
    if (step == RecordCursor::Step::end) break;
    if (step == RecordCursor::Step::bad) return fail(damage_error(active, cursor.position(), cursor.next_offset()));
  }
  TRY_VOID(file->truncate(active.size));
  TRY_VOID(file->sync());
  {
    const std::lock_guard lock(active.mutex);
    active.file = std::move(file);
  }
  distrusted_ = false;
  log_info("the log's file was opened anew", {{"file", active.path}});
  return {};
}

// --- Reading ---

std::vector<Partition::SegmentRef> Partition::segments_from(uint64_t offset) const {
  const std::lock_guard lock(mutex_);
  auto at = std::upper_bound(segments_.begin(), segments_.end(), offset,
                             [](uint64_t wanted, const SegmentRef& segment) { return wanted < segment->base; });
  if (at != segments_.begin()) --at;
  return {at, segments_.end()};
}

std::optional<uint64_t> Partition::base_after(const Segment& segment) const {
  const std::lock_guard lock(mutex_);
  for (const SegmentRef& other : segments_) {
    if (other->base > segment.base) return other->base;
  }
  return std::nullopt;
}

Result<void> Partition::know(Segment& segment) const {
  if (segment.scan) return {};
  if (!segment.file) {
    TRY(segment.file, disk_.open(segment.path, Disk::Open::existing));
  }
  // Only closed segments come here, so another follows; everything in this one was acknowledged.
  const uint64_t next_base = base_after(segment).value_or(head());
  TRY(SegmentScan scan, scan_segment(*segment.file, segment.base, next_base));
  // Offsets follow one another unless compaction took some: a file, or the end of one, was taken away.
  const uint64_t known_to =
      scan.damage.empty() ? scan.next_offset : std::max(scan.next_offset, scan.damage.back().next_offset);
  if (!options_.compact && known_to < next_base) scan.damage.push_back({scan.end, scan.end, known_to, next_base});
  for (const Damage& damage : scan.damage) {
    damaged_.fetch_add(1, std::memory_order_relaxed);
    log_error("a segment is damaged", {{"file", segment.path}, {"position", damage.position}});
  }
  segment.size = scan.end;
  segment.scan = std::move(scan);
  return {};
}

Result<Partition::View> Partition::view(Segment& segment, uint64_t from) const {
  const std::lock_guard lock(segment.mutex);
  TRY_VOID(know(segment));
  return View{segment.file, segment.scan->header.salt, segment.scan->position_of_offset(from), segment.size};
}

Result<Partition::View> Partition::view_at(Segment& segment, int64_t at_ms) const {
  const std::lock_guard lock(segment.mutex);
  TRY_VOID(know(segment));
  return View{segment.file, segment.scan->header.salt, segment.scan->position_of_time(at_ms), segment.size};
}

Result<std::optional<Partition::Times>> Partition::times_of(Segment& segment) const {
  const std::lock_guard lock(segment.mutex);
  TRY_VOID(know(segment));
  if (segment.scan->records == 0) return std::optional<Times>();
  return std::optional<Times>({segment.scan->index.front().at_ms, segment.scan->last_at_ms});
}

Error Partition::damage_error(const Segment& segment, uint64_t position, uint64_t offset) const {
  return Error(Code::data_loss, fmt::format("{} is damaged at position {}, offset {}", segment.path, position, offset))
      .from(Side::self);
}

Result<EventSlice> Partition::read(uint64_t from, size_t max, size_t max_bytes) const {
  EventSlice slice;
  slice.next = from;
  if (from >= head() || max == 0) return slice;
  const uint64_t end = head();
  size_t bytes = 0;
  const std::vector<SegmentRef> segments = segments_from(from);
  for (size_t i = 0; i < segments.size(); ++i) {
    const SegmentRef& segment = segments[i];
    TRY(const View view, this->view(*segment, from));
    RecordCursor cursor(*view.file, view.salt, view.from, view.end, segment->base);
    while (true) {
      const uint64_t expected = cursor.next_offset();
      TRY(RecordCursor::Step step, cursor.next());
      if (step == RecordCursor::Step::bad) {
        if (!slice.events.empty()) return slice;
        const uint64_t position = cursor.position();
        TRY(step, cursor.resync());
        const bool found = step == RecordCursor::Step::record;
        const uint64_t lost_to = found ? cursor.record().offset : base_after(*segment).value_or(head());
        if (from < lost_to) return fail(damage_error(*segment, position, std::max(expected, from)));
      }
      if (step == RecordCursor::Step::end) break;
      const Record& record = cursor.record();
      if (record.offset < from) continue;
      slice.events.push_back({record.offset, record.at_ms, std::string(record.key), std::nullopt});
      if (record.value) slice.events.back().value.emplace(*record.value);
      slice.next = record.offset + 1;
      bytes += record.size();
      if (slice.events.size() >= max || bytes >= max_bytes) return slice;
    }
    // Compaction leaves gaps; elsewhere what the next segment follows on was here.
    const bool closed = i + 1 < segments.size();
    if (closed && !options_.compact && cursor.next_offset() < segments[i + 1]->base && from < segments[i + 1]->base) {
      if (!slice.events.empty()) return slice;
      return fail(damage_error(*segment, cursor.position(), std::max(cursor.next_offset(), from)));
    }
  }
  if (slice.events.empty()) slice.next = end;
  return slice;
}

Result<uint64_t> Partition::next_whole(uint64_t from) const {
  for (const SegmentRef& segment : segments_from(from)) {
    TRY(const View view, this->view(*segment, from));
    RecordCursor cursor(*view.file, view.salt, view.from, view.end, segment->base);
    while (true) {
      TRY(RecordCursor::Step step, cursor.next());
      if (step == RecordCursor::Step::bad) {
        TRY(step, cursor.resync());
      }
      if (step == RecordCursor::Step::end) break;
      if (cursor.record().offset >= from) return cursor.record().offset;
    }
  }
  return head();
}

Result<uint64_t> Partition::offset_at(int64_t at_ms) const {
  const std::vector<SegmentRef> segments = segments_from(0);
  // The first segment that ends at or after the time. The active one may be empty and so is not asked.
  size_t low = 0;
  size_t high = segments.size() - 1;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    // One that is damaged as a whole tells no time: the nearest before it does.
    size_t asked = middle + 1;
    std::optional<Times> times;
    while (!times && asked > low) {
      TRY(times, times_of(*segments[--asked]));
    }
    if (!times || times->last < at_ms) {
      low = middle + 1;
    } else {
      high = asked;
    }
  }
  for (; low < segments.size(); ++low) {
    TRY(const View view, view_at(*segments[low], at_ms));
    RecordCursor cursor(*view.file, view.salt, view.from, view.end, segments[low]->base);
    while (true) {
      TRY(RecordCursor::Step step, cursor.next());
      if (step == RecordCursor::Step::bad) {
        TRY(step, cursor.resync());
      }
      if (step == RecordCursor::Step::end) break;
      if (cursor.record().at_ms >= at_ms) return cursor.record().offset;
    }
  }
  return head();
}

uint64_t Partition::first() const {
  const std::lock_guard lock(mutex_);
  return segments_.front()->base;
}

uint64_t Partition::bytes() const {
  uint64_t sum = 0;
  for (const SegmentRef& segment : segments_from(0)) {
    const std::lock_guard lock(segment->mutex);
    sum += segment->size;
  }
  return sum;
}

}  // namespace trellis::queue
