#include "cache/disk/disk_store.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <span>
#include <tuple>
#include <utility>

#include "base/log.h"
#include "base/metrics.h"
#include "cache/disk/disk_counts.h"
#include "cache/disk/disk_health.h"
#include "cache/disk/disk_index.h"
#include "cache/disk/disk_load.h"
#include "cache/disk/disk_segment.h"
#include "cache/disk/disk_writer.h"
#include "cache/disk/segment_list.h"
#include "cache/flight.h"
#include "runtime/blocking_pool.h"
#include "runtime/disk.h"

namespace trellis::cache {
namespace {

constexpr uint64_t kUsualSegment = uint64_t{64} << 20;
constexpr uint64_t kRoomySegment = uint64_t{4} << 20;
constexpr uint64_t kFewestSegments = 4;
constexpr uint64_t kRecordOverhead = uint64_t{16} << 10;  // head and checksums, at most
constexpr size_t kMostReadsWaiting = 4096;
constexpr size_t kMostDropped = 100'000;
constexpr uint64_t kReadInLoop = uint64_t{128} << 10;  // what a loop reads itself when it is in memory: some 20 µs

constexpr std::string_view kBytesHelp = "Room on disk that a cache's segments take.";
constexpr std::string_view kObjectsHelp = "Objects in the cache.";
constexpr std::string_view kStateHelp =
    "The disk of a cache: 0 works, 1 is full and has less room than configured, 2 fails, 3 waits for another process.";

Error refused(Code code, std::string what) { return Error(code, std::move(what)).from(Side::self); }

// Few enough files of a large cache, enough segments of a small one to choose from, and room in each for an object.
uint64_t usual_segment(uint64_t size) noexcept {
  const uint64_t few = std::max(kUsualSegment, size / 1024);
  const uint64_t many = std::max(size / 32, std::min(kRoomySegment, size / 8));
  const uint64_t bytes = std::min(few, many);
  return std::clamp(bytes / kDirectBlock * kDirectBlock, kMinDiskSegment, kMaxDiskSegment);
}

Result<void> check_options(const DiskOptions& options) {
  const uint64_t segment = options.segment_bytes;
  if (segment < kMinDiskSegment || segment > kMaxDiskSegment || segment % kDirectBlock != 0) {
    return fail(Code::invalid_argument, "a segment of a disk cache has 256KiB to 1GiB, in whole blocks of 4KiB");
  }
  if (options.size / segment < kFewestSegments) {
    return fail(Code::invalid_argument, "the disk of a cache has at least 1MiB and room for four segments");
  }
  if (options.size / segment > kMostSlots) return fail(Code::invalid_argument, "too many segments for a disk cache");
  return {};
}

// Work of a reading thread that a coroutine waits for; either may end first.
template <class R>
struct Reading {
  Flight flight;
  std::optional<R> result;
};

}  // namespace

std::string_view to_string(DiskState state) noexcept {
  switch (state) {
    case DiskState::ok: return "ok";
    case DiskState::full: return "full";
    case DiskState::failed: return "failed";
    case DiskState::waiting: return "waiting";
  }
  return "";
}

struct DiskStore::Impl {
  Impl(DiskOptions opts, Metrics& metrics)
      : options(std::move(opts)),
        disk(options.disk ? *options.disk : system_disk()),
        counts(metrics, options.name),
        health(options.name, options.clock ? *options.clock : system_clock()),
        writer({options, disk, index, segments, health, counts}),
        readers(options.read_threads, kMostReadsWaiting) {
    const Labels labels{{"cache", options.name}, {"tier", "disk"}};
    gauges.push_back(metrics.computed("trellis_cache_bytes", kBytesHelp, labels,
                                      [this] { return static_cast<double>(segments.bytes()); }));
    gauges.push_back(metrics.computed("trellis_cache_objects", kObjectsHelp, labels,
                                      [this] { return static_cast<double>(index.objects()); }));
    gauges.push_back(metrics.computed("trellis_cache_disk_state", kStateHelp, {{"cache", options.name}},
                                      [this] { return static_cast<double>(health.state()); }));
  }

