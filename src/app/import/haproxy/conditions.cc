#include "app/import/haproxy/conditions.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <string_view>
#include <utility>

#include "app/import/nginx/path.h"
#include "app/import/numbers.h"
#include "base/ascii.h"
#include "proxy/filters/addresses.h"

namespace trellis::app {

namespace {

constexpr size_t kMaxMatches = 256;

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), &ascii_lower);
  return text;
}

std::vector<std::string> words_from(const HaproxyLine& line, size_t from) {
  return {line.words.begin() + static_cast<ptrdiff_t>(std::min(from, line.words.size())), line.words.end()};
}

// Takes over what the other says; false when both speak of the same thing.
bool join_text(std::string& into, const std::string& from) {
  if (from.empty()) return true;
  if (!into.empty() && into != from) return false;
  into = from;
  return true;
}
bool join_lines(FieldLines& into, const FieldLines& from) {
  for (const auto& line : from) {
    if (std::ranges::find(into, line.first, &FieldLines::value_type::first) != into.end()) return false;
    into.push_back(line);
  }
  return true;
}
std::optional<MatchDraft> both(MatchDraft a, const MatchDraft& b) {
  if (!join_text(a.host, b.host) || !join_text(a.path, b.path)) return std::nullopt;
  if (!a.methods.empty() && !b.methods.empty()) return std::nullopt;
  if (!b.methods.empty()) a.methods = b.methods;
  if (!join_lines(a.headers, b.headers) || !join_lines(a.query, b.query)) return std::nullopt;
  return a;
}

// acl NAME CRITERION(ARGUMENT) [flags] VALUE...
struct Acl {
  std::string kind;  // the criterion without its prefix, with the way of matching behind it: hdr, hdr_end, path_beg
  std::string argument;
  std::vector<std::string> values;
  bool any_case = false;
};
std::optional<Acl> read_acl(const HaproxyLine& line, std::string& why) {
  Acl out;
  std::string match;
  for (size_t i = 3; i < line.words.size(); ++i) {
    const std::string& word = line.words[i];
    if (word == "-i") out.any_case = true;
    if (word == "-i" || word == "--") continue;
    if (word == "-m" && i + 1 < line.words.size()) {
      match = line.words[++i];
    } else if (word == "-f" || word == "-M" || word == "-u" || word == "-n") {
      why = "values from files are not read: " + line.text();
      return std::nullopt;
    } else {
      out.values.push_back(word);
    }
  }
  std::string criterion(line.word(2));
  for (const std::string_view begin : {"req.", "f", "req_"}) {
    if (criterion.starts_with(begin == "f" ? "fhdr" : begin)) criterion.erase(0, begin.size());
  }
  const size_t open = criterion.find('(');
  out.kind = criterion.substr(0, open);
  if (open != std::string::npos && criterion.ends_with(')'))
    out.argument = criterion.substr(open + 1, criterion.size() - open - 2);
  if (!match.empty() && match != "str") out.kind += "_" + match;
  return out;
}

// NAME of `hdr(NAME)`; nothing when the fetch is another.
std::optional<std::string> argument_of(std::string_view fetch, std::string_view function) {
  if (fetch.starts_with("req.")) fetch.remove_prefix(4);
  if (!fetch.starts_with(function) || fetch.size() < function.size() + 3 || fetch[function.size()] != '(') return {};
  if (!fetch.ends_with(')')) return {};
  fetch = fetch.substr(function.size() + 1, fetch.size() - function.size() - 2);
  if (fetch.find_first_of("(),") != std::string_view::npos) return {};
  return std::string(fetch);
}

// What a split calls the thing that HAProxy makes a number of.
std::string split_key(std::string_view fetch) {
  if (fetch == "src") return "client_address";
  if (fetch == "path") return "path";
  if (const auto name = argument_of(fetch, "cook")) return "cookie." + *name;
  if (const auto name = argument_of(fetch, "hdr")) return "header." + *name;
  if (const auto name = argument_of(fetch, "url_param")) return "query." + *name;
  return {};
}

