#include "services/links/clicks/unique_visitors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

namespace trellis::services::links {

namespace {

constexpr unsigned kPrecision = 12;  // 2^12 registers
constexpr unsigned kSparseBits = 26;
constexpr unsigned kMaxSparseRank = 64 - kSparseBits + 1;  // 39
constexpr unsigned kMaxRank = 64 - kPrecision + 1;         // 53
constexpr char kSparse = 'S';
constexpr char kDense = 'D';

// The first bits of the hash, then where the first one stands in what follows.
uint32_t entry_of(uint64_t hash) noexcept {
  const uint64_t rest = hash << kSparseBits;
  const unsigned rank = rest == 0 ? kMaxSparseRank : static_cast<unsigned>(std::countl_zero(rest)) + 1;
  return static_cast<uint32_t>(hash >> (64 - kSparseBits)) << 6 | rank;
}

// Of what follows the register's bits.
uint8_t rank_of(uint32_t entry) noexcept {
  constexpr unsigned kBetween = kSparseBits - kPrecision;  // bits of the hash that are in the entry, not in the number
  const uint32_t between = (entry >> 6) & ((1u << kBetween) - 1);
  if (between == 0) return static_cast<uint8_t>(kBetween + (entry & 63));
  return static_cast<uint8_t>(std::countl_zero(between << (32 - kBetween)) + 1);
}

double sigma(double x) noexcept {
  if (x == 1) return INFINITY;
  double y = 1;
  double z = x;
  for (double before = -1; z != before;) {
    x *= x;
    before = z;
    z += x * y;
    y += y;
  }
  return z;
}

double tau(double x) noexcept {
  if (x == 0 || x == 1) return 0;
  double y = 1;
  double z = 1 - x;
  for (double before = -1; z != before;) {
    x = std::sqrt(x);
    before = z;
    y *= 0.5;
    z -= (1 - x) * (1 - x) * y;
  }
  return z / 3;
}

}  // namespace

uint64_t visitor_hash(const DaySalt& salt, std::string_view address, std::string_view agent) noexcept {
  // Both through the same key and then together, so that no pair looks like another one.
  std::array<uint64_t, 2> hashes = {siphash24(salt, address), siphash24(salt, agent)};
  std::array<char, sizeof hashes> bytes;
  std::memcpy(bytes.data(), hashes.data(), bytes.size());
  return siphash24(salt, {bytes.data(), bytes.size()});
}

void UniqueVisitors::add(uint64_t hash) {
  const uint32_t entry = entry_of(hash);
  if (registers_.empty()) {
    add_sparse(entry);
  } else {
    raise(entry);
  }
}

void UniqueVisitors::add_sparse(uint32_t entry) {
  const auto at = std::lower_bound(sparse_.begin(), sparse_.end(), entry & ~63u);
  if (at != sparse_.end() && *at >> 6 == entry >> 6) {
    *at = std::max(*at, entry);
    return;
  }
  sparse_.insert(at, entry);
  if (sparse_.size() > kMaxSparse) make_dense();
}

void UniqueVisitors::raise(uint32_t entry) noexcept {
  uint8_t& rank = registers_[entry >> (32 - kPrecision)];
  rank = std::max(rank, rank_of(entry));
}

void UniqueVisitors::make_dense() {
  registers_.assign(kRegisters, 0);
  for (const uint32_t entry : sparse_) raise(entry);
  sparse_ = {};
}

void UniqueVisitors::merge(const UniqueVisitors& other) {
  if (other.registers_.empty()) {
    // By value, since the other may be this one.
    for (const uint32_t entry : std::vector<uint32_t>(other.sparse_))
      registers_.empty() ? add_sparse(entry) : raise(entry);
    return;
  }
  if (registers_.empty()) make_dense();
  for (size_t i = 0; i < kRegisters; ++i) registers_[i] = std::max(registers_[i], other.registers_[i]);
}

uint64_t UniqueVisitors::count() const noexcept {
  if (registers_.empty()) {
    // Linear counting over 2^26 places.
    constexpr double kPlaces = 1u << kSparseBits;
    return static_cast<uint64_t>(std::llround(-kPlaces * std::log1p(-static_cast<double>(sparse_.size()) / kPlaces)));
  }
  std::array<uint32_t, kMaxRank + 1> of_rank{};
  for (const uint8_t rank : registers_) ++of_rank[rank];
  constexpr double kM = kRegisters;
  double z = kM * tau(1 - of_rank[kMaxRank] / kM);
  for (unsigned rank = kMaxRank - 1; rank >= 1; --rank) z = 0.5 * (z + of_rank[rank]);
  z += kM * sigma(of_rank[0] / kM);
  const double count = kM * kM / (2 * std::log(2.0)) / z;
  return count < 1e18 ? static_cast<uint64_t>(std::llround(count)) : 1'000'000'000'000'000'000;
}

// 'S' and 4 bytes an entry, or 'D' and 6 bits a register, all with the low byte first.
void UniqueVisitors::append_to(std::string& out) const {
  if (registers_.empty()) {
    out.push_back(kSparse);
    for (const uint32_t entry : sparse_)
      for (unsigned shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(entry >> shift));
    return;
  }
  out.push_back(kDense);
  for (size_t i = 0; i < kRegisters; i += 4) {
    const uint32_t four = registers_[i] | static_cast<uint32_t>(registers_[i + 1]) << 6 |
                          static_cast<uint32_t>(registers_[i + 2]) << 12 |
                          static_cast<uint32_t>(registers_[i + 3]) << 18;
    for (unsigned shift = 0; shift < 24; shift += 8) out.push_back(static_cast<char>(four >> shift));
  }
}

Result<UniqueVisitors> UniqueVisitors::read(std::string_view bytes) {
  const auto damaged = [] { return fail(Code::data_loss, "the count of unique visitors is damaged"); };
  if (bytes.empty()) return damaged();
  const char kind = bytes[0];
  bytes.remove_prefix(1);
  const auto byte = [&](size_t at) { return static_cast<uint32_t>(static_cast<uint8_t>(bytes[at])); };
  UniqueVisitors visitors;
  if (kind == kSparse) {
    if (bytes.size() % 4 != 0 || bytes.size() / 4 > kMaxSparse) return damaged();
    for (size_t at = 0; at < bytes.size(); at += 4) {
      const uint32_t entry = byte(at) | byte(at + 1) << 8 | byte(at + 2) << 16 | byte(at + 3) << 24;
      const uint32_t rank = entry & 63;
      if (rank < 1 || rank > kMaxSparseRank) return damaged();
      if (at > 0 && visitors.sparse_.back() >> 6 >= entry >> 6) return damaged();
      visitors.sparse_.push_back(entry);
    }
    return visitors;
  }
  if (kind != kDense || bytes.size() != kRegisters * 6 / 8) return damaged();
  visitors.registers_.resize(kRegisters);
  for (size_t i = 0, at = 0; i < kRegisters; i += 4, at += 3) {
    const uint32_t four = byte(at) | byte(at + 1) << 8 | byte(at + 2) << 16;
    for (size_t j = 0; j < 4; ++j) {
      const uint32_t rank = (four >> (6 * j)) & 63;
      if (rank > kMaxRank) return damaged();
      visitors.registers_[i + j] = static_cast<uint8_t>(rank);
    }
  }
  return visitors;
}

}  // namespace trellis::services::links
