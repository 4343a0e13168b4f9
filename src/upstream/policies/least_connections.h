// The host with the fewest requests under way by weight; equals in turns by weight (start-time fair queueing: Goyal,
// Vin and Cheng 1996). A heap by load whose places are known, so that a pick and each change of a load take O(log n).
#pragma once

#include "upstream/balancer.h"

namespace trellis::upstream {

class LeastConnections final : public Balancer {
 public:
  LeastConnections(std::vector<BalanceHost> hosts, Duration slow_start, Rng& rng);
  std::optional<HostId> pick(const PickArgs& args) noexcept override;
  void load_changed(HostId host) noexcept override;

 private:
  struct Place {
    double crowding;
    double turn;    // of those that are equal the least comes first; a pick moves it on by 1/weight
    uint32_t host;  // in hosts_
    bool before(const Place& other) const noexcept {
      return crowding != other.crowding ? crowding < other.crowding : turn < other.turn;
    }
  };
  void update(uint32_t at) noexcept;
  void put(uint32_t at, const Place& place) noexcept {
    heap_[at] = place;
    place_of_[place.host] = at;
  }
  uint32_t least_but(std::span<const HostId> tried) const noexcept;

  static constexpr uint32_t kNowhere = UINT32_MAX;

  std::vector<BalanceHost> hosts_;
  std::vector<Place> heap_;
  std::vector<uint32_t> place_of_;  // by host in hosts_
  std::vector<uint32_t> host_of_;   // by id
  Duration slow_start_;
  Time now_ = Time::min();  // of the last pick
  double turn_ = 0;         // of the last pick
};

}  // namespace trellis::upstream
