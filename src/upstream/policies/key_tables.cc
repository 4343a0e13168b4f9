#include "upstream/policies/key_tables.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "base/hash.h"
#include "upstream/policies/load.h"

namespace trellis::upstream {

namespace {

constexpr size_t kPoints = 160;  // of a host of average weight; fewer when there are very many hosts
constexpr size_t kMaxPoints = 1 << 20;
constexpr size_t kSlotsPerHost = 100;  // at least: shares are even to a hundredth
constexpr uint64_t kPrimes[] = {65'537, 655'373, 1'300'021, 5'242'883};
constexpr int kProbes = 32;  // of a table, before it is searched slot by slot

uint64_t mix(uint64_t key) noexcept { return hash64({reinterpret_cast<const char*>(&key), sizeof key}); }
uint64_t mix(uint64_t key, uint64_t seed) noexcept {
  return hash64({reinterpret_cast<const char*>(&key), sizeof key}, seed);
}

double sum_of_weights(std::span<const BalanceHost> hosts) noexcept {
  double sum = 0;
  for (const BalanceHost& host : hosts) sum += host.weight;
  return sum;
}

}  // namespace

// --- Ring ---

KeyRing::KeyRing(std::span<const BalanceHost> hosts) {
  if (hosts.empty()) return;
  const double average = sum_of_weights(hosts) / static_cast<double>(hosts.size());
  const double each = std::min<double>(kPoints, static_cast<double>(kMaxPoints) / static_cast<double>(hosts.size()));
  for (const BalanceHost& host : hosts) {
    const auto count = static_cast<uint64_t>(std::max(1.0, std::round(each * host.weight / average)));
    for (uint64_t i = 0; i < count; ++i) points_.push_back({hash64(host.name, i), host.id});
  }
  std::sort(points_.begin(), points_.end(),
            [](const Point& a, const Point& b) { return a.at != b.at ? a.at < b.at : a.host < b.host; });
  // About one point for each entry of the index.
  const unsigned bits = static_cast<unsigned>(std::bit_width(points_.size()));
  shift_ = 64 - bits;
  first_.resize((size_t{1} << bits) + 1);
  size_t point = 0;
  for (size_t i = 0; i + 1 < first_.size(); ++i) {
    while (point < points_.size() && points_[point].at >> shift_ < i) ++point;
    first_[i] = static_cast<uint32_t>(point);
  }
  first_.back() = static_cast<uint32_t>(points_.size());
}

std::optional<HostId> KeyRing::find(uint64_t key, Accepts accepts) const noexcept {
  if (points_.empty()) return std::nullopt;
  const uint64_t at = mix(key);
  size_t point = first_[at >> shift_];
  while (point < points_.size() && points_[point].at < at) ++point;
  for (size_t i = 0; i < points_.size(); ++i, ++point) {
    if (point >= points_.size()) point = 0;
    if (accepts(points_[point].host)) return points_[point].host;
  }
  return std::nullopt;
}

// --- Maglev ---

MaglevTable::MaglevTable(std::span<const BalanceHost> hosts) {
  if (hosts.empty()) return;
  const uint64_t* const prime = std::find_if(std::begin(kPrimes), std::end(kPrimes) - 1,
                                             [&](uint64_t p) { return p >= kSlotsPerHost * hosts.size(); });
  const uint64_t size = *prime;
  struct Order {
    uint64_t next;
    uint64_t skip;
    double due;  // turns that it has left
  };
  double heaviest = 0;
  for (const BalanceHost& host : hosts) heaviest = std::max<double>(heaviest, host.weight);
  std::vector<Order> orders;
  orders.reserve(hosts.size());
  for (const BalanceHost& host : hosts) {
    orders.push_back({hash64(host.name, 1) % size, hash64(host.name, 2) % (size - 1) + 1, 0});
  }
  // In the order of their names, so that the order of a configuration says nothing.
  std::vector<uint32_t> turns(hosts.size());
  for (uint32_t i = 0; i < turns.size(); ++i) turns[i] = i;
  std::sort(turns.begin(), turns.end(), [&](uint32_t a, uint32_t b) { return hosts[a].name < hosts[b].name; });
  constexpr HostId kFree = UINT32_MAX;
  slots_.assign(size, kFree);
  size_t filled = 0;
  while (filled < size) {
    for (const uint32_t i : turns) {
      Order& order = orders[i];
      // The heaviest fills one each turn, others as often as their weight says.
      order.due += hosts[i].weight / heaviest;
      if (order.due < 1) continue;
      order.due -= 1;
      while (slots_[order.next] != kFree) order.next = (order.next + order.skip) % size;
      slots_[order.next] = hosts[i].id;
      if (++filled == size) break;
    }
  }
}

std::optional<HostId> MaglevTable::find(uint64_t key, Accepts accepts) const noexcept {
  if (slots_.empty()) return std::nullopt;
  size_t slot = 0;
  for (int probe = 0; probe < kProbes; ++probe) {
    slot = mix(key, static_cast<uint64_t>(probe)) % slots_.size();
    if (accepts(slots_[slot])) return slots_[slot];
  }
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (++slot == slots_.size()) slot = 0;
    if (accepts(slots_[slot])) return slots_[slot];
  }
  return std::nullopt;
}

// --- By key ---

ByKey::ByKey(std::span<const BalanceHost> hosts, double bound, std::shared_ptr<const KeyTable> keys)
    : bound_(bound), keys_(std::move(keys)) {
  for (const BalanceHost& host : hosts) {
    if (host.id >= choices_.size()) choices_.resize(host.id + 1);
    choices_[host.id] = {host.weight, host.load};
    weights_ += host.weight;
  }
}

std::optional<HostId> ByKey::pick(const PickArgs& args) noexcept {
  struct Asked {
    const ByKey& self;
    std::span<const HostId> tried;
    double bound;  // requests under way, by weight; 0: none
  };
  const double most =
      bound_ * static_cast<double>(args.active + 1) / static_cast<double>(std::max<uint64_t>(weights_, 1));
  const Asked question{*this, args.tried, most};
  const KeyTable::Accepts within{[](const void* who, HostId id) noexcept {
                                   const Asked& asked = *static_cast<const Asked*>(who);
                                   const std::vector<Choice>& choices = asked.self.choices_;
                                   if (id >= choices.size() || choices[id].weight == 0 || contains(asked.tried, id))
                                     return false;
                                   return asked.bound == 0 ||
                                          choices[id].load->active < std::ceil(asked.bound * choices[id].weight);
                                 },
                                 &question};
  return keys_->find(args.key, within);
}

}  // namespace trellis::upstream
