#include "http/client.h"

#include <algorithm>

#include "http/h1_chunked.h"
#include "http/put_back.h"
#include "http/tunnel.h"
#include "runtime/loop.h"
#include "runtime/sync.h"

namespace trellis::http {

namespace {

constexpr H1Limits kAnswerLimits{.max_start_line = 8 * 1024, .max_head = 64 * 1024, .max_fields = 200};
constexpr int kMaxInterim = 16;  // 1xx answers before the final one

Error broken(std::string what) { return Error(Code::unavailable, std::move(what)).from(Side::upstream); }
Error malformed(std::string_view what) {
  return Error(Code::data_loss, "malformed answer: " + std::string(what)).from(Side::upstream);
}

// Did the upstream switch to what was asked for? (RFC 9110 section 7.8)
bool switched_as_asked(const Request& request, const Fields& answer) {
  if (!request.upgrade || !list_has(answer.joined(FieldId::connection), "upgrade")) return false;
  const std::string_view asked = request.fields.joined(FieldId::upgrade);
  std::string_view taken = answer.joined(FieldId::upgrade);
  if (taken.empty()) return false;
  while (const auto protocol = next_element(taken)) {
    if (!list_has(asked, *protocol)) return false;
  }
  return true;
}

// A request's head and body on their way to the upstream, beside the reading of the answer.
struct Pump {
  TaskGroup group;
  std::optional<Error> client_error;  // the client's body broke: what its answer must say
  std::optional<Error> head_error;    // the head could not be sent
  Task<Result<Chunk>> reading;        // of the body's next piece
  uint32_t pieces = 0;                // that were read
  bool whole = false;                 // the body's end was read, too
  Chunk first;                        // of the pieces, for as long as it is the only one
  bool running = true;
  bool done = false;  // all of it was sent
  Time ended{};       // when it stopped running

  void was_read(const Chunk& piece) noexcept {
    if (piece.empty()) {
      whole = true;
    } else {
      first = ++pieces == 1 ? piece : Chunk();
    }
  }
  void end(bool all_sent) noexcept {
    running = false;
    done = all_sent;
    ended = Loop::current().now();
  }
};

Error head_not_sent(const Error& cause) {
  const bool late = cause.code() == Code::deadline_exceeded;
  Error error = late ? Error(Code::deadline_exceeded, "the request could not be sent") : broken("the connection broke");
  return std::move(error).from(Side::upstream).retry(late ? Retry::no : Retry::if_reused);
}

// The head leaves with the body's first piece where that is there, or alone. Ends quietly when the upstream stops
// taking the body: it may have answered early, and the reader will see.
Task<> pump_request(Pump& pump, Socket& socket, std::string_view head, BodyReader& body, Arena& arena, bool chunked,
                    Duration idle) {
  pump.reading = body.read(kNever);
  pump.reading.start();
  if (!pump.reading.done()) {
    iovec vector{const_cast<char*>(head.data()), head.size()};
    auto sent = co_await socket.send({&vector, 1}, after(Loop::current().now(), idle));
    if (!sent) {
      pump.head_error = head_not_sent(sent.error());
      pump.end(false);
      ::shutdown(socket.fd(), SHUT_RDWR);
      co_return;
    }
    head = {};
  }
  while (true) {
    Result<Chunk> piece = co_await pump.reading.join();
    pump.reading = {};
    if (piece) pump.was_read(*piece);
    // A client may send a body in chunks of a byte: others get their turn in between.
    if (pump.pieces % 64 == 63) co_await yield();
    if (!piece) {
      pump.client_error = std::move(piece).error();
      pump.end(false);
      ::shutdown(socket.fd(), SHUT_RDWR);  // wakes the reader of the answer
      co_return;
    }
    char line[24];
    OutBuffer out(arena, line);
    iovec vectors[4];
    size_t count = 0;
    if (!head.empty()) vectors[count++] = {const_cast<char*>(head.data()), head.size()};
    if (piece->empty()) {
      if (chunked) write_last_chunk(out, body.trailers());
    } else if (chunked) {
      write_chunk_line(out, piece->size());
    }
    if (!out.empty()) vectors[count++] = {const_cast<char*>(out.view().data()), out.size()};
    if (!piece->empty()) {
      vectors[count++] = {const_cast<char*>(piece->data()), piece->size()};
      if (chunked) vectors[count++] = {const_cast<char*>("\r\n"), 2};
    }
    if (count > 0) {
      auto sent = co_await socket.send({vectors, count}, after(Loop::current().now(), idle));
      if (!sent) {
        pump.end(false);
        co_return;
      }
    }
    if (piece->empty()) {
      pump.end(true);
      co_return;
    }
    head = {};
    pump.reading = body.read(kNever);
    pump.reading.start();
  }
}

// Ends the sending. True: the request can be sent once more, for no more than the body's first piece was read of it,
// and the body has it back.
bool take_back(std::unique_ptr<Pump> pump, Request& request) {
  if (pump->reading && pump->reading.done()) {  // nobody has looked at it yet
    Result<Chunk> piece = pump->reading.take();
    if (!piece) return false;
    pump->was_read(*piece);
  }
  if (pump->pieces > 1 || pump->client_error) return false;
  Chunk first = std::move(pump->first);
  const bool whole = pump->whole;
  pump.reset();
  if (request.body->can_rewind()) return request.body->rewind();
  if (!first.empty() || whole)
    request.body = std::make_unique<PutBack>(std::move(first), std::move(request.body), whole);
  return true;
}

// An answer's body, read from the connection as it is pulled.
class AnswerBody final : public BodyReader {
 public:
  AnswerBody(std::unique_ptr<ClientConnection> connection, std::unique_ptr<Pump> pump, Arena& arena,
             const ResponseFraming& framing, Duration idle) noexcept
      : connection_(std::move(connection)),
        pump_(std::move(pump)),
        decoder_(arena),
        framing_(framing),
        left_(framing.length),
        idle_(idle) {}

