// What a configuration says of relays, which pass bytes on and do not look at them: a listener's `tcp` and `udp`, the
// PROXY protocol of any listener. Plain values; read by field tables. docs/relay.md says what they mean.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/time.h"
#include "config/fields.h"
#include "net/proxy_protocol.h"
#include "proxy/relay/fault.h"

namespace trellis::proxy {

// upstream.NAME, or refuse.
struct RelayTarget {
  std::string upstream;  // "": refuse
  static Result<RelayTarget> from_text(std::string_view text);
  std::string to_text() const { return upstream.empty() ? "refuse" : "upstream." + upstream; }
  static constexpr std::string_view kText = "upstream.NAME or refuse";
};

// By what a TLS client says first; what is not given fits every connection.
struct RelayRouteConfig {
  std::string sni;   // a name, or *.example.com for every name below it
  std::string alpn;  // one of the protocols that the client offers
  RelayTarget to;
  static config::Fields<RelayRouteConfig> fields();
  void check(config::Checker& at) const;
  // Whether every connection that fits `other` fits this one.
  bool covers(const RelayRouteConfig& other) const;
};

struct TcpRelayConfig {
  RelayTarget to;
  std::vector<RelayRouteConfig> routes;
  Duration connect = std::chrono::seconds(10);
  Duration idle = std::chrono::minutes(10);
  Duration lifetime{0};  // 0: none
  Duration hello = std::chrono::seconds(5);
  std::optional<TcpFaultConfig> fault;
  static config::Fields<TcpRelayConfig> fields();
  void check(config::Checker& at) const;
};

struct UdpRelayConfig {
  RelayTarget to;
  Duration idle = std::chrono::seconds(30);
  uint32_t sessions = 10'000;
  std::optional<UdpFaultConfig> fault;
  static config::Fields<UdpRelayConfig> fields();
  void check(config::Checker& at) const;
};

// in, v1 or v2; or both directions with a time limit.
struct ProxyProtocolConfig {
  bool in = false;
  net::ProxyVersion out = net::ProxyVersion::none;
  Duration timeout = std::chrono::seconds(5);
  static Result<ProxyProtocolConfig> from_text(std::string_view text);
  static constexpr std::string_view kText = "in, v1 or v2";
  static config::Fields<ProxyProtocolConfig> fields();
  std::string to_text() const;
};

}  // namespace trellis::proxy
