// Which host gets the next request. A Balancer is one policy over the hosts of an upstream that may be chosen now:
// pure, seeded, synchronous, without allocation or I/O when it picks. Who may be chosen (health, draining, backups,
// zones) is settled before (eligible.h); when that changes, the Balancer is built anew over the same loads. One a core
// and upstream, of its cluster; each core counts what it sends itself.
//
// Policies and their sources:
//   round_robin        in turns
//   weighted           turns by weight, spread evenly: earliest deadline first over 1/weight (virtual time of Demers,
//                      Keshav and Shenker 1989, as fair queueing does it)
//   least_connections  fewest requests under way by weight; equals in turns
//   two_choices        the better of two at random (Mitzenmacher 2001), by requests under way and weight
//   least_time         the better of two by peak-sensitive moving average of the time to the first byte, times requests
//                      under way (peak EWMA, Twitter Finagle)
//   hash, ip_hash      a ring of points (Karger et al. 1997); the key is what the configuration names, or the address
//   maglev             a table of slots (Eisenbud et al. 2016): an even share, and a few more keys move
//
// On the last two rows a bound may hold each host to its share of what is under way (Mirrokni, Thorup, Zadimoghaddam
// 2018).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "base/time.h"
#include "upstream/balance.h"

namespace trellis::upstream {

using HostId = uint32_t;    // a host's place among all of its upstream
using RegionId = uint16_t;  // a region's place among those of its upstream (geo.h)

// What one core knows of a host's work. Of the cluster, which counts; outlives every balancer.
struct HostLoad {
  uint32_t active = 0;  // requests under way
  double seconds = 0;   // to the first byte: an average that follows a slow answer at once and forgets it slowly
  Time measured = Time::min();  // when that was brought up to date
  Time joined = Time::min();    // when the host came (back): the beginning of its slow start

  void measure(Duration first_byte, Duration decay, Time now) noexcept;
};

struct BalanceHost {
  HostId id = 0;
  std::string_view name;  // what hash policies place it by; outlives the call
  uint32_t weight = 1;    // 1 to kMaxWeight
  HostLoad* load = nullptr;
};
inline constexpr uint32_t kMaxWeight = 1000;
inline constexpr uint32_t kMaxPriority = 100;

struct BalanceOptions {
  Duration slow_start{0};  // how long a host that came takes to its whole share; not for hash policies
  Duration decay = std::chrono::seconds(10);  // of least_time: how long a slow answer is remembered
  double bound = 0;  // of hash policies: most of a host's share that may be under way at it, 1.25 say; 0: none
};

struct PickArgs {
  Time now;
  uint64_t key = 0;                        // of hash policies
  uint64_t active = 0;                     // requests under way at all hosts; of hash policies with a bound
  std::span<const HostId> tried;           // not once more, as long as there is another
  std::span<const RegionId> regions = {};  // of region_balancer.h: all of them, the best for the client first
};

class Balancer {
 public:
  virtual ~Balancer() = default;
  // None: there is no host, or all were tried.
  virtual std::optional<HostId> pick(const PickArgs& args) noexcept = 0;
  // A request at this host began or ended: its load was changed just now.
  virtual void load_changed(HostId) noexcept {}
};

// Where keys of a hash policy lie, for all hosts of an upstream: immutable, shared by all cores, built where it may
// take its time (some 100 ns a point).
class KeyTable {
 public:
  // Whether a host may have the request.
  struct Accepts {
    bool (*ask)(const void* who, HostId host) noexcept;
    const void* who;
    bool operator()(HostId host) const noexcept { return ask(who, host); }
  };
  virtual ~KeyTable() = default;
  // The host that the key belongs to; if that one is not accepted, the one it would belong to if that one were not
  // there, and so on. None: nobody is accepted.
  virtual std::optional<HostId> find(uint64_t key, Accepts accepts) const noexcept = 0;
};
std::shared_ptr<const KeyTable> make_key_table(Balance policy, std::span<const BalanceHost> all);

// `hosts`: those that may be chosen. `keys`: of hash policies, over all hosts of the upstream. Seeded by `rng`, so that
// the cores do not go in step.
std::unique_ptr<Balancer> make_balancer(Balance policy, std::vector<BalanceHost> hosts, const BalanceOptions& options,
                                        std::shared_ptr<const KeyTable> keys, Rng& rng);

}  // namespace trellis::upstream
