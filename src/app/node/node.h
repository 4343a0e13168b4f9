// A running node: its cores, listeners, upstreams, stores, caches and services, put together from a configuration. A
// reload builds everything new beside the old, and swaps only when all of it stands; any error leaves the old one
// running. What did not change (listeners, connections, pools, stores, services) stays. Made, reloaded and stopped on
// the main thread; the rest of the methods say who may call.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "app/config.h"
#include "app/handover.h"
#include "base/error.h"
#include "base/metrics.h"
#include "runtime/cores.h"

namespace trellis::cache {
class EdgeCache;
class KeyTemplate;
class MemoryCache;
}  // namespace trellis::cache
namespace trellis::http {
struct Request;
}
namespace trellis::proxy {
struct CacheFilterConfig;
class Members;
}  // namespace trellis::proxy
namespace trellis::queue {
class EventLog;
}
namespace trellis::upstream {
class Membership;
}

namespace trellis::app {

class HostState;
struct OpenStore;

// What purges a cache: itself, and the other nodes of its cluster, if there are any.
struct PurgeHands {
  std::shared_ptr<cache::EdgeCache> cache;
  std::shared_ptr<proxy::Members> members;
};

// The route that takes a request at a listener, and what its cache filter says.
struct CachedRoute {
  std::string listener;
  std::string route;                                       // "": none takes it
  std::shared_ptr<const proxy::CacheFilterConfig> filter;  // null: the route has no cache filter
  std::shared_ptr<const cache::KeyTemplate> key;           // of its answers; null likewise
  std::shared_ptr<cache::EdgeCache> cache;                 // of the filter
};

struct ReloadReport {
  std::vector<std::string> changes;   // "upstreams.api.hosts[0]: ..." as config/diff.h writes them
  std::vector<std::string> warnings;  // what needs a restart to take effect
};

// The new process that has this one's sockets, when it stops.
enum class Successor : uint8_t {
  none,
  waits,   // until this one is gone, for its data
  serves,  // already
};

struct ListenerStatus {
  std::string name;
  std::string address;      // where it really listens
  std::string_view scheme;  // http, tcp or udp
};

class Node {
 public:
  // `inherited`: listening sockets of the process that it takes over from.
  static Result<std::unique_ptr<Node>> start(LoadedConfig config, SocketsByName inherited = {});
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  Result<ReloadReport> reload(LoadedConfig config);
  // Closes what a reload replaced once no request uses it, and lets go of hosts that left; about once a second.
  void tidy();
  // Stops listening, lets requests in flight finish (at most runtime.drain, or runtime.handover beside a successor that
  // serves), stops services and stores. Once.
  void stop(Successor successor = Successor::none);
  // Before a new process begins: what it reads is on disk, and nothing that it would not know of is changed any more,
  // until it has failed.
  Result<> hold_changes();
  void resume_changes();
  // What a new process needs to take over; they stay open here, too.
  SocketsByName sockets_to_hand_over() const;
  // Stores and logs are of one process at a time.
  bool holds_data() const;

  // Any thread, while the node lives.
  Metrics& metrics() noexcept;
  void reopen_logs() noexcept;  // for log rotation
  std::vector<ListenerStatus> listeners() const;
  std::map<std::string, std::shared_ptr<OpenStore>> stores() const;           // of the current configuration
  std::map<std::string, std::shared_ptr<queue::EventLog>> logs() const;       // likewise
  std::map<std::string, std::shared_ptr<cache::MemoryCache>> caches() const;  // likewise
  std::map<std::string, std::shared_ptr<cache::EdgeCache>> edges() const;     // likewise, of cache filters
  CachedRoute cached_route(const http::Request& request, const std::string& listener) const;  // "": the first that fits
  std::map<std::string, PurgeHands> purges() const;                                  // likewise, by cache; of core 0
  std::map<std::string, std::shared_ptr<upstream::Membership>> memberships() const;  // likewise, by upstream; of core 0
  HostState& host_state() noexcept;                                                  // core 0
  std::string explain_key() const;                                                   // of the current configuration
  std::string status_json() const;  // the live picture, as the page shows it
  std::string control_address() const;
  std::string io() const;  // "io_uring" or "epoll"
  size_t cores() const noexcept;
  bool ready() const noexcept;  // takes traffic: false before the start has ended and while it drains
  // What POST /v1/reload and SIGHUP do: set by main, called on the control core; runs the reload on the main thread and
  // completes there.
  using ReloadRequest = std::function<void(std::function<void(Result<ReloadReport>)> done)>;
  void on_reload_request(ReloadRequest request);
  // Likewise for POST /v1/upgrade and SIGUSR2; gives the new process's id.
  using UpgradeRequest = std::function<void(std::function<void(Result<int64_t>)> done)>;
  void on_upgrade_request(UpgradeRequest request);

  struct Impl;

 private:
  explicit Node(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace trellis::app