  Result<bool> try_open();
  void close();
  void release();

  // What a reading thread does, or the loop. Nothing is given back whose checksum is wrong.
  Result<std::optional<RecordStart>> read_object(RecordReader& reader, const Segment& segment, const DiskPlace& place,
                                                 uint64_t hash, std::string_view key);
  Result<std::string> read_body(const Segment& segment, const DiskPlace& place, const RecordHead& head, uint32_t sum,
                                uint64_t piece);
  void note_error(const Error& error, uint64_t hash, const DiskPlace& place);
  void note_damage(const Segment& segment, uint64_t hash, const DiskPlace& place);
  Result<bool> look_at(uint64_t hash, const Dead& dead);
  bool remove_dropped();

  // fn() on a reading thread, its value here.
  template <class F, class R = std::invoke_result_t<F&>>
  static Task<R> read_off(std::shared_ptr<Impl> impl, F fn, Deadline deadline) {
    auto reading = std::make_shared<Reading<R>>();
    const bool queued = impl->readers.try_post([reading, fn = std::move(fn)]() mutable {
      reading->result.emplace(fn());
      reading->flight.finish();
    });
    if (!queued) co_return fail(refused(Code::unavailable, "too many reads from disk wait"));
    if (!co_await reading->flight.wait(deadline)) {
      co_return fail(refused(Code::deadline_exceeded, "the disk took too long"));
    }
    co_return *std::move(reading->result);
  }

