#include "app/import/haproxy/trust.h"

#include <algorithm>
#include <optional>
#include <string_view>

#include "app/import/haproxy/conditions.h"
#include "base/ascii.h"
#include "proxy/filters/addresses.h"

namespace trellis::app {

namespace {

constexpr std::string_view kNameThem = "listeners.NAME.trusted: [10.0.0.0/8]";

bool has_word(const HaproxyLine& line, std::string_view word) {
  return std::ranges::find(line.words, word) != line.words.end();
}

// `tcp-request connection reject if !{ src A B }` beside accept-proxy, `... expect-proxy layer4 if { src A B }`.
std::optional<std::vector<std::string>> senders(const HaproxyLine& line, const HaproxyConditions& conditions) {
  if (line.word(0) != "tcp-request" || line.word(1) != "connection") return std::nullopt;
  const bool rejects = line.word(2) == "reject";
  const bool expects = line.word(2) == "expect-proxy" && line.word(3) == "layer4";
  if (!rejects && !expects) return std::nullopt;
  const auto sources = conditions.sources(line, rejects ? 3 : 4);
  if (!sources || sources->others != rejects) return std::nullopt;
  return sources->blocks;
}

// The names of acls that ask for the client's address.
std::set<std::string> source_acls(const std::vector<HaproxyLine>& lines) {
  std::set<std::string> out;
  for (const HaproxyLine& line : lines) {
    if (line.word(0) == "acl" && line.word(2).starts_with("src")) out.emplace(line.word(1));
  }
  return out;
}

// `src`, `src,crc32`, `%[src]`, or an acl that says so.
bool asks_source(const HaproxyLine& line, const std::set<std::string>& acls) {
  return std::ranges::any_of(line.words, [&](const std::string& word) {
    return word.starts_with("src") || word.find("[src") != std::string::npos ||
           acls.contains(word.starts_with('!') ? word.substr(1) : word);
  });
}

// `http-request set-src hdr(x-forwarded-for)` by the addresses of its condition.
void read_set_src(const HaproxyLine& line, const HaproxyConditions& conditions, bool asked_above, HaproxyTrust& out,
                  Remarks& remarks) {
  if (asked_above) {
    remarks.left_out(line.at, "http-request set-src",
                     "a rule above asks for the connection's address: it would be asked for the client's",
                     std::string(kNameThem));
    return;
  }
  std::string fetch(line.word(2));
  std::ranges::transform(fetch, fetch.begin(), &ascii_lower);
  const auto sources = conditions.sources(line, 3);
  if (fetch.find("(x-forwarded-for") == std::string::npos || !sources || sources->others) {
    remarks.left_out(line.at, "http-request set-src",
                     "X-Forwarded-For counts from addresses that are named, no other field", std::string(kNameThem));
    return;
  }
  out.fields.insert(out.fields.end(), sources->blocks.begin(), sources->blocks.end());
  remarks.differs(line.at, "http-request set-src",
                  "of X-Forwarded-For the last address counts that is not trusted itself");
}

// `option forwardfor except A`: what A says is handed on, as of a trusted proxy.
void read_except(const HaproxyLine& line, bool compares_addresses, HaproxyTrust& out, Remarks& remarks) {
  const auto except = std::ranges::find(line.words, "except");
  if (except == line.words.end() || std::next(except) == line.words.end()) return;
  const std::string& block = *std::next(except);
  if (compares_addresses || !proxy::AddressBlock::from_text(block)) {
    remarks.left_out(line.at, "option forwardfor except",
                     compares_addresses ? "rules compare addresses: they would be those that " + block + " names"
                                        : "no block of addresses: " + block,
                     std::string(kNameThem));
    return;
  }
  out.fields.push_back(block);
  remarks.differs(line.at, "option forwardfor except",
                  block + " is trusted: the client that it names is the client, and its own address is told last");
}

}  // namespace

HaproxyTrust haproxy_trust(const HaproxyProxy& proxy, Remarks& remarks) {
  const HaproxyConditions conditions(proxy.lines, remarks);
  const bool accepts = std::ranges::any_of(
      proxy.lines, [](const HaproxyLine& line) { return line.word(0) == "bind" && has_word(line, "accept-proxy"); });
  const bool compares = std::ranges::any_of(
      proxy.lines, [](const HaproxyLine& line) { return has_word(line, "src") && line.word(0) != "tcp-request"; });
  const std::set<std::string> acls = source_acls(proxy.lines);
  bool asked = false;  // by a rule of requests so far; those with other words come after all of them
  HaproxyTrust out;
  for (const HaproxyLine& line : proxy.lines) {
    const bool rule = proxy.http && line.word(0) == "http-request";
    if (rule && line.word(1) != "set-src") asked |= asks_source(line, acls);
    const auto blocks = senders(line, conditions);
    const bool expects = line.word(2) == "expect-proxy";
    if (blocks && (expects || accepts)) {
      out.headers.insert(out.headers.end(), blocks->begin(), blocks->end());
      if (expects && !accepts)
        remarks.differs(line.at, "tcp-request connection expect-proxy",
                        "who is not named is closed, and cannot connect without a header");
    } else if (rule && line.word(1) == "set-src") {
      read_set_src(line, conditions, asked, out, remarks);
    } else if (proxy.http && line.word(0) == "option" && line.word(1) == "forwardfor" && has_word(line, "except")) {
      read_except(line, compares, out, remarks);
    } else {
      continue;
    }
    out.lines.insert(line.at.line);
  }
  return out;
}

FieldLines HaproxyTrust::options(const HaproxyLine& bind, Remarks& remarks) const {
  if (!headers.empty()) return {{"proxy_protocol", "in"}, {"trusted", yaml_list(headers)}};
  if (has_word(bind, "accept-proxy")) {
    remarks.left_out(bind.at, "bind accept-proxy",
                     "whose headers are believed must be said; without it what begins with one is refused",
                     "listeners.NAME: { proxy_protocol: in, trusted: [10.0.0.0/8] }");
    return {};
  }
  if (fields.empty()) return {};
  return {{"trusted", yaml_list(fields)}};
}

}  // namespace trellis::app
