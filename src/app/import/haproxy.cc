#include "app/import/haproxy.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "app/import/nginx_path.h"
#include "base/ascii.h"
#include "config/values.h"
#include "proxy/field_rules.h"
#include "proxy/filters/addresses.h"

namespace trellis::app {

namespace {

constexpr uint64_t kDay = 86'400'000;
constexpr size_t kMaxRoutes = 2'000;

uint64_t within(uint64_t value, uint64_t low, uint64_t high) { return std::min(std::max(value, low), high); }

std::optional<uint64_t> number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Done by Trellis without being told, or of no effect on what clients and servers see.
constexpr std::string_view kNothing[] = {"daemon",
                                         "user",
                                         "group",
                                         "chroot",
                                         "pidfile",
                                         "maxconn",
                                         "ulimit-n",
                                         "nbproc",
                                         "nbthread",
                                         "cpu-map",
                                         "description",
                                         "hash-type",
                                         "fullconn",
                                         "bind-process",
                                         "unix-bind",
                                         "spread-checks",
                                         "master-worker",
                                         "uid",
                                         "gid",
                                         "log-tag",
                                         "log-send-hostname",
                                         "id",
                                         "enabled",
                                         "node",
                                         "maxconnrate",
                                         "maxsslconn",
                                         "nosplice",
                                         "busy-polling",
                                         "option httplog",
                                         "option tcp-check",
                                         "option tcplog",
                                         "option dontlognull",
                                         "option dontlog-normal",
                                         "option http-server-close",
                                         "option http-keep-alive",
                                         "option httpclose",
                                         "option forceclose",
                                         "option forwardfor",
                                         "option redispatch",
                                         "option abortonclose",
                                         "option contstats",
                                         "option splice-auto",
                                         "option splice-request",
                                         "option splice-response",
                                         "option tcp-smart-accept",
                                         "option tcp-smart-connect",
                                         "option tcpka",
                                         "option clitcpka",
                                         "option srvtcpka",
                                         "option prefer-last-server",
                                         "option http-pretend-keepalive",
                                         "option logasap",
                                         "option http-use-htx",
                                         "option log-health-checks",
                                         "option httpslog",
                                         "option socket-stats",
                                         "option http-buffer-request",
                                         "option nolinger",
                                         "option http-no-delay",
                                         "log-format-sd",
                                         "http-reuse",
                                         "pool-max-conn",
                                         "pool-purge-delay"};

struct Absent {
  std::string_view prefix;
  std::string_view why;
  std::string_view instead;
};
constexpr Absent kAbsent[] = {
    {"stick", "there are no stick tables", ""},
    {"cookie", "clients are not bound to a server by the import", "see docs/migrating-from-haproxy.md"},
    {"http-check", "only send, and expect of a status or a text, are known here", ""},
    {"tcp-check", "only send, and expect of a status or a text, are known here", ""},
    {"option", "not known to the import", ""},
    {"errorfile", "errors of Trellis are problem+json", "let the application make its error pages"},
    {"errorloc", "errors of Trellis are problem+json", "let the application make its error pages"},
    {"compression", "not part of the import", "add the filter compress to the routes"},
    {"capture", "logs hold what they hold", "read the JSON access log"},
    {"log-format", "formats of your own are not known", "read the JSON access log"},
    {"log", "the access log is a file or a stream", "observe.access_log; let the log shipper read it"},
    {"ssl-", "there is no TLS yet", "let HAProxy go on ending TLS before Trellis"},
    {"ca-base", "there is no TLS yet", ""},
    {"crt-base", "there is no TLS yet", ""},
    {"tune.", "Trellis has limits of its own", "listeners.NAME and upstreams.NAME.limits"},
    {"lua-", "scripts do not run here", ""},
    {"acl", "not known to the import", ""},
    {"filter", "not known to the import", ""},
    {"stats", "not part of the import", "a route to: status; /metrics of the control address"},
    {"monitor", "the node has /healthz and /readyz at its control address", ""},
    {"email-alert", "no mail is sent about servers", ""},
    {"http-request", "not known to the import", "filters of the route: headers, rewrite, redirect, allow, deny"},
    {"http-response", "not known to the import", "filters of the route: headers"},
    {"http-after-response", "not known to the import", "filters of the route: headers"},
    {"tcp-request", "not known to the import", "filters of the route: allow, deny"},
    {"rate-limit", "there is no rate limit yet", ""},
};

// What a proxy section says, after its defaults.
struct Proxy {
  std::string kind;
  std::string name;
  HaproxyLine head;
  bool http = false;
  uint64_t connect_ms = 0;
  uint64_t server_ms = 0;
  uint64_t client_ms = 0;
  uint64_t request_ms = 0;
  uint64_t idle_ms = 0;
  uint64_t tunnel_ms = 0;
  std::optional<uint64_t> retries;
  std::vector<std::string> balance;
  std::vector<HaproxyLine> lines;  // all others, those of the defaults first
};

// One conjunction of conditions as a match.
struct Case {
  std::string host;
  std::string path;
  std::vector<std::string> methods;
  FieldLines headers;
  FieldLines query;
};

// What all routes of a frontend have: header changes, and whom `http-request deny` keeps out by address.
struct Edits {
  std::vector<std::string> allow;
  std::vector<std::string> deny;
  uint32_t guards_from = 0;  // line of the last such rule; http-request rules before it are not guarded
  FieldLines set;
  FieldLines answer_set;
  std::vector<std::string> removed;
  std::vector<std::string> answer_removed;
};

class Translation {
 public:
  Translation(ConfigDraft& draft, Remarks& remarks) : draft_(draft), remarks_(remarks) {}

  void run(const std::vector<HaproxySection>& sections) {
    Proxy defaults;
    std::map<std::string, Proxy> named;
    for (const HaproxySection& section : sections) {
      if (section.kind == "defaults") {
        defaults = Proxy{};
        read(section, defaults);
        if (!section.name.empty()) named[section.name] = defaults;
      } else if (section.kind == "frontend" || section.kind == "backend" || section.kind == "listen") {
        Proxy proxy = defaults;
        const auto from = std::ranges::find(section.head.words, "from");
        if (from != section.head.words.end() && std::next(from) != section.head.words.end() &&
            named.contains(*std::next(from)))
          proxy = named[*std::next(from)];
        proxy.kind = section.kind;
        proxy.name = section.name;
        proxy.head = section.head;
        read(section, proxy);
        proxies_.push_back(std::move(proxy));
      } else if (section.kind == "global") {
        global(section);
      } else if (section.kind != "peers" && section.kind != "mailers") {
        left_out(section.head, section.kind, "this kind of section is not known to the import");
      }
    }
    for (const Proxy& proxy : proxies_) {
      if (proxy.kind != "backend") frontend(proxy);
    }
  }

