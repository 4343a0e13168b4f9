// What goes through the node as it comes: upgraded connections, interim answers, trailers, streams piece by piece.
// Server, filters, forward target and upstream in one loop, over real connections on both backends.
#include "proxy/filters/compress.h"
#include "proxy/forward.h"
#include "proxy/received_fields.h"
#include "tests/unit/proxy/edge_kit.h"

namespace trellis::proxy {
namespace {

using namespace std::chrono_literals;
using namespace test;

class Edge final : public http::Application {
 public:
  explicit Edge(std::shared_ptr<upstream::Cluster> cluster) : forward_(std::move(cluster), "edge-1") {
    std::vector<std::unique_ptr<Filter>> filters;
    CompressConfig config;
    config.min_size = 1;
    filters.push_back(std::make_unique<CompressFilter>(config));
    chain_ = std::make_unique<Chain>(std::move(filters), forward_);
  }
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override {
    context.request_id = "id";
    take_off_received(request);
    return chain_->run(request, context);
  }
  void finished(const http::Request&, http::RequestContext&, const http::Sent& sent) noexcept override {
    ++done;
    last = sent;
  }
  void refused(std::string_view, int, http::H1Error) noexcept override {}
  int done = 0;
  http::Sent last;

 private:
  Forward forward_;
  std::unique_ptr<Chain> chain_;
};

// One upstream connection whose talk the test does: what was asked, and the socket.
struct Far {
  Socket* socket = nullptr;
  std::string asked;
  Event over;
};
// Keeps the connection until the test is done with it.
Task<> hand_out(Socket& socket, Far& far) {
  auto head = co_await receive_until(socket, "\r\n\r\n", kNever);
  if (!head || head->empty()) co_return;
  far.asked = *head;
  far.socket = &socket;
  co_await far.over.wait(kNever);
}

constexpr const char* kWebSocket =
    "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
constexpr const char* kSwitched =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

class PassThrough : public EdgeTest<Edge> {
 protected:
  void start() {
    EdgeTest::start([this](Socket& socket, int) { return hand_out(socket, far_); });
  }
  // Sends a request and gives what the upstream got of it.
  std::string ask(Socket& client, std::string request) {
    far_.socket = nullptr;
    send(client, std::move(request));
    EXPECT_TRUE(until([&] { return far_.socket != nullptr; }));
    return far_.asked;
  }
  // A client behind a handshake.
  Socket upgraded(int receive_buffer = 0) {
    Socket client = connect(receive_buffer);
    ask(client, kWebSocket);
    send(*far_.socket, kSwitched);
    EXPECT_TRUE(receive(client, "\r\n\r\n").starts_with("HTTP/1.1 101 "));
    return client;
  }