  std::optional<uint64_t> length() const noexcept override {
    if (framing_.body == BodyKind::length) return framing_.length;
    return std::nullopt;
  }
  const Fields* trailers() const noexcept override { return decoder_.trailers(); }

  Task<Result<Chunk>> read(Deadline deadline) override {
    if (ended_) co_return Chunk();
    while (true) {
      Socket& socket = connection_->socket;
      Result<Chunk> received = co_await socket.recv(std::min(deadline, after(Loop::current().now(), idle_)));
      if (!received) {
        Error cause = std::move(received).error();
        const Code code = cause.code() == Code::deadline_exceeded ? Code::deadline_exceeded : Code::unavailable;
        co_return fail(Error(code, "the answer's body").from(Side::upstream).because(std::move(cause)));
      }
      Chunk chunk = *std::move(received);
      if (chunk.empty()) {
        if (framing_.body == BodyKind::until_close) {
          ended_ = true;
          co_return Chunk();
        }
        co_return fail(malformed("it ended in the middle of its body"));
      }
      if (framing_.body == BodyKind::until_close) co_return chunk;
      if (framing_.body == BodyKind::length) {
        if (chunk.size() > left_) {
          framing_.keep_alive = false;  // it said less than it sent
          chunk = chunk.slice(0, left_);
        }
        left_ -= chunk.size();
        if (left_ == 0) finish();
        co_return chunk;
      }
      size_t consumed = 0;
      switch (decoder_.next(chunk.view(), consumed)) {
        case ChunkedDecoder::Step::need_more: continue;
        case ChunkedDecoder::Step::data: {
          const std::string_view data = decoder_.data();
          Chunk piece = chunk.slice(static_cast<size_t>(data.data() - chunk.data()), data.size());
          if (consumed < chunk.size()) socket.unread(chunk.slice(consumed, chunk.size() - consumed));
          co_return piece;
        }
        case ChunkedDecoder::Step::end:
          if (consumed < chunk.size()) framing_.keep_alive = false;
          finish();
          co_return Chunk();
        case ChunkedDecoder::Step::error: co_return fail(malformed(to_string(decoder_.error())));
      }
    }
  }

 private:
  void finish() noexcept {
    ended_ = true;
    if (pump_ && !pump_->done) return;  // its request is still under way: not to be used again
    pump_.reset();
    if (framing_.keep_alive && connection_->socket.quiet()) {
      ++connection_->exchanges;
      if (auto home = connection_->home) home->give_back(std::move(connection_));
    }
  }