  const DiskOptions options;
  Disk& disk;
  DiskCounts counts;
  DiskIndex index;
  SegmentList segments;
  DiskHealth health;
  std::shared_ptr<void> lock;
  std::atomic<bool> closing{false};
  std::atomic<bool> has_lost{false};
  // WHY a lock: threads that read add to it, one coroutine takes it.
  std::mutex dropped_mutex;
  std::vector<uint64_t> dropped;  // hashes
  LogThrottle damage_log{std::chrono::seconds(10)};
  DiskWriter writer;
  BlockingPool readers;
  std::vector<std::shared_ptr<void>> gauges;  // last: what they read lives longer
};

// --- Opening and closing ---

// False: another process has the folder.
Result<bool> DiskStore::Impl::try_open() {
  Result<std::shared_ptr<void>> locked = disk.lock(options.path + "/" + kDiskLock);
  if (!locked && locked.error().code() == Code::failed_precondition) return false;
  if (!locked) return fail(std::move(locked).error());
  const uint64_t damaged = counts.damaged.value();
  TRY(const uint64_t next, load_segments(disk, options.path, options.name, index, segments, counts));
  has_lost.store(counts.damaged.value() != damaged, std::memory_order_release);
  lock = *std::move(locked);
  writer.loaded(next);
  health.opened();  // from here on it is read
  return true;
}

Result<std::unique_ptr<DiskStore>> DiskStore::open(DiskOptions options, Metrics& metrics) {
  if (options.segment_bytes == 0) options.segment_bytes = usual_segment(options.size);
  TRY_VOID(check_options(options));
  auto impl = std::make_shared<Impl>(std::move(options), metrics);
  TRY_VOID(impl->disk.make_folder(impl->options.path));
  TRY_VOID(check_folder(impl->disk, impl->options.path));
  const Result<bool> first = impl->try_open();
  const bool opened = first && *first;
  if (!first) {
    const Code code = first.error().code();
    // What somebody has to put right is said at once; a disk that fails must not keep the node from its start.
    if (code == Code::permission_denied || code == Code::not_found) return fail(first.error().clone());
    impl->health.not_opened(first.error());
  } else if (!opened) {
    log_info("another process has the disk of a cache; until it lets go, the cache does without",
             {{"cache", impl->options.name}, {"path", impl->options.path}});
  }
  impl->writer.start(opened, [raw = impl.get()] {
    const Result<bool> now = raw->try_open();
    if (!now) raw->health.not_opened(now.error());
    return now && *now;
  });
  return std::unique_ptr<DiskStore>(new DiskStore(std::move(impl)));
}

DiskStore::DiskStore(std::shared_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}

DiskStore::~DiskStore() { impl_->close(); }

void DiskStore::Impl::close() {
  closing.store(true, std::memory_order_relaxed);
  gauges.clear();
  readers.close();
  release();
}

void DiskStore::Impl::release() {
  writer.stop();
  lock.reset();
}

void DiskStore::release() { impl_->release(); }

// --- Reading ---

void DiskStore::Impl::note_error(const Error& error, uint64_t hash, const DiskPlace& place) {
  if (index.remove_if(hash, place)) {
    const std::lock_guard guard(dropped_mutex);
    if (dropped.size() < kMostDropped) dropped.push_back(hash);
  }
  health.error(error);
  writer.look();
}

void DiskStore::Impl::note_damage(const Segment& segment, uint64_t hash, const DiskPlace& place) {
  if (!index.remove_if(hash, place)) return;  // it was on its way out, its place may be another's
  counts.damaged.add();
  log_every(damage_log, LogLevel::warn, "an object on the disk of a cache was damaged and is dropped",
            {{"cache", options.name}, {"segment", segment.path}, {"position", place.unit * kDiskUnit}});
}

Result<std::optional<RecordStart>> DiskStore::Impl::read_object(RecordReader& reader, const Segment& segment,
                                                                const DiskPlace& place, uint64_t hash,
                                                                std::string_view key) {
  auto start = reader.start(place.unit, place.units);
  if (!start) {
    if (!reader.missed()) note_error(start.error(), hash, place);
    return start;
  }
  health.worked();
  if (!*start || (*start)->head.hash != hash) {
    note_damage(segment, hash, place);
    return std::nullopt;
  }
  if ((*start)->key != key) return std::nullopt;
  return start;
}

Result<std::string> DiskStore::Impl::read_body(const Segment& segment, const DiskPlace& place, const RecordHead& head,
                                               uint32_t sum, uint64_t piece) {
  auto bytes = RecordReader(segment).piece(head, sum, piece);
  if (!bytes) {
    note_error(bytes.error(), head.hash, place);
    return fail(std::move(bytes).error());
  }
  health.worked();
  if (*bytes) return **std::move(bytes);
  note_damage(segment, head.hash, place);
  return fail(refused(Code::data_loss, "a cached object was damaged on disk"));
}

bool DiskStore::may_have(uint64_t hash) const noexcept { return impl_->index.find(hash).has_value(); }

void DiskStore::touch(uint64_t hash) noexcept { (void)impl_->index.ask(hash); }

struct DiskReader::Impl {
  std::shared_ptr<DiskStore::Impl> store;
  SegmentRef segment;
  DiskPlace place;
  RecordHead head;
  std::vector<uint32_t> sums;
  std::string meta;
  Chunk first;  // the first piece, when it was read with the head
  uint64_t position = 0;
};

DiskReader::DiskReader(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
DiskReader::DiskReader(DiskReader&&) noexcept = default;
DiskReader& DiskReader::operator=(DiskReader&&) noexcept = default;
DiskReader::~DiskReader() = default;

const std::string& DiskReader::meta() const noexcept { return impl_->meta; }
uint64_t DiskReader::body_size() const noexcept { return impl_->head.body_size; }
uint64_t DiskReader::position() const noexcept { return impl_->position; }
void DiskReader::skip_to(uint64_t position) noexcept { impl_->position = std::min(position, impl_->head.body_size); }

Task<Result<std::optional<DiskReader>>> DiskStore::find(std::string key, uint64_t hash, Deadline deadline,
                                                        bool counts) {
  const std::shared_ptr<Impl> impl = impl_;
  if (!impl->health.usable()) co_return std::nullopt;
  const auto place = counts ? impl->index.ask(hash) : impl->index.find(hash);
  if (!place) co_return std::nullopt;
  const SegmentRef segment = impl->segments.at(place->slot);
  if (!segment) co_return std::nullopt;
  Result<std::optional<RecordStart>> start = std::nullopt;
  RecordReader in_memory(*segment, true);
  const bool small = place->units * kDiskUnit <= kReadInLoop;
  if (small) start = impl->read_object(in_memory, *segment, *place, hash, key);
  if (!small || in_memory.missed()) {
    // The pool is closed, and so no such work runs, before the store ends.
    auto reading = Impl::read_off(
        impl,
        [raw = impl.get(), segment, place = *place, hash, key = std::move(key)] {
          RecordReader reader(*segment);
          return raw->read_object(reader, *segment, place, hash, key);
        },
        deadline);
    start = co_await reading;
  }
  if (!start && start.error().code() == Code::unavailable) co_return std::nullopt;
  if (!start) co_return fail(std::move(start).error());
  if (!*start) co_return std::nullopt;
  RecordStart& found = **start;
  auto reader = std::make_unique<DiskReader::Impl>();
  reader->store = impl;
  reader->segment = segment;
  reader->place = *place;
  reader->head = found.head;
  reader->sums = std::move(found.sums);
  reader->meta = std::move(found.meta);
  if (found.first_size > 0) {
    reader->first = Chunk::from_string(std::move(found.bytes)).slice(found.head.size_to_body(), found.first_size);
  }
  co_return DiskReader(std::move(reader));
}

Task<Result<Chunk>> DiskReader::read(Deadline deadline) {
  Impl& self = *impl_;
  if (self.position >= self.head.body_size) co_return Chunk();
  const uint64_t piece = self.position / kDiskPiece;
  const uint64_t from = self.position - piece * kDiskPiece;
  Chunk bytes;
  if (piece == 0 && !self.first.empty()) {
    bytes = self.first;
  } else {
    auto reading = DiskStore::Impl::read_off(
        self.store,
        [raw = self.store.get(), segment = self.segment, place = self.place, head = self.head, sum = self.sums[piece],
         piece] { return raw->read_body(*segment, place, head, sum, piece); },
        deadline);
    CO_TRY(std::string read, co_await reading);
    bytes = Chunk::from_string(std::move(read));
  }
  bytes.drop_front(from);
  self.position += bytes.size();
  co_return bytes;
}

// --- Writing ---

uint64_t DiskStore::max_object() const noexcept { return impl_->options.segment_bytes / 2 - kRecordOverhead; }

bool DiskStore::put(DiskObject object) {
  uint64_t size = object.key.size() + object.meta.size();
  for (const std::string_view run : object.body) size += run.size();
  const bool fits = size <= max_object() && object.key.size() <= kMaxDiskKey && object.meta.size() <= kMaxDiskMeta;
  const bool taken = fits && impl_->writer.put(std::move(object));
  if (!taken) impl_->counts.refused.add();
  return taken;
}

bool DiskStore::replace_meta(std::string key, uint64_t hash, std::string meta) {
  if (meta.size() > kMaxDiskMeta) return false;
  return impl_->writer.replace_meta(std::move(key), hash, std::move(meta));
}

void DiskStore::remove(uint64_t hash) { impl_->writer.remove(hash); }
void DiskStore::flush() { impl_->writer.flush(); }

// --- Walking through all ---

Task<Result<bool>> DiskStore::walk_on(Walk& walk, size_t most, Dead dead, Deadline deadline) {
  const std::shared_ptr<Impl> impl = impl_;
  while (walk.hashes.empty()) {
    if (walk.part == DiskIndex::kParts) co_return false;
    std::vector<DiskIndex::Object> objects = impl->index.objects_of_part(walk.part++);
    // In the order of the disk, the first at the end.
    std::sort(objects.begin(), objects.end(), [](const DiskIndex::Object& a, const DiskIndex::Object& b) {
      return std::tie(a.place.slot, a.place.unit) > std::tie(b.place.slot, b.place.unit);
    });
    for (const DiskIndex::Object& object : objects) walk.hashes.push_back(object.hash);
  }
  const size_t count = std::min(most, walk.hashes.size());
  std::vector<uint64_t> hashes(walk.hashes.rbegin(), walk.hashes.rbegin() + static_cast<ptrdiff_t>(count));
  walk.hashes.resize(walk.hashes.size() - count);
  auto looking = Impl::read_off(
      impl,
      [raw = impl.get(), hashes = std::move(hashes), dead = std::move(dead)]() -> Result<uint64_t> {
        uint64_t removed = 0;
        for (const uint64_t hash : hashes) {
          TRY(const bool gone, raw->look_at(hash, dead));
          removed += gone ? 1 : 0;
        }
        return removed;
      },
      deadline);
  CO_TRY(const uint64_t removed, co_await looking);
  walk.removed += removed;
  co_return true;
}

// Whether it was removed.
Result<bool> DiskStore::Impl::look_at(uint64_t hash, const Dead& dead) {
  auto place = index.find(hash);
  while (place) {
    if (closing.load(std::memory_order_relaxed) || !health.usable())
      return fail(refused(Code::unavailable, "the disk fails, or is closed"));
    bool is_dead = false;
    if (const SegmentRef segment = segments.at(place->slot)) {
      const auto text = RecordReader(*segment).text(place->unit, place->units);
      if (!text) {
        note_error(text.error(), hash, *place);
        return fail(text.error().clone());
      }
      if (!*text) note_damage(*segment, hash, *place);
      is_dead = *text && dead((*text)->key, (*text)->meta);
    }
    if (is_dead && writer.remove_if(hash, *place)) return true;
    // It may have moved to another segment meanwhile.
    const auto now = index.find(hash);
    if (now != place) {
      place = now;
      continue;
    }
    if (is_dead) writer.remove(hash);  // on its way to another segment, or something newer is: that costs a miss
    return is_dead;
  }
  return false;
}

// What could not be read and is out of the index since: it must not come back at the next start, when what it was to be
// compared with may be forgotten. WHY not at once: a disk that still writes would never seem to fail.
bool DiskStore::Impl::remove_dropped() {
  const std::lock_guard guard(dropped_mutex);
  if (dropped.size() == kMostDropped) return false;
  for (const uint64_t hash : dropped) writer.remove_dropped(hash);
  dropped.clear();
  return true;
}

Task<Result<void>> DiskStore::sync(Deadline deadline) {
  if (!impl_->remove_dropped()) co_return fail(refused(Code::unavailable, "too much could not be read"));
  auto syncing = std::make_shared<Reading<bool>>();
  const bool queued = impl_->writer.sync([syncing](bool done) {
    syncing->result.emplace(done);
    syncing->flight.finish();
  });
  if (!queued) co_return fail(refused(Code::unavailable, "the disk fails, or is closed"));
  if (!co_await syncing->flight.wait(deadline))
    co_return fail(refused(Code::deadline_exceeded, "the disk took too long"));
  if (!*syncing->result) co_return fail(refused(Code::unavailable, "the disk failed"));
  co_return Result<void>();
}

bool DiskStore::has_lost() const noexcept { return impl_->has_lost.load(std::memory_order_acquire); }

DiskFigures DiskStore::figures() const {
  const Impl& impl = *impl_;
  DiskFigures figures;
  figures.bytes = impl.segments.bytes();
  figures.objects = impl.index.objects();
  figures.index_bytes = impl.index.bytes();
  figures.queued = impl.writer.queued();
  figures.written = impl.counts.written.value();
  figures.evicted = impl.counts.evicted.value();
  figures.moved = impl.counts.moved.value();
  figures.damaged = impl.counts.damaged.value();
  figures.refused = impl.counts.refused.value();
  figures.state = impl.health.state();
  return figures;
}

}  // namespace trellis::cache
