// What a Node is made of. A Generation is one configuration as running parts; a reload builds the next one beside the
// current one, part by part, and keeps what did not change. The sources follow the steps of a reload:
//   node_parts.cc     stores, caches, logs, upstreams, router: what all cores share
//   node_hosts.cc     where the hosts of the upstreams come from
//   node_services.cc  services, their jobs and schedules
//   node_cores.cc     sockets, and what each core owns: listeners, pipelines, targets, clusters
//   node_purges.cc   purges of edge caches, and the clusters they travel in
//   node_figures.cc   metrics of the node itself and the tiers of its live picture
//   node.cc           start, reload, stop
// Members are of the thread that starts and reloads the node, where nothing else is said. For those sources only.
#pragma once

#include <unistd.h>

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "app/config.h"
#include "app/control/control.h"
#include "app/node/host_state.h"
#include "app/node/node.h"
#include "app/node/open_store.h"
#include "app/node/status.h"
#include "base/metrics.h"
#include "cache/edge/edge_cache.h"
#include "cache/memory_cache.h"
#include "config/diff.h"
#include "http/routes.h"
#include "http/server.h"
#include "net/address.h"
#include "proxy/access_log.h"
#include "proxy/cache/silence.h"
#include "proxy/held_body.h"
#include "proxy/pipeline.h"
#include "proxy/relay/tcp_relay.h"
#include "proxy/relay/udp_relay.h"
#include "queue/event_log.h"
#include "queue/service_jobs.h"
#include "runtime/cores.h"
#include "runtime/socket.h"
#include "runtime/sync.h"
#include "services/mail/mail.h"
#include "services/service.h"
#include "upstream/cluster.h"
#include "upstream/health/host_care.h"
#include "upstream/hosts.h"
#include "upstream/membership.h"

namespace trellis::net {
class Dns;
}

namespace trellis::app {

inline constexpr Duration kServiceTimeout = std::chrono::seconds(30);  // for what a service waits for: store, cache

// A started service with its routes. Requests in flight keep it; the node stops it when the last one is gone.
struct RunningService {
  services::Env env;
  std::string store;                         // its name
  std::unique_ptr<queue::ServiceJobs> jobs;  // of core 0
  std::unique_ptr<services::Service> service;
  http::Routes routes;
  std::shared_ptr<void> keeps;  // its store and cache
};

struct OpenEventLog {
  LogConfig config;
  std::unique_ptr<queue::EventLog> log;
};
struct OpenCache {
  CacheConfig config;
  std::shared_ptr<cache::MemoryCache> cache;
  std::shared_ptr<cache::EdgeCache> edge;  // null until a route has a cache filter for it
};
// With all that it needs; null: there is none.
inline std::shared_ptr<cache::EdgeCache> edge_of(const std::shared_ptr<OpenCache>& open) {
  return {open, open->edge.get()};
}
struct OpenLog {
  AccessLogSettings settings;
  std::shared_ptr<proxy::AccessLog> log;
};
struct ResolvedUpstream {
  uint64_t serial = 0;  // changes with its configuration
  upstream::UpstreamConfig config;
  std::shared_ptr<upstream::Hosts> hosts;
  std::shared_ptr<upstream::Breaker> breaker;  // null: none
  std::shared_ptr<upstream::Ejection> ejection;
  std::shared_ptr<const upstream::Geo> geo;          // null: none
  std::shared_ptr<upstream::Membership> membership;  // who they are; published when nothing can fail any more
};

// One configuration as running parts that all cores share.
struct Generation {
  LoadedConfig config;
  std::map<std::string, std::shared_ptr<OpenStore>> stores;
  std::map<std::string, std::shared_ptr<OpenCache>> caches;
  std::map<std::string, std::shared_ptr<OpenEventLog>> logs;
  std::map<std::string, std::shared_ptr<RunningService>> services;
  std::vector<queue::WorkerPlan> remote_plans;  // jobs of other nodes
  std::shared_ptr<net::Dns> dns;
  std::map<std::string, ResolvedUpstream> upstreams;
  std::shared_ptr<OpenLog> access_log;
  std::string explain_key;
  std::map<std::string, std::shared_ptr<proxy::Silence>> silences;      // by cache that has members
  std::map<std::string, std::string> keys;                              // what the key files of caches hold
  std::map<std::string, std::shared_ptr<const proxy::Router>> routers;  // by listener
};

struct ListeningSockets {
  config::HostPort bind;
  ListenerConfig::Kind kind;
  net::Address address;
  std::vector<int> fds;  // one a core; more where a process with more cores handed them over
  // Of udp: what the relays work on and close, until they have it. They cannot share `fds`, which are handed to a new
  // process; and a relay that found no descriptor would be deaf.
  std::vector<int> duplicates;
  Result<> duplicate();
  Result<> start();  // connections may come
  void close() noexcept {
    for (const int fd : fds) ::close(fd);
    for (const int fd : duplicates) {
      if (fd >= 0) ::close(fd);
    }
    fds.clear();
    duplicates.clear();
  }
};

// One of server, tcp and udp; acceptors of the first two.
struct CoreListener {
  std::unique_ptr<http::Server> server;
  std::unique_ptr<proxy::TcpRelay> tcp;
  std::unique_ptr<proxy::UdpRelay> udp;
  std::vector<std::unique_ptr<Acceptor>> acceptors;

