#include "app/import/haproxy/haproxy.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <ranges>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "app/import/haproxy/backends.h"
#include "app/import/haproxy/order.h"
#include "app/import/haproxy/proxies.h"
#include "app/import/haproxy/relay.h"
#include "app/import/haproxy/resolvers.h"
#include "app/import/haproxy/rules.h"
#include "app/import/haproxy/trust.h"
#include "app/import/haproxy/ways.h"
#include "app/import/haproxy/words.h"
#include "app/import/numbers.h"

namespace trellis::app {

namespace {

constexpr uint64_t kDay = 86'400'000;

bool has_word(const HaproxyLine& line, std::string_view word) {
  return std::ranges::find(line.words, word) != line.words.end();
}

// Words of `bind` that change who gets in, or as whom.
struct LostOfBind {
  std::string_view word;
  std::string_view why;
  std::string_view instead;
};
constexpr LostOfBind kLostOfBind[] = {
    {"verify", "there is no TLS yet: no certificate is asked for", "let who ends TLS ask for it"},
    {"interface", "every interface leads to the address", "bind to an address of that interface"},
    {"maxconn", "a listener closes what is beyond its limit and lets nobody wait", "listeners.NAME.max_connections"},
    {"transparent", "a listener has addresses of its own only", ""},
    {"namespace", "sockets are of the process's own network namespace", ""},
    {"accept-netscaler-cip", "there is no such header", "proxy_protocol: in"},
};

class Translation {
 public:
  Translation(const std::vector<HaproxyProxy>& proxies, std::map<std::string, HaproxyResolvers> resolvers,
              ConfigDraft& draft, Remarks& remarks)
      : proxies_(proxies), draft_(draft), remarks_(remarks), backends_(proxies, std::move(resolvers), draft, remarks) {}

  void run() {
    for (const HaproxyProxy& proxy : proxies_) {
      if (proxy.listens()) frontend(proxy);
    }
  }

 private:
  void frontend(const HaproxyProxy& proxy) {
    const HaproxyTrust trust = haproxy_trust(proxy, remarks_);
    std::vector<std::string> listeners;
    for (const HaproxyLine& line : proxy.lines) {
      if (line.word(0) == "bind") bind(line, proxy, trust.options(line, remarks_), listeners);
    }
    if (listeners.empty()) {
      remarks_.left_out(proxy.head.at, proxy.kind + " " + proxy.name, "it listens nowhere that Trellis could");
    } else if (proxy.http) {
      routes(proxy, trust, listeners);
    } else {
      relay_haproxy(proxy, trust, listeners, backends_, draft_, remarks_);
    }
  }

  // --- listeners ---

  void bind(const HaproxyLine& line, const HaproxyProxy& proxy, const FieldLines& trust,
            std::vector<std::string>& listeners) {
    for (size_t i = 2; i < line.words.size(); ++i) {
      const auto lost = std::ranges::find(kLostOfBind, line.words[i], &LostOfBind::word);
      if (lost == std::end(kLostOfBind) || (lost->word == "verify" && line.word(i + 1) == "none")) continue;
      remarks_.left_out(line.at, "bind ... " + line.words[i], std::string(lost->why), std::string(lost->instead));
    }
    std::string_view rest = line.word(1);
    while (!rest.empty()) {
      const size_t comma = rest.find(',');
      const std::string address(rest.substr(0, comma));
      rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
      listen(line, address, proxy, trust, listeners);
    }
  }

  void listen(const HaproxyLine& line, std::string address, const HaproxyProxy& proxy, const FieldLines& trust,
              std::vector<std::string>& listeners) {
    for (const std::string_view kind : {"ipv4@", "ipv6@"}) {
      if (address.starts_with(kind)) address.erase(0, kind.size());
    }
    const size_t colon = address.rfind(':');
    std::string host = address.substr(0, colon);
    if (host.empty() || host == "*") host = "0.0.0.0";
    if (host.find(':') != std::string::npos && !host.starts_with('[')) host = "[" + host + "]";
    const auto port = colon == std::string::npos ? std::nullopt : whole_number(address.substr(colon + 1));
    if (!port || !good_bind(host + ":" + std::to_string(*port))) {
      remarks_.left_out(line.at, "bind " + address, "a numeric address and one port of TCP only");
      return;
    }
    const bool tls = has_word(line, "ssl");
    uint64_t out = *port;
    if (tls) {
      if (out + 8000 <= 65535) out += 8000;
      host = "127.0.0.1";
      remarks_.left_out(line.at, "bind " + address + " ssl",
                        "there is no TLS yet: its requests are taken without it on " + host + ":" + std::to_string(out),
                        "let HAProxy go on ending TLS and connect there");
    }
    ListenerDraft listener;
    listener.at = line.at;
    listener.name = free_name(proxy.name.empty() ? "web" : proxy.name);
    listener.bind = host + ":" + std::to_string(out);
    if (proxy.http) listener.options = times_of(proxy);
    listener.options.insert(listener.options.end(), trust.begin(), trust.end());
    if (tls) tls_.insert(listener.name);
    listeners.push_back(listener.name);
    draft_.listeners.push_back(std::move(listener));
  }

