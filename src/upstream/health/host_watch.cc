#include "upstream/health/host_watch.h"

#include <algorithm>
#include <utility>

#include "runtime/loop.h"

namespace trellis::upstream {

HostWatch::HostWatch(std::shared_ptr<Hosts> hosts, std::shared_ptr<Ejection> ejection)
    : hosts_(std::move(hosts)), ejection_(std::move(ejection)) {}

void HostWatch::start() { group_.spawn(look(*this)); }

Task<> HostWatch::look(HostWatch& self) {
  while (true) {
    self.tick(Loop::current().now());
    co_await sleep_until(next_look(Loop::current().now()));
  }
}

void HostWatch::tick(Time now) {
  if (hosts_->version() != seen_) {
    seen_ = hosts_->version();
    follow(now);
    next_back_ = Time::min();  // somebody may have been put out
  }
  if (now >= next_back_) next_back_ = hosts_->bring_back(now);
  if (now < next_judgement_) return;
  // The first interval begins now.
  if (next_judgement_ != Time::min()) {
    judge(now);
    forget(now);
  }
  next_judgement_ = after(now, ejection_->config().interval);
}

// Takes up those that came, lets go of those that left, and notes who is out.
void HostWatch::follow(Time now) {
  ++round_;
  const std::shared_ptr<const HostList> list = hosts_->list();
  for (const std::shared_ptr<Host>& host : *list) {
    Watched& watched = watched_[host.get()];
    watched.round = round_;
    if (!watched.host) {
      watched.host = host;
      watched.before = sums_of(*host);
      watched.out_for = ejection_->config().base_time;  // it may have been out before this watch began
    }
    const Time until = host->out_until();
    if (until > now && until != watched.out_until) watched.out_for = until - now;
    watched.out_until = until;
  }
  std::erase_if(watched_, [&](const auto& entry) { return entry.second.round != round_; });
}

// A host that worked as long as it was out last begins anew.
void HostWatch::forget(Time now) {
  for (auto& [key, watched] : watched_) {
    if (watched.out_for == Duration::zero() || watched.host->out_until() > now) continue;
    if (after(watched.host->joined(), watched.out_for) > now) continue;
    hosts_->forgive(*watched.host);
    watched.out_for = Duration::zero();
  }
}

HostWatch::Sums HostWatch::sums_of(Host& host) const {
  Sums sums;
  for (size_t core = 0; core < hosts_->cores(); ++core) {
    const HostTally& tally = host.tally(core);
    sums.answers += tally.answers.load(std::memory_order_relaxed);
    sums.errors += tally.errors.load(std::memory_order_relaxed);
    sums.nanos += tally.nanos.load(std::memory_order_relaxed);
  }
  return sums;
}

void HostWatch::judge(Time now) {
  const EjectConfig& config = ejection_->config();
  if (!config.error_rate && !config.slower_than) return;
  std::vector<std::shared_ptr<Host>> judged;
  std::vector<HostInterval> intervals;
  for (auto& [key, watched] : watched_) {
    const Sums sums = sums_of(*watched.host);
    const Sums before = std::exchange(watched.before, sums);
    if (watched.host->out_until() > now) continue;  // what it did before it was put out is dealt with
    const uint64_t answers = sums.answers - before.answers;
    intervals.push_back({.answers = answers,
                         .errors = std::min(answers, sums.errors - before.errors),  // another core may be adding
                         .seconds = static_cast<double>(sums.nanos - before.nanos) * 1e-9});
    judged.push_back(watched.host);
  }
  const OutlierRules rules{config.error_rate, config.slower_than, config.min_requests};
  for (const Outlier& outlier : find_outliers(intervals, rules))
    ejection_->eject(*judged[outlier.host], outlier.reason, outlier.to_string(), now);
}

}  // namespace trellis::upstream