 private:
  void left_out(const HaproxyLine& at, std::string what, std::string why, std::string instead = {}) {
    remarks_.add({Remark::Kind::left_out, at.at, std::move(what), std::move(why), std::move(instead)});
  }
  void differs(const HaproxyLine& at, std::string what, std::string why) {
    remarks_.add({Remark::Kind::differs, at.at, std::move(what), std::move(why), ""});
  }
  void unknown(const HaproxyLine& line) {
    const std::string text = line.text();
    for (const std::string_view nothing : kNothing) {
      if (text == nothing || text.starts_with(std::string(nothing) + " ")) return;
    }
    const std::string what = line.words.size() > 1 ? line.words[0] + " " + line.words[1] : line.words[0];
    for (const Absent& absent : kAbsent) {
      if (!text.starts_with(absent.prefix)) continue;
      left_out(line, what, std::string(absent.why), std::string(absent.instead));
      return;
    }
    left_out(line, what, "not known to the import");
  }

  void global(const HaproxySection& section) {
    for (const HaproxyLine& line : section.lines) {
      if (line.word(0) == "nbthread") {
        if (const auto count = number(line.word(1)); count && *count >= 1 && *count <= 64)
          draft_.cores = static_cast<uint32_t>(*count);
      } else {
        unknown(line);
      }
    }
  }

  void read(const HaproxySection& section, Proxy& out) {
    for (const HaproxyLine& line : section.lines) {
      const std::string_view word = line.word(0);
      if (word == "mode") {
        out.http = line.word(1) == "http";
      } else if (word == "timeout") {
        const auto time = haproxy_milliseconds(line.word(2));
        const std::string_view which = line.word(1);
        uint64_t* const into = which == "connect"           ? &out.connect_ms
                               : which == "server"          ? &out.server_ms
                               : which == "client"          ? &out.client_ms
                               : which == "http-request"    ? &out.request_ms
                               : which == "http-keep-alive" ? &out.idle_ms
                               : which == "tunnel"          ? &out.tunnel_ms
                                                            : nullptr;
        if (!time) {
          left_out(line, "timeout " + std::string(which), "not a time: " + std::string(line.word(2)));
        } else if (into) {
          *into = *time;
        } else if (which != "queue" && which != "check" && which != "client-fin" && which != "server-fin") {
          left_out(line, "timeout " + std::string(which), "not known to the import");
        }
      } else if (word == "retries") {
        out.retries = number(line.word(1));
      } else if (word == "balance") {
        out.balance.assign(line.words.begin() + 1, line.words.end());
      } else {
        out.lines.push_back(line);
      }
    }
  }

  // --- frontends ---

  void frontend(const Proxy& proxy) {
    std::vector<std::string> listeners;
    for (const HaproxyLine& line : proxy.lines) {
      if (line.word(0) == "bind") bind(line, proxy, listeners);
    }
    if (listeners.empty()) {
      left_out(proxy.head, proxy.kind + " " + proxy.name, "it listens nowhere that Trellis could");
      return;
    }
    if (!proxy.http) {
      relay(proxy, listeners);
      return;
    }
    acls_.clear();
    for (const HaproxyLine& line : proxy.lines) {
      if (line.word(0) == "acl" && line.words.size() >= 3) acls_[line.words[1]].push_back(line);
    }
    Edits edits;
    without_tls_.clear();
    std::string last;
    HaproxyLine last_line = proxy.head;
    std::vector<RouteDraft> routes;
    for (const HaproxyLine& line : proxy.lines) {
      const std::string_view word = line.word(0);
      if (word == "bind" || word == "acl" || belongs_to_hosts(line)) continue;
      if (word == "default_backend") {
        last = line.word(1);
        last_line = line;
      } else if (word == "use_backend") {
        add_cases(line, 2, "upstream", std::string(line.word(1)), routes);
      } else if (word == "redirect") {
        redirect(line, 1, routes);
      } else if (word == "http-request" && line.word(1) == "redirect") {
        redirect(line, 2, routes);
      } else if (word == "http-request" && line.word(1) == "deny") {
        if (!guard(line, edits)) deny(line, routes);
      } else if (word == "http-request" && line.word(1) == "return") {
        answer(line, routes);
      } else if (word == "block" || (word == "tcp-request" && line.text().find(" reject") != std::string::npos)) {
        left_out(line, line.words[0] + " " + std::string(line.word(1)), "not known to the import",
                 "what it refused is let through; allow and deny are filters of a route");
      } else if (word == "maxconn") {
        left_out(line, "maxconn", "a listener closes what is beyond its limit and lets nobody wait",
                 "listeners.NAME.max_connections");
      } else if (!edit(line, edits)) {
        unknown(line);
      }
    }
    const auto auth = std::ranges::find_if(
        proxy.lines, [](const HaproxyLine& line) { return refuses(line) && line.word(1) == "auth"; });
    if (auth != proxy.lines.end()) {
      for (RouteDraft& route : routes) route = refused_route(route, "http-request auth");
      last.clear();
    }
    if (proxy.kind == "listen" && auth == proxy.lines.end()) last = proxy.name;
    RouteDraft rest;
    rest.at = last_line.at;
    rest.directive = last_line.text();
    rest.path = "/**";
    rest.to = last.empty() ? "{ fixed: { status: 503 } }" : std::string();
    if (!last.empty()) rest.add_prefix = last;  // resolved below, as for the others
    if (auth != proxy.lines.end()) rest = refused_route(rest, "http-request auth");
    routes.push_back(std::move(rest));
    // http-request rules come before `redirect`, and both before use_backend.
    const auto sort = [](std::vector<RouteDraft>& rules) {
      std::ranges::stable_sort(rules, {}, [](const RouteDraft& route) {
        if (route.directive.starts_with("http-request")) return 0;
        return route.directive.starts_with("redirect") ? 1 : route.directive.starts_with("use_backend") ? 2 : 3;
      });
    };
    std::vector<std::string> plain;
    std::vector<std::string> tls;
    for (const std::string& name : listeners) (tls_.contains(name) ? tls : plain).push_back(name);
    apart_ = several_frontends() || (!plain.empty() && !tls.empty());
    sort(routes);
    if (!tls.empty()) {
      std::vector<RouteDraft> rules = routes;
      std::erase_if(rules, [&](const RouteDraft& route) { return without_tls_.contains(route.at.line); });
      Edits inside = edits;
      std::erase_if(inside.set, [](const auto& one) { return one.first == "X-Forwarded-Proto"; });
      inside.set.emplace_back("X-Forwarded-Proto", "https");
      finish(proxy, tls, rules, inside);
    }
    if (!plain.empty()) finish(proxy, plain, routes, edits);
  }

