// The memory tier of a cache: objects of any type under string keys, bounded by bytes, evicted by a policy, shared by
// all cores. A MemoryCache is one budget of memory (`caches:` in the configuration); each user of it has a
// CacheSpace<T> of its own, a typed view with its own keys and counters. Built by the app; lives longer than every
// space and every loop that waits in it.
//
// WHY shared and locked, where data otherwise belongs to a core: an invalidation must hold for every core at once (a
// link that was deleted does not redirect any more), and one copy of each object makes the most of the memory. Shards
// keep the cores apart; a hit takes one lock for some tens of nanoseconds and allocates nothing (by the default policy
// it moves nothing either).
//
// Time comes from the caller (its loop's now()), so a test moves it by hand.
#pragma once

#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "base/time.h"
#include "cache/entry_text.h"
#include "cache/eviction.h"
#include "cache/flight.h"
#include "cache/shard_lock.h"
#include "runtime/loop.h"
#include "runtime/sync.h"
#include "runtime/task.h"

namespace trellis {
inline namespace base {
class Counter;
class Metrics;
}  // namespace base
}  // namespace trellis

namespace trellis::cache {

// An object in the cache, or one that just left it and is still in use. Immutable but for its place in the cache.
class CacheEntry : private EvictionNode {
 public:
  CacheEntry(uint32_t space, std::string key, bool negative)
      : negative_(negative), space_(space), key_(std::move(key)) {}
  virtual ~CacheEntry() = default;
  CacheEntry(const CacheEntry&) = delete;
  CacheEntry& operator=(const CacheEntry&) = delete;

  std::string_view key() const noexcept { return key_; }
  bool negative() const noexcept { return negative_; }
  // Once it was inserted: the hash of its key, and the bytes that it takes, which another core may be changing.
  uint64_t place_hash() const noexcept { return hash; }
  uint32_t charged() const noexcept {
    return std::atomic_ref(const_cast<uint32_t&>(charge)).load(std::memory_order_relaxed);
  }

  void acquire() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  void drop() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

 private:
  friend class MemoryCache;
  bool negative_;
  CacheEntry* chain_ = nullptr;  // in its bucket
  std::atomic<uint32_t> references_{1};
  uint32_t space_;
  uint32_t load_micros_ = 0;  // how long its load took; 0: it was put
  std::string key_;
};

// A counted reference to an entry.
class EntryRef {
 public:
  EntryRef() noexcept = default;
  explicit EntryRef(CacheEntry* taken_over) noexcept : entry_(taken_over) {}
  EntryRef(const EntryRef& other) noexcept : entry_(other.entry_) {
    if (entry_) entry_->acquire();
  }
  EntryRef(EntryRef&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
  EntryRef& operator=(EntryRef other) noexcept {
    std::swap(entry_, other.entry_);
    return *this;
  }
  ~EntryRef() {
    if (entry_) entry_->drop();
  }
  explicit operator bool() const noexcept { return entry_ != nullptr; }
  CacheEntry* get() const noexcept { return entry_; }

 private:
  CacheEntry* entry_ = nullptr;
};

// A space for those who know neither its type nor its user, as whoever purges by hand.
class AnySpace {
 public:
  virtual void invalidate(std::string_view key) = 0;
  virtual void invalidate_all() = 0;

 protected:
  ~AnySpace() = default;
};

struct MemoryCacheOptions {
  std::string name = "memory";             // in metrics
  uint64_t capacity = uint64_t{64} << 20;  // bytes, keys and bookkeeping included
  size_t shards = 0;                       // a power of two; 0: by the capacity
  EvictionPolicy policy = EvictionPolicy::s3fifo;
};

// stale: expired, and given all the same, because a load failed or is still under way.
enum class CacheOutcome : uint8_t { hit, negative, miss, coalesced, stale };
std::string_view to_string(CacheOutcome outcome) noexcept;

// The counters of a space.
struct CacheSpaceCounters {
  CacheSpaceCounters(Metrics& metrics, std::string_view cache, std::string_view space);
  void count(CacheOutcome outcome) const noexcept;

