// All that looks after the hosts of one upstream while nobody asks: the watch over ejected hosts and outliers, and the
// active checks where the configuration has any. Made, started and destroyed on core 0, beside the clusters of all
// cores; a reload that changes the upstream replaces it, and what is known of the hosts stays with Hosts.
#pragma once

#include <memory>
#include <optional>

#include "upstream/health/health_checks.h"
#include "upstream/health/host_watch.h"

namespace trellis::upstream {

class HostCare {
 public:
  HostCare(std::shared_ptr<Hosts> hosts, std::shared_ptr<Ejection> ejection, const std::optional<HealthConfig>& health);

  void start();

 private:
  std::shared_ptr<Hosts> hosts_;
  HostWatch watch_;
  std::optional<HealthChecks> checks_;
};

}  // namespace trellis::upstream
