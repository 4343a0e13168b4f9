#include "app/import/nginx/stream.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "app/import/nginx/settings.h"
#include "app/import/nginx/upstreams.h"
#include "proxy/filters/addresses.h"

namespace trellis::app {

namespace {

constexpr std::string_view kNothing[] = {"proxy_buffer_size",
                                         "tcp_nodelay",
                                         "preread_buffer_size",
                                         "proxy_next_upstream_tries",
                                         "proxy_next_upstream_timeout",
                                         "proxy_socket_keepalive",
                                         "access_log",
                                         "error_log",
                                         "log_format",
                                         "resolver",
                                         "resolver_timeout",
                                         "variables_hash_max_size",
                                         "variables_hash_bucket_size",
                                         "map_hash_max_size",
                                         "map_hash_bucket_size"};
bool needs_no_word(std::string_view name) { return std::ranges::find(kNothing, name) != std::end(kNothing); }

class StreamBlock {
 public:
  StreamBlock(ConfigDraft& draft, Remarks& remarks) : draft_(draft), remarks_(remarks), upstreams_(draft, remarks) {}

  void translate(const NginxDirective& stream) {
    for (const NginxDirective& one : stream.block) {
      if (one.name == "upstream") upstreams_.declare(one);
      if (one.name == "map") map(one);
    }
    for (const NginxDirective& one : stream.block) {
      if (one.name == "server") {
        server(one, stream);
      } else if (one.name != "upstream" && one.name != "map" && !is_option(one.name) && !needs_no_word(one.name) &&
                 !is_access(one.name) && one.name != "proxy_ssl") {
        remarks_.left_out(one.at, one.name, "not known to the import");
      }
    }
  }

 private:
  struct Choice {
    std::vector<std::pair<std::string, std::string>> names;  // of the server, and where to
    std::string last;
  };

  static bool is_option(std::string_view name) {
    return name == "proxy_timeout" || name == "proxy_connect_timeout" || name == "proxy_protocol" ||
           name == "ssl_preread" || name == "preread_timeout" || name == "set_real_ip_from" ||
           name == "proxy_responses" || name == "proxy_requests" || name == "proxy_next_upstream";
  }

  // By the name in a TLS hello; other maps have no place here.
  void map(const NginxDirective& one) {
    if (one.word(0) != "$ssl_preread_server_name" || !one.word(1).starts_with('$')) {
      remarks_.left_out(one.at, one.name, "there are no variables of your own");
      return;
    }
    Choice choice;
    for (const NginxDirective& line : one.block) {
      const std::string to(line.word(0));
      if (line.name == "hostnames") continue;
      if (line.name == "default") {
        choice.last = to;
      } else if (line.name.starts_with('~') || line.name.ends_with(".*") || line.name.empty()) {
        remarks_.left_out(line.at, line.name, "names or *.name only");
      } else if (line.name.starts_with('.')) {
        choice.names.emplace_back(line.name.substr(1), to);
        choice.names.emplace_back("*" + line.name, to);
      } else {
        choice.names.emplace_back(line.name, to);
      }
    }
    // nginx takes exact names first, then the longest wildcard; a relay takes the first that fits.
    std::ranges::stable_sort(choice.names, [](const auto& a, const auto& b) {
      const bool wild_a = a.first.starts_with('*');
      const bool wild_b = b.first.starts_with('*');
      return wild_a != wild_b ? wild_b : wild_a && a.first.size() > b.first.size();
    });
    choices_[std::string(one.word(1))] = std::move(choice);
  }

  // What stands in the server, or else beside it.
  static std::string_view value(const NginxDirective& block, const NginxDirective& stream, std::string_view name) {
    if (const NginxDirective* own = block.find(name)) return own->word(0);
    if (const NginxDirective* above = stream.find(name)) return above->word(0);
    return {};
  }
  static uint64_t time(std::string_view text, uint64_t otherwise, uint64_t low, uint64_t high) {
    return std::clamp(nginx_milliseconds(text).value_or(otherwise), low, high);
  }

