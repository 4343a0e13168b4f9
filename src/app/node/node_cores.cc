#include <fcntl.h>

#include <algorithm>

#include "app/node/node_impl.h"
#include "app/node/page_target.h"
#include "base/log.h"
#include "proxy/cache/member_door.h"
#include "proxy/forward.h"

namespace trellis::app {

namespace {

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
    context.deadline = std::min(context.deadline, after(context.started, kServiceTimeout));
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

// --- listening ---

// Sockets of the old process that listen at `wanted`; a port of 0 takes any port of that address. Of TCP all: where
// there were more cores, connections wait at each. Of UDP one a core at most.
std::vector<int> Node::Impl::take_inherited(const std::string& name, const net::Address& wanted, int type) {
  const auto given = inherited.find(name);
  if (given == inherited.end()) return {};
  std::vector<int> fds = std::move(given->second);
  inherited.erase(given);
  std::vector<int> taken;
  for (const int fd : fds) {
    const net::Address address = net::local_of(fd);
    int has = 0;
    socklen_t length = sizeof has;
    ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &has, &length);
    const bool fits =
        has == type && address.host() == wanted.host() && (wanted.port() == 0 || address.port() == wanted.port());
    if (fits && (type == SOCK_STREAM || taken.size() < cores->size())) {
      taken.push_back(fd);
    } else {
      ::close(fd);
    }
  }
  if (taken.size() < fds.size() && !taken.empty())
    log_warn("fewer cores than before: datagrams that wait at the others' sockets are lost", {{"listener", name}});
  return taken;
}

Result<std::map<std::string, ListeningSockets>> Node::Impl::open_sockets(const NodeConfig& values) {
  std::map<std::string, ListeningSockets> opened;
  const auto give_up = [&](Error error) {
    for (auto& [name, listening] : opened) listening.close();
    return std::unexpected<Error>(std::move(error));
  };
  for (const auto& [name, config] : values.listeners) {
    const auto old = sockets.find(name);
    if (old != sockets.end() && old->second.bind == config.bind && old->second.kind == config.kind()) continue;
    const bool udp = config.kind() == ListenerConfig::Kind::udp;
    ListeningSockets listening{.bind = config.bind, .kind = config.kind(), .address = {}, .fds = {}};
    auto address = net::parse_address(config.bind.to_text());
    if (!address)
      return give_up(Error(Code::invalid_argument, "listeners." + name).because(std::move(address).error()));
    listening.address = *address;
    const int type = udp ? SOCK_DGRAM : SOCK_STREAM;
    listening.fds = take_inherited(name, *address, type);
    if (!listening.fds.empty()) listening.address = net::local_of(listening.fds.front());
    if (sockets.empty() && listening.fds.empty()) {  // at the start; later it may be one of our own that is just going
      if (auto free = net::probe_free(*address, type); !free) {
        return give_up(Error(free.error().code(), "listeners." + name).because(std::move(free).error()));
      }
    }
    for (size_t core = listening.fds.size(); core < cores->size(); ++core) {
      auto fd = udp ? proxy::listen_udp(listening.address) : net::bind_tcp(listening.address);
      if (!fd) {
        listening.close();
        return give_up(Error(fd.error().code(), "listeners." + name).because(std::move(fd).error()));
      }
      listening.fds.push_back(*fd);
      listening.address = net::local_of(*fd);  // port 0 has become a real one, the same for every core
    }
    if (Result<> done = udp ? listening.duplicate() : Result<>(); !done) {
      listening.close();
      return give_up(Error(done.error().code(), "listeners." + name).because(std::move(done).error()));
    }
    opened.emplace(name, std::move(listening));
  }
  return opened;
}

void Node::Impl::let_last_ones_in(const std::function<bool(const std::string& name)>& closes) const {
  std::vector<int> closing;
  for (const auto& [name, listening] : sockets) {
    if (listening.kind == ListenerConfig::Kind::udp || !closes(name)) continue;
    closing.insert(closing.end(), listening.fds.begin(), listening.fds.end());
  }
  net::let_last_ones_in(closing);
}

Result<> ListeningSockets::start() {
  if (kind == ListenerConfig::Kind::udp) return {};
  for (const int fd : fds) {
    TRY_VOID(net::start_listening(fd));
  }
  return {};
}

Result<> ListeningSockets::duplicate() {
  for (const int fd : fds) {
    const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return fail(errno_error("cannot duplicate the socket of " + address.to_string(), errno));
    duplicates.push_back(copy);
  }
  return {};
}

// --- what each core has ---

Result<std::unique_ptr<http::Handler>> Node::Impl::make_target(CoreState& state, const Generation& next,
                                                               const proxy::TargetConfig& to) {
  using Kind = proxy::TargetConfig::Kind;
  switch (to.which()) {
    case Kind::upstream:
      return std::make_unique<proxy::Forward>(state.next_clusters.at(to.name).cluster, next.config.values.node);
    case Kind::service: {
      const auto& running = next.services.at(to.name);
      return std::make_unique<ServiceTarget>(*self, running->routes, running);
    }
    case Kind::status: return std::make_unique<StatusTarget>(*self);
    case Kind::page: return std::make_unique<PageTarget>();
    default: return proxy::make_target(to);
  }
}

Result<> Node::Impl::prepare(size_t core, const std::shared_ptr<Generation>& next) {
  CoreState& state = *states[core];
  state.next_clusters.clear();
  state.next_members.clear();
  state.next_pipelines.clear();
  state.next_tcp.clear();
  state.next_udp.clear();
  for (const auto& [name, resolved] : next->upstreams) {
    const auto old = state.clusters.find(name);
    if (old != state.clusters.end() && old->second.serial == resolved.serial) {
      state.next_clusters[name] = old->second;
    } else {
      state.next_clusters[name] = {
          resolved.serial, std::make_shared<upstream::Cluster>(resolved.hosts, resolved.config, metrics,
                                                               resolved.breaker, resolved.ejection, resolved.geo)};
    }
  }
  prepare_members(state, *next);
  const NodeConfig& values = next->config.values;
  const bool many_conditions = std::ranges::any_of(values.routes, [](const proxy::RouteConfig& route) {
    return route.has_cache() && !route.match.conditions().empty();
  });
  for (const auto& [listener, config] : values.listeners) {
    if (config.kind() != ListenerConfig::Kind::http) {
      prepare_relay(state, *next, listener);
      continue;
    }
    proxy::PipelineParts parts;
    parts.listener = listener;
    parts.trusted = config.trusted_proxies();
    parts.merge_slashes = config.merge_slashes;
    parts.router = next->routers.at(listener);
    parts.shedder = state.shedder.get();
    parts.explain_key = next->explain_key;
    if (!state.next_members.empty())
      parts.members = std::make_shared<proxy::MemberDoor>(
          proxy::MemberDoor::Caches(state.next_members.begin(), state.next_members.end()));
    if (next->access_log) parts.access_log = next->access_log->log;
    parts.unrouted.name = "none";
    parts.unrouted.figures = figures.at("none");
    parts.unrouted.counts = counts.at({listener, "none"});
    for (size_t i = 0; i < values.routes.size(); ++i) {
      const proxy::RouteConfig& route = values.routes[i];
      if (!route.match.takes(listener)) {
        parts.routes.emplace_back();  // this listener's router never leads here
        continue;
      }
      const std::string place = "routes[" + std::to_string(i) + "]";
      const proxy::FilterParts filter_parts{
          .route = route.label(),
          .metrics = metrics,
          .make_target = [&](const proxy::TargetConfig& to) -> Result<std::shared_ptr<http::Handler>> {
            TRY(std::unique_ptr<http::Handler> made, make_target(state, *next, to));
            return std::shared_ptr<http::Handler>(std::move(made));
          },
          .background = state.background,
          .memory = state.held,
          .node = values.node,
          .edge_cache = [&](const std::string& name) -> Result<std::shared_ptr<cache::EdgeCache>> {
            return edge_of(next->caches.at(name));
          },
          .many_conditions = many_conditions,
          .members = [&](const std::string& name) -> std::shared_ptr<proxy::Members> {
            const auto found = state.next_members.find(name);
            return found == state.next_members.end() ? nullptr : found->second;
          },
          .key_in = [&](const std::string& path) { return next->keys.at(path); }};
      auto filters = proxy::make_filters(route, filter_parts);
      if (!filters) return fail(Error(filters.error().code(), place + ".filters").because(std::move(filters).error()));
      auto target = make_target(state, *next, route.to);
      if (!target) return fail(Error(target.error().code(), place + ".to").because(std::move(target).error()));
      proxy::PipelineRoute built;
      built.name = route.label();
      built.figures = figures.at(built.name);
      built.counts = counts.at({listener, built.name});
      built.priority = route.priority;
      built.match = route.match.match();
      built.to = route.to.label();
      built.chain = std::make_unique<proxy::Chain>(*std::move(filters), **target);
      parts.targets.push_back(*std::move(target));
      parts.routes.push_back(std::move(built));
    }
    parts.keeps = next;
    state.next_pipelines[listener] = std::make_shared<proxy::Pipeline>(std::move(parts), metrics);
  }
  return {};
}

void Node::Impl::prepare_relay(CoreState& state, const Generation& next, const std::string& name) {
  const ListenerConfig& config = next.config.values.listeners.at(name);
  const auto cluster = [&](const proxy::RelayTarget& to) {
    return to.upstream.empty() ? nullptr : state.next_clusters.at(to.upstream).cluster;
  };
  const std::shared_ptr<proxy::AccessLog> log = next.access_log ? next.access_log->log : nullptr;
  if (config.udp) {
    auto options = std::make_shared<proxy::UdpRelayOptions>();
    options->listener = name;
    options->to = cluster(config.udp->to);
    options->idle = config.udp->idle;
    options->sessions = config.udp->sessions;
    if (config.udp->fault) options->faults = std::make_shared<proxy::UdpFaults>(*config.udp->fault, metrics, name);
    options->access_log = log;
    state.next_udp[name] = std::move(options);
    return;
  }
  auto options = std::make_shared<proxy::TcpRelayOptions>();
  options->listener = name;
  options->to = cluster(config.tcp->to);
  for (const proxy::RelayRouteConfig& route : config.tcp->routes) options->routes.push_back({route, cluster(route.to)});
  options->limits = *config.tcp;
  if (config.tcp->fault) options->faults = std::make_shared<proxy::TcpFaults>(*config.tcp->fault, metrics, name);
  options->max_connections = config.max_connections;
  if (config.proxy_protocol) {
    options->header_in = config.proxy_protocol->in;
    options->header_timeout = config.proxy_protocol->timeout;
    options->header_out = config.proxy_protocol->out;
    options->trusted = config.trusted_set();
  }
  options->access_log = log;
  state.next_tcp[name] = std::move(options);
}

void Node::Impl::drop_prepared() {
  for (size_t core = 0; core < states.size(); ++core) {
    cores->run_on(core, [&] {
      states[core]->next_pipelines.clear();
      states[core]->next_tcp.clear();
      states[core]->next_udp.clear();
      states[core]->next_members.clear();
      states[core]->next_clusters.clear();
    });
  }
}

void CoreListener::accept_at(const ListeningSockets& sockets, size_t core, size_t cores,
                             const std::function<void(int fd)>& on_connection) {
  for (size_t i = core; i < sockets.fds.size(); i += cores) {
    acceptors.push_back(std::make_unique<Acceptor>(sockets.fds[i], on_connection));
    acceptors.back()->start();
  }
}

void Node::Impl::commit(size_t core, const std::shared_ptr<Generation>& next,
                        std::map<std::string, ListeningSockets>& listening, const std::vector<std::string>& own) {
  CoreState& state = *states[core];
  const NodeConfig& values = next->config.values;
  // Listeners that are gone, or whose address changed: the old one drains while a new one may take the name.
  for (auto it = state.listeners.begin(); it != state.listeners.end();) {
    if (values.listeners.contains(it->first) && !listening.contains(it->first)) {
      ++it;
      continue;
    }
    state.draining.spawn(drain_listener(std::move(it->second), values.runtime.drain));
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
    listener.accept_at(listening.at(name), core, cores->size(), [server](int fd) { server->accept(fd); });
  }
  for (auto& [name, options] : state.next_tcp) {
    CoreListener& listener = state.listeners[name];
    if (listener.tcp) {
      listener.tcp->set_options(std::move(options));
      continue;
    }
    listener.tcp = std::make_unique<proxy::TcpRelay>(std::move(options), metrics);
    proxy::TcpRelay* relay = listener.tcp.get();
    listener.accept_at(listening.at(name), core, cores->size(), [relay](int fd) { relay->accept(fd); });
  }
  for (auto& [name, options] : state.next_udp) {
    CoreListener& listener = state.listeners[name];
    if (listener.udp) {
      listener.udp->set_options(std::move(options));
    } else {
      const int fd = std::exchange(listening.at(name).duplicates[core], -1);
      listener.udp = std::make_unique<proxy::UdpRelay>(fd, std::move(options), metrics);
    }
  }
  commit_members(core, own);
  if (core == 0) begin_walks(*next);
  if (core == 0) take_care(*next);
  state.clusters = std::move(state.next_clusters);
  state.next_clusters.clear();
  state.next_pipelines.clear();
  state.next_tcp.clear();
  state.next_udp.clear();
}

// On core 0: whoever looks after the hosts of an upstream that did not change goes on.
void Node::Impl::take_care(const Generation& next) {
  std::map<std::string, CoreCare>& care = states[0]->care;
  std::erase_if(care, [&](const auto& one) { return !next.upstreams.contains(one.first); });
  for (const auto& [name, resolved] : next.upstreams) {
    CoreCare& one = care[name];
    if (one.serial == resolved.serial) continue;
    one.care.reset();  // never two at once
    one = {resolved.serial,
           std::make_unique<upstream::HostCare>(resolved.hosts, resolved.ejection, resolved.config.health)};
    one.care->start();
  }
}

Task<> drain_listener(CoreListener listener, Duration patience) {
  for (const auto& acceptor : listener.acceptors) acceptor->stop();
  const Deadline deadline = after(Loop::current().now(), patience);
  size_t left = 0;
  if (listener.server) {
    const bool drained = co_await listener.server->drain(deadline);
    if (!drained) left = listener.server->connections();
  } else if (listener.tcp) {
    const bool drained = co_await listener.tcp->drain(deadline);
    if (!drained) left = listener.tcp->connections();
  } else if (listener.udp) {
    co_await listener.udp->drain(deadline);
  }
  if (left > 0) log_warn("connections were cut after the drain time", {{"left", left}});
}

}  // namespace trellis::app
