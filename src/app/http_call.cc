#include "app/http_call.h"

#include <netdb.h>

#include <cstring>

#include "http/client.h"
#include "http/target.h"
#include "net/address.h"
#include "runtime/loop.h"
#include "runtime/socket.h"

namespace trellis::app {

namespace {

constexpr uint64_t kMaxAnswer = 64ULL << 20;

// A body that is all there.
class TextBody final : public http::BodyReader {
 public:
  explicit TextBody(std::string text) : text_(std::move(text)), size_(text_.size()) {}
  Task<Result<Chunk>> read(Deadline) override { co_return Chunk::from_string(std::exchange(text_, {})); }
  std::optional<uint64_t> length() const noexcept override { return size_; }

 private:
  std::string text_;
  uint64_t size_;
};

Result<net::Address> resolve(const std::string& host, uint16_t port) {
  if (auto numeric = net::make_address(host == "localhost" ? "127.0.0.1" : host, port)) return numeric;
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(host.c_str(), nullptr, &hints, &found); error != 0) {
    return fail(Code::unavailable, "cannot resolve " + host + ": " + ::gai_strerror(error));
  }
  net::Address address;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  address.length = found->ai_addrlen;
  ::freeaddrinfo(found);
  return net::make_address(address.host(), port);
}

Task<> talk(net::Address address, http::Request& request, http::RequestContext& context, Result<CallAnswer>& out) {
  const Deadline deadline = after(Loop::current().now(), std::chrono::seconds(60));
  Result<Socket> socket = co_await connect_socket(address.storage, address.length, deadline);
  if (!socket) {
    out = fail(std::move(socket).error());
    co_return;
  }
  http::RequestHeadOptions head;
  head.keep_alive = false;
  if (request.body) {
    head.body = http::BodyKind::length;
    head.length = *request.body->length();
  }
  auto connection = std::make_unique<http::ClientConnection>(*std::move(socket), nullptr);
  Result<http::Response> response =
      co_await http::exchange(std::move(connection), request, context, head, {.first_byte = std::chrono::seconds(60)});
  if (!response) {
    out = fail(std::move(response).error());
    co_return;
  }
  CallAnswer answer{.status = response->status, .body = {}};
  if (response->body.kind() == http::Body::Kind::bytes) {
    answer.body = response->body.bytes().view();
  } else if (response->body.kind() == http::Body::Kind::stream) {
    std::unique_ptr<http::BodyReader> stream = response->body.take_stream();
    Result<std::string> text = co_await http::read_all(stream.get(), kMaxAnswer, deadline);
    if (!text) {
      out = fail(std::move(text).error());
      co_return;
    }
    answer.body = *std::move(text);
  }
  out = std::move(answer);
}

}  // namespace

Result<CallAnswer> call(const Call& wanted) {
  std::string_view rest = wanted.url;
  if (!rest.starts_with("http://")) return fail(Code::invalid_argument, "\"" + wanted.url + "\" is no http:// address");
  rest.remove_prefix(7);
  const size_t slash = rest.find('/');
  const std::string authority(rest.substr(0, slash));
  const std::string target = slash == std::string_view::npos ? "/" : std::string(rest.substr(slash));
  const bool has_port = authority.rfind(':') != std::string::npos && authority.back() != ']';
  TRY(auto parts, net::split_host_port(has_port ? authority : authority + ":80"));
  TRY(net::Address address, resolve(parts.first, parts.second));
  TRY(auto loop, Loop::make({.io = IoKind::epoll}));
  Arena arena;
  http::Request request(arena);
  http::RequestContext context{.arena = arena, .loop = *loop, .started = loop->now()};
  request.method = http::method_from(wanted.method);
  request.method_text = wanted.method;
  request.scheme = "http";
  request.authority = authority;
  if (http::normalise_target(target, arena, request.path, request.query) != http::H1Error{}) {
    return fail(Code::invalid_argument, "\"" + target + "\" is no path");
  }
  request.fields.add(http::FieldId::accept, "application/json");
  request.fields.add(http::FieldId::user_agent, "trellis");
  if (!wanted.body.empty()) {
    request.fields.add(http::FieldId::content_type, wanted.content_type);
    request.body = std::make_unique<TextBody>(wanted.body);
  }
  Result<CallAnswer> answer = CallAnswer{};
  Task<> talking = talk(address, request, context, answer);
  talking.start();
  while (!talking.done()) loop->run_once(std::chrono::seconds(1));
  if (!answer) {
    return fail(
        Error(Code::unavailable, "no node answers at " + authority + " (is it running? --control and --node say where)")
            .because(std::move(answer).error()));
  }
  return answer;
}

}  // namespace trellis::app
