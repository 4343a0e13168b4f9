// Looks after the hosts of an upstream from core 0: brings back those whose time out is over, forgets old ejections of
// those that worked since, and judges each interval who stands out (outliers.h). tick() is all of it and takes the time
// as an argument; start() calls it four times a second, for all upstreams in the same turn of the loop. One an
// upstream; made, started and destroyed on core 0.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/time.h"
#include "runtime/sync.h"
#include "upstream/health/ejection.h"
#include "upstream/hosts.h"

namespace trellis::upstream {

// The next of the moments at which upstreams are looked after.
inline constexpr Duration kLookAfter = std::chrono::milliseconds(250);
constexpr Time next_look(Time now) noexcept { return now + (kLookAfter - now.time_since_epoch() % kLookAfter); }

class HostWatch {
 public:
  HostWatch(std::shared_ptr<Hosts> hosts, std::shared_ptr<Ejection> ejection);
  HostWatch(const HostWatch&) = delete;
  HostWatch& operator=(const HostWatch&) = delete;

  void start();
  void tick(Time now);

 private:
  struct Sums {
    uint64_t answers = 0;
    uint64_t errors = 0;
    uint64_t nanos = 0;
  };
  struct Watched {
    std::shared_ptr<Host> host;
    Sums before;                   // at the end of the last interval
    Time out_until = Time::min();  // when it was looked at last
    Duration out_for{0};           // its last ejection; 0: none to forget
    uint64_t round = 0;
  };
  static Task<> look(HostWatch& self);
  void follow(Time now);
  void forget(Time now);
  void judge(Time now);
  Sums sums_of(Host& host) const;

  std::shared_ptr<Hosts> hosts_;
  std::shared_ptr<Ejection> ejection_;
  std::unordered_map<const Host*, Watched> watched_;
  uint64_t seen_ = 0;  // version of the hosts
  uint64_t round_ = 0;
  Time next_back_ = Time::min();
  Time next_judgement_ = Time::min();
  TaskGroup group_;
};

}  // namespace trellis::upstream
