#include "proxy/relay/config.h"

#include <algorithm>

namespace trellis::proxy {

using namespace std::chrono_literals;

Result<RelayTarget> RelayTarget::from_text(std::string_view text) {
  constexpr std::string_view kUpstream = "upstream.";
  if (text == "refuse") return RelayTarget{};
  if (!text.starts_with(kUpstream) || text.size() == kUpstream.size()) {
    return fail(Code::invalid_argument, "no such target");
  }
  return RelayTarget{std::string(text.substr(kUpstream.size()))};
}

config::Fields<RelayRouteConfig> RelayRouteConfig::fields() {
  return {{"sni", "the server's name in the TLS hello: www.example.com, or *.example.com for every name below it",
           &RelayRouteConfig::sni, config::default_is("any")},
          {"alpn", "a protocol that the client offers, such as h2", &RelayRouteConfig::alpn, config::default_is("any")},
          {"to", "where such connections go; refuse tells the client that there is no such name", &RelayRouteConfig::to,
           config::kRequired}};
}

void RelayRouteConfig::check(config::Checker& at) const {
  const std::string_view name = sni.starts_with("*.") ? std::string_view(sni).substr(2) : std::string_view(sni);
  const bool good = std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  });
  if (!good || (name.empty() && !sni.empty()) || name.starts_with('.') || name.ends_with('.'))
    at.problem("sni", "a name in lower case such as www.example.com, or *.example.com");
  if (alpn.size() > 255) at.problem("alpn", "a protocol's name has 255 bytes at most");
  if (sni.empty() && alpn.empty()) at.problem("", "says neither sni nor alpn", "what fits no route goes to `to`");
}

bool RelayRouteConfig::covers(const RelayRouteConfig& other) const {
  if (!alpn.empty() && alpn != other.alpn) return false;
  if (sni.empty() || sni == other.sni) return true;
  return sni.starts_with("*.") && other.sni.ends_with(std::string_view(sni).substr(1));
}

config::Fields<TcpRelayConfig> TcpRelayConfig::fields() {
  return {
      {"to", "where connections go that fit no route", &TcpRelayConfig::to},
      {"routes", "by what a TLS client says first; the first that fits", &TcpRelayConfig::routes},
      {"connect", "for all tries to reach a host together", &TcpRelayConfig::connect, config::range(10ms, 10min)},
      {"idle", "how long nothing may pass in either direction; 0: any time", &TcpRelayConfig::idle,
       config::range(0s, 720h)},
      {"lifetime", "of a connection, then it is cut; 0: any time", &TcpRelayConfig::lifetime, config::range(0s, 8760h)},
      {"hello", "for a TLS client's first message, where there are routes", &TcpRelayConfig::hello,
       config::range(10ms, 10min)},
      {"fault", "breaks connections on purpose, for tests and drills", &TcpRelayConfig::fault}};
}

void TcpRelayConfig::check(config::Checker& at) const {
  if (routes.empty() && to.upstream.empty()) at.problem("to", "say where connections go", "to: upstream.NAME");
  for (size_t i = 0; i < routes.size(); ++i) {
    const auto earlier = std::find_if(routes.begin(), routes.begin() + static_cast<ptrdiff_t>(i),
                                      [&](const RelayRouteConfig& one) { return one.covers(routes[i]); });
    if (earlier == routes.begin() + static_cast<ptrdiff_t>(i)) continue;
    at.problem("routes[" + std::to_string(i) + "]",
               "is never reached: routes[" + std::to_string(earlier - routes.begin()) + "] takes all that fits it",
               "the first route that fits is taken: put the narrower one first");
  }
}

config::Fields<UdpRelayConfig> UdpRelayConfig::fields() {
  return {{"to", "where datagrams go", &UdpRelayConfig::to, config::kRequired},
          {"idle", "how long a client and its host may be silent before the session ends", &UdpRelayConfig::idle,
           config::range(100ms, 24h)},
          {"sessions", "at once on one core; datagrams of further clients are dropped", &UdpRelayConfig::sessions,
           config::range(1, 1'000'000)},
          {"fault", "loses or delays datagrams on purpose, for tests and drills", &UdpRelayConfig::fault}};
}

void UdpRelayConfig::check(config::Checker& at) const {
  if (to.upstream.empty()) at.problem("to", "datagrams go to an upstream", "to: upstream.NAME");
}

Result<ProxyProtocolConfig> ProxyProtocolConfig::from_text(std::string_view text) {
  ProxyProtocolConfig out;
  if (text == "in") {
    out.in = true;
  } else if (text == "v1" || text == "v2") {
    out.out = text == "v1" ? net::ProxyVersion::v1 : net::ProxyVersion::v2;
  } else {
    return fail(Code::invalid_argument, "no such form");
  }
  return out;
}

std::string ProxyProtocolConfig::to_text() const {
  if (in) return "in";
  return out == net::ProxyVersion::v1 ? "v1" : "v2";
}

config::Fields<ProxyProtocolConfig> ProxyProtocolConfig::fields() {
  using net::ProxyVersion;
  return {{"in", "every connection begins with a header, from an address in `trusted`; others are closed",
           &ProxyProtocolConfig::in},
          {"out", "what a tcp relay tells its hosts first", &ProxyProtocolConfig::out,
           config::one_of<ProxyVersion>(
               {{"none", ProxyVersion::none}, {"v1", ProxyVersion::v1}, {"v2", ProxyVersion::v2}})},
          {"timeout", "for the header that comes in", &ProxyProtocolConfig::timeout, config::range(10ms, 10min)}};
}

}  // namespace trellis::proxy
