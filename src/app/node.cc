#include "app/node.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <tuple>

#include "app/control.h"
#include "app/open_store.h"
#include "app/page_target.h"
#include "app/remote_jobs.h"
#include "app/status.h"
#include "app/tiers.h"
#include "base/log.h"
#include "cache/memory_cache.h"
#include "config/diff.h"
#include "http/routes.h"
#include "http/server.h"
#include "net/address.h"
#include "proxy/access_log.h"
#include "proxy/forward.h"
#include "proxy/pipeline.h"
#include "queue/event_log.h"
#include "queue/jobs_sqlite.h"
#include "queue/schedule_runner.h"
#include "queue/service_jobs.h"
#include "runtime/socket.h"
#include "services/links/links.h"
#include "services/mail/mail.h"
#include "services/service.h"
#include "store/sqlite.h"
#include "upstream/cluster.h"

namespace trellis::app {

namespace {

constexpr Duration kServiceTimeout = std::chrono::seconds(30);  // for what a service waits for: store, cache

// A started service with its routes. Requests in flight keep it; the node stops it when the last one is gone.
struct RunningService {
  services::Env env;
  std::string store;                         // its name
  std::unique_ptr<queue::ServiceJobs> jobs;  // of core 0
  std::unique_ptr<services::Service> service;
  http::Routes routes;
  std::shared_ptr<void> keeps;  // its store and cache
};

struct OpenEventLog {
  LogConfig config;
  std::unique_ptr<queue::EventLog> log;
};
struct OpenCache {
  CacheConfig config;
  std::unique_ptr<cache::MemoryCache> cache;
};
struct OpenLog {
  AccessLogSettings settings;
  std::shared_ptr<proxy::AccessLog> log;
};
struct ResolvedUpstream {
  uint64_t serial = 0;  // changes with its configuration or addresses
  upstream::UpstreamConfig config;
  std::vector<upstream::Host> hosts;
};

// One configuration as running parts that all cores share.
struct Generation {
  LoadedConfig config;
  std::map<std::string, std::shared_ptr<OpenStore>> stores;
  std::map<std::string, std::shared_ptr<OpenCache>> caches;
  std::map<std::string, std::shared_ptr<OpenEventLog>> logs;
  std::map<std::string, std::shared_ptr<RunningService>> services;
  std::vector<queue::WorkerPlan> remote_plans;  // jobs of other nodes
  std::map<std::string, ResolvedUpstream> upstreams;
  std::shared_ptr<OpenLog> access_log;
  std::shared_ptr<const proxy::Router> router;
};

struct CoreListener {
  std::unique_ptr<http::Server> server;
  std::unique_ptr<Acceptor> acceptor;
};
struct CoreCluster {
  uint64_t serial = 0;
  std::shared_ptr<upstream::Cluster> cluster;
};
// What one core owns. Touched on that core only.
struct CoreState {
  std::map<std::string, CoreListener> listeners;
  std::map<std::string, CoreCluster> clusters;
  // Built by prepare(), put to use by commit().
  std::map<std::string, CoreCluster> next_clusters;
  std::map<std::string, std::shared_ptr<proxy::Pipeline>> next_pipelines;
  TaskGroup draining;  // servers of listeners that are gone
  TaskGroup waiting;   // who waits for them at the stop
};

struct ListeningSockets {
  config::HostPort bind;
  net::Address address;
  std::vector<int> fds;  // one a core
  void close() noexcept {
    for (const int fd : fds) ::close(fd);
    fds.clear();
  }
};

class StatusTarget final : public http::Handler {
 public:
  explicit StatusTarget(const Node& node) noexcept : node_(node) {}
  Task<Result<http::Response>> handle(http::Request&, http::RequestContext& context) override {
    http::Response response(context.arena);
    response.fields.add(http::FieldId::content_type, "application/json");
    response.fields.add(http::FieldId::cache_control, "no-store");
    response.body = http::Body(node_.status_json());
    co_return response;
  }

 private:
  const Node& node_;
};

// The target `service.NAME`: the service's routes, and the health answers that every service gives.
class ServiceTarget final : public http::Handler {
 public:
  ServiceTarget(const Node& node, http::Handler& routes, std::shared_ptr<void> keeps) noexcept
      : node_(node), routes_(routes), keeps_(std::move(keeps)) {}
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override {
    if (request.path == "/healthz" || request.path == "/readyz") [[unlikely]]
      return health(request, context);
    return routes_.handle(request, context);
  }

 private:
  Task<Result<http::Response>> health(http::Request& request, http::RequestContext& context) {
    const bool good = request.path == "/healthz" || node_.ready();
    http::Response response(context.arena, good ? 200 : 503);
    response.fields.add(http::FieldId::content_type, "text/plain");
    response.fields.add(http::FieldId::cache_control, "no-store");
    response.body = http::Body::of_static(good ? "ok\n" : "not ready\n");
    co_return response;
  }

