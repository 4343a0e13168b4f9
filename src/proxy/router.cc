#include "proxy/router.h"

#include <algorithm>
#include <array>
#include <bit>
#include <iterator>
#include <map>
#include <tuple>
#include <utility>

#include "base/encoding.h"
#include "base/hash.h"
#include "http/field_text.h"

namespace trellis::proxy {

namespace {

constexpr size_t kKnownMethods = static_cast<size_t>(http::Method::connect) + 1;
constexpr size_t kMethodBits = 32;

uint32_t bit(size_t index) noexcept { return uint32_t{1} << index; }

bool is_token(std::string_view text) noexcept {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

// "GET" of "get": requests with a known method in other letters are refused as malformed (http/h1_parser.h). Empty:
// none.
std::string_view method_meant(std::string_view text) noexcept {
  for (size_t i = 1; i < kKnownMethods; ++i) {
    const std::string_view known = http::to_string(static_cast<http::Method>(i));
    if (text != known && http::iequal(text, known)) return known;
  }
  return {};
}

// Compares a piece of a query as received with plain text, without a copy. A broken escape stands for itself.
bool decoded_equal(std::string_view encoded, std::string_view plain) noexcept {
  size_t at = 0;
  for (const char want : plain) {
    if (at >= encoded.size()) return false;
    char have = encoded[at++];
    if (have == '+') {
      have = ' ';
    } else if (have == '%' && at + 1 < encoded.size()) {
      const int high = hex_digit(encoded[at]);
      const int low = hex_digit(encoded[at + 1]);
      if (high >= 0 && low >= 0) {
        have = static_cast<char>(high * 16 + low);
        at += 2;
      }
    }
    if (have != want) return false;
  }
  return at == encoded.size();
}

bool is_host_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > 253 || name.front() == '.' || name.back() == '.') return false;
  if (name.find("..") != std::string_view::npos) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  });
}

}  // namespace

bool query_has(std::string_view query, std::string_view name, const std::string_view* value) noexcept {
  while (!query.empty()) {
    const size_t end = query.find('&');
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(end == std::string_view::npos ? query.size() : end + 1);
    const size_t equals = pair.find('=');
    if (!decoded_equal(pair.substr(0, equals), name)) continue;
    if (value == nullptr) return true;
    if (decoded_equal(equals == std::string_view::npos ? std::string_view{} : pair.substr(equals + 1), *value))
      return true;
  }
  return false;
}

bool cookie_has(const http::Fields& fields, std::string_view name, const std::string_view* value) noexcept {
  constexpr std::string_view kSpace = " \t";
  for (const http::Field& field : fields) {
    if (field.id != http::FieldId::cookie) continue;
    for (std::string_view rest = field.value; !rest.empty();) {
      const size_t end = rest.find(';');
      std::string_view pair = rest.substr(0, end);
      rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
      pair.remove_prefix(std::min(pair.find_first_not_of(kSpace), pair.size()));
      pair.remove_suffix(pair.size() - (pair.find_last_not_of(kSpace) + 1));
      const size_t equals = pair.find('=');
      if (equals == std::string_view::npos || pair.substr(0, equals) != name) continue;
      if (!value || pair.substr(equals + 1) == *value) return true;
    }
  }
  return false;
}

// Collects the routes in a tree that is easy to extend, then writes the flat tables of the Router.
class RouterBuilder {
 public:
  struct Draft {
    Router::Rule rule;
    uint16_t conditions = 0;
    uint16_t values = 0;
    std::vector<Router::Test> headers;
    std::vector<Router::Test> query;
    std::vector<Router::Test> cookies;
    std::array<std::vector<Router::Test>*, 3> tests() { return {&headers, &query, &cookies}; }
    std::array<const std::vector<Router::Test>*, 3> tests() const { return {&headers, &query, &cookies}; }
  };

  explicit RouterBuilder(std::vector<RouteProblem>& problems) : problems_(problems) {
    router_.methods_.resize(kKnownMethods);
    for (size_t i = 1; i < kKnownMethods; ++i) router_.methods_[i] = http::to_string(static_cast<http::Method>(i));
  }

