#include "app/import/nginx/http.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "app/import/nginx/choices.h"
#include "app/import/nginx/routes.h"
#include "app/import/nginx/settings.h"
#include "app/import/nginx/stream.h"
#include "app/import/nginx/trust.h"
#include "app/import/nginx/upstreams.h"
#include "app/import/numbers.h"
#include "base/ascii.h"

namespace trellis::app {

namespace {

// One `listen`, as Trellis will have it.
struct Listen {
  std::string name;  // of the listener
  bool tls = false;
  bool first = false;           // default_server
  bool proxy_protocol = false;  // its connections begin with a PROXY header
  const NginxDirective* at = nullptr;
};
struct Server {
  const NginxDirective* block = nullptr;
  NginxSettings settings;
  std::vector<Listen> listens;
  std::vector<std::string> hosts;  // exact names and *.wildcards
  std::string name;
};

struct Address {
  std::string host = "0.0.0.0";
  uint16_t port = 80;
};
std::optional<Address> address_of(std::string_view text) {
  Address out;
  const auto port_of = [&](std::string_view digits) {
    const std::optional<uint64_t> port = whole_number(digits);
    out.port = static_cast<uint16_t>(port.value_or(0));
    return port && *port > 0 && *port <= 65535;
  };
  if (text.empty() || text.starts_with("unix:")) return std::nullopt;
  if (text.find_first_not_of("0123456789") == std::string_view::npos) {
    if (!port_of(text)) return std::nullopt;
    return out;
  }
  size_t colon = text.rfind(':');
  if (text.front() == '[') {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return std::nullopt;
    colon = end + 1 < text.size() && text[end + 1] == ':' ? end + 1 : std::string_view::npos;
  }
  if (text.substr(0, colon) != "*") out.host = text.substr(0, colon);
  if (colon != std::string_view::npos && !port_of(text.substr(colon + 1))) return std::nullopt;
  if (!good_bind(out.host + ":" + std::to_string(out.port))) return std::nullopt;
  return out;
}

class HttpBlock {
 public:
  HttpBlock(ConfigDraft& draft, std::string folder, Remarks& remarks)
      : draft_(draft), folder_(std::move(folder)), remarks_(remarks), upstreams_(draft, remarks) {}

  void translate(const NginxDirective& http) {
    NginxSettings settings;
    apply_nginx_settings(http, settings, remarks_);
    for (const NginxDirective& one : http.block) {
      if (one.name == "upstream") upstreams_.declare(one);
      if (one.name == "map" || one.name == "split_clients") choices_.declare(one);
    }
    access_log(http);
    for (const NginxDirective& one : http.block) {
      if (one.name == "server") read_server(one, settings);
    }
    listener_options(http);
    trust();
    for (Server& server : servers_) routes(server);
    slashes(http);
    choices_.tell_unused(remarks_);
  }

 private:
  // One log for the whole node: the first that is named.
  void access_log(const NginxDirective& block) {
    for (const NginxDirective& one : block.block) {
      if (one.name == "server" || one.name == "location") access_log(one);
      if (one.name != "access_log") continue;
      const std::string path(one.word(0));
      if (path == "off") {
        if (block.name != "http")
          remarks_.differs(one.at, "access_log", "one access log for the whole node: these requests are in it, too");
        log_off_ |= block.name == "http";
        continue;
      }
      if (path.starts_with("syslog:") || path.find('$') != std::string::npos) {
        remarks_.left_out(one.at, "access_log", "a file or a stream only", "let the log shipper read the file");
        continue;
      }
      if (!log_.empty()) {
        if (path != log_) remarks_.differs(one.at, "access_log", "one access log for the whole node: " + log_);
        continue;
      }
      log_ = path;
      draft_.access_log_format =
          one.word(1).empty() || one.word(1) == "combined" || one.word(1) == "main" ? "combined" : "json";
      if (path == "/dev/stdout" || path == "/dev/stderr") {
        draft_.access_log = path.substr(5);
      } else {
        draft_.access_log = "./data/access.log";
        remarks_.differs(one.at, "access_log",
                         "written to ./data/access.log, so that both servers can run beside each other");
      }
      if (draft_.access_log_format == "json")
        remarks_.differs(
            one.at, "access_log",
            "formats of your own are not known: every field as JSON instead of " + std::string(one.word(1)));
    }
    if (block.name == "http" && log_.empty() && !log_off_) {
      draft_.access_log = "./data/access.log";
      draft_.access_log_format = "combined";
    }
  }