  // At every socket that is this core's, of so many cores.
  void accept_at(const ListeningSockets& sockets, size_t core, size_t cores,
                 const std::function<void(int fd)>& on_connection);
};
struct CoreCluster {
  uint64_t serial = 0;
  std::shared_ptr<upstream::Cluster> cluster;
};
struct CoreCare {
  uint64_t serial = 0;
  std::unique_ptr<upstream::HostCare> care;
};
// What one core owns. Touched on that core only.
struct CoreState {
  std::unique_ptr<proxy::Shedder> shedder;  // first: pipelines use it
  // Of filters: what goes on beside requests, and the bytes of bodies that are kept.
  TaskGroup background;
  // Of core 0: the caches that are walked through for the sake of their purges, by name.
  TaskGroup walks;
  std::map<std::string, std::weak_ptr<cache::EdgeCache>> walked;
  std::shared_ptr<proxy::HeldMemory> held = std::make_shared<proxy::HeldMemory>();
  std::map<std::string, CoreListener> listeners;
  std::map<std::string, CoreCluster> clusters;
  std::map<std::string, std::shared_ptr<proxy::Members>> members;  // by cache
  std::map<std::string, CoreCare> care;                            // of core 0: looks after the hosts of each upstream
  // Built by prepare(), put to use by commit().
  std::map<std::string, CoreCluster> next_clusters;
  std::map<std::string, std::shared_ptr<proxy::Members>> next_members;
  std::map<std::string, std::shared_ptr<proxy::Pipeline>> next_pipelines;
  std::map<std::string, std::shared_ptr<const proxy::TcpRelayOptions>> next_tcp;
  std::map<std::string, std::shared_ptr<const proxy::UdpRelayOptions>> next_udp;
  TaskGroup draining;  // servers of listeners that are gone
  TaskGroup waiting;   // who waits for them at the stop
};

// Are the values at `path` the same in both?
template <config::HasFields T>
bool same(const config::Node& before, const config::Node& now, std::string_view path) {
  return config::diff<T>(before.descend(path), now.descend(path)).empty();
}

// Takes no more connections, waits for those there are, cuts what is left after `patience`. On the listener's core.
Task<> drain_listener(CoreListener listener, Duration patience);

// 32 hexadecimal digits, other ones in each process.
std::string make_explain_key();

struct Node::Impl {
  Node* self = nullptr;
  Metrics metrics;
  Time started = system_clock().now();
  std::unique_ptr<Cores> cores;
  std::vector<std::unique_ptr<CoreState>> states;
  std::shared_ptr<Generation> current;
  std::vector<std::shared_ptr<Generation>> replaced;  // still used by requests in flight
  std::vector<std::shared_ptr<RunningService>> retired;
  std::vector<std::shared_ptr<OpenStore>> retired_stores;
  std::map<std::string, ListeningSockets> sockets;
  SocketsByName inherited;                                 // not taken yet
  mutable std::mutex listeners_mutex;                      // sockets is read by status requests
  const std::string own_explain_key = make_explain_key();  // where the configuration has none
  mutable std::mutex stores_mutex;
  std::string explain_key;                                                   // of `current`, for the control API
  std::map<std::string, std::shared_ptr<OpenStore>> open_stores;             // likewise
  std::map<std::string, std::shared_ptr<queue::EventLog>> open_logs;         // likewise
  std::map<std::string, std::shared_ptr<cache::MemoryCache>> open_caches;    // likewise
  std::map<std::string, std::shared_ptr<cache::EdgeCache>> open_edges;       // likewise
  std::shared_ptr<const Generation> open_generation;                         // `current` itself
  std::map<std::string, std::shared_ptr<upstream::Membership>> memberships;  // likewise
  std::unique_ptr<HostState> host_state;                                     // of core 0
  std::map<std::string, std::shared_ptr<proxy::RouteFigures>> figures;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<proxy::RouteCounts>> counts;
  std::map<std::string, uint64_t> followed;  // version of an upstream's hosts that every core has been told of
  std::vector<std::shared_ptr<void>> gauges;
  std::vector<std::shared_ptr<void>> connection_gauges;  // of the current upstreams
  uint64_t next_serial = 1;
  Time purges_kept{};  // when keep_purges() did so
  std::atomic<bool> ready{false};
  bool stopped = false;