// `rand(100) lt 5`, `src,crc32,mod(100) lt 5`
std::optional<HaproxyConditions::Way> chance_of(std::span<const std::string> words) {
  if (words.size() != 3 || (words[1] != "lt" && words[1] != "le")) return std::nullopt;
  HaproxyConditions::Way out;
  const auto bound = whole_number(words[2]);
  std::string_view fetch = words[0];
  if (const auto most = argument_of(fetch, "rand")) {
    out.key = "random";
    out.whole = whole_number(*most).value_or(0);
  } else {
    const size_t converter = fetch.find(',');
    const size_t last = fetch.rfind(",mod(");
    if (last == std::string_view::npos || !fetch.ends_with(')')) return std::nullopt;
    out.whole = whole_number(fetch.substr(last + 5, fetch.size() - last - 6)).value_or(0);
    const std::string_view between = fetch.substr(converter, last - converter);
    if (fetch.substr(0, converter) == "rand") {
      out.key = between.empty() ? "random" : "";
    } else if (between.find_first_of("()", 1) == std::string_view::npos && std::ranges::count(between, ',') == 1) {
      out.key = split_key(fetch.substr(0, converter));  // of a hash of it
    }
  }
  if (!bound || out.whole == 0 || out.whole > kWholeShare || out.key.empty()) return std::nullopt;
  out.part = std::min(words[1] == "le" ? *bound + 1 : *bound, out.whole);
  return out;
}

// `cook(canary) 1`, `req.cook(canary) -m str 1`, `cook(canary) -m found`
std::optional<HaproxyConditions::Way> cookie_of(std::span<const std::string> words) {
  if (words.empty()) return std::nullopt;
  const auto name = argument_of(words[0], "cook");
  if (!name) return std::nullopt;
  words = words.subspan(1);
  HaproxyConditions::Way out;
  if (words.size() == 2 && words[0] == "-m" && words[1] == "found") {
    out.when = {{"cookie", *name}};
    return out;
  }
  if (words.size() == 3 && words[0] == "-m" && words[1] == "str") words = words.subspan(2);
  if (words.size() != 1 || words[0].starts_with('-')) return std::nullopt;
  out.when = {{"cookie", *name + "=" + words[0]}};
  return out;
}

std::optional<HaproxyConditions::Way> way_of(std::span<const std::string> words) {
  if (auto chance = chance_of(words)) return chance;
  return cookie_of(words);
}

// Takes out of a line the first of its conditions about which `find` says something when it stands alone, as `if` or
// `unless` and its words.
template <class Found, class Find>
std::optional<Found> take(HaproxyLine& line, size_t from, const Find& find) {
  std::vector<std::string>& words = line.words;
  const auto at = [&](size_t i) { return words.begin() + static_cast<ptrdiff_t>(i); };
  if (words.size() < from + 2 || (words[from] != "if" && words[from] != "unless")) return std::nullopt;
  if (std::any_of(at(from), words.end(), [](const std::string& word) { return word == "||" || word == "or"; }))
    return std::nullopt;
  for (size_t i = from + 1; i < words.size();) {
    const bool braces = words[i] == "{" || words[i] == "!{";
    const size_t end =
        braces ? std::min<size_t>(std::find(at(i), words.end(), "}") - words.begin() + 1, words.size()) : i + 1;
    HaproxyLine one{{words[from]}, line.at};
    one.words.insert(one.words.end(), at(i), at(end));
    const bool alone = i == from + 1 && end == words.size();
    if (auto found = words[from] == "if" || alone ? find(one) : std::nullopt) {
      words.erase(at(i), at(end));
      if (words.size() == from + 1) words.pop_back();  // the "if"
      return found;
    }
    i = end;
  }
  return std::nullopt;
}

// Of `if !a`: `if a`.
std::optional<HaproxyLine> turned_round(const HaproxyLine& condition) {
  if (condition.words[0] != "if" || !condition.words[1].starts_with('!') || condition.words[1].size() < 2)
    return std::nullopt;
  HaproxyLine out = condition;
  out.words[1].erase(0, 1);
  return out;
}

}  // namespace