  // Whose PROXY headers are believed: those of set_real_ip_from.
  static std::vector<std::string> trusted_of(const NginxDirective& block, const NginxDirective& stream) {
    std::vector<std::string> out;
    for (const NginxDirective* level : {&block, &stream}) {
      for (const NginxDirective& one : level->block) {
        if (one.name == "set_real_ip_from" && proxy::AddressBlock::from_text(one.word(0)))
          out.emplace_back(one.word(0));
      }
      if (!out.empty()) break;
    }
    return out;
  }

  static bool is_access(std::string_view name) { return name == "allow" || name == "deny" || name == "js_access"; }
  // What no relay does, of the server or of all of them: who has rules of its own inherits none.
  static const NginxDirective* in_the_way(const NginxDirective& block, const NginxDirective& stream) {
    const bool own_access = block.find("allow") || block.find("deny");
    const bool own_tls = block.find("proxy_ssl");
    for (const NginxDirective* level : {&block, &stream}) {
      for (const NginxDirective& one : level->block) {
        const bool own = level == &block;
        const bool closes = one.name == "deny" || (one.name == "allow" && one.word(0) != "all");
        if (closes && (own || !own_access)) return &one;
        if (one.name == "js_access" && (own || !block.find("js_access"))) return &one;
        if (one.name == "proxy_ssl" && one.word(0) == "on" && (own || !own_tls)) return &one;
        if (one.name == "return" && own) return &one;
      }
    }
    return nullptr;
  }
  void server(const NginxDirective& block, const NginxDirective& stream) {
    if (const NginxDirective* one = in_the_way(block, stream)) {
      const bool closes = is_access(one->name);
      remarks_.left_out(one->at, one->name,
                        closes ? "a relay lets everybody in: the server is left out"
                               : "a relay passes bytes on as they are: the server is left out",
                        closes ? "let a firewall do it" : "");
      return;
    }
    for (const NginxDirective& one : block.block) {
      if (is_access(one.name) || one.name == "proxy_ssl") continue;  // let everybody in, and is off
      if (one.name != "listen" && one.name != "proxy_pass" && !is_option(one.name) && !needs_no_word(one.name)) {
        auto [why, instead] = why_left_out(one.name);
        remarks_.left_out(one.at, one.name, std::move(why), std::move(instead));
      }
    }
    const NginxDirective* pass = block.find("proxy_pass");
    if (!pass) {
      remarks_.left_out(block.at, block.name, "leads nowhere");
      return;
    }
    for (const NginxDirective& one : block.block) {
      if (one.name == "listen") listen(one, block, stream, *pass);
    }
  }

