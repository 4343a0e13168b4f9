#include "app/node/node_impl.h"
#include "app/node/page_target.h"
#include "base/log.h"
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

// --- what each core has ---

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

Task<> drain_server(std::unique_ptr<http::Server> server, std::unique_ptr<Acceptor> acceptor, Duration patience) {
  acceptor->stop();
  const bool drained = co_await server->drain(after(Loop::current().now(), patience));
  if (!drained) log_warn("connections were cut after the drain time", {{"left", server->connections()}});
}

}  // namespace trellis::app
