#include "http/server.h"

#include <atomic>
#include <cstring>
#include <string>
#include <utility>

#include "http/date.h"
#include "http/h1_writer.h"
#include "http/problem.h"
#include "http/server_exchange.h"
#include "net/address.h"
#include "net/address_set.h"
#include "net/proxy_protocol.h"
#include "runtime/loop.h"

namespace trellis::http {

using detail::Exchange;
using detail::RequestBody;

namespace {

class Connection;

constexpr size_t kCopyBody = 4096;          // a body up to this is copied behind its head: one piece to send
constexpr size_t kSendSlice = 256 * 1024;   // of a body in memory, each with a time limit of its own
constexpr size_t kGatherPieces = 8;         // of a pulled body, sent together
constexpr uint64_t kDrainBody = 64 * 1024;  // what is left of a request's body and is read to keep the connection
constexpr size_t kLingerBytes = 16 * 1024 * 1024;  // read and dropped after an answer that closes, within kLingerTime
constexpr auto kLingerTime = std::chrono::seconds(2);
// How long a connection may still ask when the server is going away.
constexpr auto kLastRequest = std::chrono::milliseconds(500);
constexpr int kNoAnswer = 444;             // in logs and metrics: reset by choice, as other servers number it
constexpr int kExchangesBeforeYield = 32;  // of one connection that pipelines

}  // namespace

struct Server::Impl {
  explicit Impl(ServerOptions server_options, std::shared_ptr<Application> app)
      : options(std::make_shared<const ServerOptions>(std::move(server_options))), application(std::move(app)) {}

  std::string_view date() noexcept {
    const int64_t second = unix_seconds(Loop::current().wall());
    if (second != date_second) {
      date_second = second;
      format_http_date(second, date_text);
    }
    return {date_text, sizeof date_text};
  }

  std::shared_ptr<const ServerOptions> options;
  std::shared_ptr<Application> application;
  Connection* first = nullptr;
  std::atomic<size_t> connections = 0;  // read by the metrics on other threads
  size_t in_flight = 0;
  uint64_t accepted = 0;
  std::atomic<uint64_t> turned_away = 0;
  bool draining = false;
  int64_t date_second = -1;
  char date_text[29];
  TaskGroup group;  // last: its tasks use what is above
};

namespace {

// Something of the connection that waits and is to be cancelled when the client leaves.
class Abort {
 public:
  virtual void abort() noexcept = 0;

 protected:
  ~Abort() = default;
};

class Connection final : public GoneWatcher {
 public:
  Connection(Server::Impl& impl, Socket stream) noexcept
      : server(impl),
        options(impl.options),
        application(impl.application),
        socket(std::move(stream)),
        grace_(&Connection::grace_over, this) {
    set_client(net::peer_of(socket.fd()));
    next = server.first;
    if (next) next->prev = this;
    server.first = this;
    server.connections.fetch_add(1, std::memory_order_relaxed);
    socket.watch(this);
    application->opened();
  }
  ~Connection() {
    application->closed();
    (prev ? prev->next : server.first) = next;
    if (next) next->prev = prev;
    server.connections.fetch_sub(1, std::memory_order_relaxed);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  std::string_view address() const noexcept { return {address_, address_size_}; }
  void set_client(const net::Address& client) noexcept {
    const std::string text = client.length > 0 ? client.host() : std::string();
    address_size_ = static_cast<uint8_t>(std::min(text.size(), sizeof address_));
    std::memcpy(address_, text.data(), address_size_);
    port = client.port();
  }

  // The client's stream ended or broke while nobody read from it. An end may be a half-close: what is under way gets
  // the grace time, counted anew for each wait; a break is final.
  void gone(int error) noexcept override {
    half_closed = true;
    if (error != 0) broken = true;
    if (broken && abort) return std::exchange(abort, nullptr)->abort();
    if (abort) start_grace();
  }
  // Takes what a reload has put in place, unless a request is under way. (No copy of a shared pointer a request: that
  // costs two locked instructions each.) An upgraded connection only holds on to its options.
  void renew() noexcept {
    if (busy && !upgraded) return;
    if (!upgraded && options != server.options) options = server.options;
    if (application != server.application) application = server.application;
  }
  void start_grace() noexcept {
    grace_.set(Loop::current().timers(), after(Loop::current().now(), options->half_close_grace));
  }
  void stop_grace() noexcept { grace_.cancel(); }

  Server::Impl& server;
  std::shared_ptr<const ServerOptions> options;  // of the request under way; the newest while idle
  std::shared_ptr<Application> application;      // likewise
  Socket socket;
  uint16_t port = 0;
  bool busy = false;
  bool upgraded = false;  // and nobody asks the application about its request any more
  bool half_closed = false;
  bool broken = false;
  Abort* abort = nullptr;
  Connection* next = nullptr;
  Connection* prev = nullptr;

 private:
  static void grace_over(Timer& timer) noexcept {
    auto& self = *static_cast<Connection*>(timer.owner());
    if (self.abort) std::exchange(self.abort, nullptr)->abort();
  }
  Timer grace_;
  char address_[46];
  uint8_t address_size_ = 0;
};

// Awaits a task, but destroys it and gives Code::cancelled when the client leaves first.
template <class T>
class UnlessGone final : public Abort {
 public:
  UnlessGone(Connection& connection, Task<Result<T>>& task, bool started) noexcept
      : connection_(connection), task_(task), started_(started) {}
  UnlessGone(const UnlessGone&) = delete;
  UnlessGone& operator=(const UnlessGone&) = delete;
  ~UnlessGone() {
    if (connection_.abort == this) connection_.abort = nullptr;
  }
  bool await_ready() const noexcept { return started_ && task_.done(); }
  bool await_suspend(std::coroutine_handle<> waiter) noexcept {
    if (!started_) task_.start();
    if (task_.done()) return false;
    if (connection_.broken) {
      task_ = {};
      return false;
    }
    task_.set_continuation(waiter);
    waiter_ = waiter;
    connection_.abort = this;
    if (connection_.half_closed) connection_.start_grace();
    return true;
  }
  Result<T> await_resume() {
    if (connection_.abort == this) connection_.abort = nullptr;
    if (connection_.half_closed) connection_.stop_grace();
    if (!task_) return fail(Error(Code::cancelled, "the client left").from(Side::client));
    return task_.take();
  }
  void abort() noexcept override {
    task_ = {};
    waiter_.resume();
  }

