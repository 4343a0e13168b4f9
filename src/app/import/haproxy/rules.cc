#include "app/import/haproxy/rules.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "app/import/haproxy/backends.h"
#include "app/import/haproxy/conditions.h"
#include "app/import/haproxy/order.h"
#include "app/import/haproxy/ways.h"
#include "app/import/haproxy/words.h"
#include "app/import/nginx/path.h"
#include "app/import/numbers.h"
#include "http/fields.h"

namespace trellis::app {

namespace {

// `http-request deny` by addresses, of the requests that meet one of the matches.
struct Guard {
  HaproxyLine line;
  std::vector<MatchDraft> matches;
  std::vector<MatchDraft> except;
  HaproxyConditions::Sources sources;
};

class RuleReader {
 public:
  RuleReader(const HaproxyProxy& proxy, const std::set<uint32_t>& done, Remarks& remarks)
      : proxy_(proxy), done_(done), remarks_(remarks), conditions_(proxy.lines, remarks) {}

  HaproxyRules read() {
    for (const HaproxyLine& line : proxy_.lines) {
      if (!is_of_hosts(line) && !done_.contains(line.at.line)) read_line(line);
    }
    out_.rules.push_back(everything_else());
    for (const Guard& guard : guards_) keep_out(guard);
    const auto asks = [&](const HaproxyLine& line) { return asks_password(line); };
    if (std::ranges::any_of(proxy_.lines, asks)) {
      for (HaproxyRule& rule : out_.rules) {
        if (rank(rule) < 0) continue;
        close(rule, "http-request auth");
      }
    }
    std::ranges::stable_sort(out_.rules, {}, &rank);
    leave_exceptions(out_.rules, remarks_);
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
    } else if (asks_password(line)) {
      remarks_.left_out(line.at, line.words[0] + " " + std::string(next), "there is no authentication yet",
                        "the routes of its proxy answer 501 until you decide");
    } else if (word == "block" || (word == "http-request" && refuses(line))) {
      refuse(line);
    } else if (word == "http-request" && next == "return") {
      answer(line);
    } else if (word == "tcp-request" && refuses(line)) {
      refuse_more(line, condition_of(line), "not known to the import");
    } else if (word == "monitor-uri" && line.words.size() == 2) {
      monitor(line);
    } else if (word == "maxconn") {
      remarks_.left_out(line.at, "maxconn", "a listener closes what is beyond its limit and lets nobody wait",
                        "listeners.NAME.max_connections");
    } else if (!says_scheme(line) && !read_haproxy_edit(line, out_.edits)) {
      tell_unread(line, remarks_);
    }
  }

  // tcp-request comes before everything, then monitor-uri; http-request rules before `redirect`, and both before
  // use_backend.
  static int rank(const HaproxyRule& rule) {
    const std::string& directive = rule.route.directive;
    if (directive.starts_with("monitor-uri")) return -1;
    if (directive.starts_with("tcp-request")) return -2;
    if (directive.starts_with("http-request") || directive.starts_with("block")) return 0;
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
    HaproxyLine rest = line;
    rule.tls = conditions_.take_tls(rest, from);
    const auto except = conditions_.take_exceptions(rest, from, why);
    const auto matches = except ? conditions_.matches(rest, from, why) : std::nullopt;
    if (matches && rule.some && !except->empty()) why = "a share of what does not meet a condition";
    if (!matches || (rule.some && !except->empty())) {
      if (refuses(line)) return refuse_more(line, from, why);
      remarks_.left_out(line.at, name_of(line), why, "write the route by hand");
      return;
    }
    rule.route.at = line.at;
    rule.route.directive = line.text();
    rule.except = *except;
    for (MatchDraft& match : rule.except) {
      if (match.path.empty()) match.path = "/**";
    }
    for (const MatchDraft& match : *matches) {
      rule.route.match = match;
      if (match.path.empty()) rule.route.match.path = "/**";
      out_.rules.push_back(rule);
    }
  }
  // A refusal that cannot be said: without those whom it spares it refuses too many. If it spares nobody, it is told.
  void refuse_more(const HaproxyLine& line, size_t from, const std::string& why) {
    HaproxyLine rest = line;
    HaproxyRule rule;
    rule.tls = conditions_.take_tls(rest, from);
    std::string unknown;
    const bool all = rest.words.size() <= from || HaproxyConditions::drop_exceptions(rest, from);
    const auto matches = all ? conditions_.matches(rest, from, unknown) : std::nullopt;
    remarks_.left_out(line.at, name_of(line), why,
                      matches ? "whom it spares it refuses, too: by 501, until you decide"
                              : "what it refused is let through; write the route by hand");
    if (!matches) return;
    rule.route.at = line.at;
    rule.route.directive = line.text();
    for (const MatchDraft& match : *matches) {
      rule.route.match = match;
      if (match.path.empty()) rule.route.match.path = "/**";
      rule.route = refused_route(rule.route, name_of(line));
      out_.rules.push_back(rule);
    }
  }
  static std::string name_of(const HaproxyLine& line) { return line.words[0] + " " + std::string(line.word(1)); }

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

