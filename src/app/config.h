// The whole configuration of a node as plain values, each struct with its field table. Read once on the main thread,
// then shared as an immutable snapshot. docs/reference/configuration.md is generated from these tables.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/time.h"
#include "cache/eviction.h"
#include "config/fields.h"
#include "http/server.h"
#include "proxy/access_log.h"
#include "proxy/config.h"
#include "proxy/filters/addresses.h"
#include "proxy/relay/config.h"
#include "proxy/shedder.h"
#include "proxy/trusted_proxies.h"
#include "queue/service_jobs.h"
#include "runtime/loop.h"
#include "upstream/config.h"

namespace trellis::app {

// Where clients come in: by HTTP, unless it is a relay of TCP or of UDP.
struct ListenerConfig {
  enum class Kind : uint8_t { http, tcp, udp };

  config::HostPort bind;
  std::optional<proxy::TcpRelayConfig> tcp;
  std::optional<proxy::UdpRelayConfig> udp;
  std::optional<proxy::ProxyProtocolConfig> proxy_protocol;
  Duration idle_timeout = std::chrono::seconds(75);
  Duration head_timeout = std::chrono::seconds(10);
  Duration body_timeout = std::chrono::seconds(30);
  Duration send_timeout = std::chrono::seconds(30);
  uint64_t min_body_rate = 500;
  Duration half_close_grace = std::chrono::seconds(1);
  uint32_t max_connections = 100'000;
  uint64_t max_head = 32 * 1024;
  uint64_t max_start_line = 8 * 1024;
  uint32_t max_fields = 100;
  bool merge_slashes = false;
  std::vector<proxy::AddressBlock> trusted;
  proxy::TrustedProxies::Reads trusted_field = proxy::TrustedProxies::Reads::x_forwarded_for;
  static config::Fields<ListenerConfig> fields();
  void check(config::Checker& at) const;
  Kind kind() const noexcept { return tcp ? Kind::tcp : (udp ? Kind::udp : Kind::http); }
  net::AddressSet trusted_set() const;
  http::ServerOptions server_options(const std::string& name) const;
  proxy::TrustedProxies trusted_proxies() const;
};

std::string_view to_string(ListenerConfig::Kind kind) noexcept;

struct CacheDiskConfig {
  std::string path;
  uint64_t size = 10ULL << 30;
  bool operator==(const CacheDiskConfig&) const = default;
  static config::Fields<CacheDiskConfig> fields();
};
// The other edges of a cluster.
struct CachePeersConfig {
  std::string upstream;
  std::string key_file;
  std::string self;
  bool operator==(const CachePeersConfig&) const = default;
  static config::Fields<CachePeersConfig> fields();
};
struct CacheConfig {
  uint64_t memory = 64ULL << 20;
  cache::EvictionPolicy policy = cache::EvictionPolicy::s3fifo;
  std::optional<CacheDiskConfig> disk;
  uint64_t max_object = 64ULL << 20;
  std::optional<CachePeersConfig> peers;
  bool operator==(const CacheConfig&) const = default;
  static config::Fields<CacheConfig> fields();
};

// sqlite:PATH
struct StoreConfig {
  std::string path;
  static Result<StoreConfig> from_text(std::string_view text);
  std::string to_text() const { return "sqlite:" + path; }
  static constexpr std::string_view kText = "sqlite:PATH such as sqlite:./data/trellis.db";
};

// http://HOST:PORT
struct NodeAddress {
  config::HostPort at;
  static Result<NodeAddress> from_text(std::string_view text);
  std::string to_text() const { return "http://" + at.to_text(); }
  static constexpr std::string_view kText = "http://HOST:PORT, another node's control address";
};

struct WorkersConfig {
  std::string store;
  std::optional<NodeAddress> from;  // another node, whose jobs they do
  std::string token_file;
  std::vector<std::string> queues;
  uint32_t concurrency = 4;
  Duration timeout = std::chrono::minutes(5);
  static config::Fields<WorkersConfig> fields();
  void check(config::Checker& at) const;
};

struct JobsConfig {
  uint64_t max_waiting = queue::kMaxWaitingJobs;
  static config::Fields<JobsConfig> fields();
};

// dir:PATH
struct LogConfig {
  std::string path;
  static Result<LogConfig> from_text(std::string_view text);
  std::string to_text() const { return "dir:" + path; }
  static constexpr std::string_view kText = "dir:PATH such as dir:./data/events";
};

struct AccessLogSettings {
  std::string path;
  proxy::AccessLogConfig::Format format = proxy::AccessLogConfig::Format::json;
  std::vector<std::string> redact = proxy::AccessLogConfig{}.redact;
  static config::Fields<AccessLogSettings> fields();
  bool operator==(const AccessLogSettings&) const = default;
};

struct ObserveConfig {
  std::optional<AccessLogSettings> access_log;
  LogLevel log_level = LogLevel::info;
  LogFormat log_format = LogFormat::automatic;
  std::string explain_key_file;
  static config::Fields<ObserveConfig> fields();
};

struct RuntimeConfig {
  uint32_t cores = 0;
  IoKind io = IoKind::automatic;
  uint32_t blocking_threads = 4;
  Duration drain = std::chrono::seconds(30);
  Duration handover = std::chrono::hours(1);
  proxy::ShedConfig shed;
  static config::Fields<RuntimeConfig> fields();
};

// HOST:PORT, or with what lets other machines in.
struct ControlConfig {
  config::HostPort bind{.host = "127.0.0.1", .port = 9900, .form = config::HostPort::Form::ipv4};
  std::string token_file;
  static Result<ControlConfig> from_text(std::string_view text);
  std::string to_text() const { return bind.to_text(); }
  // Who steers the node comes over loopback. To an address that loopback does not reach even the node's own machine
  // comes as a stranger, so the node listens here, too; none: `bind` is reached that way.
  std::optional<config::HostPort> beside() const;
  static constexpr std::string_view kText = config::HostPort::kText;
  static config::Fields<ControlConfig> fields();
};
// A secret of 16 to 1,024 bytes, alone in a file.
Result<std::string> read_token(const std::string& path);

// Who is asked for names.
struct DnsConfig {
  std::vector<config::HostPort> servers;
  bool operator==(const DnsConfig&) const = default;
  static config::Fields<DnsConfig> fields();
  void check(config::Checker& at) const;
};

struct NodeConfig {
  std::string node;
  std::string state = "./data/state";
  ControlConfig control;
  std::map<std::string, ListenerConfig> listeners;
  DnsConfig dns;
  std::map<std::string, upstream::UpstreamConfig> upstreams;
  std::map<std::string, CacheConfig> caches;
  std::map<std::string, StoreConfig> stores;
  JobsConfig jobs;
  std::map<std::string, WorkersConfig> workers;
  std::map<std::string, LogConfig> logs;
  std::vector<config::Entry> services;
  std::vector<proxy::RouteConfig> routes;
  ObserveConfig observe;
  RuntimeConfig runtime;
  static config::Fields<NodeConfig> fields();
  void check(config::Checker& at) const;
  // Of this store's own jobs; four workers for every queue when `workers` does not name it.
  std::vector<queue::WorkerPlan> worker_plans(const std::string& store) const;
};

// What `trellis run` without a file runs: everything embedded, on http://localhost:8080.
std::string_view one_box_config() noexcept;

struct LoadedConfig {
  NodeConfig values;
  config::Node tree;
  std::string source;
};
// From a file, a directory, or the built-in one box ("" as path). The error's text holds every problem, a line each.
Result<LoadedConfig> load_config(const std::string& path, const std::vector<std::string>& sets);

}  // namespace trellis::app
