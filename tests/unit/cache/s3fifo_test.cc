#include "cache/s3fifo.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <list>
#include <memory>
#include <sstream>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "base/rng.h"

namespace trellis::cache {
namespace {

uint64_t hash_of(uint64_t key) { return hash64({reinterpret_cast<const char*>(&key), sizeof(key)}); }

// A cache of keys over the policy, as the memory cache uses it; objects of charge 1 unless said otherwise.
class KeyCache {
 public:
  explicit KeyCache(uint64_t capacity) : policy_(capacity) {}
  bool request(uint64_t key, uint32_t charge = 1) {
    const auto found = nodes_.find(key);
    if (found != nodes_.end()) {
      policy_.hit(*found->second);
      return true;
    }
    while (policy_.charge() + charge > policy_.capacity()) {
      S3Node* victim = policy_.evict();
      if (!victim) break;
      nodes_.erase(keys_.at(victim));
      keys_.erase(victim);
    }
    auto node = std::make_unique<S3Node>();
    node->hash = hash_of(key);
    node->charge = charge;
    policy_.insert(*node);
    keys_[node.get()] = key;
    nodes_[key] = std::move(node);
    return false;
  }
  bool holds(uint64_t key) const { return nodes_.contains(key); }
  void remove(uint64_t key) {
    const auto found = nodes_.find(key);
    if (found == nodes_.end()) return;
    policy_.remove(*found->second);
    keys_.erase(found->second.get());
    nodes_.erase(found);
  }
  S3Fifo& policy() { return policy_; }
  size_t size() const { return nodes_.size(); }

 private:
  S3Fifo policy_;
  std::unordered_map<uint64_t, std::unique_ptr<S3Node>> nodes_;
  std::unordered_map<S3Node*, uint64_t> keys_;
};

// The algorithm again, written plainly with lists and for objects of charge 1: what the paper says, line by line.
class Reference {
 public:
  explicit Reference(size_t capacity)
      : small_room_(std::max<size_t>(1, capacity / 10)), main_room_(capacity - small_room_), room_(capacity) {}
  bool request(uint64_t key) {
    const auto found = hits_.find(key);
    if (found != hits_.end()) {
      found->second = std::min(found->second + 1, 3);
      return true;
    }
    while (small_.size() + main_.size() >= room_) evict();
    const auto ghost = std::find(ghosts_.begin(), ghosts_.end(), key);
    const bool was_ghost = ghost != ghosts_.end();
    if (was_ghost) ghosts_.erase(ghost);
    (was_ghost ? main_ : small_).push_back(key);
    hits_[key] = 0;
    return false;
  }

 private:
  void evict() {
    if (main_.size() <= main_room_) {
      while (!small_.empty()) {
        const uint64_t key = small_.front();
        small_.pop_front();
        if (hits_[key] >= 2) {
          hits_[key] = 0;
          main_.push_back(key);
          continue;
        }
        hits_.erase(key);
        ghosts_.push_back(key);
        if (ghosts_.size() > main_room_) ghosts_.pop_front();
        return;
      }
    }
    while (true) {
      const uint64_t key = main_.front();
      main_.pop_front();
      if (hits_[key] == 0) {
        hits_.erase(key);
        return;
      }
      --hits_[key];
      main_.push_back(key);
    }
  }
  size_t small_room_;
  size_t main_room_;
  size_t room_;
  std::deque<uint64_t> small_;
  std::deque<uint64_t> main_;
  std::list<uint64_t> ghosts_;
  std::unordered_map<uint64_t, int> hits_;
};

class Zipf {
 public:
  Zipf(size_t keys, double s) {
    double sum = 0;
    for (size_t i = 1; i <= keys; ++i) sums_.push_back(sum += std::pow(static_cast<double>(i), -s));
  }
  uint64_t draw(Rng& rng) const {
    return static_cast<uint64_t>(std::lower_bound(sums_.begin(), sums_.end(), rng.unit() * sums_.back()) -
                                 sums_.begin());
  }

 private:
  std::vector<double> sums_;
};

TEST(S3Fifo, DoesWhatThePaperSaysRequestByRequest) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Rng rng(seed);
    const size_t capacity = 10 + rng.below(200);
    const Zipf zipf(capacity * 5, 0.7 + 0.05 * static_cast<double>(seed % 8));
    KeyCache cache(capacity);
    Reference reference(capacity);
    uint64_t scan = 1'000'000;
    for (int i = 0; i < 5000; ++i) {
      const uint64_t key = rng.below(4) == 0 ? scan++ : zipf.draw(rng);
      ASSERT_EQ(cache.request(key), reference.request(key)) << "seed " << seed << " request " << i;
    }
  }
}

