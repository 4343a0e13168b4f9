#include "upstream/hosts.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "base/log.h"
#include "base/metrics.h"
#include "upstream/balancer.h"

namespace trellis::upstream {

namespace {
constexpr uint32_t kMostDoublings = 16;

bool same(const HostFacts& a, const HostFacts& b) {
  return a.name == b.name && a.address.to_string() == b.address.to_string() && a.zone == b.zone &&
         a.priority == b.priority && a.backup == b.backup && a.origin == b.origin;
}
}  // namespace

std::string_view to_string(HostOrigin origin) noexcept {
  switch (origin) {
    case HostOrigin::config: return "config";
    case HostOrigin::dns: return "dns";
    case HostOrigin::file: return "file";
    case HostOrigin::control: return "control";
  }
  return "";
}

std::string_view state_of(const Host& host, Time now) noexcept {
  if (host.draining()) return "draining";
  if (host.failing()) return "failing";
  if (host.out_until() > now) return "ejected";
  return host.weight() > 0 ? "up" : "off";
}

Host::Host(HostFacts known, const std::string& upstream, size_t cores, Metrics& metrics)
    : facts(std::move(known)), weight_(facts.weight), tallies_(cores), figures_(metrics, upstream, facts.name) {}

uint32_t Host::active() const noexcept {
  uint32_t sum = 0;
  for (const HostTally& tally : tallies_) sum += tally.active.load(std::memory_order_relaxed);
  return sum;
}

Hosts::Hosts(std::string upstream, size_t cores, Balance balance, Metrics& metrics)
    : upstream_(std::move(upstream)), cores_(cores), balance_(balance), metrics_(metrics) {
  view_.list = std::make_shared<const HostList>();
  place_keys();
}

Hosts::View Hosts::view() const {
  const std::lock_guard lock(mutex_);
  return view_;
}

void Hosts::place_keys() {
  std::vector<BalanceHost> all;
  for (size_t i = 0; i < view_.list->size(); ++i) {
    const Host& host = *(*view_.list)[i];
    if (host.weight() > 0) all.push_back({static_cast<HostId>(i), host.facts.name, host.weight(), nullptr});
  }
  view_.keys = make_key_table(balance_, all);
}

// The gauges of a host go with it.
void Hosts::watch(Host& host) {
  const std::string& name = host.facts.name;
  const auto difference = [&](const char* state, const char* more, const char* less) {
    const Counter& plus = host.figures().connections(more);
    const Counter& minus = host.figures().connections(less);
    host.gauges_.push_back(metrics_.computed(
        "trellis_upstream_connections", "connections to an upstream's host, idle ones included in open",
        {{"upstream", upstream_}, {"host", name}, {"state", state}}, [&plus, &minus] {
          const uint64_t gone = minus.value();  // first: never more than came
          return static_cast<double>(plus.value() - gone);
        }));
  };
  difference("open", "opened", "closed");
  difference("idle", "parked", "taken");
  host.gauges_.push_back(
      metrics_.computed("trellis_upstream_healthy", "1: a host that passes its checks and is not ejected",
                        {{"upstream", upstream_}, {"host", name}},
                        [&host] { return host.failing() || host.out_until() != Time::min() ? 0.0 : 1.0; }));
}

void Hosts::set_members(std::vector<HostFacts> members, Time now) {
  const std::lock_guard lock(mutex_);
  auto next = std::make_shared<HostList>();
  using ByName = std::unordered_multimap<std::string_view, std::shared_ptr<Host>>;  // there may be ten thousand
  ByName before;
  ByName taken;
  for (const std::shared_ptr<Host>& host : *view_.list) before.emplace(host->facts.name, host);
  const auto find = [](const ByName& among, const HostFacts& facts) -> std::shared_ptr<Host> {
    const auto [begin, end] = among.equal_range(facts.name);
    const auto found = std::find_if(begin, end, [&](const auto& each) { return same(each.second->facts, facts); });
    return found == end ? nullptr : found->second;
  };
  for (HostFacts& facts : members) {
    // The same host twice, from two sources or two answers, is one.
    if (find(taken, facts)) continue;
    std::shared_ptr<Host> host = find(before, facts);
    if (host) {
      host->weight_.store(facts.weight, std::memory_order_relaxed);
    } else {
      host = std::make_shared<Host>(std::move(facts), upstream_, cores_, metrics_);
      host->joined_.store(now, std::memory_order_relaxed);
      host->failing_.store(distrust_new_, std::memory_order_relaxed);
      watch(*host);
    }
    taken.emplace(host->facts.name, host);
    next->push_back(std::move(host));
  }
  view_.list = std::move(next);
  place_keys();
  changed();
}

void Hosts::distrust_new(bool distrust) {
  const std::lock_guard lock(mutex_);
  distrust_new_ = distrust;
}

void Hosts::set_weight(Host& host, uint32_t weight) {
  const std::lock_guard lock(mutex_);
  if (host.weight_.exchange(weight, std::memory_order_relaxed) == weight) return;
  place_keys();
  changed();
}

void Hosts::set_draining(Host& host, bool draining, Time now) {
  if (host.draining_.exchange(draining, std::memory_order_relaxed) == draining) return;
  if (!draining) host.joined_.store(now, std::memory_order_relaxed);
  changed();
}

void Hosts::set_failing(Host& host, bool failing, std::string_view why, Time now) {
  if (host.failing_.exchange(failing, std::memory_order_relaxed) == failing) return;
  if (!failing) host.joined_.store(now, std::memory_order_relaxed);
  if (failing) {
    log_warn("a host fails its checks", {{"upstream", upstream_}, {"host", host.facts.name}, {"why", why}});
  } else {
    log_info("a host passes its checks again", {{"upstream", upstream_}, {"host", host.facts.name}, {"why", why}});
  }
  changed();
}

bool Hosts::eject(Host& host, std::string_view why, Duration base, Duration most, double max_share, Time now) {
  const std::lock_guard lock(mutex_);
  if (host.out_until() > now) return false;  // another core was quicker
  const auto out = static_cast<size_t>(
      std::ranges::count_if(*view_.list, [&](const std::shared_ptr<Host>& each) { return each->out_until() > now; }));
  const auto allowed = static_cast<size_t>(max_share * static_cast<double>(view_.list->size()));
  if (out >= std::max<size_t>(allowed, view_.list->size() > 1 ? 1 : 0)) return false;
  const uint32_t before = host.ejections_.fetch_add(1, std::memory_order_relaxed);
  Duration span = base;
  for (uint32_t i = 0; i < std::min(before, kMostDoublings) && span < most; ++i) span *= 2;
  span = std::min(span, most);
  host.out_until_.store(after(now, span), std::memory_order_relaxed);
  log_warn("a host was ejected", {{"upstream", upstream_},
                                  {"host", host.facts.name},
                                  {"why", why},
                                  {"seconds", seconds(span)},
                                  {"in_a_row", before + 1}});
  changed();
  return true;
}

Time Hosts::bring_back(Time now) {
  const std::lock_guard lock(mutex_);
  Time next = kNever;
  for (const std::shared_ptr<Host>& host : *view_.list) {
    const Time until = host->out_until();
    if (until == Time::min()) continue;
    if (until > now) {
      next = std::min(next, until);
      continue;
    }
    host->out_until_.store(Time::min(), std::memory_order_relaxed);
    host->errors_in_a_row.store(0, std::memory_order_relaxed);
    host->joined_.store(now, std::memory_order_relaxed);
    log_info("a host is asked again", {{"upstream", upstream_}, {"host", host->facts.name}});
    changed();
  }
  return next;
}

void Hosts::forgive(Host& host) noexcept { host.ejections_.store(0, std::memory_order_relaxed); }

}  // namespace trellis::upstream