 private:
  Counter* counters_[5];
};

class MemoryCache {
 public:
  MemoryCache(MemoryCacheOptions options, Metrics& metrics);
  ~MemoryCache();
  MemoryCache(const MemoryCache&) = delete;
  MemoryCache& operator=(const MemoryCache&) = delete;

  uint64_t bytes() const;
  size_t objects() const;
  uint64_t capacity() const noexcept { return options_.capacity; }
  uint64_t shard_capacity() const noexcept { return options_.capacity / (shard_mask_ + 1); }  // no object is larger
  const std::string& name() const noexcept { return options_.name; }
  Metrics& metrics() const noexcept { return metrics_; }

  // By hand: the object under `key` in the spaces of this name, or, without a key, all that they have. False: there is
  // no such space. Any thread.
  bool purge(std::string_view space, std::optional<std::string_view> key);
  std::vector<std::string> spaces() const;  // names, each once, sorted

  // A walk through the entries of a space in steps of some buckets, which no policy hears of. Entries that are there
  // all the while are met at least once, others perhaps. False: that was all.
  struct Walk {
    size_t shard = 0;
    size_t bucket = 0;
    size_t buckets = 0;  // of that shard, when the walk came to it
  };
  bool walk_on(Walk& walk, uint32_t space, size_t most_buckets, std::vector<EntryRef>& found) const;

  // What follows is for CacheSpace.
  void add_space(const std::string& name, AnySpace& space);
  void remove_space(const AnySpace& space);

  // A load in flight. One a key and space; the first to miss leads it.
  struct Load {
    Flight flight;
    enum class State : uint8_t { running, done, failed, abandoned } state = State::running;
    EntryRef entry;              // of done
    std::optional<Error> error;  // of failed
    bool stale = false;          // invalidated while it ran; under the shard's lock
  };
  uint32_t new_space() noexcept { return next_space_.fetch_add(1, std::memory_order_relaxed); }
  static uint64_t hash_of(uint32_t space, std::string_view key) noexcept { return hash64(key, space); }

  // fn(CacheEntry&) runs under the shard's lock when there is a fresh entry: short, no waiting, no call of this cache.
  // An expired one is kept for `grace`, for find_or_join().
  template <class F>
  bool with(uint32_t space, std::string_view key, Time now, Duration grace, F&& fn) {
    const uint64_t hash = hash_of(space, key);
    Shard& shard = shard_of(hash);
    const std::lock_guard lock(shard.lock);
    CacheEntry* entry = find(shard, hash, space, key, now, grace);
    if (!entry || entry->expires <= now) return false;
    fn(*entry);
    return true;
  }
  // The same for who only looks: the policy does not hear of it.
  template <class F>
  bool peek(uint32_t space, std::string_view key, Time now, F&& fn) const {
    const uint64_t hash = hash_of(space, key);
    Shard& shard = shard_of(hash);
    const std::lock_guard lock(shard.lock);
    CacheEntry* entry = shard.buckets[hash & (shard.buckets.size() - 1)];
    while (entry && (entry->hash != hash || entry->space_ != space || entry->key_ != key)) entry = entry->chain_;
    if (!entry || entry->expires <= now) return false;
    fn(*entry);
    return true;
  }
  // How long an expired entry is of use, and when one that has not expired is loaded again: `ahead` of its end, or by
  // `early` times as long as its load took.
  struct Freshness {
    Duration grace{};
    Duration ahead{};
    double early = 0;
  };
  struct Lookup {
    EntryRef entry;              // what there is
    bool fresh = false;          // it has not expired
    std::shared_ptr<Load> load;  // to wait for, where there is no fresh entry; or to run
    bool leads = false;          // this caller runs the load and ends it by end_load()
  };
  Lookup find_or_join(uint32_t space, std::string_view key, Time now, const Freshness& freshness);
  // The entry is cached unless an invalidation came in between. A null entry and no error: abandoned, a waiter leads
  // the next.
  void end_load(uint32_t space, std::string_view key, const std::shared_ptr<Load>& load, EntryRef entry,
                std::optional<Error> error);