  std::unique_ptr<ClientConnection> connection_;
  std::unique_ptr<Pump> pump_;  // uses the connection: goes first
  ChunkedDecoder decoder_;
  ResponseFraming framing_;
  uint64_t left_;
  Duration idle_;
  bool ended_ = false;
};

}  // namespace

ClientConnection::ClientConnection(Socket stream, std::shared_ptr<ConnectionHome> pool) noexcept
    : socket(std::move(stream)), home(std::move(pool)) {}

ClientConnection::~ClientConnection() {
  if (home) home->closed();
}

void ClientConnection::gone(int) noexcept {
  if (on_gone) on_gone(*this, owner);
}

Task<Result<Response>> exchange(std::unique_ptr<ClientConnection> connection, Request& request, RequestContext& context,
                                const RequestHeadOptions& head, const ClientTimeouts& timeouts) {
  Socket& socket = connection->socket;
  const bool reused = connection->exchanges > 0;
  std::unique_ptr<Pump> pump;
  {
    OutBuffer out(context.arena);
    RequestHeadOptions options = head;
    options.upgrade = request.upgrade;
    options.te_trailers = request.takes_trailers;
    const H1Error error = write_request_head(out, request, options);
    if (error != H1Error::none) co_return fail(Error(Code::internal, "the request cannot be written").from(Side::self));
    if (request.body) {
      pump = std::make_unique<Pump>();
      pump->group.spawn(pump_request(*pump, socket, out.view(), *request.body, context.arena,
                                     head.body == BodyKind::chunked, timeouts.idle));
    } else {
      iovec vector{const_cast<char*>(out.view().data()), out.size()};
      auto sent = co_await socket.send({&vector, 1}, after(Loop::current().now(), timeouts.idle));
      if (!sent) co_return fail(head_not_sent(sent.error()));
    }
  }

  const Time request_sent = Loop::current().now();
  HeadScanner scanner(HeadKind::response);
  std::string collected;  // only for a head that comes in pieces
  for (int interim = 0;;) {
    // While the request is still being sent its own time limits hold; the answer's begins when that has ended.
    const Time waits_from = pump ? (pump->running ? Loop::current().now() : pump->ended) : request_sent;
    const Deadline deadline = std::min(after(waits_from, timeouts.first_byte), context.deadline);
    Result<Chunk> received = co_await socket.recv(deadline);
    if (pump && pump->client_error) co_return fail(std::move(*pump->client_error));
    if (pump && pump->head_error) {
      Error error = std::move(*pump->head_error);
      if (error.retry() == Retry::if_reused && !take_back(std::move(pump), request))
        error = std::move(error).retry(Retry::no);
      co_return fail(std::move(error));
    }
    if (!received && received.error().code() == Code::deadline_exceeded && Loop::current().now() < context.deadline &&
        pump && (pump->running || Loop::current().now() < after(pump->ended, timeouts.first_byte))) {
      continue;
    }
    const bool nothing_yet = collected.empty() && interim == 0;
    if (!received) {
      if (received.error().code() == Code::deadline_exceeded) {
        co_return fail(Error(Code::deadline_exceeded, "no answer in time").from(Side::upstream));
      }
      const bool repeatable = reused && nothing_yet && (!pump || take_back(std::move(pump), request));
      co_return fail(broken("the connection broke before an answer").retry(repeatable ? Retry::if_reused : Retry::no));
    }
    Chunk chunk = *std::move(received);
    if (chunk.empty()) {
      if (!nothing_yet) co_return fail(malformed("it ended in the middle of its head"));
      const bool repeatable = reused && (!pump || take_back(std::move(pump), request));
      co_return fail(broken("closed without an answer").retry(repeatable ? Retry::if_reused : Retry::no));
    }

    const size_t before = collected.size();
    std::string_view bytes = chunk.view();
    if (before > 0) {
      collected.append(bytes.substr(0, kAnswerLimits.max_head + 1 - std::min(before, kAnswerLimits.max_head)));
      bytes = collected;
    }
    const auto end = scanner.find_end(bytes, kAnswerLimits);
    if (scanner.error() != H1Error::none) co_return fail(malformed(to_string(scanner.error())));
    if (!end) {
      if (before == 0) collected.assign(bytes);
      continue;
    }
    const std::string_view text = context.arena.copy(bytes.substr(0, *end));
    const size_t used = *end - before;
    chunk.drop_front(used);
    collected.clear();
    scanner.reset();

    ResponseHead answer(context.arena);
    ResponseFraming framing;
    const H1Error error = parse_response_head(text, kAnswerLimits, request.method, answer, framing);
    if (error != H1Error::none) co_return fail(malformed(to_string(error)));
    if (framing.interim) {
      if (++interim > kMaxInterim) co_return fail(malformed("too many interim answers"));
      if (!chunk.empty()) socket.unread(std::move(chunk));
      if (request.interim && answer.status > 101) {
        Response response(context.arena, answer.status);
        response.fields = answer.fields;
        request.interim->send_interim(response);
      }
      continue;
    }
    if (framing.switched) {
      if (!switched_as_asked(request, answer.fields)) co_return fail(malformed("it switched protocols unasked"));
      Response response(context.arena, answer.status);
      response.fields = answer.fields;
      if (!chunk.empty()) socket.unread(std::move(chunk));
      response.upgraded = make_tunnel(std::move(connection), timeouts.upgraded);
      co_return response;
    }

    Response response(context.arena, answer.status);
    response.version_minor = answer.version_minor;
    response.fields = answer.fields;
    const bool request_done = !pump || pump->done;
    // The usual small answer: all of it is here, so the connection can go home before the answer is even sent.
    const bool whole =
        framing.body == BodyKind::none || (framing.body == BodyKind::length && framing.length <= chunk.size());
    if (whole && request_done) {
      const size_t size = framing.body == BodyKind::none ? 0 : framing.length;
      const bool clean = chunk.size() == size && framing.keep_alive;
      if (size > 0) response.body = Body(chunk.slice(0, size));
      pump.reset();
      if (clean && connection->socket.quiet()) {
        ++connection->exchanges;
        if (auto home = connection->home) home->give_back(std::move(connection));
      }
      co_return response;
    }
    if (!chunk.empty()) socket.unread(std::move(chunk));
    if (framing.body == BodyKind::none || (framing.body == BodyKind::length && framing.length == 0)) {
      // The upstream answered without a body while the request's is still coming: nothing more to read, drop both.
      co_return response;
    }
    response.body = Body(std::unique_ptr<BodyReader>(
        new AnswerBody(std::move(connection), std::move(pump), context.arena, framing, timeouts.idle)));
    co_return response;
  }
}

}  // namespace trellis::http
