#include "services/links/codes.h"

#include <bit>
#include <cstring>

#include "base/error.h"

namespace trellis::services::links {

namespace {

constexpr unsigned kRounds =
    8;  // 4 can be told from a random permutation with few queries, 6 is the known bound; 2 spare
constexpr unsigned kHalfBits = 21;
constexpr uint64_t kHalfMask = (uint64_t{1} << kHalfBits) - 1;
constexpr std::string_view kAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

constexpr std::array<int8_t, 256> kDigits = [] {
  std::array<int8_t, 256> digits{};
  digits.fill(-1);
  for (size_t i = 0; i < kAlphabet.size(); ++i) digits[static_cast<uint8_t>(kAlphabet[i])] = static_cast<int8_t>(i);
  return digits;
}();

struct Sip {
  uint64_t v0, v1, v2, v3;
  void step() noexcept {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void word(uint64_t m) noexcept {
    v3 ^= m;
    step();
    step();
    v0 ^= m;
  }
  uint64_t finish() noexcept {
    v2 ^= 0xff;
    for (int i = 0; i < 4; ++i) step();
    return v0 ^ v1 ^ v2 ^ v3;
  }
};

// Bytes in the order of the paper on every machine.
uint64_t load_le(const void* from, size_t size) noexcept {
  const auto* bytes = static_cast<const uint8_t*>(from);
  uint64_t word = 0;
  for (size_t i = 0; i < size; ++i) word |= uint64_t{bytes[i]} << (8 * i);
  return word;
}

Sip sip_start(const CodeKey& key) noexcept {
  const uint64_t k0 = load_le(key.data(), 8);
  const uint64_t k1 = load_le(key.data() + 8, 8);
  return Sip{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573};
}

}  // namespace

uint64_t siphash24(const CodeKey& key, std::string_view bytes) noexcept {
  Sip sip = sip_start(key);
  const size_t whole = bytes.size() / 8 * 8;
  for (size_t at = 0; at < whole; at += 8) sip.word(load_le(bytes.data() + at, 8));
  sip.word(load_le(bytes.data() + whole, bytes.size() - whole) | uint64_t{bytes.size() & 0xff} << 56);
  return sip.finish();
}

std::array<char, kCodeSize> to_base62(uint64_t value) noexcept {
  TRELLIS_ASSERT(value < kCodeCount);
  std::array<char, kCodeSize> text{};
  for (size_t i = kCodeSize; i-- > 0;) {
    text[i] = kAlphabet[value % 62];
    value /= 62;
  }
  return text;
}

std::optional<uint64_t> from_base62(std::string_view text) noexcept {
  if (text.size() != kCodeSize) return std::nullopt;
  uint64_t value = 0;
  for (const char c : text) {
    const int digit = kDigits[static_cast<uint8_t>(c)];
    if (digit < 0) return std::nullopt;
    value = value * 62 + static_cast<uint64_t>(digit);
  }
  return value;
}

Codes::Codes(const CodeKey& key) noexcept : key_(key) {}

uint64_t Codes::round(unsigned number, uint64_t half) const noexcept {
  Sip sip = sip_start(key_);
  sip.word(half | uint64_t{number} << 32);
  sip.word(uint64_t{8} << 56);
  return sip.finish() & kHalfMask;
}

uint64_t Codes::forward(uint64_t value) const noexcept {
  uint64_t left = value >> kHalfBits;
  uint64_t right = value & kHalfMask;
  for (unsigned i = 0; i < kRounds; ++i) {
    const uint64_t next = left ^ round(i, right);
    left = right;
    right = next;
  }
  return left << kHalfBits | right;
}

uint64_t Codes::backward(uint64_t value) const noexcept {
  uint64_t left = value >> kHalfBits;
  uint64_t right = value & kHalfMask;
  for (unsigned i = kRounds; i-- > 0;) {
    const uint64_t previous = right ^ round(i, left);
    right = left;
    left = previous;
  }
  return left << kHalfBits | right;
}

// Walking the cycle from a value inside the domain comes back into it (1.25 steps on average): the start itself lies on
// it.
uint64_t Codes::permute(uint64_t counter) const noexcept {
  TRELLIS_ASSERT(counter < kCodeCount);
  uint64_t value = forward(counter);
  while (value >= kCodeCount) value = forward(value);
  return value;
}

uint64_t Codes::invert(uint64_t value) const noexcept {
  TRELLIS_ASSERT(value < kCodeCount);
  uint64_t counter = backward(value);
  while (counter >= kCodeCount) counter = backward(counter);
  return counter;
}

std::string Codes::code_of(uint64_t counter) const {
  const std::array<char, kCodeSize> text = to_base62(permute(counter));
  return std::string(text.data(), text.size());
}

std::optional<uint64_t> Codes::counter_of(std::string_view code) const noexcept {
  const std::optional<uint64_t> value = from_base62(code);
  if (!value) return std::nullopt;
  return invert(*value);
}

}  // namespace trellis::services::links