  // X-Forwarded-Proto as hosts hear it anyway.
  bool says_scheme(const HaproxyLine& line) const {
    if (line.word(0) != "http-request" || !http::iequal(line.word(2), "X-Forwarded-Proto")) return false;
    if (line.word(1) != "set-header" && line.word(1) != "add-header") return false;
    HaproxyLine rest = line;
    const auto tls = conditions_.take_tls(rest, 4);
    return tls && rest.words.size() == 4 && line.word(3) == (*tls ? "https" : "http");
  }

  void monitor(const HaproxyLine& line) {
    HaproxyRule rule =
        to("{ fixed: { status: 200, body: \"<html><body><h1>200 OK</h1>\\nService ready.\\n</body></html>\\n\""
           ", content_type: text/html } }");
    rule.route.at = line.at;
    rule.route.directive = line.text();
    rule.route.match.path = pattern_literal(line.word(1));
    rule.route.response_set = {{"Cache-Control", "no-cache"}};
    out_.rules.push_back(std::move(rule));
  }

  void redirect(const HaproxyLine& line, size_t at) {
    uint64_t status = 302;
    std::string place;
    const size_t end = condition_of(line);
    const bool without_query = std::find(line.words.begin(), line.words.begin() + static_cast<ptrdiff_t>(end),
                                         "drop-query") != line.words.begin() + static_cast<ptrdiff_t>(end);
    const std::string all = without_query ? "${path}" : "${uri}";
    for (size_t i = at; i < end; ++i) {
      const std::string& word = line.words[i];
      const bool more = i + 1 < end;
      if (word == "code" && more) {
        status = whole_number(line.words[++i]).value_or(302);
      } else if ((word == "scheme" || word == "location" || word == "prefix") && more) {
        const auto value = haproxy_template(line.words[++i]);
        if (!value) {
          remarks_.left_out(line.at, "redirect", "there is no variable for all of " + line.words[i],
                            "write the route by hand; docs/routing.md has the variables");
          return;
        }
        place = *value;
        if (word == "scheme") place += "://${host}" + all;
        if (word == "prefix") place += all;
      } else if (word != "drop-query" && word != "ignore-empty") {
        remarks_.left_out(line.at, "redirect ... " + word, "a redirect has a place and a status only");
        if (word == "set-cookie" || word == "clear-cookie") ++i;
      }
    }
    if (place.empty()) {
      remarks_.left_out(line.at, "redirect", "only scheme, prefix and location are known here",
                        "write the route by hand");
      return;
    }
    HaproxyRule rule = to("{ redirect: { to: " + yaml_text(place) + ", status: " + std::to_string(status) + " } }");
    add(line, end, std::move(rule));
  }

  // Where the condition begins; behind the last word: there is none.
  static size_t condition_of(const HaproxyLine& line) {
    const auto found =
        std::ranges::find_if(line.words, [](const std::string& word) { return word == "if" || word == "unless"; });
    return static_cast<size_t>(found - line.words.begin());
  }
  bool asks_password(const HaproxyLine& line) const {
    return refuses(line) && (line.word(1) == "auth" || conditions_.asks_password(line));
  }

  // Addresses that may, or may not, of all requests or of those that another condition names. False: it is none of
  // both.
  bool guard(const HaproxyLine& line) {
    HaproxyLine rest = line;
    const size_t from = condition_of(line);
    const auto sources = conditions_.take_sources(rest, from);
    if (!sources) return false;
    std::string why;
    auto except = conditions_.take_exceptions(rest, from, why);
    auto matches = except ? conditions_.matches(rest, from, why) : std::nullopt;
    if (!matches) return false;
    for (auto* list : {&*matches, &*except}) {
      for (MatchDraft& match : *list) {
        if (match.path.empty()) match.path = "/**";
      }
    }
    guards_.push_back({line, *std::move(matches), *std::move(except), *sources});
    return true;
  }

