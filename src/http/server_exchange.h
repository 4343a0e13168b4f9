// One request and its answer on a server connection: what the connection's coroutine and the body reader share.
// Internal to the server (server.cc, server_body.cc). Lives from the first byte of a head to the end of its answer, on
// the connection's core.
#pragma once

#include <optional>

#include "http/h1_chunked.h"
#include "http/h1_parser.h"
#include "http/h1_writer.h"
#include "http/handler.h"
#include "http/server.h"
#include "runtime/frame_pool.h"
#include "runtime/socket.h"

namespace trellis::http::detail {

// How far the body of a request has been read. The connection looks at it after the answer.
struct BodyProgress {
  BodyKind kind = BodyKind::none;
  uint64_t length = 0;
  uint64_t read = 0;  // bytes of body handed out
  bool done = true;
  bool failed = false;           // the rest of the connection cannot be understood
  bool continue_wanted = false;  // the client waits for 100
  bool taken = false;            // somebody has begun to read it
  Time began{};
};

// When the next piece of a body that has begun must have come: within body_timeout, and so that as much is there by
// then as min_body_rate asks for.
Deadline next_piece_due(const BodyProgress& body, const ServerOptions& options, Time now) noexcept;

struct Exchange final : InterimSink {
  Exchange(Loop& loop, Socket& connection, const ServerOptions& server_options) noexcept
      : socket(connection),
        options(server_options),
        request(arena),
        context{.arena = arena, .loop = loop, .started = loop.now()} {}
  static void* operator new(size_t size) { return frame_alloc(size); }
  static void operator delete(void* memory, size_t size) noexcept { frame_free(memory, size); }

  Arena arena;
  Socket& socket;
  const ServerOptions& options;
  Request request;
  RequestFraming framing;
  RequestContext context;
  BodyProgress body;
  Application* application = nullptr;  // the connection keeps it
  Traffic traffic;                     // of an upgraded connection
  std::string_view unsent;             // the rest of an interim answer: goes out before anything else

  void send_interim(Response& response) noexcept override;
  // Sends without waiting: the answer may come at any time, and there is one sender a socket. A client that takes
  // nothing goes without.
  void send_now(std::string_view text) noexcept;
};

// Reads the request's body from the connection; sends 100 Continue before the first read where the client waits for it.
class RequestBody final : public BodyReader {
 public:
  explicit RequestBody(Exchange& exchange) noexcept : exchange_(exchange), decoder_(exchange.arena) {}
  Task<Result<Chunk>> read(Deadline deadline) override;
  std::optional<uint64_t> length() const noexcept override {
    if (exchange_.body.kind == BodyKind::length) return exchange_.body.length;
    return std::nullopt;
  }
  const Fields* trailers() const noexcept override { return decoder_.trailers(); }

 private:
  Exchange& exchange_;
  ChunkedDecoder decoder_;
};

}  // namespace trellis::http::detail
