#include "base/ids.h"

#include <array>
#include <cstring>

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

// Two digits at a time.
constexpr std::array<char, 2048> crockford_pairs() {
  std::array<char, 2048> pairs{};
  for (size_t i = 0; i < 1024; ++i) {
    pairs[2 * i] = kCrockford[i >> 5];
    pairs[2 * i + 1] = kCrockford[i & 31];
  }
  return pairs;
}
constexpr std::array<char, 2048> kCrockfordPairs = crockford_pairs();

// The low 5*digits bits of `value`, most significant first; an even number of digits.
char* put_crockford(char* out, uint64_t value, int digits) noexcept {
  for (int i = digits - 2; i >= 0; i -= 2) {
    std::memcpy(out + i, kCrockfordPairs.data() + 2 * (value & 1023), 2);
    value >>= 10;
  }
  return out + digits;
}

// A millisecond's digits are the same for all who ask in it.
struct TimeDigits {
  int64_t millis = -1;
  char text[10];
};
thread_local TimeDigits time_digits;

constexpr int kTimeDigits = 10;
constexpr int kRandomDigits = 8;  // 40 bits, twice
constexpr uint64_t kTimeMask = (uint64_t{1} << 48) - 1;

}  // namespace

std::string_view make_ulid(std::span<char, kUlidSize> out, WallTime now, Rng& rng) noexcept {
  TimeDigits& known = time_digits;
  const int64_t millis = unix_millis(now);
  if (millis != known.millis) {
    known.millis = millis;
    put_crockford(known.text, static_cast<uint64_t>(millis) & kTimeMask, kTimeDigits);
  }
  std::memcpy(out.data(), known.text, kTimeDigits);
  char* at = out.data() + kTimeDigits;
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
    std::memcpy(out + i, kHexPairs.data() + 2 * (value & 255), 2);
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