  void invalidate(uint32_t space, std::string_view key);
  // Changes with every invalidation and insertion near this key.
  uint64_t stamp(uint32_t space, std::string_view key);
  // Invalidates what is there and puts the entry in its place, unless something changed since the stamp.
  void replace(uint32_t space, EntryRef entry, uint64_t stamp);
  // The same whatever happened meanwhile: for who knows by other means that the entry may stand. Not for keys with
  // loads.
  void put(uint32_t space, EntryRef entry);
  // The entry takes so many bytes now; it leaves when they are more than `most`. Nothing where it has left already, or
  // another stands under its key.
  void recharge(uint32_t space, CacheEntry& entry, size_t bytes, size_t most);
  static void set_up(CacheEntry& entry, size_t bytes, Time expires, Duration load_time) noexcept;

 private:
  struct alignas(64) Shard {
    ShardLock lock;
    std::vector<CacheEntry*> buckets;
    size_t size = 0;
    uint64_t generation = 0;
    std::optional<Eviction> policy;
    std::unordered_map<std::string, std::shared_ptr<Load>, StringHash, std::equal_to<>> loads;  // space before the key
  };
  enum class Reason : uint8_t { capacity, expired, invalidated };

  // The low bits choose the bucket, the high ones the shard.
  Shard& shard_of(uint64_t hash) const noexcept { return shards_[(hash >> 48) & shard_mask_]; }
  // Fresh, or expired by less than `grace`: there is no grace for "there is none".
  CacheEntry* find(Shard& shard, uint64_t hash, uint32_t space, std::string_view key, Time now, Duration grace) {
    for (CacheEntry* entry = shard.buckets[hash & (shard.buckets.size() - 1)]; entry; entry = entry->chain_) {
      if (entry->hash != hash || entry->space_ != space || entry->key_ != key) continue;
      if (entry->expires <= now && (entry->negative_ || after(entry->expires, grace) <= now)) [[unlikely]] {
        unlink(shard, *entry, Reason::expired);
        return nullptr;
      }
      shard.policy->hit(*entry);
      return entry;
    }
    return nullptr;
  }
  void unlink(Shard& shard, CacheEntry& entry, Reason reason);
  void detach(Shard& shard, CacheEntry& entry) noexcept;
  void insert(Shard& shard, EntryRef entry);
  bool drop_entry(Shard& shard, uint64_t hash, uint32_t space, std::string_view key, Reason reason);
  static std::string load_key(uint32_t space, std::string_view key);

  MemoryCacheOptions options_;
  Metrics& metrics_;
  size_t shard_mask_;
  std::unique_ptr<Shard[]> shards_;
  std::atomic<uint32_t> next_space_{1};
  // WHY a lock: spaces come and go with services, and hands purge at any time. Not on the path of a request.
  mutable std::mutex names_mutex_;
  std::vector<std::pair<std::string, AnySpace*>> names_;
  Counter* evictions_[3];
  std::vector<std::shared_ptr<void>> gauges_;
};

// T under string keys, with its own lifetimes. Any core.
template <class T>
class CacheSpace final : public AnySpace {
 public:
  struct Options {
    std::string name;                         // in metrics
    Duration ttl = std::chrono::minutes(10);  // each entry's own varies by a tenth, so that they do not expire together
    Duration negative_ttl = std::chrono::seconds(5);  // of "there is none"
    size_t (*bytes_of)(const T& value) = nullptr;     // heap memory of a value beside sizeof(T)
    // Of get_or_load(): an expired value is given for so long when its load fails, or while it runs in the background.
    Duration stale_for{};
    // A value is loaded again when it is asked for so shortly before its end.
    Duration refresh_ahead{};
    // XFetch (Vattani, Chierichetti, Lowenstein: "Optimal probabilistic cache stampede prevention", 2015): by chance
    // before its end, sooner the longer its load takes and the more often it is asked for. 0: never; 1: the paper's.
    double xfetch_beta = 1;
  };