  void read_server(const NginxDirective& block, const NginxSettings& above) {
    Server server;
    server.block = &block;
    server.settings = above;
    apply_nginx_settings(block, server.settings, remarks_);
    bool any_listen = false;
    for (const NginxDirective& one : block.block) {
      if (one.name == "server_name") {
        names(one, server);
      } else if (one.name == "listen") {
        any_listen = true;
        listen(one, server);
      } else if (one.name == "error_log" || one.name == "upstream") {
        continue;
      }
    }
    if (!any_listen) add_listener(block, Address{}, {.name = {}, .at = &block}, server);
    servers_.push_back(std::move(server));
  }

  void names(const NginxDirective& one, Server& server) {
    for (const std::string& word : one.words) {
      if (word.empty() || word == "_" || word == "\"\"") continue;
      std::string name = word;
      std::ranges::transform(name, name.begin(), &ascii_lower);
      if (name.starts_with('~')) {
        remarks_.left_out(one.at, "server_name " + word, "hosts are names or *.name, no expressions",
                          "name the hosts that are meant");
      } else if (name.ends_with(".*") || (name.find('*') != std::string::npos && !name.starts_with("*."))) {
        remarks_.left_out(one.at, "server_name " + word, "a wildcard stands in front only",
                          "name the hosts that are meant");
      } else if (name.find('$') != std::string::npos) {
        if (name == "$hostname") remarks_.left_out(one.at, "server_name " + word, "write the machine's name");
      } else if (name.starts_with('.')) {
        server.hosts.push_back(name.substr(1));
        server.hosts.push_back("*" + name);
      } else {
        server.hosts.push_back(name);
      }
      if (server.name.empty() && !server.hosts.empty() && !server.hosts.back().starts_with('*'))
        server.name = server.hosts.back();
    }
    std::set<std::string> seen;
    std::erase_if(server.hosts, [&](const std::string& host) { return !seen.insert(host).second; });
  }

  void listen(const NginxDirective& one, Server& server) {
    const std::optional<Address> address = address_of(one.word(0));
    if (!address) {
      remarks_.left_out(one.at, "listen " + std::string(one.word(0)), "an address and a port of TCP only");
      return;
    }
    bool tls = false;
    bool first = false;
    bool proxy_protocol = false;
    for (size_t i = 1; i < one.words.size(); ++i) {
      const std::string_view word = one.words[i];
      if (word == "ssl") {
        tls = true;
      } else if (word == "default_server" || word == "default") {
        first = true;
      } else if (word == "quic") {
        remarks_.left_out(one.at, "listen ... quic", "HTTP/1.1 only");
        return;
      } else if (word == "proxy_protocol") {
        proxy_protocol = true;
      } else if (word != "http2" && word != "reuseport" && word != "deferred" && word != "bind" &&
                 !word.starts_with("backlog=") && !word.starts_with("rcvbuf=") && !word.starts_with("sndbuf=") &&
                 !word.starts_with("ipv6only=") && !word.starts_with("so_keepalive=") &&
                 !word.starts_with("fastopen=")) {
        remarks_.left_out(one.at, "listen ... " + std::string(word), "not known to the import");
      }
    }
    // `ssl on;` of old files.
    if (const NginxDirective* old = server.block->find("ssl"); old && old->word(0) == "on") tls = true;
    add_listener(one, *address, {.name = {}, .tls = tls, .first = first, .proxy_protocol = proxy_protocol, .at = &one},
                 server);
  }

