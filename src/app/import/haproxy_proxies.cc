#include "app/import/haproxy_proxies.h"

#include <algorithm>
#include <iterator>
#include <map>

#include "app/import/numbers.h"

namespace trellis::app {

namespace {

void read_timeout(const HaproxyLine& line, HaproxyProxy& out, Remarks& remarks) {
  const std::string_view which = line.word(1);
  const std::string what = "timeout " + std::string(which);
  const auto time = haproxy_milliseconds(line.word(2));
  if (!time) {
    remarks.left_out(line.at, what, "not a time: " + std::string(line.word(2)));
  } else if (which == "connect") {
    out.connect_ms = *time;
  } else if (which == "server") {
    out.server_ms = *time;
  } else if (which == "client") {
    out.client_ms = *time;
  } else if (which == "http-request") {
    out.request_ms = *time;
  } else if (which == "http-keep-alive") {
    out.idle_ms = *time;
  } else if (which == "tunnel") {
    out.tunnel_ms = *time;
  } else if (which != "queue" && which != "check" && which != "client-fin" && which != "server-fin") {
    remarks.left_out(line.at, what, "not known to the import");
  }
}

void read_lines(const HaproxySection& section, HaproxyProxy& out, Remarks& remarks) {
  for (const HaproxyLine& line : section.lines) {
    const std::string_view word = line.word(0);
    if (word == "mode") {
      out.http = line.word(1) == "http";
    } else if (word == "timeout") {
      read_timeout(line, out, remarks);
    } else if (word == "retries") {
      out.retries = whole_number(line.word(1));
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
      read_lines(section, proxy, remarks);
      out.push_back(std::move(proxy));
    } else if (section.kind != "global" && section.kind != "peers" && section.kind != "mailers") {
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
