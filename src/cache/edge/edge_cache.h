// The cache of an edge: answers in memory, and on disk where the configuration has one, under the keys of the routes'
// templates. It joins the tiers, keeps one fill a key, and heeds the purge book; what may be stored and used, the rules
// say (cache/rules/), and who asks the origin is the filter (proxy/filters/cache.h). One for each entry of `caches:`
// that a filter uses, shared by all cores; any thread, where nothing else is said. docs/edge-cache.md.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/hash.h"
#include "cache/disk/disk_store.h"
#include "cache/edge/fill.h"
#include "cache/edge/object.h"
#include "cache/edge/purge_book.h"
#include "cache/edge/stamps.h"
#include "cache/memory_cache.h"
#include "cache/miss_ratio_curve.h"

namespace trellis::cache {

struct EdgeCacheOptions {
  uint64_t max_object = uint64_t{64} << 20;  // bytes of a body; a larger one passes through
  // Bytes of bodies beside those that are stored: half of the memory, or these if they are more. A small memory before
  // a large disk must not be what keeps objects from the disk, or from being read there.
  uint64_t on_the_way = uint64_t{64} << 20;
};

class EdgeCache final : public AnySpace {
 public:
  static constexpr std::string_view kSpace = "http";  // in MemoryCache::spaces()

  // `disk`: null for none. The memory outlives this.
  EdgeCache(MemoryCache& memory, std::unique_ptr<DiskStore> disk, std::unique_ptr<PurgeBook> book,
            EdgeCacheOptions options);
  ~EdgeCache();
  EdgeCache(const EdgeCache&) = delete;
  EdgeCache& operator=(const EdgeCache&) = delete;

  // What memory has under a key: an object that no purge met, or null. Neither allocates nor waits.
  ObjectRef find(std::string_view key, Time now);
  // Has a purge met it since it was looked at last? What was only made stale says so in `expired`.
  bool alive(Object& object) const noexcept;

  // What the disk has under a key, growing in memory while it is read. The reading goes on in `background`, of the
  // calling core, and holds `keeps`, so that this and its memory live as long; null: nothing, or no room for it.
  // Variants and answers of whatever age.
  Task<ObjectRef> load(std::string key, Deadline deadline, TaskGroup& background, std::shared_ptr<void> keeps);
  bool may_be_on_disk(std::string_view key) const noexcept;

  // The fill of a key, and whether the caller leads it: then it makes a FillLeader of it.
  struct Joined {
    std::shared_ptr<Fill> fill;
    bool leads = false;
  };
  Joined join(std::string_view key, bool asks_member = false);
  // The answer that somebody's fill of this key brings, once it has begun to come and while it may be joined; or null.
  ObjectRef coming(std::string_view key);

  // Changes when the URI of a key is invalidated, with all its variants and ranges; now and then for another one's
  // sake. Read it before the origin is asked.
  Stamp stamp(std::string_view key) const noexcept;
  // Was the URI of a key surely not invalidated since the stamp was read?
  bool unchanged(std::string_view key, Stamp since) const noexcept;

  // Stores a whole object, in memory and on disk, in the place of what its key has; unless its URI was invalidated
  // since the stamp. One that still grows is not stored.
  void insert(const ObjectRef& object, Stamp stamp);
  // The same for an object whose body is that of the one it replaces.
  void insert_head(const ObjectRef& object, Stamp stamp);
  // The same for one that is still being read from the disk, as soon as it is there. Holds `keeps` until then.
  Task<> insert_head_at_end(std::shared_ptr<void> keeps, ObjectRef object, Stamp stamp);
  // The same in memory only: what the disk has already, and marks.
  void insert_in_memory(const ObjectRef& object, Stamp stamp);
  // An object of the memory tier takes more than when it was inserted.
  void grew(const ObjectRef& object);
  // Out of both tiers. Fills under way are not met: invalidate() is for what changed at the origin.
  void remove(std::string_view key);

  // Objects for this cache.
  ObjectRef make_object(std::string key, ObjectHead head, std::vector<ObjectPart> parts) const;
  ObjectRef make_variants(std::string key, Variants variants) const;
  ObjectRef make_unshared(std::string key, Time until, std::string_view why) const;

  // For one more body, of so many bytes where that is known? All bodies that are alive have the memory's capacity and
  // what may be on the way: what is stored, what grows, and what left the store while somebody still reads it.
  bool has_room(std::optional<uint64_t> bytes) const noexcept;
  std::shared_ptr<ObjectBody> make_body(std::optional<uint64_t> expected) const;
  uint64_t body_bytes() const noexcept { return bodies_->load(std::memory_order_relaxed); }
  size_t fills() const;  // under way
  uint64_t max_object() const noexcept { return options_.max_object; }
  PurgeBook& book() noexcept { return *book_; }
  MemoryCache& memory() noexcept { return memory_; }
  DiskStore* disk() noexcept { return disk_.get(); }
  const std::string& name() const noexcept { return memory_.name(); }