  void add_listener(const NginxDirective& at, const Address& address, Listen listen, Server& server) {
    const bool tls = listen.tls;
    std::string host = address.host;
    uint32_t port = address.port;
    std::string comment;
    if (tls) {
      // Without TLS nobody but the machine itself may connect: who ends TLS does.
      port = port + 8000 <= 65535 ? port + 8000 : port;
      host = host.starts_with('[') ? "[::1]" : "127.0.0.1";
      remarks_.left_out(
          at.at, "listen " + std::string(at.word(0)) + " ssl",
          "there is no TLS yet: its requests are taken without it on " + host + ":" + std::to_string(port),
          "let nginx, HAProxy or stunnel end TLS and connect there");
    }
    const std::string bind = host + ":" + std::to_string(port);
    const auto known = std::ranges::find(draft_.listeners, bind, &ListenerDraft::bind);
    std::string name;
    if (known != draft_.listeners.end()) {
      name = known->name;
      if (tls != tls_.contains(name)) {
        remarks_.left_out(at.at, "listen " + std::string(at.word(0)), "with and without TLS on one address",
                          "choose another port");
        return;
      }
    } else {
      name =
          std::ranges::find(draft_.listeners, std::string_view("web"), &ListenerDraft::name) == draft_.listeners.end()
              ? "web"
              : (tls ? "tls_" : "web_") + std::to_string(address.port);
      for (int i = 2; std::ranges::find(draft_.listeners, name, &ListenerDraft::name) != draft_.listeners.end(); ++i)
        name = (tls ? "tls_" : "web_") + std::to_string(address.port) + "_" + std::to_string(i);
      ListenerDraft listener;
      listener.at = at.at;
      listener.name = name;
      listener.bind = bind;
      draft_.listeners.push_back(std::move(listener));
      if (tls) tls_.insert(name);
    }
    listen.name = name;
    if (std::ranges::find(server.listens, name, &Listen::name) == server.listens.end())
      server.listens.push_back(std::move(listen));
  }

