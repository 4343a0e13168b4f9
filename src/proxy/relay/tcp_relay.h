// The TCP relay of one listener on one core: takes a connection, finds out where it belongs, connects to a host of that
// upstream and passes the bytes on both ways. In this order, each with a time limit: the PROXY header of a trusted
// balancer, the TLS hello where there are routes (SNI, ALPN), a host by the upstream's policy with the client's address
// as key (the next one while connects fail), the PROXY header for the host, the bytes.
//
// Limits: connections of this core, 16 KiB of a hello, idle time, lifetime. Who is refused costs nobody else anything.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/time.h"
#include "net/address_set.h"
#include "net/proxy_protocol.h"
#include "proxy/relay/config.h"
#include "runtime/task.h"

namespace trellis {
inline namespace base {
class Metrics;
}
}  // namespace trellis
namespace trellis::net {
struct ClientHello;
}
namespace trellis::upstream {
class Cluster;
}

namespace trellis::proxy {

class AccessLog;

struct RelayRoute {
  RelayRouteConfig match;
  std::shared_ptr<upstream::Cluster> to;  // null: refuse
};

// Immutable, of one core; connections keep the one that they began with.
struct TcpRelayOptions {
  std::string listener;
  std::vector<RelayRoute> routes;
  std::shared_ptr<upstream::Cluster> to;  // of what fits no route; null: refuse
  TcpRelayConfig limits;                  // its times
  std::shared_ptr<TcpFaults> faults;      // null: none
  size_t max_connections = 100'000;
  bool header_in = false;
  net::AddressSet trusted;  // who may send a header
  Duration header_timeout = std::chrono::seconds(5);
  net::ProxyVersion header_out = net::ProxyVersion::none;
  std::shared_ptr<AccessLog> access_log;  // null: none
};

// The route's number that fits; routes.size(): none does.
size_t find_relay_route(const std::vector<RelayRoute>& routes, const net::ClientHello& hello) noexcept;

class TcpRelay {
 public:
  struct Impl;  // tcp_relay.cc's own

  // On the loop's thread, where it also must be destroyed: what is left is cut by a reset.
  TcpRelay(std::shared_ptr<const TcpRelayOptions> options, Metrics& metrics);
  ~TcpRelay();
  TcpRelay(const TcpRelay&) = delete;
  TcpRelay& operator=(const TcpRelay&) = delete;

  // Takes over an accepted descriptor.
  void accept(int fd);
  // For connections that come from now on.
  void set_options(std::shared_ptr<const TcpRelayOptions> options);
  // True when the last connection ended before the deadline.
  Task<bool> drain(Deadline deadline);
  size_t connections() const noexcept;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace trellis::proxy
