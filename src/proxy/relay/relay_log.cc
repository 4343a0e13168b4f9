#include "proxy/relay/relay_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/file_writer.h"
#include "base/json.h"
#include "base/log.h"
#include "proxy/pipeline.h"

namespace trellis::proxy {

namespace {

Counter& bytes_counter(Metrics& metrics, const std::string& listener, const char* direction) {
  return metrics.counter("trellis_relay_bytes_total", "bytes that relays passed on, seen from the client",
                         {{"listener", listener}, {"direction", direction}});
}

// 10/Oct/2000:13:55:36 +0000
std::string combined_time(WallTime now) {
  static constexpr std::string_view kMonths = "JanFebMarAprMayJunJulAugSepOctNovDec";
  char iso[kRfc3339Size];
  write_rfc3339(iso, now);
  const std::string_view text(iso, sizeof iso);
  const auto month = static_cast<size_t>((text[5] - '0') * 10 + (text[6] - '0') - 1);
  return fmt::format("{}/{}/{}:{} +0000", text.substr(8, 2), kMonths.substr(month * 3, 3), text.substr(0, 4),
                     text.substr(11, 8));
}

}  // namespace

std::string relay_line(const RelayRecord& record, AccessLogConfig::Format format, std::string_view node_json) {
  std::string out;
  if (format == AccessLogConfig::Format::combined) {
    fmt::format_to(std::back_inserter(out), "{} - - [{}] \"{} {}\" - {} \"-\" \"{}\"\n", record.client,
                   combined_time(record.wall), record.protocol, record.listener, record.bytes_out,
                   to_string(record.end));
    return out;
  }
  char time[kRfc3339Size];
  write_rfc3339(time, record.wall);
  JsonWriter json(out);
  json.begin_object().member("time", std::string_view(time, sizeof time));
  if (!node_json.empty()) json.key("node").raw(node_json);
  json.member("listener", record.listener).member("protocol", record.protocol);
  json.member("client", record.client).member("client_port", record.client_port);
  if (!record.server_name.empty()) json.member("server_name", record.server_name);
  json.member("bytes_in", record.bytes_in).member("bytes_out", record.bytes_out);
  json.member("duration_ms",
              static_cast<double>(std::chrono::floor<std::chrono::microseconds>(record.took).count()) / 1000);
  if (!record.upstream.empty()) json.member("upstream", record.upstream);
  if (!record.upstream_host.empty()) json.member("upstream_host", record.upstream_host);
  json.member("outcome", to_string(record.end)).end_object();
  out += '\n';
  return out;
}

RelayFigures::RelayFigures(Metrics& metrics, std::string listener, std::string_view protocol)
    : opened(connection_counter(metrics, listener, "opened")),
      closed(connection_counter(metrics, listener, "closed")),
      bytes_in(bytes_counter(metrics, listener, "in")),
      bytes_out(bytes_counter(metrics, listener, "out")),
      turned_away(metrics.counter("trellis_shed_total", "what was turned away to protect the node",
                                  {{"reason", protocol == "udp" ? "max_sessions" : "max_connections"}})),
      metrics_(metrics),
      listener_(std::move(listener)) {}

void RelayFigures::ended(const RelayRecord& record, const AccessLog* log) noexcept {
  auto found = ends_.find(record.upstream);
  if (found == ends_.end()) found = ends_.emplace(std::string(record.upstream), Ends{}).first;
  Counter*& counter = found->second[static_cast<size_t>(record.end)];
  if (!counter) {
    counter = &metrics_.counter("trellis_relay_connections_total",
                                "relayed connections and sessions of datagrams by how they ended",
                                {{"listener", listener_},
                                 {"upstream", record.upstream.empty() ? "none" : std::string(record.upstream)},
                                 {"outcome", std::string(to_string(record.end))}});
  }
  counter->add();
  if (log) log->writer().try_write(relay_line(record, log->format(), log->node_json()));
}

}  // namespace trellis::proxy