 private:
  Connection& connection_;
  Task<Result<T>>& task_;
  bool started_;
  std::coroutine_handle<> waiter_;
};

Deadline send_deadline(const ServerOptions& options, size_t bytes) noexcept {
  return after(Loop::current().now(), options.send_timeout * (1 + static_cast<int64_t>(bytes / (64 * 1024))));
}

// After an answer that closes: the client may still be sending, and closing on unread bytes would reset the connection
// under the answer.
Task<> linger(Connection& c) {
  c.socket.shutdown_send();
  const Deadline deadline = after(Loop::current().now(), kLingerTime);
  size_t dropped = 0;
  while (dropped < kLingerBytes) {
    Result<Chunk> chunk = co_await c.socket.recv(deadline);
    if (!chunk || chunk->empty()) co_return;
    dropped += chunk->size();
  }
}

// `received`: the beginning of what cannot be read.
Task<> refuse(Connection& c, Exchange& x, H1Error why, int status, std::string_view received) {
  const bool head_only = received.starts_with("HEAD ");
  c.application->refused(c.address(), status, why);
  const std::string_view code = why == H1Error::none ? "head_timeout" : to_string(why);
  const std::string_view detail =
      why == H1Error::none ? "The request's head did not come in time." : "The request is not valid HTTP/1.1.";
  Response response = problem(x.arena, status, code, detail, status == 408, {});
  OutBuffer out(x.arena);
  ResponseHeadOptions head;
  head.framing = framing_for(response, head_only ? Method::head : Method::get, 1, false);
  head.date = c.server.date();
  if (write_response_head(out, response, head) != H1Error::none) co_return;
  if (!head_only) out.append(response.body.bytes().view());
  iovec vector{const_cast<char*>(out.view().data()), out.size()};
  auto sent = co_await c.socket.send({&vector, 1}, send_deadline(*c.options, out.size()));
  if (sent) co_await linger(c);
}

// A body in memory that is too large to be copied behind its head.
Task<Result<>> send_bytes(Connection& c, OutBuffer& head, std::string_view bytes) {
  size_t at = 0;
  do {
    const size_t size = std::min(kSendSlice, bytes.size() - at);
    iovec vectors[2] = {{const_cast<char*>(head.view().data()), head.size()},
                        {const_cast<char*>(bytes.data()) + at, size}};
    const size_t skip = at == 0 ? 0 : 1;
    auto sent = co_await c.socket.send({vectors + skip, 2 - skip}, send_deadline(*c.options, size));
    CO_TRY_VOID(std::move(sent));
    at += size;
  } while (at < bytes.size());
  co_return Result<>();
}

// A body that is pulled: the head leaves with the first piece, or at once when that lets wait. Pieces that are there at
// the same time leave together: each send wakes the client.
Task<Result<>> send_stream(Connection& c, Exchange& x, OutBuffer& out, std::unique_ptr<BodyReader> stream,
                           const ResponseFraming& framing, Sent& sent) {
  const bool chunked = framing.body == BodyKind::chunked;
  uint64_t left = framing.body == BodyKind::length ? framing.length : UINT64_MAX;
  Task<Result<Chunk>> reading;
  bool ended = left == 0;
  while (!ended) {
    Chunk pieces[kGatherPieces];
    size_t count = 0;
    size_t total = 0;
    bool yielded = false;
    while (!ended && count < kGatherPieces && total < kSendSlice) {
      if (!reading) {
        reading = stream->read(x.context.deadline);
        reading.start();
      }
      if (count > 0 && !reading.done()) {
        if (yielded || framing.body != BodyKind::length) break;
        yielded = true;  // what came in the same turn of the loop is behind us in line
        co_await yield();
        if (!reading.done()) break;
      }
      if (!reading.done() && !out.empty()) {
        iovec vector{const_cast<char*>(out.view().data()), out.size()};
        auto head_sent = co_await c.socket.send({&vector, 1}, send_deadline(*c.options, out.size()));
        CO_TRY_VOID(std::move(head_sent));
        sent.bytes_out += out.size();
        out.clear();
      }
      Result<Chunk> piece = co_await UnlessGone<Chunk>(c, reading, true);
      reading = {};
      if (!piece) co_return fail(std::move(piece).error());
      if (piece->empty()) {
        ended = true;
        break;
      }
      if (piece->size() > left) co_return fail(Code::internal, "a body is longer than it said");
      if (framing.body == BodyKind::length) left -= piece->size();
      ended = left == 0;
      total += piece->size();
      pieces[count++] = *std::move(piece);
    }
    if (count == 0) break;
    if (chunked) write_chunk_line(out, total);
    iovec vectors[kGatherPieces + 2];
    size_t used = 0;
    if (!out.empty()) vectors[used++] = {const_cast<char*>(out.view().data()), out.size()};
    for (size_t i = 0; i < count; ++i) vectors[used++] = {const_cast<char*>(pieces[i].data()), pieces[i].size()};
    if (chunked) vectors[used++] = {const_cast<char*>("\r\n"), 2};
    sent.bytes_out += out.size() + total + (chunked ? 2 : 0);
    auto pieces_sent = co_await c.socket.send({vectors, used}, send_deadline(*c.options, total));
    CO_TRY_VOID(std::move(pieces_sent));
    out.clear();
  }
  if (framing.body == BodyKind::length && left > 0) co_return fail(Code::data_loss, "a body is shorter than it said");
  if (chunked) write_last_chunk(out, stream->trailers());
  if (!out.empty()) {
    iovec vector{const_cast<char*>(out.view().data()), out.size()};
    auto end_sent = co_await c.socket.send({&vector, 1}, send_deadline(*c.options, out.size()));
    CO_TRY_VOID(std::move(end_sent));
    sent.bytes_out += out.size();
  }
  co_return Result<>();
}

bool body_left(const Exchange& x) noexcept { return !x.body.done; }
// What is left of the request's body is little enough to be read for the sake of the connection.
bool worth_draining(const Exchange& x) noexcept {
  if (x.body.failed || x.body.continue_wanted) return false;
  if (x.body.kind == BodyKind::length) return x.body.length - x.body.read <= kDrainBody;
  return true;
}

// Before the answer to a request whose body nobody read: what has already come of it is read, so that a malformed body
// is refused and not answered. Waits for nothing. Not of a body that somebody reads: an upstream may answer while it is
// still being sent. False: malformed.
bool rest_is_sound(Connection& c, Exchange& x) {
  if (x.body.taken) return true;
  uint64_t seen = 0;
  while (body_left(x) && !x.body.continue_wanted && x.request.body && c.socket.has_bytes() && seen <= kDrainBody) {
    Task<Result<Chunk>> reading = x.request.body->read(kNever);
    reading.start();
    if (!reading.done()) return true;
    const Result<Chunk> piece = reading.take();
    if (!piece) return piece.error().code() != Code::invalid_argument;
    seen += piece->size();
  }
  return true;
}

Task<Result<>> send_response(Connection& c, Exchange& x, Response& response, bool& keep_alive, Sent& sent) {
  keep_alive = keep_alive && x.framing.keep_alive && !c.server.draining && (!body_left(x) || worth_draining(x));
  x.request.interim = nullptr;
  OutBuffer out(x.arena);
  if (!x.unsent.empty()) [[unlikely]]
    out.append(x.unsent);
  ResponseHeadOptions head;
  head.framing = framing_for(response, x.request.method, x.request.version_minor, keep_alive);
  head.version_minor = x.request.version_minor;
  head.method = x.request.method;
  head.date = c.server.date();
  if (write_response_head(out, response, head) != H1Error::none) {
    response = problem(x.arena, 500, "internal", "", false, x.context.request_id);
    head.framing = framing_for(response, x.request.method, x.request.version_minor, keep_alive);
    TRELLIS_ASSERT(write_response_head(out, response, head) == H1Error::none);
  }
  keep_alive = head.framing.keep_alive;
  x.body.continue_wanted = false;  // too late for it: the final answer is on its way
  sent.status = response.status;
  sent.first_byte = Loop::current().exact_now();

  const Body::Kind kind = head.framing.body == BodyKind::none ? Body::Kind::none : response.body.kind();
  switch (kind) {
    case Body::Kind::bytes: {
      const std::string_view bytes = response.body.bytes().view();
      if (bytes.size() > kCopyBody) {
        auto large = co_await send_bytes(c, out, bytes);
        CO_TRY_VOID(std::move(large));
        sent.bytes_out = out.size() + bytes.size();
        co_return Result<>();
      }
      out.append(bytes);
      [[fallthrough]];
    }
    case Body::Kind::none: {
      iovec vector{const_cast<char*>(out.view().data()), out.size()};
      auto small = co_await c.socket.send({&vector, 1}, send_deadline(*c.options, out.size()));
      CO_TRY_VOID(std::move(small));
      sent.bytes_out = out.size();
      co_return Result<>();
    }
    case Body::Kind::file: {
      iovec vector{const_cast<char*>(out.view().data()), out.size()};
      auto head_sent = co_await c.socket.send({&vector, 1}, send_deadline(*c.options, out.size()));
      CO_TRY_VOID(std::move(head_sent));
      const FileSlice& file = response.body.file();
      auto file_sent = co_await c.socket.send_file(file.file->fd(), file.offset, file.size, c.options->send_timeout);
      CO_TRY_VOID(std::move(file_sent));
      sent.bytes_out = out.size() + file.size;
      co_return Result<>();
    }
    case Body::Kind::stream: break;
  }
  auto streamed = co_await send_stream(c, x, out, response.body.take_stream(), head.framing, sent);
  co_return streamed;
}

// Collects a head that did not come in one piece. False: answered or given up, the connection ends.
Task<bool> collect_head(Connection& c, Exchange& x, HeadScanner& scanner, Chunk first, std::string_view& head) {
  std::string bytes(first.view());
  first = Chunk();
  const Deadline deadline = after(x.context.started, c.options->head_timeout);
  while (true) {
    Result<Chunk> more = co_await c.socket.recv(deadline);
    if (!more && more.error().code() == Code::deadline_exceeded) {
      co_await refuse(c, x, H1Error::none, 408, bytes);
      co_return false;
    }
    if (!more || more->empty()) co_return false;
    const size_t before = bytes.size();
    bytes.append(more->view().substr(0, c.options->limits.max_head + 1 - std::min(before, c.options->limits.max_head)));
    const auto end = scanner.find_end(bytes, c.options->limits);
    if (scanner.error() != H1Error::none) {
      co_await refuse(c, x, scanner.error(), status_for(scanner.error()), bytes);
      co_return false;
    }
    if (end) {
      head = x.arena.copy(std::string_view(bytes).substr(0, *end));
      const size_t used = *end - before;
      if (used < more->size()) c.socket.unread(more->slice(used, more->size() - used));
      co_return true;
    }
  }
}

// One request and its answer; true when another may follow on the connection.
Task<bool> serve_one(Connection& c, Chunk first) {
  auto exchange = std::make_unique<Exchange>(Loop::current(), c.socket, *c.options);
  Exchange& x = *exchange;

  HeadScanner scanner;
  std::string_view head;
  const auto end = scanner.find_end(first.view(), c.options->limits);
  if (scanner.error() != H1Error::none) {
    const std::string_view begin = x.arena.copy(first.view().substr(0, 8));
    first = Chunk();
    co_await refuse(c, x, scanner.error(), status_for(scanner.error()), begin);
    co_return false;
  }
  if (end) {
    head = x.arena.copy(first.view().substr(0, *end));
    if (*end < first.size()) c.socket.unread(first.slice(*end, first.size() - *end));
    first = Chunk();
  } else {
    const bool complete = co_await collect_head(c, x, scanner, std::move(first), head);
    if (!complete) co_return false;
  }
  const H1Error error = parse_request_head(head, c.options->limits, x.request, x.framing);
  if (error != H1Error::none) {
    co_await refuse(c, x, error, status_for(error), head);
    co_return false;
  }
  // No connection here is secured, and nobody behind this node may hear that one was (RFC 9110 section 7.4).
  if (x.request.scheme == "https") [[unlikely]] {
    co_await refuse(c, x, H1Error::bad_target, 421, head);
    co_return false;
  }

  x.application = c.application.get();
  if (x.request.scheme.empty()) x.request.scheme = "http";
  x.context.client_address = c.address();
  x.context.client_port = c.port;
  x.context.listener = c.options->listener;
  x.request.upgrade = x.framing.upgrade_requested;
  x.request.takes_trailers = x.framing.te_trailers;
  if (x.request.version_minor >= 1) x.request.interim = &x;  // RFC 9110 section 15.2: never to HTTP/1.0
  if (x.framing.body == BodyKind::chunked || x.framing.length > 0) {
    x.body = {.kind = x.framing.body,
              .length = x.framing.length,
              .done = false,
              .continue_wanted = x.framing.expect_continue};
    x.request.body = std::make_unique<RequestBody>(x);
  }

  // What follows a CONNECT that is refused may be meant for its tunnel: it is not read as a request.
  bool keep_alive = x.request.method != Method::connect;
  Sent sent;
  // Also when this coroutine is destroyed in the middle, at the end of a drain: what counts requests must come down
  // again.
  struct InFlight {
    Connection& c;
    Exchange& x;
    Sent& sent;
    std::unique_ptr<UpgradeEnd> upgrade_end = nullptr;
    InFlight(Connection& connection, Exchange& exchange_now, Sent& sent_now) noexcept
        : c(connection), x(exchange_now), sent(sent_now) {
      ++c.server.in_flight;
    }
    ~InFlight() { end(); }
    void end() noexcept {
      if (over) return;
      over = true;
      if (sent.status == 0) {
        sent.status = 499;
        sent.first_byte = Loop::current().now();
      }
      sent.bytes_in = x.body.read + x.traffic.from_client;
      sent.bytes_out += x.traffic.to_client;
      if (upgrade_end) {
        upgrade_end->finished(x.request, x.context, sent);
      } else {
        x.application->finished(x.request, x.context, sent);
      }
      --c.server.in_flight;
    }
    bool over = false;
  } in_flight(c, x, sent);
  {
    Task<Result<Response>> handling = x.application->handle(x.request, x.context);
    Result<Response> response = co_await UnlessGone<Response>(c, handling, false);
    if (!response) {
      const bool left = response.error().code() == Code::cancelled && response.error().side() == Side::client;
      keep_alive = keep_alive && !left;
      response = response_for(response.error(), x.context);
      if (left) {
        sent.status = 499;
        sent.first_byte = Loop::current().now();
      }
    }
    if (x.context.reset && sent.status == 0) [[unlikely]] {
      c.socket.reset_on_close();
      keep_alive = false;
      sent.status = kNoAnswer;
      sent.first_byte = Loop::current().now();
    }
    if (sent.status == 0) {
      if (body_left(x) && !rest_is_sound(c, x)) {
        response =
            problem(x.arena, 400, "bad_body", "The request's body is not valid HTTP/1.1.", false, x.context.request_id);
        x.context.failed_side = Side::client;
        x.context.outcome = "bad_body";
        keep_alive = false;
      }
      if (response->status == 101 && !(response->upgraded && x.request.upgrade)) [[unlikely]]
        response = problem(x.arena, 500, "internal", "", false, x.context.request_id);
      Result<> result = co_await send_response(c, x, *response, keep_alive, sent);
      sent.complete = result.has_value();
      if (sent.status == 101 && sent.complete) {
        keep_alive = false;
        in_flight.upgrade_end = x.application->upgraded(x.request, x.context, sent);
        if (in_flight.upgrade_end) {
          c.upgraded = true;
          c.renew();
        }
        handling = {};
        co_await response->upgraded->run(c.socket, x.traffic);
      }
      // Without a length or chunks the end of the connection is the end of the body: a cut one must not look whole.
      if (!sent.complete) c.socket.reset_on_close();
      keep_alive = keep_alive && sent.complete;
    }
  }
  in_flight.end();

  if (sent.complete && keep_alive && body_left(x)) {
    std::unique_ptr<BodyReader> body = std::move(x.request.body);
    uint64_t drained = 0;
    while (body && body_left(x) && drained <= kDrainBody) {
      Result<Chunk> chunk = co_await body->read(after(Loop::current().now(), kLingerTime));
      if (!chunk) break;  // and the client may still be sending: what it was told must reach it
      drained += chunk->size();
    }
    if (body_left(x)) keep_alive = false;
  }
  if (sent.complete && !keep_alive) {
    exchange.reset();
    co_await linger(c);
  }
  co_return keep_alive;
}

// What a balancer before us says of the client. False: nothing that counts, the connection ends without an answer.
Task<bool> take_header(Connection& c) {
  if (!c.options->header_from->has(c.address())) {
    c.application->header_refused(c.address(), "untrusted");
    co_return false;
  }
  auto header = co_await net::receive_proxy_header(c.socket, after(Loop::current().now(), c.options->header_timeout));
  if (!header) {
    // A check that connects and leaves is no fault.
    if (header.error().code() != Code::unavailable) {
      c.application->header_refused(c.address(), header.error().what());
    }
    co_return false;
  }
  if (header->told) c.set_client(header->from);
  co_return true;
}

Task<> run_connection(Server::Impl& server, Socket socket) {
  Connection c(server, std::move(socket));
  if (c.options->header_from) {
    const bool told = co_await take_header(c);
    if (!told) co_return;
  }
  int in_a_row = 0;
  while (true) {
    const bool waits = !c.socket.has_input();
    // Also in a drain: an answer whose head left before it said that the connection stays, so the client may ask again.
    const Duration patience = server.draining ? Duration(kLastRequest) : c.options->idle_timeout;
    Result<Chunk> first = co_await c.socket.recv(after(Loop::current().now(), patience));
    if (!first || first->empty()) co_return;
    c.busy = true;
    const bool more = co_await serve_one(c, *std::move(first));
    c.busy = false;
    if (!more) co_return;
    c.renew();
    in_a_row = waits ? 0 : in_a_row + 1;
    if (in_a_row >= kExchangesBeforeYield) {
      in_a_row = 0;
      co_await yield();
    }
  }
}

}  // namespace

Server::Server(ServerOptions options, std::shared_ptr<Application> application)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(application))) {}

