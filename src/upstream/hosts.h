// The hosts of an upstream, as all cores share them: who they are, and which may have new requests just now. Who they
// are comes from the configuration, DNS, files and the control API; whether they work, from active checks and from the
// answers to real requests. A core compares version() with what it has seen, one load, and builds its balancer anew
// when it differs. One Hosts an upstream; outlives a reload that does not change the upstream. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"
#include "net/address.h"
#include "upstream/balance.h"
#include "upstream/host_figures.h"

namespace trellis {
inline namespace base {
class Metrics;
}
}  // namespace trellis

namespace trellis::upstream {

class KeyTable;

enum class HostOrigin : uint8_t { config, dns, file, control };
std::string_view to_string(HostOrigin origin) noexcept;

// What is known of a host before anything was sent to it.
struct HostFacts {
  std::string name;       // for logs, metrics and `ctl hosts`: HOST:PORT as given, NAME:PORT@ADDRESS of a name's answer
  std::string authority;  // HOST:PORT as given: for Host: where a request has none
  net::Address address;
  uint32_t weight = 1;  // 0: nothing new goes there
  std::string zone;
  uint32_t priority = 0;  // hosts of a higher number stand behind those of a lower one
  bool backup = false;    // behind all that are none
  HostOrigin origin = HostOrigin::config;
};

// What one core counted at a host. Written by that core, read by any.
struct alignas(64) HostTally {
  std::atomic<uint64_t> answers{0};
  std::atomic<uint64_t> errors{0};  // 5xx, no answer, no connection
  std::atomic<uint64_t> nanos{0};   // sum of the times to the head of the answer
  std::atomic<uint32_t> active{0};  // requests under way
  void add(bool error, Duration took) noexcept {
    bump(answers, 1);
    if (error) bump(errors, 1);
    bump(nanos, static_cast<uint64_t>(took.count()));
  }
  static void bump(std::atomic<uint64_t>& value, uint64_t by) noexcept {
    value.store(value.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }
};

// One host with its state. Changed through Hosts only, so that every core hears of it.
class Host {
 public:
  Host(HostFacts facts, const std::string& upstream, size_t cores, Metrics& metrics);

  const HostFacts facts;
  // Since its last good answer; of the requests of all cores.
  std::atomic<uint32_t> errors_in_a_row{0};
  HostTally& tally(size_t core) noexcept { return tallies_[core]; }
  uint32_t active() const noexcept;  // over all cores
  HostFigures& figures() noexcept { return figures_; }

  uint32_t weight() const noexcept { return weight_.load(std::memory_order_relaxed); }
  bool draining() const noexcept { return draining_.load(std::memory_order_relaxed); }
  bool failing() const noexcept { return failing_.load(std::memory_order_relaxed); }  // by its active checks
  // Ejected for its answers until then; Time::min(): it is in.
  Time out_until() const noexcept { return out_until_.load(std::memory_order_relaxed); }
  Time joined() const noexcept { return joined_.load(std::memory_order_relaxed); }  // came, or came back
  // May have new requests.
  bool up(Time now) const noexcept { return weight() > 0 && !draining() && !failing() && out_until() <= now; }

 private:
  friend class Hosts;
  std::atomic<uint32_t> weight_;
  std::atomic<bool> draining_{false};
  std::atomic<bool> failing_{false};
  std::atomic<Time> out_until_{Time::min()};
  std::atomic<Time> joined_{Time::min()};
  std::atomic<uint32_t> ejections_{0};  // in a row: each lasts longer
  std::vector<HostTally> tallies_;
  HostFigures figures_;
  std::vector<std::shared_ptr<void>> gauges_;  // of the figures: they go first
};

// "up", "draining", "failing" (by its checks), "ejected" (for its answers) or "off" (weight 0).
std::string_view state_of(const Host& host, Time now) noexcept;

using HostList = std::vector<std::shared_ptr<Host>>;

class Hosts {
 public:
  Hosts(std::string upstream, size_t cores, Balance balance, Metrics& metrics);
  Hosts(const Hosts&) = delete;
  Hosts& operator=(const Hosts&) = delete;

  const std::string& upstream() const noexcept { return upstream_; }
  size_t cores() const noexcept { return cores_; }
  // Grows with every change of members and of what they may have.
  uint64_t version() const noexcept { return version_.load(std::memory_order_acquire); }
  struct View {
    std::shared_ptr<const HostList> list;
    std::shared_ptr<const KeyTable> keys;  // of hash policies: by place in the list
  };
  View view() const;
  std::shared_ptr<const HostList> list() const { return view().list; }

  // Hosts with the same name and address stay as they are, with their state; the others come and go. `now`: when those
  // that come begin their slow start; Time::min(), as at the start of the node: none.
  void set_members(std::vector<HostFacts> members, Time now);
  // Hosts that come from now on fail until their checks say otherwise.
  void distrust_new(bool distrust);
  void set_weight(Host& host, uint32_t weight);
  void set_draining(Host& host, bool draining, Time now);
  // By its active checks. `why` goes to the log.
  void set_failing(Host& host, bool failing, std::string_view why, Time now);
  // Takes the host out for `base`, `2 * base` the second time in a row, and so on up to `most`. False: so many are out
  // already that one more would be beyond `max_share` of all (one of several may always go).
  bool eject(Host& host, std::string_view why, Duration base, Duration most, double max_share, Time now);
  // Brings back those whose time has come. The time of the next one; kNever: none is out.
  Time bring_back(Time now);
  // It has worked for a while: its next ejection is a first one.
  void forgive(Host& host) noexcept;

 private:
  void place_keys();
  void watch(Host& host);
  void changed() noexcept { version_.fetch_add(1, std::memory_order_release); }

  std::string upstream_;
  size_t cores_;
  Balance balance_;
  Metrics& metrics_;
  std::atomic<uint64_t> version_{1};
  mutable std::mutex mutex_;  // members and ejections; never taken to pick a host
  View view_;
  bool distrust_new_ = false;
};

}  // namespace trellis::upstream