  // A request's lookup and what came of it (null: nothing), for the curve of hit ratios by size.
  void looked(std::string_view key, const ObjectRef& object) noexcept;
  double hit_ratio_at(uint64_t bytes) const noexcept { return curve_.hit_ratio_at(bytes); }

  // For whoever looks without using it. What memory has, be it purged; what the disk has, with no body, its size in the
  // head's total; whether a fill is under way; and what purges make of an object.
  ObjectRef peek(std::string_view key, Time now);
  Task<ObjectRef> peek_on_disk(std::string key, Deadline deadline);
  bool is_filling(std::string_view key);
  PurgeState purge_state(const Object& object) const noexcept;

  // Steps of a walk that compares everything there is with the purges (purge_walk.h), and removes what is dead. A step
  // looks at some hundred objects in memory at most, without waiting, or at some on disk. False: that was all.
  bool check_some(MemoryCache::Walk& walk, Time now);
  Task<Result<bool>> check_some_on_disk(DiskStore::Walk& walk);
  // Housekeeping of the book, every ten seconds or so. Blocks.
  void tick();

  // What is there under a key, and what a fill under way will bring. Also by hand (`trellis cache purge`): a key as the
  // template makes it.
  void invalidate(std::string_view key) override;
  void invalidate_all() override;

 private:
  friend class FillLeader;
  static constexpr size_t kFillShards = 64;
  struct alignas(64) FillShard {
    ShardLock lock;
    std::unordered_map<std::string, std::shared_ptr<Fill>, StringHash, std::equal_to<>> fills;
  };
  FillShard& shard_of(std::string_view key) noexcept { return fills_[hash64(key) % kFillShards]; }
  void store(const ObjectRef& object);
  void store_head(const ObjectRef& object);
  void store_in_memory(const ObjectRef& object);
  void loaded(const ObjectRef& object, Stamp stamp);
  bool belongs_on_disk(const Object& object) const noexcept;
  bool may_stand(Object& object, Stamp stamp) const noexcept;
  void look_after(const ObjectRef& object, Stamp stamp);
  uint64_t number_of_disk() const noexcept;
  void write(const ObjectRef& object);
  void also_under(const std::string& key, const std::shared_ptr<Fill>& fill);
  bool may_join(const Fill& fill, std::string_view key, uint64_t newest) const;
  void forget(std::string_view key, const Fill& fill);
  ObjectRef decode(std::string key, const DiskReader& reader, uint64_t checked, bool with_body) const;
  Task<> pump(std::shared_ptr<void> keeps, ObjectRef object, std::unique_ptr<DiskReader> reader, Stamp stamp);

  MemoryCache& memory_;
  const EdgeCacheOptions options_;
  const std::unique_ptr<PurgeBook> book_;
  const std::unique_ptr<DiskStore> disk_;
  const uint32_t space_;
  const std::shared_ptr<ObjectBody::Bytes> bodies_ = std::make_shared<ObjectBody::Bytes>(0);
  // WHY locks: fills are shared by all cores.
  const std::unique_ptr<FillShard[]> fills_;
  Stamps stamps_;              // by the URI's key
  bool told_of_loss_ = false;  // of tick()
  MissRatioCurve curve_;
  std::vector<std::shared_ptr<void>> gauges_;
};

// Of a range's own fetch, and of a slice. No field's name and no value has a line's end, so no other key looks so.
std::string range_key(std::string_view key, std::string_view range);
std::string slice_key(std::string_view uri_key, uint64_t number);

// Leads a fill: decides it once, and ends it. Destroyed before, it is abandoned.
class FillLeader {
 public:
  FillLeader(std::shared_ptr<EdgeCache> cache, std::shared_ptr<Fill> fill) noexcept
      : cache_(std::move(cache)), fill_(std::move(fill)) {}
  FillLeader(FillLeader&&) noexcept = default;
  FillLeader& operator=(FillLeader&&) = delete;
  ~FillLeader();

  uint64_t filled() const noexcept { return fill_->filled; }
  Stamp stamp() const noexcept { return fill_->stamp; }
  const std::string& key() const noexcept { return fill_->key; }
  // Everybody reads from it; new ones do too, until end(). `marker`: where the answer is one of several variants.
  // `place`: at the first byte of a body that may pass; null: it does not. `elsewhere`: the object stands under another
  // key than the fill, as one with a marker does.
  void give(ObjectRef object, ObjectRef marker, std::shared_ptr<ObjectBody::Reader> place = nullptr,
            bool elsewhere = false);
  void unshared();
  void own();
  void failed(const Error& error);
  // Nobody joins any more.
  void end() noexcept;
  // Ends when the object, which was given, has grown. Holds `keeps` until then.
  static Task<> end_with(std::shared_ptr<void> keeps, FillLeader leading, ObjectRef object);

 private:
  void decide(Fill::End end) noexcept;
  std::shared_ptr<EdgeCache> cache_;
  std::shared_ptr<Fill> fill_;  // null: ended
  std::string other_key_;       // of the object, where that is not the fill's
};

}  // namespace trellis::cache
