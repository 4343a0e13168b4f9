// The active checks of an upstream's hosts: each host on its own rhythm, one check at a time, jittered so that neither
// hosts nor nodes fall in step; the first within a second of the start. A host's state changes after so many results of
// the other kind in a row (RiseAndFall), and Hosts tells all cores. Hosts that come and go are followed by
// Hosts::version(). One an upstream that has `health`; made, started and destroyed on core 0.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/rng.h"
#include "base/time.h"
#include "runtime/sync.h"
#include "upstream/health/config.h"
#include "upstream/hosts.h"

namespace trellis::upstream {

// Whether a host fails, by its results one after the other.
class RiseAndFall {
 public:
  RiseAndFall(uint32_t unhealthy_after, uint32_t healthy_after, bool failing) noexcept
      : unhealthy_after_(unhealthy_after), healthy_after_(healthy_after), failing_(failing) {}
  // True: this result has changed failing().
  bool note(bool good) noexcept;
  bool failing() const noexcept { return failing_; }

 private:
  uint32_t unhealthy_after_;
  uint32_t healthy_after_;
  uint32_t against_ = 0;  // results in a row that say the other thing
  bool failing_;
};

// When a host's checks begin: the first soon, by chance within a second; the second by chance within an interval of it,
// which spreads all that follow; the others an interval apart, 10 % more or less.
Duration wait_before_check(uint64_t number, Duration interval, Rng& rng) noexcept;

class HealthChecks {
 public:
  HealthChecks(std::shared_ptr<Hosts> hosts, HealthConfig config);
  ~HealthChecks();
  HealthChecks(const HealthChecks&) = delete;
  HealthChecks& operator=(const HealthChecks&) = delete;

  void start();

 private:
  struct Checked {
    std::shared_ptr<Host> host;
    uint64_t round = 0;
    TaskGroup group;  // uses the host: goes first
  };
  static Task<> follow(HealthChecks& self);
  static Task<> check_again_and_again(HealthChecks& self, Host& host);
  void match();

  std::shared_ptr<Hosts> hosts_;
  HealthConfig config_;
  std::unordered_map<const Host*, std::unique_ptr<Checked>> checked_;
  uint64_t seen_ = 0;  // version of the hosts
  uint64_t round_ = 0;
  TaskGroup group_;
};

}  // namespace trellis::upstream