  // What a lookup gave: a value, or the knowledge that there is none.
  class Handle {
   public:
    explicit operator bool() const noexcept { return !ref_.get()->negative(); }
    const T& operator*() const noexcept { return static_cast<const Entry*>(ref_.get())->value; }
    const T* operator->() const noexcept { return &**this; }

   private:
    friend class CacheSpace;
    explicit Handle(EntryRef ref) noexcept : ref_(std::move(ref)) {}
    EntryRef ref_;
  };

  CacheSpace(MemoryCache& cache, Options options)
      : cache_(cache),
        options_(std::move(options)),
        space_(cache.new_space()),
        counters_(cache.metrics(), cache.name(), options_.name) {
    cache_.add_space(options_.name, *this);
  }
  ~CacheSpace() { cache_.remove_space(*this); }
  CacheSpace(const CacheSpace&) = delete;
  CacheSpace& operator=(const CacheSpace&) = delete;

  // The hot path: fn(const T&) runs under the shard's lock and copies what it needs. Neither allocates nor counts
  // references.
  template <class F>
  CacheOutcome look(std::string_view key, Time now, F&& fn) {
    CacheOutcome outcome = CacheOutcome::miss;
    cache_.with(version(), key, now, options_.stale_for, [&](CacheEntry& entry) {
      if (entry.negative()) {
        outcome = CacheOutcome::negative;
      } else {
        outcome = CacheOutcome::hit;
        fn(static_cast<const Entry&>(entry).value);
      }
    });
    if (outcome != CacheOutcome::miss) counters_.count(outcome);
    return outcome;
  }

  std::optional<Handle> find(std::string_view key, Time now) {
    EntryRef ref;
    cache_.with(version(), key, now, options_.stale_for, [&](CacheEntry& entry) {
      entry.acquire();
      ref = EntryRef(&entry);
    });
    if (!ref) {
      counters_.count(CacheOutcome::miss);
      return std::nullopt;
    }
    counters_.count(ref.get()->negative() ? CacheOutcome::negative : CacheOutcome::hit);
    return Handle(std::move(ref));
  }

  // The entry, or what loader() gives: Task<Result<std::optional<T>>>, nullopt for "there is none", which is kept for
  // negative_ttl. However many ask for a missing key, on however many cores, one loader runs; its error goes to all who
  // wait and is not kept. When the one who runs it goes away, another takes its place. When a value is loaded again
  // before its end, one caller waits for that and the others have what is there.
  template <class Loader>
  Task<Result<Handle>> get_or_load(std::string key, Loader loader, Deadline deadline) {
    return get(std::move(key), std::move(loader), deadline, nullptr);
  }
  // The same, but nobody waits who can have a value, be it expired: it is loaded again in `background`, a group of the
  // calling core. This space, and what the loader refers to, must outlive the group's tasks.
  template <class Loader>
  Task<Result<Handle>> get_or_load(std::string key, Loader loader, Deadline deadline, TaskGroup& background) {
    return get(std::move(key), std::move(loader), deadline, &background);
  }

  void invalidate(std::string_view key) override { cache_.invalidate(version(), key); }
  // All that there is, and loads that run, at once and whatever their number: what is asked for from now on has
  // another version. The old objects leave as others need their room.
  void invalidate_all() override { space_.store(cache_.new_space(), std::memory_order_release); }

