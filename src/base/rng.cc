#include "base/rng.h"

#include <sys/random.h>

#include <cerrno>

#include "base/error.h"

namespace trellis {
inline namespace base {

namespace {
__extension__ using Uint128 = unsigned __int128;
uint64_t splitmix64(uint64_t& state) noexcept {
  uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}
uint64_t rotl(uint64_t x, int k) noexcept { return (x << k) | (x >> (64 - k)); }
}  // namespace

Rng::Rng(uint64_t seed) noexcept {
  for (uint64_t& word : state_) word = splitmix64(seed);
}

uint64_t Rng::next() noexcept {
  const uint64_t result = rotl(state_[1] * 5, 7) * 9;
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = rotl(state_[3], 45);
  return result;
}

uint64_t Rng::below(uint64_t bound) noexcept {
  // Lemire's multiply and reject: no modulo bias.
  auto product = static_cast<Uint128>(next()) * bound;
  auto low = static_cast<uint64_t>(product);
  if (low < bound) {
    const uint64_t floor = -bound % bound;
    while (low < floor) {
      product = static_cast<Uint128>(next()) * bound;
      low = static_cast<uint64_t>(product);
    }
  }
  return static_cast<uint64_t>(product >> 64);
}

double Rng::unit() noexcept { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

void random_bytes(void* out, size_t size) noexcept {
  auto* at = static_cast<char*>(out);
  while (size > 0) {
    const ssize_t got = getrandom(at, size, 0);
    if (got < 0 && errno == EINTR) continue;
    TRELLIS_ASSERT(got > 0);
    at += got;
    size -= static_cast<size_t>(got);
  }
}

uint64_t random_seed() noexcept {
  uint64_t seed = 0;
  random_bytes(&seed, sizeof seed);
  return seed;
}

}  // namespace base
}  // namespace trellis
