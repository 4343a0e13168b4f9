// Slows down who tries codes: counts the unknown codes that each block of addresses (/24 of IPv4, /56 of IPv6) asks for
// in a minute. Beyond the limit an unknown code is answered by 429; beyond ten times the limit everything from there
// is, known codes too, until the minute is over. Up to there honest people behind the same block notice nothing. Memory
// is fixed: when the table is full the blocks with the fewest guesses are forgotten, never those that guess most.
// Loopback is never slowed: it is this machine, or a proxy on it. Owned by the service; any core. A redirect of a known
// code pays a comparison.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/time.h"
#include "services/links/window_counts.h"

namespace trellis {
inline namespace base {
class Counter;
class Metrics;
}  // namespace base
}  // namespace trellis

namespace trellis::services::links {

class Guesses {
 public:
  static constexpr uint32_t kShutFactor = 10;
  static constexpr size_t kBlocks = 16'384;  // that are remembered

  // `limit`: unknown codes of a block in a minute; 0: any number. `seed` keeps others from choosing who shares a place.
  Guesses(uint32_t limit, uint64_t seed, Metrics& metrics);

  // Somebody there asked for an unknown code; how long he must wait, nothing when he may be told that it is unknown.
  std::optional<Duration> unknown(std::string_view address, Time now);
  // Whether shut() may have something to say.
  bool any_shut(Time now) const noexcept {
    return shut_until_.load(std::memory_order_relaxed) > now.time_since_epoch().count();
  }
  // How long this address must wait whatever it asks for.
  std::optional<Duration> shut(std::string_view address, Time now);

 private:
  std::optional<uint64_t> key_of(std::string_view address) const noexcept;

  uint32_t limit_;
  uint64_t seed_;
  WindowCounts counts_;
  std::atomic<int64_t> shut_until_{0};  // of all blocks
  Counter& unknown_;
  Counter& slowed_;
  Counter& shut_;
};

// The block of a numeric address as bytes: three of IPv4, seven of IPv6; none for loopback and what is no address.
struct AddressBlock {
  std::array<char, 7> bytes{};
  size_t size = 0;
  std::string_view view() const noexcept { return {bytes.data(), size}; }
};
AddressBlock block_of(std::string_view address) noexcept;

}  // namespace trellis::services::links
