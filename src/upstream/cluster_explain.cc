// The part of a Cluster that tells why (docs/explain.md): only for requests that ask, so it may take its time.
#include <algorithm>
#include <cstdio>

#include "http/explain.h"
#include "runtime/loop.h"
#include "upstream/cluster.h"
#include "upstream/geo.h"
#include "upstream/policies/load.h"

namespace trellis::upstream {

namespace {

constexpr size_t kMostNamed = 10;  // hosts of one line

std::string figure(const char* format, double value) {
  char text[48];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string_view word_of(Breaker::State state) noexcept {
  switch (state) {
    case Breaker::State::closed: return "closed";
    case Breaker::State::half_open: return "half open";
    case Breaker::State::open: return "open";
  }
  return "closed";
}

}  // namespace

// What stands between a request and the hosts, and what is left of it.
void Cluster::tell_limits(http::RequestContext& context) {
  const Time now = Loop::current().now();
  size_t up = 0;
  for (const auto& host : *list_) up += host->up(now);
  const Eligible eligible = eligible_hosts(*list_, rules(), now);
  std::string text = name() + ": " + std::to_string(up) + " of " + std::to_string(list_->size()) + " hosts up, " +
                     std::to_string(eligible.tiers.empty() ? 0 : eligible.tiers.front().hosts.size()) +
                     " to choose from";
  for (size_t i = 1; i < eligible.tiers.size(); ++i)
    text += (i == 1 ? ", behind them " : ", then ") + std::to_string(eligible.tiers[i].hosts.size());
  if (!config_.zone.empty()) text += "; in zone " + config_.zone;
  if (eligible.panic) text += " (panic: too few are up)";
  if (breaker_) text += "; breaker " + std::string(word_of(breaker_->state()));
  if (adaptive_) {
    text += "; adaptive limit " + std::to_string(adaptive_->under_way()) + " of " + std::to_string(adaptive_->limit()) +
            ", " + std::to_string(entering_.waiting()) + " wait";
  }
  text += "; connections " + std::to_string(open_connections()) + " open, " + std::to_string(idle_connections()) +
          " idle, " + std::to_string(waiting_.waiting()) + " wait; retries left " + figure("%.0f", budget_.left(now)) +
          "; on core " + std::to_string(Loop::current().index());
  context.explain->add("upstream", text);
}

// What the policy goes by, before this request.
std::string Cluster::score_of(HostId id, Time now) const {
  Pool& pool = *pools_[id];
  const BalanceHost host{id, pool.host().facts.name, std::max(pool.host().weight(), 1U), &pool.load()};
  const std::string active = std::to_string(pool.load().active) + " under way";
  switch (config_.balance) {
    case Balance::weighted: return "weight " + std::to_string(host.weight);
    case Balance::least_connections:
    case Balance::two_choices: return active + ", cost " + figure("%.3g", crowding(host, config_.slow_start, now));
    case Balance::least_time:
      return active + ", cost " +
             figure("%.3g ms", 1e3 * expected_time(host, config_.slow_start, BalanceOptions{}.decay, now));
    default: return active;
  }
}

void Cluster::tell_pick(http::Explain& explain, const Pool* picked, const Wish& wish, std::span<const HostId> tried,
                        std::string_view why) const {
  const Time now = Loop::current().now();
  std::string text = picked ? picked->host().facts.name + " by " + std::string(why) : "nobody";
  if (hosts_->view().keys) {
    char key[32];
    std::snprintf(key, sizeof key, ", key %016llx", static_cast<unsigned long long>(wish.key));
    text += key;
  }
  if (geo_ && !wish.regions.empty()) {
    const size_t home = wish.regions.front();
    text += ", client's region " + (home < geo_->regions() ? std::string(geo_->name(wish.regions.front())) : "none");
  }
  size_t named = 0;
  for (HostId id = 0; id < pools_.size() && named < kMostNamed; ++id) {
    const Pool& pool = *pools_[id];
    const Host& host = pool.host();
    text += (named++ == 0 ? "; " : ", ") + host.facts.name + " ";
    const std::string_view state = state_of(host, now);
    if (state == "ejected") {
      text += "ejected for " + figure("%.0f s", seconds(host.out_until() - now));
    } else if (state != "up") {
      text += state;
    } else if (std::ranges::find(tried, id) != tried.end()) {
      text += "was asked";
    } else if (pool.full()) {
      text += "full";
    } else {
      if (host.facts.priority > 0) text += "priority " + std::to_string(host.facts.priority) + ", ";
      text += (host.facts.backup ? "backup, " : "") + score_of(id, now);
    }
  }
  if (pools_.size() > named) text += " and " + std::to_string(pools_.size() - named) + " more";
  explain.add("pick", text);
}

void Cluster::tell_end(http::Explain& explain, const Pool& pool, const Result<http::Response>& answer,
                       Duration took) const {
  explain.add("try", pool.host().facts.name + ": " +
                         (answer ? "status " + std::to_string(answer->status) : answer.error().to_string()) +
                         figure(" after %.3f ms", 1e3 * seconds(took)));
}

// Why what went wrong is not tried again.
void Cluster::tell_no_retry(http::Explain& explain, uint32_t attempt, const http::Request& request,
                            const Result<http::Response>& answer, Deadline deadline) const {
  if (answer && answer->status < 500) return;
  const bool sent = answer || answer.error().retry() != Retry::yes;
  std::string_view why = "the retry budget is used up";
  if (attempt >= config_.retry.attempts) {
    why = "retry.attempts are used up";
  } else if (sent && !http::is_idempotent(request.method)) {
    why = "the method is not idempotent, and it was sent";
  } else if (sent && request.body && !request.body->can_rewind()) {
    why = "its body cannot be sent again";
  } else if (!may_repeat(request, answer)) {
    why = "not a reason of retry.on";
  } else if (Loop::current().now() >= deadline) {
    why = "there is no time left";
  }
  explain.add("retry", "none: " + std::string(why));
}

}  // namespace trellis::upstream
