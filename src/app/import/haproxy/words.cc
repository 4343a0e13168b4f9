#include "app/import/haproxy/words.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>

namespace trellis::app {

namespace {

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
                                         "redispatch",
                                         "quiet",
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
    {"option forwardfor ", "hosts hear every client in X-Forwarded-For, and nothing that it claimed there",
     "listeners.NAME.trusted, and a filter headers for another name"},
    {"fullconn", "the connections that a host may have do not grow with the load",
     "upstreams.NAME.limits: { adaptive: true }"},
    {"stick", "there are no stick tables", ""},
    {"cookie", "clients are not bound to a server by the import", "see docs/migrating-from-haproxy.md"},
    {"http-check", "only send, and expect of a status or a text, are known here", ""},
    {"tcp-check", "a connection is enough for the imported check", "health: { kind: tcp, send, expect }"},
    {"option http-buffer-request", "not part of the import", "add the filter buffer to the routes"},
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

}  // namespace

void tell_unread(const HaproxyLine& line, Remarks& remarks) {
  const std::string text = line.text();
  const bool forwarded = text.starts_with("option forwardfor ");  // its words do mean something
  for (const std::string_view nothing : kNothing) {
    if (forwarded) break;
    if (text == nothing || text.starts_with(std::string(nothing) + " ")) return;
  }
  const std::string what = line.words.size() > 1 ? line.words[0] + " " + line.words[1] : line.words[0];
  if (refuses(line)) {
    remarks.left_out(line.at, what, "not known to the import",
                     "what it refused is let through; allow and deny are filters of a route");
    return;
  }
  for (const Absent& absent : kAbsent) {
    if (!text.starts_with(absent.prefix)) continue;
    remarks.left_out(line.at, what, std::string(absent.why), std::string(absent.instead));
    return;
  }
  remarks.left_out(line.at, what, "not known to the import");
}

namespace {

// `http-request return status 403`: says who may, as deny does. Other statuses are answers.
bool returns_refusal(const HaproxyLine& line) {
  const auto status = std::ranges::find(line.words, "status");
  if (line.word(1) != "return" || line.words.end() - status < 2) return false;
  const std::string& code = *std::next(status);
  return code == "401" || code == "403" || code == "407";
}

}  // namespace

bool refuses(const HaproxyLine& line) {
  const std::string_view word = line.word(0);
  if (word == "block") return true;
  for (const std::string_view old : {"reqdeny", "reqideny", "reqtarpit", "reqitarpit", "rspdeny", "rspideny"}) {
    if (word == old) return true;
  }
  if (word == "tcp-request") return std::ranges::find(line.words, "reject") != line.words.end();
  if (word != "http-request" && word != "http-response" && word != "tcp-response") return false;
  if (returns_refusal(line)) return true;
  for (const std::string_view what : {"auth", "deny", "reject", "tarpit", "silent-drop"}) {
    if (line.word(1) == what || (word == "tcp-response" && line.word(2) == what)) return true;
  }
  return false;
}

}  // namespace trellis::app
