#include "proxy/relay/tcp_relay.h"

#include <netinet/tcp.h>

#include <algorithm>
#include <optional>

#include "base/hash.h"
#include "base/log.h"
#include "base/metrics.h"
#include "net/client_hello.h"
#include "proxy/pipeline.h"
#include "proxy/relay/pump.h"
#include "proxy/relay/relay_log.h"
#include "runtime/loop.h"
#include "runtime/socket.h"
#include "runtime/sync.h"
#include "upstream/cluster.h"

namespace trellis::proxy {

namespace {

constexpr auto kHeaderSend = std::chrono::seconds(5);  // for the PROXY header to a host
constexpr auto kLinger = std::chrono::seconds(1);      // for who was refused to read why
constexpr size_t kLingerBytes = 64 * 1024;

class Connection;

void keep_alive(int fd) noexcept {
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

}  // namespace

struct TcpRelay::Impl {
  Impl(std::shared_ptr<const TcpRelayOptions> first_options, Metrics& registry)
      : options(std::move(first_options)), metrics(registry), figures(registry, options->listener, "tcp") {}

  std::shared_ptr<const TcpRelayOptions> options;
  Metrics& metrics;
  RelayFigures figures;
  Connection* first = nullptr;
  size_t connections = 0;
  TaskGroup group;  // last: its tasks use what is above
};

namespace {

// From the accept to the end; its line is written when it goes, however it goes.
class Connection final : private GoneWatcher {
 public:
  Connection(TcpRelay::Impl& relay, Socket socket) noexcept
      : options(relay.options),
        client(std::move(socket)),
        from(net::peer_of(client.fd())),
        to(net::local_of(client.fd())),
        relay_(relay),
        began_(Loop::current().now()) {
    next = relay.first;
    if (next) next->prev = this;
    relay.first = this;
    ++relay.connections;
    relay.figures.opened.add();
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    (prev ? prev->next : relay_.first) = next;
    if (next) next->prev = prev;
    --relay_.connections;
    relay_.figures.closed.add();
    const std::string address = from.host();
    relay_.figures.ended({.listener = options->listener,
                          .protocol = "tcp",
                          .client = address,
                          .client_port = from.port(),
                          .server_name = server_name,
                          .bytes_in = pump ? pump->bytes_in() : 0,
                          .bytes_out = pump ? pump->bytes_out() : 0,
                          .took = Loop::current().now() - began_,
                          .upstream = cluster ? std::string_view(cluster->name()) : std::string_view(),
                          .upstream_host = link ? std::string_view(link->host().name) : std::string_view(),
                          .end = end,
                          .wall = Loop::current().wall()},
                         options->access_log.get());
  }
  // Both sides learn that it is not all.
  void cut() noexcept {
    client.reset_on_close();
    if (link) link->socket().reset_on_close();
  }
  void header_refused(std::string_view why) noexcept {
    tell_header_refused(relay_.metrics, options->listener, from.host(), why);
  }
  // False: the client has broken off meanwhile.
  Task<bool> wait_until(Deadline due) {
    client.watch(this);
    client.want_input();
    const bool left = co_await left_.wait(due);
    client.watch(nullptr);
    co_return !left;
  }
  RelayFigures& figures() noexcept { return relay_.figures; }
  Deadline in(Duration span) const noexcept { return after(Loop::current().now(), span); }

  std::shared_ptr<const TcpRelayOptions> options;
  Socket client;
  net::Address from;  // the client, as far as is known
  net::Address to;    // where it connected to
  std::string server_name;
  std::shared_ptr<upstream::Cluster> cluster;
  std::optional<upstream::Cluster::Link> link;
  std::optional<Pump> pump;          // goes before the sockets
  RelayEnd end = RelayEnd::drained;  // who is destroyed on the way was
  Connection* next = nullptr;
  Connection* prev = nullptr;

 private:
  // An end is not meant: the client may have said all it has to say, and wait for the answer.
  void gone(int error) noexcept override {
    if (error != 0) left_.set();
  }

