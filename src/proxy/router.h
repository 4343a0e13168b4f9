// Which route takes a request. Compiled once from the routes' matches (a table of hosts, a trie of path segments for
// each) and then immutable: one instance serves every core, find() allocates nothing and takes time by the length of
// the path, not by the number of routes. Rebuilt on a reload and swapped as a whole. docs/routing.md has the rules with
// examples.
//
// Of all routes that match, the most specific wins: host (exact, then the longest wildcard, then any); path, segment by
// segment (literal, then `*`, then `**`); more conditions (headers, query, cookies, a method list), more of them with a
// value; the order of the file.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/arena.h"
#include "http/message.h"
#include "proxy/path_pattern.h"

namespace trellis::proxy {

// A header, query parameter or cookie that must be there, and equal the text if one is given.
struct Condition {
  std::string name;
  std::optional<std::string> equals;
  bool operator==(const Condition&) const = default;
};

struct Match {
  std::string host;                  // "api.example.com", "*.example.com" (one label or more before it), "" any
  std::string path;                  // see PathPattern; "" any
  std::vector<std::string> methods;  // none: any; GET takes HEAD too
  std::vector<Condition> headers;
  std::vector<Condition> query;
  std::vector<Condition> cookies = {};
};

// What is wrong with a route's match: the route's place in the list, the key of the match ("host", "path", ...; "" the
// whole) and why.
struct RouteProblem {
  size_t route;
  std::string key;
  std::string reason;
};

class Router {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  struct Decision {
    uint32_t route = kNone;  // place in the list that was compiled
    uint32_t allowed =
        0;  // without a route: the methods that a route of this path would take (allow_text); 0: no such path
  };

  Router() = default;
  // Routes with a problem are left out; every problem is reported, also those of routes that can never match.
  static Router compile(std::span<const Match> routes, std::vector<RouteProblem>& problems);
  // Of the routes at these places only; they keep their numbers.
  static Router compile(std::span<const Match> routes, std::span<const size_t> places,
                        std::vector<RouteProblem>& problems);

  Decision find(const http::Request& request) const noexcept;
  // "GET, HEAD, POST" for a 405's Allow; in the arena.
  std::string_view allow_text(uint32_t allowed, Arena& arena) const;

  size_t size() const noexcept { return rules_.size(); }

 private:
  friend class RouterBuilder;

  struct Test {  // one compiled Condition
    std::string name;
    http::FieldId id = http::FieldId::unknown;
    bool has_value = false;
    std::string value;
    bool operator==(const Test&) const = default;
  };
  struct Rule {
    uint32_t route = 0;
    uint32_t methods = 0;  // bits; 0: any
    uint32_t first_test = 0;
    uint16_t headers = 0;  // tests of headers, then tests of the query, then tests of cookies
    uint16_t query = 0;
    uint16_t cookies = 0;
  };
  struct Node {
    uint32_t one = kNone;     // child for `*`
    uint32_t rest = kNone;    // child for `**`
    uint32_t first_rule = 0;  // of rules_, most specific first
    uint32_t rule_count = 0;
    uint16_t longest_tail = 0;  // of a `**` node: segments of the longest pattern below it
    bool has_literals = false;
  };
  // Tables are open addressing; small entries, because with many routes each probe is a cache miss.
  struct Edge {             // a literal child; all nodes share one table
    uint32_t node = kNone;  // kNone: free
    uint32_t child = kNone;
    uint32_t text = 0;  // in texts_
    uint16_t length = 0;
    uint16_t tag = 0;  // high bits of the hash
  };
  struct Host {
    uint32_t root = kNone;  // kNone: free
    uint32_t text = 0;      // in texts_; a wildcard's is ".example.com"
    uint32_t length = 0;
    uint32_t tag = 0;
  };
  using HostTable = std::vector<Host>;
  struct Search;

  uint32_t literal_child(uint32_t node, std::string_view segment) const noexcept;
  uint32_t find_host(const HostTable& table, std::string_view name) const noexcept;
  uint32_t walk(Search& search, uint32_t node, size_t at) const noexcept;
  uint32_t pick(Search& search, const Node& node) const noexcept;

  std::vector<Node> nodes_;
  std::vector<Edge> edges_;
  std::string texts_;
  std::vector<Rule> rules_;
  std::vector<Test> tests_;
  HostTable exact_;
  HostTable wildcards_;
  uint32_t any_root_ = kNone;
  std::vector<std::string> methods_;  // names of the bits
};

// Is the value of the query parameter `name` (percent escapes and '+' undone) there, and equal to `value` if that is
// given?
bool query_has(std::string_view query, std::string_view name, const std::string_view* value) noexcept;
// Is a cookie of this name there, and one of them equal to `value` if that is given?
bool cookie_has(const http::Fields& fields, std::string_view name, const std::string_view* value) noexcept;

}  // namespace trellis::proxy