  void listen(const NginxDirective& one, const NginxDirective& block, const NginxDirective& stream,
              const NginxDirective& pass) {
    const auto has = [&](std::string_view word) { return std::ranges::find(one.words, word) != one.words.end(); };
    std::string address(one.word(0));
    if (address.find_first_not_of("0123456789") == std::string::npos) address = "0.0.0.0:" + address;
    if (address.starts_with("*:")) address = "0.0.0.0" + address.substr(1);
    if (has("ssl")) {
      remarks_.left_out(one.at, one.name, "there is no TLS yet: the server is left out",
                        "pass TLS through (ssl_preread), or let another end it");
      return;
    }
    if (!good_bind(address)) {
      remarks_.left_out(one.at, one.name, "a numeric address and a port only: " + address);
      return;
    }
    const std::vector<std::string> trusted =
        has("proxy_protocol") ? trusted_of(block, stream) : std::vector<std::string>();
    if (has("proxy_protocol") && trusted.empty()) {
      remarks_.left_out(one.at, one.name, "whose headers are believed must be said: the server is left out",
                        "listeners.NAME: { proxy_protocol: in, trusted: [10.0.0.0/8] }");
      return;
    }
    const bool udp = has("udp");
    std::string to;
    std::string routes;
    if (!targets(block, stream, pass, udp, to, routes)) return;
    uint64_t idle_ms = time(value(block, stream, "proxy_timeout"), 600'000, udp ? 100 : 0, 86'400'000);
    if (udp && counts_datagrams(block, stream)) idle_ms = std::min<uint64_t>(idle_ms, 30'000);
    const std::string idle = yaml_seconds(idle_ms);
    if (value(block, stream, "proxy_next_upstream") == "off")
      remarks_.differs(one.at, "proxy_next_upstream", "while a host cannot be connected to the next one is tried");
    ListenerDraft listener;
    listener.at = one.at;
    const std::string wanted = (udp ? "udp_" : "tcp_") + address.substr(address.rfind(':') + 1);
    listener.name = wanted;
    for (int i = 2; std::ranges::find(draft_.listeners, listener.name, &ListenerDraft::name) != draft_.listeners.end();
         ++i)
      listener.name = wanted + "_" + std::to_string(i);
    listener.bind = address;
    if (udp) {
      listener.udp = "{ to: " + to + ", idle: " + idle + " }";
    } else {
      const std::string connect =
          yaml_seconds(time(value(block, stream, "proxy_connect_timeout"), 60'000, 10, 600'000));
      listener.tcp = "{ to: " + to + routes + ", connect: " + connect + ", idle: " + idle + " }";
      const bool out = value(block, stream, "proxy_protocol") == "on";
      if (!trusted.empty()) {
        listener.options.emplace_back("proxy_protocol", out ? "{ in: true, out: v1 }" : "in");
        listener.options.emplace_back("trusted", yaml_list(trusted));
      } else if (out) {
        listener.options.emplace_back("proxy_protocol", "v1");
      }
    }
    draft_.listeners.push_back(std::move(listener));
  }

  // Sessions that nginx ends after so many datagrams would stay for all of proxy_timeout.
  bool counts_datagrams(const NginxDirective& block, const NginxDirective& stream) {
    for (const char* name : {"proxy_responses", "proxy_requests"}) {
      const NginxDirective* one = block.find(name);
      if (!one) one = stream.find(name);
      if (!one) continue;
      remarks_.differs(one->at, name, "a session ends when nothing was said for a time, 30 s at the most",
                       "listeners.NAME.udp.idle");
      return true;
    }
    return false;
  }

  bool targets(const NginxDirective& block, const NginxDirective& stream, const NginxDirective& pass, bool udp,
               std::string& to, std::string& routes) {
    const std::string where(pass.word(0));
    const auto choice = choices_.find(where);
    if (choice == choices_.end() && where.find('$') != std::string::npos) {
      remarks_.left_out(pass.at, pass.name, "variables lead to hosts that are known only later: the server is left out",
                        "name the hosts in upstreams");
      return false;
    }
    const NginxDirective* const own = block.find("resolver");
    const NginxDirective* const resolver = own ? own : stream.find("resolver");
    const auto use = [&](const std::string& name) -> std::string {
      const auto upstream = upstreams_.use_plain(name, resolver, pass);
      return upstream ? "upstream." + *upstream : std::string();
    };
    if (choice == choices_.end()) {
      to = use(where);
      return !to.empty();
    }
    if (value(block, stream, "ssl_preread") != "on" || udp) {
      remarks_.left_out(pass.at, pass.name, "names of TLS are read with ssl_preread on: the server is left out");
      return false;
    }
    for (const auto& [name, upstream] : choice->second.names) {
      const std::string target = use(upstream);
      routes += (routes.empty() ? ", routes: [" : ", ") +
                ("{ sni: " + yaml_text(name) + ", to: " + (target.empty() ? "refuse" : target) + " }");
    }
    if (!routes.empty()) routes += "]";
    to = choice->second.last.empty() ? std::string() : use(choice->second.last);
    if (to.empty()) to = "refuse";
    return true;
  }

  ConfigDraft& draft_;
  Remarks& remarks_;
  NginxUpstreams upstreams_;
  std::map<std::string, Choice> choices_;
};

}  // namespace

void translate_nginx_stream(const NginxDirective& stream, ConfigDraft& draft, Remarks& remarks) {
  StreamBlock(draft, remarks).translate(stream);
}

}  // namespace trellis::app
