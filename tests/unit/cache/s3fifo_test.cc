#include "cache/s3fifo.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <list>
#include <unordered_map>

#include "base/rng.h"
#include "tests/unit/cache/key_cache.h"

namespace trellis::cache {
namespace {

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

TEST(S3Fifo, DoesWhatThePaperSaysRequestByRequest) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Rng rng(seed);
    const size_t capacity = 10 + rng.below(200);
    const Zipf zipf(capacity * 5, 0.7 + 0.05 * static_cast<double>(seed % 8));
    KeyCache<S3Fifo> cache(capacity);
    Reference reference(capacity);
    uint64_t scan = 10'000;
    for (int i = 0; i < 5000; ++i) {
      const uint64_t key = rng.below(4) == 0 ? scan++ : zipf.draw(rng);
      ASSERT_EQ(cache.request(key), reference.request(key)) << "seed " << seed << " request " << i;
    }
  }
}

TEST(S3Fifo, NeverHoldsMoreThanItsCapacity) {
  Rng rng(5);
  KeyCache<S3Fifo> cache(uint64_t{1000});
  for (int i = 0; i < 50'000; ++i) {
    cache.request(rng.below(3000), static_cast<uint32_t>(1 + rng.below(100)));
    if (rng.below(10) == 0) cache.remove(rng.below(3000));
    ASSERT_LE(cache.policy().charge(), 1000u);
    ASSERT_EQ(cache.policy().size(), cache.size());
  }
  EXPECT_LE(cache.policy().ghosts(), 1000u);
}

TEST(S3Fifo, AScanLeavesWhatIsAskedForAgain) {
  KeyCache<S3Fifo> cache(uint64_t{1000});
  for (int round = 0; round < 4; ++round) {
    for (uint64_t key = 0; key < 500; ++key) cache.request(key);
  }
  for (uint64_t key = 1000; key < 6000; ++key) cache.request(key);
  int kept = 0;
  for (uint64_t key = 0; key < 500; ++key) kept += cache.holds(key) ? 1 : 0;
  EXPECT_GT(kept, 390);
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

}  // namespace
}  // namespace trellis::cache
