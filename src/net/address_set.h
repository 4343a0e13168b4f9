// A set of addresses written as CIDR blocks (10.0.0.0/8, 2001:db8::/32, 192.0.2.7), IPv4 and IPv6 in one. Built once,
// then immutable; a lookup is a binary search over joined ranges, so thousands of blocks cost little more than one. Any
// core.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "net/address.h"

namespace trellis::net {

class AddressSet {
 public:
  using Number = unsigned __int128;  // an IPv4 address as its IPv4-mapped IPv6 one
  struct Block {
    Number first = 0;
    Number last = 0;
  };

  // Bits behind the prefix must be zero: 10.0.0.1/8 is more often a slip than meant.
  static Result<Block> parse_block(std::string_view text);
  static std::optional<Number> parse_address(std::string_view text) noexcept;

  AddressSet() = default;
  explicit AddressSet(std::vector<Block> blocks);

  bool has(Number address) const noexcept;
  // False for what is no address.
  bool has(std::string_view address) const noexcept;
  bool has(const Address& address) const noexcept;
  bool empty() const noexcept { return blocks_.empty(); }

 private:
  std::vector<Block> blocks_;  // sorted, apart
};

}  // namespace trellis::net
