// How often keys were asked for of late, in eight bytes a key: a count-min sketch of 4-bit counters (four of them a
// key, all in one line of the processor's cache). After ten times as many counted requests as it has keys, every
// counter is halved, so that what was popular yesterday does not stay for ever. An estimate is never too low but by
// halving. Belongs to W-TinyLFU (cache/w_tinylfu.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace trellis::cache {

class FrequencySketch {
 public:
  FrequencySketch();

  // Room for so many keys; grows only, and what was counted stays.
  void reserve(size_t keys);
  void add(uint64_t hash) noexcept;
  unsigned estimate(uint64_t hash) const noexcept;  // 0..15
  size_t keys() const noexcept { return words_.size(); }

 private:
  static constexpr size_t kWords = 8;  // of a line

  struct Counter {
    size_t word;
    unsigned shift;
  };
  Counter counter(uint64_t hash, unsigned row) const noexcept;
  void halve() noexcept;

  std::vector<uint64_t> words_;  // sixteen counters each
  uint64_t added_ = 0;           // since the last halving, halved with it
};

}  // namespace trellis::cache