  std::string free_name(const std::string& name) {
    const std::string wanted = plain_name(name);
    std::string out = wanted;
    for (int i = 2; !names_.insert(out).second; ++i) out = wanted + "_" + std::to_string(i);
    return out;
  }

  static FieldLines times_of(const HaproxyProxy& proxy) {
    FieldLines out;
    const auto add = [&](const char* option, uint64_t milliseconds, uint64_t low, uint64_t high) {
      if (milliseconds > 0) out.emplace_back(option, yaml_seconds(std::clamp(milliseconds, low, high)));
    };
    add("idle_timeout", proxy.idle_ms, 1000, kDay);
    add("head_timeout", proxy.request_ms, 100, 600'000);
    add("body_timeout", proxy.client_ms, 100, 3'600'000);
    add("send_timeout", proxy.client_ms, 100, 3'600'000);
    return out;
  }

  // --- routes ---

  void routes(const HaproxyProxy& proxy, const HaproxyTrust& trust, const std::vector<std::string>& listeners) {
    const HaproxyRules rules = haproxy_rules(proxy, trust.lines, remarks_);
    std::vector<std::string> plain;
    std::vector<std::string> tls;
    for (const std::string& name : listeners) (tls_.contains(name) ? tls : plain).push_back(name);
    const bool alone = std::ranges::count_if(proxies_, &HaproxyProxy::listens) == 1 && (plain.empty() || tls.empty());
    if (!tls.empty()) {
      HaproxyRules behind_tls = rules;
      std::erase_if(behind_tls.rules, [](const HaproxyRule& rule) { return rule.tls == false; });
      behind_tls.edits.request.change("X-Forwarded-Proto", "https");
      write(behind_tls, alone ? std::vector<std::string>() : tls);
    }
    if (plain.empty()) return;
    HaproxyRules without_tls = rules;
    std::erase_if(without_tls.rules, [](const HaproxyRule& rule) { return rule.tls == true; });
    write(without_tls, alone ? std::vector<std::string>() : plain);
  }

  void write(const HaproxyRules& rules, const std::vector<std::string>& listeners) {
    for (HaproxyRule& rule : rules_by_host(rules.rules, remarks_)) {
      if (draft_.has_too_many_routes()) return;
      draft_.routes.push_back(finished(std::move(rule), rules.edits));
      draft_.routes.back().match.listeners = listeners;
    }
  }

  RouteDraft finished(HaproxyRule rule, const HaproxyEdits& edits) {
    RouteDraft route = std::move(rule.route);
    if (!rule.backend.empty()) {
      if (const auto upstream = backends_.use(rule.backend, route.at)) {
        route.to = "upstream." + *upstream;
        add_haproxy_edits(edits, edits_behind(rule, route.at), route);
      } else {
        route = refused_route(route, rule.backend);
      }
    }
    if (!route.refused) add_ways(rule, route);
    if (!route.refused) {
      route.allow = std::move(rule.allow);
      route.deny = std::move(rule.deny);
    }
    return route;
  }
  // Of a rule that leads to several backends only what all of them change can be said.
  HaproxyEdits edits_behind(const HaproxyRule& rule, const ImportPlace& at) {
    const HaproxyEdits& own = backends_.edits_of(rule.backend);
    const bool same = std::ranges::all_of(rule.ways | std::views::reverse, [&](const HaproxyWay& way) {
      backends_.use(way.backend, at);
      return backends_.edits_of(way.backend) == own;
    });
    if (same) return own;
    remarks_.left_out(at, "backend " + rule.backend,
                      "a route that is split changes the same fields for all its ways: those of backends are left out",
                      "headers of routes");
    return {};
  }

  void add_ways(const HaproxyRule& rule, RouteDraft& route) {
    HaproxyShares shares = shares_of(rule);
    for (WayDraft& way : shares.ways) {
      const auto upstream = backends_.use(way.to, route.at);
      way.to = upstream ? "upstream." + *upstream : refused_target(way.to);
    }
    route.split_key = std::move(shares.key);
    route.ways = std::move(shares.ways);
  }

  const std::vector<HaproxyProxy>& proxies_;
  ConfigDraft& draft_;
  Remarks& remarks_;
  HaproxyBackends backends_;
  std::set<std::string> names_;  // of listeners
  std::set<std::string> tls_;    // listeners whose clients come through TLS
};

void global(const HaproxySection& section, ConfigDraft& draft, Remarks& remarks) {
  for (const HaproxyLine& line : section.lines) {
    if (line.word(0) == "nbthread") {
      if (const auto count = whole_number(line.word(1)); count && *count >= 1 && *count <= 64)
        draft.cores = static_cast<uint32_t>(*count);
    } else {
      tell_unread(line, remarks);
    }
  }
}

}  // namespace

ConfigDraft translate_haproxy(const std::vector<HaproxySection>& sections, Remarks& remarks) {
  ConfigDraft draft;
  draft.access_log = "./data/access.log";
  draft.access_log_format = "json";
  for (const HaproxySection& section : sections) {
    if (section.kind == "global") global(section, draft, remarks);
  }
  const std::vector<HaproxyProxy> proxies = read_haproxy_proxies(sections, remarks);
  Translation(proxies, read_haproxy_resolvers(sections, remarks), draft, remarks).run();
  return draft;
}

}  // namespace trellis::app
