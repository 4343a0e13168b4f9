// A Trellis configuration that is being made out of a foreign one: plain values, written out as YAML in the end. Knows
// how Trellis writes things and nothing of where they came from. Texts are plain; ${NAME} in the YAML would be a
// variable of the environment, so draft_yaml() writes variables of requests with two dollars.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "app/import/remark.h"

namespace trellis::app {

using FieldLines = std::vector<std::pair<std::string, std::string>>;

struct ListenerDraft {
  ImportPlace at;
  std::string name;
  std::string bind;
  std::string comment;
  std::string tcp;                                           // YAML of a relay; empty: HTTP
  std::string udp;                                           // the same for datagrams
  std::vector<std::pair<std::string, std::string>> options;  // idle_timeout and the like, as YAML
};

struct HostDraft {
  enum class From : uint8_t { address, dns, srv };

  std::string address;  // HOST:PORT; of srv the name of its records
  From from = From::address;
  uint64_t refresh_ms = 0;  // of dns and srv; 0: as long as the answer says
  uint32_t weight = 1;
  bool backup = false;
  bool down = false;  // written as a comment
  bool operator==(const HostDraft&) const = default;
};

struct UpstreamDraft {
  ImportPlace at;
  std::string name;
  std::string balance;  // empty: the default
  std::string hash_on;
  std::vector<HostDraft> hosts;
  FieldLines options;  // nested ones as YAML in braces: timeouts, retry, limits
};

// One way of a split: where a share of a route's requests goes, or those that ask for it.
struct WayDraft {
  std::string name;
  uint32_t share = 0;  // of 10,000
  FieldLines when;     // header or cookie
  std::string to;      // YAML of the target
  bool operator==(const WayDraft&) const = default;
};
constexpr size_t kMaxWays = 8;
constexpr uint32_t kWholeShare = 10'000;

struct MatchDraft {
  std::vector<std::string> listeners;  // none: all
  std::string host;
  std::string path;  // a pattern; empty: any
  std::vector<std::string> methods;
  FieldLines headers;
  FieldLines query;
  bool operator==(const MatchDraft&) const = default;
};

struct RouteDraft {
  ImportPlace at;
  std::string directive;  // what it came from: location /api/
  bool refused = false;   // answers 501 in place of what could not be translated
  MatchDraft match;

  std::vector<std::string> deny;
  std::vector<std::string> allow;
  std::optional<uint64_t> body_limit;
  FieldLines request_set;
  FieldLines request_add;
  std::vector<std::string> request_remove;
  FieldLines response_add;
  std::vector<std::string> response_remove;
  std::string strip_prefix;
  std::string add_prefix;
  uint64_t buffer_request = 0;  // bytes that are kept; 0: none
  uint64_t buffer_response = 0;
  std::string compress;  // YAML of its settings; empty: none
  FieldLines response_set;
  std::string split_key;  // what keeps a client on its way
  std::vector<WayDraft> ways;

  std::string to;  // YAML of the target
};

// A target that answers 501 in place of what could not be translated.
std::string refused_target(std::string_view what);

// The same match with an answer of 501 in place of everything else.
RouteDraft refused_route(const RouteDraft& route, std::string_view what);

// With fewer than there were, the rest would answer for those that are missing, which may have refused.
constexpr size_t kMaxRoutes = 2'000;

struct ConfigDraft {
  std::vector<ListenerDraft> listeners;
  std::vector<UpstreamDraft> upstreams;
  std::vector<RouteDraft> routes;  // more than kMaxRoutes: not all of them, and the import is refused
  std::string access_log;          // its path; empty: none
  std::string access_log_format;   // combined or json
  std::string log_level;
  uint32_t cores = 0;
  std::vector<std::string> dns_servers;  // none: those of the system

  bool has_too_many_routes() const noexcept { return routes.size() > kMaxRoutes; }
};

// `header` is put in front, each line as a comment.
std::string draft_yaml(const ConfigDraft& draft, const std::string& header);

// A text as YAML reads it back, quoted if it must be; `${` is kept from being a variable of the environment.
std::string yaml_text(std::string_view text);
std::string yaml_list(const std::vector<std::string>& texts);  // [a, b]
std::string yaml_map(const FieldLines& lines);                 // { a: b, c: d }, values as texts
std::string yaml_size(uint64_t bytes);
std::string yaml_seconds(uint64_t milliseconds);  // 60s, 250ms

// Can a listener be bound to ADDRESS:PORT? Only to numbers, and to localhost.
bool good_bind(std::string_view text);

// A name for a listener, an upstream or a route: letters, digits, '-' and '_' are kept, everything else is '_'.
std::string plain_name(std::string_view text);

}  // namespace trellis::app
