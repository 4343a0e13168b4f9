#include "upstream/health/check.h"

#include <memory>
#include <utility>

#include "base/arena.h"
#include "config/values.h"
#include "http/client.h"
#include "http/target.h"
#include "net/address.h"
#include "runtime/loop.h"
#include "runtime/socket.h"
#include "upstream/health/grpc_health.h"
#include "upstream/hosts.h"

namespace trellis::upstream {

namespace {

std::unexpected<Error> bad(std::string why) {
  return fail(Error(Code::unavailable, std::move(why)).from(Side::upstream));
}

std::string in_time(const HealthConfig& config) { return " in " + config::format_duration(config.timeout); }

// "connect: Connection refused" without what we did.
std::string cause_of(const Error& error) {
  const std::string& text = error.what();
  const size_t colon = text.find(": ");
  return colon == std::string::npos ? text : text.substr(colon + 2);
}

std::string quoted(std::string_view text) {
  return "\"" + std::string(text.substr(0, 40)) + (text.size() > 40 ? "...\"" : "\"");
}

// Looks for a text in bytes that come in pieces, in the first kMaxChecked of them.
class Search {
 public:
  explicit Search(std::string_view wanted) : wanted_(wanted) {}
  bool found() const noexcept { return found_; }
  bool full() const noexcept { return seen_.size() >= kMaxChecked; }
  void add(std::string_view piece) {
    const size_t from = seen_.size() < wanted_.size() ? 0 : seen_.size() - wanted_.size();
    seen_ += piece.substr(0, kMaxChecked - std::min(kMaxChecked, seen_.size()));
    found_ = found_ || seen_.find(wanted_, from) != std::string::npos;
  }

