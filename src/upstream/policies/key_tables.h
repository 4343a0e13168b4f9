// Where keys lie. KeyRing: each host has points on a ring of 64 bits, as many as its weight says, and a key belongs to
// the next point; a host that comes takes its keys evenly from the others, and one that goes gives back its own and
// moves no other. MaglevTable: a table of a prime number of slots that the hosts fill in turns, each in an order of its
// own; the shares are even to a hundredth, a lookup is one read, and when the hosts change some keys of others move,
// too.
#pragma once

#include "upstream/balancer.h"

namespace trellis::upstream {

class KeyRing final : public KeyTable {
 public:
  explicit KeyRing(std::span<const BalanceHost> hosts);
  std::optional<HostId> find(uint64_t key, Accepts accepts) const noexcept override;
  size_t points() const noexcept { return points_.size(); }

 private:
  struct Point {
    uint64_t at;
    HostId host;
  };
  std::vector<Point> points_;    // by place
  std::vector<uint32_t> first_;  // by the highest bits of a key: the first point that may be its
  unsigned shift_ = 63;
};

class MaglevTable final : public KeyTable {
 public:
  explicit MaglevTable(std::span<const BalanceHost> hosts);
  std::optional<HostId> find(uint64_t key, Accepts accepts) const noexcept override;
  size_t slots() const noexcept { return slots_.size(); }

 private:
  std::vector<HostId> slots_;
};

// A hash policy over a table: the key's host, within its bound.
class ByKey final : public Balancer {
 public:
  ByKey(std::span<const BalanceHost> hosts, double bound, std::shared_ptr<const KeyTable> keys);
  std::optional<HostId> pick(const PickArgs& args) noexcept override;

 private:
  struct Choice {
    uint32_t weight = 0;  // 0: may not be chosen now
    HostLoad* load = nullptr;
  };
  std::vector<Choice> choices_;  // by id
  double bound_;
  uint64_t weights_ = 0;
  std::shared_ptr<const KeyTable> keys_;
};

}  // namespace trellis::upstream
