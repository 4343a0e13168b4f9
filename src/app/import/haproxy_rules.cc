#include "app/import/haproxy_rules.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <utility>

#include "app/import/haproxy_backends.h"
#include "app/import/haproxy_conditions.h"
#include "app/import/haproxy_ways.h"
#include "app/import/haproxy_words.h"
#include "app/import/numbers.h"
#include "proxy/field_rules.h"

namespace trellis::app {

namespace {

// `%[src]` and its like as a variable of Trellis; nothing when there is none.
std::optional<std::string> variable_of(std::string_view value) {
  static constexpr std::pair<std::string_view, std::string_view> kVariables[] = {
      {"src", "${client.address}"}, {"src_port", "${client.port}"}, {"path", "${path}"},     {"query", "${query}"},
      {"method", "${method}"},      {"req.hdr(host)", "${host}"},   {"hdr(host)", "${host}"}};
  if (!value.starts_with("%[") || !value.ends_with(']')) return std::nullopt;
  value = value.substr(2, value.size() - 3);
  for (const auto& [fetch, variable] : kVariables) {
    if (value == fetch) return std::string(variable);
  }
  for (const auto& [begin, variable] : {std::pair<std::string_view, std::string_view>{"req.fhdr(", "${header."},
                                        {"req.cook(", "${cookie."},
                                        {"cook(", "${cookie."}}) {
    if (!value.starts_with(begin) || !value.ends_with(')')) continue;
    const std::string name(value.substr(begin.size(), value.size() - begin.size() - 1));
    if (name.empty() || name.find_first_of("(), {}$") != std::string::npos) return std::nullopt;
    return std::string(variable) + name + "}";
  }
  return std::nullopt;
}

class RuleReader {
 public:
  RuleReader(const HaproxyProxy& proxy, const std::set<uint32_t>& done, Remarks& remarks)
      : proxy_(proxy), done_(done), remarks_(remarks), conditions_(proxy.lines, remarks) {}

  HaproxyRules read() {
    for (const HaproxyLine& line : proxy_.lines) {
      if (!is_of_hosts(line) && !done_.contains(line.at.line)) read_line(line);
    }
    HaproxyRule rest = everything_else();
    const auto auth = std::ranges::find_if(
        proxy_.lines, [](const HaproxyLine& line) { return refuses(line) && line.word(1) == "auth"; });
    out_.rules.push_back(std::move(rest));
    if (auth != proxy_.lines.end()) {
      for (HaproxyRule& rule : out_.rules) {
        rule.route = refused_route(rule.route, "http-request auth");
        rule.backend.clear();
        rule.some.reset();
      }
    }
    for (HaproxyRule& rule : out_.rules) {
      const bool before = rank(rule) == 0 && rule.route.at.line < guards_from_;
      rule.guarded = !before;
    }
    std::ranges::stable_sort(out_.rules, {}, &rank);
    share_out(out_.rules, remarks_);
    return std::move(out_);
  }

 private:
  void read_line(const HaproxyLine& line) {
    const std::string_view word = line.word(0);
    const std::string_view next = line.word(1);
    if (word == "bind" || word == "acl") return;
    if (word == "default_backend") {
      default_backend_ = line;
    } else if (word == "use_backend") {
      use_backend(line);
    } else if (word == "redirect") {
      redirect(line, 1);
    } else if (word == "http-request" && next == "redirect") {
      redirect(line, 2);
    } else if (word == "http-request" && next == "deny") {
      if (!guard(line)) deny(line);
    } else if (word == "http-request" && next == "return") {
      answer(line);
    } else if (word == "block" || (word == "tcp-request" && line.text().find(" reject") != std::string::npos)) {
      remarks_.left_out(line.at, line.words[0] + " " + std::string(next), "not known to the import",
                        "what it refused is let through; allow and deny are filters of a route");
    } else if (word == "maxconn") {
      remarks_.left_out(line.at, "maxconn", "a listener closes what is beyond its limit and lets nobody wait",
                        "listeners.NAME.max_connections");
    } else if (!edit(line)) {
      tell_unread(line, remarks_);
    }
  }

  // http-request rules come before `redirect`, and both before use_backend.
  static int rank(const HaproxyRule& rule) {
    const std::string& directive = rule.route.directive;
    if (directive.starts_with("http-request")) return 0;
    return directive.starts_with("redirect") ? 1 : directive.starts_with("use_backend") ? 2 : 3;
  }

  HaproxyRule everything_else() const {
    const HaproxyLine& line = default_backend_ ? *default_backend_ : proxy_.head;
    HaproxyRule out;
    out.route.at = line.at;
    out.route.directive = line.text();
    out.route.match.path = "/**";
    if (default_backend_) out.backend = line.word(1);
    if (proxy_.has_servers()) out.backend = proxy_.name;
    if (out.backend.empty()) out.route.to = "{ fixed: { status: 503 } }";
    return out;
  }

  // The rule for each way in which the condition behind `from` words holds.
  void add(const HaproxyLine& line, size_t from, HaproxyRule rule) {
    std::string why;
    const auto matches = conditions_.matches(line, from, why);
    if (!matches) {
      remarks_.left_out(
          line.at, line.words[0] + " " + std::string(line.word(1)), why,
          refuses(line) ? "what it refused is let through; write the route by hand" : "write the route by hand");
      return;
    }
    rule.route.at = line.at;
    rule.route.directive = line.text();
    for (const MatchDraft& match : *matches) {
      rule.route.match = match;
      if (match.path.empty()) rule.route.match.path = "/**";
      out_.rules.push_back(rule);
    }
  }
  void use_backend(const HaproxyLine& line) {
    HaproxyLine rest = line;
    HaproxyRule rule;
    rule.backend = line.word(1);
    rule.some = conditions_.take_way(rest, 2);
    const size_t before = out_.rules.size();
    add(rest, 2, std::move(rule));
    for (size_t i = before; i < out_.rules.size(); ++i) out_.rules[i].route.directive = line.text();
  }
  static HaproxyRule to(std::string target) {
    HaproxyRule out;
    out.route.to = std::move(target);
    return out;
  }

