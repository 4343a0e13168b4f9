#include "services/links/access/guesses.h"

#include <arpa/inet.h>

#include <cstring>

#include "base/hash.h"
#include "base/metrics.h"

namespace trellis::services::links {

namespace {

constexpr std::string_view kName = "trellis_links_guesses_total";
constexpr std::string_view kHelp =
    "Requests for unknown codes: told so (unknown), answered by 429 (slowed), and requests of any kind from where "
    "there "
    "were far too many (shut)";

AddressBlock block_of_v4(const uint8_t* bytes) noexcept {
  AddressBlock block;
  if (bytes[0] == 127) return block;
  block.size = 3;
  std::memcpy(block.bytes.data(), bytes, block.size);
  return block;
}

}  // namespace

AddressBlock block_of(std::string_view address) noexcept {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.size() >= sizeof(text)) return {};
  std::memcpy(text, address.data(), address.size());
  in_addr v4{};
  if (::inet_pton(AF_INET, text, &v4) == 1) return block_of_v4(reinterpret_cast<const uint8_t*>(&v4));
  in6_addr v6{};
  if (::inet_pton(AF_INET6, text, &v6) != 1 || IN6_IS_ADDR_LOOPBACK(&v6)) return {};
  if (IN6_IS_ADDR_V4MAPPED(&v6)) return block_of_v4(v6.s6_addr + 12);
  AddressBlock block;
  block.size = 7;
  std::memcpy(block.bytes.data(), v6.s6_addr, block.size);
  return block;
}

Guesses::Guesses(uint32_t limit, uint64_t seed, Metrics& metrics)
    : limit_(limit),
      seed_(seed),
      counts_(kBlocks),
      unknown_(metrics.counter(kName, kHelp, {{"decision", "unknown"}})),
      slowed_(metrics.counter(kName, kHelp, {{"decision", "slowed"}})),
      shut_(metrics.counter(kName, kHelp, {{"decision", "shut"}})) {}

std::optional<uint64_t> Guesses::key_of(std::string_view address) const noexcept {
  if (limit_ == 0) return std::nullopt;
  const AddressBlock block = block_of(address);
  if (block.size == 0) return std::nullopt;
  return hash64(block.view(), seed_);
}

std::optional<Duration> Guesses::unknown(std::string_view address, Time now) {
  const std::optional<uint64_t> key = key_of(address);
  if (!key) {
    unknown_.add();
    return std::nullopt;
  }
  const auto [count, left] = counts_.add(*key, now);
  if (count > uint64_t{limit_} * kShutFactor) {
    int64_t known = shut_until_.load(std::memory_order_relaxed);
    const int64_t until = (now + left).time_since_epoch().count();
    while (until > known && !shut_until_.compare_exchange_weak(known, until, std::memory_order_relaxed)) {
    }
  }
  if (count <= limit_) {
    unknown_.add();
    return std::nullopt;
  }
  slowed_.add();
  return left;
}

std::optional<Duration> Guesses::shut(std::string_view address, Time now) {
  const std::optional<uint64_t> key = key_of(address);
  if (!key) return std::nullopt;
  const auto [count, left] = counts_.get(*key, now);
  if (count <= uint64_t{limit_} * kShutFactor) return std::nullopt;
  shut_.add();
  return left;
}

}  // namespace trellis::services::links
