#include "app/node/node.h"

#include <future>

#include "app/node/node_impl.h"
#include "base/log.h"

namespace trellis::app {

namespace {

Task<> sample_status(Status& status, Event& ends) {
  while (true) {
    status.sample(Loop::current().now());
    const bool over = co_await ends.wait(after(Loop::current().now(), std::chrono::seconds(1)));
    if (over) co_return;
  }
}

constexpr const char* kControlSockets = ":control";  // no name of a listener
constexpr int kPortTries = 8;                        // to find one that is free on both addresses

Result<int> listen_alone(const net::Address& address) {
  TRY_VOID(net::probe_free(address));
  return net::listen_tcp(address);
}

// One or two sockets, the one of `bind` first.
Result<std::vector<int>> listen_control(const ControlConfig& control) {
  TRY(const net::Address address, net::parse_address(control.bind.to_text()));
  const std::optional<config::HostPort> beside = control.beside();
  for (int tries = 1;; ++tries) {
    TRY(const int fd, listen_alone(address));
    if (!beside) return std::vector<int>{fd};
    const uint16_t port = net::local_of(fd).port();
    Result<net::Address> loopback = net::make_address(beside->host, port);
    Result<int> second = loopback ? listen_alone(*loopback) : fail(std::move(loopback).error());
    if (second) return std::vector<int>{fd, *second};
    if (control.bind.port != 0 || tries == kPortTries) {
      log_warn(
          "the control port is taken on loopback; commands of this machine reach the node by its address and token "
          "only",
          {{"address", beside->host + ":" + std::to_string(port)}, {"error", second.error().to_string()}});
      return std::vector<int>{fd};
    }
    ::close(fd);
  }
}

Result<std::vector<int>> take_control(Node::Impl& n, const ControlConfig& control) {
  TRY(const net::Address address, net::parse_address(control.bind.to_text()));
  const auto given = n.inherited.find(kControlSockets);
  std::vector<int> fds = given == n.inherited.end() ? std::vector<int>{} : std::move(given->second);
  const bool fits = !fds.empty() && net::local_of(fds.front()).host() == address.host() &&
                    (address.port() == 0 || net::local_of(fds.front()).port() == address.port());
  if (given != n.inherited.end()) n.inherited.erase(given);
  if (fits) return fds;
  for (const int fd : fds) ::close(fd);
  return listen_control(control);
}

}  // namespace

Node::Node(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) { impl_->self = this; }

Result<std::unique_ptr<Node>> Node::start(LoadedConfig config, SocketsByName inherited) {
  const ControlConfig control = config.values.control;
  std::string token;
  if (!control.token_file.empty()) {
    auto read = read_token(control.token_file);
    if (!read) return fail(Error(read.error().code(), "control.token_file").because(std::move(read).error()));
    token = *std::move(read);
  }
  auto impl = std::make_unique<Impl>();
  Impl& n = *impl;
  n.inherited = std::move(inherited);
  TRY(n.host_state, HostState::open(config.values.state));
  const RuntimeConfig& runtime = config.values.runtime;
  TRY(n.cores, Cores::start({.count = runtime.cores, .io = runtime.io, .blocking_threads = runtime.blocking_threads}));
  for (size_t i = 0; i < n.cores->size(); ++i) n.states.push_back(std::make_unique<CoreState>());
  for (size_t i = 0; i < n.cores->size(); ++i) {
    n.cores->run_on(i, [&, i] { n.states[i]->shedder = std::make_unique<proxy::Shedder>(runtime.shed, i, n.metrics); });
  }
  n.cores->run_on(0, [&] { n.background = std::make_unique<TaskGroup>(); });
  n.watch();
  n.status = std::make_unique<Status>(
      config.values.node, n.cores->size(),
      std::string(n.cores->run_on(0, [] { return std::string(Loop::current().io().name()); })), n.started);
  std::unique_ptr<Node> node(new Node(std::move(impl)));

  // First, so that nothing can fail any more once clients can connect.
  auto listening = take_control(n, control);
  if (!listening) {
    Error error = Error(listening.error().code(), "control").because(std::move(listening).error());
    node->stop();
    return fail(std::move(error));
  }
  n.control_fds = *std::move(listening);
  auto first = node->reload(std::move(config));
  for (const auto& [name, left] : n.inherited) {  // listeners that the configuration has no more
    for (const int fd : left) ::close(fd);
  }
  n.inherited.clear();
  if (!first) {
    node->stop();
    return fail(std::move(first).error());
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
          change.path.starts_with("control.") || change.path == "node" || change.path == "state" ||
          change.path.starts_with("jobs")) {
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
      if (listener_config.kind() != ListenerConfig::Kind::http) continue;
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

  Result<> last = n.put_schedules(*next, before);
  for (auto& [name, sockets] : *listening) {
    if (last) last = sockets.start();
  }
  if (!last) {
    n.drop_prepared();
    for (auto& [name, sockets] : *listening) sockets.close();
    undo_services();
    return fail(std::move(last).error());
  }

  // From here on nothing can fail.
  n.let_last_ones_in(
      [&](const std::string& name) { return !values.listeners.contains(name) || listening->contains(name); });
  n.publish_hosts(*next, before);
  const std::vector<std::string> own = n.own_addresses(*next, *listening);
  for (size_t core = 0; core < n.cores->size(); ++core) {
    n.cores->run_on(core, [&] { n.commit(core, next, *listening, own); });
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
  {
    const std::lock_guard lock(n.stores_mutex);
    n.open_generation = next;
  }
  set_log_level(values.observe.log_level);
  n.set_tiers();
  n.watch_connections();
  n.retire_unused();
  return report;
}

SocketsByName Node::sockets_to_hand_over() const {
  SocketsByName out;
  const std::lock_guard lock(impl_->listeners_mutex);
  for (const auto& [name, listening] : impl_->sockets) out[name] = listening.fds;
  out[kControlSockets] = impl_->control_fds;
  return out;
}

bool Node::holds_data() const { return !impl_->current->stores.empty() || !impl_->current->logs.empty(); }

void Node::stop(Successor successor) {
  Impl& n = *impl_;
  if (n.stopped || !n.cores) return;
  n.stopped = true;
  n.ready = false;
  const bool handed_over = successor == Successor::serves;
  if (successor == Successor::none) n.let_last_ones_in([](const std::string&) { return true; });
  const RuntimeConfig runtime = n.current ? n.current->config.values.runtime : RuntimeConfig{.drain = Duration::zero()};
  const Duration patience = handed_over ? runtime.handover : runtime.drain;
  if (n.current) {
    for (auto& [name, service] : n.current->services) {
      n.cores->run_on(0, [&] { service->service->begin_drain(); });
    }
  }
  if (handed_over) {  // the control port is the new process's from now on
    n.cores->run_on(0, [&n] {
      for (auto& acceptor : n.control_acceptors) acceptor->stop();
    });
    // And so are the disks of caches and the files of their purges, for which it waits; what drains here still reads
    // them.
    for (const auto& [name, open] : n.current->caches) {
      if (!open->edge) continue;
      if (open->edge->disk()) open->edge->disk()->release();
      open->edge->book().let_go_of_file();
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
        state.draining.spawn(drain_listener(std::move(listener), patience));
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
  // Two turns, and each core has let go of its listening sockets. Then they close, long before the drain ends: who
  // comes now is refused at once and can go elsewhere, instead of waiting for nothing.
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
    n.open_edges.clear();
    n.open_generation.reset();
    n.memberships.clear();
  }
  for (auto& service : n.retired) n.stop_service(*service, std::chrono::seconds(10));
  for (size_t core = 0; core < n.cores->size(); ++core) {
    n.cores->run_on(core, [&] {
      if (core == 0) {
        n.control_acceptors.clear();
        n.control_server.reset();
        n.background.reset();
        n.sampling_ends.reset();
        n.host_state.reset();
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
  n.cores->run_on(0, [] {});  // what was let go of above and belongs to it is gone
  n.cores->stop();
}

Metrics& Node::metrics() noexcept { return impl_->metrics; }

void Node::tidy() {
  impl_->retire_unused();
  impl_->follow_hosts();
  impl_->keep_purges();
}

void Node::reopen_logs() noexcept {
  if (impl_->current && impl_->current->access_log) impl_->current->access_log->log->reopen();
}

std::vector<ListenerStatus> Node::listeners() const {
  std::vector<ListenerStatus> list;
  std::lock_guard lock(impl_->listeners_mutex);
  for (const auto& [name, listening] : impl_->sockets) {
    list.push_back({name, listening.address.to_string(), to_string(listening.kind)});
  }
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

std::map<std::string, std::shared_ptr<upstream::Membership>> Node::memberships() const {
  const std::lock_guard lock(impl_->stores_mutex);
  return impl_->memberships;
}

std::string Node::explain_key() const {
  const std::lock_guard lock(impl_->stores_mutex);
  return impl_->explain_key;
}

HostState& Node::host_state() noexcept { return *impl_->host_state; }

std::string Node::status_json() const { return impl_->status->json(system_clock().now()); }
std::string Node::control_address() const { return impl_->control_address.to_string(); }
std::string Node::io() const { return std::string(impl_->cores->loop(0).io().name()); }
size_t Node::cores() const noexcept { return impl_->cores->size(); }
bool Node::ready() const noexcept { return impl_->ready; }
void Node::on_reload_request(ReloadRequest request) {
  impl_->cores->run_on(0, [&] { impl_->control->on_reload(std::move(request)); });
}
void Node::on_upgrade_request(UpgradeRequest request) {
  impl_->cores->run_on(0, [&] { impl_->control->on_upgrade(std::move(request)); });
}

}  // namespace trellis::app