  TcpRelay::Impl& relay_;
  Time began_;
  Event left_;
};

// The header of a balancer before us. False: none came, or none that counts.
Task<bool> take_header(Connection& c) {
  if (!c.options->trusted.has(c.from)) {
    c.end = RelayEnd::untrusted;
    c.header_refused("untrusted");
    co_return false;
  }
  auto header = co_await net::receive_proxy_header(c.client, c.in(c.options->header_timeout));
  if (!header) {
    // A check that connects and leaves is no fault.
    const bool left = header.error().code() == Code::unavailable;
    c.end = left ? RelayEnd::client_left : RelayEnd::bad_header;
    if (!left) c.header_refused(header.error().what());
    co_return false;
  }
  if (header->told) {
    c.from = header->from;
    c.to = header->to;
  }
  co_return true;
}

// Collects what the client says first and puts it back. complete, not_tls: it can be routed by that; malformed or
// too_long: it cannot, incomplete: it came too late or not at all (c.end says which).
Task<net::HelloState> take_hello(Connection& c, net::ClientHello& hello) {
  net::ClientHelloReader reader;
  std::string bytes;  // of a message that comes in pieces
  const Deadline deadline = c.in(c.options->limits.hello);
  while (true) {
    Result<Chunk> chunk = co_await c.client.recv(deadline);
    if (!chunk || chunk->empty()) {
      const bool late = !chunk && chunk.error().code() == Code::deadline_exceeded;
      c.end = late ? RelayEnd::hello_timeout : RelayEnd::client_left;
      co_return net::HelloState::incomplete;
    }
    const size_t before = bytes.size();
    const size_t taken = std::min(chunk->size(), net::kMaxClientHello - before);
    if (before > 0) bytes += chunk->view().substr(0, taken);
    const net::HelloState state =
        reader.read(before > 0 ? std::string_view(bytes) : chunk->view().substr(0, taken), hello);
    if (state != net::HelloState::incomplete) {
      if (before > 0) chunk->drop_front(taken);
      c.client.unread(*std::move(chunk));
      if (before > 0) c.client.unread(Chunk::from_string(std::move(bytes)));
      co_return state;
    }
    if (before == 0) bytes = chunk->view().substr(0, taken);
  }
}

// Tells a TLS client why, in a way that it understands.
Task<> turn_away(Connection& c) {
  c.end = RelayEnd::refused;
  const std::string_view alert = net::unrecognized_name_alert();
  iovec vector{const_cast<char*>(alert.data()), alert.size()};
  const Deadline deadline = c.in(kLinger);
  auto sent = co_await c.client.send({&vector, 1}, deadline);
  if (!sent) co_return;
  c.client.shutdown_send();
  for (size_t dropped = 0; dropped < kLingerBytes;) {
    Result<Chunk> chunk = co_await c.client.recv(deadline);
    if (!chunk || chunk->empty()) co_return;
    dropped += chunk->size();
  }
}

// Where it goes; null: it was refused, or has no more to say.
Task<std::shared_ptr<upstream::Cluster>> choose(Connection& c) {
  if (c.options->routes.empty()) co_return c.options->to;
  net::ClientHello hello;
  const net::HelloState state = co_await take_hello(c, hello);
  if (state == net::HelloState::incomplete) co_return nullptr;
  if (state == net::HelloState::malformed || state == net::HelloState::too_long) {
    c.end = RelayEnd::bad_hello;
    co_return nullptr;
  }
  const bool tls = state == net::HelloState::complete;
  const size_t route = tls ? find_relay_route(c.options->routes, hello) : c.options->routes.size();
  c.server_name = std::move(hello.server_name);
  std::shared_ptr<upstream::Cluster> to =
      route < c.options->routes.size() ? c.options->routes[route].to : c.options->to;
  if (to) co_return to;
  c.end = RelayEnd::refused;
  if (tls) co_await turn_away(c);
  co_return nullptr;
}

// Faults that come before a host is asked. False: that was all.
Task<bool> meet(Connection& c, TcpFaults& faults, Fault fault, Deadline end_of_life) {
  if (fault.delay > Duration::zero()) {
    faults.delays.add();
    const Deadline due = c.in(fault.delay);
    const bool stayed = co_await c.wait_until(std::min(due, end_of_life));
    if (!stayed || due > end_of_life) {
      c.end = stayed ? RelayEnd::lifetime : RelayEnd::client_left;
      c.client.reset_on_close();
      co_return false;
    }
  }
  if (!fault.reset || faults.reset_after > 0) co_return true;
  faults.resets.add();
  c.end = RelayEnd::fault_reset;
  c.client.reset_on_close();
  co_return false;
}

Task<> serve(TcpRelay::Impl& relay, Socket socket) {
  Connection c(relay, std::move(socket));
  const Deadline end_of_life =
      c.options->limits.lifetime > Duration::zero() ? c.in(c.options->limits.lifetime) : kNever;
  if (c.options->header_in) {
    const bool told = co_await take_header(c);
    if (!told) co_return;
  }
  c.cluster = co_await choose(c);
  if (!c.cluster) co_return;

  PumpFaults pump_faults;
  if (TcpFaults* const faults = c.options->faults.get()) {
    const Fault fault = faults->plan.draw(Loop::current().rng());
    const bool goes_on = co_await meet(c, *faults, fault, end_of_life);
    if (!goes_on) co_return;
    pump_faults.bandwidth = faults->bandwidth;
    if (fault.reset) pump_faults.reset_after = faults->reset_after;
    if (faults->bandwidth > 0) faults->paced.add();
  }

  const std::string from = c.from.host();
  const Deadline connected_by = std::min(c.in(c.options->limits.connect), end_of_life);
  auto connected = co_await c.cluster->connect(from, connected_by);
  if (!connected) {
    static LogThrottle throttle(std::chrono::seconds(10));
    log_every(
        throttle, LogLevel::warn, "no host took a connection",
        {{"listener", c.options->listener}, {"upstream", c.cluster->name()}, {"error", connected.error().to_string()}});
    c.end = RelayEnd::no_host;
    c.client.reset_on_close();
    co_return;
  }
  c.link.emplace(*std::move(connected));
  keep_alive(c.client.fd());
  keep_alive(c.link->socket().fd());
  if (c.options->header_out != net::ProxyVersion::none) {
    std::string header = net::write_proxy_header(c.options->header_out, c.from, c.to);
    iovec vector{header.data(), header.size()};
    auto sent = co_await c.link->socket().send({&vector, 1}, c.in(kHeaderSend));
    if (!sent) {
      c.link->failed();
      c.end = RelayEnd::host_reset;
      c.client.reset_on_close();
      co_return;
    }
  }
  c.pump.emplace(c.client, c.link->socket(), c.options->limits.idle, c.figures().bytes_in, c.figures().bytes_out,
                 pump_faults);
  c.end = RelayEnd::drained;
  c.end = co_await c.pump->run(end_of_life);
  if (c.end == RelayEnd::host_reset && c.pump->bytes_out() == 0) c.link->failed();
  if (c.end == RelayEnd::fault_reset) c.options->faults->resets.add();
}

}  // namespace

size_t find_relay_route(const std::vector<RelayRoute>& routes, const net::ClientHello& hello) noexcept {
  const auto fits = [&](const RelayRoute& route) {
    const std::string& sni = route.match.sni;
    const std::string& alpn = route.match.alpn;
    if (!alpn.empty() && std::ranges::find(hello.alpn, alpn) == hello.alpn.end()) return false;
    if (sni.empty() || sni == hello.server_name) return true;
    return sni.starts_with("*.") && hello.server_name.size() >= sni.size() &&
           hello.server_name.ends_with(std::string_view(sni).substr(1));
  };
  return static_cast<size_t>(std::ranges::find_if(routes, fits) - routes.begin());
}

TcpRelay::TcpRelay(std::shared_ptr<const TcpRelayOptions> options, Metrics& metrics)
    : impl_(std::make_unique<Impl>(std::move(options), metrics)) {}

TcpRelay::~TcpRelay() {
  for (Connection* c = impl_->first; c; c = c->next) c->cut();
}

void TcpRelay::accept(int fd) {
  Socket socket = Socket::adopt(fd);
  if (impl_->connections >= impl_->options->max_connections) {
    impl_->figures.turned_away.add();
    return;
  }
  impl_->group.spawn(serve(*impl_, std::move(socket)));
}

void TcpRelay::set_options(std::shared_ptr<const TcpRelayOptions> options) { impl_->options = std::move(options); }

Task<bool> TcpRelay::drain(Deadline deadline) {
  const bool ended = co_await impl_->group.join(deadline);
  co_return ended;
}

size_t TcpRelay::connections() const noexcept { return impl_->connections; }

}  // namespace trellis::proxy