  // Gives the lists to the rules that come later, or to what a rule and the guard have in common.
  void keep_out(const Guard& guard) {
    bool said = true;
    for (const MatchDraft& match : guard.matches) {
      for (size_t i = 0; i < out_.rules.size(); ++i) {
        const HaproxyRule& rule = out_.rules[i];
        const bool before = rank(rule) < 0 || (rank(rule) == 0 && rule.route.at.line < guard.line.at.line);
        if (before || rule.some || !may_meet(match, rule.route.match)) continue;
        const auto both = common(match, rule.route.match);
        if (!both) {
          said = false;
          continue;
        }
        HaproxyRule kept = rule;
        if (out_.rules.size() >= kMaxHaproxyRules) {
          remarks_.left_out(guard.line.at, name_of(guard.line), "more than 1,000 cases with the other rules",
                            "it refuses where its other conditions do not hold, too");
          add_addresses(guard.sources, kept);
          out_.rules[i] = std::move(kept);
          continue;
        }
        kept.route.match = *both;
        const std::optional<std::vector<HaproxyRule>> open = spared(guard, kept);
        if (!open) continue;
        add_addresses(guard.sources, kept);
        const bool whole = covers(match, rule.route.match);
        out_.rules.insert(out_.rules.begin() + static_cast<ptrdiff_t>(i), open->begin(), open->end());
        i += open->size();
        if (whole) {
          out_.rules[i] = std::move(kept);
        } else {
          out_.rules.insert(out_.rules.begin() + static_cast<ptrdiff_t>(i), std::move(kept));
          ++i;  // the rule itself, for all others
        }
      }
    }
    if (!said)
      remarks_.left_out(guard.line.at, "http-request deny",
                        "beside the other rules no match says for all requests who may come",
                        "some of what it refused is let through; write the routes by hand");
  }
  // What the guard leaves open of the rule; nothing: all of it.
  std::optional<std::vector<HaproxyRule>> spared(const Guard& guard, const HaproxyRule& rule) {
    std::vector<HaproxyRule> out;
    for (const MatchDraft& except : guard.except) {
      if (covers(except, rule.route.match)) return std::nullopt;
      if (!may_meet(except, rule.route.match)) continue;
      const auto both = common(except, rule.route.match);
      if (both) {
        out.push_back(rule);
        out.back().route.match = *both;
      } else {
        remarks_.left_out(guard.line.at, name_of(guard.line), "beside the other rules nothing says whom it spares",
                          "it refuses them, too");
      }
    }
    return out;
  }
  // No filter says two lists of those who may: such a rule lets nobody in.
  void add_addresses(const HaproxyConditions::Sources& sources, HaproxyRule& rule) {
    if (!sources.others) {
      rule.deny.insert(rule.deny.end(), sources.blocks.begin(), sources.blocks.end());
    } else if (rule.allow.empty() || rule.allow == sources.blocks) {
      rule.allow = sources.blocks;
    } else {
      remarks_.left_out(rule.route.at, rule.route.directive, "two lists of those who may come, of which both count",
                        "its requests answer 501 until you decide");
      close(rule, "http-request deny");
    }
  }
  static void close(HaproxyRule& rule, std::string_view what) {
    rule.route = refused_route(rule.route, what);
    rule.backend.clear();
    rule.some.reset();
  }

  void refuse(const HaproxyLine& line) {
    if (guard(line)) return;
    if (line.word(1) == "return") {
      answer(line);
    } else {
      deny(line);
    }
  }
  void deny(const HaproxyLine& line) {
    const size_t from = condition_of(line);
    uint64_t status = line.word(1) == "tarpit" ? 500 : 403;
    const bool http = line.word(0) == "http-request";
    for (size_t i = http ? 2 : 1; i < from; ++i) {
      const std::string& word = line.words[i];
      if ((word == "deny_status" || word == "status") && i + 1 < from) {
        status = whole_number(line.words[++i]).value_or(status);
      } else {
        remarks_.left_out(line.at, "http-request " + std::string(line.word(1)),
                          "of the answer of a refusal only the status is known here", "write it into the route");
        break;
      }
    }
    if (http && line.word(1) != "deny")
      remarks_.differs(line.at, "http-request " + std::string(line.word(1)),
                       "it is answered at once, with " + std::to_string(status));
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
      } else if (refuses(line)) {
        return deny(line);
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

  const HaproxyProxy& proxy_;
  const std::set<uint32_t>& done_;
  Remarks& remarks_;
  HaproxyConditions conditions_;
  HaproxyRules out_;
  std::vector<Guard> guards_;
  std::optional<HaproxyLine> default_backend_;
};

}  // namespace

HaproxyRules haproxy_rules(const HaproxyProxy& proxy, const std::set<uint32_t>& done, Remarks& remarks) {
  return RuleReader(proxy, done, remarks).read();
}

}  // namespace trellis::app
