#include <sys/socket.h>

#include <algorithm>

#include "http/server_exchange.h"
#include "runtime/loop.h"

namespace trellis::http::detail {

Deadline RequestBody::pace() const noexcept {
  const BodyProgress& body = exchange_.body;
  const ServerOptions& options = exchange_.options;
  const Time now = Loop::current().now();
  Deadline deadline = after(now, options.body_timeout);
  if (options.min_body_rate > 0) {
    const auto earned = std::chrono::nanoseconds(body.read * 1'000'000'000ULL / options.min_body_rate);
    deadline = std::min(deadline, body.began + options.body_timeout + earned);
  }
  return deadline;
}

Task<Result<Chunk>> RequestBody::read(Deadline deadline) {
  BodyProgress& body = exchange_.body;
  Socket& socket = exchange_.socket;
  if (body.done) co_return Chunk();
  if (body.failed) co_return fail(Error(Code::cancelled, "the client's body broke off").from(Side::client));
  if (body.read == 0) body.began = Loop::current().now();
  body.taken = true;
  if (body.continue_wanted) {
    body.continue_wanted = false;
    // Without waiting: the answer may come while the body is still wanted, and there is one sender a socket. A client
    // that takes nothing goes without; it sends its body after a while all the same (RFC 9110 §10.1.1).
    const ssize_t sent = ::send(socket.fd(), kContinueHead.data(), kContinueHead.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0 && static_cast<size_t>(sent) < kContinueHead.size()) {  // the stream cannot be understood any more
      body.failed = true;
      ::shutdown(socket.fd(), SHUT_RDWR);
      co_return fail(Error(Code::cancelled, "the client takes nothing").from(Side::client));
    }
  }
  while (true) {
    Result<Chunk> received = co_await socket.recv(std::min(deadline, pace()));
    if (!received) {
      body.failed = true;
      const bool late = received.error().code() == Code::deadline_exceeded;
      Error error = late ? Error(Code::deadline_exceeded, "the body came too slowly")
                         : Error(Code::cancelled, "the client left in the middle of its body");
      co_return fail(std::move(error).from(Side::client));
    }
    Chunk chunk = *std::move(received);
    if (chunk.empty()) {
      body.failed = true;
      co_return fail(
          Error(Code::cancelled, "the client ended its stream in the middle of its body").from(Side::client));
    }
    if (body.kind == BodyKind::length) {
      const uint64_t left = body.length - body.read;
      if (chunk.size() > left) {
        socket.unread(chunk.slice(left, chunk.size() - left));
        chunk = chunk.slice(0, left);
      }
      body.read += chunk.size();
      body.done = body.read == body.length;
      co_return chunk;
    }
    size_t consumed = 0;
    const auto step = decoder_.next(chunk.view(), consumed);
    switch (step) {
      case ChunkedDecoder::Step::need_more: continue;
      case ChunkedDecoder::Step::data: {
        const std::string_view data = decoder_.data();
        Chunk piece = chunk.slice(static_cast<size_t>(data.data() - chunk.data()), data.size());
        if (consumed < chunk.size()) socket.unread(chunk.slice(consumed, chunk.size() - consumed));
        body.read += piece.size();
        co_return piece;
      }
      case ChunkedDecoder::Step::end:
        if (consumed < chunk.size()) socket.unread(chunk.slice(consumed, chunk.size() - consumed));
        body.done = true;
        co_return Chunk();
      case ChunkedDecoder::Step::error: body.failed = true; co_return fail(error_for(decoder_.error(), Side::client));
    }
  }
}

}  // namespace trellis::http::detail
