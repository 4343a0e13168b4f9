#include "app/config.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <set>

#include "config/load.h"
#include "net/address.h"
#include "proxy/filters/cache.h"
#include "queue/jobs_rows.h"
#include "services/links/links.h"
#include "services/mail/mail.h"
#include "services/mail/message.h"

namespace trellis::app {

using namespace std::chrono_literals;

config::Fields<ListenerConfig> ListenerConfig::fields() {
  return {
      {"bind", "address and port; 0.0.0.0 is every IPv4 interface, port 0 any free one", &ListenerConfig::bind,
       config::kRequired},
      {"tcp", "passes the bytes of connections on to an upstream, instead of HTTP", &ListenerConfig::tcp},
      {"udp", "passes datagrams on to an upstream, instead of HTTP", &ListenerConfig::udp},
      {"proxy_protocol",
       "who the client is, told ahead of its bytes: by a balancer before this node (in), or to the "
       "hosts of a tcp relay (v1, v2)",
       &ListenerConfig::proxy_protocol},
      {"idle_timeout", "how long a connection may stay without a request", &ListenerConfig::idle_timeout,
       config::range(1s, 24h)},
      {"head_timeout", "for a request's whole head, from its first byte", &ListenerConfig::head_timeout,
       config::range(100ms, 10min)},
      {"body_timeout", "between two pieces of a request's body", &ListenerConfig::body_timeout,
       config::range(100ms, 1h)},
      {"min_body_rate", "bytes a second that a body must keep up once body_timeout has passed; 0: any",
       &ListenerConfig::min_body_rate, config::unit("bytes/s")},
      {"send_timeout", "how long a client may take nothing of its answer", &ListenerConfig::send_timeout,
       config::range(100ms, 1h)},
      {"half_close_grace", "how long a request goes on waiting after its client ended its stream",
       &ListenerConfig::half_close_grace, config::range(0ms, 1h)},
      {"max_connections", "open at once on one core; more are closed at once", &ListenerConfig::max_connections,
       config::range(1, 10'000'000)},
      {"max_head", "a request's start line and fields", &ListenerConfig::max_head,
       config::size(1 * config::kKiB, 1 * config::kMiB)},
      {"max_start_line", "a request's first line", &ListenerConfig::max_start_line,
       config::size(256, 64 * config::kKiB)},
      {"max_fields", "header fields of a request", &ListenerConfig::max_fields, config::range(10, 1000)},
      {"merge_slashes", "several slashes in a path, and %2F, become one slash before a route is chosen",
       &ListenerConfig::merge_slashes},
      {"trusted",
       "addresses of the balancers and proxies before it, such as 10.0.0.0/8, whose word about the client counts, in "
       "fields and PROXY headers; absent: nobody's",
       &ListenerConfig::trusted},
      {"trusted_field", "the field in which trusted proxies name the client; the other is not read",
       &ListenerConfig::trusted_field,
       config::one_of<proxy::TrustedProxies::Reads>({{"x_forwarded_for", proxy::TrustedProxies::Reads::x_forwarded_for},
                                                     {"forwarded", proxy::TrustedProxies::Reads::forwarded}})},
  };
}

void ListenerConfig::check(config::Checker& at) const {
  if (auto address = net::parse_address(bind.to_text()); !address) {
    at.problem("bind", address.error().to_string(),
               "listen on a numeric address, on localhost, or on 0.0.0.0 for every interface");
  }
  at.at_most_one({"tcp", "udp"});
  if (trusted.empty() && trusted_field != proxy::TrustedProxies::Reads::x_forwarded_for)
    at.problem("trusted_field", "says how trusted proxies are read, but none is trusted", "name them in `trusted`");
  const bool header_in = proxy_protocol && proxy_protocol->in;
  if (header_in && trusted.empty())
    at.problem("proxy_protocol", "say whose headers are believed", "trusted: [10.0.0.0/8]");
  if ((tcp || udp) && !header_in && !trusted.empty()) at.problem("trusted", "of a relay is for proxy_protocol: in");
  if (proxy_protocol && proxy_protocol->out != net::ProxyVersion::none && !tcp)
    at.problem("proxy_protocol", "v1 and v2 are told to the hosts of a tcp relay", "proxy_protocol: in");
  if (udp && proxy_protocol) at.problem("proxy_protocol", "is for connections");
  if (!tcp && !udp) return;
  for (const char* key :
       {"idle_timeout", "head_timeout", "body_timeout", "min_body_rate", "send_timeout", "half_close_grace", "max_head",
        "max_start_line", "max_fields", "merge_slashes", "trusted_field"}) {
    if (at.given(key)) at.problem(key, "is for HTTP", "times of a relay stand in tcp and udp");
  }
  if (udp && at.given("max_connections")) at.problem("max_connections", "is for connections", "udp: { sessions: ... }");
}

std::string_view to_string(ListenerConfig::Kind kind) noexcept {
  switch (kind) {
    case ListenerConfig::Kind::http: return "http";
    case ListenerConfig::Kind::tcp: return "tcp";
    case ListenerConfig::Kind::udp: return "udp";
  }
  return "http";
}

net::AddressSet ListenerConfig::trusted_set() const {
  std::vector<net::AddressSet::Block> blocks;
  for (const proxy::AddressBlock& each : trusted) blocks.push_back(each.block);
  return net::AddressSet(std::move(blocks));
}

http::ServerOptions ListenerConfig::server_options(const std::string& name) const {
  http::ServerOptions options;
  options.listener = name;
  options.limits = {.max_start_line = max_start_line, .max_head = max_head, .max_fields = max_fields};
  options.idle_timeout = idle_timeout;
  options.head_timeout = head_timeout;
  options.body_timeout = body_timeout;
  options.min_body_rate = min_body_rate;
  options.send_timeout = send_timeout;
  options.half_close_grace = half_close_grace;
  options.max_connections = max_connections;
  if (proxy_protocol && proxy_protocol->in) {
    options.header_from = std::make_shared<const net::AddressSet>(trusted_set());
    options.header_timeout = proxy_protocol->timeout;
  }
  return options;
}

proxy::TrustedProxies ListenerConfig::trusted_proxies() const { return {trusted_set(), trusted_field}; }

config::Fields<CacheDiskConfig> CacheDiskConfig::fields() {
  return {{"path", "a folder for this cache alone; made when it is missing", &CacheDiskConfig::path, config::kRequired},
          {"size", "bytes it may hold", &CacheDiskConfig::size,
           config::size(1 * config::kMiB, 1024 * 1024 * config::kGiB)}};
}

config::Fields<CachePeersConfig> CachePeersConfig::fields() {
  return {{"upstream", "the edges of the cluster, this one as well: an upstream with balance: hash",
           &CachePeersConfig::upstream, config::kRequired},
          {"key_file", "the key they know each other by: 16 to 1,024 characters, alone in a file",
           &CachePeersConfig::key_file, config::kRequired},
          {"self", "this node among them, HOST:PORT; absent: whoever has an address of this node's listeners",
           &CachePeersConfig::self}};
}

config::Fields<CacheConfig> CacheConfig::fields() {
  using cache::EvictionPolicy;
  return {{"memory", "bytes it may hold", &CacheConfig::memory, config::size(1 * config::kMiB, 1024 * config::kGiB)},
          {"policy", "what is evicted first", &CacheConfig::policy,
           config::one_of<EvictionPolicy>({{"s3fifo", EvictionPolicy::s3fifo},
                                           {"w_tinylfu", EvictionPolicy::w_tinylfu},
                                           {"lru", EvictionPolicy::lru},
                                           {"fifo", EvictionPolicy::fifo},
                                           {"random", EvictionPolicy::random},
                                           {"ttl", EvictionPolicy::ttl}})},
          {"disk", "where answers of the `cache` filter are kept as well; absent: in memory only", &CacheConfig::disk},
          {"max_object", "largest body of an answer that the `cache` filter keeps", &CacheConfig::max_object,
           config::size(1, 16 * config::kGiB)},
          {"peers", "the other edges that share the objects of the `cache` filter, and are told of its purges",
           &CacheConfig::peers}};
}

Result<StoreConfig> StoreConfig::from_text(std::string_view text) {
  constexpr std::string_view kScheme = "sqlite:";
  if (!text.starts_with(kScheme) || text.size() == kScheme.size()) {
    return fail(Code::invalid_argument, "a store is sqlite:PATH");
  }
  return StoreConfig{.path = std::string(text.substr(kScheme.size()))};
}

config::Fields<WorkersConfig> WorkersConfig::fields() {
  return {
      {"store", "whose jobs they do; with `from`, its name there, which may be absent if there is one only",
       &WorkersConfig::store},
      {"from", "do jobs that another node keeps: its control address, such as http://10.0.0.5:9900",
       &WorkersConfig::from},
      {"token_file", "with `from`: the token of that node's control.token_file; not needed on the same machine",
       &WorkersConfig::token_file},
      {"queues", "the queues they take jobs from; absent: all of this node's services that no other entry names",
       &WorkersConfig::queues},
      {"concurrency", "jobs at once of each queue; 0: none, the jobs wait", &WorkersConfig::concurrency,
       config::range(0, queue::kMaxBatch)},
      {"timeout", "how long a job may take; then another worker may begin it anew", &WorkersConfig::timeout,
       config::range(1s, 24h)},
  };
}

void WorkersConfig::check(config::Checker& at) const {
  for (size_t i = 0; i < queues.size(); ++i) {
    if (!queue::is_job_name(queues[i]))
      at.problem("queues[" + std::to_string(i) + "]", "a queue's name is 1 to 64 of A-Z a-z 0-9 - _ .");
  }
  if (!from && store.empty()) at.problem("", "say whose jobs they do: store, or from for another node's");
  if (!from && !token_file.empty()) at.problem("token_file", "is for the jobs of another node: from");
  if (from && queues.empty()) at.problem("", "name the queues of the other node that they do", "queues: [mail]");
  if (from && !store.empty() && !queue::is_job_name(store))
    at.problem("store", "a store there is named with 1 to 64 of A-Z a-z 0-9 - _ .");
}

config::Fields<JobsConfig> JobsConfig::fields() {
  return {{"max_waiting", "ready and delayed jobs of a queue; more are refused until some are done",
           &JobsConfig::max_waiting, config::range(1, 1'000'000'000)}};
}

Result<NodeAddress> NodeAddress::from_text(std::string_view text) {
  constexpr std::string_view kScheme = "http://";
  if (!text.starts_with(kScheme)) return fail(Code::invalid_argument, "a node's address is http://HOST:PORT");
  TRY(config::HostPort at, config::HostPort::from_text(text.substr(kScheme.size())));
  return NodeAddress{std::move(at)};
}

Result<ControlConfig> ControlConfig::from_text(std::string_view text) {
  ControlConfig control;
  TRY(control.bind, config::HostPort::from_text(text));
  return control;
}

std::optional<config::HostPort> ControlConfig::beside() const {
  const std::string& host = bind.host;
  const bool any = host == "0.0.0.0" || host == "::" || host == "*";
  if (any || host == "localhost" || host == "::1" || host.starts_with("127.")) return std::nullopt;
  return config::HostPort{.host = "127.0.0.1", .port = bind.port, .form = config::HostPort::Form::ipv4};
}

config::Fields<ControlConfig> ControlConfig::fields() {
  return {{"bind", "address and port; beside an address of a network also 127.0.0.1, on the same port",
           &ControlConfig::bind},
          {"token_file", "a file with the secret that lets worker nodes on other machines in; needed beyond loopback",
           &ControlConfig::token_file}};
}

Result<std::string> read_token(const std::string& path) {
  constexpr size_t kLeast = 16;
  constexpr size_t kMost = 1024;
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), &std::fclose);
  if (!file) return fail(errno_error(path, errno));
  std::string token(kMost + 2, '\0');
  token.resize(std::fread(token.data(), 1, token.size(), file.get()));
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  const auto printable = [](char c) { return c > 0x20 && c < 0x7F; };
  if (token.size() < kLeast || token.size() > kMost || !std::ranges::all_of(token, printable))
    return fail(Code::invalid_argument, path + ": a token is one line of 16 to 1,024 characters without spaces");
  return token;
}

Result<LogConfig> LogConfig::from_text(std::string_view text) {
  constexpr std::string_view kScheme = "dir:";
  if (!text.starts_with(kScheme) || text.size() == kScheme.size()) {
    return fail(Code::invalid_argument, "a log is dir:PATH");
  }
  return LogConfig{.path = std::string(text.substr(kScheme.size()))};
}

config::Fields<AccessLogSettings> AccessLogSettings::fields() {
  using Format = proxy::AccessLogConfig::Format;
  return {{"path", "the file; stdout and stderr name the streams", &AccessLogSettings::path, config::kRequired},
          {"format", "one JSON object a line, or the combined format of Apache and nginx", &AccessLogSettings::format,
           config::one_of<Format>({{"json", Format::json}, {"combined", Format::combined}})},
          {"redact", "query parameters whose names end so have their values replaced", &AccessLogSettings::redact}};
}

config::Fields<ObserveConfig> ObserveConfig::fields() {
  return {{"access_log", "a line for every request; absent: none", &ObserveConfig::access_log},
          {"log_level", "of the node's own log, on standard error", &ObserveConfig::log_level,
           config::one_of<LogLevel>({{"debug", LogLevel::debug},
                                     {"info", LogLevel::info},
                                     {"warn", LogLevel::warn},
                                     {"error", LogLevel::error},
                                     {"off", LogLevel::off}})},
          {"log_format", "automatic: text on a terminal, JSON elsewhere", &ObserveConfig::log_format,
           config::one_of<LogFormat>(
               {{"automatic", LogFormat::automatic}, {"text", LogFormat::text}, {"json", LogFormat::json}})},
          {"explain_key_file",
           "a file with the secret that X-Trellis-Explain brings to be told why; without it only `trellis ctl explain` "
           "on this machine knows one",
           &ObserveConfig::explain_key_file}};
}

config::Fields<RuntimeConfig> RuntimeConfig::fields() {
  return {
      {"cores", "event loops, one thread each; 0: as many as the process may run on", &RuntimeConfig::cores,
       config::range(0, 64)},
      {"io", "automatic: io_uring where the kernel allows it, else epoll", &RuntimeConfig::io,
       config::one_of<IoKind>({{"automatic", IoKind::automatic}, {"uring", IoKind::uring}, {"epoll", IoKind::epoll}})},
      {"blocking_threads", "threads for calls that block", &RuntimeConfig::blocking_threads, config::range(1, 256)},
      {"drain", "how long requests in flight may take to end when the node stops", &RuntimeConfig::drain,
       config::range(0s, 1h)},
      {"handover",
       "how long connections that last, such as WebSockets, may stay with the old process after `trellis ctl upgrade`",
       &RuntimeConfig::handover, config::range(0s, 24h * 7)},
      {"shed", "what a node that has too much to do refuses", &RuntimeConfig::shed}};
}

config::Fields<DnsConfig> DnsConfig::fields() {
  return {{"servers",
           "ADDRESS:PORT of the servers that are asked, the next one when one fails; absent: those of /etc/resolv.conf",
           &DnsConfig::servers}};
}

void DnsConfig::check(config::Checker& at) const {
  for (size_t i = 0; i < servers.size(); ++i) {
    if (servers[i].form == config::HostPort::Form::name || servers[i].port == 0)
      at.problem("servers[" + std::to_string(i) + "]", "a server is a numeric address with its port", "127.0.0.1:53");
  }
}

config::Fields<NodeConfig> NodeConfig::fields() {
  return {
      {"node", "the node's name in logs, metrics and Via", &NodeConfig::node, config::default_is("the host's name")},
      {"control", "where /metrics, the control API and its health answers listen", &NodeConfig::control},
      {"state", "the folder where changes made at run time are kept; a change needs a restart", &NodeConfig::state},
      {"listeners", "where clients come in, by name", &NodeConfig::listeners},
      {"dns", "who is asked for the names of upstreams' hosts", &NodeConfig::dns},
      {"upstreams", "groups of servers that requests are forwarded to, by name", &NodeConfig::upstreams},
      {"caches", "memory, and disk, for what services and routes ask for often, by name", &NodeConfig::caches},
      {"stores", "databases, by name", &NodeConfig::stores},
      {"jobs", "limits of the jobs of the stores; a change needs a restart", &NodeConfig::jobs},
      {"workers", "who does the jobs of the stores, by name; absent: 4 at once of each queue", &NodeConfig::workers},
      {"logs", "event logs, by name: what happened, kept in order and read by workers", &NodeConfig::logs},
      {"services", "what this node answers itself", &NodeConfig::services, config::keyed([] {
         return std::vector<config::KindOf>{
             config::kind<services::links::LinksConfig>("links", "short links: create, redirect, count"),
             config::kind<services::mail::MailConfig>("mail",
                                                      "sends the mail that jobs ask for; no route leads to it")};
       })},
      {"routes", "which request goes where; the most specific match wins", &NodeConfig::routes},
      {"observe", "logs", &NodeConfig::observe},
      {"runtime", "threads and I/O; a change needs a restart", &NodeConfig::runtime},
  };
}

namespace {
template <class Map>
std::vector<std::string_view> names_of(const Map& map) {
  std::vector<std::string_view> names;
  for (const auto& [name, value] : map) names.push_back(name);
  return names;
}
}  // namespace

void NodeConfig::check(config::Checker& at) const {
  const bool works_for_others =
      std::ranges::any_of(workers, [](const auto& one) { return one.second.from.has_value(); });
  if (listeners.empty() && !works_for_others)
    at.problem("", "there are no listeners: nothing could reach this node",
               "listeners: { web: { bind: \"127.0.0.1:8080\" } }");
  std::vector<std::string_view> listener_names;  // that routes may be for
  for (const auto& [name, listener] : listeners) {
    if (listener.kind() == ListenerConfig::Kind::http) listener_names.push_back(name);
  }
  proxy::check_routes(routes, "routes", at, listener_names);
  const std::vector<std::string_view> upstream_names = names_of(upstreams);
  std::vector<std::string_view> service_names;
  for (const config::Entry& entry : services) {
    if (!entry.as<services::mail::MailConfig>()) service_names.push_back(entry.name);
  }
  for (size_t i = 0; i < routes.size(); ++i) {
    const std::vector<std::string>& where = routes[i].match.listeners;
    for (size_t j = 0; j < where.size(); ++j) {
      at.must_be_known("routes[" + std::to_string(i) + "].match.listeners[" + std::to_string(j) + "]", "listener",
                       where[j], listener_names);
    }
    for (size_t j = 0; j < routes[i].filters.size(); ++j) {
      if (const auto* cached = routes[i].filters[j].as<proxy::CacheFilterConfig>()) {
        at.must_be_known("routes[" + std::to_string(i) + "].filters[" + std::to_string(j) + "].cache.in", "cache",
                         cached->in, names_of(caches));
      }
    }
    for (const auto& [path, to] : proxy::targets_of(routes[i])) {
      const std::string place = "routes[" + std::to_string(i) + "]." + path;
      using Kind = proxy::TargetConfig::Kind;
      if (to->which() == Kind::upstream) at.must_be_known(place, "upstream", to->name, upstream_names);
      if (to->which() == Kind::service) at.must_be_known(place, "service", to->name, service_names);
    }
  }
  for (const auto& [name, cache] : caches) {
    if (!cache.peers) continue;
    const std::string place = "caches." + name + ".peers.upstream";
    at.must_be_known(place, "upstream", cache.peers->upstream, upstream_names);
    const auto members = upstreams.find(cache.peers->upstream);
    if (members == upstreams.end()) continue;
    const upstream::Balance balance = members->second.balance;
    if (balance != upstream::Balance::hash && balance != upstream::Balance::maglev)
      at.problem(place, "each object has one owner, by its key", "balance: hash for that upstream");
  }
  for (const auto& [name, listener] : listeners) {
    const std::string place = "listeners." + name;
    const auto known = [&](const std::string& child, const proxy::RelayTarget& to) {
      if (!to.upstream.empty()) at.must_be_known(place + child, "upstream", to.upstream, upstream_names);
    };
    if (listener.udp) known(".udp.to", listener.udp->to);
    if (!listener.tcp) continue;
    known(".tcp.to", listener.tcp->to);
    for (size_t i = 0; i < listener.tcp->routes.size(); ++i)
      known(".tcp.routes[" + std::to_string(i) + "].to", listener.tcp->routes[i].to);
  }
  for (const config::Entry& entry : services) {
    if (const auto* links = entry.as<services::links::LinksConfig>()) {
      at.must_be_known("services." + entry.name + ".store", "store", links->store, names_of(stores));
      at.must_be_known("services." + entry.name + ".cache", "cache", links->cache, names_of(caches));
      if (!links->log.empty()) at.must_be_known("services." + entry.name + ".log", "log", links->log, names_of(logs));
    }
  }
  for (const config::Entry& entry : services) {
    if (const auto* mail = entry.as<services::mail::MailConfig>()) {
      const auto brings_mail = [](const auto& one) {
        return one.second.from && std::ranges::count(one.second.queues, services::mail::kMailQueue) > 0;
      };
      if (!mail->store.empty()) {
        at.must_be_known("services." + entry.name + ".store", "store", mail->store, names_of(stores));
      } else if (std::ranges::none_of(workers, brings_mail)) {
        at.problem("services." + entry.name, "nobody gives it mail to send",
                   "store: for this node's jobs, or workers with from: and the queue mail for another's");
      }
    }
  }
  for (const auto& [name, worker] : workers) {
    if (!worker.from && !worker.store.empty())
      at.must_be_known("workers." + name + ".store", "store", worker.store, names_of(stores));
  }
  // SO_REUSEPORT would let them share it, and each connection would reach one of them by chance.
  std::map<std::string, std::string> binds;
  if (control.bind.port != 0) {
    binds.emplace(control.bind.to_text(), "control");
    if (const auto beside = control.beside())
      binds.emplace(beside->to_text(), "control (which listens on loopback, too)");
  }
  for (const auto& [name, listener] : listeners) {
    if (listener.bind.port == 0) continue;
    // TCP and UDP have ports of their own.
    const std::string bound = listener.bind.to_text() + (listener.udp ? " udp" : "");
    const auto [taken, added] = binds.emplace(bound, "listeners." + name);
    if (!added)
      at.problem("listeners." + name + ".bind", taken->second + " has the same address", "one address, one listener");
  }
  std::set<std::string> paths;
  for (const auto& [name, store] : stores) {
    if (!paths.insert(store.path).second)
      at.problem("stores." + name, "another store has the same file", "one file, one store");
  }
  for (const auto& [name, log] : logs) {
    if (!paths.insert(log.path).second)
      at.problem("logs." + name, "a store or another log has the same path", "one folder, one log");
  }
  const std::string& host = control.bind.host;
  if (host != "127.0.0.1" && host != "::1" && host != "localhost" && control.token_file.empty()) {
    at.problem("control", "without a token the control API may listen on loopback only",
               "use 127.0.0.1 or [::1], or let worker nodes in: control: { bind: ..., token_file: ... }");
  }
}

std::vector<queue::WorkerPlan> NodeConfig::worker_plans(const std::string& store) const {
  std::vector<queue::WorkerPlan> plans;
  for (const auto& [name, worker] : workers) {
    if (!worker.from && worker.store == store)
      plans.push_back(
          {.queues = worker.queues, .remote = nullptr, .concurrency = worker.concurrency, .timeout = worker.timeout});
  }
  if (plans.empty()) plans.emplace_back();
  return plans;
}

std::string_view one_box_config() noexcept {
  return R"(# One box: short links on http://localhost:8080, everything embedded, data in ./data.
node: box
control: 127.0.0.1:9900
listeners:
  web: { bind: "127.0.0.1:8080" }
stores:
  main: sqlite:./data/trellis.db
caches:
  hot: { memory: 64MiB }
logs:
  events: dir:./data/events
services:
  links: { store: main, cache: hot, log: events, base_url: "http://localhost:8080" }
routes:
  - { name: page, match: { path: /, methods: [GET] }, to: page }
  - { name: page, match: { path: /_trellis/**, methods: [GET] }, to: page }
  - { name: status, match: { path: /v1/status, methods: [GET] }, to: status }
  - { name: links, match: { path: /** }, to: service.links }
observe:
  access_log: { path: ./data/access.log }
)";
}

Result<LoadedConfig> load_config(const std::string& path, const std::vector<std::string>& sets) {
  config::Problems problems;
  const config::LoadOptions options{config::process_environment(), sets};
  LoadedConfig loaded;
  loaded.source = path.empty() ? "one-box" : path;
  loaded.tree = path.empty() ? config::parse(one_box_config(), "one-box", options, problems)
                             : config::load(path, options, problems);
  std::optional<NodeConfig> values = config::read<NodeConfig>(loaded.tree, problems);
  if (!values) return fail(Code::invalid_argument, problems.to_string());
  loaded.values = *std::move(values);
  if (loaded.values.node.empty()) {
    char name[256] = "";
    ::gethostname(name, sizeof name - 1);
    loaded.values.node = name;
  }
  return loaded;
}

}  // namespace trellis::app
