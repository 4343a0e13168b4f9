#include "upstream/health/host_care.h"

#include "runtime/loop.h"

namespace trellis::upstream {

HostCare::HostCare(std::shared_ptr<Hosts> hosts, std::shared_ptr<Ejection> ejection,
                   const std::optional<HealthConfig>& health)
    : hosts_(std::move(hosts)), watch_(hosts_, std::move(ejection)) {
  if (health) checks_.emplace(hosts_, *health);
}

void HostCare::start() {
  watch_.start();
  if (checks_) {
    checks_->start();
    return;
  }
  // A reload took the checks away: what they found last must not stay for ever.
  const std::shared_ptr<const HostList> list = hosts_->list();
  for (const std::shared_ptr<Host>& host : *list)
    hosts_->set_failing(*host, false, "it is checked no more", Loop::current().now());
}

}  // namespace trellis::upstream
