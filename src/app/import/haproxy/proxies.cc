#include "app/import/haproxy/proxies.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "app/import/numbers.h"

namespace trellis::app {

namespace {

struct Timeout {
  std::string_view name;
  uint64_t HaproxyProxy::* into;
};
constexpr Timeout kTimeouts[] = {
    {"connect", &HaproxyProxy::connect_ms},      {"server", &HaproxyProxy::server_ms},
    {"client", &HaproxyProxy::client_ms},        {"http-request", &HaproxyProxy::request_ms},
    {"http-keep-alive", &HaproxyProxy::idle_ms}, {"tunnel", &HaproxyProxy::tunnel_ms},
    {"queue", &HaproxyProxy::queue_ms},          {"check", &HaproxyProxy::check_ms},
};

void read_timeout(const HaproxyLine& line, HaproxyProxy& out, Remarks& remarks) {
  const std::string_view which = line.word(1);
  const std::string what = "timeout " + std::string(which);
  const auto time = haproxy_milliseconds(line.word(2));
  const auto known = std::ranges::find(kTimeouts, which, &Timeout::name);
  if (!time) {
    remarks.left_out(line.at, what, "not a time: " + std::string(line.word(2)));
  } else if (known != std::end(kTimeouts)) {
    out.*(known->into) = *time;
  } else if (which == "client-fin" || which == "server-fin") {
    remarks.left_out(line.at, what, "a side that ended its stream has the time limits of all others",
                     "listeners.NAME.tcp.idle");
  } else {
    remarks.left_out(line.at, what, "not known to the import");
  }
}

constexpr std::string_view kRetried[] = {
    "none", "conn-failure", "empty-response",      "junk-response", "response-timeout", "0rtt-rejected", "500", "502",
    "503",  "504",          "all-retryable-errors"};

void tell_retry_on(const HaproxyLine& line, Remarks& remarks) {
  for (size_t i = 1; i < line.words.size(); ++i) {
    if (std::ranges::find(kRetried, line.words[i]) != std::end(kRetried)) continue;
    remarks.left_out(line.at, "retry-on " + line.words[i], "an answer with this status goes to the client");
  }
  if (line.word(1) == "none") return;
  remarks.differs(line.at, "retry-on", "but for connects only what may be repeated without harm is");
}

void read_lines(const HaproxySection& section, HaproxyProxy& out, Remarks& remarks) {
  for (const HaproxyLine& line : section.lines) {
    const std::string_view word = line.word(0);
    if (word == "mode") {
      out.http = line.word(1) == "http";
    } else if (word == "timeout") {
      read_timeout(line, out, remarks);
    } else if (word == "contimeout" || word == "clitimeout" || word == "srvtimeout") {  // of old ones
      const char* now = word == "contimeout" ? "connect" : word == "clitimeout" ? "client" : "server";
      read_timeout({{"timeout", now, std::string(line.word(1))}, line.at}, out, remarks);
    } else if (word == "retries") {
      out.retries = whole_number(line.word(1));
    } else if (word == "retry-on") {
      out.retry_on.assign(line.words.begin() + 1, line.words.end());
      tell_retry_on(line, remarks);
    } else if (word == "balance") {
      out.balance.assign(line.words.begin() + 1, line.words.end());
    } else {
      out.lines.push_back(line);
    }
  }
}

// `frontend web from NAME` takes the defaults of that name, others the last ones above.
std::string defaults_named(const HaproxySection& section) {
  const auto from = std::ranges::find(section.head.words, "from");
  if (from == section.head.words.end() || std::next(from) == section.head.words.end()) return {};
  return *std::next(from);
}

}  // namespace

std::vector<HaproxyProxy> read_haproxy_proxies(const std::vector<HaproxySection>& sections, Remarks& remarks) {
  std::vector<HaproxyProxy> out;
  HaproxyProxy defaults;
  std::map<std::string, HaproxyProxy> named;
  for (const HaproxySection& section : sections) {
    if (section.kind == "defaults") {
      defaults = HaproxyProxy{};
      read_lines(section, defaults, remarks);
      if (!section.name.empty()) named[section.name] = defaults;
    } else if (section.kind == "frontend" || section.kind == "backend" || section.kind == "listen") {
      const auto wanted = named.find(defaults_named(section));
      HaproxyProxy proxy = wanted == named.end() ? defaults : wanted->second;
      proxy.kind = section.kind;
      proxy.name = section.name;
      proxy.head = section.head;
      const std::vector<std::string>& head = section.head.words;
      if (head.size() > 2 && head[2] != "from")  // listen web 10.0.0.1:80, as old ones have it
        proxy.lines.push_back({{"bind", head[2]}, section.head.at});
      read_lines(section, proxy, remarks);
      out.push_back(std::move(proxy));
    } else if (section.kind != "global" && section.kind != "resolvers" && section.kind != "peers" &&
               section.kind != "mailers") {
      remarks.left_out(section.head.at, section.kind, "this kind of section is not known to the import");
    }
  }
  return out;
}

std::optional<uint64_t> haproxy_milliseconds(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const std::optional<uint64_t> value = whole_number(text.substr(0, digits));
  const std::string_view unit = text.substr(digits);
  if (!value || *value > 1'000'000'000) return std::nullopt;
  if (unit.empty() || unit == "ms") return *value;
  if (unit == "us") return *value / 1000;
  if (unit == "s") return *value * 1000;
  if (unit == "m") return *value * 60'000;
  if (unit == "h") return *value * 3'600'000;
  if (unit == "d") return *value * 86'400'000;
  return std::nullopt;
}

}  // namespace trellis::app