HaproxyConditions::HaproxyConditions(const std::vector<HaproxyLine>& lines, Remarks& remarks) : remarks_(remarks) {
  for (const HaproxyLine& line : lines) {
    if (line.word(0) == "acl" && line.words.size() >= 3) acls_[line.words[1]].push_back(line);
  }
  for (const char* method : {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"}) {  // HAProxy has them by itself
    const std::string name = std::string("METH_") + method;
    if (!acls_.contains(name)) acls_[name].push_back({{"acl", name, "method", method}, {}});
  }
}

std::optional<std::vector<MatchDraft>> HaproxyConditions::matches(const HaproxyLine& line, size_t from,
                                                                  std::string& why) const {
  if (line.words.size() <= from) return std::vector<MatchDraft>{{}};
  if (line.words[from] != "if") {
    why = "\"" + line.words[from] + "\" is not known here";
    return std::nullopt;
  }
  std::vector<MatchDraft> out;
  std::vector<MatchDraft> current{{}};  // of the words since the last "or"
  for (size_t i = from + 1; i < line.words.size(); ++i) {
    const std::string& word = line.words[i];
    if (word == "||" || word == "or") {
      std::ranges::move(current, std::back_inserter(out));
      current = {{}};
      continue;
    }
    if (word == "TRUE" && !acls_.contains(word)) continue;
    std::vector<HaproxyLine> acl;
    if (word == "{") {
      HaproxyLine inner{{"acl", "-"}, line.at};
      while (++i < line.words.size() && line.words[i] != "}") inner.words.push_back(line.words[i]);
      acl.push_back(std::move(inner));
    } else if (word.starts_with('!')) {
      why = "conditions cannot be turned round: " + word;
      return std::nullopt;
    } else if (const auto known = acls_.find(word); known != acls_.end()) {
      acl = known->second;
    } else {
      why = "no acl is named " + word;
      return std::nullopt;
    }
    std::vector<MatchDraft> either;
    for (const HaproxyLine& one : acl) {
      if (!add_matches(one, either, why)) return std::nullopt;
    }
    std::vector<MatchDraft> joined;
    for (const MatchDraft& a : current) {
      for (const MatchDraft& b : either) {
        if (joined.size() >= kMaxMatches) {
          why = "more than 256 cases";
          return std::nullopt;
        }
        auto one = both(a, b);
        if (!one) {
          why = "two conditions on the same thing";
          return std::nullopt;
        }
        joined.push_back(*std::move(one));
      }
    }
    current = std::move(joined);
  }
  std::ranges::move(current, std::back_inserter(out));
  return out;
}

std::optional<std::vector<MatchDraft>> HaproxyConditions::take_exceptions(HaproxyLine& line, size_t from,
                                                                          std::string& why) const {
  std::vector<std::string>& words = line.words;
  if (words.size() <= from) return std::vector<MatchDraft>{};
  if (words[from] == "unless") {
    HaproxyLine turned = line;
    turned.words[from] = "if";
    auto out = matches(turned, from, why);
    if (out) words.resize(from);
    return out;
  }
  std::vector<MatchDraft> out;
  while (const auto one = take<HaproxyLine>(line, from, &turned_round)) {
    auto found = matches(*one, 0, why);
    if (!found) return std::nullopt;
    std::ranges::move(*found, std::back_inserter(out));
  }
  return out;
}

bool HaproxyConditions::drop_exceptions(HaproxyLine& line, size_t from) {
  std::vector<std::string>& words = line.words;
  if (words.size() <= from) return false;
  bool some = words[from] == "unless";
  if (!some) {
    while (take<HaproxyLine>(line, from, &turned_round)) some = true;
    if (some) return true;
    some = std::any_of(words.begin() + static_cast<ptrdiff_t>(from), words.end(),
                       [](const std::string& word) { return word.starts_with('!') && word.size() > 1; });
  }
  if (some) words.resize(from);
  return some;
}

std::optional<HaproxyConditions::Way> HaproxyConditions::take_way(HaproxyLine& line, size_t from) const {
  std::vector<std::string>& words = line.words;
  if (words.size() <= from || words[from] != "if") return std::nullopt;
  for (const std::string& word : words) {
    if (word == "||" || word == "or") return std::nullopt;
  }
  for (size_t i = from + 1; i < words.size(); ++i) {
    size_t end = i + 1;
    std::optional<Way> out;
    if (words[i] == "{") {
      while (end < words.size() && words[end] != "}") ++end;
      out = way_of(std::span(words).subspan(i + 1, end - i - 1));
      if (end < words.size()) ++end;
    } else if (const auto acl = acls_.find(words[i]); acl != acls_.end() && acl->second.size() == 1) {
      out = way_of(std::span(acl->second[0].words).subspan(2));
    }
    if (out) {
      words.erase(words.begin() + static_cast<ptrdiff_t>(i), words.begin() + static_cast<ptrdiff_t>(end));
      if (words.size() == from + 1) words.pop_back();  // the "if"
      return out;
    }
    i = end - 1;
  }
  return std::nullopt;
}

// A match for each value of one acl line.
bool HaproxyConditions::add_matches(const HaproxyLine& line, std::vector<MatchDraft>& out, std::string& why) const {
  const std::optional<Acl> acl = read_acl(line, why);
  if (!acl) return false;
  const std::string& kind = acl->kind;
  const std::string field = lower(acl->argument.substr(0, acl->argument.find(',')));
  const bool host = field == "host" && kind.starts_with("hdr");
  if (acl->values.empty() && kind != "hdr_found") {
    why = "no value: " + line.text();
    return false;
  }
  const auto differs = [&](std::string why_so) {
    remarks_.differs(line.at, "acl " + std::string(line.word(1)), std::move(why_so));
  };
  if (acl->any_case && !host) differs("values are compared with their case");
  for (const std::string& value : acl->values) {
    MatchDraft one;
    if (host && kind == "hdr") {
      one.host = lower(value.substr(0, value.find(':')));
    } else if (host && (kind == "hdr_end" || kind == "hdr_dom") && value.size() > 1) {
      const bool dot = value.starts_with('.');
      if (kind == "hdr_dom" || !dot) out.emplace_back().host = lower(value);
      one.host = (dot ? "*" : "*.") + lower(value);
    } else if (kind == "path") {
      one.path = pattern_literal(value);
    } else if (kind == "path_beg" || kind == "path_dir") {
      std::string path = pattern_literal(value.starts_with('/') ? value : "/" + value);
      const bool closed = path.ends_with('/');
      while (path.ends_with('/')) path.pop_back();
      if (kind == "path_dir") {
        differs("a folder is looked for at the beginning of a path, not anywhere: " + path + " and what is below it");
      } else if (!closed) {
        differs("whole segments are compared: " + value + " and what is below it");
      } else if (!path.empty()) {
        differs(path + " is taken, too, not only what is below it");
      }
      one.path = path + "/**";
    } else if (kind == "path_reg") {
      const auto paths = paths_of_regex(value);
      if (!paths) {
        why = "no path pattern says " + value;
        return false;
      }
      for (const std::string& pattern : paths->patterns) out.emplace_back().path = pattern;
      for (const std::string& path : paths->too_much) differs(path + " is taken, too, not only what is below it");
      if (paths->wider) differs("whole segments are compared: longer names that begin alike are not matched");
      continue;
    } else if (kind == "method") {
      if (&value != acl->values.data()) continue;  // all of them are one match
      one.methods = acl->values;
    } else if (kind == "hdr" && !field.empty() && value != "*") {
      one.headers = {{field, value}};
    } else if ((kind == "url_param" || kind == "urlp") && !acl->argument.empty() && value != "*") {
      one.query = {{acl->argument, value}};
    } else {
      why = "not known: " + line.text();
      return false;
    }
    out.push_back(std::move(one));
  }
  if (kind == "hdr_found" && !field.empty() && !host) out.emplace_back().headers = {{field, "*"}};
  if (out.empty()) why = "not known: " + line.text();
  return !out.empty();
}

std::optional<HaproxyConditions::Sources> HaproxyConditions::sources(const HaproxyLine& line, size_t from) const {
  std::vector<std::string> words = words_from(line, from);
  if (words.size() < 2 || (words[0] != "if" && words[0] != "unless")) return std::nullopt;
  Sources out;
  out.others = words[0] == "unless";
  if (words[1].starts_with('!')) {
    out.others = !out.others;
    words[1].erase(0, 1);
  }
  std::vector<HaproxyLine> acls;
  if (words[1] == "{" && words.back() == "}" && std::ranges::count(words, "}") == 1) {
    acls.push_back({{"acl", "-"}, line.at});
    acls[0].words.insert(acls[0].words.end(), words.begin() + 2, words.end() - 1);
  } else if (const auto known = acls_.find(words[1]); known != acls_.end() && words.size() == 2) {
    acls = known->second;
  }
  for (const HaproxyLine& acl : acls) {
    if (acl.word(2) != "src") return std::nullopt;
    out.blocks.insert(out.blocks.end(), acl.words.begin() + 3, acl.words.end());
  }
  const auto good = [](const std::string& block) { return proxy::AddressBlock::from_text(block).has_value(); };
  if (out.blocks.empty() || !std::ranges::all_of(out.blocks, good)) return std::nullopt;
  return out;
}

std::optional<HaproxyConditions::Sources> HaproxyConditions::take_sources(HaproxyLine& line, size_t from) const {
  return take<Sources>(line, from, [&](const HaproxyLine& one) { return sources(one, 0); });
}

std::optional<bool> HaproxyConditions::take_tls(HaproxyLine& line, size_t from) const {
  return take<bool>(line, from, [&](const HaproxyLine& one) { return by_tls(one); });
}

std::optional<bool> HaproxyConditions::by_tls(const HaproxyLine& line) const {
  std::vector<std::string> words = line.words;
  bool holds = words[0] == "if";
  if (words[1].starts_with('!')) {
    holds = !holds;
    words[1].erase(0, 1);
  }
  if (words.size() == 4 && words[1] == "{" && words[3] == "}") {
    words[1] = words[2];
  } else if (words.size() == 2) {
    const auto acl = acls_.find(words[1]);
    if (acl == acls_.end() || acl->second.size() != 1 || acl->second[0].words.size() != 3) return std::nullopt;
    words[1] = acl->second[0].word(2);
  } else {
    return std::nullopt;
  }
  if (words[1] == "ssl_fc") return holds;
  if (words[1] == "ssl_fc,not") return !holds;
  return std::nullopt;
}

bool HaproxyConditions::asks_password(const HaproxyLine& line) const {
  const auto asks = [](const HaproxyLine& acl) { return acl.word(2).starts_with("http_auth"); };
  return std::ranges::any_of(line.words, [&](std::string_view word) {
    if (word.starts_with('!')) word.remove_prefix(1);
    const auto acl = acls_.find(std::string(word));
    return word.starts_with("http_auth") || (acl != acls_.end() && std::ranges::any_of(acl->second, asks));
  });
}

std::vector<std::string> HaproxyConditions::hello_names(const HaproxyLine& line, size_t from) const {
  std::vector<std::string> words = words_from(line, from);
  if (words.size() == 2 && words[0] == "if") {
    const auto acl = acls_.find(words[1]);
    if (acl == acls_.end() || acl->second.size() != 1) return {};
    words = {"if", "{"};
    words.insert(words.end(), acl->second[0].words.begin() + 2, acl->second[0].words.end());
    words.emplace_back("}");
  }
  if (words.size() < 5 || words[0] != "if" || words[1] != "{" || words.back() != "}") return {};
  if (words[2] != "req.ssl_sni" && words[2] != "req_ssl_sni" && words[2] != "req.ssl_sni,lower") return {};
  std::vector<std::string> out;
  for (size_t i = 3; i + 1 < words.size(); ++i) {
    if (words[i] == "-i") continue;
    if (words[i].starts_with('-') || words[i] == "}" || words[i] == "{") return {};
    out.push_back(lower(words[i]));
  }
  return out;
}

}  // namespace trellis::app
