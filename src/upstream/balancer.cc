#include "upstream/balancer.h"

#include <cmath>
#include <utility>

#include "base/error.h"
#include "upstream/policies/choices.h"
#include "upstream/policies/key_tables.h"
#include "upstream/policies/least_connections.h"
#include "upstream/policies/turns.h"

namespace trellis::upstream {

void HostLoad::measure(Duration first_byte, Duration decay, Time now) noexcept {
  const double sample = trellis::seconds(first_byte);
  if (measured == Time::min() || sample >= seconds) {
    seconds = sample;
  } else {
    const double kept =
        std::exp(-trellis::seconds(std::max(now - measured, Duration::zero())) / trellis::seconds(decay));
    seconds = sample + (seconds - sample) * kept;
  }
  measured = now;
}

std::string_view to_string(Balance policy) noexcept {
  switch (policy) {
    case Balance::round_robin: return "round_robin";
    case Balance::weighted: return "weighted";
    case Balance::least_connections: return "least_connections";
    case Balance::two_choices: return "two_choices";
    case Balance::least_time: return "least_time";
    case Balance::ip_hash: return "ip_hash";
    case Balance::hash: return "hash";
    case Balance::maglev: return "maglev";
  }
  return "round_robin";
}

std::shared_ptr<const KeyTable> make_key_table(Balance policy, std::span<const BalanceHost> all) {
  switch (policy) {
    case Balance::hash:
    case Balance::ip_hash: return std::make_shared<KeyRing>(all);
    case Balance::maglev: return std::make_shared<MaglevTable>(all);
    default: return nullptr;
  }
}

std::unique_ptr<Balancer> make_balancer(Balance policy, std::vector<BalanceHost> hosts, const BalanceOptions& options,
                                        std::shared_ptr<const KeyTable> keys, Rng& rng) {
  switch (policy) {
    case Balance::round_robin: return std::make_unique<RoundRobin>(std::move(hosts), rng);
    case Balance::weighted: return std::make_unique<WeightedTurns>(std::move(hosts), options.slow_start, rng);
    case Balance::least_connections:
      return std::make_unique<LeastConnections>(std::move(hosts), options.slow_start, rng);
    case Balance::two_choices:
      return std::make_unique<Choices>(std::move(hosts), Choices::By::active, options.slow_start, options.decay, rng);
    case Balance::least_time:
      return std::make_unique<Choices>(std::move(hosts), Choices::By::time, options.slow_start, options.decay, rng);
    case Balance::ip_hash:
    case Balance::hash:
    case Balance::maglev: TRELLIS_ASSERT(keys); return std::make_unique<ByKey>(hosts, options.bound, std::move(keys));
  }
  return nullptr;
}

}  // namespace trellis::upstream
