// What was invalidated since: a number for each of a few thousand groups of keys, that changes when one of them is. Who
// asks the origin reads the number before, and stores what came only where its key was not invalidated meanwhile. A
// number also tells whose sake its last change was for, so that a busy site's other writes do not keep it from storing:
// only two of them in one group during one fetch do. Any thread, without waiting.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/hash.h"

namespace trellis::cache {

using Stamp = uint64_t;

class Stamps {
 public:
  static constexpr size_t kSlots = 4096;  // 32 KiB

  Stamp read(std::string_view key) const noexcept { return slot(hash64(key)).load(); }
  void change(std::string_view key) noexcept {
    const uint64_t hash = hash64(key);
    std::atomic<Stamp>& at = slot(hash);
    Stamp old = at.load();
    while (!at.compare_exchange_weak(old, (hash & kWhose) | static_cast<uint32_t>(old + 1))) {
    }
  }
  // Was the key surely not invalidated since `before` was read?
  bool unchanged(std::string_view key, Stamp before) const noexcept {
    const uint64_t hash = hash64(key);
    const Stamp now = slot(hash).load();
    if (now == before) return true;
    const bool once = static_cast<uint32_t>(now) == static_cast<uint32_t>(before + 1);
    return once && (now & kWhose) != (hash & kWhose);
  }

 private:
  static constexpr uint64_t kWhose = ~uint64_t{0} << 32;  // the upper half: of the hash; the lower one counts
  std::atomic<Stamp>& slot(uint64_t hash) const noexcept { return slots_[hash % kSlots]; }

  const std::unique_ptr<std::atomic<Stamp>[]> slots_ = std::make_unique<std::atomic<Stamp>[]>(kSlots);
};

}  // namespace trellis::cache
