#include "app/import/haproxy/relay.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "app/import/haproxy/conditions.h"
#include "app/import/haproxy/words.h"

namespace trellis::app {

namespace {

// Where connections go.
struct Relay {
  std::string to;    // a backend; empty: none
  FieldLines names;  // of a TLS hello, and the backend of each
};

// Nothing when the proxy asks for what a relay does not do; `drop` has told it.
template <class Drop>
std::optional<Relay> read_relay(const HaproxyProxy& proxy, const HaproxyTrust& trust, Remarks& remarks,
                                const Drop& drop) {
  const HaproxyConditions conditions(proxy.lines, remarks);
  Relay out;
  if (proxy.has_servers()) out.to = proxy.name;
  for (const HaproxyLine& line : proxy.lines) {
    const std::string_view word = line.word(0);
    if (trust.lines.contains(line.at.line) || line.word(1) == "forwardfor") continue;
    if (word == "default_backend") {
      out.to = line.word(1);
    } else if (word == "use_backend") {
      const std::vector<std::string> found = conditions.hello_names(line, 2);
      if (found.empty())
        remarks.left_out(line.at, "use_backend " + std::string(line.word(1)),
                         "a relay chooses by the name in a TLS hello only");
      for (const std::string& name : found) out.names.emplace_back(name, line.word(1));
    } else if (word == "tcp-request") {
      const bool waits = line.word(1) == "inspect-delay" || line.word(2) == "accept";
      if (waits) continue;
      drop(line, "a relay asks for no addresses: the listener is left out");
      return std::nullopt;
    } else if (word == "bind" && std::ranges::find(line.words, "ssl") != line.words.end()) {
      drop(line, "there is no TLS yet: the listener is left out");
      return std::nullopt;
    } else if (word != "bind" && word != "acl" && !is_of_hosts(line)) {
      tell_unread(line, remarks);
    }
  }
  return out;
}

std::string target(const std::optional<std::string>& upstream) {
  return upstream ? "upstream." + *upstream : std::string("refuse");
}

}  // namespace

void relay_haproxy(const HaproxyProxy& proxy, const HaproxyTrust& trust, const std::vector<std::string>& listeners,
                   HaproxyBackends& backends, ConfigDraft& draft, Remarks& remarks) {
  const auto is_of_proxy = [&](const ListenerDraft& one) {
    return std::ranges::find(listeners, one.name) != listeners.end();
  };
  const auto drop = [&](const HaproxyLine& line, const char* why) {
    remarks.left_out(line.at, line.words[0] + " " + std::string(line.word(1)), why);
    std::erase_if(draft.listeners, is_of_proxy);
  };
  const std::optional<Relay> relay = read_relay(proxy, trust, remarks, drop);
  if (!relay) return;
  std::string routes;
  for (const auto& [name, backend] : relay->names) {
    routes += (routes.empty() ? ", routes: [" : ", ") +
              ("{ sni: " + yaml_text(name) + ", to: " + target(backends.use(backend, proxy.head.at)) + " }");
  }
  if (!routes.empty()) routes += "]";
  const auto upstream = relay->to.empty() ? std::nullopt : backends.use(relay->to, proxy.head.at);
  if (!upstream && routes.empty()) return drop(proxy.head, "leads nowhere: the listener is left out");

  constexpr uint64_t kDay = 86'400'000;
  const uint64_t idle = std::max(proxy.client_ms, proxy.server_ms);
  std::string tcp = "{ to: " + target(upstream) + routes;
  if (proxy.connect_ms > 0) tcp += ", connect: " + yaml_seconds(std::clamp<uint64_t>(proxy.connect_ms, 10, 600'000));
  if (idle > 0) tcp += ", idle: " + yaml_seconds(std::clamp<uint64_t>(idle, 1000, kDay));
  const std::string header = backends.proxy_protocol_of(relay->to);
  for (const auto& [name, backend] : relay->names) {
    if (backends.proxy_protocol_of(backend) != header)
      remarks.left_out(proxy.head.at, "backend " + backend,
                       "all hosts of a listener are told who the client is in one way, that of its default backend",
                       "give it a listener of its own");
  }
  for (ListenerDraft& listener : draft.listeners) {
    if (!is_of_proxy(listener)) continue;
    listener.tcp = tcp + " }";
    if (header.empty()) continue;
    const auto in = std::ranges::find(listener.options, "proxy_protocol", &FieldLines::value_type::first);
    if (in == listener.options.end()) {
      listener.options.emplace_back("proxy_protocol", header);
    } else {
      in->second = "{ in: true, out: " + header + " }";
    }
  }
}

}  // namespace trellis::app
