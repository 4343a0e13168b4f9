#include "cache/w_tinylfu.h"

#include <algorithm>
#include <cmath>

namespace trellis::cache {

namespace {

constexpr double kFirstWindow = 0.01;
constexpr double kMostWindow = 0.8;
constexpr double kProtectedShare = 0.8;  // of the main part
constexpr double kStep = 0.0625;         // of the capacity
constexpr double kStepDecay = 0.98;
constexpr double kNewLoad = 0.05;  // a hit ratio that changes by so much begins a new climb
constexpr uint64_t kSample = 10;   // requests an object between two steps

uint64_t share_of(uint64_t capacity, double share) {
  return std::max<uint64_t>(1, static_cast<uint64_t>(static_cast<double>(capacity) * share));
}

}  // namespace

WTinyLfu::WTinyLfu(uint64_t capacity)
    : capacity_(capacity),
      window_capacity_(share_of(capacity, kFirstWindow)),
      protected_capacity_(share_of(capacity - std::min(capacity, window_capacity_), kProtectedShare)),
      step_(kStep * static_cast<double>(capacity)) {}

void WTinyLfu::to_probation(EvictionNode& node) noexcept {
  node.queue = in_probation;
  probation_.push(node);
}

void WTinyLfu::demote() noexcept {
  while (protected_.charge > protected_capacity_) to_probation(*protected_.pop());
}

void WTinyLfu::hit(EvictionNode& node) noexcept {
  ++hits_;
  sketch_.add(node.hash);
  if (node.queue != in_probation) {
    queue_of(node).renew(node);
    return;
  }
  probation_.unlink(node);
  node.queue = in_protected;
  protected_.push(node);
  demote();
}

void WTinyLfu::insert(EvictionNode& node) {
  ++misses_;
  sketch_.reserve(size() + 1);
  sketch_.add(node.hash);
  node.queue = in_window;
  window_.push(node);
  // While the main part has room nothing has to compete for it. A few at a time, for the sake of who waits for the
  // lock.
  for (int i = 0; i < 8 && window_.charge > window_capacity_; ++i) {
    EvictionNode& oldest = *window_.oldest;
    if (main_charge() + oldest.charge > capacity_ - window_capacity_) break;
    window_.unlink(oldest);
    to_probation(oldest);
  }
  if (hits_ + misses_ >= kSample * size()) climb();
}

EvictionNode* WTinyLfu::evict() noexcept {
  EvictionNode* victim = probation_.oldest ? probation_.oldest : protected_.oldest;
  EvictionNode* candidate = window_.charge >= window_capacity_ || !victim ? window_.oldest : nullptr;
  if (!candidate) {
    if (victim) queue_of(*victim).unlink(*victim);
    return victim;
  }
  window_.unlink(*candidate);
  if (!victim) return candidate;
  // At a tie the one that is there stays: a scan passes by.
  if (sketch_.estimate(candidate->hash) <= sketch_.estimate(victim->hash)) return candidate;
  queue_of(*victim).unlink(*victim);
  to_probation(*candidate);
  return victim;
}

void WTinyLfu::remove(EvictionNode& node) noexcept { queue_of(node).unlink(node); }

void WTinyLfu::climb() noexcept {
  const double ratio = static_cast<double>(hits_) / static_cast<double>(hits_ + misses_);
  const double change = ratio - last_ratio_;
  last_ratio_ = ratio;
  hits_ = misses_ = 0;
  if (change < 0) step_ = -step_;
  const double window = std::clamp(static_cast<double>(window_capacity_) + step_, 1.0,
                                   std::max(1.0, kMostWindow * static_cast<double>(capacity_)));
  window_capacity_ = static_cast<uint64_t>(window);
  protected_capacity_ = share_of(capacity_ - std::min(capacity_, window_capacity_), kProtectedShare);
  demote();
  step_ =
      std::abs(change) >= kNewLoad ? std::copysign(kStep * static_cast<double>(capacity_), step_) : step_ * kStepDecay;
}

}  // namespace trellis::cache
