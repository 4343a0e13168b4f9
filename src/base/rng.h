// A seedable generator (xoshiro256**, Blackman and Vigna 2018) for jitter, sampling and ids that need not be secret.
// One a core. Secrets come from random_bytes(), the kernel's generator.
#pragma once

#include <cstddef>
#include <cstdint>

namespace trellis {
inline namespace base {

class Rng {
 public:
  using result_type = uint64_t;
  explicit Rng(uint64_t seed) noexcept;

  uint64_t next() noexcept;
  uint64_t below(uint64_t bound) noexcept;  // uniform in [0, bound); bound > 0
  double unit() noexcept;                   // uniform in [0, 1)

  static constexpr uint64_t min() noexcept { return 0; }
  static constexpr uint64_t max() noexcept { return UINT64_MAX; }
  uint64_t operator()() noexcept { return next(); }

 private:
  uint64_t state_[4];
};

// Fills from getrandom(2). Ends the process if the kernel refuses: going on without secrets would be worse.
void random_bytes(void* out, size_t size) noexcept;
uint64_t random_seed() noexcept;

}  // namespace base
}  // namespace trellis
