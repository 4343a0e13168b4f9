#include <sys/socket.h>

#include <algorithm>

#include "http/server_exchange.h"
#include "runtime/loop.h"

namespace trellis::http::detail {

void Exchange::send_now(std::string_view text) noexcept {
  if (!unsent.empty()) return;
  const ssize_t sent = ::send(socket.fd(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent > 0) unsent = text.substr(static_cast<size_t>(sent));
}

void Exchange::send_interim(Response& response) noexcept {
  if (response.status < 102 || response.status > 199) return;
  remove_hop_by_hop(response.fields, false);
  OutBuffer out(arena);
  ResponseHeadOptions head;
  head.framing = framing_for(response, request.method, request.version_minor, true);
  if (write_response_head(out, response, head) == H1Error::none) send_now(out.view());
}

Deadline next_piece_due(const BodyProgress& body, const ServerOptions& options, Time now) noexcept {
  Deadline deadline = after(now, options.body_timeout);
  if (options.min_body_rate > 0) {
    constexpr uint64_t kLongest = 1'000'000'000;  // seconds: nothing overflows
    const auto earned = std::chrono::seconds(std::min(body.read / options.min_body_rate, kLongest));
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
    exchange_.send_now(kContinueHead);  // without it the client sends its body after a while (RFC 9110 §10.1.1)
  }
  while (true) {
    Result<Chunk> received =
        co_await socket.recv(std::min(deadline, next_piece_due(body, exchange_.options, Loop::current().now())));
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
