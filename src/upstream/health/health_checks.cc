#include "upstream/health/health_checks.h"

#include <algorithm>
#include <utility>

#include "base/metrics.h"
#include "runtime/loop.h"
#include "upstream/health/check.h"
#include "upstream/health/host_watch.h"

namespace trellis::upstream {

using namespace std::chrono_literals;

bool RiseAndFall::note(bool good) noexcept {
  if (good != failing_) {  // as it is
    against_ = 0;
    return false;
  }
  if (++against_ < (failing_ ? healthy_after_ : unhealthy_after_)) return false;
  against_ = 0;
  failing_ = !failing_;
  return true;
}

Duration wait_before_check(uint64_t number, Duration interval, Rng& rng) noexcept {
  const auto part = [](Duration span, double share) {
    return Duration(static_cast<int64_t>(static_cast<double>(span.count()) * share));
  };
  if (number == 0) return part(std::min<Duration>(interval, 1s), rng.unit());
  if (number == 1) return part(interval, rng.unit());
  return part(interval, 0.9 + 0.2 * rng.unit());
}

HealthChecks::HealthChecks(std::shared_ptr<Hosts> hosts, HealthConfig config)
    : hosts_(std::move(hosts)), config_(std::move(config)) {}

HealthChecks::~HealthChecks() = default;

void HealthChecks::start() { group_.spawn(follow(*this)); }

Task<> HealthChecks::follow(HealthChecks& self) {
  while (true) {
    if (self.hosts_->version() != self.seen_) self.match();
    co_await sleep_until(next_look(Loop::current().now()));
  }
}

void HealthChecks::match() {
  seen_ = hosts_->version();
  ++round_;
  const std::shared_ptr<const HostList> list = hosts_->list();
  for (const std::shared_ptr<Host>& host : *list) {
    std::unique_ptr<Checked>& checked = checked_[host.get()];
    if (!checked) {
      checked = std::make_unique<Checked>();
      checked->host = host;
      checked->group.spawn(check_again_and_again(*this, *host));
    }
    checked->round = round_;
  }
  std::erase_if(checked_, [&](const auto& entry) { return entry.second->round != round_; });
}

Task<> HealthChecks::check_again_and_again(HealthChecks& self, Host& host) {
  const HealthConfig& config = self.config_;
  Counter& passed = host.figures().checks("pass");
  Counter& failed = host.figures().checks("fail");
  const Duration unhealthy_interval =
      config.unhealthy_interval > Duration::zero() ? config.unhealthy_interval : config.interval;
  RiseAndFall state(config.unhealthy_after, config.healthy_after, host.failing());
  Time begun = Loop::current().now();
  for (uint64_t number = 0;; ++number) {
    const Duration interval = state.failing() ? unhealthy_interval : config.interval;
    // From the begin of the last one; one that takes longer is followed at once, but not from inside this turn.
    const Time due = after(begun, wait_before_check(number, interval, Loop::current().rng()));
    if (due > Loop::current().now()) {
      co_await sleep_until(due);
    } else {
      co_await yield();
    }
    begun = Loop::current().now();
    auto checking = check_host(host.facts, config);
    Result<std::string> result = co_await checking;
    if (!result && result.error().side() == Side::self) continue;
    (result ? passed : failed).add();
    if (!state.note(result.has_value())) continue;
    self.hosts_->set_failing(host, state.failing(), result ? *result : result.error().what(), Loop::current().now());
  }
}

}  // namespace trellis::upstream
