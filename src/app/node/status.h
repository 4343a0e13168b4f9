// The live picture of a node: for each tier its golden figures over the last seconds, as JSON for the page, `ctl
// status` and the planner. A sample is taken once a second on core 0; rates are differences between samples. Reading is
// for any thread.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/time.h"

namespace trellis::app {

// One tier's sources, read at each sample.
struct TierSource {
  std::string id;    // "edge", "links", "cache", "store", "clicks"
  std::string name;  // for people
  std::string kind;
  std::function<uint64_t()> requests;  // total so far; any of these may be empty
  std::function<uint64_t()> errors;
  std::function<Histogram::Snapshot()> seconds;
  std::function<uint64_t()> hits;
  std::function<uint64_t()> misses;
  std::vector<std::pair<std::string, std::function<double()>>> gauges;  // shown as they are
};

class Status {
 public:
  Status(std::string node, size_t cores, std::string io, Time started);
  void set_tiers(std::vector<TierSource> tiers);
  void sample(Time now);
  std::string json(Time now) const;

 private:
  static constexpr size_t kWindow = 5;  // seconds that figures are taken over

  struct Reading {
    Time at;
    uint64_t requests = 0;
    uint64_t errors = 0;
    uint64_t hits = 0;
    uint64_t misses = 0;
    Histogram::Snapshot seconds;
  };
  struct Tier {
    TierSource source;
    std::vector<Reading> readings;  // oldest first, at most kWindow + 1
  };

  std::string node_;
  size_t cores_;
  std::string io_;
  Time started_;
  // WHY a lock: read a few times a second by whoever looks, written once a second.
  mutable std::mutex mutex_;
  std::vector<Tier> tiers_;
};

}  // namespace trellis::app
