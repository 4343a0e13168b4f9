#include "net/address_set.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string>

namespace trellis::net {

namespace {

AddressSet::Number number_of(const uint8_t (&bytes)[16]) noexcept {
  AddressSet::Number number = 0;
  for (const uint8_t byte : bytes) number = (number << 8) | byte;
  return number;
}

}  // namespace

std::optional<AddressSet::Number> AddressSet::parse_address(std::string_view text) noexcept {
  char copy[INET6_ADDRSTRLEN];
  if (text.empty() || text.size() >= sizeof copy) return std::nullopt;
  std::memcpy(copy, text.data(), text.size());
  copy[text.size()] = '\0';
  uint8_t bytes[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (::inet_pton(AF_INET, copy, bytes + 12) != 1 && ::inet_pton(AF_INET6, copy, bytes) != 1) return std::nullopt;
  return number_of(bytes);
}

Result<AddressSet::Block> AddressSet::parse_block(std::string_view text) {
  const size_t slash = text.find('/');
  const std::string_view host = text.substr(0, slash);
  const std::optional<Number> address = parse_address(host);
  if (!address) return fail(Code::invalid_argument, "no address; expected one such as 10.0.0.0/8 or 2001:db8::/32");
  const unsigned width = host.find(':') == std::string_view::npos ? 32 : 128;
  unsigned prefix = width;
  if (slash != std::string_view::npos) {
    const std::string_view digits = text.substr(slash + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), prefix);
    if (digits.empty() || error != std::errc() || end != digits.data() + digits.size() || prefix > width)
      return fail(Code::invalid_argument, "the prefix is a number from 0 to " + std::to_string(width));
  }
  const unsigned free_bits = width - prefix;
  const Number mask = free_bits == 128 ? ~Number{0} : (Number{1} << free_bits) - 1;
  if ((*address & mask) != 0)
    return fail(Code::invalid_argument, "bits are set behind the prefix of " + std::to_string(prefix) + " bits");
  return Block{*address, *address | mask};
}

AddressSet::AddressSet(std::vector<Block> blocks) {
  std::sort(blocks.begin(), blocks.end(), [](const Block& a, const Block& b) { return a.first < b.first; });
  for (const Block& block : blocks) {
    if (!blocks_.empty() && block.first <= blocks_.back().last) {
      blocks_.back().last = std::max(blocks_.back().last, block.last);
    } else {
      blocks_.push_back(block);
    }
  }
}

bool AddressSet::has(Number address) const noexcept {
  const auto behind = std::upper_bound(blocks_.begin(), blocks_.end(), address,
                                       [](Number a, const Block& block) { return a < block.first; });
  return behind != blocks_.begin() && address <= std::prev(behind)->last;
}

bool AddressSet::has(const Address& address) const noexcept {
  uint8_t bytes[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (address.storage.ss_family == AF_INET) {
    std::memcpy(bytes + 12, &reinterpret_cast<const sockaddr_in&>(address.storage).sin_addr, 4);
  } else if (address.storage.ss_family == AF_INET6) {
    std::memcpy(bytes, &reinterpret_cast<const sockaddr_in6&>(address.storage).sin6_addr, 16);
  } else {
    return false;
  }
  return has(number_of(bytes));
}

bool AddressSet::has(std::string_view address) const noexcept {
  const std::optional<Number> number = parse_address(address);
  return number && has(*number);
}

}  // namespace trellis::net
