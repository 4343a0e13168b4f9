#include <array>

#include "app/node/node_impl.h"
#include "base/log.h"
#include "base/rng.h"
#include "net/dns.h"
#include "upstream/geo.h"

namespace trellis::app {

namespace {

// A start or a reload waits so long for names and files that were not asked before; then it goes on without them.
constexpr Duration kFirstAnswers = std::chrono::seconds(1);

// An upgrade waits so long for changes of hosts that were asked for before it.
constexpr Duration kWriting = std::chrono::seconds(10);

using Memberships = std::vector<std::shared_ptr<upstream::Membership>>;

Task<> first_answers(Memberships memberships, Deadline deadline) {
  for (const auto& membership : memberships) {
    auto asking = membership->first_answers(deadline);
    co_await asking;
  }
}

std::vector<net::Address> addresses_of(const DnsConfig& config) {
  std::vector<net::Address> servers;
  for (const config::HostPort& server : config.servers) {
    if (const auto address = net::make_address(server.host, server.port)) servers.push_back(*address);
  }
  return servers;
}

// The same file is opened at each reload: somebody may have put a new one into its place.
Result<std::shared_ptr<const upstream::Geo>> open_geo(const std::string& place,
                                                      const std::optional<upstream::GeoConfig>& config) {
  if (!config) return std::shared_ptr<const upstream::Geo>();
  auto opened = upstream::Geo::open(*config);
  if (!opened) return fail(Error(opened.error().code(), place + ".geo.database").because(std::move(opened).error()));
  return *std::move(opened);
}

bool same_database(const upstream::Geo* before, const upstream::Geo* now) {
  if (!before || !now) return before == now;
  return before->database_built_at() == now->database_built_at() && before->database_type() == now->database_type();
}

void tell_database(const std::string& upstream, const upstream::GeoConfig& config, const upstream::Geo& geo) {
  if (config.database.empty()) return;
  std::array<char, kRfc3339Size> built{};
  write_rfc3339(built.data(), WallTime(std::chrono::milliseconds(geo.database_built_at())));
  log_info("the database of countries is open", {{"upstream", upstream},
                                                 {"file", config.database},
                                                 {"type", geo.database_type()},
                                                 {"built_at", std::string_view(built.data(), built.size())}});
}

}  // namespace

Result<> Node::Impl::open_hosts(Generation& next, const Generation* before) {
  const NodeConfig& values = next.config.values;
  const bool same_dns = before && before->config.values.dns == values.dns;
  next.dns = same_dns ? before->dns : std::make_shared<net::Dns>(addresses_of(values.dns));
  Memberships fresh;
  for (const auto& [name, config] : values.upstreams) {
    const std::string place = config::path_step("upstreams", name);
    ResolvedUpstream& resolved = next.upstreams[name];
    resolved.serial = next_serial++;
    resolved.config = config;
    const ResolvedUpstream* old = nullptr;
    if (before) {
      const auto found = before->upstreams.find(name);
      // What is known of the hosts stays known, whatever else changes.
      if (found != before->upstreams.end() && found->second.config.balance == config.balance) old = &found->second;
    }
    TRY(resolved.geo, open_geo(place, config.geo));
    const bool same_places = same_database(old ? old->geo.get() : nullptr, resolved.geo.get());
    if (resolved.geo && !same_places) tell_database(name, *config.geo, *resolved.geo);
    if (old && same<upstream::UpstreamConfig>(before->config.tree, next.config.tree, place) && same_places) {
      resolved.geo = old->geo;
      resolved.serial = old->serial;
      resolved.breaker = old->breaker;
    }
    if (config.breaker && !resolved.breaker)
      resolved.breaker = std::make_shared<upstream::Breaker>(name, *config.breaker, cores->size(), random_seed());
    resolved.hosts = old ? old->hosts : std::make_shared<upstream::Hosts>(name, cores->size(), config.balance, metrics);
    resolved.ejection = std::make_shared<upstream::Ejection>(resolved.hosts, config.eject);
    if (old && same_dns && old->config.hosts == config.hosts) {
      resolved.membership = old->membership;
      continue;
    }
    const upstream::Membership* const told = old ? old->membership.get() : nullptr;
    resolved.membership = cores->run_on(0, [&] {
      auto made =
          upstream::Membership::make(Loop::current(), resolved.hosts, config.hosts, host_state->of(name), next.dns);
      made->begin(told);
      return made;
    });
    fresh.push_back(resolved.membership);
  }
  if (!fresh.empty())
    cores->finish_on(0, [&] { return first_answers(fresh, after(Loop::current().now(), kFirstAnswers)); });
  return {};
}

void Node::Impl::publish_hosts(const Generation& next, const Generation* before) {
  cores->run_on(0, [&] {
    std::map<std::string, std::shared_ptr<upstream::Membership>> now;
    for (const auto& [name, resolved] : next.upstreams) {
      now[name] = resolved.membership;
      const auto& health = resolved.config.health;
      resolved.hosts->distrust_new(health && health->initial == upstream::HealthConfig::Initial::unhealthy);
    }
    for (const auto& [name, resolved] : now) {
      const bool kept = before && before->upstreams.contains(name) && before->upstreams.at(name).membership == resolved;
      if (kept) continue;
      resolved->set_changes(host_state->of(name));                      // as they are by now
      resolved->publish(before ? Loop::current().now() : Time::min());  // a start begins with hosts at full weight
    }
    if (before) {
      for (const auto& [name, resolved] : before->upstreams) {
        const auto kept = now.find(name);
        if (kept == now.end() || kept->second != resolved.membership) resolved.membership->stop();
      }
    }
    const std::lock_guard lock(stores_mutex);
    memberships = std::move(now);
  });
}

void Node::Impl::follow_hosts() {
  std::map<std::string, uint64_t> versions;
  for (const auto& [name, resolved] : current->upstreams) versions[name] = resolved.hosts->version();
  if (std::exchange(followed, versions) == versions) return;
  for (size_t core = 0; core < cores->size(); ++core) {
    cores->loop(core).post([&state = *states[core]] {
      for (const auto& [name, one] : state.clusters) one.cluster->follow_hosts();
    });
  }
}

Result<> Node::hold_changes() {
  Impl& n = *impl_;
  for (const auto& [name, open] : n.current->caches) {
    if (open->edge) open->edge->book().hold();
  }
  return n.cores->finish_on(0, [&n] { return n.host_state->hold(after(Loop::current().now(), kWriting)); });
}

void Node::resume_changes() {
  Impl& n = *impl_;
  for (const auto& [name, open] : n.current->caches) {
    if (open->edge) open->edge->book().resume();
  }
  n.cores->finish_on(0, [&n] { return n.host_state->resume(); });
  n.cores->run_on(0, [&n] {
    for (const auto& [name, membership] : n.memberships) membership->set_changes(n.host_state->of(name));
  });
}

}  // namespace trellis::app
