// Which object leaves a full cache: one of the policies, by name. Each has the same shape: insert() a node, hit() it,
// evict() gives the next victim, already taken out (null when there is none), remove() takes out one that leaves for
// another reason; charge() is the sum of what is in it. A policy only orders: the owner evicts until there is room,
// then inserts. Used by the memory cache, one a shard, under the shard's lock.
//
// WHY a variant and no virtual functions: the hit of s3fifo, the default, is one comparison and one increment, inline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <variant>

#include "cache/eviction_node.h"
#include "cache/s3fifo.h"
#include "cache/simple_policies.h"
#include "cache/w_tinylfu.h"

namespace trellis::cache {

enum class EvictionPolicy : uint8_t { s3fifo, w_tinylfu, lru, fifo, random, ttl };
inline constexpr EvictionPolicy kEvictionPolicies[] = {EvictionPolicy::s3fifo, EvictionPolicy::w_tinylfu,
                                                       EvictionPolicy::lru,    EvictionPolicy::fifo,
                                                       EvictionPolicy::random, EvictionPolicy::ttl};
std::string_view to_string(EvictionPolicy policy) noexcept;

class Eviction {
 public:
  // The seed is for `random`.
  Eviction(EvictionPolicy policy, uint64_t capacity, uint64_t seed);

  void hit(EvictionNode& node) noexcept {
    if (auto* s3fifo = std::get_if<S3Fifo>(&policy_)) [[likely]]
      s3fifo->hit(node);
    else
      std::visit([&](auto& policy) { policy.hit(node); }, policy_);
  }
  void insert(EvictionNode& node) {
    std::visit([&](auto& policy) { policy.insert(node); }, policy_);
  }
  EvictionNode* evict() {
    return std::visit([](auto& policy) { return policy.evict(); }, policy_);
  }
  void remove(EvictionNode& node) noexcept {
    std::visit([&](auto& policy) { policy.remove(node); }, policy_);
  }
  uint64_t charge() const noexcept {
    return std::visit([](const auto& policy) { return policy.charge(); }, policy_);
  }
  uint64_t capacity() const noexcept { return capacity_; }

 private:
  uint64_t capacity_;
  std::variant<S3Fifo, WTinyLfu, Lru, Fifo, RandomEviction, SoonestExpiry> policy_;
};

}  // namespace trellis::cache
