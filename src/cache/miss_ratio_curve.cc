#include "cache/miss_ratio_curve.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace trellis::cache {

namespace {

constexpr uint64_t kHalveAfter = uint64_t{1} << 20;  // sampled lookups: what was before counts half
constexpr size_t kTurnsPerKey = 4;                   // of the tree, before it is numbered anew

}  // namespace

MissRatioCurve::MissRatioCurve(uint64_t unit, uint64_t most, size_t keys, uint64_t one_in)
    : unit_(std::max<uint64_t>(unit, 1)),
      most_keys_(keys),
      share_(kModulus / one_in),
      lanes_(std::make_unique<Lane[]>(kLanes)),
      tree_(kTurnsPerKey * keys + 1),
      buckets_(most / unit_ + 1) {}

size_t MissRatioCurve::lane() noexcept {
  static std::atomic<size_t> threads{0};
  thread_local const size_t mine = threads.fetch_add(1, std::memory_order_relaxed) % kLanes;
  return mine;
}

uint64_t MissRatioCurve::lookups() const noexcept {
  uint64_t sum = 0;
  for (size_t i = 0; i < kLanes; ++i) sum += lanes_[i].lookups.load(std::memory_order_relaxed);
  return sum;
}

// --- the tree ---

void MissRatioCurve::add(uint64_t turn, int64_t bytes) noexcept {
  for (uint64_t at = turn; at < tree_.size(); at += at & (~at + 1)) tree_[at] += bytes;
}

uint64_t MissRatioCurve::bytes_up_to(uint64_t turn) const noexcept {
  int64_t sum = 0;
  for (uint64_t at = turn; at > 0; at -= at & (~at + 1)) sum += tree_[at];
  return static_cast<uint64_t>(std::max<int64_t>(sum, 0));
}

uint64_t MissRatioCurve::next_turn() {
  if (++turn_ < tree_.size()) return turn_;
  // All turns were given: the keys keep their order and get the first ones.
  std::vector<Key*> order;
  order.reserve(keys_.size());
  for (auto& [hash, key] : keys_) order.push_back(&key);
  std::sort(order.begin(), order.end(), [](const Key* a, const Key* b) { return a->turn < b->turn; });
  std::fill(tree_.begin(), tree_.end(), 0);
  turn_ = 0;
  for (Key* key : order) {
    key->turn = ++turn_;
    add(key->turn, static_cast<int64_t>(key->bytes));
  }
  return ++turn_;
}

// --- the sample ---

void MissRatioCurve::sample(uint64_t hash, uint64_t bytes) noexcept {
  // A hot key that all cores look up: one of them counts it, and the others' lookups are those the sample lacks.
  if (sampling_.test_and_set(std::memory_order_acquire)) return;
  struct Ending {
    std::atomic_flag& sampling;
    ~Ending() { sampling.clear(std::memory_order_release); }
  } ending{sampling_};
  const std::lock_guard lock(lock_);
  const uint64_t share = share_.load(std::memory_order_relaxed);
  if (hash % kModulus >= share) return;  // it shrank meanwhile
  const double scale = static_cast<double>(kModulus) / static_cast<double>(share);
  const auto [place, is_new] = keys_.try_emplace(hash);
  Key& key = place->second;
  size_t bucket = buckets_.size() - 1;
  if (is_new) {
    by_hash_.emplace(hash % kModulus, hash);
  } else {
    const uint64_t others = held_ - std::min(held_, bytes_up_to(key.turn));
    const double needed = static_cast<double>(others) * scale + static_cast<double>(key.bytes);
    const double units = std::ceil(needed / static_cast<double>(unit_));
    bucket = std::min(bucket, static_cast<size_t>(std::clamp(units - 1, 0.0, 1e15)));
    add(key.turn, -static_cast<int64_t>(key.bytes));
  }
  buckets_[bucket] += scale;
  counted_ += scale;
  if (bytes > 0) {
    held_ = held_ - key.bytes + bytes;
    key.bytes = bytes;
  }
  // Not in the tree while turns are given anew.
  const uint64_t own = std::exchange(key.bytes, 0);
  key.turn = next_turn();
  key.bytes = own;
  add(key.turn, static_cast<int64_t>(own));
  if (keys_.size() > most_keys_) drop_largest_hash();
  if (++sampled_ < kHalveAfter) return;
  sampled_ = 0;
  for (double& each : buckets_) each /= 2;
  counted_ /= 2;
  const uint64_t now = lookups();
  due_ = (due_ + static_cast<double>(now - seen_)) / 2;
  seen_ = now;
}

void MissRatioCurve::resize(uint64_t hash, uint64_t bytes) noexcept {
  const std::lock_guard lock(lock_);
  const auto found = keys_.find(hash);
  if (found == keys_.end()) return;
  Key& key = found->second;
  add(key.turn, static_cast<int64_t>(bytes) - static_cast<int64_t>(key.bytes));
  held_ = held_ - key.bytes + bytes;
  key.bytes = bytes;
}

void MissRatioCurve::drop_largest_hash() {
  const auto last = std::prev(by_hash_.end());
  const uint64_t from = last->first;
  share_.store(from, std::memory_order_relaxed);
  // Keys may have the same remainder.
  while (!by_hash_.empty() && std::prev(by_hash_.end())->first >= from) {
    const auto gone = std::prev(by_hash_.end());
    const auto key = keys_.find(gone->second);
    add(key->second.turn, -static_cast<int64_t>(key->second.bytes));
    held_ -= key->second.bytes;
    keys_.erase(key);
    by_hash_.erase(gone);
  }
}

double MissRatioCurve::hit_ratio_at(uint64_t bytes) const noexcept {
  const std::lock_guard lock(lock_);
  const double due = due_ + static_cast<double>(lookups() - seen_);
  if (due <= 0) return 0;
  const size_t end = static_cast<size_t>(std::min<uint64_t>(bytes / unit_, buckets_.size() - 1));
  double hits = 0;
  for (size_t i = 0; i < end; ++i) hits += buckets_[i];
  // Where the sample has too few lookups, the hottest keys are not in it; where it has too many, they are.
  return std::clamp((hits + due - counted_) / due, 0.0, 1.0);
}

size_t MissRatioCurve::keys() const noexcept {
  const std::lock_guard lock(lock_);
  return keys_.size();
}

}  // namespace trellis::cache