Server::~Server() = default;

void Server::accept(int fd) {
  Socket socket = Socket::adopt(fd);
  ++impl_->accepted;
  if (connections() >= impl_->options->max_connections) {
    impl_->turned_away.fetch_add(1, std::memory_order_relaxed);
    impl_->application->turned_away();
    return;
  }
  impl_->group.spawn(run_connection(*impl_, std::move(socket)));
}

void Server::set_application(std::shared_ptr<Application> application) {
  impl_->application = std::move(application);
  for (Connection* c = impl_->first; c; c = c->next) c->renew();
}
void Server::set_options(ServerOptions options) {
  impl_->options = std::make_shared<const ServerOptions>(std::move(options));
  for (Connection* c = impl_->first; c; c = c->next) c->renew();
}

Task<bool> Server::drain(Deadline deadline) {
  impl_->draining = true;
  // Closed at once, a kept connection would meet the request that is just on its way with a reset. So it may ask once
  // more, and hears of the end in the answer.
  bool empty = co_await impl_->group.join(std::min(deadline, after(Loop::current().now(), kLastRequest)));
  if (empty) co_return true;
  // An idle connection's receive ends at once; one with a request under way sees `draining` after it.
  for (Connection* c = impl_->first; c; c = c->next) {
    if (!c->busy) ::shutdown(c->socket.fd(), SHUT_RD);
  }
  empty = co_await impl_->group.join(deadline);
  co_return empty;
}

size_t Server::connections() const noexcept { return impl_->connections.load(std::memory_order_relaxed); }
size_t Server::in_flight() const noexcept { return impl_->in_flight; }
uint64_t Server::accepted() const noexcept { return impl_->accepted; }
uint64_t Server::turned_away() const noexcept { return impl_->turned_away.load(std::memory_order_relaxed); }

}  // namespace trellis::http