  void redirect(const HaproxyLine& line, size_t at) {
    uint64_t status = 302;
    std::string place;
    size_t condition = line.words.size();
    for (size_t i = at; i < line.words.size(); ++i) {
      const std::string& word = line.words[i];
      const bool more = i + 1 < line.words.size();
      if (word == "if" || word == "unless") {
        condition = i;
        break;
      }
      if (word == "scheme" && more) {
        place = line.words[++i] + "://${host}${uri}";
      } else if (word == "location" && more) {
        place = line.words[++i];
      } else if (word == "prefix" && more) {
        place = line.words[++i] + "${uri}";
      } else if (word == "code" && more) {
        status = whole_number(line.words[++i]).value_or(302);
      }
    }
    // The condition of every redirect to https: it holds on the listeners that never had TLS.
    std::string rest;
    for (size_t i = condition; i < line.words.size(); ++i) rest += line.words[i] + " ";
    const bool without_tls = rest == "if !{ ssl_fc } " || rest == "unless { ssl_fc } ";
    if (without_tls) condition = line.words.size();
    if (place.empty() || place.find('%') != std::string::npos) {
      remarks_.left_out(line.at, "redirect", "only scheme, prefix and location without variables are known here",
                        "write the route by hand");
      return;
    }
    HaproxyRule rule = to("{ redirect: { to: " + yaml_text(place) + ", status: " + std::to_string(status) + " } }");
    rule.plain_only = without_tls;
    add(line, condition, std::move(rule));
  }

  static size_t condition_of_deny(const HaproxyLine& line) {
    return line.word(2) == "deny_status" || line.word(2) == "status" ? 4 : 2;
  }

  // A list of addresses who may, or may not. False: it is another condition, or a second list of those who may.
  bool guard(const HaproxyLine& line) {
    const auto sources = conditions_.sources(line, condition_of_deny(line));
    if (!sources || (sources->others && !out_.edits.allow.empty())) return false;
    std::vector<std::string>& into = sources->others ? out_.edits.allow : out_.edits.deny;
    into.insert(into.end(), sources->blocks.begin(), sources->blocks.end());
    guards_from_ = line.at.line;
    return true;
  }

  void deny(const HaproxyLine& line) {
    const size_t from = condition_of_deny(line);
    const uint64_t status = from == 4 ? whole_number(line.word(3)).value_or(403) : 403;
    add(line, from, to("{ fixed: { status: " + std::to_string(status) + " } }"));
  }

  void answer(const HaproxyLine& line) {
    uint64_t status = 200;
    std::string type = "text/plain";
    std::string body;
    size_t i = 2;
    for (; i < line.words.size() && line.words[i] != "if" && line.words[i] != "unless"; ++i) {
      const bool more = i + 1 < line.words.size();
      if (line.words[i] == "status" && more) {
        status = whole_number(line.words[++i]).value_or(200);
      } else if (line.words[i] == "content-type" && more) {
        type = line.words[++i];
      } else if (line.words[i] == "string" && more) {
        body = line.words[++i];
      } else {
        remarks_.left_out(line.at, "http-request return", "not known here: " + line.words[i],
                          "write the route by hand");
        return;
      }
    }
    add(line, i,
        to("{ fixed: { status: " + std::to_string(status) + ", body: " + yaml_text(body) +
           ", content_type: " + yaml_text(type) + " } }"));
  }

  // Header changes without conditions; false when the line is something else.
  bool edit(const HaproxyLine& line) {
    const bool request = line.word(0) == "http-request";
    if (!request && line.word(0) != "http-response") return false;
    HaproxyEdits& edits = out_.edits;
    const std::string name(line.word(2));
    if (name.empty() || proxy::field_refusal(name)) return false;
    if (line.word(1) == "del-header" && line.words.size() == 3) {
      (request ? edits.removed : edits.answer_removed).push_back(name);
      return true;
    }
    if (name == "X-Forwarded-Proto" && line.text().ends_with(" if { ssl_fc }")) return true;  // done anyway
    if (line.word(1) != "set-header" || line.words.size() != 4) return false;
    std::string value(line.word(3));
    if (const auto variable = variable_of(value)) value = *variable;
    if (value.find('%') != std::string::npos) return false;
    FieldLines& into = request ? edits.set : edits.answer_set;
    std::erase_if(into, [&](const auto& other) { return other.first == name; });
    into.emplace_back(name, value);
    return true;
  }

  const HaproxyProxy& proxy_;
  const std::set<uint32_t>& done_;
  Remarks& remarks_;
  HaproxyConditions conditions_;
  HaproxyRules out_;
  uint32_t guards_from_ = 0;  // line of the last list of addresses; http-request rules before it are not guarded
  std::optional<HaproxyLine> default_backend_;
};

}  // namespace

HaproxyRules haproxy_rules(const HaproxyProxy& proxy, const std::set<uint32_t>& done, Remarks& remarks) {
  return RuleReader(proxy, done, remarks).read();
}

}  // namespace trellis::app
