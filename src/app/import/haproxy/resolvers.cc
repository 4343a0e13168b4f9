#include "app/import/haproxy/resolvers.h"

#include <string_view>
#include <utility>

#include "app/import/draft.h"
#include "app/import/haproxy/proxies.h"

namespace trellis::app {

namespace {

void read_line(const HaproxyLine& line, HaproxyResolvers& out, Remarks& remarks) {
  const std::string_view word = line.word(0);
  if (word == "nameserver") {
    std::string address(line.word(2));
    for (const std::string_view kind : {"udp@", "tcp@", "ipv4@", "ipv6@"}) {
      if (address.starts_with(kind)) address.erase(0, kind.size());
    }
    if (good_bind(address)) {
      out.servers.push_back(std::move(address));
    } else {
      remarks.left_out(line.at, "nameserver " + std::string(line.word(1)),
                       "a server of names is a numeric address with its port: " + address);
    }
  } else if (word == "hold" && line.word(1) == "valid") {
    out.refresh_ms = haproxy_milliseconds(line.word(2)).value_or(0);
  } else if (word != "parse-resolv-conf" && word != "hold" && word != "timeout" && word != "resolve_retries" &&
             word != "accepted_payload_size") {
    remarks.left_out(line.at, "resolvers ... " + std::string(word), "not known to the import");
  }
}

}  // namespace

std::map<std::string, HaproxyResolvers> read_haproxy_resolvers(const std::vector<HaproxySection>& sections,
                                                               Remarks& remarks) {
  std::map<std::string, HaproxyResolvers> out;
  for (const HaproxySection& section : sections) {
    if (section.kind != "resolvers") continue;
    for (const HaproxyLine& line : section.lines) read_line(line, out[section.name], remarks);
  }
  return out;
}

}  // namespace trellis::app