  // For one who writes: take the stamp, write, put. The value is kept only if nobody invalidated in between; what was
  // there, and a load that runs, is invalidated in any case.
  uint64_t stamp(std::string_view key) {
    const uint32_t space = version();
    return cache_.stamp(space, key) + of_version(space);
  }
  void put(std::string key, T value, Time now, uint64_t stamp) {
    const uint32_t space = version();
    cache_.replace(space, make_entry(space, std::move(key), std::optional<T>(std::move(value)), now, Duration()),
                   stamp - of_version(space));
  }

  void count(CacheOutcome outcome) const noexcept { counters_.count(outcome); }

 private:
  struct Entry final : CacheEntry {
    static Entry* make(uint32_t space, std::string key, T&& what) {
      size_t text = 0;
      if constexpr (HasEntryText<T>) text = what.text().view().size();
      return new (text) Entry(space, std::move(key), std::move(what));
    }
    // Begins a line of the cache: the head, the value and the first of the text lie in as few as they can.
    static void* operator new(size_t size, size_t text) { return ::operator new(size + text, kLine); }
    static void operator delete(void* memory) noexcept { ::operator delete(memory, kLine); }
    static void operator delete(void* memory, size_t) noexcept { ::operator delete(memory, kLine); }
    size_t size() noexcept {
      if constexpr (HasEntryText<T>) return sizeof(Entry) + value.text().view().size();
      return sizeof(Entry);
    }
    T value;

   private:
    static constexpr std::align_val_t kLine{64};
    Entry(uint32_t space, std::string key, T&& what)
        : CacheEntry(space, std::move(key), false), value(std::move(what)) {
      if constexpr (HasEntryText<T>) value.text().move_to(reinterpret_cast<char*>(this + 1));
    }
  };

  // Ends the load whatever happens to the coroutine that leads it.
  class Leader {
   public:
    Leader(CacheSpace& space, uint32_t version, std::string key, std::shared_ptr<MemoryCache::Load> load)
        : space_(space), version_(version), key_(std::move(key)), load_(std::move(load)) {}
    Leader(Leader&& other) noexcept
        : space_(other.space_), version_(other.version_), key_(std::move(other.key_)), load_(std::move(other.load_)) {}
    Leader& operator=(Leader&&) = delete;
    const std::string& key() const noexcept { return key_; }
    uint32_t version() const noexcept { return version_; }
    ~Leader() {
      if (load_) finish({}, std::nullopt);
    }
    void end(const EntryRef& entry) { finish(entry, std::nullopt); }
    void fail(const Error& error) { finish({}, error.clone()); }

   private:
    void finish(EntryRef entry, std::optional<Error> error) {
      space_.cache_.end_load(version_, key_, load_, std::move(entry), std::move(error));
      load_.reset();
    }
    CacheSpace& space_;
    uint32_t version_;
    std::string key_;
    std::shared_ptr<MemoryCache::Load> load_;
  };