  std::shared_ptr<Control> control;
  std::unique_ptr<http::Server> control_server;  // of core 0
  std::vector<std::unique_ptr<Acceptor>> control_acceptors;
  std::vector<int> control_fds;
  net::Address control_address;
  std::unique_ptr<Status> status;
  std::unique_ptr<Event> sampling_ends;   // of core 0
  std::unique_ptr<TaskGroup> background;  // of core 0

  Result<> open_shared(Generation& next, const Generation* before);
  Result<> open_hosts(Generation& next, const Generation* before);
  void publish_hosts(const Generation& next, const Generation* before);
  Result<> open_services(Generation& next, const Generation* before);
  Result<> open_mail(Generation& next, const Generation* before, const std::string& name,
                     const services::mail::MailConfig& mail);
  Result<> start_service(Generation& next, const std::string& name, const std::string& store,
                         std::unique_ptr<services::Service> service, std::shared_ptr<void> keeps);
  Result<> check_queues(const Generation& next) const;
  Result<> put_schedules(const Generation& next, const Generation* before);
  void begin_jobs(const Generation& next, const Generation* before);
  std::vector<int> take_inherited(const std::string& name, const net::Address& wanted, int type);
  Result<std::map<std::string, ListeningSockets>> open_sockets(const NodeConfig& values);
  // Those of the listeners that close next.
  void let_last_ones_in(const std::function<bool(const std::string& name)>& closes) const;
  Result<> prepare(size_t core, const std::shared_ptr<Generation>& next);
  void prepare_relay(CoreState& state, const Generation& next, const std::string& name);
  Result<std::unique_ptr<http::Handler>> make_target(CoreState& state, const Generation& next,
                                                     const proxy::TargetConfig& to);
  void commit(size_t core, const std::shared_ptr<Generation>& next, std::map<std::string, ListeningSockets>& listening,
              const std::vector<std::string>& own);
  void take_care(const Generation& next);
  // node_purges.cc
  Result<> read_keys(Generation& next) const;
  void prepare_members(CoreState& state, const Generation& next);
  void begin_walks(const Generation& next);
  void commit_members(size_t core, const std::vector<std::string>& own);
  std::vector<std::string> own_addresses(const Generation& next,
                                         const std::map<std::string, ListeningSockets>& opened) const;
  void keep_purges();
  void drop_prepared();
  void stop_service(RunningService& service, Duration patience);
  void retire_unused();
  void follow_hosts();
  void watch();
  void set_tiers();
  void watch_connections();
};

}  // namespace trellis::app