  // Times and sizes of connections belong to the listener in Trellis: those of the http level.
  void listener_options(const NginxDirective& http) {
    FieldLines options;
    const auto time = [&](const char* directive, const char* option, uint64_t low, uint64_t high) {
      const NginxDirective* one = http.find(directive);
      if (!one) return;
      if (const auto value = nginx_milliseconds(one->word(0)))
        options.emplace_back(option, yaml_seconds(std::clamp(*value, low, high)));
    };
    time("keepalive_timeout", "idle_timeout", 1000, 86'400'000);
    time("client_header_timeout", "head_timeout", 100, 600'000);
    time("client_body_timeout", "body_timeout", 100, 3'600'000);
    time("send_timeout", "send_timeout", 100, 3'600'000);
    if (const NginxDirective* one = http.find("large_client_header_buffers"); one && one->words.size() == 2) {
      const std::optional<uint64_t> count = whole_number(one->words[0]);
      const std::optional<uint64_t> size = nginx_size(one->words[1]);
      if (size && count && *count > 0) {
        const uint64_t all = *size * std::min<uint64_t>(*count, 1024);
        options.emplace_back("max_head", yaml_size(std::clamp<uint64_t>(all, 1024, 1 << 20)));
        options.emplace_back("max_start_line", yaml_size(std::clamp<uint64_t>(*size, 256, 65536)));
      }
    }
    for (ListenerDraft& listener : draft_.listeners) {
      if (listener.tcp.empty() && listener.udp.empty()) listener.options = options;
    }
    for (const Server& server : servers_) tell_listener_options(*server.block);
  }
  void tell_listener_options(const NginxDirective& block) {
    for (const NginxDirective& one : block.block) {
      if (one.name == "location") tell_listener_options(one);
      for (const char* name : {"keepalive_timeout", "client_header_timeout", "client_body_timeout", "send_timeout",
                               "large_client_header_buffers"}) {
        if (one.name == name)
          remarks_.differs(one.at, name, "belongs to the listener, which takes the value of the http block",
                           "change listeners.NAME");
      }
    }
  }

  // All servers of an address share what its listener believes about clients.
  void trust() {
    for (ListenerDraft& listener : draft_.listeners) {
      const Server* first = nullptr;
      const Listen* said = nullptr;
      bool proxy_protocol = false;
      bool same = true;
      for (const Server& server : servers_) {
        const auto here = std::ranges::find(server.listens, listener.name, &Listen::name);
        if (here == server.listens.end()) continue;
        if (!first) {
          first = &server;
          said = &*here;
        }
        same &= same_trust(first->settings, server.settings);
        proxy_protocol |= here->proxy_protocol;
      }
      if (!first) continue;  // of a stream
      if (!same) {
        remarks_.left_out(said->at->at, "set_real_ip_from", "servers of one address trust different proxies",
                          "listeners.NAME.trusted: [10.0.0.0/8]");
        continue;
      }
      const FieldLines options = nginx_trust(first->settings, *said->at, proxy_protocol, remarks_);
      listener.options.insert(listener.options.end(), options.begin(), options.end());
    }
  }

  // nginx compares paths with single slashes, and %2F is one. Where a path is refused, no other way to write it may
  // come through; elsewhere hosts get their paths as they came.
  void slashes(const NginxDirective& http) {
    const auto refuses = [](const RouteDraft& route) {
      if (route.match.path == "/**" || route.directive == "server") return false;  // refuse all the rest, too
      return route.refused || !route.allow.empty() || !route.deny.empty() ||
             route.to.starts_with("{ fixed: { status: 4");
    };
    for (ListenerDraft& listener : draft_.listeners) {
      const Server* server = default_of(listener.name);
      if (!server) continue;  // of a stream
      const NginxDirective* said = server->block->find("merge_slashes");
      if (!said) said = http.find("merge_slashes");
      if (said && said->word(0) == "off") continue;
      const auto guards = std::ranges::find_if(draft_.routes, [&](const RouteDraft& route) {
        const std::vector<std::string>& on = route.match.listeners;
        return refuses(route) && (on.empty() || std::ranges::find(on, listener.name) != on.end());
      });
      if (guards == draft_.routes.end()) continue;
      listener.options.emplace_back("merge_slashes", "true");
      remarks_.differs(
          guards->at, "location",
          "so that it refuses no less: // and %2F in paths of this listener become one slash, for hosts, too",
          "listeners.NAME.merge_slashes");
    }
  }

  // --- routes ---

  const Server* default_of(const std::string& listener) const {
    const Server* found = nullptr;
    for (const Server& server : servers_) {
      for (const Listen& listen : server.listens) {
        if (listen.name != listener) continue;
        if (listen.first) return &server;
        if (!found) found = &server;
      }
    }
    return found;
  }
  bool has_wildcards(const std::string& listener, const Server* but) const {
    return std::ranges::any_of(servers_, [&](const Server& server) {
      const auto here = [&](const Listen& listen) { return listen.name == listener; };
      const auto wild = [](const std::string& host) { return host.starts_with('*'); };
      return &server != but && std::ranges::any_of(server.listens, here) && std::ranges::any_of(server.hosts, wild);
    });
  }

  // On which listeners a host's routes stand: "" is any host, for the listener's default server.
  std::map<std::string, std::vector<std::string>> hosts_of(const Server& server, bool tls) {
    std::map<std::string, std::vector<std::string>> out;
    for (const Listen& listen : server.listens) {
      if (listen.tls != tls) continue;
      const bool first = default_of(listen.name) == &server;
      if (first) out[""].push_back(listen.name);
      if (first && !has_wildcards(listen.name, &server)) continue;
      for (const std::string& host : server.hosts) {
        if (!taken_.insert(listen.name + " " + host).second) {
          remarks_.differs(server.block->at, "server_name " + host,
                           "another server of this address has the name and comes first");
          continue;
        }
        out[host].push_back(listen.name);
      }
    }
    return out;
  }

  void routes(const Server& server) {
    for (const bool tls : {false, true}) {
      const auto hosts = hosts_of(server, tls);
      if (hosts.empty()) continue;
      const NginxServer view{*server.block, server.settings, choices_, server.name, folder_, tls};
      const std::vector<RouteDraft> routes = nginx_routes(view, upstreams_, remarks_);
      std::set<std::string> conditional;  // hosts that an `if` answers as a whole
      for (const RouteDraft& route : routes) {
        if (!route.match.host.empty()) conditional.insert(route.match.host);
      }
      std::set<std::string> placed;  // listener and host of such an `if`
      for (const auto& [host, listeners] : hosts) {
        for (RouteDraft route : routes) {
          if (draft_.has_too_many_routes()) return;
          std::string& only = route.match.host;
          std::vector<std::string> on = listeners;
          if (only.empty()) {
            if (conditional.contains(host)) continue;
            only = host;
          } else if (only != host) {
            if (hosts.contains(only) || !takes(host, only)) continue;
            std::erase_if(on, [&](const std::string& listener) {
              return named_elsewhere(server, listener, only) || !placed.insert(listener + " " + only).second;
            });
            if (on.empty()) continue;
          }
          if (on.size() < http_listeners()) route.match.listeners = std::move(on);
          draft_.routes.push_back(std::move(route));
        }
      }
    }
  }
  // Do requests for the name come to routes of the host: any, itself or a wildcard?
  static bool takes(const std::string& host, const std::string& name) {
    return host.empty() || host == name || (host.starts_with('*') && name.ends_with(std::string_view(host).substr(1)));
  }
  bool named_elsewhere(const Server& but, const std::string& listener, const std::string& host) const {
    return std::ranges::any_of(servers_, [&](const Server& server) {
      return &server != &but && std::ranges::find(server.listens, listener, &Listen::name) != server.listens.end() &&
             std::ranges::find(server.hosts, host) != server.hosts.end();
    });
  }
  size_t http_listeners() const {
    return static_cast<size_t>(std::ranges::count_if(
        draft_.listeners, [](const ListenerDraft& one) { return one.tcp.empty() && one.udp.empty(); }));
  }

  ConfigDraft& draft_;
  std::string folder_;
  Remarks& remarks_;
  NginxUpstreams upstreams_;
  NginxChoices choices_;
  std::vector<Server> servers_;
  std::set<std::string> tls_;    // listeners whose clients come through TLS
  std::set<std::string> taken_;  // listener and host
  std::string log_;
  bool log_off_ = false;
};

// `fragment`: the file is what an http block includes; its directives are told where they are taken over.
void main_level(const NginxDirective& top, bool fragment, ConfigDraft& draft, Remarks& remarks) {
  for (const NginxDirective& one : top.block) {
    if (one.name == "worker_processes") {
      const std::optional<uint64_t> count = whole_number(one.word(0));  // or "auto", as without it
      if (count && *count >= 1 && *count <= 64) draft.cores = static_cast<uint32_t>(*count);
    } else if (one.name == "error_log") {
      const std::string_view level = one.word(1);
      if (level == "debug" || level == "info" || level == "warn") draft.log_level = level;
      if (level == "error" || level == "crit" || level == "alert" || level == "emerg") draft.log_level = "error";
      remarks.differs(one.at, "error_log", "the node's own log goes to standard error", "let systemd keep it");
    } else if (!fragment && !is_structure(one.name) && !needs_nothing(one.name)) {
      auto [why, instead] = why_left_out(one.name);
      remarks.left_out(one.at, one.name, std::move(why), std::move(instead));
    }
  }
}

}  // namespace

ConfigDraft translate_nginx(const NginxTree& tree, const std::string& folder, Remarks& remarks) {
  ConfigDraft draft;
  for (const auto& [at, named] : tree.missing) {
    if (named.ends_with("mime.types")) continue;  // there is a table of types built in
    remarks.left_out(at, "include " + named, "the file is not there", "import where it is");
  }
  const auto is_http = [](const NginxDirective& one) {
    return one.name == "server" || one.name == "upstream" || one.name == "map";
  };
  const bool fragment = !tree.top.find("http") && std::ranges::any_of(tree.top.block, is_http);
  main_level(tree.top, fragment, draft, remarks);
  HttpBlock http(draft, folder, remarks);
  bool any = false;
  for (const NginxDirective& one : tree.top.block) {
    if (one.name == "http" && !any) {
      any = true;
      http.translate(one);
    } else if (one.name == "stream") {
      translate_nginx_stream(one, draft, remarks);
    }
  }
  // A file of conf.d or sites-available by itself: what stands in it belongs into an http block.
  if (fragment) {
    NginxDirective top = tree.top;
    top.name = "http";
    http.translate(top);
  }
  return draft;
}

}  // namespace trellis::app
