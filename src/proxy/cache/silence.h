// Which members of a cluster of edges do not answer just now, as the one core that asks them all once a second finds
// it; the other cores ask these for no objects. Shared by the cores; any thread.
#pragma once

#include <algorithm>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "upstream/hosts.h"

namespace trellis::proxy {

class Silence {
 public:
  // Compared and never looked into: a host may be gone by now.
  using Hosts = std::vector<const upstream::Host*>;

  std::shared_ptr<const Hosts> hosts() const {
    const std::lock_guard lock(mutex_);
    return hosts_;
  }
  bool has(const upstream::Host& host) const {
    const std::shared_ptr<const Hosts> silent = hosts();
    return std::ranges::find(*silent, &host) != silent->end();
  }
  void set(Hosts hosts) {
    auto fresh = std::make_shared<const Hosts>(std::move(hosts));
    const std::lock_guard lock(mutex_);
    hosts_.swap(fresh);
  }

 private:
  // WHY a lock: for a moment, once a second and once for each object that another node is asked for.
  mutable std::mutex mutex_;
  std::shared_ptr<const Hosts> hosts_ = std::make_shared<const Hosts>();
};

}  // namespace trellis::proxy
