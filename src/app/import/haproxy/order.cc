#include "app/import/haproxy/order.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <string>
#include <utility>

namespace trellis::app {

namespace {

size_t conditions_of(const HaproxyRule& rule) {
  const MatchDraft& match = rule.route.match;
  return match.headers.size() + match.query.size() + (match.methods.empty() ? 0 : 1);
}

// Does a rule for `rule` (any host, a name, a wildcard) meet requests for `host`?
bool meets(const std::string& rule, const std::string& host) {
  return rule.empty() || rule == host || (rule.starts_with("*.") && host.ends_with(rule.substr(1)));
}

bool path_covers(const std::string& wide, const std::string& narrow) {
  if (wide == narrow) return true;
  if (!wide.ends_with("/**") || wide.find('*') != wide.size() - 2) return false;
  return narrow.starts_with(wide.substr(0, wide.size() - 2)) || narrow == wide.substr(0, wide.size() - 3);
}

// Does the first list take every method of the second? None takes all; GET takes HEAD, too.
bool takes_methods(const std::vector<std::string>& wide, const std::vector<std::string>& narrow) {
  const auto has = [&](const std::string& method) { return std::ranges::find(wide, method) != wide.end(); };
  if (wide.empty()) return true;
  return !narrow.empty() && std::ranges::all_of(narrow, [&](const std::string& method) {
    return has(method) || (method == "HEAD" && has("GET"));
  });
}

// The first of those with the same match stays.
void add(std::vector<HaproxyRule>& chosen, HaproxyRule rule) {
  const auto same = [&](const HaproxyRule& other) {
    const MatchDraft& a = other.route.match;
    const MatchDraft& b = rule.route.match;
    return a.path == b.path && a.methods.empty() == b.methods.empty() && takes_methods(a.methods, b.methods) &&
           a.headers == b.headers && a.query == b.query;
  };
  if (std::ranges::none_of(chosen, same)) chosen.push_back(std::move(rule));
}

std::vector<HaproxyRule> rules_of_host(const std::string& host, const std::vector<HaproxyRule>& rules,
                                       Remarks& remarks) {
  std::vector<HaproxyRule> chosen;
  for (const HaproxyRule& rule : rules) {
    const std::string& path = rule.route.match.path;
    if (!meets(rule.route.match.host, host)) continue;
    const auto takes_all = [&](const HaproxyRule& earlier) {
      return conditions_of(earlier) == 0 && path_covers(earlier.route.match.path, path);
    };
    if (std::ranges::any_of(chosen, takes_all)) continue;
    // An earlier rule with conditions and a wider path comes first on this path, too.
    std::vector<HaproxyRule> before;
    for (const HaproxyRule& earlier : chosen) {
      const std::string& wider = earlier.route.match.path;
      if (wider == path || !path_covers(wider, path)) continue;
      if (conditions_of(rule) > conditions_of(earlier)) {
        remarks.differs(rule.route.at, "use_backend",
                        "the more specific rule wins: line " + std::to_string(earlier.route.at.line) +
                            " no longer comes before it");
        continue;
      }
      before.push_back(earlier);
      before.back().route.match.path = path;
    }
    for (HaproxyRule& one : before) add(chosen, std::move(one));
    HaproxyRule copy = rule;
    copy.route.match.host = host;
    add(chosen, std::move(copy));
  }
  return chosen;
}

}  // namespace

bool covers(const MatchDraft& wide, const MatchDraft& narrow) {
  const auto has = [](const FieldLines& lines) {
    return [&](const auto& line) { return std::ranges::find(lines, line) != lines.end(); };
  };
  return meets(wide.host, narrow.host) && path_covers(wide.path, narrow.path) &&
         takes_methods(wide.methods, narrow.methods) && std::ranges::all_of(wide.headers, has(narrow.headers)) &&
         std::ranges::all_of(wide.query, has(narrow.query));
}

void leave_exceptions(std::vector<HaproxyRule>& rules, Remarks& remarks) {
  // From the last one: what stands behind a rule leaves nothing more to others.
  for (size_t i = rules.size(); i-- > 0;) {
    if (rules[i].except.empty()) continue;
    HaproxyRule rule = rules[i];
    rule.except.clear();
    std::vector<std::pair<size_t, HaproxyRule>> before;  // by where they stood
    bool said = true;
    for (const MatchDraft& except : rules[i].except) {
      if (!may_meet(rule.route.match, except)) continue;
      const auto left = common(rule.route.match, except);
      said &= left.has_value();
      for (size_t j = i + 1; left && j < rules.size(); ++j) {
        if (!may_meet(*left, rules[j].route.match)) continue;
        const auto both = common(*left, rules[j].route.match);
        said &= both.has_value();
        if (!both) continue;
        before.emplace_back(j, rules[j]);
        before.back().second.route.match = *both;
      }
    }
    const auto at = rules.begin() + static_cast<ptrdiff_t>(i);
    if (!said || rules.size() + before.size() > kMaxHaproxyRules) {
      const bool refuses =
          rule.route.to.starts_with("{ fixed: { status: 4") || rule.route.to.starts_with("{ fixed: { status: 5");
      remarks.left_out(rule.route.at, "condition of " + rule.route.directive.substr(0, rule.route.directive.find(' ')),
                       "what it leaves to other rules cannot be said beside them",
                       refuses ? "it refuses that, too: by 501, until you decide" : "write the route by hand");
      if (!refuses) {
        rules.erase(at);
        continue;
      }
      rule.route = refused_route(rule.route, rule.route.directive);
      before.clear();
    }
    std::ranges::stable_sort(before, {}, &std::pair<size_t, HaproxyRule>::first);
    if (!rule.tls)
      rules.erase(std::remove_if(at + 1, rules.end(),
                                 [&](const HaproxyRule& later) { return covers(rule.route.match, later.route.match); }),
                  rules.end());
    rules[i] = std::move(rule);
    for (auto one = before.rbegin(); one != before.rend(); ++one)
      rules.insert(rules.begin() + static_cast<ptrdiff_t>(i), std::move(one->second));
  }
}

std::optional<MatchDraft> common(const MatchDraft& a, const MatchDraft& b) {
  MatchDraft out = a;
  if (!meets(b.host, a.host)) {
    if (!meets(a.host, b.host)) return std::nullopt;
    out.host = b.host;
  }
  if (!path_covers(b.path, a.path)) {
    if (!path_covers(a.path, b.path)) return std::nullopt;
    out.path = b.path;
  }
  if (a.methods.empty()) out.methods = b.methods;
  if (!a.methods.empty() && !b.methods.empty()) {
    std::erase_if(out.methods, [&](const std::string& method) { return !takes_methods(b.methods, {method}); });
    if (out.methods.empty()) return std::nullopt;
  }
  for (const auto& [from, into] : {std::pair{&b.headers, &out.headers}, std::pair{&b.query, &out.query}}) {
    for (const auto& line : *from) {
      const auto same = std::ranges::find(*into, line.first, &FieldLines::value_type::first);
      if (same == into->end()) {
        into->push_back(line);
      } else if (same->second != line.second) {
        return std::nullopt;
      }
    }
  }
  return out;
}

bool may_meet(const MatchDraft& a, const MatchDraft& b) {
  const auto shared = [&](const std::string& method) {
    return std::ranges::find(b.methods, method) != b.methods.end();
  };
  if (!a.methods.empty() && !b.methods.empty() && std::ranges::none_of(a.methods, shared)) return false;
  if (!meets(a.host, b.host) && !meets(b.host, a.host)) return false;
  if (path_covers(a.path, b.path) || path_covers(b.path, a.path)) return true;
  const auto wild = [](const std::string& path) {  // within, so that others could be below it
    const size_t star = path.find('*');
    return star != std::string::npos && star + 2 != path.size();
  };
  return wild(a.path) || wild(b.path);
}

std::vector<HaproxyRule> rules_by_host(const std::vector<HaproxyRule>& rules, Remarks& remarks) {
  std::set<std::string> hosts{""};
  for (const HaproxyRule& rule : rules) hosts.insert(rule.route.match.host);
  std::vector<HaproxyRule> out;
  for (const std::string& host : hosts) std::ranges::move(rules_of_host(host, rules, remarks), std::back_inserter(out));
  return out;
}

}  // namespace trellis::app