  const Node& node_;
  http::Handler& routes_;
  std::shared_ptr<void> keeps_;
};

}  // namespace

struct Node::Impl {
  Node* self = nullptr;
  Metrics metrics;
  Time started = system_clock().now();
  std::unique_ptr<Cores> cores;
  std::vector<std::unique_ptr<CoreState>> states;
  std::shared_ptr<Generation> current;
  std::vector<std::shared_ptr<Generation>> replaced;  // still used by requests in flight
  std::vector<std::shared_ptr<RunningService>> retired;
  std::vector<std::shared_ptr<OpenStore>> retired_stores;
  std::map<std::string, ListeningSockets> sockets;
  mutable std::mutex listeners_mutex;  // sockets is read by status requests
  mutable std::mutex stores_mutex;
  std::map<std::string, std::shared_ptr<OpenStore>> open_stores;           // of `current`, for the control API
  std::map<std::string, std::shared_ptr<queue::EventLog>> open_logs;       // likewise
  std::map<std::string, std::shared_ptr<cache::MemoryCache>> open_caches;  // likewise
  std::map<std::string, std::shared_ptr<proxy::RouteFigures>> figures;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<proxy::RouteCounts>> counts;
  std::vector<std::shared_ptr<void>> gauges;
  std::vector<std::shared_ptr<void>> connection_gauges;  // of the current upstreams
  uint64_t next_serial = 1;
  std::atomic<bool> ready{false};
  bool stopped = false;

  std::shared_ptr<Control> control;
  std::unique_ptr<http::Server> control_server;  // of core 0
  std::vector<std::unique_ptr<Acceptor>> control_acceptors;
  std::vector<int> control_fds;
  net::Address control_address;
  std::unique_ptr<Status> status;
  std::unique_ptr<Event> sampling_ends;   // of core 0
  std::unique_ptr<TaskGroup> background;  // of core 0