  void add(size_t index, const Match& match) {
    bool good = true;
    const auto bad = [&](const char* key, std::string reason) {
      problems_.push_back({index, key, std::move(reason)});
      good = false;
    };
    std::string host = match.host;
    for (char& c : host) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
    if (host == "*") host.clear();
    const bool wildcard = host.starts_with("*.");
    if (wildcard) host.erase(0, 1);
    if (const char* reason = host_fault(host, wildcard)) bad("host", reason);

    const Result<PathPattern> pattern = PathPattern::parse(match.path);
    if (!pattern) bad("path", pattern.error().what());

    Draft draft;
    draft.rule.route = static_cast<uint32_t>(index);
    for (const std::string& method : match.methods) {
      if (!is_token(method)) {
        bad("methods", "'" + method + "' is no method");
      } else if (const std::string_view meant = method_meant(method); !meant.empty()) {
        bad("methods", "'" + method + "' is refused everywhere; methods have their case: " + std::string(meant));
      } else if (const uint32_t mask = method_mask(method); mask == 0) {
        bad("methods", "more than 22 methods of one's own in all routes");
      } else {
        draft.rule.methods |= mask;
      }
    }
    for (const Condition& condition : match.headers) {
      if (!is_token(condition.name)) bad("headers", "'" + condition.name + "' is no header name");
      draft.headers.push_back(test_of(condition, true));
    }
    for (const Condition& condition : match.query) {
      if (condition.name.empty()) bad("query", "a parameter needs a name");
      draft.query.push_back(test_of(condition, false));
    }
    for (const Condition& condition : match.cookies) {
      if (!is_token(condition.name)) bad("cookies", "'" + condition.name + "' is no name of a cookie");
      draft.cookies.push_back(test_of(condition, false));
    }
    if (!good) return;
    size_t conditions = draft.rule.methods != 0 ? 1 : 0;
    for (auto* tests : draft.tests()) {
      const auto key = [](const Router::Test& t) { return std::tie(t.name, t.has_value, t.value); };
      std::sort(tests->begin(), tests->end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
      tests->erase(std::unique(tests->begin(), tests->end()), tests->end());
      for (const Router::Test& test : *tests) draft.values += test.has_value;
      conditions += tests->size();
    }
    draft.conditions = static_cast<uint16_t>(conditions);
    place(host, *pattern, std::move(draft));
  }

  Router finish() {
    size_t literals = 0;
    for (const auto& children : literals_) literals += children.size();
    if (literals > 0) router_.edges_.resize(std::bit_ceil(literals * 2));
    for (uint32_t node = 0; node < router_.nodes_.size(); ++node) {
      for (const auto& [text, child] : literals_[node]) add_edge(node, text, child);
      add_rules(node);
    }
    fill(router_.exact_, false);
    fill(router_.wildcards_, true);
    return std::move(router_);
  }

 private:
  static const char* host_fault(const std::string& host, bool wildcard) {
    if (host.empty()) return nullptr;
    if (!wildcard && host.front() == '[') {
      return host.size() > 3 && host.back() == ']' && host.find_first_not_of("0123456789abcdef:.", 1) == host.size() - 1
                 ? nullptr
                 : "an IPv6 address stands in brackets, without a port: [2001:db8::1]";
    }
    if (host.find('*') != std::string::npos) return "`*` may only be the first label: *.example.com";
    if (host.find(':') != std::string::npos) return "a host is matched without its port";
    if (!is_host_name(wildcard ? std::string_view(host).substr(1) : host))
      return "no host name; names outside ASCII are written in their xn-- form";
    return nullptr;
  }

  uint32_t method_mask(const std::string& method) {
    const http::Method known = http::method_from(method);
    if (known == http::Method::get)
      return bit(static_cast<size_t>(http::Method::get)) | bit(static_cast<size_t>(http::Method::head));
    if (known != http::Method::other) return bit(static_cast<size_t>(known));
    auto& names = router_.methods_;
    const auto found = std::find(names.begin() + kKnownMethods, names.end(), method);
    if (found != names.end()) return bit(static_cast<size_t>(found - names.begin()));
    if (names.size() == kMethodBits) return 0;
    names.push_back(method);
    return bit(names.size() - 1);
  }

  static Router::Test test_of(const Condition& condition, bool header) {
    Router::Test test;
    test.name = condition.name;
    if (header) {
      for (char& c : test.name) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
      test.id = http::field_id(test.name);
    }
    test.has_value = condition.equals.has_value();
    test.value = condition.equals.value_or("");
    return test;
  }

  uint32_t new_node() {
    router_.nodes_.emplace_back();
    literals_.emplace_back();
    rules_.emplace_back();
    return static_cast<uint32_t>(router_.nodes_.size() - 1);
  }

  void place(const std::string& host, const PathPattern& pattern, Draft draft) {
    auto [slot, fresh] = roots_.try_emplace(host, Router::kNone);
    if (fresh) {
      slot->second = new_node();
      if (host.empty()) router_.any_root_ = slot->second;
    }
    uint32_t node = slot->second;
    const auto& segments = pattern.segments();
    for (size_t i = 0; i < segments.size(); ++i) {
      const PathPattern::Segment& segment = segments[i];
      uint32_t child;
      if (segment.kind == PathPattern::Kind::literal) {
        auto& children = literals_[node];
        const auto it = children.find(segment.text);
        child = it == children.end() ? Router::kNone : it->second;
        if (child == Router::kNone) {
          child = new_node();
          literals_[node].emplace(segment.text, child);
          router_.nodes_[node].has_literals = true;
        }
      } else {
        const bool rest = segment.kind == PathPattern::Kind::rest;
        child = rest ? router_.nodes_[node].rest : router_.nodes_[node].one;
        if (child == Router::kNone) {
          child = new_node();
          (rest ? router_.nodes_[node].rest : router_.nodes_[node].one) = child;
        }
        if (rest) {
          uint16_t& longest = router_.nodes_[child].longest_tail;
          longest = std::max(longest, static_cast<uint16_t>(segments.size() - i - 1));
        }
      }
      node = child;
    }
    rules_[node].push_back(std::move(draft));
  }

  uint32_t add_text(const std::string& text) {
    const auto at = static_cast<uint32_t>(router_.texts_.size());
    router_.texts_ += text;
    return at;
  }

  void add_edge(uint32_t node, const std::string& text, uint32_t child) {
    const uint64_t hash = hash64(text, node);
    const size_t mask = router_.edges_.size() - 1;
    size_t slot = hash & mask;
    while (router_.edges_[slot].node != Router::kNone) slot = (slot + 1) & mask;
    router_.edges_[slot] = {node, child, add_text(text), static_cast<uint16_t>(text.size()),
                            static_cast<uint16_t>(hash >> 48)};
  }

  void add_rules(uint32_t node) {
    auto& drafts = rules_[node];
    const auto rank = [](const Draft& each) {
      return std::make_tuple(-static_cast<int>(each.conditions), -static_cast<int>(each.values), each.rule.route);
    };
    std::sort(drafts.begin(), drafts.end(), [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
    report_shadowed(drafts);
    router_.nodes_[node].first_rule = static_cast<uint32_t>(router_.rules_.size());
    router_.nodes_[node].rule_count = static_cast<uint32_t>(drafts.size());
    for (Draft& draft : drafts) {
      draft.rule.first_test = static_cast<uint32_t>(router_.tests_.size());
      draft.rule.headers = static_cast<uint16_t>(draft.headers.size());
      draft.rule.query = static_cast<uint16_t>(draft.query.size());
      draft.rule.cookies = static_cast<uint16_t>(draft.cookies.size());
      for (auto* tests : draft.tests()) std::move(tests->begin(), tests->end(), std::back_inserter(router_.tests_));
      router_.rules_.push_back(draft.rule);
    }
  }

  // Rules of one host and path in the order they are tried: those with the same headers, query and cookies can only
  // differ by method.
  void report_shadowed(const std::vector<Draft>& drafts) {
    struct Taken {
      uint32_t methods = 0;
      uint32_t first = 0;
    };
    std::map<std::string, Taken> taken;
    for (const Draft& draft : drafts) {
      std::string key;
      for (const auto* tests : draft.tests()) {
        for (const Router::Test& test : *tests) {
          key += std::to_string(test.name.size()) + ':' + test.name + (test.has_value ? '=' : '?') +
                 std::to_string(test.value.size()) + ':' + test.value;
        }
        key += ';';
      }
      const uint32_t wanted = draft.rule.methods == 0 ? UINT32_MAX : draft.rule.methods;
      const auto [it, fresh] = taken.try_emplace(key, Taken{0, draft.rule.route});
      if ((wanted & ~it->second.methods) == 0) {
        problems_.push_back({draft.rule.route, "",
                             "never matches: the route at place " + std::to_string(it->second.first + 1) +
                                 " has the same host, path and conditions and comes first"});
      }
      it->second.methods |= wanted;
    }
  }

  void fill(Router::HostTable& table, bool wildcard) {
    const auto belongs = [&](const auto& each) {
      return !each.first.empty() && each.first.starts_with('.') == wildcard;
    };
    const auto count = static_cast<size_t>(std::count_if(roots_.begin(), roots_.end(), belongs));
    if (count == 0) return;
    table.resize(std::bit_ceil(count * 2));
    const size_t mask = table.size() - 1;
    for (const auto& each : roots_) {
      if (!belongs(each)) continue;
      const uint64_t hash = hash64(each.first);
      size_t slot = hash & mask;
      while (table[slot].root != Router::kNone) slot = (slot + 1) & mask;
      table[slot] = {each.second, add_text(each.first), static_cast<uint32_t>(each.first.size()),
                     static_cast<uint32_t>(hash >> 32)};
    }
  }

  Router router_;
  std::vector<RouteProblem>& problems_;
  // By host, "" any. A wildcard's name begins with its dot, an exact name never does.
  std::map<std::string, uint32_t> roots_;
  std::vector<std::map<std::string, uint32_t>> literals_;
  std::vector<std::vector<Draft>> rules_;
};

Router Router::compile(std::span<const Match> routes, std::vector<RouteProblem>& problems) {
  RouterBuilder builder(problems);
  for (size_t i = 0; i < routes.size(); ++i) builder.add(i, routes[i]);
  return builder.finish();
}

Router Router::compile(std::span<const Match> routes, std::span<const size_t> places,
                       std::vector<RouteProblem>& problems) {
  RouterBuilder builder(problems);
  for (const size_t place : places) builder.add(place, routes[place]);
  return builder.finish();
}

struct Router::Search {
  const http::Request& request;
  uint32_t method = 0;  // its bit; 0: one that no route names
  uint32_t allowed = 0;
};

uint32_t Router::literal_child(uint32_t node, std::string_view segment) const noexcept {
  const uint64_t hash = hash64(segment, node);
  const auto tag = static_cast<uint16_t>(hash >> 48);
  const size_t mask = edges_.size() - 1;
  for (size_t slot = hash & mask; edges_[slot].node != kNone; slot = (slot + 1) & mask) {
    const Edge& edge = edges_[slot];
    if (edge.node == node && edge.tag == tag && std::string_view(texts_).substr(edge.text, edge.length) == segment)
      return edge.child;
  }
  return kNone;
}

uint32_t Router::find_host(const HostTable& table, std::string_view name) const noexcept {
  const uint64_t hash = hash64(name);
  const auto tag = static_cast<uint32_t>(hash >> 32);
  const size_t mask = table.size() - 1;
  for (size_t slot = hash & mask; table[slot].root != kNone; slot = (slot + 1) & mask) {
    const Host& host = table[slot];
    if (host.tag == tag && std::string_view(texts_).substr(host.text, host.length) == name) return host.root;
  }
  return kNone;
}

uint32_t Router::pick(Search& search, const Node& node) const noexcept {
  const http::Request& request = search.request;
  const auto header_fits = [&](const Test& test) {
    for (const http::Field& field : request.fields) {
      if (field.id != test.id) continue;
      if (test.id == http::FieldId::unknown && !http::iequal(field.name, test.name)) continue;
      if (!test.has_value || field.value == test.value) return true;
    }
    return false;
  };
  const auto query_fits = [&](const Test& test) {
    const std::string_view value = test.value;
    return query_has(request.query, test.name, test.has_value ? &value : nullptr);
  };
  const auto cookie_fits = [&](const Test& test) {
    const std::string_view value = test.value;
    return cookie_has(request.fields, test.name, test.has_value ? &value : nullptr);
  };
  for (uint32_t i = node.first_rule; i < node.first_rule + node.rule_count; ++i) {
    const Rule& rule = rules_[i];
    if (rule.headers + rule.query + rule.cookies > 0) {
      const Test* const headers = tests_.data() + rule.first_test;
      const Test* const query = headers + rule.headers;
      const Test* const cookies = query + rule.query;
      if (!std::all_of(headers, query, header_fits)) continue;
      if (!std::all_of(query, cookies, query_fits)) continue;
      if (!std::all_of(cookies, cookies + rule.cookies, cookie_fits)) continue;
    }
    if (rule.methods == 0 || (rule.methods & search.method) != 0) return rule.route;
    search.allowed |= rule.methods;
  }
  return kNone;
}

// Depth first in the order of specificity, so the first hit is the answer. Depth is bounded by
// PathPattern::kMaxSegments, and no node is entered twice for the same place of the path.
uint32_t Router::walk(Search& search, uint32_t index, size_t at) const noexcept {
  const Node& node = nodes_[index];
  const std::string_view path = search.request.path;
  if (at > path.size()) {
    const uint32_t route = pick(search, node);
    if (route != kNone || node.rest == kNone) return route;
    return pick(search, nodes_[node.rest]);  // `**` for no segment at all
  }
  size_t behind = at;
  const std::string_view segment = cut_segment(path, behind);
  if (node.has_literals) {
    if (const uint32_t child = literal_child(index, segment); child != kNone) {
      if (const uint32_t route = walk(search, child, behind); route != kNone) return route;
    }
  }
  if (node.one != kNone && !segment.empty()) {
    if (const uint32_t route = walk(search, node.one, behind); route != kNone) return route;
  }
  if (node.rest != kNone) {
    // The longest tail first: the `**` that swallows least is the more specific one.
    for (size_t tail = nodes_[node.rest].longest_tail; tail > 0; --tail) {
      const size_t from = last_segments(path, at, tail);
      if (from == std::string_view::npos) continue;
      if (const uint32_t route = walk(search, node.rest, from); route != kNone) return route;
    }
    return pick(search, nodes_[node.rest]);
  }
  return kNone;
}

Router::Decision Router::find(const http::Request& request) const noexcept {
  Search search{request};
  if (request.method != http::Method::other) {
    search.method = bit(static_cast<size_t>(request.method));
  } else {
    for (size_t i = kKnownMethods; i < methods_.size(); ++i) {
      if (methods_[i] == request.method_text) search.method = bit(i);
    }
  }
  const bool is_path = !request.path.empty() && request.path.front() == '/';
  const auto try_root = [&](uint32_t root) {
    if (root == kNone) return kNone;
    if (is_path) return walk(search, root, 1);
    // "*" of OPTIONS: only a route that asks nothing of the path may take it.
    return nodes_[root].rest == kNone ? kNone : pick(search, nodes_[nodes_[root].rest]);
  };
  uint32_t route = kNone;
  if (!exact_.empty() || !wildcards_.empty()) {
    const std::string_view host = http::host_of_authority(request.authority);
    if (!exact_.empty()) route = try_root(find_host(exact_, host));
    if (!wildcards_.empty() && route == kNone && !host.starts_with('[')) {
      for (size_t dot = host.find('.', 1); dot != std::string_view::npos && route == kNone;
           dot = host.find('.', dot + 1))
        route = try_root(find_host(wildcards_, host.substr(dot)));
    }
  }
  if (route == kNone) route = try_root(any_root_);
  if (route != kNone) return {route, 0};
  return {kNone, search.allowed};
}

std::string_view Router::allow_text(uint32_t allowed, Arena& arena) const {
  size_t size = 0;
  for (size_t i = 0; i < methods_.size(); ++i) size += (allowed & bit(i)) != 0 ? methods_[i].size() + 2 : 0;
  if (size == 0) return {};
  char* const text = arena.alloc(size);
  char* at = text;
  for (size_t i = 0; i < methods_.size(); ++i) {
    if ((allowed & bit(i)) == 0) continue;
    if (at != text) at = std::copy_n(", ", 2, at);
    at = std::copy(methods_[i].begin(), methods_[i].end(), at);
  }
  return {text, static_cast<size_t>(at - text)};
}

}  // namespace trellis::proxy
