#include "app/import/haproxy/backends.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "app/import/haproxy/server.h"
#include "app/import/haproxy/words.h"
#include "config/values.h"
#include "http/fields.h"

namespace trellis::app {

namespace {

constexpr uint64_t kDay = 86'400'000;

void set_option(FieldLines& check, const char* key, std::string value) {
  std::erase_if(check, [&](const auto& one) { return one.first == key; });
  check.emplace_back(key, std::move(value));
}

void set_method(const HaproxyLine& line, std::string_view method, FieldLines& check, Remarks& remarks) {
  if (method == "HEAD") set_option(check, "method", "HEAD");
  if (method != "HEAD" && method != "GET")
    remarks.differs(line.at, line.words[0] + " " + line.words[1],
                    "hosts are checked by GET, not by " + std::string(method), "health.method");
}

// option httpchk [METHOD] [PATH [HTTP/1.1\r\nHost:\ NAME]]
void read_httpchk(const HaproxyLine& line, FieldLines& check, Remarks& remarks) {
  const std::string_view path = line.words.size() == 3 ? line.word(2) : line.word(3);
  set_option(check, "path", yaml_text(path.empty() ? "/" : path));
  set_method(line, line.words.size() > 3 ? line.word(2) : "OPTIONS", check, remarks);
  std::string rest;
  for (size_t i = 4; i < line.words.size(); ++i) rest += (i > 4 ? " " : "") + line.words[i];
  for (size_t at = rest.find("\r\n"); at != std::string::npos;) {
    const size_t end = rest.find("\r\n", at + 2);
    std::string field = rest.substr(at + 2, end - at - 2);
    const size_t colon = std::min(field.find(':'), field.size());
    std::string value = field.substr(std::min(colon + 1, field.size()));
    value.erase(0, std::min(value.find_first_not_of(' '), value.size()));
    if (http::iequal(field.substr(0, colon), "Host")) {
      set_option(check, "host", yaml_text(value));
    } else if (!field.empty() && !http::iequal(field.substr(0, colon), "Connection")) {
      remarks.left_out(line.at, "option httpchk", "a check sends no field but Host: " + field.substr(0, colon));
    }
    at = end;
  }
}

// http-check send [meth M] [uri PATH] [ver V] [hdr NAME VALUE]... [body TEXT]
void read_check_send(const HaproxyLine& line, FieldLines& check, Remarks& remarks) {
  for (size_t i = 2; i + 1 < line.words.size(); i += 2) {
    const std::string& word = line.words[i];
    const std::string& value = line.words[i + 1];
    if (word == "uri") {
      set_option(check, "path", yaml_text(value));
    } else if (word == "meth") {
      set_method(line, value, check, remarks);
    } else if (word == "hdr" && i + 2 < line.words.size()) {
      ++i;
      if (http::iequal(value, "Host")) {
        set_option(check, "host", yaml_text(line.words[i + 1]));
      } else {
        remarks.left_out(line.at, "http-check send", "a check sends no field but Host: " + value);
      }
    } else if (word != "ver") {
      remarks.left_out(line.at, "http-check send", "not known to the import: " + word);
    }
  }
}

// option httpchk and http-check as options of `health`; false when the line is something else.
bool http_check(const HaproxyLine& line, FieldLines& check, Remarks& remarks) {
  if (line.word(0) == "option" && line.word(1) == "httpchk") {
    read_httpchk(line, check, remarks);
    return true;
  }
  if (line.word(0) != "http-check") return false;
  if (line.word(1) == "send") {
    read_check_send(line, check, remarks);
    return true;
  }
  if (line.word(1) == "expect" && line.word(2) == "status" && line.words.size() == 4) {
    set_option(check, "status", "[" + yaml_text(line.word(3)) + "]");
    return true;
  }
  if (line.word(1) == "expect" && line.word(2) == "string" && line.words.size() == 4) {
    set_option(check, "body", yaml_text(line.word(3)));
    return true;
  }
  return false;
}

// HAProxy checks by server, Trellis by upstream: with the times of the last one that is checked.
void add_health(const HaproxyProxy& proxy, const HaproxyServer& server, const FieldLines& http, UpstreamDraft& out) {
  if (!server.checked) return;
  const uint64_t interval = std::clamp<uint64_t>(server.interval_ms, 100, kDay);
  // Without `timeout check` a check may take as long as the interval; with it, that is for what follows the connect.
  const uint64_t connect = proxy.connect_ms > 0 ? std::min(proxy.connect_ms, interval) : interval;
  const uint64_t timeout = proxy.check_ms > 0 ? connect + proxy.check_ms : interval;
  std::string text = http.empty() ? "{ kind: tcp" : "{ kind: http";
  for (const auto& [key, value] : http) text += ", " + key + ": " + value;
  if (!server.check_port.empty()) text += ", port: " + server.check_port;
  text += ", interval: " + yaml_seconds(interval);
  if (server.down_interval_ms > 0)
    text += ", unhealthy_interval: " + yaml_seconds(std::clamp<uint64_t>(server.down_interval_ms, 100, kDay));
  text += ", timeout: " + yaml_seconds(std::clamp<uint64_t>(timeout, 10, 300'000));
  text += ", unhealthy_after: " + std::to_string(std::clamp<uint64_t>(server.fall, 1, 1000));
  text += ", healthy_after: " + std::to_string(std::clamp<uint64_t>(server.rise, 1, 1000));
  out.options.emplace_back("health", text + " }");
}

// observe, on-error, error-limit: answers to requests that put a server out.
void add_eject(const HaproxyLine& line, const HaproxyServer& server, UpstreamDraft& out, Remarks& remarks) {
  if (server.observe.empty()) return;
  if (server.on_error != "mark-down") {
    remarks.left_out(line.at, "server ... observe", "errors of requests do not change the rhythm of checks",
                     "upstreams.NAME.eject puts a host out after five in a row");
    return;
  }
  const uint64_t base = std::clamp<uint64_t>(server.rise * std::min(server.interval_ms, kDay), 100, kDay);
  out.options.emplace_back(
      "eject", "{ consecutive_errors: " + std::to_string(std::clamp<uint64_t>(server.error_limit, 1, 1000)) +
                   ", base_time: " + yaml_seconds(base) +
                   ", max_time: " + yaml_seconds(std::max<uint64_t>(base, 300'000)) + " }");
  remarks.differs(
      line.at, "server ... observe",
      std::string("a host that errors put out is back after a time, twice as long with each time in a row") +
          (server.observe == "layer4" ? "; answers of 5xx count, too" : ""));
}

void add_limits(const HaproxyProxy& proxy, uint64_t connections, UpstreamDraft& out, Remarks& remarks) {
  std::string text;
  if (connections > 0) {
    text = "connections: " + std::to_string(std::min<uint64_t>(connections, 65535));
    remarks.differs(proxy.head.at, "server ... maxconn",
                    "one number for all hosts of an upstream, the largest, and each core counts its own connections");
  }
  // Without `timeout queue` a request waits for a connection as long as for a connect.
  const uint64_t wait = proxy.queue_ms > 0 ? proxy.queue_ms : connections > 0 ? proxy.connect_ms : 0;
  if (wait > 0) text += (text.empty() ? "wait: " : ", wait: ") + yaml_seconds(std::min<uint64_t>(wait, 300'000));
  if (!text.empty()) out.options.emplace_back("limits", "{ " + text + " }");
}

void add_balance(const HaproxyProxy& proxy, bool weighted, UpstreamDraft& out, Remarks& remarks) {
  const std::string_view how =
      proxy.balance.empty() ? std::string_view("roundrobin") : std::string_view(proxy.balance[0]);
  if (how == "roundrobin" || how == "static-rr") {
    if (weighted) out.balance = "weighted";
  } else if (how == "leastconn") {
    out.balance = "least_connections";
  } else if (how == "source") {
    out.balance = "ip_hash";
  } else if (how == "uri") {
    out.balance = "hash";
    out.hash_on = "path";
  } else if (how.starts_with("hdr(") && how.ends_with(')')) {
    out.balance = "hash";
    out.hash_on = "header." + std::string(how.substr(4, how.size() - 5));
  } else if (how == "url_param" && proxy.balance.size() > 1) {
    out.balance = "hash";
    out.hash_on = "query." + proxy.balance[1];
  } else if (how.starts_with("random")) {
    out.balance = "two_choices";
  } else {
    remarks.left_out(proxy.head.at, "balance " + std::string(how), "not known to the import",
                     "requests go round the hosts instead");
  }
}

// retry-on as reasons of Trellis; empty: none.
std::string retried(const std::vector<std::string>& words) {
  if (words.empty()) return "connect, reset";
  static constexpr std::pair<std::string_view, std::string_view> kReasons[] = {{"conn-failure", "connect"},
                                                                               {"empty-response", "reset"},
                                                                               {"junk-response", "malformed"},
                                                                               {"response-timeout", "timeout"},
                                                                               {"500", "500"},
                                                                               {"502", "502"},
                                                                               {"503", "503"},
                                                                               {"504", "504"}};
  std::string out;
  for (const auto& [word, reason] : kReasons) {
    const bool asked = std::ranges::find(words, word) != words.end();
    const bool all = std::ranges::find(words, "all-retryable-errors") != words.end();
    if (asked || all) out += (out.empty() ? "" : ", ") + std::string(reason);
  }
  return out;
}

void add_times(const HaproxyProxy& proxy, UpstreamDraft& out) {
  // Without a timeout HAProxy waits for ever; a day is as long as Trellis waits.
  const uint64_t connect = std::clamp<uint64_t>(proxy.connect_ms > 0 ? proxy.connect_ms : 300'000, 1, 300'000);
  const uint64_t server = std::clamp<uint64_t>(proxy.server_ms > 0 ? proxy.server_ms : kDay, 1, kDay);
  const uint64_t tunnel = std::clamp<uint64_t>(proxy.tunnel_ms > 0 ? proxy.tunnel_ms : server, 1, 30 * kDay);
  const uint64_t tries = std::min<uint64_t>(proxy.retries.value_or(3), 9) + 1;
  const uint64_t total = std::clamp<uint64_t>(connect * tries + server, 1, kDay);
  const std::string on = retried(proxy.retry_on);
  out.options.emplace_back(
      "retry", on.empty() ? "{ attempts: 1 }" : "{ attempts: " + std::to_string(tries) + ", on: [" + on + "] }");
  out.options.emplace_back("timeouts", "{ connect: " + yaml_seconds(connect) + ", first_byte: " + yaml_seconds(server) +
                                           ", idle: " + yaml_seconds(server) + ", upgraded: " + yaml_seconds(tunnel) +
                                           ", total: " + yaml_seconds(total) + " }");
}

}  // namespace

// One backend, while its lines are read.
struct HaproxyBackends::Reading {
  const HaproxyProxy& proxy;
  UpstreamDraft upstream;
  HaproxyServer defaults;
  HaproxyServer checked;   // the last that is
  HaproxyServer observed;  // the last that is, and where
  HaproxyLine observed_at;
  FieldLines http_check;
  uint64_t connections = 0;
  uint64_t slow_start_ms = 0;
  bool weighted = false;
};

bool is_of_hosts(const HaproxyLine& line) {
  const std::string_view word = line.word(0);
  return word == "server" || word == "server-template" || word == "default-server" || word == "http-check" ||
         (word == "option" && line.word(1) == "httpchk");
}

std::optional<std::string> HaproxyBackends::use(const std::string& name, const ImportPlace& at) {
  if (const auto made = made_.find(name); made != made_.end()) return made->second;
  const auto found = std::ranges::find_if(
      proxies_, [&](const HaproxyProxy& proxy) { return proxy.has_servers() && proxy.name == name; });
  std::optional<std::string>& out = made_[name];
  if (found == proxies_.end()) {
    remarks_.left_out(at, "backend " + name, "there is no such backend");
    return out;
  }
  if (std::optional<UpstreamDraft> upstream = upstream_of(*found)) {
    out = upstream->name;
    draft_.upstreams.push_back(*std::move(upstream));
  }
  return out;
}

std::string HaproxyBackends::proxy_protocol_of(const std::string& name) const {
  const auto found = proxy_protocols_.find(name);
  return found == proxy_protocols_.end() ? std::string() : found->second;
}

std::string HaproxyBackends::free_name(const std::string& name) {
  const std::string wanted = plain_name(name);
  std::string out = wanted;
  for (int i = 2; !names_.insert(out).second; ++i) out = wanted + "_" + std::to_string(i);
  return out;
}

std::optional<UpstreamDraft> HaproxyBackends::upstream_of(const HaproxyProxy& proxy) {
  Reading reading{.proxy = proxy,
                  .upstream = {},
                  .defaults = {},
                  .checked = {},
                  .observed = {},
                  .observed_at = {},
                  .http_check = {}};
  UpstreamDraft& out = reading.upstream;
  out.at = proxy.head.at;
  out.name = free_name(proxy.name);
  for (const HaproxyLine& line : proxy.lines) {
    if (line.word(0) == "default-server") read_haproxy_server(line, 1, reading.defaults, remarks_);
  }
  const bool backend = proxy.kind == "backend";
  bool good = true;
  for (const HaproxyLine& line : proxy.lines) {
    if (line.word(0) == "server" || line.word(0) == "server-template") {
      good = server(line, reading) && good;
    } else if (line.word(0) == "default-server" || http_check(line, reading.http_check, remarks_)) {
      continue;
    } else if (refuses(line) && (backend || line.word(1) == "auth")) {
      remarks_.left_out(line.at, "http-request " + std::string(line.word(1)),
                        "rules that refuse stand in frontends only");
      good = false;
    } else if (backend &&
               (read_haproxy_edit(line, edits_[proxy.name]) || read_haproxy_path(line, edits_[proxy.name]))) {
      continue;
    } else if (line.word(1) == "forwardfor" && line.at.line < proxy.head.at.line) {
      continue;  // of the defaults: the frontends tell it
    } else if (line.word(0) != "bind" && line.word(0) != "acl" && backend) {
      tell_unread(line, remarks_);
    }
  }
  add_balance(proxy, reading.weighted, out, remarks_);
  const auto up = [](const HostDraft& host) { return !host.down; };
  if (!good || std::ranges::none_of(out.hosts, up)) {
    remarks_.left_out(proxy.head.at, "backend " + proxy.name,
                      good ? "none of its servers can be reached" : "a server of it cannot be reached as it must",
                      "its requests are answered by 501 until you decide");
    return std::nullopt;
  }
  add_times(proxy, out);
  add_limits(proxy, reading.connections, out, remarks_);
  add_health(proxy, reading.checked, reading.http_check, out);
  add_eject(reading.observed_at, reading.observed, out, remarks_);
  if (reading.slow_start_ms > 0)
    out.options.emplace_back("slow_start", yaml_seconds(std::min<uint64_t>(reading.slow_start_ms, 3'600'000)));
  return std::move(out);
}

// server NAME ADDRESS ..., server-template PREFIX COUNT ADDRESS ...; false: requests must not go to its backend.
bool HaproxyBackends::server(const HaproxyLine& line, Reading& reading) {
  const size_t at = line.word(0) == "server" ? 2 : 3;
  HaproxyServer server = reading.defaults;
  read_haproxy_server(line, at + 1, server, remarks_);
  if (server.tls) {
    remarks_.left_out(line.at, "server ... ssl", "hosts are spoken to without TLS",
                      "use a private network, or a TLS tunnel to the host");
    return false;
  }
  if (!server.proxy_protocol.empty()) {
    proxy_protocols_[reading.proxy.name] = server.proxy_protocol;
    if (reading.proxy.http) {
      remarks_.left_out(line.at, "server ... send-proxy", "told to hosts by relays of mode tcp only",
                        "they can read X-Forwarded-For");
      return false;
    }
  }
  HostDraft host;
  host.address = line.word(at);
  if (!name_source(line, server, host)) {
    remarks_.left_out(line.at, line.words[0] + " " + std::string(line.word(1)),
                      "no address with a port: " + host.address);
    return true;
  }
  host.weight = static_cast<uint32_t>(std::clamp<uint64_t>(server.weight, 1, 1000));
  host.backup = server.backup;
  host.down = server.disabled || server.weight == 0;
  reading.weighted |= server.weight != 1;
  if (server.checked) reading.checked = server;
  if (!server.observe.empty()) {
    reading.observed = server;
    reading.observed_at = line;
  }
  reading.connections = std::max(reading.connections, server.connections);
  reading.slow_start_ms = std::max(reading.slow_start_ms, server.slow_start_ms);
  reading.upstream.hosts.push_back(std::move(host));
  return true;
}

// Is its address one that is looked up again, and by whom? False: it is no address of a host.
bool HaproxyBackends::name_source(const HaproxyLine& line, const HaproxyServer& server, HostDraft& host) {
  const std::string what = line.words[0] + " " + std::string(line.word(1));
  const auto parsed = config::HostPort::from_text(host.address);
  const bool looked_up = !server.resolvers.empty() || line.word(0) == "server-template";
  if (looked_up && host.address.starts_with('_')) {
    host.address = host.address.substr(0, host.address.find(':'));
    host.from = HostDraft::From::srv;
  } else if (!parsed || parsed->port == 0) {
    return false;
  } else if (looked_up && parsed->form == config::HostPort::Form::name) {
    host.from = HostDraft::From::dns;
    remarks_.differs(line.at, what, "every address that the name has is a host, whatever the number of servers");
  }
  if (host.from == HostDraft::From::address || server.resolvers.empty()) return true;
  const auto section = resolvers_.find(server.resolvers);
  if (section == resolvers_.end()) {
    remarks_.left_out(line.at, what, "there is no resolvers section " + server.resolvers);
    return true;
  }
  host.refresh_ms = std::min<uint64_t>(section->second.refresh_ms, kDay);
  if (draft_.dns_servers.empty()) {
    draft_.dns_servers = section->second.servers;
  } else if (!section->second.servers.empty() && draft_.dns_servers != section->second.servers) {
    remarks_.differs(line.at, what, "the whole node asks one list of servers for names, the first that is used");
  }
  return true;
}

}  // namespace trellis::app
