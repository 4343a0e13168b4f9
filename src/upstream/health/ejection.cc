#include "upstream/health/ejection.h"

#include <utility>

#include "base/metrics.h"
#include "upstream/hosts.h"

namespace trellis::upstream {

std::string_view to_string(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::ok: return "ok";
    case Outcome::error_5xx: return "5xx";
    case Outcome::connect: return "no connection";
    case Outcome::reset: return "the connection broke";
    case Outcome::timeout: return "no answer in time";
    case Outcome::outrun: return "another host was much quicker";
  }
  return "";
}

Outcome outcome_of(const Error& error) noexcept {
  if (error.retry() == Retry::yes) return Outcome::connect;  // nothing was sent
  return error.code() == Code::deadline_exceeded ? Outcome::timeout : Outcome::reset;
}

Ejection::Ejection(std::shared_ptr<Hosts> hosts, const EjectConfig& config)
    : hosts_(std::move(hosts)), config_(config) {}

void Ejection::record(Host& host, Outcome outcome, Time now) {
  if (!is_error(outcome)) {
    // The usual case writes nothing: the host's line stays in every core's cache.
    if (host.errors_in_a_row.load(std::memory_order_relaxed) != 0)
      host.errors_in_a_row.store(0, std::memory_order_relaxed);
    return;
  }
  if (config_.consecutive_errors == 0 || host.out_until() > now) return;  // out: what was under way ends
  const uint32_t errors = host.errors_in_a_row.fetch_add(1, std::memory_order_relaxed) + 1;
  if (errors < config_.consecutive_errors) return;
  // Begins anew whether it is put out or not: with all hosts failing, only every fifth error comes as far as this.
  host.errors_in_a_row.store(0, std::memory_order_relaxed);
  eject(host, EjectReason::consecutive_errors,
        std::to_string(errors) + " errors in a row, the last: " + std::string(to_string(outcome)), now);
}

bool Ejection::eject(Host& host, EjectReason reason, std::string_view why, Time now) {
  if (!hosts_->eject(host, why, config_.base_time, config_.max_time, config_.max_share, now)) return false;
  host.figures().ejections(to_string(reason)).add();
  return true;
}

}  // namespace trellis::upstream
