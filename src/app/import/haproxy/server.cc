#include "app/import/haproxy/server.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "app/import/haproxy/proxies.h"
#include "app/import/numbers.h"

namespace trellis::app {

namespace {

// Words with a value that Trellis does by itself, or that change nothing for clients and hosts.
constexpr std::string_view kNothing[] = {
    "id",        "init-addr", "pool-max-conn", "pool-purge-delay", "pool-low-conn",
    "max-reuse", "shard",     "verify",        "ca-file",          "ca-verify-file",
    "crt",       "sni",       "alpn",          "ciphers",          "verifyhost"};

// Words with a value that Trellis has nothing for: why, and what to do.
struct Absent {
  std::string_view word;
  std::string_view why;
  std::string_view instead;
};
constexpr Absent kAbsent[] = {
    {"cookie", "clients are not bound to a server by the import", "upstreams.NAME.sticky"},
    {"maxqueue", "requests that find no room wait with all others of the upstream", "upstreams.NAME.limits.waiting"},
    {"minconn", "the connections that a host may have do not grow with the load",
     "upstreams.NAME.limits: { adaptive: true }"},
    {"fastinter", "checks keep their interval while a host changes", "a shorter health.interval"},
    {"resolve-prefer", "addresses of both families are hosts", ""},
    {"resolve-net", "every address of a name is a host", ""},
    {"on-marked-down", "what is under way at a host that fails goes on", ""},
    {"on-marked-up", "what is under way goes on", ""},
    {"track", "each upstream checks its own hosts", "health of this upstream"},
    {"addr", "a host is checked at its own address", "health.port"},
    {"source", "the system chooses the address that connections come from", ""},
    {"proto", "hosts are spoken to by HTTP/1.1", ""},
    {"redir", "requests are not redirected to a host", ""},
    {"agent-port", "agents of hosts are not asked", "trellis ctl hosts weight, or health"},
    {"agent-inter", "agents of hosts are not asked", ""},
    {"agent-addr", "agents of hosts are not asked", ""},
    {"agent-send", "agents of hosts are not asked", ""},
};

// A word without a value; false when it is none that is known.
bool read_switch(const std::string& word, HaproxyServer& out) {
  if (word == "check" || word == "no-check") {
    out.checked = word == "check";
  } else if (word == "backup" || word == "no-backup") {
    out.backup = word == "backup";
  } else if (word == "disabled" || word == "enabled") {
    out.disabled = word == "disabled";
  } else if (word == "ssl" || word == "no-ssl") {
    out.tls = word == "ssl";
  } else if (word == "send-proxy" || word == "send-proxy-v2") {
    out.proxy_protocol = word == "send-proxy" ? "v1" : "v2";
  } else if (word == "no-send-proxy" || word == "no-send-proxy-v2") {
    out.proxy_protocol.clear();
  } else {
    return word == "tfo" || word == "non-stick" || word == "check-via-socks4";
  }
  return true;
}

bool read_value(const std::string& word, const std::string& value, HaproxyServer& out) {
  const auto set_number = [&](uint64_t& into) { into = whole_number(value).value_or(into); };
  const auto set_time = [&](uint64_t& into) { into = haproxy_milliseconds(value).value_or(into); };
  if (word == "weight") {
    set_number(out.weight);
  } else if (word == "inter") {
    set_time(out.interval_ms);
  } else if (word == "downinter") {
    set_time(out.down_interval_ms);
  } else if (word == "rise") {
    set_number(out.rise);
  } else if (word == "fall") {
    set_number(out.fall);
  } else if (word == "port") {
    if (whole_number(value)) out.check_port = value;
  } else if (word == "observe") {
    out.observe = value;
  } else if (word == "on-error") {
    out.on_error = value;
  } else if (word == "error-limit") {
    set_number(out.error_limit);
  } else if (word == "maxconn") {
    set_number(out.connections);
  } else if (word == "slowstart") {
    set_time(out.slow_start_ms);
  } else if (word == "resolvers") {
    out.resolvers = value;
  } else {
    return std::ranges::find(kNothing, word) != std::end(kNothing);
  }
  return true;
}

}  // namespace

void read_haproxy_server(const HaproxyLine& line, size_t from, HaproxyServer& out, Remarks& remarks) {
  for (size_t i = from; i < line.words.size(); ++i) {
    const std::string& word = line.words[i];
    const std::string what = line.words[0] + " ... " + word;
    if (read_switch(word, out)) continue;
    const bool more = i + 1 < line.words.size();
    if (more && read_value(word, line.words[i + 1], out)) {
      ++i;
    } else if (const auto absent = std::ranges::find(kAbsent, word, &Absent::word); absent != std::end(kAbsent)) {
      remarks.left_out(line.at, what, std::string(absent->why), std::string(absent->instead));
      ++i;
    } else {
      remarks.left_out(line.at, what, "is not a setting of a single host");
    }
  }
}

}  // namespace trellis::app
