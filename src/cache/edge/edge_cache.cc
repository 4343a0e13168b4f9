#include "cache/edge/edge_cache.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/metrics.h"
#include "cache/edge/object_meta.h"
#include "cache/rules/reuse.h"
#include "runtime/loop.h"

namespace trellis::cache {

namespace {

constexpr std::string_view kPastUri = "\n#";  // a key's URI ends, its variant or range begins: no field is named so
constexpr uint32_t kTouchEvery = 64;          // hits in memory
constexpr uint64_t kCurveSteps = 64;          // of the memory
constexpr uint64_t kCurveTimes = 4;           // the memory, at most
constexpr size_t kBucketsToCheck = 128;       // of a step of a walk
constexpr size_t kRecordsToCheck = 64;        // on disk, likewise
constexpr uint64_t kMemoryShare = 2;          // an object larger than this part of a shard lives on disk alone

std::string_view uri_of(std::string_view key) noexcept { return key.substr(0, key.find(kPastUri)); }

// Of one with its own key: slice_key(), and perhaps a variant's.
bool is_slice(std::string_view key) noexcept {
  const size_t past = key.find(kPastUri);
  return past != std::string_view::npos && key.substr(past + kPastUri.size()).starts_with('/');
}

}  // namespace

EdgeCache::EdgeCache(MemoryCache& memory, std::unique_ptr<DiskStore> disk, std::unique_ptr<PurgeBook> book,
                     EdgeCacheOptions options)
    : memory_(memory),
      options_(options),
      book_(std::move(book)),
      disk_(std::move(disk)),
      space_(memory.new_space()),
      fills_(std::make_unique<FillShard[]>(kFillShards)),
      curve_(memory.capacity() / kCurveSteps, kCurveTimes * memory.capacity()) {
  memory_.add_space(std::string(kSpace), *this);
  for (const auto& [size, times] : {std::pair("0.5", 0.5), std::pair("1", 1.0), std::pair("2", 2.0),
                                    std::pair("4", static_cast<double>(kCurveTimes))}) {
    const auto bytes = static_cast<uint64_t>(times * static_cast<double>(memory_.capacity()));
    gauges_.push_back(memory_.metrics().computed(
        "trellis_cache_hit_ratio_at",
        "Share of lookups that LRU would answer from memory of so many times the size; from a sample of the keys.",
        {{"cache", memory_.name()}, {"size", size}}, [this, bytes] { return curve_.hit_ratio_at(bytes); }));
  }
  gauges_.push_back(memory_.metrics().computed(
      "trellis_cache_purge_rules", "Purges that a cache keeps to compare objects with.", {{"cache", memory_.name()}},
      [this] { return static_cast<double>(book_->figures().rules); }));
}

EdgeCache::~EdgeCache() {
  gauges_.clear();
  memory_.remove_space(*this);
}

// --- objects ---

bool EdgeCache::alive(Object& object) const noexcept {
  if (object.kind() != Object::Kind::answer) return true;
  const uint64_t newest = book_->newest();
  const uint64_t checked = object.checked.load(std::memory_order_acquire);  // and with it what `expired` was then
  if (checked >= newest) [[likely]]
    return true;
  const PurgeState state = book_->check(object.subject(), checked);
  if (state == PurgeState::dead) return false;
  if (state == PurgeState::stale) object.expired.store(true, std::memory_order_relaxed);
  object.checked.store(newest, std::memory_order_release);
  return true;
}

ObjectRef EdgeCache::peek(std::string_view key, Time now) {
  EntryRef found;
  memory_.peek(space_, key, now, [&](CacheEntry& entry) {
    entry.acquire();
    found = EntryRef(&entry);
  });
  return ObjectRef(std::move(found));
}

ObjectRef EdgeCache::find(std::string_view key, Time now) {
  EntryRef found;
  memory_.with(space_, key, now, Duration(), [&](CacheEntry& entry) {
    entry.acquire();
    found = EntryRef(&entry);
  });
  ObjectRef object(std::move(found));
  if (!object) return object;
  if (!alive(*object)) {
    remove(key);
    return ObjectRef();
  }
  if (disk_) {
    // What memory gives counts on disk too, or the disk would let go of what is asked for most.
    const uint32_t given = object->given.load(std::memory_order_relaxed);
    object->given.store(given + 1, std::memory_order_relaxed);
    if (given % kTouchEvery == 0) disk_->touch(hash64(key));
  }
  return object;
}

PurgeState EdgeCache::purge_state(const Object& object) const noexcept {
  const PurgeState state = book_->check(object.subject(), object.checked.load(std::memory_order_relaxed));
  const bool expired = state == PurgeState::alive && object.expired.load(std::memory_order_relaxed);
  return expired ? PurgeState::stale : state;
}

void EdgeCache::looked(std::string_view key, const ObjectRef& object) noexcept {
  if (!object) {
    curve_.look(MemoryCache::hash_of(space_, key), 0);
  } else if (object->kind() == Object::Kind::answer) {
    curve_.look(object->place_hash(), object->charged());
  }
}

void EdgeCache::remove(std::string_view key) {
  memory_.invalidate(space_, key);
  if (disk_) disk_->remove(hash64(key));
}

void EdgeCache::invalidate_all() {
  // Fills under way, and what the disk has, are met by it too. Not kept over a restart where the disk refuses; the
  // control API's purge says so (PurgeBook::Added), this one has nobody to tell.
  (void)book_->add({PurgeRule{PurgeRule::Kind::all, "", false}});
}

Stamp EdgeCache::stamp(std::string_view key) const noexcept { return stamps_.read(uri_of(key)); }
bool EdgeCache::unchanged(std::string_view key, Stamp since) const noexcept {
  return stamps_.unchanged(uri_of(key), since);
}

// No purge met it, and its URI was not invalidated since the stamp.
bool EdgeCache::may_stand(Object& object, Stamp stamp) const noexcept {
  return unchanged(object.key(), stamp) && alive(object);
}

// Who invalidated or purged while it was stored has either been seen before, or is seen now. WHY purges too, which are
// seen at each use: when a walk has passed here, their rules may be let go.
void EdgeCache::look_after(const ObjectRef& object, Stamp stamp) {
  if (!may_stand(*object, stamp)) {
    remove(object->key());
  } else if (disk_ && object->expired.load(std::memory_order_relaxed)) {
    disk_->remove(hash64(object->key()));  // there it would not be known
  }
}

void EdgeCache::insert(const ObjectRef& object, Stamp stamp) {
  if (object->growing() || !may_stand(*object, stamp)) return;
  store(object);
  look_after(object, stamp);
}

void EdgeCache::insert_head(const ObjectRef& object, Stamp stamp) {
  if (object->growing() || !may_stand(*object, stamp)) return;
  store_head(object);
  look_after(object, stamp);
}

Task<> EdgeCache::insert_head_at_end(std::shared_ptr<void>, ObjectRef object, Stamp stamp) {
  for (const ObjectPart& part : object->parts()) {
    const std::shared_ptr<ObjectBody> body = part.body;
    (void)co_await body->wait_for_end(kNever);
  }
  if (!object->broken()) insert_head(object, stamp);
}

void EdgeCache::insert_in_memory(const ObjectRef& object, Stamp stamp) {
  if (object->growing() || !may_stand(*object, stamp)) return;
  store_in_memory(object);
  if (!may_stand(*object, stamp)) memory_.invalidate(space_, object->key());
}

void EdgeCache::store_in_memory(const ObjectRef& object) {
  const size_t bytes = object->memory();
  if (bytes > memory_.shard_capacity() / kMemoryShare) {
    memory_.invalidate(space_, object->key());  // what was there is not what the URI has now
    return;
  }
  MemoryCache::set_up(*object, bytes, kNever, Duration());
  curve_.size_of(object->place_hash(), object->charged());
  memory_.put(space_, object.entry());
}

void EdgeCache::grew(const ObjectRef& object) {
  memory_.recharge(space_, *object.entry().get(), object->memory(), memory_.shard_capacity() / kMemoryShare);
  curve_.size_of(object->place_hash(), object->charged());
}

void EdgeCache::store(const ObjectRef& object) {
  store_in_memory(object);
  if (belongs_on_disk(*object)) write(object);
}

void EdgeCache::store_head(const ObjectRef& object) {
  store_in_memory(object);
  if (!belongs_on_disk(*object)) return;
  const uint64_t hash = hash64(object->key());
  if (disk_->may_have(hash) && disk_->replace_meta(std::string(object->key()), hash, object_meta(*object))) return;
  write(object);
}

bool EdgeCache::belongs_on_disk(const Object& object) const noexcept {
  if (!disk_ || object.kind() == Object::Kind::unshared || object.expired.load(std::memory_order_relaxed)) return false;
  if (object.kind() != Object::Kind::answer) return true;
  // Parts of a representation are of use to those who ask now; they are not worth a place on disk each, but for slices.
  return object.parts().size() <= 1 && (object.whole() || (is_slice(object.key()) && object.head().total));
}

void EdgeCache::write(const ObjectRef& object) {
  DiskObject out;
  out.key = object->key();
  out.hash = hash64(out.key);
  out.meta = object_meta(*object);
  if (!object->parts().empty()) {
    out.body = object->parts()[0].body->pieces();
    out.owner = object->parts()[0].body;
  }
  const uint64_t hash = out.hash;
  // What is not written must not leave an older answer in its place.
  if (!disk_->put(std::move(out))) disk_->remove(hash);
}

ObjectRef EdgeCache::make_object(std::string key, ObjectHead head, std::vector<ObjectPart> parts) const {
  return ObjectRef(new Object(space_, std::move(key), std::move(head), std::move(parts)));
}
ObjectRef EdgeCache::make_variants(std::string key, Variants variants) const {
  return ObjectRef(Object::variants(space_, std::move(key), std::move(variants)));
}
ObjectRef EdgeCache::make_unshared(std::string key, Time until, std::string_view why) const {
  return ObjectRef(Object::unshared(space_, std::move(key), until, why));
}

bool EdgeCache::has_room(std::optional<uint64_t> bytes) const noexcept {
  if (bytes && *bytes > options_.max_object) return false;
  const uint64_t on_the_way = std::max<uint64_t>(memory_.capacity() / 2, options_.on_the_way);
  return body_bytes() + bytes.value_or(0) <= memory_.capacity() + on_the_way;
}

std::shared_ptr<ObjectBody> EdgeCache::make_body(std::optional<uint64_t> expected) const {
  return std::make_shared<ObjectBody>(expected, bodies_);
}

// --- disk ---

bool EdgeCache::may_be_on_disk(std::string_view key) const noexcept { return disk_ && disk_->may_have(hash64(key)); }

Task<ObjectRef> EdgeCache::load(std::string key, Deadline deadline, TaskGroup& background,
                                std::shared_ptr<void> keeps) {
  if (!may_be_on_disk(key)) co_return ObjectRef();
  const uint64_t hash = hash64(key);
  const Stamp began = stamp(key);
  const uint64_t checked = number_of_disk();
  Task<Result<std::optional<DiskReader>>> finding = disk_->find(key, hash, deadline);
  auto found = co_await finding;
  if (!found || !*found) co_return ObjectRef();
  auto reader = std::make_unique<DiskReader>(**std::move(found));
  const bool has_room_for_it = has_room(reader->body_size());
  ObjectRef object = decode(std::move(key), *reader, checked, has_room_for_it);
  if (!object || !alive(*object) || reader->body_size() > options_.max_object) {
    disk_->remove(hash);
    co_return ObjectRef();
  }
  if (object->kind() == Object::Kind::variants) {
    insert_in_memory(object, began);
    co_return object;
  }
  if (!has_room_for_it) co_return ObjectRef();
  const std::shared_ptr<ObjectBody> body = object->parts()[0].body;
  if (reader->body_size() > 0) {
    // The first piece came with the head: most objects are whole at once.
    Task<Result<Chunk>> reading = reader->read(deadline);
    auto first = co_await reading;
    if (!first || first->empty() || !body->append(first->view())) co_return ObjectRef();
    if (body->size() < reader->body_size()) {
      const bool runs = background.spawn(pump(std::move(keeps), object, std::move(reader), began));
      if (!runs) co_return ObjectRef();
      co_return object;
    }
    body->finish();
  }
  loaded(object, began);
  co_return object;
}

// The number at which all there is on disk was checked. To be read before what it is to be used for: when rules are let
// go in between, that counts as purged, which costs a miss.
uint64_t EdgeCache::number_of_disk() const noexcept {
  // What came back with a loss was not there to be checked.
  return disk_->has_lost() ? 0 : book_->retired();
}

// With an empty body or none; null for what cannot be read.
ObjectRef EdgeCache::decode(std::string key, const DiskReader& reader, uint64_t checked, bool with_body) const {
  const std::string_view meta = reader.meta();
  if (is_meta_of_variants(meta)) {
    auto variants = variants_from(meta);
    return variants ? make_variants(std::move(key), *std::move(variants)) : ObjectRef();
  }
  const Loop& loop = Loop::current();
  auto stored = stored_head_from(meta, loop.now(), loop.wall());
  if (!stored) return ObjectRef();
  ObjectHead& head = stored->head;
  const uint64_t size = reader.body_size();
  if (!stored->whole && size > *head.total - stored->first) return ObjectRef();
  std::vector<ObjectPart> parts;
  if (with_body) {
    parts.push_back({stored->first, make_body(size)});
    if (size == 0) parts[0].body->finish();
  } else if (stored->whole) {
    head.total = size;
  }
  ObjectRef object = make_object(std::move(key), std::move(head), std::move(parts));
  object->checked.store(std::max(checked, object->head().filled), std::memory_order_relaxed);
  return object;
}

Task<ObjectRef> EdgeCache::peek_on_disk(std::string key, Deadline deadline) {
  if (!may_be_on_disk(key)) co_return ObjectRef();
  const uint64_t checked = number_of_disk();
  Task<Result<std::optional<DiskReader>>> finding = disk_->find(key, hash64(key), deadline, false);
  const auto found = co_await finding;
  co_return found && *found ? decode(std::move(key), **found, checked, false) : ObjectRef();
}

// What was fetched while the disk was read is newer.
void EdgeCache::loaded(const ObjectRef& object, Stamp stamp) {
  if (!find(object->key(), object->head().answered)) insert_in_memory(object, stamp);
}

Task<> EdgeCache::pump(std::shared_ptr<void>, ObjectRef object, std::unique_ptr<DiskReader> reader, Stamp stamp) {
  const std::shared_ptr<ObjectBody> body = object->parts()[0].body;
  struct End {
    ObjectBody& body;
    ~End() { body.give_up(); }
  } end{*body};
  while (true) {
    Task<Result<Chunk>> reading = reader->read();
    auto piece = co_await reading;
    if (!piece) co_return;
    if (piece->empty()) break;
    if (!body->append(piece->view())) co_return;
  }
  body->finish();
  if (body->state() == ObjectBody::State::whole) loaded(object, stamp);
}

// --- purges of all there is ---

bool EdgeCache::check_some(MemoryCache::Walk& walk, Time now) {
  std::vector<EntryRef> entries;
  if (!memory_.walk_on(walk, space_, kBucketsToCheck, entries)) return false;
  for (EntryRef& entry : entries) {
    const ObjectRef object(std::move(entry));
    if (alive(*object) || peek(object->key(), now).entry().get() != object.entry().get()) continue;
    memory_.invalidate(space_, object->key());
  }
  return true;
}

Task<Result<bool>> EdgeCache::check_some_on_disk(DiskStore::Walk& walk) {
  // WHY the book alone: this may run for a moment longer than who waits for it holds the cache; the store ends first.
  const auto dead = [book = book_.get(), checked = number_of_disk()](std::string_view, std::string_view meta) {
    if (is_meta_of_variants(meta)) return false;
    const auto stored = stored_head_from(meta, Time(), WallTime());
    if (!stored) return true;
    // Stale ones too: the disk keeps no word of that. Who wants it has asked for it since, or has not in a day.
    const ObjectHead& head = stored->head;
    const PurgeSubject subject{head.purge_url, head.tags, head.filled};
    return book->check(subject, std::max(checked, head.filled)) != PurgeState::alive;
  };
  Task<Result<bool>> looking = disk_->walk_on(walk, kRecordsToCheck, dead);
  co_return co_await looking;
}

void EdgeCache::tick() {
  if (disk_ && disk_->has_lost() && !told_of_loss_) {
    told_of_loss_ = true;
    book_->lost_objects();
  }
  book_->tick();
}

// --- fills ---

// WHY not one that began before the newest purge and has not been answered: whether the purge meets it is not known
// before its tags are. One that was answered is checked as an object; and who comes after an answer that is not fresh
// has to ask again.
bool EdgeCache::may_join(const Fill& fill, std::string_view key, uint64_t newest) const {
  if (!unchanged(key, fill.stamp)) return false;
  const bool answered = fill.end.load(std::memory_order_acquire) == Fill::End::object;
  return answered ? alive(*fill.object) && came_fresh(fill.object->head().freshness) : fill.filled >= newest;
}

EdgeCache::Joined EdgeCache::join(std::string_view key, bool asks_member) {
  FillShard& shard = shard_of(key);
  const uint64_t newest = book_->newest();
  const Stamp now = stamp(key);
  const std::lock_guard lock(shard.lock);
  const auto found = shard.fills.find(key);
  if (found != shard.fills.end()) {
    if (may_join(*found->second, key, newest)) return {found->second, false};
    found->second = std::make_shared<Fill>(found->first, newest, now, asks_member);
    return {found->second, true};
  }
  auto fill = std::make_shared<Fill>(std::string(key), newest, now, asks_member);
  shard.fills.emplace(fill->key, fill);
  return {std::move(fill), true};
}

ObjectRef EdgeCache::coming(std::string_view key) {
  FillShard& shard = shard_of(key);
  const std::lock_guard lock(shard.lock);
  const auto found = shard.fills.find(key);
  if (found == shard.fills.end()) return ObjectRef();
  const Fill& fill = *found->second;
  const bool answered = fill.end.load(std::memory_order_acquire) == Fill::End::object;
  return answered && may_join(fill, key, fill.filled) ? fill.object : ObjectRef();
}

void EdgeCache::also_under(const std::string& key, const std::shared_ptr<Fill>& fill) {
  FillShard& shard = shard_of(key);
  const std::lock_guard lock(shard.lock);
  shard.fills.try_emplace(key, fill);
}

void EdgeCache::invalidate(std::string_view key) {
  stamps_.change(uri_of(key));  // fills under way are neither joined nor stored any more
  remove(key);
}

bool EdgeCache::is_filling(std::string_view key) {
  FillShard& shard = shard_of(key);
  const std::lock_guard lock(shard.lock);
  return shard.fills.contains(key);
}

size_t EdgeCache::fills() const {
  size_t sum = 0;
  for (size_t i = 0; i < kFillShards; ++i) {
    const std::lock_guard lock(fills_[i].lock);
    sum += fills_[i].fills.size();
  }
  return sum;
}

void EdgeCache::forget(std::string_view key, const Fill& fill) {
  FillShard& shard = shard_of(key);
  std::shared_ptr<Fill> last;
  const std::lock_guard lock(shard.lock);
  const auto found = shard.fills.find(key);
  if (found == shard.fills.end() || found->second.get() != &fill) return;
  last = std::move(found->second);
  shard.fills.erase(found);
}

FillLeader::~FillLeader() {
  if (!fill_) return;
  if (fill_->end.load(std::memory_order_relaxed) == Fill::End::running) decide(Fill::End::abandoned);
  end();
}

void FillLeader::decide(Fill::End end) noexcept {
  // Who comes from now on begins anew; the object's fill stays to be joined.
  fill_->end.store(end, std::memory_order_release);
  if (end != Fill::End::object) cache_->forget(fill_->key, *fill_);
  fill_->decided.finish();
}

void FillLeader::give(ObjectRef object, ObjectRef marker, std::shared_ptr<ObjectBody::Reader> place, bool elsewhere) {
  if (marker || elsewhere) other_key_ = object->key();
  fill_->object = std::move(object);
  fill_->marker = std::move(marker);
  fill_->place = std::move(place);
  if (!other_key_.empty()) cache_->also_under(other_key_, fill_);
  decide(Fill::End::object);
}
void FillLeader::unshared() { decide(Fill::End::unshared); }
void FillLeader::own() { decide(Fill::End::own); }
void FillLeader::failed(const Error& error) {
  fill_->error.emplace(error.clone());
  decide(Fill::End::failed);
}
void FillLeader::end() noexcept {
  if (!fill_) return;
  cache_->forget(fill_->key, *fill_);
  if (!other_key_.empty()) cache_->forget(other_key_, *fill_);
  fill_.reset();
}
Task<> FillLeader::end_with(std::shared_ptr<void>, FillLeader leading, ObjectRef object) {
  FillLeader leader(std::move(leading));  // gone before what keeps its cache's memory
  for (const ObjectPart& part : object->parts()) {
    const std::shared_ptr<ObjectBody> body = part.body;
    (void)co_await body->wait_for_end(kNever);
  }
  leader.end();
}

std::string slice_key(std::string_view uri_key, uint64_t number) {
  return std::string(uri_key).append(kPastUri).append("/").append(std::to_string(number));
}

std::string range_key(std::string_view key, std::string_view range) {
  return std::string(key).append(kPastUri).append("range=").append(range);
}

}  // namespace trellis::cache
