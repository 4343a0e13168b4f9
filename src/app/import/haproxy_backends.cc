#include "app/import/haproxy_backends.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "app/import/haproxy_words.h"
#include "app/import/numbers.h"
#include "config/values.h"

namespace trellis::app {

namespace {

constexpr uint64_t kDay = 86'400'000;

struct Checks {
  bool on = false;
  uint64_t interval_ms = 2000;
  uint64_t rise = 2;
  uint64_t fall = 3;
  std::string port;
};

// A word of `server` or `default-server` about its checks; moves `i` over a value. False: it is about something else.
bool check_word(const HaproxyLine& line, size_t& i, Checks& checks) {
  const std::string& word = line.words[i];
  if (word == "check") return checks.on = true;
  if (i + 1 >= line.words.size()) return false;
  const std::string& value = line.words[i + 1];
  if (word == "inter") {
    checks.interval_ms = haproxy_milliseconds(value).value_or(2000);
  } else if (word == "rise") {
    checks.rise = whole_number(value).value_or(2);
  } else if (word == "fall") {
    checks.fall = whole_number(value).value_or(3);
  } else if (word == "port") {
    if (whole_number(value)) checks.port = value;
  } else if (word != "fastinter" && word != "downinter") {
    return false;
  }
  ++i;
  return true;
}

// option httpchk and http-check as options of `health`; false when the line is something else.
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

void add_health(const Checks& checks, const FieldLines& http, UpstreamDraft& out) {
  if (!checks.on) return;
  std::string text = http.empty() ? "{ kind: tcp" : "{ kind: http";
  for (const auto& [key, value] : http) text += ", " + key + ": " + value;
  if (!checks.port.empty()) text += ", port: " + checks.port;
  text += ", interval: " + yaml_seconds(std::clamp<uint64_t>(checks.interval_ms, 100, kDay));
  text += ", unhealthy_after: " + std::to_string(std::clamp<uint64_t>(checks.fall, 1, 1000));
  text += ", healthy_after: " + std::to_string(std::clamp<uint64_t>(checks.rise, 1, 1000));
  out.options.emplace_back("health", text + " }");
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

void add_times(const HaproxyProxy& proxy, UpstreamDraft& out) {
  // Without a timeout HAProxy waits for ever; a day is as long as Trellis waits.
  const uint64_t connect = std::clamp<uint64_t>(proxy.connect_ms > 0 ? proxy.connect_ms : 300'000, 1, 300'000);
  const uint64_t server = std::clamp<uint64_t>(proxy.server_ms > 0 ? proxy.server_ms : kDay, 1, kDay);
  const uint64_t tunnel = std::clamp<uint64_t>(proxy.tunnel_ms > 0 ? proxy.tunnel_ms : server, 1, 30 * kDay);
  const uint64_t tries = std::min<uint64_t>(proxy.retries.value_or(3), 9) + 1;
  const uint64_t total = std::clamp<uint64_t>(connect * tries + server, 1, kDay);
  out.options.emplace_back("retry", "{ attempts: " + std::to_string(tries) + ", on: [connect, reset] }");
  out.options.emplace_back("timeouts", "{ connect: " + yaml_seconds(connect) + ", first_byte: " + yaml_seconds(server) +
                                           ", idle: " + yaml_seconds(server) + ", upgraded: " + yaml_seconds(tunnel) +
                                           ", total: " + yaml_seconds(total) + " }");
}

// Settings of a server that have a value and that Trellis has not.
bool takes_value(std::string_view word) {
  static constexpr std::string_view kWords[] = {"maxconn",        "cookie",    "resolvers", "init-addr", "verify",
                                                "maxqueue",       "slowstart", "observe",   "on-error",  "error-limit",
                                                "resolve-prefer", "proto",     "alpn",      "id"};
  return std::ranges::find(kWords, word) != std::end(kWords);
}

}  // namespace

// One backend, while its lines are read.
struct HaproxyBackends::Reading {
  const HaproxyProxy& proxy;
  UpstreamDraft upstream;
  Checks defaults;
  Checks checks;  // HAProxy checks by server, Trellis by upstream: the last one's times
  FieldLines http_check;
  bool weighted = false;
};

bool is_of_hosts(const HaproxyLine& line) {
  const std::string_view word = line.word(0);
  return word == "server" || word == "default-server" || word == "http-check" ||
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
  Reading reading{.proxy = proxy, .upstream = {}, .defaults = {}, .checks = {}, .http_check = {}};
  UpstreamDraft& out = reading.upstream;
  out.at = proxy.head.at;
  out.name = free_name(proxy.name);
  for (const HaproxyLine& line : proxy.lines) {
    if (line.word(0) != "default-server") continue;
    for (size_t i = 1; i < line.words.size(); ++i) {
      if (!check_word(line, i, reading.defaults))
        remarks_.left_out(line.at, "default-server " + line.words[i], "not known to the import");
    }
  }
  const bool backend = proxy.kind == "backend";
  bool good = true;
  for (const HaproxyLine& line : proxy.lines) {
    if (line.word(0) == "server") {
      good = server(line, reading) && good;
    } else if (line.word(0) == "default-server" || http_check(line, reading.http_check)) {
      continue;
    } else if (refuses(line) && (backend || line.word(1) == "auth")) {
      remarks_.left_out(line.at, "http-request " + std::string(line.word(1)),
                        "rules that refuse stand in frontends only");
      good = false;
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
  add_health(reading.checks, reading.http_check, out);
  return std::move(out);
}

// False: requests must not go to its backend.
bool HaproxyBackends::server(const HaproxyLine& line, Reading& reading) {
  const auto parsed = config::HostPort::from_text(line.word(2));
  if (!parsed || parsed->port == 0) {
    remarks_.left_out(line.at, "server " + std::string(line.word(1)),
                      "no address with a port: " + std::string(line.word(2)));
    return true;
  }
  HostDraft host{.address = std::string(line.word(2))};
  Checks checks = reading.defaults;
  for (size_t i = 3; i < line.words.size(); ++i) {
    const std::string& word = line.words[i];
    const bool more = i + 1 < line.words.size();
    if (word == "weight" && more) {
      const uint64_t weight = whole_number(line.words[++i]).value_or(1);
      host.down |= weight == 0;
      host.weight = static_cast<uint32_t>(std::clamp<uint64_t>(weight, 1, 1000));
      reading.weighted |= weight != 1;
    } else if (word == "backup") {
      host.backup = true;
    } else if (word == "disabled") {
      host.down = true;
    } else if (word == "ssl") {
      remarks_.left_out(line.at, "server ... ssl", "hosts are spoken to without TLS",
                        "use a private network, or a TLS tunnel to the host");
      return false;
    } else if (word == "send-proxy" || word == "send-proxy-v2") {
      proxy_protocols_[reading.proxy.name] = word == "send-proxy" ? "v1" : "v2";
      if (reading.proxy.http) {
        remarks_.left_out(line.at, "server ... " + word, "told to hosts by relays of mode tcp only",
                          "they can read X-Forwarded-For");
        return false;
      }
    } else if (!check_word(line, i, checks)) {
      remarks_.left_out(line.at, "server ... " + word, "is not a setting of a single host");
      if (more && takes_value(word)) ++i;
    }
  }
  if (checks.on) reading.checks = checks;
  reading.upstream.hosts.push_back(std::move(host));
  return true;
}

}  // namespace trellis::app
