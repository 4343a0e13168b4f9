#include "upstream/cluster.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/metrics.h"
#include "net/resolve.h"
#include "runtime/loop.h"
#include "runtime/socket.h"

namespace trellis::upstream {

Result<std::vector<Host>> resolve_hosts(const UpstreamConfig& config) {
  std::vector<Host> hosts;
  for (const HostConfig& host : config.hosts) {
    const std::string name = host.to_text();
    TRY(const auto addresses, net::resolve_blocking(host.address.host, host.address.port));
    for (const net::Address& address : addresses) hosts.push_back({name, address});
  }
  return hosts;
}

Counter& connection_counter(Metrics& metrics, const std::string& upstream, const std::string& host,
                            std::string_view event) {
  return metrics.counter("trellis_upstream_connection_events_total",
                         "connections to an upstream's host by what became of them",
                         {{"upstream", upstream}, {"host", host}, {"event", std::string(event)}});
}

namespace {

Counter& retries(Metrics& metrics, const std::string& upstream, std::string_view outcome) {
  return metrics.counter(
      "trellis_retries_total",
      "tries beyond the first: on a fresh connection instead of a dead pooled one, or on another host",
      {{"upstream", upstream}, {"outcome", std::string(outcome)}});
}

}  // namespace

// The connections of one core to one host. Shared with the connections that are out, so that one may come home late.
class Cluster::Pool final : public http::ConnectionHome, public std::enable_shared_from_this<Pool> {
 public:
  Pool(const std::string& upstream, Host host, const LimitConfig& limits, Metrics& metrics)
      : host_(std::move(host)),
        limits_(limits),
        sweep_(&Pool::sweep_due, this),
        seconds_(metrics.histogram("trellis_upstream_seconds", "time from the request to the head of the answer",
                                   {{"upstream", upstream}, {"host", host_.name}})),
        metrics_(metrics),
        upstream_(upstream),
        failed_(answers("none")),
        opened_(connection_counter(metrics, upstream, host_.name, "opened")),
        closed_count_(connection_counter(metrics, upstream, host_.name, "closed")),
        parked_(connection_counter(metrics, upstream, host_.name, "parked")),
        taken_(connection_counter(metrics, upstream, host_.name, "taken")) {}
  ~Pool() { close_idle(); }

  const Host& host() const noexcept { return host_; }
  size_t open() const noexcept { return open_; }
  size_t idle() const noexcept { return idle_; }
  bool full() const noexcept { return open_ >= limits_.connections; }

  // The most recently used idle connection that is still alive, or null.
  std::unique_ptr<http::ClientConnection> take() noexcept {
    while (http::ClientConnection* connection = newest_) {
      unlink(*connection);
      std::unique_ptr<http::ClientConnection> owned(connection);
      // What it sent unasked would be taken for the answer to the next request.
      if (owned->socket.quiet()) return owned;
    }
    return nullptr;
  }
  std::unique_ptr<http::ClientConnection> adopt(Socket socket) {
    return std::make_unique<http::ClientConnection>(std::move(socket), shared_from_this());
  }
  void opening() noexcept {
    ++open_;
    opened_.add();
  }

  void give_back(std::unique_ptr<http::ClientConnection> connection) noexcept override {
    if (closed_ || idle_ >= limits_.idle_connections) return;
    http::ClientConnection& c = *connection.release();
    c.idle_since = Loop::current().now();
    c.owner = this;
    c.on_gone = [](http::ClientConnection& gone, void* owner) noexcept {
      auto& self = *static_cast<Pool*>(owner);
      self.unlink(gone);
      delete &gone;
    };
    c.socket.watch(&c);
    c.pool_prev = nullptr;
    c.pool_next = newest_;
    (newest_ ? newest_->pool_prev : oldest_) = &c;
    newest_ = &c;
    ++idle_;
    parked_.add();
    c.socket.want_input();
    if (c.socket.has_input()) {  // it ended in this moment; on_gone is not called from inside want_input()
      unlink(c);
      delete &c;
      return;
    }
    if (sweep_.due() == kNever) sweep_.set(Loop::current().timers(), after(c.idle_since, limits_.idle_time));
  }
  void close_idle() noexcept {
    closed_ = true;
    sweep_.cancel();
    while (newest_) {
      http::ClientConnection* connection = newest_;
      unlink(*connection);
      delete connection;
    }
  }
  void closed() noexcept override {
    --open_;
    closed_count_.add();
  }
  void count(int status, Duration took) {
    Counter*& counter = answered_[std::clamp(status, 100, 599) - 100];
    if (!counter) counter = &answers(std::to_string(status));
    counter->add();
    seconds_.record(took);
  }
  void count_failure() noexcept { failed_.add(); }

 private:
  Counter& answers(std::string code) {
    return metrics_.counter("trellis_upstream_requests_total",
                            "answers of an upstream's host; code none: there was none",
                            {{"upstream", upstream_}, {"host", host_.name}, {"code", std::move(code)}});
  }
  void unlink(http::ClientConnection& c) noexcept {
    (c.pool_prev ? c.pool_prev->pool_next : newest_) = c.pool_next;
    (c.pool_next ? c.pool_next->pool_prev : oldest_) = c.pool_prev;
    c.pool_next = c.pool_prev = nullptr;
    c.on_gone = nullptr;
    c.socket.watch(nullptr);
    --idle_;
    taken_.add();
  }
  static void sweep_due(Timer& timer) noexcept {
    auto& self = *static_cast<Pool*>(timer.owner());
    const Time now = Loop::current().now();
    while (self.oldest_ && self.oldest_->idle_since + self.limits_.idle_time <= now) {
      http::ClientConnection* connection = self.oldest_;
      self.unlink(*connection);
      delete connection;
    }
    if (self.oldest_) timer.set(Loop::current().timers(), after(self.oldest_->idle_since, self.limits_.idle_time));
  }

