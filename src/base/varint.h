// Unsigned numbers in as few bytes as they need, seven bits a byte, the low ones first (LEB128), and signed ones folded
// so that small ones of either sign stay short. For compact forms of our own on disk. Reading is strict and stays
// failed once it has failed. Pure; any core.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace trellis {
inline namespace base {

inline void append_varint(std::string& out, uint64_t value) {
  while (value >= 0x80) {
    out += static_cast<char>(value | 0x80);
    value >>= 7;
  }
  out += static_cast<char>(value);
}

constexpr uint64_t fold_sign(int64_t value) noexcept {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
constexpr int64_t unfold_sign(uint64_t value) noexcept {
  return static_cast<int64_t>((value >> 1) ^ (~(value & 1) + 1));
}

// Takes values from the front of bytes. After a failure everything it gives is 0 or empty.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) noexcept : rest_(bytes) {}

  uint64_t varint() noexcept {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const uint8_t byte = octet();
      if (failed_ || (shift == 63 && byte > 1)) break;
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    failed_ = true;
    return 0;
  }
  uint8_t octet() noexcept {
    const std::string_view one = bytes(1);
    return one.empty() ? uint8_t{0} : static_cast<uint8_t>(one[0]);
  }
  std::string_view bytes(uint64_t count) noexcept {
    if (failed_ || count > rest_.size()) {
      failed_ = true;
      return {};
    }
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }

  bool failed() const noexcept { return failed_; }
  bool at_end() const noexcept { return rest_.empty(); }
  size_t left() const noexcept { return rest_.size(); }

 private:
  std::string_view rest_;
  bool failed_ = false;
};

}  // namespace base
}  // namespace trellis
