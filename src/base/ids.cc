#include "base/ids.h"

#include <array>

#include "base/rng.h"

namespace trellis {
inline namespace base {
namespace {

constexpr char kCrockford[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
constexpr int8_t kNoDigit = -1;

constexpr std::array<int8_t, 256> crockford_values() {
  std::array<int8_t, 256> values{};
  values.fill(kNoDigit);
  for (int8_t i = 0; i < 32; ++i) {
    const char c = kCrockford[i];
    values[static_cast<unsigned char>(c)] = i;
    if (c >= 'A') values[static_cast<unsigned char>(c - 'A' + 'a')] = i;
  }
  return values;
}
constexpr std::array<int8_t, 256> kCrockfordValue = crockford_values();

constexpr std::array<char, 512> hex_pairs() {
  constexpr char kHex[] = "0123456789abcdef";
  std::array<char, 512> pairs{};
  for (size_t i = 0; i < 256; ++i) {
    pairs[2 * i] = kHex[i >> 4];
    pairs[2 * i + 1] = kHex[i & 15];
  }
  return pairs;
}
constexpr std::array<char, 512> kHexPairs = hex_pairs();

// The low 5*digits bits of `value`, most significant first.
char* put_crockford(char* out, uint64_t value, int digits) noexcept {
  for (int i = digits - 1; i >= 0; --i) {
    out[i] = kCrockford[value & 31];
    value >>= 5;
  }
  return out + digits;
}

constexpr int kTimeDigits = 10;
constexpr int kRandomDigits = 8;  // 40 bits, twice
constexpr uint64_t kTimeMask = (uint64_t{1} << 48) - 1;

}  // namespace

std::string_view make_ulid(std::span<char, kUlidSize> out, WallTime now, Rng& rng) noexcept {
  char* at = put_crockford(out.data(), static_cast<uint64_t>(unix_millis(now)) & kTimeMask, kTimeDigits);
  at = put_crockford(at, rng.next() >> 24, kRandomDigits);
  put_crockford(at, rng.next() >> 24, kRandomDigits);
  return {out.data(), out.size()};
}

std::optional<WallTime> ulid_time(std::string_view id) noexcept {
  if (id.size() != kUlidSize || id[0] > '7') return std::nullopt;
  uint64_t millis = 0;
  for (size_t i = 0; i < kUlidSize; ++i) {
    const int8_t digit = kCrockfordValue[static_cast<unsigned char>(id[i])];
    if (digit == kNoDigit) return std::nullopt;
    if (i < kTimeDigits) millis = millis << 5 | static_cast<uint64_t>(digit);
  }
  // Nanoseconds since 1970 end in the year 2262, the 48 bits much later.
  if (millis > static_cast<uint64_t>(INT64_MAX) / 1'000'000) return std::nullopt;
  return WallTime(std::chrono::milliseconds(static_cast<int64_t>(millis)));
}

void write_hex64(char* out, uint64_t value) noexcept {
  for (int i = 14; i >= 0; i -= 2) {
    out[i] = kHexPairs[2 * (value & 255)];
    out[i + 1] = kHexPairs[2 * (value & 255) + 1];
    value >>= 8;
  }
}

std::optional<uint64_t> read_hex64(std::string_view text) noexcept {
  if (text.size() != 16) return std::nullopt;
  uint64_t value = 0;
  for (const char c : text) {
    if (c >= '0' && c <= '9') {
      value = value << 4 | static_cast<uint64_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      value = value << 4 | static_cast<uint64_t>(c - 'a' + 10);
    } else {
      return std::nullopt;
    }
  }
  return value;
}

}  // namespace base
}  // namespace trellis