  Host host_;
  LimitConfig limits_;
  http::ClientConnection* newest_ = nullptr;
  http::ClientConnection* oldest_ = nullptr;
  size_t idle_ = 0;
  size_t open_ = 0;
  bool closed_ = false;
  Timer sweep_;
  Histogram& seconds_;
  Metrics& metrics_;
  std::string upstream_;
  Counter& failed_;
  Counter& opened_;
  Counter& closed_count_;
  Counter& parked_;
  Counter& taken_;
  std::array<Counter*, 500> answered_{};  // by status - 100
};

Cluster::Cluster(std::string name, const UpstreamConfig& config, std::vector<Host> hosts, Metrics& metrics)
    : name_(std::move(name)),
      config_(config),
      retries_won_(retries(metrics, name_, "success")),
      retries_lost_(retries(metrics, name_, "failure")) {
  for (Host& host : hosts) pools_.push_back(std::make_shared<Pool>(name_, std::move(host), config_.limits, metrics));
}

Cluster::~Cluster() {
  for (const auto& pool : pools_) pool->close_idle();
}

size_t Cluster::open_connections() const noexcept {
  size_t sum = 0;
  for (const auto& pool : pools_) sum += pool->open();
  return sum;
}
size_t Cluster::idle_connections() const noexcept {
  size_t sum = 0;
  for (const auto& pool : pools_) sum += pool->idle();
  return sum;
}

Task<Result<http::Response>> Cluster::send(http::Request& request, http::RequestContext& context) {
  context.upstream = name_;
  // Holds until the head of the answer; its body has time limits of its own.
  struct Limited {
    http::RequestContext& context;
    Deadline before;
    ~Limited() { context.deadline = before; }
  } limited{context, context.deadline};
  // A body takes the time that its client takes, and has limits of its own.
  if (!request.body)
    context.deadline = std::min(context.deadline, after(Loop::current().now(), config_.timeouts.total));
  if (pools_.empty()) co_return fail(Error(Code::unavailable, "the upstream has no host").from(Side::self));
  std::optional<Error> last;
  const auto before_attempts = context.attempts;
  bool retried = false;
  const size_t first = next_;
  next_ = (next_ + 1) % pools_.size();
  for (size_t i = 0; i < pools_.size(); ++i) {
    Pool& pool = *pools_[(first + i) % pools_.size()];
    context.upstream_host = pool.host().name;
    const Time began = Loop::current().now();
    for (bool fresh : {false, true}) {
      retried = context.attempts++ > before_attempts;
      Result<http::Response> answer = co_await try_host(pool, request, context, fresh);
      if (answer) {
        if (retried) retries_won_.add();
        pool.count(answer->status, Loop::current().exact_now() - began);
        co_return answer;
      }
      if (retried) retries_lost_.add();
      if (answer.error().side() == Side::client) co_return answer;
      if (answer.error().side() != Side::self) pool.count_failure();
      last = std::move(answer).error();
      // A pooled connection was dead: once more on a fresh one, where a repeat does no harm.
      const bool stale = last->retry() == Retry::if_reused && http::is_idempotent(request.method) && !fresh;
      if (!stale) break;
    }
    if (last->retry() != Retry::yes) break;  // yes: nothing was sent
  }
  co_return fail(*std::move(last));
}

Task<Result<http::Response>> Cluster::try_host(Pool& pool, http::Request& request, http::RequestContext& context,
                                               bool fresh) {
  std::unique_ptr<http::ClientConnection> connection;
  if (!fresh) connection = pool.take();
  if (!connection) {
    if (pool.full()) {
      co_return fail(Error(Code::resource_exhausted, "all connections to the upstream are in use")
                         .from(Side::self)
                         .retry(Retry::yes));
    }
    // Counted from here on, so that a thousand requests at once do not open a thousand too many.
    struct Opening {
      std::shared_ptr<Pool> pool;
      bool made = false;
      explicit Opening(std::shared_ptr<Pool> p) : pool(std::move(p)) { pool->opening(); }
      ~Opening() {
        if (!made) pool->closed();
      }
    } opening(pool.shared_from_this());
    const Deadline deadline = std::min(context.deadline, after(Loop::current().now(), config_.timeouts.connect));
    Result<Socket> socket = co_await connect_socket(pool.host().address.storage, pool.host().address.length, deadline);
    if (!socket) {
      Error cause = std::move(socket).error();
      const Code code = cause.code() == Code::deadline_exceeded ? Code::deadline_exceeded : Code::unavailable;
      co_return fail(Error(code, "connect").because(std::move(cause)).from(Side::upstream).retry(Retry::yes));
    }
    connection = pool.adopt(*std::move(socket));
    opening.made = true;
  }
  http::RequestHeadOptions head;
  head.host = request.authority.empty() ? std::string_view(pool.host().name) : request.authority;
  if (request.body) {
    const auto length = request.body->length();
    head.body = length ? http::BodyKind::length : http::BodyKind::chunked;
    head.length = length.value_or(0);
  } else if (request.method == http::Method::post || request.method == http::Method::put ||
             request.method == http::Method::patch) {
    head.body = http::BodyKind::length;
  }
  const http::ClientTimeouts timeouts{.first_byte = config_.timeouts.first_byte, .idle = config_.timeouts.idle};
  auto answer = co_await http::exchange(std::move(connection), request, context, head, timeouts);
  co_return answer;
}

}  // namespace trellis::upstream
