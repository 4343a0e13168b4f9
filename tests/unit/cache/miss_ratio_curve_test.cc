#include "cache/miss_ratio_curve.h"

#include <gtest/gtest.h>

#include <list>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "base/rng.h"
#include "tests/unit/cache/key_cache.h"

namespace trellis::cache {
namespace {

uint64_t hash_of(uint64_t key) { return hash64(std::string_view(reinterpret_cast<const char*>(&key), sizeof key)); }

// LRU itself, in bytes.
class Lru {
 public:
  explicit Lru(uint64_t capacity) : capacity_(capacity) {}
  bool look(uint64_t key, uint64_t bytes) {
    const auto found = places_.find(key);
    if (found != places_.end()) {
      order_.splice(order_.begin(), order_, found->second);
      return true;
    }
    order_.emplace_front(key, bytes);
    places_[key] = order_.begin();
    held_ += bytes;
    while (held_ > capacity_) {
      held_ -= order_.back().second;
      places_.erase(order_.back().first);
      order_.pop_back();
    }
    return false;
  }

 private:
  uint64_t capacity_;
  uint64_t held_ = 0;
  std::list<std::pair<uint64_t, uint64_t>> order_;
  std::unordered_map<uint64_t, std::list<std::pair<uint64_t, uint64_t>>::iterator> places_;
};

uint64_t bytes_of(uint64_t key) { return 500 + hash_of(key) / 7 % 4000; }

// The curve of a stream beside LRU itself at some sizes.
void compare(const std::vector<uint64_t>& stream, size_t sample, const std::vector<uint64_t>& sizes, double tolerance) {
  MissRatioCurve curve(sizes.back() / 256, sizes.back(), sample, 1);
  for (const uint64_t key : stream) curve.look(hash_of(key), bytes_of(key));
  EXPECT_LE(curve.keys(), sample);
  for (const uint64_t size : sizes) {
    Lru lru(size);
    size_t hits = 0;
    for (const uint64_t key : stream) hits += lru.look(key, bytes_of(key));
    EXPECT_NEAR(curve.hit_ratio_at(size), static_cast<double>(hits) / static_cast<double>(stream.size()), tolerance)
        << size << " bytes, " << sample << " keys";
  }
}

std::vector<uint64_t> zipf(double s, size_t keys, size_t lookups) {
  Rng rng(5);
  const Zipf draw(keys, s);
  std::vector<uint64_t> stream(lookups);
  for (uint64_t& key : stream) key = draw.draw(rng);
  return stream;
}

TEST(MissRatioCurve, IsLrusOwnWhereEveryKeyIsSampled) {
  compare(zipf(0.9, 5'000, 100'000), 10'000, {500'000, 1'000'000, 2'000'000, 8'000'000}, 0.005);
}

TEST(MissRatioCurve, IsNearLrusWhereOneKeyInManyIs) {
  for (const double s : {0.7, 0.9, 1.1})
    compare(zipf(s, 100'000, 300'000), 4096, {4'000'000, 16'000'000, 64'000'000, 256'000'000}, 0.04);
}

TEST(MissRatioCurve, SeesThatALoopNeedsRoomForAllOfIt) {
  std::vector<uint64_t> stream;
  for (int i = 0; i < 200'000; ++i) stream.push_back(static_cast<uint64_t>(i % 20'000));
  compare(stream, 2048, {25'000'000, 100'000'000}, 0.03);  // all takes 50 MB
}

TEST(MissRatioCurve, LearnsASizeLater) {
  MissRatioCurve curve(100, 10'000, 100, 1);
  for (int round = 0; round < 100; ++round) {
    for (uint64_t key = 0; key < 4; ++key) {
      curve.look(hash_of(key), 0);
      curve.size_of(hash_of(key), 1000);
    }
  }
  EXPECT_NEAR(curve.hit_ratio_at(3900), 0, 0.02);
  EXPECT_NEAR(curve.hit_ratio_at(4200), 1, 0.02);
}

TEST(MissRatioCurve, ForgetsWhatWasLongAgo) {
  MissRatioCurve curve(1000, 1'000'000, 64);
  for (uint64_t i = 0; i < 100'000; ++i) curve.look(hash_of(i), 100);  // nothing is asked for twice
  EXPECT_NEAR(curve.hit_ratio_at(1'000'000), 0, 0.1);
  for (uint64_t i = 0; i < 2'000'000; ++i) curve.look(hash_of(i % 20), 100);
  EXPECT_GT(curve.hit_ratio_at(1'000'000), 0.9);
}

TEST(MissRatioCurve, TakesLookupsOfManyThreads) {
  MissRatioCurve curve(1000, 1'000'000, 256);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&curve, t] {
      Rng rng(t);
      for (int i = 0; i < 20'000; ++i) curve.look(hash_of(rng.below(2000)), 1000);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(curve.keys(), 256u);
  EXPECT_GT(curve.hit_ratio_at(900'000), curve.hit_ratio_at(100'000));
}

}  // namespace
}  // namespace trellis::cache
