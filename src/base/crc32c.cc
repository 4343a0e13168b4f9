#include "base/crc32c.h"

#include <array>
#include <cstddef>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace trellis {
inline namespace base {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // 0x1edc6f41 with its bits reversed

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    table[i] = crc;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kTable = make_table();

#if defined(__x86_64__)
constexpr size_t kLane = 1024;

// What becomes of a checksum under way when kLane zeros follow, by the value of each of its bytes: it is linear, so the
// whole is the exclusive or of its bytes'.
using Skips = std::array<std::array<uint32_t, 256>, 4>;
constexpr Skips make_skips() {
  std::array<uint32_t, 32> of_bit{};
  for (uint32_t bit = 0; bit < 32; ++bit) {
    uint32_t crc = uint32_t{1} << bit;
    for (size_t i = 0; i < kLane; ++i) crc = (crc >> 8) ^ kTable[crc & 0xff];
    of_bit[bit] = crc;
  }
  Skips skips{};
  for (uint32_t byte = 0; byte < 4; ++byte) {
    for (uint32_t value = 0; value < 256; ++value) {
      for (uint32_t bit = 0; bit < 8; ++bit) {
        if ((value >> bit & 1) != 0) skips[byte][value] ^= of_bit[byte * 8 + bit];
      }
    }
  }
  return skips;
}

constexpr Skips kSkips = make_skips();

uint64_t skip_lane(uint64_t crc) noexcept {
  return kSkips[0][crc & 0xff] ^ kSkips[1][crc >> 8 & 0xff] ^ kSkips[2][crc >> 16 & 0xff] ^ kSkips[3][crc >> 24 & 0xff];
}

uint64_t word_at(const char* at) noexcept {
  uint64_t word;
  std::memcpy(&word, at, sizeof(word));
  return word;
}

__attribute__((target("sse4.2"))) uint32_t crc32c_by_instruction(std::string_view bytes, uint32_t before) noexcept {
  uint64_t crc = ~before;
  const char* at = bytes.data();
  size_t left = bytes.size();
  // The instruction takes three cycles and a new one may begin each cycle: three lanes at once.
  for (; left >= 3 * kLane; left -= 3 * kLane, at += 3 * kLane) {
    uint64_t second = 0;
    uint64_t third = 0;
    for (size_t i = 0; i < kLane; i += 8) {
      crc = _mm_crc32_u64(crc, word_at(at + i));
      second = _mm_crc32_u64(second, word_at(at + kLane + i));
      third = _mm_crc32_u64(third, word_at(at + 2 * kLane + i));
    }
    crc = skip_lane(skip_lane(crc) ^ second) ^ third;
  }
  for (; left >= 8; left -= 8, at += 8) crc = _mm_crc32_u64(crc, word_at(at));
  auto small = static_cast<uint32_t>(crc);
  for (; left > 0; --left, ++at) small = _mm_crc32_u8(small, static_cast<uint8_t>(*at));
  return ~small;
}

const bool kHasInstruction = __builtin_cpu_supports("sse4.2") != 0;
#endif

}  // namespace

uint32_t crc32c_by_table(std::string_view bytes, uint32_t before) noexcept {
  uint32_t crc = ~before;
  for (const char c : bytes) crc = (crc >> 8) ^ kTable[(crc ^ static_cast<uint8_t>(c)) & 0xff];
  return ~crc;
}

uint32_t crc32c(std::string_view bytes, uint32_t before) noexcept {
#if defined(__x86_64__)
  if (kHasInstruction) [[likely]]
    return crc32c_by_instruction(bytes, before);
#endif
  return crc32c_by_table(bytes, before);
}

}  // namespace base
}  // namespace trellis
