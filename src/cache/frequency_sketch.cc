#include "cache/frequency_sketch.h"

#include <algorithm>

namespace trellis::cache {

namespace {

constexpr size_t kFirstKeys = 64;
constexpr uint64_t kSample = 10;  // requests a key between two halvings
constexpr unsigned kMost = 15;

}  // namespace

FrequencySketch::FrequencySketch() : words_(kFirstKeys) {}

// A key's line is chosen by the low bits, so in a table of double size it is the same line or its copy.
void FrequencySketch::reserve(size_t keys) {
  while (words_.size() < keys) {
    const size_t size = words_.size();
    words_.resize(2 * size);
    std::copy_n(words_.begin(), size, words_.begin() + static_cast<ptrdiff_t>(size));
  }
}

// Each row has two words of the line; five bits of the hash choose the counter in them.
FrequencySketch::Counter FrequencySketch::counter(uint64_t hash, unsigned row) const noexcept {
  const size_t line = hash & (words_.size() / kWords - 1);
  const auto bits = static_cast<unsigned>((hash * 0x9E3779B97F4A7C15u) >> (32 + 5 * row)) & 31u;
  return {line * kWords + 2 * row + (bits & 1u), (bits >> 1) * 4};
}

void FrequencySketch::add(uint64_t hash) noexcept {
  bool counted = false;
  for (unsigned row = 0; row < 4; ++row) {
    const Counter at = counter(hash, row);
    if (((words_[at.word] >> at.shift) & kMost) == kMost) continue;
    words_[at.word] += uint64_t{1} << at.shift;
    counted = true;
  }
  // What finds its counters full says nothing new: it must not make the rest be forgotten sooner.
  if (counted && ++added_ >= kSample * words_.size()) halve();
}

unsigned FrequencySketch::estimate(uint64_t hash) const noexcept {
  unsigned least = kMost;
  for (unsigned row = 0; row < 4; ++row) {
    const Counter at = counter(hash, row);
    least = std::min(least, static_cast<unsigned>(words_[at.word] >> at.shift) & kMost);
  }
  return least;
}

void FrequencySketch::halve() noexcept {
  for (uint64_t& word : words_) word = (word >> 1) & 0x7777777777777777u;
  added_ /= 2;
}

}  // namespace trellis::cache
