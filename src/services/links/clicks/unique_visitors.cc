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
static_assert(std::endian::native == std::endian::little, "registers are unpacked as the machine has them");

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

std::unexpected<Error> damaged() { return fail(Code::data_loss, "the count of unique visitors is damaged"); }

uint32_t entry_at(std::string_view bytes, size_t at) noexcept {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(bytes[at + i])); };
  return byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24;
}

// Where `kind` and the size that follows are those of registers or entries.
bool has_form(char kind, std::string_view bytes) noexcept {
  if (kind == kDense) return bytes.size() == UniqueVisitors::kRegisters * 6 / 8;
  return kind == kSparse && bytes.size() % 4 == 0 && bytes.size() / 4 <= UniqueVisitors::kMaxSparse;
}

// Entries in their order, each with a rank that can be.
bool follows(uint32_t entry, uint32_t before, bool first) noexcept {
  const uint32_t rank = entry & 63;
  return rank >= 1 && rank <= kMaxSparseRank && (first || before >> 6 < entry >> 6);
}

// Raises registers of a byte each to those of six bits each, eight at a time. False: one is larger than it can be.
bool raise_packed(std::string_view bytes, uint8_t* registers) noexcept {
  constexpr uint64_t kOnes = 0x0101'0101'0101'0101;
  uint64_t too_large = 0;
  for (size_t i = 0, at = 0; i < UniqueVisitors::kRegisters; i += 8, at += 6) {
    uint32_t low = 0;
    uint16_t high = 0;
    std::memcpy(&low, bytes.data() + at, 4);
    std::memcpy(&high, bytes.data() + at + 4, 2);
    uint64_t theirs = uint64_t{high} << 32 | low;
    uint64_t mine = 0;
    std::memcpy(&mine, registers + i, 8);
    // Halves, quarters, eighths apart.
    theirs = (theirs & 0xFF'FFFF) | (theirs & 0xFFFF'FF00'0000) << 8;
    theirs = (theirs & 0x0000'0FFF'0000'0FFF) | (theirs & 0x00FF'F000'00FF'F000) << 4;
    theirs = (theirs & 0x003F'003F'003F'003F) | (theirs & 0x0FC0'0FC0'0FC0'0FC0) << 2;
    too_large |= theirs + (127 - kMaxRank) * kOnes;  // into the highest bit of its byte
    const uint64_t not_less = ((mine | 0x80 * kOnes) - theirs) & 0x80 * kOnes;
    const uint64_t keep = not_less - (not_less >> 7);  // the lower seven bits of those bytes
    mine = (mine & keep) | (theirs & ~keep);
    std::memcpy(registers + i, &mine, 8);
  }
  return (too_large & 0x80 * kOnes) == 0;
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
  uint8_t* const mine = registers_.data();
  const uint8_t* const theirs = other.registers_.data();
  for (size_t i = 0; i < kRegisters; ++i) mine[i] = std::max(mine[i], theirs[i]);
}

uint64_t UniqueVisitors::count() const noexcept {
  if (registers_.empty()) {
    // Linear counting over 2^26 places.
    constexpr double kPlaces = 1u << kSparseBits;
    return static_cast<uint64_t>(std::llround(-kPlaces * std::log1p(-static_cast<double>(sparse_.size()) / kPlaces)));
  }
  // Four tables, since most registers hold one of few ranks and would wait for each other.
  std::array<std::array<uint32_t, 64>, 4> some{};
  for (size_t i = 0; i < kRegisters; i += 4) {
    for (size_t j = 0; j < 4; ++j) ++some[j][registers_[i + j]];
  }
  std::array<uint32_t, kMaxRank + 1> of_rank{};
  for (const auto& table : some) {
    for (size_t rank = 0; rank <= kMaxRank; ++rank) of_rank[rank] += table[rank];
  }
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
  size_t at = out.size();
  out.resize(at + kRegisters * 6 / 8);
  for (size_t i = 0; i < kRegisters; i += 8, at += 6) {
    uint64_t eight = 0;
    std::memcpy(&eight, registers_.data() + i, 8);
    eight = (eight & 0x003F'003F'003F'003F) | (eight & 0x3F00'3F00'3F00'3F00) >> 2;
    eight = (eight & 0x0000'0FFF'0000'0FFF) | (eight & 0x0FFF'0000'0FFF'0000) >> 4;
    eight = (eight & 0xFF'FFFF) | (eight & 0x00FF'FFFF'0000'0000) >> 8;
    std::memcpy(out.data() + at, &eight, 6);
  }
}

Result<UniqueVisitors> UniqueVisitors::read(std::string_view bytes) {
  if (bytes.empty() || !has_form(bytes[0], bytes.substr(1))) return damaged();
  UniqueVisitors visitors;
  const bool dense = bytes[0] == kDense;
  bytes.remove_prefix(1);
  if (dense) {
    visitors.registers_.resize(kRegisters);
    if (!raise_packed(bytes, visitors.registers_.data())) return damaged();
    return visitors;
  }
  visitors.sparse_.reserve(bytes.size() / 4);
  for (size_t at = 0; at < bytes.size(); at += 4) {
    const uint32_t entry = entry_at(bytes, at);
    if (!follows(entry, at > 0 ? visitors.sparse_.back() : 0, at == 0)) return damaged();
    visitors.sparse_.push_back(entry);
  }
  return visitors;
}

Result<void> UniqueVisitors::merge_stored(std::string_view bytes) {
  if (bytes.empty() || !has_form(bytes[0], bytes.substr(1))) return damaged();
  const bool dense = bytes[0] == kDense;
  bytes.remove_prefix(1);
  if (dense) {
    if (registers_.empty()) make_dense();
    if (!raise_packed(bytes, registers_.data())) return damaged();
    return {};
  }
  for (size_t at = 0; at < bytes.size(); at += 4) {
    const uint32_t entry = entry_at(bytes, at);
    if (!follows(entry, at > 0 ? entry_at(bytes, at - 4) : 0, at == 0)) return damaged();
    registers_.empty() ? add_sparse(entry) : raise(entry);
  }
  return {};
}

}  // namespace trellis::services::links