TEST(S3Fifo, NeverHoldsMoreThanItsCapacity) {
  Rng rng(5);
  KeyCache cache(1000);
  for (int i = 0; i < 50'000; ++i) {
    cache.request(rng.below(3000), static_cast<uint32_t>(1 + rng.below(100)));
    if (rng.below(10) == 0) cache.remove(rng.below(3000));
    ASSERT_LE(cache.policy().charge(), 1000u);
    ASSERT_EQ(cache.policy().size(), cache.size());
  }
  EXPECT_LE(cache.policy().ghosts(), 1000u);
}

TEST(S3Fifo, AScanLeavesWhatIsAskedForAgain) {
  KeyCache cache(1000);
  for (int round = 0; round < 4; ++round) {
    for (uint64_t key = 0; key < 500; ++key) cache.request(key);
  }
  for (uint64_t key = 10'000; key < 15'000; ++key) cache.request(key);
  int kept = 0;
  for (uint64_t key = 0; key < 500; ++key) kept += cache.holds(key) ? 1 : 0;
  EXPECT_GT(kept, 390);
}

TEST(S3Fifo, HoldsTheHotPartOfAZipfDistribution) {
  // 10,000 keys; the static optimum is 53.0, 76.5 and 64.8 per cent.
  const struct {
    double s;
    size_t capacity;
    double at_least;
  } cases[] = {{1.0, 100, 0.50}, {1.0, 1000, 0.735}, {1.1, 100, 0.62}};
  for (const auto& each : cases) {
    Rng rng(9);
    const Zipf zipf(10'000, each.s);
    KeyCache cache(each.capacity);
    int hits = 0;
    const int requests = 1'000'000;
    for (int i = 0; i < requests; ++i) hits += cache.request(zipf.draw(rng)) ? 1 : 0;
    EXPECT_GT(static_cast<double>(hits) / requests, each.at_least) << "s " << each.s << " capacity " << each.capacity;
  }
}

TEST(GhostQueue, RemembersUpToItsCapacityAndForgetsTheOldest) {
  GhostQueue ghosts(100);
  for (uint64_t key = 0; key < 150; ++key) ghosts.add(hash_of(key), 1);
  EXPECT_EQ(ghosts.size(), 100u);
  EXPECT_FALSE(ghosts.take(hash_of(49)));
  EXPECT_TRUE(ghosts.take(hash_of(50)));
  EXPECT_FALSE(ghosts.take(hash_of(50)));
  EXPECT_TRUE(ghosts.take(hash_of(149)));
  EXPECT_EQ(ghosts.size(), 98u);
}

// Real traces, where they are: TRELLIS_DATA or ../shared/data beside the project.
std::string data_folder() {
  if (const char* named = std::getenv("TRELLIS_DATA")) return named;
  return std::string(TRELLIS_SOURCE_DIR) + "/../shared/data";
}

std::vector<uint64_t> read_trace(const std::string& path) {
  std::vector<uint64_t> keys;
  // The path is ours: the folder above and a name below.
  FILE* pipe = ::popen(("xz -dc '" + path + "'").c_str(), "r");
  if (!pipe) return keys;
  char line[256];
  while (std::fgets(line, sizeof(line), pipe)) keys.push_back(std::strtoull(line, nullptr, 10));
  ::pclose(pipe);
  return keys;
}

TEST(S3Fifo, ReachesTheKnownHitRatiosOfRealTraces) {
  const std::string folder = data_folder();
  std::ifstream table(folder + "/expected-hit-ratios.csv");
  if (!table) GTEST_SKIP() << "no traces in " << folder << "; set TRELLIS_DATA to test against them";
  std::unordered_map<std::string, std::vector<uint64_t>> traces;
  for (const char* name : {"web07", "lirs-multi2", "corda"})
    traces[name] = read_trace(folder + "/traces/" + name + ".keys.xz");
  std::string line;
  int compared = 0;
  while (std::getline(table, line)) {
    std::stringstream row(line);
    std::string trace;
    std::string policy;
    std::string implementation;
    std::string size;
    std::string requests;
    std::string ratio;
    std::getline(row, trace, ',');
    std::getline(row, policy, ',');
    std::getline(row, implementation, ',');
    std::getline(row, size, ',');
    std::getline(row, requests, ',');
    std::getline(row, ratio, ',');
    if (policy != "s3-fifo" || implementation != "libCacheSim" || !traces.contains(trace)) continue;
    const size_t capacity = std::stoul(size);
    if (capacity < 100) continue;  // implementations round differently below
    const std::vector<uint64_t>& keys = traces[trace];
    ASSERT_EQ(keys.size(), std::stoul(requests)) << trace;
    KeyCache cache(capacity);
    size_t hits = 0;
    for (const uint64_t key : keys) hits += cache.request(key) ? 1 : 0;
    EXPECT_NEAR(static_cast<double>(hits) / static_cast<double>(keys.size()), std::stod(ratio), 0.003)
        << trace << " " << capacity;
    ++compared;
  }
  EXPECT_GT(compared, 5);
}

}  // namespace
}  // namespace trellis::cache
