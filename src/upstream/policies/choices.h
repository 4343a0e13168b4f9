// The better of two hosts, drawn by weight: two_choices by requests under way, least_time by the time that one more
// would take; of equals the one that was drawn first. O(1), and nearly as even as the best of all, without running all
// cores to the same host.
#pragma once

#include "upstream/balancer.h"

namespace trellis::upstream {

// Draws by weight in constant time (Walker 1977; the table as Vose builds it, 1991).
class WeightedDraw {
 public:
  explicit WeightedDraw(std::span<const BalanceHost> hosts);
  uint32_t draw(Rng& rng) const noexcept;  // a place in the hosts; there is one at least

 private:
  struct Slot {
    double keep;  // the chance that the slot's own host is drawn
    uint32_t other;
  };
  std::vector<Slot> slots_;
};

class Choices final : public Balancer {
 public:
  enum class By : uint8_t { active, time };
  Choices(std::vector<BalanceHost> hosts, By by, Duration slow_start, Duration decay, Rng& rng);
  std::optional<HostId> pick(const PickArgs& args) noexcept override;

 private:
  double cost(const BalanceHost& host, Time now) const noexcept;
  std::optional<uint32_t> draw_untried(const PickArgs& args, uint32_t but) noexcept;

  static constexpr uint32_t kNobody = UINT32_MAX;

  std::vector<BalanceHost> hosts_;
  WeightedDraw draws_;
  By by_;
  Duration slow_start_;
  Duration decay_;
  Rng rng_;
};

}  // namespace trellis::upstream
