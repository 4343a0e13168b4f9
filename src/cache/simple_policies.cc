#include "cache/simple_policies.h"

namespace trellis::cache {

// --- RandomEviction ---

void RandomEviction::insert(EvictionNode& node) {
  node.place = nodes_.size();
  nodes_.push_back(&node);
  charge_ += node.charge;
}

EvictionNode* RandomEviction::evict() noexcept {
  if (nodes_.empty()) return nullptr;
  EvictionNode* node = nodes_[rng_.below(nodes_.size())];
  remove(*node);
  return node;
}

void RandomEviction::remove(EvictionNode& node) noexcept {
  EvictionNode* last = nodes_.back();
  nodes_[node.place] = last;
  last->place = node.place;
  nodes_.pop_back();
  charge_ -= node.charge;
}

// --- SoonestExpiry ---

// Moves the hole at `place` to where the node belongs, up or down.
void SoonestExpiry::settle(size_t place, EvictionNode& node) noexcept {
  while (place > 0 && sooner(node, *heap_[(place - 1) / 2])) {
    put(place, *heap_[(place - 1) / 2]);
    place = (place - 1) / 2;
  }
  while (true) {
    size_t child = 2 * place + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && sooner(*heap_[child + 1], *heap_[child])) ++child;
    if (!sooner(*heap_[child], node)) break;
    put(place, *heap_[child]);
    place = child;
  }
  put(place, node);
}

void SoonestExpiry::insert(EvictionNode& node) {
  node.order = next_order_++;
  heap_.push_back(&node);
  charge_ += node.charge;
  settle(heap_.size() - 1, node);
}

EvictionNode* SoonestExpiry::evict() noexcept {
  if (heap_.empty()) return nullptr;
  EvictionNode* node = heap_.front();
  remove(*node);
  return node;
}

void SoonestExpiry::remove(EvictionNode& node) noexcept {
  const size_t hole = node.place;
  EvictionNode* last = heap_.back();
  heap_.pop_back();
  charge_ -= node.charge;
  if (last != &node) settle(hole, *last);
}

}  // namespace trellis::cache
