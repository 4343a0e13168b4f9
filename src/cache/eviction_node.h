// What every eviction policy works on: a node inside each cached object, and a queue of such nodes. The owner of the
// object sets the upper fields before it inserts the node; the rest is the policy's while the node is in it. No lock,
// no allocation: a policy belongs to a shard of the memory cache and is called under the shard's lock.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/time.h"

namespace trellis::cache {

struct EvictionNode {
  uint64_t hash = 0;      // of the key
  Time expires = kNever;  // read by `ttl` only
  uint32_t charge = 1;    // what it takes of the capacity

  uint8_t hits = 0;   // s3fifo: 0..3
  uint8_t queue = 0;  // which of a policy's queues it is in
  // A policy with queues links its nodes; one with an array keeps the place in it and the order of insertion.
  union {
    EvictionNode* newer = nullptr;
    size_t place;
  };
  union {
    EvictionNode* older = nullptr;
    uint64_t order;
  };
};

struct NodeQueue {
  EvictionNode* newest = nullptr;
  EvictionNode* oldest = nullptr;
  uint64_t charge = 0;
  size_t size = 0;

  void push(EvictionNode& node) noexcept {
    node.newer = nullptr;
    node.older = newest;
    (newest ? newest->newer : oldest) = &node;
    newest = &node;
    charge += node.charge;
    ++size;
  }
  void unlink(EvictionNode& node) noexcept {
    (node.newer ? node.newer->older : newest) = node.older;
    (node.older ? node.older->newer : oldest) = node.newer;
    node.newer = node.older = nullptr;
    charge -= node.charge;
    --size;
  }
  EvictionNode* pop() noexcept {
    EvictionNode* node = oldest;
    if (node) unlink(*node);
    return node;
  }
  void renew(EvictionNode& node) noexcept {
    if (newest == &node) return;
    unlink(node);
    push(node);
  }
};

}  // namespace trellis::cache
