// Codes seen so far, as 64-bit hashes in a table that grows up to a limit: 16 bytes a code at most, beyond the limit
// nothing is remembered. For the dry run of an import, which finds codes that a file has twice without a store to ask.
// Two codes with one hash are taken for the same; among four million that happens once in two million files. Belongs to
// one coroutine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/hash.h"

namespace trellis::services::links {

class CodeSet {
 public:
  static constexpr size_t kMost = size_t{4} << 20;

  // True: it was not there. Beyond kMost always, unless it is there.
  bool add(std::string_view code) {
    const uint64_t hash = hash64(code) | 1;  // 0 is a free place
    if (places_.empty()) places_.resize(1024);
    if (count_ * 2 >= places_.size() && count_ < kMost) grow();
    uint64_t& place = place_of(hash);
    if (place == hash) return false;
    if (count_ < kMost) {
      place = hash;
      ++count_;
    }
    return true;
  }

 private:
  uint64_t& place_of(uint64_t hash) noexcept {
    size_t at = (hash >> 1) & (places_.size() - 1);
    while (places_[at] != 0 && places_[at] != hash) at = (at + 1) & (places_.size() - 1);
    return places_[at];
  }
  void grow() {
    std::vector<uint64_t> old(places_.size() * 2);
    old.swap(places_);
    for (const uint64_t hash : old)
      if (hash != 0) place_of(hash) = hash;
  }

  std::vector<uint64_t> places_;  // a power of two, never more than half full
  size_t count_ = 0;
};

}  // namespace trellis::services::links
