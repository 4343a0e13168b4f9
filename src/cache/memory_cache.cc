#include "cache/memory_cache.h"

#include <algorithm>
#include <bit>

#include "base/metrics.h"

namespace trellis::cache {

namespace {

constexpr size_t kMaxShards = 64;
constexpr size_t kOverhead = 48;  // of an entry: the allocator's, its bucket, its ghost
constexpr size_t kFirstBuckets = 16;

// A shard wants room enough that one large object does not empty it.
size_t shards_for(const MemoryCacheOptions& options) {
  if (options.shards != 0) return std::bit_floor(options.shards);
  return std::bit_floor(std::clamp<uint64_t>(options.capacity >> 20, 1, kMaxShards));
}

constexpr std::string_view kBytesHelp = "Memory that cached objects take, their keys and bookkeeping included.";
constexpr std::string_view kObjectsHelp = "Objects in the cache.";

}  // namespace

std::string_view to_string(CacheOutcome outcome) noexcept {
  switch (outcome) {
    case CacheOutcome::hit: return "hit";
    case CacheOutcome::negative: return "negative";
    case CacheOutcome::miss: return "miss";
    case CacheOutcome::coalesced: return "coalesced";
    case CacheOutcome::stale: return "stale";
  }
  return "";
}

CacheSpaceCounters::CacheSpaceCounters(Metrics& metrics, std::string_view cache, std::string_view space) {
  for (const CacheOutcome outcome :
       {CacheOutcome::hit, CacheOutcome::negative, CacheOutcome::miss, CacheOutcome::coalesced, CacheOutcome::stale}) {
    counters_[static_cast<size_t>(outcome)] = &metrics.counter(
        "trellis_cache_requests_total", "Lookups in a cache by what came of them.",
        {{"cache", std::string(cache)}, {"space", std::string(space)}, {"outcome", std::string(to_string(outcome))}});
  }
}

void CacheSpaceCounters::count(CacheOutcome outcome) const noexcept { counters_[static_cast<size_t>(outcome)]->add(); }

MemoryCache::MemoryCache(MemoryCacheOptions options, Metrics& metrics)
    : options_(std::move(options)), metrics_(metrics) {
  const size_t count = shards_for(options_);
  shard_mask_ = count - 1;
  shards_ = std::make_unique<Shard[]>(count);
  for (size_t i = 0; i < count; ++i) {
    shards_[i].buckets.resize(kFirstBuckets);
    shards_[i].policy.emplace(options_.policy, std::max<uint64_t>(1, options_.capacity / count), i);
  }
  const char* reasons[] = {"capacity", "expired", "invalidated"};
  for (size_t i = 0; i < 3; ++i) {
    evictions_[i] = &metrics.counter("trellis_cache_evictions_total", "Objects that left the cache.",
                                     {{"cache", options_.name}, {"reason", reasons[i]}});
  }
  const Labels labels{{"cache", options_.name}, {"tier", "memory"}};
  gauges_.push_back(
      metrics.computed("trellis_cache_bytes", kBytesHelp, labels, [this] { return static_cast<double>(bytes()); }));
  gauges_.push_back(metrics.computed("trellis_cache_objects", kObjectsHelp, labels,
                                     [this] { return static_cast<double>(objects()); }));
}

void MemoryCache::add_space(const std::string& name, AnySpace& space) {
  const std::lock_guard lock(names_mutex_);
  names_.emplace_back(name, &space);
}

void MemoryCache::remove_space(const AnySpace& space) {
  const std::lock_guard lock(names_mutex_);
  std::erase_if(names_, [&](const auto& one) { return one.second == &space; });
}

bool MemoryCache::purge(std::string_view space, std::optional<std::string_view> key) {
  const std::lock_guard lock(names_mutex_);
  bool found = false;
  for (const auto& [name, one] : names_) {
    if (name != space) continue;
    found = true;
    if (key) {
      one->invalidate(*key);
    } else {
      one->invalidate_all();
    }
  }
  return found;
}

std::vector<std::string> MemoryCache::spaces() const {
  const std::lock_guard lock(names_mutex_);
  std::vector<std::string> found;
  for (const auto& [name, one] : names_) found.push_back(name);
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

MemoryCache::~MemoryCache() {
  gauges_.clear();
  for (size_t i = 0; i <= shard_mask_; ++i) {
    Shard& shard = shards_[i];
    for (CacheEntry* entry : shard.buckets) {
      while (entry) {
        CacheEntry* next = entry->chain_;
        entry->drop();
        entry = next;
      }
    }
  }
}

uint64_t MemoryCache::bytes() const {
  uint64_t sum = 0;
  for (size_t i = 0; i <= shard_mask_; ++i) {
    const std::lock_guard lock(shards_[i].lock);
    sum += shards_[i].policy->charge();
  }
  return sum;
}

size_t MemoryCache::objects() const {
  size_t sum = 0;
  for (size_t i = 0; i <= shard_mask_; ++i) {
    const std::lock_guard lock(shards_[i].lock);
    sum += shards_[i].size;
  }
  return sum;
}

bool MemoryCache::walk_on(Walk& walk, uint32_t space, size_t most_buckets, std::vector<EntryRef>& found) const {
  if (walk.shard > shard_mask_) return false;
  Shard& shard = shards_[walk.shard];
  const std::lock_guard lock(shard.lock);
  // A shard that grew has its entries in other buckets.
  if (walk.buckets != shard.buckets.size()) walk = {walk.shard, 0, shard.buckets.size()};
  const size_t end = std::min(walk.bucket + most_buckets, walk.buckets);
  for (; walk.bucket < end; ++walk.bucket) {
    for (CacheEntry* entry = shard.buckets[walk.bucket]; entry; entry = entry->chain_) {
      if (entry->space_ != space) continue;
      entry->acquire();
      found.push_back(EntryRef(entry));
    }
  }
  if (walk.bucket == walk.buckets) walk = {walk.shard + 1, 0, 0};
  return true;
}

void MemoryCache::set_up(CacheEntry& entry, size_t bytes, Time expires, Duration load_time) noexcept {
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(load_time).count();
  entry.load_micros_ = static_cast<uint32_t>(std::clamp<int64_t>(micros, 0, UINT32_MAX));
  entry.charge = static_cast<uint32_t>(std::min<size_t>(bytes + kOverhead, UINT32_MAX));
  entry.hash = hash_of(entry.space_, entry.key_);
  entry.expires = expires;
}

void MemoryCache::recharge(uint32_t space, CacheEntry& entry, size_t bytes, size_t most) {
  Shard& shard = shard_of(entry.hash);
  const std::lock_guard lock(shard.lock);
  CacheEntry* there = shard.buckets[entry.hash & (shard.buckets.size() - 1)];
  while (there && there != &entry) there = there->chain_;
  if (!there || entry.space_ != space) return;
  entry.acquire();
  EntryRef keep(&entry);
  unlink(shard, entry, Reason::invalidated);
  if (bytes > most) return;
  const auto charge = static_cast<uint32_t>(std::min<size_t>(bytes + kOverhead, UINT32_MAX));
  std::atomic_ref(entry.charge).store(charge, std::memory_order_relaxed);  // charged() has no lock
  insert(shard, std::move(keep));
}

std::string MemoryCache::load_key(uint32_t space, std::string_view key) {
  std::string name(reinterpret_cast<const char*>(&space), sizeof(space));
  name += key;
  return name;
}

// Out of its bucket; the caller has taken it out of the policy's queues and drops the cache's reference.
void MemoryCache::detach(Shard& shard, CacheEntry& entry) noexcept {
  CacheEntry** at = &shard.buckets[entry.hash & (shard.buckets.size() - 1)];
  while (*at != &entry) at = &(*at)->chain_;
  *at = entry.chain_;
  entry.chain_ = nullptr;
  --shard.size;
}

void MemoryCache::unlink(Shard& shard, CacheEntry& entry, Reason reason) {
  shard.policy->remove(entry);
  detach(shard, entry);
  evictions_[static_cast<size_t>(reason)]->add();
  entry.drop();
}

bool MemoryCache::drop_entry(Shard& shard, uint64_t hash, uint32_t space, std::string_view key, Reason reason) {
  for (CacheEntry* entry = shard.buckets[hash & (shard.buckets.size() - 1)]; entry; entry = entry->chain_) {
    if (entry->hash != hash || entry->space_ != space || entry->key_ != key) continue;
    unlink(shard, *entry, reason);
    return true;
  }
  return false;
}

// Precondition: no entry with this key.
void MemoryCache::insert(Shard& shard, EntryRef ref) {
  CacheEntry& entry = *ref.get();
  if (entry.charge > shard.policy->capacity() / 2) return;  // it would push out everything for itself
  while (shard.policy->charge() + entry.charge > shard.policy->capacity()) {
    EvictionNode* node = shard.policy->evict();
    if (!node) break;
    auto& victim = static_cast<CacheEntry&>(*node);
    detach(shard, victim);
    evictions_[static_cast<size_t>(Reason::capacity)]->add();
    victim.drop();
  }
  if (shard.size >= shard.buckets.size()) {
    std::vector<CacheEntry*> old(shard.buckets.size() * 2);
    old.swap(shard.buckets);
    const size_t mask = shard.buckets.size() - 1;
    for (CacheEntry* each : old) {
      while (each) {
        CacheEntry* next = each->chain_;
        each->chain_ = shard.buckets[each->hash & mask];
        shard.buckets[each->hash & mask] = each;
        each = next;
      }
    }
  }
  CacheEntry*& bucket = shard.buckets[entry.hash & (shard.buckets.size() - 1)];
  entry.chain_ = bucket;
  bucket = &entry;
  ++shard.size;
  entry.acquire();
  shard.policy->insert(entry);
}

MemoryCache::Lookup MemoryCache::find_or_join(uint32_t space, std::string_view key, Time now,
                                              const Freshness& freshness) {
  const uint64_t hash = hash_of(space, key);
  Shard& shard = shard_of(hash);
  std::string name = load_key(space, key);
  Lookup found;
  const std::lock_guard lock(shard.lock);
  if (CacheEntry* entry = find(shard, hash, space, key, now, freshness.grace)) {
    entry->acquire();
    found.entry = EntryRef(entry);
    found.fresh = entry->expires > now;
    if (found.fresh) {
      const auto early = static_cast<int64_t>(freshness.early * 1000 * entry->load_micros_);
      const bool due = entry->expires - now <= std::max(freshness.ahead, Duration(early));
      // Nobody waits for what comes early, so one load is enough.
      if (!due || entry->negative_ || shard.loads.contains(name)) return found;
    }
  }
  std::shared_ptr<Load>& running = shard.loads[std::move(name)];
  if (!running) {
    running = std::make_shared<Load>();
    found.leads = true;
  }
  found.load = running;
  return found;
}

void MemoryCache::end_load(uint32_t space, std::string_view key, const std::shared_ptr<Load>& load, EntryRef entry,
                           std::optional<Error> error) {
  const uint64_t hash = hash_of(space, key);
  Shard& shard = shard_of(hash);
  const std::string name = load_key(space, key);
  load->state = error ? Load::State::failed : entry ? Load::State::done : Load::State::abandoned;
  load->error = std::move(error);
  load->entry = entry;
  {
    const std::lock_guard lock(shard.lock);
    if (!load->stale) {
      shard.loads.erase(name);
      if (entry) {
        drop_entry(shard, hash, space, key, Reason::invalidated);
        insert(shard, std::move(entry));
      }
    }
  }
  load->flight.finish();
}

void MemoryCache::invalidate(uint32_t space, std::string_view key) {
  const uint64_t hash = hash_of(space, key);
  Shard& shard = shard_of(hash);
  const std::string name = load_key(space, key);
  const std::lock_guard lock(shard.lock);
  ++shard.generation;
  drop_entry(shard, hash, space, key, Reason::invalidated);
  // A load that runs may have read the old state: its value goes to those who wait already, and is not kept.
  const auto running = shard.loads.find(name);
  if (running == shard.loads.end()) return;
  running->second->stale = true;
  shard.loads.erase(running);
}

uint64_t MemoryCache::stamp(uint32_t space, std::string_view key) {
  Shard& shard = shard_of(hash_of(space, key));
  const std::lock_guard lock(shard.lock);
  return shard.generation;
}

void MemoryCache::replace(uint32_t space, EntryRef entry, uint64_t stamp) {
  const std::string_view key = entry.get()->key();
  const uint64_t hash = entry.get()->hash;
  Shard& shard = shard_of(hash);
  const std::string name = load_key(space, key);
  const EntryRef keep(entry);  // the key must outlive its leaving
  const std::lock_guard lock(shard.lock);
  const bool unchanged = shard.generation == stamp;
  ++shard.generation;
  drop_entry(shard, hash, space, key, Reason::invalidated);
  const auto running = shard.loads.find(name);
  if (running != shard.loads.end()) {
    running->second->stale = true;
    shard.loads.erase(running);
  }
  if (unchanged) insert(shard, std::move(entry));
}

void MemoryCache::put(uint32_t space, EntryRef entry) {
  const std::string_view key = entry.get()->key();
  const uint64_t hash = entry.get()->hash;
  Shard& shard = shard_of(hash);
  const EntryRef keep(entry);
  const std::lock_guard lock(shard.lock);
  ++shard.generation;
  drop_entry(shard, hash, space, key, Reason::invalidated);
  insert(shard, std::move(entry));
}

}  // namespace trellis::cache