  Far far_;
};

// --- upgrades ---

TEST_P(PassThrough, AHandshakePassesWithAllItsFields) {
  start();
  Socket client = connect();
  const std::string asked = ask(client, kWebSocket);
  for (const char* field :
       {"Upgrade: websocket\r\n", "Connection: Upgrade\r\n", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Sec-WebSocket-Version: 13\r\n", "Via: 1.1 edge-1\r\n"})
    EXPECT_NE(asked.find(field), std::string::npos) << field << asked;
  EXPECT_EQ(times(asked, "Connection:"), 1U) << asked;
  send(*far_.socket, kSwitched);
  const std::string answer = receive(client, "\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n")) << answer;
  for (const char* field :
       {"Upgrade: WebSocket\r\n", "Connection: Upgrade\r\n", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"})
    EXPECT_NE(answer.find(field), std::string::npos) << field << answer;
  send(client, "\x81\x85ping");
  EXPECT_EQ(receive(*far_.socket, "ping"), "\x81\x85ping");
  send(*far_.socket, "\x81\x04pong");
  EXPECT_EQ(receive(client, "pong"), "\x81\x04pong");
  EXPECT_EQ(cluster_->open_connections(), 1U);
  EXPECT_EQ(cluster_->idle_connections(), 0U);
  far_.over.set();
  EXPECT_EQ(receive(client), "");
  client.close();
  EXPECT_TRUE(until([&] { return server_->connections() == 0; }));
  EXPECT_EQ(cluster_->open_connections(), 0U);
  EXPECT_EQ(edge_->done, 1);
  EXPECT_EQ(edge_->last.status, 101);
  EXPECT_EQ(edge_->last.bytes_in, 6U);
  EXPECT_EQ(edge_->last.bytes_out, answer.size() + 6U);
}

TEST_P(PassThrough, BytesBehindTheHeadsAreNotLost) {
  start();
  Socket client = connect();
  ask(client, std::string(kWebSocket) + "early from the client");
  turns(20);
  send(*far_.socket, std::string(kSwitched) + "early from the upstream");
  EXPECT_TRUE(receive(client, "the upstream").ends_with("\r\n\r\nearly from the upstream"));
  EXPECT_EQ(receive(*far_.socket, "the client"), "early from the client");
  far_.over.set();
}

Task<> say_and_end(Socket& socket, std::string text) {
  auto sent = co_await send_text(socket, std::move(text), kNever);
  if (sent) socket.shutdown_send();
}

TEST_P(PassThrough, WhatTheClientSaysAfterTheUpstreamsEndArrivesWhole) {
  start();
  Socket client = upgraded();
  far_.socket->shutdown_send();
  EXPECT_EQ(receive(client), "");
  const std::string much(6 << 20,
                         'x');  // more than all buffers between them hold: its end is known before the rest was read
  TaskGroup saying;
  saying.spawn(say_and_end(client, much));
  turns(50);
  EXPECT_EQ(receive(*far_.socket).size(), much.size());
}

TEST_P(PassThrough, EachWayEndsForItself) {
  start();
  Socket client = upgraded();
  send(client, "last words");
  client.shutdown_send();
  EXPECT_EQ(receive(*far_.socket), "last words");
  for (int i = 0; i < 3; ++i) {
    send(*far_.socket, "still " + std::to_string(i));
    EXPECT_EQ(receive(client, std::to_string(i)), "still " + std::to_string(i));
  }
  EXPECT_EQ(server_->connections(), 1U);
  far_.over.set();
  EXPECT_EQ(receive(client), "");
  EXPECT_TRUE(until([&] { return server_->connections() == 0; }));

  far_.over.reset();
  Socket second = upgraded();
  far_.socket->shutdown_send();
  EXPECT_EQ(receive(second), "");
  send(second, "one way goes on");
  EXPECT_EQ(receive(*far_.socket, "goes on"), "one way goes on");
  second.close();
  EXPECT_TRUE(until([&] { return server_->connections() == 0; }));
  far_.over.set();
}

TEST_P(PassThrough, ABreakOfOneSideEndsTheOther) {
  start();
  Socket client = upgraded();
  reset_on_close(client);
  client.close();
  EXPECT_EQ(receive(*far_.socket), "");
  EXPECT_TRUE(until([&] { return server_->connections() == 0; }));
  far_.over.set();
  turns(10);

  far_.over.reset();
  Socket second = upgraded();
  send(*far_.socket, "before the break");
  reset_on_close(*far_.socket);
  far_.over.set();
  EXPECT_EQ(receive(second), "before the break");
  second.close();
  EXPECT_TRUE(until([&] { return server_->connections() == 0; }));
}

TEST_P(PassThrough, WhoTakesNothingHoldsTheOtherSideBack) {
  start();
  Socket client = upgraded(16 * 1024);
  TaskGroup group;
  std::optional<Result<>> sent;
  const size_t size = size_t{32} << 20;
  std::string large(size, 'x');
  for (size_t i = 0; i < size; ++i) large[i] = static_cast<char>('a' + i % 23);
  group.spawn(into(send_text(*far_.socket, large, kNever), sent));
  turns(500);
  EXPECT_FALSE(sent) << "32 MiB went somewhere";
  send(client, "the other way is free");
  EXPECT_EQ(receive(*far_.socket, "free"), "the other way is free");
  auto got = fakes::run_task(*loop_, receive_bytes(client, size, soon()));
  ASSERT_TRUE(got);
  EXPECT_TRUE(*got == large);
  EXPECT_TRUE(sent);
  far_.over.set();
}

TEST_P(PassThrough, SilenceEndsAnUpgradedConnectionAndWordsEitherWayKeepIt) {
  config_.timeouts.upgraded = 20ms;
  start();
  Socket client = upgraded();
  EXPECT_EQ(receive(client), "");
  EXPECT_EQ(receive(*far_.socket), "");
  client.close();
  EXPECT_TRUE(until([&] { return server_->connections() == 0; }));
  far_.over.set();
  turns(10);

  far_.over.reset();
  config_.timeouts.upgraded = 0ms;
  start();
  Socket kept = upgraded();
  Event never;
  struct Wait {
    static Task<> some(Event& event) { co_await event.wait(after(Loop::current().now(), 50ms)); }
  };
  fakes::run_task(*loop_, Wait::some(never));
  send(kept, "no limit");
  EXPECT_EQ(receive(*far_.socket, "limit"), "no limit");
  far_.over.set();
}

TEST_P(PassThrough, AnotherAnswerThan101IsAUsualOne) {
  start();
  Socket client = connect();
  ask(client, kWebSocket);
  send(*far_.socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nUpgrade: websocket\r\n\r\nno");
  const std::string answer = receive(client, "no");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_EQ(answer.find("Upgrade"), std::string::npos) << answer;
  EXPECT_TRUE(until([&] { return cluster_->idle_connections() == 1; })) << "it can be used again";
  far_.over.set();
  turns(5);
  far_.over.reset();
  ask(client, kWebSocket);
  send(*far_.socket,
       "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Version: 8\r\n"
       "Content-Length: 0\r\n\r\n");
  const std::string other = receive(client, "\r\n\r\n");
  EXPECT_TRUE(other.starts_with("HTTP/1.1 426 ")) << other;
  EXPECT_NE(other.find("Upgrade: websocket\r\n"), std::string::npos) << other;
  EXPECT_NE(other.find("Connection: Upgrade\r\n"), std::string::npos) << other;
  far_.over.set();
}

TEST_P(PassThrough, ASwitchThatWasNotAskedForIsABadAnswer) {
  start();
  for (const char* request :
       {"GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: other, more/2\r\n\r\n"}) {
    far_.over.reset();
    Socket client = connect();
    ask(client, request);
    send(*far_.socket, kSwitched);
    EXPECT_TRUE(receive(client, "}").starts_with("HTTP/1.1 502 ")) << request;
    far_.over.set();
    turns(5);
  }
  for (const char* answer :
       {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket, evil\r\n\r\n"}) {
    far_.over.reset();
    Socket client = connect();
    ask(client, kWebSocket);
    send(*far_.socket, answer);
    EXPECT_TRUE(receive(client, "}").starts_with("HTTP/1.1 502 ")) << answer;
    far_.over.set();
    turns(5);
  }
}

TEST_P(PassThrough, WhatMayNotBeUpgradedIsAskedForWithoutIt) {
  start();
  for (const char* request :
       {"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: "
        "AAMAAABk\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\nHTTP2-Settings: "
        "AAMAAABk\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: "
        "chunked\r\n\r\n0\r\n\r\n"}) {
    far_.over.reset();
    Socket client = connect();
    const std::string asked = ask(client, request);
    for (const char* gone : {"Upgrade", "upgrade", "HTTP2-Settings"})
      EXPECT_EQ(asked.find(gone), std::string::npos) << request << asked;
    far_.over.set();
    turns(5);
  }
}

TEST_P(PassThrough, ADrainedServerCutsBothSides) {
  start();
  Socket client = upgraded();
  EXPECT_FALSE(fakes::run_task(*loop_, server_->drain(in(20))));
  send(client, "to the end");
  EXPECT_EQ(receive(*far_.socket, "end"), "to the end");
  server_.reset();
  EXPECT_EQ(receive(client), "");
  EXPECT_EQ(receive(*far_.socket), "");
  EXPECT_EQ(edge_->last.bytes_in, 10U);
  far_.over.set();
}

// --- interim answers ---

TEST_P(PassThrough, EarlyHintsReachTheClientBeforeTheAnswerIsThere) {
  start();
  Socket client = connect();
  ask(client, "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n");
  send(*far_.socket,
       "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n");
  EXPECT_EQ(receive(client, "\r\n\r\n"), "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
  send(*far_.socket, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hi");
  EXPECT_EQ(receive(client, "\r\n\r\n"), "HTTP/1.1 102 Processing\r\n\r\n");
  send(*far_.socket,
       "nts\r\nLink: </b.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello");
  const std::string rest = receive(client, "gzip");
  EXPECT_TRUE(rest.starts_with("HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\nHTTP/1.1 200 OK\r\n")) << rest;
  far_.over.set();
}

TEST_P(PassThrough, AnOldClientIsSparedThemAndTooManyAreABadAnswer) {
  start();
  Socket old = connect();
  ask(old, "GET / HTTP/1.0\r\nHost: h\r\n\r\n");
  send(*far_.socket, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_TRUE(receive(old).starts_with("HTTP/1.1 204 "));
  far_.over.set();
  turns(5);
  for (const size_t count : {size_t{16}, size_t{17}}) {
    far_.over.reset();
    Socket client = connect();
    ask(client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    std::string hints;
    for (size_t i = 0; i < count; ++i) hints += "HTTP/1.1 103 Early Hints\r\n\r\n";
    send(*far_.socket, hints + "HTTP/1.1 204 No Content\r\n\r\n");
    const std::string answer = receive(client, count == 16 ? "204 No Content" : "HTTP/1.1 502 ");
    EXPECT_EQ(times(answer, "HTTP/1.1 103 "), 16U);
    far_.over.set();
    turns(5);
  }
}

// --- trailers ---

TEST_P(PassThrough, TrailersPassBothWaysWithoutWhatMayNotStandThere) {
  start();
  Socket client = connect();
  ask(client,
      "POST / HTTP/1.1\r\nHost: h\r\nTE: trailers, deflate;q=0.5\r\nConnection: TE\r\nTransfer-Encoding: "
      "chunked\r\n\r\n"
      "2\r\nhi\r\n0\r\nX-Sum: 12\r\nAuthorization: Basic x\r\nX-Forwarded-For: 6.6.6.6\r\nCookie: a=b\r\n\r\n");
  EXPECT_NE(far_.asked.find("TE: trailers\r\n"), std::string::npos) << far_.asked;
  EXPECT_NE(far_.asked.find("Connection: TE\r\n"), std::string::npos) << far_.asked;
  EXPECT_EQ(far_.asked.find("deflate"), std::string::npos) << far_.asked;
  std::string body = body_of(far_.asked);
  const std::string end = "X-Sum: 12\r\n\r\n";  // it may have come with the head
  if (!body.ends_with(end)) body += receive(*far_.socket, end);
  EXPECT_EQ(body, "2\r\nhi\r\n0\r\nX-Sum: 12\r\n\r\n");
  send(*far_.socket,
       "HTTP/1.1 200 OK\r\nTrailer: grpc-status\r\nTransfer-Encoding: chunked\r\n\r\n"
       "3\r\nabc\r\n0\r\ngrpc-status: 0\r\nSet-Cookie: a=b\r\nServer-Timing: db;dur=5\r\nContent-Type: "
       "text/html\r\n\r\n");
  const std::string answer = receive(client, "Server-Timing: db;dur=5\r\n\r\n");
  EXPECT_TRUE(answer.ends_with("\r\n\r\n3\r\nabc\r\n0\r\ngrpc-status: 0\r\nServer-Timing: db;dur=5\r\n\r\n")) << answer;
  EXPECT_NE(answer.find("Trailer: grpc-status\r\n"), std::string::npos) << answer;
  far_.over.set();
}

TEST_P(PassThrough, TrailersSurviveCompression) {
  start();
  Socket client = connect();
  const std::string asked = ask(client, "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n");
  EXPECT_EQ(asked.find("TE:"), std::string::npos) << "the client did not say that it takes them";
  send(*far_.socket,
       "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: "
       "1\r\n\r\n");
  const std::string answer = receive(client, "X-Sum: 1\r\n\r\n");
  EXPECT_NE(answer.find("Content-Encoding: gzip"), std::string::npos) << answer;
  far_.over.set();
}

TEST_P(PassThrough, AnOldClientGetsTheBodyWithoutTrailers) {
  start();
  Socket client = connect();
  ask(client, "GET / HTTP/1.0\r\nHost: h\r\nTE: trailers\r\n\r\n");
  EXPECT_EQ(far_.asked.find("TE:"), std::string::npos);
  send(*far_.socket, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n");
  EXPECT_TRUE(receive(client).ends_with("\r\n\r\nabc"));
  far_.over.set();
}

// --- streams ---

TEST_P(PassThrough, EveryPieceArrivesBeforeTheNextIsWritten) {
  start();
  for (const char* type : {"text/event-stream", "text/plain", "application/grpc-web+proto"}) {
    for (const char* framing : {"chunked", "close", "length"}) {
      far_.over.reset();
      Socket client = connect();
      ask(client, "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip, br, zstd\r\n\r\n");
      const bool chunked = std::string_view(framing) == "chunked";
      const std::string how = chunked                                ? "Transfer-Encoding: chunked\r\n"
                              : std::string_view(framing) == "close" ? "Connection: close\r\n"
                                                                     : "Content-Length: 50\r\n";
      send(*far_.socket, "HTTP/1.1 200 OK\r\nContent-Type: " + std::string(type) + "\r\n" + how + "\r\n");
      const std::string head = receive(client, "\r\n\r\n");
      const bool encoded = head.find("Content-Encoding") != std::string::npos;
      EXPECT_EQ(encoded, std::string_view(type) == "text/plain") << type;
      for (int i = 0; i < 5; ++i) {
        const std::string event = "data: " + std::to_string(i) + "\n\n!";
        send(*far_.socket, chunked ? "a\r\n" + event + "\r\n" : event);
        // An encoded piece cannot be read here: that something came is what counts.
        const auto piece =
            fakes::run_task(*loop_, encoded ? receive_bytes(client, 1, soon()) : receive_until(client, "!", soon()));
        ASSERT_TRUE(piece) << type << framing << i << ": " << piece.error().to_string();
        EXPECT_FALSE(piece->empty());
        EXPECT_TRUE(encoded || piece->find("data: " + std::to_string(i)) != std::string::npos) << *piece;
      }
      client.close();
      far_.over.set();
      EXPECT_TRUE(until([&] { return server_->connections() == 0; }));
    }
  }
}

TEST_P(PassThrough, AClientThatLeavesEndsTheUpstreamsAnswer) {
  options_.half_close_grace = 10ms;
  start();
  for (const bool head_is_out : {true, false}) {
    for (const bool hard : {true, false}) {
      far_.over.reset();
      Socket client = connect();
      ask(client, "GET /events HTTP/1.1\r\nHost: h\r\n\r\n");
      if (head_is_out) {
        send(*far_.socket, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        receive(client, "\r\n\r\n");
      }
      if (hard) reset_on_close(client);
      client.close();
      EXPECT_EQ(receive(*far_.socket), "") << "the upstream's connection ends though it sends nothing";
      EXPECT_TRUE(until([&] { return cluster_->open_connections() == 0; }));
      far_.over.set();
      turns(5);
    }
  }
}

TEST_P(PassThrough, AStreamThatStopsIsCutAfterItsIdleTime) {
  config_.timeouts.idle = 20ms;
  start();
  Socket client = connect();
  ask(client, "GET /events HTTP/1.1\r\nHost: h\r\n\r\n");
  send(*far_.socket,
       "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  const std::string answer = receive(client);
  EXPECT_TRUE(answer.find("abc") != std::string::npos || answer.starts_with("error")) << answer;
  EXPECT_EQ(answer.find("0\r\n\r\n"), std::string::npos);
  EXPECT_FALSE(edge_->last.complete);
  far_.over.set();
}

INSTANTIATE_TEST_SUITE_P(Io, PassThrough, testing::Values(IoKind::uring, IoKind::epoll), io_name);

}  // namespace
}  // namespace trellis::proxy