  template <class Loader>
  Task<Result<Handle>> get(std::string key, Loader loader, Deadline deadline, TaskGroup* background) {
    CacheOutcome outcome = CacheOutcome::miss;
    while (true) {
      const uint32_t space = version();
      MemoryCache::Lookup found = cache_.find_or_join(space, key, Loop::current().now(), freshness());
      const CacheOutcome known = !found.entry                    ? CacheOutcome::miss
                                 : !found.fresh                  ? CacheOutcome::stale
                                 : found.entry.get()->negative() ? CacheOutcome::negative
                                                                 : CacheOutcome::hit;
      if (!found.load) {
        counters_.count(outcome == CacheOutcome::coalesced ? outcome : known);
        co_return Handle(std::move(found.entry));
      }
      if (background && found.entry) {
        counters_.count(known);
        if (found.leads)
          background->spawn(refresh(Leader(*this, space, std::move(key), found.load), std::move(loader)));
        co_return Handle(std::move(found.entry));
      }
      if (!found.leads) {
        outcome = CacheOutcome::coalesced;
        const bool in_time = co_await found.load->flight.wait(deadline);
        if (in_time && found.load->state == MemoryCache::Load::State::abandoned) continue;
        if (in_time && found.load->state == MemoryCache::Load::State::done) {
          counters_.count(outcome);
          co_return Handle(found.load->entry);
        }
        counters_.count(found.entry ? known : outcome);
        if (found.entry) co_return Handle(std::move(found.entry));
        if (!in_time) co_return fail(Error(Code::deadline_exceeded, "waited too long for a load").from(Side::self));
        co_return fail(found.load->error->clone());
      }
      Task<Result<EntryRef>> loading =
          lead(Leader(*this, space, std::move(key), std::move(found.load)), std::move(loader));
      Result<EntryRef> loaded = co_await loading;
      if (loaded) {
        counters_.count(outcome);
        co_return Handle(*std::move(loaded));
      }
      counters_.count(found.entry ? known : outcome);
      if (found.entry) co_return Handle(std::move(found.entry));
      co_return std::unexpected<Error>(std::move(loaded).error());
    }
  }
  template <class Loader>
  Task<Result<EntryRef>> lead(Leader leader, Loader loader) {
    const Time began = Loop::current().now();
    Task<Result<std::optional<T>>> loading = loader();
    Result<std::optional<T>> loaded = co_await loading;
    if (!loaded) {
      leader.fail(loaded.error());
      co_return std::unexpected<Error>(std::move(loaded).error());
    }
    const Time now = Loop::current().now();
    EntryRef entry = make_entry(leader.version(), leader.key(), *std::move(loaded), now, now - began);
    leader.end(entry);
    co_return entry;
  }
  // An error is for those who wait for this load; the next to ask begins another.
  template <class Loader>
  Task<> refresh(Leader leader, Loader loader) {
    Task<Result<EntryRef>> loading = lead(std::move(leader), std::move(loader));
    (void)co_await loading;
  }
  MemoryCache::Freshness freshness() const {
    MemoryCache::Freshness freshness{options_.stale_for, options_.refresh_ahead, 0};
    if (options_.xfetch_beta > 0) freshness.early = -options_.xfetch_beta * std::log1p(-Loop::current().rng().unit());
    return freshness;
  }

  uint32_t version() const noexcept { return space_.load(std::memory_order_acquire); }
  // Keeps stamps of versions apart.
  static uint64_t of_version(uint32_t version) noexcept { return uint64_t{version} << 40; }

  EntryRef make_entry(uint32_t space, std::string key, std::optional<T> value, Time now, Duration load_time) const {
    const size_t key_bytes = key.capacity() > 15 ? key.capacity() + 1 : 0;
    const Duration ttl = value ? options_.ttl : options_.negative_ttl;
    if (!value) {
      EntryRef entry(new CacheEntry(space, std::move(key), true));
      MemoryCache::set_up(*entry.get(), sizeof(CacheEntry) + key_bytes, varied(now, ttl, entry.get()), load_time);
      return entry;
    }
    auto* made = Entry::make(space, std::move(key), *std::move(value));
    EntryRef entry(made);
    const size_t own = options_.bytes_of ? options_.bytes_of(made->value) : 0;
    MemoryCache::set_up(*made, made->size() + key_bytes + own, varied(now, ttl, made), load_time);
    return entry;
  }
  // Within a tenth of the lifetime, from the key and the time: entries made together do not end together.
  static Time varied(Time now, Duration ttl, const CacheEntry* entry) {
    if (ttl >= kNever - now) return kNever;
    const uint64_t draw = hash64(entry->key(), static_cast<uint64_t>(now.time_since_epoch().count()));
    const double share = 0.9 + 0.2 * static_cast<double>(draw >> 11) * 0x1p-53;
    return after(now, std::chrono::duration_cast<Duration>(
                          std::chrono::duration<double, std::nano>(static_cast<double>(ttl.count()) * share)));
  }

  MemoryCache& cache_;
  Options options_;
  std::atomic<uint32_t> space_;  // another one after invalidate_all()
  CacheSpaceCounters counters_;
};

}  // namespace trellis::cache