 private:
  std::string wanted_;
  std::string seen_;
  bool found_ = false;
};

Task<Result<std::string>> search_body(http::Body& body, const HealthConfig& config, Deadline deadline) {
  Search search(config.body);
  if (body.kind() == http::Body::Kind::bytes) search.add(body.bytes().view());
  if (body.kind() == http::Body::Kind::stream) {
    while (!search.found() && !search.full()) {
      Result<Chunk> piece = co_await body.stream().read(deadline);
      if (!piece) {
        if (piece.error().code() == Code::deadline_exceeded) co_return bad("the body did not end" + in_time(config));
        co_return bad("the body broke off");
      }
      if (piece->empty()) break;
      search.add(piece->view());
    }
  }
  if (!search.found())
    co_return bad((search.full() ? "the first 64KiB of the body do not say " : "the body does not say ") +
                  quoted(config.body));
  co_return "the body says " + quoted(config.body);
}

Task<Result<std::string>> check_http(Socket socket, const HostFacts& host, const HealthConfig& config,
                                     Deadline deadline) {
  Arena arena;
  http::Request request(arena);
  const bool head_only = config.method == HealthConfig::Method::head;
  request.method = head_only ? http::Method::head : http::Method::get;
  request.method_text = http::to_string(request.method);
  request.scheme = "http";
  request.authority = config.host.empty() ? std::string_view(host.authority) : std::string_view(config.host);
  const http::H1Error target = http::normalise_target(config.path, arena, request.path, request.query);
  TRELLIS_ASSERT(target == http::H1Error::none);  // the configuration was checked
  request.fields.add(http::FieldId::user_agent, "trellis-health");
  request.fields.add(http::FieldId::accept, "*/*");

  http::RequestContext context{
      .arena = arena, .loop = Loop::current(), .started = Loop::current().now(), .deadline = deadline};
  http::RequestHeadOptions head;
  head.keep_alive = false;
  head.host = request.authority;
  const Duration left = deadline - Loop::current().now();
  const http::ClientTimeouts timeouts{.first_byte = left, .idle = left};
  auto connection = std::make_unique<http::ClientConnection>(std::move(socket), nullptr);
  auto answer = co_await http::exchange(std::move(connection), request, context, head, timeouts);
  if (!answer) {
    if (answer.error().code() == Code::deadline_exceeded) co_return bad("no answer" + in_time(config));
    co_return bad(answer.error().what());
  }
  std::string said = "answered " + std::to_string(answer->status);
  if (!config.good_status(answer->status)) co_return bad(said + ", expected " + config.status_text());
  if (config.body.empty()) co_return said;
  auto searching = search_body(answer->body, config, deadline);
  Result<std::string> searched = co_await searching;
  if (!searched) co_return bad(said + ", but " + searched.error().what());
  co_return said + ", " + *searched;
}

Task<Result<>> send_all(Socket& socket, std::string text, Deadline deadline) {
  iovec vector{text.data(), text.size()};
  auto sent = co_await socket.send({&vector, 1}, deadline);
  co_return sent;
}

std::string why_not_sent(const Error& error, const HealthConfig& config) {
  return error.code() == Code::deadline_exceeded ? "it took nothing" + in_time(config)
                                                 : "the connection broke: " + cause_of(error);
}

Task<Result<std::string>> check_tcp(Socket socket, const HealthConfig& config, Deadline deadline) {
  if (!config.send.empty()) {
    auto sending = send_all(socket, config.send, deadline);
    Result<> sent = co_await sending;
    if (!sent) co_return bad(why_not_sent(sent.error(), config));
  }
  if (config.expect.empty()) co_return "took the connection";
  Search search(config.expect);
  while (!search.found() && !search.full()) {
    Result<Chunk> piece = co_await socket.recv(deadline);
    if (!piece) {
      if (piece.error().code() == Code::deadline_exceeded)
        co_return bad("did not say " + quoted(config.expect) + in_time(config));
      co_return bad("the connection broke: " + cause_of(piece.error()));
    }
    if (piece->empty()) co_return bad("closed before it said " + quoted(config.expect));
    search.add(piece->view());
  }
  if (!search.found()) co_return bad("said 64KiB without " + quoted(config.expect));
  co_return "said " + quoted(config.expect);
}

Task<Result<std::string>> check_grpc(Socket socket, const HostFacts& host, const HealthConfig& config,
                                     Deadline deadline) {
  GrpcHealth call(config.host.empty() ? host.authority : config.host, config.service, deadline - Loop::current().now());
  while (!call.done()) {
    std::string out = call.take_output();
    if (!out.empty()) {
      auto sending = send_all(socket, std::move(out), deadline);
      Result<> sent = co_await sending;
      if (!sent) co_return bad(why_not_sent(sent.error(), config));
    }
    Result<Chunk> piece = co_await socket.recv(deadline);
    if (!piece) {
      if (piece.error().code() == Code::deadline_exceeded) co_return bad("no answer" + in_time(config));
      co_return bad("the connection broke: " + cause_of(piece.error()));
    }
    if (piece->empty()) break;
    Result<> fed = call.feed(piece->view());
    if (!fed) co_return bad(fed.error().what());
  }
  co_return call.verdict();
}

}  // namespace

Task<Result<std::string>> check_host(const HostFacts& host, const HealthConfig& config) {
  const Deadline deadline = after(Loop::current().now(), config.timeout);
  net::Address address = host.address;
  if (config.port != 0) {
    if (auto other = net::make_address(host.address.host(), config.port)) address = *other;
  }
  auto connecting = connect_socket(address.storage, address.length, deadline);
  Result<Socket> socket = co_await connecting;
  if (!socket) {
    if (socket.error().code() == Code::deadline_exceeded) co_return bad("no connection" + in_time(config));
    if (socket.error().code() == Code::resource_exhausted)  // ours: it says nothing of the host
      co_return fail(Error(Code::resource_exhausted, cause_of(socket.error())).from(Side::self));
    co_return bad("no connection: " + cause_of(socket.error()));
  }
  Result<std::string> result;
  switch (config.kind) {
    case HealthConfig::Kind::http: {
      auto checking = check_http(*std::move(socket), host, config, deadline);
      result = co_await checking;
      break;
    }
    case HealthConfig::Kind::tcp: {
      auto checking = check_tcp(*std::move(socket), config, deadline);
      result = co_await checking;
      break;
    }
    case HealthConfig::Kind::grpc: {
      auto checking = check_grpc(*std::move(socket), host, config, deadline);
      result = co_await checking;
      break;
    }
  }
  co_return result;
}

}  // namespace trellis::upstream