  Result<> open_shared(Generation& next, const Generation* before);
  Result<> open_services(Generation& next, const Generation* before);
  Result<> open_mail(Generation& next, const Generation* before, const std::string& name,
                     const services::mail::MailConfig& mail);
  Result<> start_service(Generation& next, const std::string& name, const std::string& store,
                         std::unique_ptr<services::Service> service, std::shared_ptr<void> keeps);
  Result<> check_queues(const Generation& next) const;
  Result<> put_schedules(const Generation& next, const Generation* before);
  void begin_jobs(const Generation& next, const Generation* before);
  Result<std::map<std::string, ListeningSockets>> open_sockets(const NodeConfig& values);
  Result<> prepare(size_t core, const std::shared_ptr<Generation>& next);
  Result<std::unique_ptr<http::Handler>> make_target(CoreState& state, const Generation& next,
                                                     const proxy::RouteConfig& route);
  void commit(size_t core, const std::shared_ptr<Generation>& next,
              const std::map<std::string, ListeningSockets>& listening);
  void drop_prepared();
  void stop_service(RunningService& service, Duration patience);
  void retire_unused();
  void watch();
  void set_tiers();
  void watch_connections();
};

namespace {

Result<> make_parent(const std::string& path) {
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (parent.empty()) return {};
  std::error_code error;
  std::filesystem::create_directories(parent, error);
  if (error)
    return fail(Code::failed_precondition, "cannot make the folder " + parent.string() + ": " + error.message());
  return {};
}

template <config::HasFields T>
bool same(const config::Node& before, const config::Node& now, std::string_view path) {
  return config::diff<T>(before.descend(path), now.descend(path)).empty();
}

Task<> sample_status(Status& status, Event& ends) {
  while (true) {
    status.sample(Loop::current().now());
    const bool over = co_await ends.wait(after(Loop::current().now(), std::chrono::seconds(1)));
    if (over) co_return;
  }
}

Task<> drain_server(std::unique_ptr<http::Server> server, std::unique_ptr<Acceptor> acceptor, Duration patience) {
  acceptor->stop();
  const bool drained = co_await server->drain(after(Loop::current().now(), patience));
  if (!drained) log_warn("connections were cut after the drain time", {{"left", server->connections()}});
}

}  // namespace

// --- building the parts that all cores share ---

Result<> Node::Impl::open_shared(Generation& next, const Generation* before) {
  const NodeConfig& values = next.config.values;
  for (const auto& [name, config] : values.stores) {
    if (before) {
      const auto old = before->stores.find(name);
      if (old != before->stores.end() && old->second->config.path == config.path) {
        next.stores[name] = old->second;
        continue;
      }
    }
    TRY_VOID(make_parent(config.path));
    TRY(next.stores[name], open_store(name, config, values.jobs, metrics, *cores));
  }
  for (const auto& [name, config] : values.caches) {
    if (before) {
      const auto old = before->caches.find(name);
      if (old != before->caches.end() && old->second->config == config) {
        next.caches[name] = old->second;
        continue;
      }
    }
    next.caches[name] = std::make_shared<OpenCache>(OpenCache{
        config,
        std::make_unique<cache::MemoryCache>(
            cache::MemoryCacheOptions{.name = name, .capacity = config.memory, .policy = config.policy}, metrics)});
  }
  for (const auto& [name, config] : values.logs) {
    if (before) {
      const auto old = before->logs.find(name);
      if (old != before->logs.end() && old->second->config.path == config.path) {
        next.logs[name] = old->second;
        continue;
      }
    }
    queue::EventLogOptions options;
    options.name = name;
    options.folder = config.path;
    auto opened = queue::EventLog::open(std::move(options), metrics);
    if (!opened) return fail(Error(opened.error().code(), "logs." + name).because(std::move(opened).error()));
    next.logs[name] = std::make_shared<OpenEventLog>(OpenEventLog{config, *std::move(opened)});
  }
  TRY(next.remote_plans,
      plans_of_other_nodes(values, before ? before->remote_plans : std::vector<queue::WorkerPlan>{}));
  if (const auto& settings = values.observe.access_log) {
    if (before && before->access_log && before->access_log->settings == *settings) {
      next.access_log = before->access_log;
    } else {
      TRY_VOID(make_parent(settings->path));
      proxy::AccessLogConfig config;
      config.path = settings->path;
      config.format = settings->format;
      config.redact = settings->redact;
      TRY(auto log, proxy::AccessLog::open(config, values.node));
      next.access_log = std::make_shared<OpenLog>(OpenLog{*settings, std::move(log)});
    }
  }
  for (const auto& [name, config] : values.upstreams) {
    ResolvedUpstream resolved{.config = config};
    auto hosts = upstream::resolve_hosts(config);
    if (!hosts) return fail(Error(hosts.error().code(), "upstreams." + name).because(std::move(hosts).error()));
    resolved.hosts = *std::move(hosts);
    resolved.serial = next_serial++;
    if (before) {
      const auto old = before->upstreams.find(name);
      const auto same_host = [](const upstream::Host& a, const upstream::Host& b) {
        return a.name == b.name && a.address.to_string() == b.address.to_string();
      };
      if (old != before->upstreams.end() &&
          same<upstream::UpstreamConfig>(before->config.tree, next.config.tree, config::path_step("upstreams", name)) &&
          std::ranges::equal(old->second.hosts, resolved.hosts, same_host)) {
        resolved.serial = old->second.serial;
      }
    }
    next.upstreams[name] = std::move(resolved);
  }
  next.router = std::make_shared<const proxy::Router>(proxy::make_router(values.routes));
  return {};
}

Result<> Node::Impl::open_services(Generation& next, const Generation* before) {
  for (const config::Entry& entry : next.config.values.services) {
    if (const auto* mail = entry.as<services::mail::MailConfig>()) {
      TRY_VOID(open_mail(next, before, entry.name, *mail));
      continue;
    }
    const auto* links = entry.as<services::links::LinksConfig>();
    TRELLIS_ASSERT(links);
    const auto& store = next.stores.at(links->store);
    const auto& cache = next.caches.at(links->cache);
    const std::shared_ptr<OpenEventLog> log = links->log.empty() ? nullptr : next.logs.at(links->log);
    if (before) {
      const auto old = before->services.find(entry.name);
      if (old != before->services.end() && before->stores.contains(links->store) &&
          before->stores.at(links->store) == store && before->caches.contains(links->cache) &&
          before->caches.at(links->cache) == cache &&
          (!log || (before->logs.contains(links->log) && before->logs.at(links->log) == log)) &&
          same<services::links::LinksConfig>(before->config.tree, next.config.tree, "services." + entry.name) &&
          !old->second->service->files_changed()) {
        next.services[entry.name] = old->second;
        continue;
      }
    }
    auto keeps = std::make_shared<
        std::tuple<std::shared_ptr<OpenStore>, std::shared_ptr<OpenCache>, std::shared_ptr<OpenEventLog>>>(store, cache,
                                                                                                           log);
    TRY_VOID(start_service(next, entry.name, links->store,
                           std::make_unique<services::links::LinksService>(*links, *store->store, *cache->cache,
                                                                           log ? log->log.get() : nullptr),
                           std::move(keeps)));
  }
  return {};
}

Result<> Node::Impl::open_mail(Generation& next, const Generation* before, const std::string& name,
                               const services::mail::MailConfig& mail) {
  const auto store_in = [&mail](const Generation& generation) -> std::shared_ptr<OpenStore> {
    const auto found = generation.stores.find(mail.store);
    return found == generation.stores.end() ? nullptr : found->second;
  };
  const std::shared_ptr<OpenStore> store = store_in(next);  // null: only jobs of other nodes
  if (before) {
    const auto old = before->services.find(name);
    if (old != before->services.end() && store_in(*before) == store &&
        same<services::mail::MailConfig>(before->config.tree, next.config.tree, "services." + name)) {
      next.services[name] = old->second;
      return {};
    }
  }
  return start_service(next, name, mail.store, std::make_unique<services::mail::MailService>(mail), store);
}

Result<> Node::Impl::start_service(Generation& next, const std::string& name, const std::string& store,
                                   std::unique_ptr<services::Service> service, std::shared_ptr<void> keeps) {
  auto jobs = cores->run_on(0, [&] {
    const std::string& node = next.config.values.node;
    if (store.empty()) return std::make_unique<queue::ServiceJobs>(node);
    const OpenStore& its_store = *next.stores.at(store);
    return std::make_unique<queue::ServiceJobs>(*its_store.jobs, *its_store.schedules, node);
  });
  queue::ServiceJobs* const its_jobs = jobs.get();
  auto running = std::make_shared<RunningService>(RunningService{.env = {.loop = cores->loop(0),
                                                                         .cores = cores->size(),
                                                                         .metrics = metrics,
                                                                         .clock = system_clock(),
                                                                         .jobs = its_jobs},
                                                                 .store = store,
                                                                 .jobs = std::move(jobs),
                                                                 .service = std::move(service),
                                                                 .routes = {},
                                                                 .keeps = std::move(keeps)});
  Result<> ok = cores->finish_on(0, [&running] { return running->service->start(running->env); });
  if (!ok) {
    cores->run_on(0, [&running] {
      running->service.reset();
      running->jobs.reset();
    });
    return fail(Error(ok.error().code(), "services." + name).because(std::move(ok).error()));
  }
  running->service->mount(running->routes);
  next.services[name] = std::move(running);
  return {};
}

// A queue belongs to one service: the workers of another would know no handler for its jobs.
Result<> Node::Impl::check_queues(const Generation& next) const {
  std::map<std::pair<std::string, std::string>, std::string> owners;  // by store and queue
  for (const auto& [name, service] : next.services) {
    for (const std::string& queue : service->jobs->queues()) {
      const auto [owner, added] = owners.emplace(std::pair(service->store, queue), name);
      if (!added)
        return fail(Code::failed_precondition,
                    "services." + name + " and services." + owner->second + " both use the queue " + queue);
    }
  }
  return {};
}

Result<> Node::Impl::put_schedules(const Generation& next, const Generation* before) {
  for (const auto& [name, service] : next.services) {
    if (before && before->services.contains(name) && before->services.at(name) == service) continue;
    Result<> put =
        cores->finish_on(0, [&] { return service->jobs->put_schedules(after(system_clock().now(), kServiceTimeout)); });
    if (!put)
      return fail(Error(put.error().code(), "services." + name + ": schedules").because(std::move(put).error()));
  }
  return {};
}

// The new configuration stands: its workers begin, those of services that it replaces leave, and schedules that no
// service has any more are taken away.
void Node::Impl::begin_jobs(const Generation& next, const Generation* before) {
  const NodeConfig& values = next.config.values;
  std::set<std::pair<std::string, std::string>> served;  // stores and queues
  std::set<std::string> movable;                         // queues whose jobs of other nodes can be done
  for (const auto& [name, service] : next.services) {
    for (const std::string& queue : service->jobs->queues()) served.emplace(service->store, queue);
    std::vector<queue::WorkerPlan> plans;
    if (!service->store.empty()) plans = values.worker_plans(service->store);
    plans.insert(plans.end(), next.remote_plans.begin(), next.remote_plans.end());
    cores->run_on(0, [&] { service->jobs->work(plans, values.runtime.drain); });
    for (const std::string& queue : service->jobs->movable_queues()) movable.insert(queue);
  }
  for (const auto& [name, worker] : values.workers) {
    for (const std::string& queue : worker.queues) {
      if (worker.from ? !movable.contains(queue) : !served.contains({worker.store, queue}))
        log_warn("no service of this node does the jobs of this queue", {{"workers", name}, {"queue", queue}});
    }
  }
  std::set<std::pair<queue::ScheduleRunner*, std::string>> wanted;
  for (const auto& [name, service] : next.services) {
    for (const queue::Schedule& schedule : service->jobs->schedules())
      wanted.emplace(next.stores.at(service->store)->schedules.get(), schedule.name);
  }
  if (before) {
    for (const auto& [name, service] : before->services) {
      if (next.services.contains(name) && next.services.at(name) == service) continue;
      cores->run_on(0, [&] { service->jobs->work({}, values.runtime.drain); });
      if (service->store.empty()) continue;  // and so without schedules
      queue::ScheduleRunner* runner = before->stores.at(service->store)->schedules.get();
      for (const queue::Schedule& schedule : service->jobs->schedules()) {
        if (wanted.contains({runner, schedule.name})) continue;
        auto removed = cores->finish_on(
            0, [&] { return runner->remove(schedule.name, after(system_clock().now(), kServiceTimeout)); });
        if (!removed)
          log_warn("a schedule could not be removed",
                   {{"schedule", schedule.name}, {"error", removed.error().to_string()}});
      }
    }
    for (const auto& [name, store] : before->stores) {
      if (!next.stores.contains(name) || next.stores.at(name) != store) retired_stores.push_back(store);
    }
  }
  for (const auto& [name, store] : next.stores) run_schedules(*store, *cores);
  const std::lock_guard lock(stores_mutex);
  open_stores = next.stores;
  open_logs.clear();
  for (const auto& [name, log] : next.logs) open_logs[name] = std::shared_ptr<queue::EventLog>(log, log->log.get());
  open_caches.clear();
  for (const auto& [name, cache] : next.caches)
    open_caches[name] = std::shared_ptr<cache::MemoryCache>(cache, cache->cache.get());
}

void Node::Impl::stop_service(RunningService& service, Duration patience) {
  const Deadline deadline = after(system_clock().now(), patience);
  const bool jobs_ended = cores->finish_on(0, [&] { return service.jobs->stop(deadline); });
  if (!jobs_ended) log_warn("jobs were cut at the stop and given back", {});
  Result<> stopped_well = cores->finish_on(0, [&] { return service.service->stop(deadline); });
  if (!stopped_well) log_error("a service did not stop cleanly", {{"error", stopped_well.error().to_string()}});
  cores->run_on(0, [&] {
    service.service.reset();
    service.jobs.reset();
  });
}

// Services that a reload replaced are stopped when no request uses them any more.
void Node::Impl::retire_unused() {
  // Here and not on a loop: closing a store or a log file blocks.
  std::erase_if(replaced, [](const auto& generation) { return generation.use_count() == 1; });
  std::erase_if(retired, [this](std::shared_ptr<RunningService>& service) {
    if (service.use_count() > 1) return false;
    // A job that is still at work ends by itself or is cut; the reload does not wait for it.
    if (!cores->run_on(0, [&service] { return service->jobs->idle(); })) return false;
    stop_service(*service, current->config.values.runtime.drain);
    return true;
  });
  std::erase_if(retired_stores, [this](std::shared_ptr<OpenStore>& store) {
    if (store.use_count() > 1) return false;
    close_store(*store, *cores);
    return true;
  });
}

// --- listening ---

Result<std::map<std::string, ListeningSockets>> Node::Impl::open_sockets(const NodeConfig& values) {
  std::map<std::string, ListeningSockets> opened;
  const auto give_up = [&](Error error) {
    for (auto& [name, listening] : opened) listening.close();
    return std::unexpected<Error>(std::move(error));
  };
  for (const auto& [name, config] : values.listeners) {
    const auto old = sockets.find(name);
    if (old != sockets.end() && old->second.bind == config.bind) continue;
    ListeningSockets listening{.bind = config.bind, .address = {}, .fds = {}};
    auto address = net::parse_address(config.bind.to_text());
    if (!address)
      return give_up(Error(Code::invalid_argument, "listeners." + name).because(std::move(address).error()));
    listening.address = *address;
    if (sockets.empty()) {  // at the start; later the port may be one of our own that is just going
      if (auto free = net::probe_free(*address); !free) {
        return give_up(Error(free.error().code(), "listeners." + name).because(std::move(free).error()));
      }
    }
    for (size_t core = 0; core < cores->size(); ++core) {
      auto fd = net::listen_tcp(listening.address);
      if (!fd) {
        listening.close();
        return give_up(Error(fd.error().code(), "listeners." + name).because(std::move(fd).error()));
      }
      listening.fds.push_back(*fd);
      listening.address = net::local_of(*fd);  // port 0 has become a real one, the same for every core
    }
    opened.emplace(name, std::move(listening));
  }
  return opened;
}

// --- building what each core has ---

Result<std::unique_ptr<http::Handler>> Node::Impl::make_target(CoreState& state, const Generation& next,
                                                               const proxy::RouteConfig& route) {
  using Kind = proxy::TargetConfig::Kind;
  switch (route.to.which()) {
    case Kind::upstream:
      return std::make_unique<proxy::Forward>(state.next_clusters.at(route.to.name).cluster, next.config.values.node);
    case Kind::service: {
      const auto& running = next.services.at(route.to.name);
      return std::make_unique<ServiceTarget>(*self, running->routes, running);
    }
    case Kind::status: return std::make_unique<StatusTarget>(*self);
    case Kind::page: return std::make_unique<PageTarget>();
    default: return proxy::make_target(route.to);
  }
}

Result<> Node::Impl::prepare(size_t core, const std::shared_ptr<Generation>& next) {
  CoreState& state = *states[core];
  state.next_clusters.clear();
  state.next_pipelines.clear();
  for (const auto& [name, resolved] : next->upstreams) {
    const auto old = state.clusters.find(name);
    if (old != state.clusters.end() && old->second.serial == resolved.serial) {
      state.next_clusters[name] = old->second;
    } else {
      state.next_clusters[name] = {resolved.serial,
                                   std::make_shared<upstream::Cluster>(name, resolved.config, resolved.hosts, metrics)};
    }
  }
  const NodeConfig& values = next->config.values;
  for (const auto& [listener, config] : values.listeners) {
    proxy::PipelineParts parts;
    parts.listener = listener;
    parts.router = next->router;
    if (next->access_log) parts.access_log = next->access_log->log;
    parts.unrouted.name = "none";
    parts.unrouted.figures = figures.at("none");
    parts.unrouted.counts = counts.at({listener, "none"});
    for (size_t i = 0; i < values.routes.size(); ++i) {
      const proxy::RouteConfig& route = values.routes[i];
      const std::string place = "routes[" + std::to_string(i) + "]";
      auto filters = proxy::make_filters(route);
      if (!filters) return fail(Error(filters.error().code(), place + ".filters").because(std::move(filters).error()));
      auto target = make_target(state, *next, route);
      if (!target) return fail(Error(target.error().code(), place + ".to").because(std::move(target).error()));
      proxy::PipelineRoute built;
      built.name = route.label();
      built.figures = figures.at(built.name);
      built.counts = counts.at({listener, built.name});
      if (route.to.which() == proxy::TargetConfig::Kind::service) built.timeout = kServiceTimeout;
      built.chain = std::make_unique<proxy::Chain>(*std::move(filters), **target);
      parts.targets.push_back(*std::move(target));
      parts.routes.push_back(std::move(built));
    }
    parts.keeps = next;
    state.next_pipelines[listener] = std::make_shared<proxy::Pipeline>(std::move(parts), metrics);
  }
  return {};
}

void Node::Impl::drop_prepared() {
  for (size_t core = 0; core < states.size(); ++core) {
    cores->run_on(core, [&] {
      states[core]->next_pipelines.clear();
      states[core]->next_clusters.clear();
    });
  }
}

void Node::Impl::commit(size_t core, const std::shared_ptr<Generation>& next,
                        const std::map<std::string, ListeningSockets>& listening) {
  CoreState& state = *states[core];
  const NodeConfig& values = next->config.values;
  // Listeners that are gone, or whose address changed: the old one drains while a new one may take the name.
  for (auto it = state.listeners.begin(); it != state.listeners.end();) {
    if (values.listeners.contains(it->first) && !listening.contains(it->first)) {
      ++it;
      continue;
    }
    state.draining.spawn(
        drain_server(std::move(it->second.server), std::move(it->second.acceptor), values.runtime.drain));
    it = state.listeners.erase(it);
  }
  for (auto& [name, pipeline] : state.next_pipelines) {
    const http::ServerOptions options = values.listeners.at(name).server_options(name);
    CoreListener& listener = state.listeners[name];
    if (listener.server) {
      listener.server->set_options(options);
      listener.server->set_application(std::move(pipeline));
      continue;
    }
    listener.server = std::make_unique<http::Server>(options, std::move(pipeline));
    http::Server* server = listener.server.get();
    listener.acceptor =
        std::make_unique<Acceptor>(listening.at(name).fds[core], [server](int fd) { server->accept(fd); });
    listener.acceptor->start();
  }
  state.clusters = std::move(state.next_clusters);
  state.next_clusters.clear();
  state.next_pipelines.clear();
}

// --- metrics and the live picture ---

void Node::Impl::watch() {
  const auto gauge = [&](std::string_view name, std::string_view help, Labels labels, std::function<double()> read,
                         bool counter = false) {
    gauges.push_back(metrics.computed(name, help, std::move(labels), std::move(read), counter));
  };
  for (size_t i = 0; i < cores->size(); ++i) {
    Loop& loop = cores->loop(i);
    const std::string core = std::to_string(i);
    gauge(
        "trellis_cpu_seconds_total", "CPU time of a core's thread", {{"core", core}},
        [&loop] { return loop.cpu_seconds(); }, true);
    gauge("trellis_loop_busy_ratio", "share of time a core's loop was not waiting", {{"core", core}},
          [&loop] { return loop.busy_ratio(); });
  }
  gauge("trellis_memory_bytes", "memory of the process", {{"kind", "resident"}}, [] {
    long pages = 0;
    if (FILE* statm = std::fopen("/proc/self/statm", "re")) {
      long total = 0;
      if (std::fscanf(statm, "%ld %ld", &total, &pages) != 2) pages = 0;
      std::fclose(statm);
    }
    return static_cast<double>(pages) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  });
  gauge(
      "trellis_log_dropped_total", "lines of the node's own log that found no room", {},
      [] { return static_cast<double>(log_dropped()); }, true);
}

// Connections of the listeners and to each host, from counters that every core adds to.
void Node::Impl::watch_connections() {
  connection_gauges.clear();
  for (const auto& [name, listener] : current->config.values.listeners) {
    connection_gauges.push_back(proxy::watch_connections(metrics, name));
  }
  for (const auto& each : current->upstreams) {
    const std::string& name = each.first;
    for (const upstream::Host& host : each.second.hosts) {
      const auto difference = [&](const char* state, const char* more, const char* less) {
        const Counter& plus = upstream::connection_counter(metrics, name, host.name, more);
        const Counter& minus = upstream::connection_counter(metrics, name, host.name, less);
        connection_gauges.push_back(metrics.computed(
            "trellis_upstream_connections", "connections to an upstream's host, idle ones included in open",
            {{"upstream", name}, {"host", host.name}, {"state", state}}, [&plus, &minus] {
              const uint64_t gone = minus.value();
              return static_cast<double>(plus.value() - gone);
            }));
      };
      difference("open", "opened", "closed");
      difference("idle", "parked", "taken");
    }
  }
}

void Node::Impl::set_tiers() {
  const NodeConfig& values = current->config.values;
  std::vector<TierSource> tiers;
  std::vector<std::shared_ptr<proxy::RouteFigures>> all_figures;
  std::vector<std::shared_ptr<proxy::RouteCounts>> all_counts;
  for (const auto& [name, one] : figures) all_figures.push_back(one);
  for (const auto& [key, one] : counts) all_counts.push_back(one);
  tiers.push_back(edge_tier(all_figures, all_counts));
  for (const config::Entry& entry : values.services) {
    const auto* links = entry.as<services::links::LinksConfig>();
    if (!links) continue;
    std::set<std::shared_ptr<proxy::RouteFigures>> own_figures;
    std::set<std::shared_ptr<proxy::RouteCounts>> own_counts;
    for (const proxy::RouteConfig& route : values.routes) {
      if (route.to.which() != proxy::TargetConfig::Kind::service || route.to.name != entry.name) continue;
      own_figures.insert(figures.at(route.label()));
      for (const auto& [name, listener] : values.listeners) own_counts.insert(counts.at({name, route.label()}));
    }
    tiers.push_back(service_tier("links", "Links", {own_figures.begin(), own_figures.end()},
                                 {own_counts.begin(), own_counts.end()}));
    const cache::MemoryCache* hot = current->caches.at(links->cache)->cache.get();
    tiers.push_back(cache_tier(metrics, *hot, "links"));
    tiers.push_back(store_tier(metrics, links->store));
    tiers.push_back(queue_tier(metrics, "clicks", "Click counter"));
  }
  status->set_tiers(std::move(tiers));
}

// --- Node ---

namespace {

Result<void> listen_alone(const net::Address& address, std::vector<int>& fds) {
  TRY_VOID(net::probe_free(address));
  TRY(const int fd, net::listen_tcp(address));
  fds.push_back(fd);
  return {};
}

// Who steers the node comes over loopback; to the node's other addresses even its own machine comes as a stranger. So
// beside one of those it listens on loopback too, on the same port.
Result<void> listen_control(const config::HostPort& bind, std::vector<int>& fds) {
  TRY(const net::Address address, net::parse_address(bind.to_text()));
  TRY_VOID(listen_alone(address, fds));
  const std::string host = address.host();
  if (host == "127.0.0.1" || host == "::1" || host == "0.0.0.0" || host == "::") return {};
  TRY(const net::Address loopback, net::make_address("127.0.0.1", net::local_of(fds.back()).port()));
  return listen_alone(loopback, fds);
}

}  // namespace

Node::Node(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) { impl_->self = this; }

Result<std::unique_ptr<Node>> Node::start(LoadedConfig config) {
  const ControlConfig control = config.values.control;
  std::string token;
  if (!control.token_file.empty()) {
    auto read = read_token(control.token_file);
    if (!read) return fail(Error(read.error().code(), "control.token_file").because(std::move(read).error()));
    token = *std::move(read);
  }
  auto impl = std::make_unique<Impl>();
  Impl& n = *impl;
  const RuntimeConfig& runtime = config.values.runtime;
  TRY(n.cores, Cores::start({.count = runtime.cores, .io = runtime.io, .blocking_threads = runtime.blocking_threads}));
  for (size_t i = 0; i < n.cores->size(); ++i) n.states.push_back(std::make_unique<CoreState>());
  n.cores->run_on(0, [&] { n.background = std::make_unique<TaskGroup>(); });
  n.watch();
  n.status = std::make_unique<Status>(
      config.values.node, n.cores->size(),
      std::string(n.cores->run_on(0, [] { return std::string(Loop::current().io().name()); })), n.started);
  std::unique_ptr<Node> node(new Node(std::move(impl)));

  auto first = node->reload(std::move(config));
  if (!first) {
    node->stop();
    return fail(std::move(first).error());
  }
  auto listening = listen_control(control.bind, n.control_fds);
  if (!listening) {
    Error error = Error(listening.error().code(), "control").because(std::move(listening).error());
    node->stop();
    return fail(std::move(error));
  }
  n.control_address = net::local_of(n.control_fds.front());
  n.control = std::make_shared<Control>(*node, std::move(token));
  n.cores->run_on(0, [&] {
    n.sampling_ends = std::make_unique<Event>();
    n.background->spawn(sample_status(*n.status, *n.sampling_ends));
    n.control_server = std::make_unique<http::Server>(http::ServerOptions{.listener = "control"}, n.control);
    http::Server* server = n.control_server.get();
    for (const int fd : n.control_fds) {
      n.control_acceptors.push_back(
          std::make_unique<Acceptor>(fd, [server](int accepted) { server->accept(accepted); }));
      n.control_acceptors.back()->start();
    }
  });
  n.ready = true;
  return node;
}

Node::~Node() { stop(); }

Result<ReloadReport> Node::reload(LoadedConfig config) {
  Impl& n = *impl_;
  ReloadReport report;
  const Generation* before = n.current.get();
  auto next = std::make_shared<Generation>();
  next->config = std::move(config);
  const NodeConfig& values = next->config.values;
  if (before) {
    for (const config::Change& change : config::diff<NodeConfig>(before->config.tree, next->config.tree)) {
      report.changes.push_back(change.to_string());
      if (change.path.starts_with("runtime.") || change.path == "runtime" || change.path == "control" ||
          change.path.starts_with("control.") || change.path == "node" || change.path.starts_with("jobs")) {
        report.warnings.push_back(change.path + " takes effect at the next start");
      }
    }
  }
  TRY_VOID(n.open_shared(*next, before));
  const auto undo_services = [&] {
    for (auto& [name, service] : next->services) {
      if (!before || !before->services.contains(name) || before->services.at(name) != service) {
        n.stop_service(*service, std::chrono::seconds(5));
      }
    }
  };
  Result<> services_ok = n.open_services(*next, before);
  if (services_ok) services_ok = n.check_queues(*next);
  if (!services_ok) {
    undo_services();
    return fail(std::move(services_ok).error());
  }
  // Figures exist once a name and are never taken away: a reload must not reset a counter.
  std::vector<std::string> names{"none"};
  for (const proxy::RouteConfig& route : values.routes) names.push_back(route.label());
  for (const std::string& name : names) {
    auto& figure = n.figures[name];
    if (!figure) figure = std::make_shared<proxy::RouteFigures>(n.metrics, name);
    for (const auto& [listener, listener_config] : values.listeners) {
      auto& count = n.counts[{listener, name}];
      if (!count) count = std::make_shared<proxy::RouteCounts>(n.metrics, listener, name);
    }
  }
  auto listening = n.open_sockets(values);
  if (!listening) {
    undo_services();
    return fail(std::move(listening).error());
  }
  for (size_t core = 0; core < n.cores->size(); ++core) {
    Result<> prepared = n.cores->run_on(core, [&] { return n.prepare(core, next); });
    if (prepared) continue;
    n.drop_prepared();
    for (auto& [name, sockets] : *listening) sockets.close();
    undo_services();
    return fail(std::move(prepared).error());
  }

  if (Result<> scheduled = n.put_schedules(*next, before); !scheduled) {
    n.drop_prepared();
    for (auto& [name, sockets] : *listening) sockets.close();
    undo_services();
    return fail(std::move(scheduled).error());
  }

  // From here on nothing can fail.
  for (size_t core = 0; core < n.cores->size(); ++core) {
    n.cores->run_on(core, [&] { n.commit(core, next, *listening); });
  }
  std::vector<ListeningSockets> closing;
  {
    std::lock_guard lock(n.listeners_mutex);
    for (auto it = n.sockets.begin(); it != n.sockets.end();) {
      if (values.listeners.contains(it->first) && !listening->contains(it->first)) {
        ++it;
        continue;
      }
      closing.push_back(std::move(it->second));
      it = n.sockets.erase(it);
    }
    for (auto& [name, sockets] : *listening) n.sockets.emplace(name, std::move(sockets));
  }
  for (ListeningSockets& sockets : closing) sockets.close();
  n.begin_jobs(*next, before);
  if (before) {
    for (const auto& [name, service] : before->services) {
      const auto kept = next->services.find(name);
      if (kept != next->services.end() && kept->second == service) continue;
      n.cores->run_on(0, [&] { service->service->begin_drain(); });
      n.retired.push_back(service);
    }
  }
  if (n.current) n.replaced.push_back(std::move(n.current));
  n.current = next;
  set_log_level(values.observe.log_level);
  n.set_tiers();
  n.watch_connections();
  n.retire_unused();
  return report;
}

void Node::stop() {
  Impl& n = *impl_;
  if (n.stopped || !n.cores) return;
  n.stopped = true;
  n.ready = false;
  const Duration patience = n.current ? n.current->config.values.runtime.drain : Duration::zero();
  if (n.current) {
    for (auto& [name, service] : n.current->services) {
      n.cores->run_on(0, [&] { service->service->begin_drain(); });
    }
  }
  // All cores drain at once.
  std::vector<std::future<void>> drained;
  for (size_t core = 0; core < n.cores->size(); ++core) {
    auto done = std::make_shared<std::promise<void>>();
    drained.push_back(done->get_future());
    n.cores->loop(core).post([&n, core, patience, done] {
      CoreState& state = *n.states[core];
      for (auto& [name, listener] : state.listeners) {
        state.draining.spawn(drain_server(std::move(listener.server), std::move(listener.acceptor), patience));
      }
      state.listeners.clear();
      // Ends at the latest when the last server's patience does.
      static constexpr auto kWaitAll = [](TaskGroup& group, std::shared_ptr<std::promise<void>> told) -> Task<> {
        co_await group.join(kNever);
        told->set_value();
      };
      if (core == 0 && n.sampling_ends) n.sampling_ends->set();
      state.draining.close();
      state.waiting.spawn(kWaitAll(state.draining, done));
    });
  }
  // The workers leave while the connections drain.
  if (n.current) {
    n.cores->run_on(0, [&n, patience] {
      for (auto& [name, service] : n.current->services) service->jobs->work({}, patience);
    });
  }
  // Two turns, and each core has taken what waited in its backlog and let go of its listening sockets. Then they close,
  // long before the drain ends: who comes now is refused at once and can go elsewhere, instead of waiting for nothing.
  for (int turn = 0; turn < 2; ++turn) {
    for (size_t core = 0; core < n.cores->size(); ++core) n.cores->run_on(core, [] {});
  }
  {
    std::lock_guard lock(n.listeners_mutex);
    for (auto& [name, sockets] : n.sockets) sockets.close();
    n.sockets.clear();
  }
  for (auto& one : drained) one.wait();
  if (n.current) {
    for (auto& [name, service] : n.current->services) n.retired.push_back(service);
    for (auto& [name, store] : n.current->stores) n.retired_stores.push_back(store);
  }
  n.status->set_tiers({});
  {
    const std::lock_guard lock(n.stores_mutex);
    n.open_stores.clear();
    n.open_logs.clear();
    n.open_caches.clear();
  }
  for (auto& service : n.retired) n.stop_service(*service, std::chrono::seconds(10));
  for (size_t core = 0; core < n.cores->size(); ++core) {
    n.cores->run_on(core, [&] {
      if (core == 0) {
        n.control_acceptors.clear();
        n.control_server.reset();
        n.background.reset();
        n.sampling_ends.reset();
      }
      n.states[core].reset();
    });
  }
  for (auto& store : n.retired_stores) close_store(*store, *n.cores);
  for (const int fd : n.control_fds) ::close(fd);
  n.control_fds.clear();
  n.control.reset();
  n.replaced.clear();
  n.current.reset();
  n.retired.clear();
  n.retired_stores.clear();
  n.gauges.clear();
  n.connection_gauges.clear();
  n.cores->stop();
}

Metrics& Node::metrics() noexcept { return impl_->metrics; }

void Node::tidy() { impl_->retire_unused(); }

void Node::reopen_logs() noexcept {
  if (impl_->current && impl_->current->access_log) impl_->current->access_log->log->reopen();
}

std::vector<ListenerStatus> Node::listeners() const {
  std::vector<ListenerStatus> list;
  std::lock_guard lock(impl_->listeners_mutex);
  for (const auto& [name, listening] : impl_->sockets) list.push_back({name, listening.address.to_string()});
  return list;
}

std::map<std::string, std::shared_ptr<OpenStore>> Node::stores() const {
  const std::lock_guard lock(impl_->stores_mutex);
  return impl_->open_stores;
}

std::map<std::string, std::shared_ptr<cache::MemoryCache>> Node::caches() const {
  const std::lock_guard lock(impl_->stores_mutex);
  return impl_->open_caches;
}

std::map<std::string, std::shared_ptr<queue::EventLog>> Node::logs() const {
  const std::lock_guard lock(impl_->stores_mutex);
  return impl_->open_logs;
}

std::string Node::status_json() const { return impl_->status->json(system_clock().now()); }
std::string Node::control_address() const { return impl_->control_address.to_string(); }
std::string Node::io() const { return std::string(impl_->cores->loop(0).io().name()); }
size_t Node::cores() const noexcept { return impl_->cores->size(); }
bool Node::ready() const noexcept { return impl_->ready; }
void Node::on_reload_request(ReloadRequest request) {
  impl_->cores->run_on(0, [&] { impl_->control->on_reload(std::move(request)); });
}

}  // namespace trellis::app
