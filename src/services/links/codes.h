// From counter values to short codes and back. A keyed permutation of [0, 62^7) turns the counter into a number that
// says nothing about its neighbours, and seven base62 characters spell it: no two counters share a code, so creating a
// link needs no look whether its code is taken, and nobody without the key can guess the next one. The permutation is a
// balanced Feistel network over 42 bits (8 rounds, SipHash-2-4 as the round function) that walks until it lands inside
// the domain. Pure and immutable after construction; any core. Why so: docs/decisions/010-link-codes.md.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trellis::services::links {

inline constexpr size_t kCodeSize = 7;
inline constexpr uint64_t kCodeCount = 3'521'614'606'208;  // 62^7
inline constexpr size_t kCodeKeySize = 16;

using CodeKey = std::array<uint8_t, kCodeKeySize>;

// SipHash-2-4 of `bytes` (Aumasson and Bernstein, 2012).
uint64_t siphash24(const CodeKey& key, std::string_view bytes) noexcept;

// Exactly seven characters, most significant first; value < kCodeCount.
std::array<char, kCodeSize> to_base62(uint64_t value) noexcept;
// nullopt unless the text is seven base62 characters.
std::optional<uint64_t> from_base62(std::string_view text) noexcept;

class Codes {
 public:
  explicit Codes(const CodeKey& key) noexcept;

  // counter < kCodeCount.
  uint64_t permute(uint64_t counter) const noexcept;
  uint64_t invert(uint64_t value) const noexcept;

  std::string code_of(uint64_t counter) const;
  // The counter value that a code belongs to; nullopt when the text has not the form of a generated code.
  std::optional<uint64_t> counter_of(std::string_view code) const noexcept;

 private:
  uint64_t round(unsigned number, uint64_t half) const noexcept;
  uint64_t forward(uint64_t value) const noexcept;
  uint64_t backward(uint64_t value) const noexcept;

  CodeKey key_;
};

}  // namespace trellis::services::links
