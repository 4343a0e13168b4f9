// What a relay tells of a connection or a session once it has ended: a line of the access log, and the counts by how
// they ended. The line is JSON, or as close to the combined format as something without a request can come. One
// RelayFigures a listener and core.
//
// JSON fields, in this order; those marked * are left out when empty: time node* listener protocol client client_port
// server_name* bytes_in bytes_out duration_ms upstream* upstream_host* outcome.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/metrics.h"
#include "base/time.h"
#include "proxy/access_log.h"
#include "proxy/relay/pump.h"

namespace trellis::proxy {

// Borrowed for the call.
struct RelayRecord {
  std::string_view listener;
  std::string_view protocol;  // tcp or udp
  std::string_view client;    // numeric
  uint16_t client_port = 0;
  std::string_view server_name;
  uint64_t bytes_in = 0;  // from the client
  uint64_t bytes_out = 0;
  Duration took{};
  std::string_view upstream;
  std::string_view upstream_host;
  RelayEnd end = RelayEnd::finished;
  WallTime wall{};  // now
};

// With its line feed. `node_json`: quoted already, or "".
std::string relay_line(const RelayRecord& record, AccessLogConfig::Format format, std::string_view node_json);

class RelayFigures {
 public:
  RelayFigures(Metrics& metrics, std::string listener, std::string_view protocol);

  void ended(const RelayRecord& record, const AccessLog* log) noexcept;

  Counter& opened;
  Counter& closed;
  Counter& bytes_in;
  Counter& bytes_out;
  Counter& turned_away;

 private:
  using Ends = std::array<Counter*, kRelayEnds>;
  Metrics& metrics_;
  std::string listener_;
  std::map<std::string, Ends, std::less<>> ends_;  // by upstream; looked up once each
};

}  // namespace trellis::proxy
