// A configuration that has every kind of member once, for the tests of this room. Its files are
// tests/golden/config/*.yaml.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "config/fields.h"

namespace trellis::config::demo {

using namespace std::chrono_literals;

enum class Balance { round_robin, least_connections, maglev };

struct LimitConfig {
  uint32_t rate = 100;
  uint32_t burst = 200;
  Duration wait = 500ms;
  std::optional<HostPort> counter;
  std::vector<std::string> users;
  std::string key;
  static Fields<LimitConfig> fields();
  void check(Checker& at) const;
};
inline Fields<LimitConfig> LimitConfig::fields() {
  return {{"rate", "requests a second and user", &LimitConfig::rate, range(1, 1'000'000)},
          {"burst", "tokens the bucket holds", &LimitConfig::burst, range(1, 1'000'000)},
          {"wait", "how long a request may wait", &LimitConfig::wait, range(0s, 1min)},
          {"counter", "shared counter; none counts here", &LimitConfig::counter},
          {"users", "only these users", &LimitConfig::users},
          {"key", "signs the cookie", &LimitConfig::key, kSecret}};
}
inline void LimitConfig::check(Checker& at) const {
  if (burst < rate) at.problem("burst", "must be at least rate");
}

struct Named {
  std::string address;
  static Fields<Named> fields() { return {{"address", "where", &Named::address}, {"weight", "share", &Named::weight}}; }
  uint16_t weight = 1;
};
struct Looked {
  std::string dns;
  static Fields<Looked> fields() { return {{"dns", "name", &Looked::dns}}; }
};
// A host is one line of text or a map.
struct Host {
  HostPort address;
  int weight = 1;
  static Result<Host> from_text(std::string_view text) {
    TRY(HostPort address, HostPort::from_text(text));
    return Host{std::move(address), 1};
  }
  static constexpr std::string_view kText = HostPort::kText;
  static Fields<Host> fields() {
    return {{"address", "where it listens", &Host::address, kRequired},
            {"weight", "its share", &Host::weight, range(0, 256)}};
  }
};

struct Root {
  std::string node;
  bool http2 = true;
  double ratio = 0.5;
  double share = 0.2;
  uint64_t memory = 64 * kMiB;
  Balance balance = Balance::round_robin;
  std::string format = "json";
  DurationRange backoff{25ms, 250ms};
  std::vector<uint16_t> ports;
  std::vector<Host> hosts;
  std::map<std::string, LimitConfig> limits;
  std::vector<std::pair<std::string, LimitConfig>> ordered;
  std::map<int, Duration> ttl;
  std::variant<Named, Looked> which;
  std::vector<std::variant<Named, Looked>> several;
  std::vector<Entry> filters;
  std::vector<Entry> services;
  Node extra;
  Rate rate;
  std::optional<LimitConfig> inner;
  static std::vector<KindOf> kinds() {
    return {kind<LimitConfig>("limit", "limits"), kind<Named>("named", "names"), kind<int>("number", "a number")};
  }
  static Fields<Root> fields();
};
inline Fields<Root> Root::fields() {
  return {
      {"node", "name of the node", &Root::node},
      {"http2", "speak HTTP/2", &Root::http2},
      {"ratio", "a number", &Root::ratio, range(0.0, 1.0)},
      {"share", "a share", &Root::share, percent()},
      {"memory", "bytes", &Root::memory, size(kKiB, kGiB)},
      {"balance", "policy", &Root::balance,
       one_of<Balance>({{"round_robin", Balance::round_robin},
                        {"least_connections", Balance::least_connections},
                        {"maglev", Balance::maglev}})},
      {"format", "of the log", &Root::format, words({"json", "text"})},
      {"backoff", "wait between", &Root::backoff},
      {"ports", "several", &Root::ports, range(1, 100), unit("ports")},
      {"hosts", "servers", &Root::hosts},
      {"limits", "by name", &Root::limits},
      {"ordered", "by name, in order", &Root::ordered},
      {"ttl", "by status", &Root::ttl, range(1s, 1h)},
      {"which", "one of two", &Root::which, variant_by("address", "dns")},
      {"several", "each one of two", &Root::several, variant_by("address", "dns")},
      {"filters", "in a chain", &Root::filters, one_key(&Root::kinds)},
      {"services", "by name", &Root::services, keyed(&Root::kinds)},
      {"extra", "anything", &Root::extra},
      {"rate", "how fast", &Root::rate},
      {"inner", "a struct that may be missing", &Root::inner},
  };
}

}  // namespace trellis::config::demo
