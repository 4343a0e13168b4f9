// What a `server` or `default-server` of HAProxy says behind its address: weight, checks, limits, names, the PROXY
// protocol. Most of it belongs to the upstream in Trellis; backends.h joins them. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "app/import/haproxy/syntax.h"
#include "app/import/remark.h"

namespace trellis::app {

struct HaproxyServer {
  uint64_t weight = 1;
  bool backup = false;
  bool disabled = false;
  bool tls = false;
  std::string proxy_protocol;  // v1, v2; empty: none
  std::string resolvers;       // the section's name; empty: its name is looked up once

  bool checked = false;
  uint64_t interval_ms = 2000;
  uint64_t down_interval_ms = 0;  // 0: as interval
  uint64_t rise = 2;
  uint64_t fall = 3;
  std::string check_port;

  std::string observe;  // layer4, layer7; empty: answers put it out by Trellis' own rule
  std::string on_error = "fastinter";
  uint64_t error_limit = 10;

  uint64_t connections = 0;  // 0: not said
  uint64_t slow_start_ms = 0;
};

// Takes over the words from the `from`th on, and tells those that mean nothing here.
void read_haproxy_server(const HaproxyLine& line, size_t from, HaproxyServer& out, Remarks& remarks);

}  // namespace trellis::app
