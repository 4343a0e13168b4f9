#include "app/commands/http_call.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "http/client.h"
#include "http/target.h"
#include "net/resolve.h"
#include "runtime/loop.h"
#include "runtime/socket.h"

namespace trellis::app {

namespace {

constexpr uint64_t kMaxAnswer = 64ULL << 20;

// What a descriptor gives, read as it is sent. Blocks, which nobody minds here: the loop has nothing else to do.
class DescriptorBody final : public http::BodyReader {
 public:
  explicit DescriptorBody(const Streams& streams) : streams_(streams) {
    struct stat about{};
    if (::fstat(streams_.source, &about) == 0 && S_ISREG(about.st_mode)) {
      const off_t at = std::max<off_t>(::lseek(streams_.source, 0, SEEK_CUR), 0);
      size_ = static_cast<uint64_t>(std::max<off_t>(about.st_size - at, 0));
    }
  }
  Task<Result<Chunk>> read(Deadline) override {
    std::string piece(size_ ? std::min<uint64_t>(kPiece, *size_ - sent_) : kPiece, '\0');
    ssize_t got = 0;
    do {
      got = piece.empty() ? 0 : ::read(streams_.source, piece.data(), piece.size());
    } while (got < 0 && errno == EINTR);
    if (got < 0) co_return fail(errno_error("read the file", errno));
    piece.resize(static_cast<size_t>(got));
    if (piece.empty() && size_ && sent_ < *size_) co_return fail(Code::data_loss, "the file became shorter");
    sent_ += piece.size();
    if (streams_.sent) streams_.sent(sent_);
    co_return piece.empty() ? Chunk() : Chunk::from_string(std::move(piece));
  }
  std::optional<uint64_t> length() const noexcept override { return size_; }

 private:
  static constexpr size_t kPiece = 64 << 10;

  const Streams& streams_;
  std::optional<uint64_t> size_;
  uint64_t sent_ = 0;
};

Task<Result<void>> hand_on(http::BodyReader& body, const Streams& streams) {
  while (true) {
    Result<Chunk> piece = co_await body.read(kNever);
    if (!piece) co_return fail(std::move(piece).error());
    if (piece->empty()) co_return Result<void>();
    Result<void> taken = streams.take(piece->view());
    if (!taken) co_return fail(std::move(taken).error().from(Side::self));
  }
}

Task<> talk(net::Address address, http::Request& request, http::RequestContext& context, const Streams* streams,
            Result<CallAnswer>& out) {
  const Duration patience = streams ? Duration(std::chrono::minutes(10)) : Duration(std::chrono::seconds(60));
  const Deadline deadline = after(Loop::current().now(), std::chrono::seconds(60));
  Result<Socket> socket = co_await connect_socket(address.storage, address.length, deadline);
  if (!socket) {
    out = fail(std::move(socket).error());
    co_return;
  }
  http::RequestHeadOptions head;
  head.keep_alive = false;
  if (request.body) {
    const std::optional<uint64_t> length = request.body->length();
    head.body = length ? http::BodyKind::length : http::BodyKind::chunked;
    head.length = length.value_or(0);
  }
  auto connection = std::make_unique<http::ClientConnection>(*std::move(socket), nullptr);
  Result<http::Response> response = co_await http::exchange(std::move(connection), request, context, head,
                                                            {.first_byte = patience, .idle = patience});
  if (!response) {
    out = fail(std::move(response).error());
    co_return;
  }
  CallAnswer answer{.status = response->status, .body = {}};
  for (const http::Field& field : response->fields) answer.fields.emplace_back(field.name, field.value);
  if (streams && response->status == 200) {
    Result<void> taken;
    if (response->body.kind() == http::Body::Kind::bytes) {
      taken = streams->take(response->body.bytes().view());
      if (!taken) taken = fail(std::move(taken).error().from(Side::self));
    } else if (response->body.kind() == http::Body::Kind::stream) {
      std::unique_ptr<http::BodyReader> stream = response->body.take_stream();
      taken = co_await hand_on(*stream, *streams);
    }
    if (taken) {
      out = std::move(answer);
    } else {
      out = fail(std::move(taken).error());
    }
    co_return;
  }
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

namespace {

Result<CallAnswer> send_call(const Call& wanted, const Streams* streams) {
  std::string_view rest = wanted.url;
  if (!rest.starts_with("http://")) return fail(Code::invalid_argument, "\"" + wanted.url + "\" is no http:// address");
  rest.remove_prefix(7);
  const std::string authority(rest.substr(0, rest.find_first_of("/?")));
  std::string target(rest.substr(authority.size()));
  if (!target.starts_with('/')) target.insert(0, "/");
  const std::string at = wanted.connect.empty() ? authority : wanted.connect;
  const bool has_port = at.rfind(':') != std::string::npos && at.back() != ']';
  TRY(auto parts, net::split_host_port(has_port ? at : at + ":80"));
  // "localhost" is where a node listens by default, whatever the resolver's order is.
  TRY(const auto addresses,
      net::resolve_blocking(parts.first == "localhost" ? "127.0.0.1" : parts.first, parts.second));
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
  for (const auto& [name, value] : wanted.fields) request.fields.add_copy(name, value);
  if (!wanted.as_client && !request.fields.has(http::FieldId::accept))
    request.fields.add(http::FieldId::accept, "application/json");
  if (!request.fields.has(http::FieldId::user_agent)) request.fields.add(http::FieldId::user_agent, "trellis");
  if (!wanted.key.empty()) request.fields.add("X-Api-Key", wanted.key);
  if (!wanted.body.empty()) {
    request.fields.add(http::FieldId::content_type, wanted.content_type);
    request.body = std::make_unique<http::TextBody>(wanted.body);
  } else if (streams && streams->source >= 0) {
    request.fields.add(http::FieldId::content_type, wanted.content_type);
    request.body = std::make_unique<DescriptorBody>(*streams);
  }
  Result<CallAnswer> answer = CallAnswer{};
  Task<> talking = talk(addresses.front(), request, context, streams, answer);
  talking.start();
  while (!talking.done()) loop->run_once(std::chrono::seconds(1));
  // What went wrong on this side, such as a full disk, is no trouble of the node.
  if (!answer && answer.error().code() != Code::cancelled && answer.error().side() != Side::self) {
    return fail(
        Error(Code::unavailable, "no node answers at " + at + " (is it running? --control and --node say where)")
            .because(std::move(answer).error()));
  }
  return answer;
}

}  // namespace

std::string url_at(std::string_view node, std::string_view path) {
  while (node.ends_with('/')) node.remove_suffix(1);
  return std::string(node).append(path);
}

Result<CallAnswer> call(const Call& request) { return send_call(request, nullptr); }

Result<CallAnswer> call_streaming(const Call& request, const Streams& streams) { return send_call(request, &streams); }

}  // namespace trellis::app
