// What the proxies of haproxy.cfg say (frontends, backends, listens), each after the defaults that hold for it: times
// and the policy by name, all other lines in their order for who translates them. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/import/haproxy/syntax.h"
#include "app/import/remark.h"

namespace trellis::app {

struct HaproxyProxy {
  std::string kind;
  std::string name;
  HaproxyLine head;
  bool http = false;
  uint64_t connect_ms = 0;  // 0: not said
  uint64_t server_ms = 0;
  uint64_t client_ms = 0;
  uint64_t request_ms = 0;
  uint64_t idle_ms = 0;
  uint64_t tunnel_ms = 0;
  uint64_t queue_ms = 0;
  uint64_t check_ms = 0;
  std::optional<uint64_t> retries;
  std::vector<std::string> retry_on;
  std::vector<std::string> balance;
  std::vector<HaproxyLine> lines;  // all others, those of the defaults first

  bool listens() const noexcept { return kind != "backend"; }
  bool has_servers() const noexcept { return kind != "frontend"; }
};

std::vector<HaproxyProxy> read_haproxy_proxies(const std::vector<HaproxySection>& sections, Remarks& remarks);

// Times as HAProxy writes them: 30s, 500ms, 2m; a bare number is milliseconds.
std::optional<uint64_t> haproxy_milliseconds(std::string_view text);

}  // namespace trellis::app
