// Hosts in turns: round_robin, each after the other, and weighted, evenly spread by weight.
//
// Weighted: every host has a virtual time at which its next turn is due, 1/weight after the one before; the earliest is
// next. A host with weight 5 among two with weight 1 gets five of seven turns, and never more than three in a row.
// Where in their round the turns begin is drawn, their order is not. O(log n). Weights may change with every turn, so a
// slow start needs nothing of its own.
#pragma once

#include "upstream/balancer.h"

namespace trellis::upstream {

class RoundRobin final : public Balancer {
 public:
  // It begins at a host by chance, and goes on in their order.
  RoundRobin(std::vector<BalanceHost> hosts, Rng& rng);
  std::optional<HostId> pick(const PickArgs& args) noexcept override;

 private:
  std::vector<BalanceHost> hosts_;
  size_t next_ = 0;
};

class WeightedTurns final : public Balancer {
 public:
  WeightedTurns(std::vector<BalanceHost> hosts, Duration slow_start, Rng& rng);
  std::optional<HostId> pick(const PickArgs& args) noexcept override;

 private:
  struct Turn {
    double due;
    uint64_t order;  // of those that are due at the same time: who waits longest
    uint32_t host;   // in hosts_
  };
  static bool later(const Turn& a, const Turn& b) noexcept {
    return a.due != b.due ? a.due > b.due : a.order > b.order;
  }

  std::vector<BalanceHost> hosts_;
  std::vector<Turn> turns_;    // a heap
  std::vector<Turn> skipped_;  // by the pick under way; as large as turns_
  Duration slow_start_;
  double virtual_now_ = 0;
  uint64_t orders_ = 0;
};

}  // namespace trellis::upstream