  void bind(const HaproxyLine& line, const Proxy& proxy, std::vector<std::string>& listeners) {
    const bool tls = std::ranges::find(line.words, "ssl") != line.words.end();
    if (std::ranges::find(line.words, "accept-proxy") != line.words.end())
      left_out(line, "bind accept-proxy", "PROXY headers are not read, what begins with one gets 400",
               "let clients connect without it");
    std::string_view rest = line.word(1);
    while (!rest.empty()) {
      const size_t comma = rest.find(',');
      std::string address(rest.substr(0, comma));
      rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
      for (const std::string_view kind : {"ipv4@", "ipv6@"}) {
        if (address.starts_with(kind)) address.erase(0, kind.size());
      }
      const size_t colon = address.rfind(':');
      const auto port = colon == std::string::npos ? std::nullopt : number(std::string_view(address).substr(colon + 1));
      if (address.starts_with('/') || address.find('@') != std::string::npos || !port || *port == 0 || *port > 65535) {
        left_out(line, "bind " + address, "an address and one port of TCP only");
        continue;
      }
      std::string host = address.substr(0, colon);
      if (host.empty() || host == "*") host = "0.0.0.0";
      if (host.find(':') != std::string::npos && !host.starts_with('[')) host = "[" + host + "]";
      if (!good_bind(host + ":" + std::to_string(*port))) {
        left_out(line, "bind " + address, "a numeric address and one port only");
        continue;
      }
      uint64_t out = *port;
      if (tls) {
        if (out + 8000 <= 65535) out += 8000;
        host = "127.0.0.1";
        left_out(line, "bind " + address + " ssl",
                 "there is no TLS yet: its requests are taken without it on " + host + ":" + std::to_string(out),
                 "let HAProxy go on ending TLS and connect there");
      }
      ListenerDraft listener;
      listener.at = line.at;
      const std::string wanted = plain_name(proxy.name.empty() ? "web" : proxy.name);
      listener.name = wanted;
      for (int i = 2; !names_.insert(listener.name).second; ++i) listener.name = wanted + "_" + std::to_string(i);
      listener.bind = host + ":" + std::to_string(out);
      if (proxy.http) {
        if (proxy.idle_ms > 0)
          listener.options.emplace_back("idle_timeout", yaml_seconds(within(proxy.idle_ms, 1000, kDay)));
        if (proxy.request_ms > 0)
          listener.options.emplace_back("head_timeout", yaml_seconds(within(proxy.request_ms, 100, 600'000)));
        if (proxy.client_ms > 0) {
          const std::string time = yaml_seconds(within(proxy.client_ms, 100, 3'600'000));
          listener.options.emplace_back("body_timeout", time);
          listener.options.emplace_back("send_timeout", time);
        }
      }
      if (tls) tls_.insert(listener.name);
      listeners.push_back(listener.name);
      draft_.listeners.push_back(std::move(listener));
    }
  }

  // mode tcp: bytes are passed on; a name in the TLS hello may choose the backend.
  void relay(const Proxy& proxy, const std::vector<std::string>& listeners) {
    const auto drop = [&](const HaproxyLine& line, const std::string& why) {
      left_out(line, line.words[0] + " " + std::string(line.word(1)), why);
      std::erase_if(draft_.listeners, [&](const ListenerDraft& one) {
        return std::ranges::find(listeners, one.name) != listeners.end();
      });
    };
    std::string to = proxy.kind == "listen" ? proxy.name : std::string();
    FieldLines names;
    acls_.clear();
    for (const HaproxyLine& line : proxy.lines) {
      if (line.word(0) == "acl" && line.words.size() >= 3) acls_[line.words[1]].push_back(line);
    }
    for (const HaproxyLine& line : proxy.lines) {
      const std::string_view word = line.word(0);
      if (word == "default_backend") {
        to = line.word(1);
      } else if (word == "use_backend") {
        const std::vector<std::string> found = hello_names(line);
        if (found.empty())
          left_out(line, "use_backend " + std::string(line.word(1)), "a relay chooses by the name in a TLS hello only");
        for (const std::string& name : found) names.emplace_back(name, line.word(1));
      } else if (word == "tcp-request") {
        const bool waits = line.word(1) == "inspect-delay" || line.word(2) == "accept";
        if (!waits) return drop(line, "a relay asks for no addresses: the listener is left out");
      } else if (word == "bind" && std::ranges::find(line.words, "ssl") != line.words.end()) {
        return drop(line, "there is no TLS yet: the listener is left out");
      } else if (word != "bind" && word != "acl" && !belongs_to_hosts(line)) {
        unknown(line);
      }
    }
    const ImportPlace at = proxy.head.at;
    std::string routes;
    for (const auto& [name, backend_name] : names) {
      const auto upstream = backend(backend_name, at);
      routes += (routes.empty() ? ", routes: [" : ", ") +
                ("{ sni: " + yaml_text(name) + ", to: " + (upstream ? "upstream." + *upstream : "refuse") + " }");
    }
    if (!routes.empty()) routes += "]";
    const auto upstream = to.empty() ? std::nullopt : backend(to, at);
    if (!upstream && routes.empty()) return drop(proxy.head, "leads nowhere: the listener is left out");
    const uint64_t idle = std::max(proxy.client_ms, proxy.server_ms);
    for (ListenerDraft& listener : draft_.listeners) {
      if (std::ranges::find(listeners, listener.name) == listeners.end()) continue;
      listener.tcp = "{ to: " + (upstream ? "upstream." + *upstream : "refuse") + routes;
      if (proxy.connect_ms > 0) listener.tcp += ", connect: " + yaml_seconds(within(proxy.connect_ms, 10, 600'000));
      if (idle > 0) listener.tcp += ", idle: " + yaml_seconds(within(idle, 1000, kDay));
      listener.tcp += " }";
      const auto header = headers_.find(to);
      if (header != headers_.end()) listener.options.emplace_back("proxy_protocol", header->second);
    }
  }

  // use_backend X if { req.ssl_sni -i a b }
  std::vector<std::string> hello_names(const HaproxyLine& line) const {
    std::vector<std::string> words(line.words.begin() + static_cast<ptrdiff_t>(std::min<size_t>(2, line.words.size())),
                                   line.words.end());
    if (words.size() == 2 && words[0] == "if") {
      const auto acl = acls_.find(words[1]);
      if (acl == acls_.end() || acl->second.size() != 1) return {};
      words = {"if", "{"};
      words.insert(words.end(), acl->second[0].words.begin() + 2, acl->second[0].words.end());
      words.emplace_back("}");
    }
    if (words.size() < 5 || words[0] != "if" || words[1] != "{" || words.back() != "}") return {};
    if (words[2] != "req.ssl_sni" && words[2] != "req_ssl_sni" && words[2] != "req.ssl_sni,lower") return {};
    std::vector<std::string> out;
    for (size_t i = 3; i + 1 < words.size(); ++i) {
      if (words[i] == "-i") continue;
      if (words[i].starts_with('-') || words[i] == "}" || words[i] == "{") return {};
      std::string name = words[i];
      std::ranges::transform(name, name.begin(), &ascii_lower);
      out.push_back(std::move(name));
    }
    return out;
  }

  // --- conditions ---

  // `if a b || c` as cases; nothing when one of them cannot be said.
  std::optional<std::vector<Case>> cases_of(const HaproxyLine& line, size_t from, std::string& why) {
    if (line.words.size() <= from) return std::vector<Case>{{}};
    if (line.words[from] != "if") {
      why = "\"" + line.words[from] + "\" is not known here";
      return std::nullopt;
    }
    std::vector<Case> out;
    std::vector<Case> current{{}};
    for (size_t i = from + 1; i < line.words.size(); ++i) {
      const std::string& word = line.words[i];
      if (word == "||" || word == "or") {
        std::ranges::move(current, std::back_inserter(out));
        current = {{}};
        continue;
      }
      std::vector<HaproxyLine> acl;
      if (word == "{") {
        HaproxyLine inner{{"acl", "-"}, line.at};
        while (++i < line.words.size() && line.words[i] != "}") inner.words.push_back(line.words[i]);
        acl.push_back(std::move(inner));
      } else if (word.starts_with('!')) {
        why = "conditions cannot be turned round: " + word;
        return std::nullopt;
      } else if (const auto known = acls_.find(word); known != acls_.end()) {
        acl = known->second;
      } else {
        why = "no acl is named " + word;
        return std::nullopt;
      }
      std::vector<Case> either;
      for (const HaproxyLine& one : acl) {
        if (!condition(one, either, why)) return std::nullopt;
      }
      std::vector<Case> both;
      for (const Case& a : current) {
        for (const Case& b : either) {
          if (both.size() >= 256) {
            why = "more than 256 cases";
            return std::nullopt;
          }
          if (auto joined = join(a, b)) {
            both.push_back(*std::move(joined));
          } else {
            why = "two conditions on the same thing";
            return std::nullopt;
          }
        }
      }
      current = std::move(both);
    }
    std::ranges::move(current, std::back_inserter(out));
    return out;
  }

  static std::optional<Case> join(Case a, const Case& b) {
    const auto text = [](std::string& into, const std::string& from) {
      if (from.empty()) return true;
      if (!into.empty() && into != from) return false;
      into = from;
      return true;
    };
    if (!text(a.host, b.host) || !text(a.path, b.path)) return std::nullopt;
    if (!a.methods.empty() && !b.methods.empty()) return std::nullopt;
    if (!b.methods.empty()) a.methods = b.methods;
    for (const auto& [from, into] : {std::pair{&b.headers, &a.headers}, {&b.query, &a.query}}) {
      for (const auto& line : *from) {
        if (std::ranges::find(*into, line.first, &std::pair<std::string, std::string>::first) != into->end())
          return std::nullopt;
        into->push_back(line);
      }
    }
    return a;
  }

  // acl NAME CRITERION [flags] VALUE...
  bool condition(const HaproxyLine& acl, std::vector<Case>& out, std::string& why) {
    std::string criterion(acl.word(2));
    std::vector<std::string> values;
    std::string match;
    for (size_t i = 3; i < acl.words.size(); ++i) {
      const std::string& word = acl.words[i];
      if (word == "-i" || word == "--") continue;
      if (word == "-m" && i + 1 < acl.words.size()) {
        match = acl.words[++i];
      } else if (word == "-f" || word == "-M" || word == "-u" || word == "-n") {
        why = "values from files are not read: " + acl.text();
        return false;
      } else {
        values.push_back(word);
      }
    }
    for (const std::string_view begin : {"req.", "fhdr", "req_"}) {
      if (begin == "fhdr" ? criterion.starts_with("fhdr") : criterion.starts_with(begin))
        criterion.erase(0, begin == "fhdr" ? 1 : begin.size());
    }
    const size_t open = criterion.find('(');
    std::string kind = criterion.substr(0, open);
    std::string argument;
    if (open != std::string::npos && criterion.ends_with(')'))
      argument = criterion.substr(open + 1, criterion.size() - open - 2);
    if (!match.empty() && match != "str") kind += "_" + match;
    const auto lower = [](std::string text) {
      std::ranges::transform(text, text.begin(), &ascii_lower);
      return text;
    };
    const std::string field = lower(argument.substr(0, argument.find(',')));
    const bool host = field == "host" && kind.starts_with("hdr");
    if (values.empty() && kind != "hdr_found") {
      why = "no value: " + acl.text();
      return false;
    }
    for (const std::string& value : values) {
      Case one;
      if (host && kind == "hdr") {
        one.host = lower(value.substr(0, value.find(':')));
      } else if (host && (kind == "hdr_end" || kind == "hdr_dom") && value.size() > 1) {
        if (kind == "hdr_dom" || !value.starts_with('.')) {
          Case exact;
          exact.host = lower(value);
          out.push_back(std::move(exact));
        }
        one.host = "*" + std::string(value.starts_with('.') ? "" : ".") + lower(value);
      } else if (kind == "path") {
        one.path = pattern_literal(value);
      } else if (kind == "path_beg" || kind == "path_dir") {
        std::string path = pattern_literal(value.starts_with('/') ? value : "/" + value);
        if (!path.ends_with('/') && kind == "path_beg")
          differs(acl, "acl " + std::string(acl.word(1)),
                  "whole segments are compared: " + value + " and what is below it");
        while (path.ends_with('/')) path.pop_back();
        one.path = path + "/**";
      } else if (kind == "path_reg") {
        const auto paths = paths_of_regex(value);
        if (!paths) {
          why = "no path pattern says " + value;
          return false;
        }
        for (const std::string& pattern : paths->patterns) {
          Case each;
          each.path = pattern;
          out.push_back(std::move(each));
        }
        continue;
      } else if (kind == "method") {
        one.methods = {value};
      } else if (kind == "hdr" && !field.empty() && value != "*") {
        one.headers = {{field, value}};
      } else if ((kind == "url_param" || kind == "urlp") && !argument.empty() && value != "*") {
        one.query = {{argument, value}};
      } else {
        why = "not known: " + acl.text();
        return false;
      }
      out.push_back(std::move(one));
    }
    if (kind == "hdr_found" && !field.empty() && !host) {
      Case one;
      one.headers = {{field, "*"}};
      out.push_back(std::move(one));
    }
    if (out.empty()) why = "not known: " + acl.text();
    return !out.empty();
  }

  static RouteDraft route_of(const HaproxyLine& line, const Case& one) {
    RouteDraft route;
    route.at = line.at;
    route.directive = line.text();
    route.host = one.host;
    route.path = one.path.empty() ? "/**" : one.path;
    route.methods = one.methods;
    route.headers = one.headers;
    route.query = one.query;
    return route;
  }

  // Routes of a rule; `to` is YAML, or with "upstream" the name of a backend, which finish() looks up.
  void add_cases(const HaproxyLine& line, size_t from, std::string_view what, const std::string& to,
                 std::vector<RouteDraft>& routes) {
    std::string why;
    const auto cases = cases_of(line, from, why);
    if (!cases) {
      left_out(line, line.words[0] + " " + std::string(line.word(1)), why,
               refuses(line) ? "what it refused is let through; write the route by hand" : "write the route by hand");
      return;
    }
    for (const Case& one : *cases) {
      RouteDraft route = route_of(line, one);
      (what == "upstream" ? route.add_prefix : route.to) = to;
      routes.push_back(std::move(route));
    }
  }

  void redirect(const HaproxyLine& line, size_t at, std::vector<RouteDraft>& routes) {
    int status = 302;
    std::string to;
    size_t condition = line.words.size();
    for (size_t i = at; i < line.words.size(); ++i) {
      const std::string& word = line.words[i];
      const bool more = i + 1 < line.words.size();
      if (word == "if" || word == "unless") {
        condition = i;
        break;
      }
      if (word == "scheme" && more) {
        to = line.words[++i] + "://${host}${uri}";
      } else if (word == "location" && more) {
        to = line.words[++i];
      } else if (word == "prefix" && more) {
        to = line.words[++i] + "${uri}";
      } else if (word == "code" && more) {
        status = static_cast<int>(number(line.words[++i]).value_or(302));
      }
    }
    // The condition of every redirect to https: it holds on the listeners that never had TLS.
    std::string rest;
    for (size_t i = condition; i < line.words.size(); ++i) rest += line.words[i] + " ";
    const bool without_tls = rest == "if !{ ssl_fc } " || rest == "unless { ssl_fc } ";
    if (without_tls) condition = line.words.size();
    if (to.empty() || to.find('%') != std::string::npos) {
      left_out(line, "redirect", "only scheme, prefix and location without variables are known here",
               "write the route by hand");
      return;
    }
    if (without_tls) without_tls_.insert(line.at.line);
    add_cases(line, condition, "to",
              "{ redirect: { to: " + yaml_text(to) + ", status: " + std::to_string(status) + " } }", routes);
  }

  // http-request deny if { src ... }, if !{ src ... }, if NAME, if !NAME, unless NAME; nothing beside it. False: it is
  // another condition, or a second list of those who may.
  bool guard(const HaproxyLine& line, Edits& edits) const {
    const size_t at = line.word(2) == "deny_status" || line.word(2) == "status" ? 4 : 2;
    std::vector<std::string> words(line.words.begin() + static_cast<ptrdiff_t>(std::min(at, line.words.size())),
                                   line.words.end());
    if (words.size() < 2 || (words[0] != "if" && words[0] != "unless")) return false;
    bool others = words[0] == "unless";  // those are kept out whom the list does not name
    if (words[1].starts_with('!')) {
      others = !others;
      words[1].erase(0, 1);
    }
    std::vector<HaproxyLine> acls;
    if (words[1] == "{" && words.back() == "}" && std::ranges::count(words, "}") == 1) {
      acls.push_back({{"acl", "-"}, line.at});
      acls[0].words.insert(acls[0].words.end(), words.begin() + 2, words.end() - 1);
    } else if (const auto known = acls_.find(words[1]); known != acls_.end() && words.size() == 2) {
      acls = known->second;
    }
    std::vector<std::string> blocks;
    for (const HaproxyLine& acl : acls) {
      if (acl.word(2) != "src") return false;
      blocks.insert(blocks.end(), acl.words.begin() + 3, acl.words.end());
    }
    const auto good = [](const std::string& block) { return proxy::AddressBlock::from_text(block).has_value(); };
    if (blocks.empty() || !std::ranges::all_of(blocks, good) || (others && !edits.allow.empty())) return false;
    std::vector<std::string>& into = others ? edits.allow : edits.deny;
    into.insert(into.end(), blocks.begin(), blocks.end());
    edits.guards_from = line.at.line;
    return true;
  }

  void deny(const HaproxyLine& line, std::vector<RouteDraft>& routes) {
    size_t from = 2;
    uint64_t status = 403;
    if ((line.word(2) == "deny_status" || line.word(2) == "status") && line.words.size() > 3) {
      status = number(line.word(3)).value_or(403);
      from = 4;
    }
    add_cases(line, from, "to", "{ fixed: { status: " + std::to_string(status) + " } }", routes);
  }

  void answer(const HaproxyLine& line, std::vector<RouteDraft>& routes) {
    uint64_t status = 200;
    std::string type = "text/plain";
    std::string body;
    size_t i = 2;
    for (; i < line.words.size() && line.words[i] != "if" && line.words[i] != "unless"; ++i) {
      const bool more = i + 1 < line.words.size();
      if (line.words[i] == "status" && more) {
        status = number(line.words[++i]).value_or(200);
      } else if (line.words[i] == "content-type" && more) {
        type = line.words[++i];
      } else if (line.words[i] == "string" && more) {
        body = line.words[++i];
      } else {
        left_out(line, "http-request return", "not known here: " + line.words[i], "write the route by hand");
        return;
      }
    }
    add_cases(line, i, "to",
              "{ fixed: { status: " + std::to_string(status) + ", body: " + yaml_text(body) +
                  ", content_type: " + yaml_text(type) + " } }",
              routes);
  }

  // Rules that keep requests out. What they guard must not be open because they cannot be said.
  static bool refuses(const HaproxyLine& line) {
    if (line.word(0) != "http-request") return false;
    const std::string_view what = line.word(1);
    return what == "auth" || what == "deny" || what == "refuse" || what == "tarpit" || what == "silent-drop";
  }

  // Header changes without conditions.
  static bool edit(const HaproxyLine& line, Edits& edits) {
    const bool request = line.word(0) == "http-request";
    if (!request && line.word(0) != "http-response") return false;
    const std::string name(line.word(2));
    if (name.empty() || proxy::field_refusal(name)) return false;
    if (line.word(1) == "del-header" && line.words.size() == 3) {
      (request ? edits.removed : edits.answer_removed).push_back(name);
      return true;
    }
    if (name == "X-Forwarded-Proto" && line.text().ends_with(" if { ssl_fc }")) return true;  // done anyway
    if (line.word(1) != "set-header" || line.words.size() != 4) return false;
    std::string value(line.word(3));
    if (value == "%[src]") value = "${client.address}";
    if (value.find('%') != std::string::npos) return false;
    FieldLines& into = request ? edits.set : edits.answer_set;
    std::erase_if(into, [&](const auto& other) { return other.first == name; });
    into.emplace_back(name, value);
    return true;
  }

  // --- the order of the rules ---

  // HAProxy tries rules in their order, Trellis hosts before paths. So each host that a rule names gets every rule that
  // may meet it, and a rule that an earlier one leaves nothing to is dropped.
  void finish(const Proxy& proxy, const std::vector<std::string>& listeners, const std::vector<RouteDraft>& rules,
              const Edits& edits) {
    std::set<std::string> hosts{""};
    for (const RouteDraft& rule : rules) hosts.insert(rule.host);
    for (const std::string& host : hosts) {
      std::vector<RouteDraft> chosen;
      for (const RouteDraft& rule : rules) {
        if (!meets(rule.host, host)) continue;
        const auto takes_all = [&](const RouteDraft& earlier) {
          return conditions_of(earlier) == 0 && covers(earlier.path, rule.path);
        };
        if (std::ranges::any_of(chosen, takes_all)) continue;
        // An earlier rule with conditions and a wider path comes first on this path, too.
        std::vector<RouteDraft> before;
        for (const RouteDraft& earlier : chosen) {
          if (earlier.path == rule.path || !covers(earlier.path, rule.path)) continue;
          if (conditions_of(rule) > conditions_of(earlier)) {
            remarks_.add(
                {Remark::Kind::differs, rule.at, "use_backend",
                 "the more specific rule wins: line " + std::to_string(earlier.at.line) + " no longer comes before it",
                 ""});
            continue;
          }
          before.push_back(earlier);
          before.back().path = rule.path;
        }
        for (RouteDraft& one : before) add(chosen, std::move(one));
        RouteDraft copy = rule;
        copy.host = host;
        add(chosen, std::move(copy));
      }
      for (RouteDraft& route : chosen) write(proxy, listeners, edits, std::move(route));
    }
  }
  static size_t conditions_of(const RouteDraft& route) {
    return route.headers.size() + route.query.size() + (route.methods.empty() ? 0 : 1);
  }
  static bool same_match(const RouteDraft& a, const RouteDraft& b) {
    return a.path == b.path && a.methods == b.methods && a.headers == b.headers && a.query == b.query;
  }
  static void add(std::vector<RouteDraft>& chosen, RouteDraft route) {
    const auto same = [&](const RouteDraft& other) { return same_match(other, route); };
    if (std::ranges::none_of(chosen, same)) chosen.push_back(std::move(route));
  }
  // Does a rule for `rule` (any host, a name, a wildcard) meet requests for `host`?
  static bool meets(const std::string& rule, const std::string& host) {
    return rule.empty() || rule == host || (rule.starts_with("*.") && host.ends_with(rule.substr(1)));
  }
  static bool covers(const std::string& wide, const std::string& narrow) {
    if (wide == narrow) return true;
    if (!wide.ends_with("/**") || wide.find('*') != wide.size() - 2) return false;
    return narrow.starts_with(wide.substr(0, wide.size() - 2)) || narrow == wide.substr(0, wide.size() - 3);
  }

  void write(const Proxy& proxy, const std::vector<std::string>& listeners, const Edits& edits, RouteDraft route) {
    if (draft_.routes.size() >= kMaxRoutes) {
      left_out(proxy.head, proxy.kind, "more than 2,000 routes");
      return;
    }
    if (!route.add_prefix.empty()) {
      const std::string name = std::exchange(route.add_prefix, std::string());
      if (const auto upstream = backend(name, route.at)) {
        route.to = "upstream." + *upstream;
        route.request_set = edits.set;
        route.request_remove = edits.removed;
      } else {
        route = refused_route(route, name);
      }
    }
    const bool before = route.directive.starts_with("http-request") && route.at.line < edits.guards_from;
    if (!before && !route.refused) {
      route.allow = edits.allow;
      route.deny = edits.deny;
    }
    route.response_set = edits.answer_set;
    route.response_remove = edits.answer_removed;
    if (apart_) route.listeners = listeners;
    draft_.routes.push_back(std::move(route));
  }
  bool several_frontends() const {
    return std::ranges::count_if(proxies_, [](const Proxy& proxy) { return proxy.kind != "backend"; }) > 1;
  }

  // --- backends ---

  std::optional<std::string> backend(const std::string& name, const ImportPlace& at) {
    if (const auto made = made_.find(name); made != made_.end()) return made->second;
    const auto found = std::ranges::find_if(
        proxies_, [&](const Proxy& proxy) { return proxy.kind != "frontend" && proxy.name == name; });
    if (found == proxies_.end()) {
      remarks_.add({Remark::Kind::left_out, at, "backend " + name, "there is no such backend", ""});
      return made_[name] = std::nullopt;
    }
    UpstreamDraft draft;
    draft.at = found->head.at;
    draft.name = plain_name(name);
    for (int i = 2; !upstream_names_.insert(draft.name).second; ++i)
      draft.name = plain_name(name) + "_" + std::to_string(i);
    bool good = true;
    bool weighted = false;
    Checks defaults;
    Checks used;
    FieldLines check;
    for (const HaproxyLine& line : found->lines) {
      if (line.word(0) != "default-server") continue;
      for (size_t i = 1; i < line.words.size(); ++i) {
        if (!check_word(line, i, defaults))
          left_out(line, "default-server " + line.words[i], "not known to the import");
      }
    }
    for (const HaproxyLine& line : found->lines) {
      if (line.word(0) == "server") {
        good = server(line, *found, draft, weighted, defaults, used) && good;
      } else if (line.word(0) == "default-server" || http_check(line, check)) {
        continue;
      } else if (refuses(line) && (found->kind == "backend" || line.word(1) == "auth")) {
        left_out(line, "http-request " + std::string(line.word(1)), "rules that refuse stand in frontends only");
        good = false;
      } else if (line.word(0) != "bind" && line.word(0) != "acl" && found->kind == "backend") {
        unknown(line);
      }
    }
    balance(*found, draft, weighted);
    const auto up = [](const HostDraft& host) { return !host.down; };
    if (!good || std::ranges::none_of(draft.hosts, up)) {
      remarks_.add({Remark::Kind::left_out, found->head.at, "backend " + name,
                    good ? "none of its servers can be reached" : "a server of it cannot be reached as it must",
                    "its requests are answered by 501 until you decide"});
      return made_[name] = std::nullopt;
    }
    options(*found, draft);
    health(used, check, draft);
    draft_.upstreams.push_back(std::move(draft));
    return made_[name] = draft_.upstreams.back().name;
  }

  // Of a `listen`: what backend() reads.
  static bool belongs_to_hosts(const HaproxyLine& line) {
    const std::string_view word = line.word(0);
    return word == "server" || word == "default-server" || word == "http-check" ||
           (word == "option" && line.word(1) == "httpchk");
  }

  struct Checks {
    bool on = false;
    uint64_t interval_ms = 2000;
    uint64_t rise = 2;
    uint64_t fall = 3;
    std::string port;
  };
  // Moves `i` over a value.
  static bool check_word(const HaproxyLine& line, size_t& i, Checks& checks) {
    const std::string& word = line.words[i];
    if (word == "check") return checks.on = true;
    if (i + 1 >= line.words.size()) return false;
    const std::string& value = line.words[i + 1];
    if (word == "inter") {
      checks.interval_ms = haproxy_milliseconds(value).value_or(2000);
    } else if (word == "rise") {
      checks.rise = number(value).value_or(2);
    } else if (word == "fall") {
      checks.fall = number(value).value_or(3);
    } else if (word == "port") {
      if (number(value)) checks.port = value;
    } else if (word != "fastinter" && word != "downinter") {
      return false;
    }
    ++i;
    return true;
  }

  // option httpchk and http-check; false when the line is something else.
  bool http_check(const HaproxyLine& line, FieldLines& check) {
    const auto set = [&](const char* key, std::string value) {
      std::erase_if(check, [&](const auto& one) { return one.first == key; });
      check.emplace_back(key, std::move(value));
    };
    if (line.word(0) == "option" && line.word(1) == "httpchk") {
      const std::string_view path = line.words.size() == 3 ? line.word(2) : line.word(3);
      set("path", yaml_text(path.empty() ? "/" : path));
      if (line.words.size() > 3 && line.word(2) == "HEAD") set("method", "HEAD");
      return true;
    }
    if (line.word(0) != "http-check") return false;
    if (line.word(1) == "send") {
      for (size_t i = 2; i + 1 < line.words.size(); i += 2) {
        if (line.words[i] == "uri") set("path", yaml_text(line.words[i + 1]));
        if (line.words[i] == "meth" && line.words[i + 1] == "HEAD") set("method", "HEAD");
        if (line.words[i] != "hdr") continue;
        if (line.words[i + 1] == "Host" && i + 2 < line.words.size()) set("host", yaml_text(line.words[i + 2]));
        ++i;
      }
      return true;
    }
    if (line.word(1) == "expect" && line.word(2) == "status" && line.words.size() == 4) {
      set("status", "[" + yaml_text(line.word(3)) + "]");
      return true;
    }
    if (line.word(1) == "expect" && line.word(2) == "string" && line.words.size() == 4) {
      set("body", yaml_text(line.word(3)));
      return true;
    }
    return false;
  }

  bool server(const HaproxyLine& line, const Proxy& proxy, UpstreamDraft& draft, bool& weighted, Checks checks,
              Checks& used) {
    const auto parsed = config::HostPort::from_text(line.word(2));
    if (!parsed || parsed->port == 0) {
      left_out(line, "server " + std::string(line.word(1)), "no address with a port: " + std::string(line.word(2)));
      return true;
    }
    HostDraft host{.address = std::string(line.word(2))};
    for (size_t i = 3; i < line.words.size(); ++i) {
      const std::string& word = line.words[i];
      const bool more = i + 1 < line.words.size();
      if (word == "weight" && more) {
        const uint64_t weight = number(line.words[++i]).value_or(1);
        host.down |= weight == 0;
        host.weight = static_cast<uint32_t>(within(weight, 1, 1000));
        weighted |= weight != 1;
      } else if (word == "backup") {
        host.backup = true;
      } else if (word == "disabled") {
        host.down = true;
      } else if (word == "ssl") {
        left_out(line, "server ... ssl", "hosts are spoken to without TLS",
                 "use a private network, or a TLS tunnel to the host");
        return false;
      } else if (word == "send-proxy" || word == "send-proxy-v2") {
        headers_[proxy.name] = word == "send-proxy" ? "v1" : "v2";
        if (proxy.http) {
          left_out(line, "server ... " + word, "told to hosts by relays of mode tcp only",
                   "they can read X-Forwarded-For");
          return false;
        }
      } else if (!check_word(line, i, checks)) {
        const bool takes_value =
            more &&
            (word == "maxconn" || word == "cookie" || word == "resolvers" || word == "init-addr" || word == "verify" ||
             word == "maxqueue" || word == "slowstart" || word == "observe" || word == "on-error" ||
             word == "error-limit" || word == "resolve-prefer" || word == "proto" || word == "alpn" || word == "id");
        if (takes_value) ++i;
        left_out(line, "server ... " + word, "is not a setting of a single host");
      }
    }
    if (checks.on) used = checks;
    draft.hosts.push_back(std::move(host));
    return true;
  }

  // HAProxy checks by server, Trellis by upstream: the last one's times.
  static void health(const Checks& checks, const FieldLines& http, UpstreamDraft& draft) {
    if (!checks.on) return;
    std::string text = http.empty() ? "{ kind: tcp" : "{ kind: http";
    for (const auto& [key, value] : http) text += ", " + key + ": " + value;
    if (!checks.port.empty()) text += ", port: " + checks.port;
    text += ", interval: " + yaml_seconds(within(checks.interval_ms, 100, kDay));
    text += ", unhealthy_after: " + std::to_string(within(checks.fall, 1, 1000));
    text += ", healthy_after: " + std::to_string(within(checks.rise, 1, 1000));
    draft.options.emplace_back("health", text + " }");
  }

  void balance(const Proxy& proxy, UpstreamDraft& draft, bool weighted) {
    const std::string_view how =
        proxy.balance.empty() ? std::string_view("roundrobin") : std::string_view(proxy.balance[0]);
    if (how == "roundrobin" || how == "static-rr") {
      if (weighted) draft.balance = "weighted";
    } else if (how == "leastconn") {
      draft.balance = "least_connections";
    } else if (how == "source") {
      draft.balance = "ip_hash";
    } else if (how == "uri") {
      draft.balance = "hash";
      draft.hash_on = "path";
    } else if (how.starts_with("hdr(") && how.ends_with(')')) {
      draft.balance = "hash";
      draft.hash_on = "header." + std::string(how.substr(4, how.size() - 5));
    } else if (how == "url_param" && proxy.balance.size() > 1) {
      draft.balance = "hash";
      draft.hash_on = "query." + proxy.balance[1];
    } else if (how.starts_with("random")) {
      draft.balance = "two_choices";
    } else {
      left_out(proxy.head, "balance " + std::string(how), "not known to the import",
               "requests go round the hosts instead");
    }
  }

  static void options(const Proxy& proxy, UpstreamDraft& draft) {
    // Without a timeout HAProxy waits for ever; a day is as long as Trellis waits.
    const uint64_t connect = within(proxy.connect_ms > 0 ? proxy.connect_ms : 300'000, 1, 300'000);
    const uint64_t server = within(proxy.server_ms > 0 ? proxy.server_ms : kDay, 1, kDay);
    const uint64_t tunnel = within(proxy.tunnel_ms > 0 ? proxy.tunnel_ms : server, 1, 30 * kDay);
    const uint64_t tries = std::min<uint64_t>(proxy.retries.value_or(3), 9) + 1;
    draft.options.emplace_back("retry", "{ attempts: " + std::to_string(tries) + ", on: [connect, reset] }");
    draft.options.emplace_back("timeouts",
                               "{ connect: " + yaml_seconds(connect) + ", first_byte: " + yaml_seconds(server) +
                                   ", idle: " + yaml_seconds(server) + ", upgraded: " + yaml_seconds(tunnel) +
                                   ", total: " + yaml_seconds(within(connect * tries + server, 1, kDay)) + " }");
  }

  ConfigDraft& draft_;
  Remarks& remarks_;
  std::vector<Proxy> proxies_;
  std::map<std::string, std::vector<HaproxyLine>> acls_;
  std::set<std::string> names_;
  std::set<std::string> tls_;       // listeners whose clients come through TLS
  std::set<uint32_t> without_tls_;  // lines of one frontend with rules for the other listeners
  bool apart_ = false;              // routes name their listeners
  std::set<std::string> upstream_names_;
  std::map<std::string, std::optional<std::string>> made_;
  std::map<std::string, std::string> headers_;  // PROXY protocol that a backend's servers are told by: v1, v2
};

}  // namespace

std::optional<uint64_t> haproxy_milliseconds(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const std::optional<uint64_t> value = number(text.substr(0, digits));
  const std::string_view unit = text.substr(digits);
  if (!value || *value > 1'000'000'000) return std::nullopt;
  if (unit.empty() || unit == "ms") return *value;
  if (unit == "us") return *value / 1000;
  if (unit == "s") return *value * 1000;
  if (unit == "m") return *value * 60'000;
  if (unit == "h") return *value * 3'600'000;
  if (unit == "d") return *value * kDay;
  return std::nullopt;
}

ConfigDraft translate_haproxy(const std::vector<HaproxySection>& sections, Remarks& remarks) {
  ConfigDraft draft;
  draft.access_log = "./data/access.log";
  draft.access_log_format = "json";
  Translation(draft, remarks).run(sections);
  return draft;
}

}  // namespace trellis::app
