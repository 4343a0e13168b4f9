// The server over real connections, the same on both backends.
#include "http/server.h"

#include <fcntl.h>

#include "net/address_set.h"
#include "tests/unit/http/wire_kit.h"

namespace trellis::http {
namespace {

using namespace std::chrono_literals;
using namespace test;

// Answers by path; remembers what became of each request.
class App final : public Application {
 public:
  Task<Result<Response>> handle(Request& request, RequestContext& context) override {
    ++handled;
    Response response(context.arena);
    response.fields.add(FieldId::content_type, "text/plain");
    if (request.path == "/echo") {
      auto body = co_await read_all(request.body.get(), 64 << 20, kNever);
      CO_TRY(std::string text, std::move(body));
      response.body = Body(std::move(text));
    } else if (request.path == "/stream") {
      response.body = Body(std::move(request.body));
    } else if (request.path == "/large") {
      response.body = Body(std::string(8 << 20, 'x'));
    } else if (request.path == "/pieces") {
      response.body = Body(std::unique_ptr<BodyReader>(new Pieces(*this, 4096)));
    } else if (request.path == "/tail") {
      response.body = Body(std::unique_ptr<BodyReader>(new HeldTail(*this)));
    } else if (request.path == "/hang") {
      Waiting guard(*this);
      co_await hold.wait(kNever);
      response.body = Body::of_static("held");
    } else if (request.path == "/who") {
      response.body = Body(std::string(context.client_address) + " " + std::to_string(context.client_port));
    } else if (request.path == "/peek") {  // reads one piece, answers, leaves the rest
      auto piece = co_await request.body->read(kNever);
      CO_TRY_VOID(std::move(piece));
      response.body = Body::of_static("peeked");
    } else {
      std::string text(request.path);
      response.body = Body(std::move(text));
    }
    co_return response;
  }
  void finished(const Request&, RequestContext&, const Sent& sent) noexcept override {
    ++done;
    last = sent;
  }
  void refused(std::string_view, int status, H1Error) noexcept override { refused_with = status; }
  void header_refused(std::string_view, std::string_view why) noexcept override { refused_header = why; }
  void opened() noexcept override { ++open; }
  void closed() noexcept override { --open; }
  void turned_away() noexcept override { ++away; }

  Event hold;
  int handled = 0;
  int done = 0;
  int waiting = 0;
  int cancelled = 0;
  int open = 0;
  int away = 0;
  int refused_with = 0;
  std::string refused_header;
  size_t pulled = 0;
  Sent last;

 private:
  struct Waiting {
    explicit Waiting(App& app) : app_(app) { ++app_.waiting; }
    ~Waiting() {
      --app_.waiting;
      if (!app_.hold.is_set()) ++app_.cancelled;
    }
    App& app_;
  };
  // So many pieces of 16 KiB.
  class Pieces final : public BodyReader {
   public:
    Pieces(App& app, int count) : app_(app), left_(count) {}
    Task<Result<Chunk>> read(Deadline) override {
      if (left_-- <= 0) co_return Chunk();
      app_.pulled += 16384;
      co_return Chunk::from_string(std::string(16384, 'p'));
    }
    std::optional<uint64_t> length() const noexcept override { return std::nullopt; }

   private:
    App& app_;
    int left_;
  };
  // One piece, which is held back: the head leaves without it.
  class HeldTail final : public BodyReader {
   public:
    explicit HeldTail(App& app) : app_(app) {}
    Task<Result<Chunk>> read(Deadline) override {
      if (std::exchange(over_, true)) co_return Chunk();
      co_await app_.hold.wait(kNever);
      co_return Chunk::of_static("tail");
    }
    std::optional<uint64_t> length() const noexcept override { return 4; }

   private:
    App& app_;
    bool over_ = false;
  };
};

class HttpServer : public OnBothBackends {
 protected:
  void SetUp() override {
    OnBothBackends::SetUp();
    if (!loop_) return;
    app_ = std::make_shared<App>();
    options_.listener = "test";
    options_.half_close_grace = 20ms;
    server_ = std::make_unique<Server>(options_, app_);
  }
  void restart() { server_ = std::make_unique<Server>(options_, app_); }
  Socket connect(int receive_buffer = 0) {
    TcpPair pair = tcp_pair(*loop_, receive_buffer);
    server_->accept(pair.fd);
    return std::move(pair.far);
  }
  void send(Socket& socket, std::string text) {
    const auto sent = fakes::run_task(*loop_, send_text(socket, std::move(text), soon()));
    EXPECT_TRUE(sent);
  }
  std::string receive(Socket& socket, std::string mark = "") {
    auto got = fakes::run_task(*loop_, receive_until(socket, std::move(mark), soon()));
    return got ? *got : "error: " + got.error().to_string();
  }
  std::string ask(Socket& socket, std::string text, std::string mark) {
    send(socket, std::move(text));
    return receive(socket, std::move(mark));
  }

  ServerOptions options_;
  std::shared_ptr<App> app_;
  std::unique_ptr<Server> server_;
};

TEST_P(HttpServer, AnswersAndKeepsTheConnection) {
  Socket client = connect();
  for (int i = 0; i < 3; ++i) {
    const std::string answer = ask(client, "GET /one HTTP/1.1\r\nHost: h\r\n\r\n", "/one");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
    EXPECT_EQ(body_of(answer), "/one");
  }
  EXPECT_EQ(app_->done, 3);
  EXPECT_EQ(app_->open, 1);
  client.close();
  EXPECT_TRUE(until([&] { return server_->connections() == 0; }));
  EXPECT_EQ(app_->open, 0);
  EXPECT_EQ(server_->in_flight(), 0U);
}

TEST_P(HttpServer, HearsOfTheClientFromATrustedBalancer) {
  options_.header_from = std::make_shared<const net::AddressSet>(
      std::vector<net::AddressSet::Block>{*net::AddressSet::parse_block("127.0.0.0/8")});
  options_.header_timeout = 20ms;
  restart();
  Socket client = connect();
  const std::string who = "GET /who HTTP/1.1\r\nHost: h\r\n\r\n";
  const std::string told = ask(client, "PROXY TCP4 203.0.113.9 192.0.2.1 4711 80\r\n" + who, "4711");
  EXPECT_EQ(body_of(told), "203.0.113.9 4711");
  EXPECT_EQ(body_of(ask(client, who, "4711")), "203.0.113.9 4711") << "once a connection";

  Socket bad = connect();
  EXPECT_EQ(ask(bad, who, ""), "") << "closed without an answer";
  EXPECT_EQ(app_->refused_header, "bad PROXY header: signature");
  Socket silent = connect();
  EXPECT_EQ(receive(silent), "");
  EXPECT_EQ(app_->handled, 2);

  options_.header_from = std::make_shared<const net::AddressSet>(
      std::vector<net::AddressSet::Block>{*net::AddressSet::parse_block("10.0.0.0/8")});
  restart();
  Socket stranger = connect();
  EXPECT_EQ(receive(stranger), "");
  EXPECT_EQ(app_->refused_header, "untrusted");
}

TEST_P(HttpServer, AnswersPipelinedRequestsInTheirOrder) {
  Socket client = connect();
  std::string requests;
  for (int i = 0; i < 200; ++i) requests += "GET /n" + std::to_string(i) + "! HTTP/1.1\r\nHost: h\r\n\r\n";
  requests += "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
  const std::string answers = ask(client, requests, "");
  size_t at = 0;
  for (int i = 0; i < 200; ++i) {
    at = answers.find("\r\n\r\n/n" + std::to_string(i) + "!", at);
    ASSERT_NE(at, std::string::npos) << i;
  }
  EXPECT_EQ(times(answers, "HTTP/1.1 200 OK"), 201U);
  EXPECT_TRUE(answers.ends_with("/last"));
}

TEST_P(HttpServer, AHeadMayComeByteByByte) {
  Socket client = connect();
  for (const char c :
       std::string("POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")) {
    send(client, std::string(1, c));
    turns(2);
  }
  EXPECT_EQ(body_of(receive(client, "abc")), "abc");
}

TEST_P(HttpServer, AHeadThatComesTooSlowlyIs408) {
  options_.head_timeout = 5ms;
  restart();
  Socket client = connect();
  const std::string answer = ask(client, "GET / HT", "");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 408 ")) << answer;
  EXPECT_EQ(app_->refused_with, 408);
  EXPECT_EQ(app_->handled, 0);
}

TEST_P(HttpServer, AnIdleConnectionIsClosedWithoutAWord) {
  options_.idle_timeout = 5ms;
  restart();
  Socket client = connect();
  EXPECT_EQ(receive(client), "");
  EXPECT_TRUE(until([&] { return server_->connections() == 0; }));
}

TEST_P(HttpServer, WhatIsNoRequestIsRefusedAndTheConnectionClosed) {
  Socket client = connect();
  const std::string answer = ask(client, "GET / HTTP/1.1\r\nHost : h\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n", "");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 ")) << answer;
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
  EXPECT_EQ(times(answer, "HTTP/1.1 "), 1U);
  EXPECT_EQ(app_->handled, 0);
  EXPECT_EQ(app_->refused_with, 400);
}

TEST_P(HttpServer, ALargeBodyGoesBothWays) {
  Socket client = connect();
  std::string large(3 << 20, 'a');
  for (size_t i = 0; i < large.size(); ++i) large[i] = static_cast<char>('a' + i % 25);
  TaskGroup group;
  std::optional<Result<>> sent;
  const std::string head =
      "POST /stream HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: " + std::to_string(large.size()) +
      "\r\n\r\n";
  group.spawn(into(send_text(client, head + large, soon()), sent));
  EXPECT_TRUE(body_of(receive(client)) == large);
  EXPECT_TRUE(sent && *sent);
  EXPECT_EQ(app_->last.bytes_in, large.size());
}

TEST_P(HttpServer, AnAnswerThatStreamsItsRequestBackLosesNoByte) {
  Socket client = connect();
  send(client, "POST /stream HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  std::string got = receive(client, "abc\r\n");
  send(client, "4\r\ndefg\r\n0\r\n\r\n");
  got += receive(client, "0\r\n\r\n");
  EXPECT_EQ(body_of(got), "3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n");
}

TEST_P(HttpServer, ASlowReaderHoldsTheBodyBack) {
  Socket client = connect(16 * 1024);
  send(client, "GET /pieces HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  turns(300);
  EXPECT_LT(app_->pulled, size_t{12} << 20) << "pulled on without a reader";
  const std::string answer = receive(client);
  EXPECT_GT(answer.size(), size_t{64} << 20);
  EXPECT_TRUE(answer.ends_with("\r\n0\r\n\r\n"));
}

TEST_P(HttpServer, AClientThatTakesNothingIsClosed) {
  options_.send_timeout = 5ms;
  restart();
  Socket client = connect(16 * 1024);
  send(client, "GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_TRUE(until([&] { return server_->connections() == 0; }));
  EXPECT_EQ(app_->done, 1);
  EXPECT_FALSE(app_->last.complete);
}

TEST_P(HttpServer, ABodyThatStopsComingIs408) {
  options_.body_timeout = 5ms;
  restart();
  Socket client = connect();
  const std::string answer = ask(client, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc", "");
  EXPECT_TRUE(answer.empty() || answer.starts_with("HTTP/1.1 408 ")) << answer;
  EXPECT_NE(answer, "");
  EXPECT_TRUE(until([&] { return server_->connections() == 0; }));
}

TEST_P(HttpServer, AHandlerIsCancelledWhenItsClientResets) {
  Socket client = connect();
  send(client, "GET /hang HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(until([&] { return app_->waiting == 1; }));
  reset_on_close(client);
  client.close();
  EXPECT_TRUE(until([&] { return app_->waiting == 0 && server_->connections() == 0; }));
  EXPECT_EQ(app_->cancelled, 1);
  EXPECT_EQ(app_->done, 1);
  EXPECT_EQ(app_->last.status, 499);
  EXPECT_EQ(server_->in_flight(), 0U);
}

TEST_P(HttpServer, AHandlerGoesOnForAMomentAfterAHalfClose) {
  Socket client = connect();
  send(client, "GET /hang HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(until([&] { return app_->waiting == 1; }));
  client.shutdown_send();
  turns(5);
  app_->hold.set();
  EXPECT_EQ(body_of(receive(client)), "held");
}

TEST_P(HttpServer, AHalfCloseEndsTheHandlerAfterTheGrace) {
  Socket client = connect();
  send(client, "GET /hang HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(until([&] { return app_->waiting == 1; }));
  client.shutdown_send();
  EXPECT_TRUE(until([&] { return app_->waiting == 0; }));
  EXPECT_EQ(app_->cancelled, 1);
  EXPECT_EQ(app_->last.status, 499);
}

TEST_P(HttpServer, AnEndThatCameWithTheRequestEndsTheHandlerToo) {
  TcpPair pair = tcp_pair(*loop_);
  send(pair.far, "GET /hang HTTP/1.1\r\nHost: h\r\n\r\n");
  server_->accept(pair.fd);
  pair.far.close();  // before the loop has seen the request
  EXPECT_TRUE(until([&] { return app_->handled == 1 && app_->waiting == 0; }));
  EXPECT_TRUE(until([&] { return server_->connections() == 0; }));
  // The same on a connection that waits already: bytes and end in one event.
  Socket client = connect();
  turns(3);
  const std::string text = "GET /hang HTTP/1.1\r\nHost: h\r\n\r\n";
  ASSERT_EQ(::send(client.fd(), text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  client.close();
  turns(1);
  EXPECT_TRUE(until([&] { return app_->handled == 2 && app_->waiting == 0; }));
}

TEST_P(HttpServer, AResetInTheMiddleOfABodyThatIsBeingReadHarmsNothing) {
  for (const bool seen_first : {false, true}) {
    Socket client = connect();
    const int before = app_->done;
    send(client, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nabc");
    ASSERT_TRUE(until([&] { return app_->handled == before + 1; }));
    if (seen_first) turns(3);
    reset_on_close(client);
    client.close();
    EXPECT_TRUE(until([&] { return server_->connections() == 0; }));
    EXPECT_EQ(app_->done, before + 1);
  }
}

TEST_P(HttpServer, TheRestOfASmallBodyIsReadForTheNextRequest) {
  Socket client = connect();
  std::string answer = ask(client, "POST /skip HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n", "/skip");
  EXPECT_EQ(answer.find("Connection: close"), std::string::npos);
  answer = ask(client, std::string(1000, 'b') + "GET /next HTTP/1.1\r\nHost: h\r\n\r\n", "/next");
  EXPECT_EQ(body_of(answer), "/next");
}

TEST_P(HttpServer, ALargeUnreadBodyClosesAndTheAnswerStillArrives) {
  Socket client = connect();
  TaskGroup group;
  std::optional<Result<>> sent;
  group.spawn(
      into(send_text(client,
                     "POST /skip HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n" + std::string(2'000'000, 'b'),
                     soon()),
           sent));
  ASSERT_TRUE(until([&] { return sent.has_value(); }));  // a client that reads only when it has sent everything
  EXPECT_TRUE(*sent);
  const std::string answer = receive(client);
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer.substr(0, 200);
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
}

TEST_P(HttpServer, AMalformedBodyNobodyReadsIs400) {
  Socket client = connect();
  const std::string answer = ask(client,
                                 "POST /skip HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5 "
                                 "\r\nhello\r\n0\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n",
                                 "");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 400 ")) << answer;
  EXPECT_EQ(times(answer, "HTTP/1.1 "), 1U);
}

TEST_P(HttpServer, WhoWaitsFor100GetsItWhenTheBodyIsWanted) {
  Socket client = connect();
  std::string answer =
      ask(client, "POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", "\r\n\r\n");
  EXPECT_EQ(answer, "HTTP/1.1 100 Continue\r\n\r\n");
  answer = ask(client, "abc", "abc");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK")) << answer;
  // Nobody wants it: the final answer comes alone, and the connection ends, for the body may or may not follow.
  answer = ask(client, "POST /skip HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", "");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK")) << answer;
  EXPECT_EQ(answer.find("100 Continue"), std::string::npos);
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
}

TEST_P(HttpServer, HeadGetsTheLengthWithoutTheBody) {
  Socket client = connect();
  const std::string answer = ask(
      client, "HEAD /large HTTP/1.1\r\nHost: h\r\n\r\nHEAD /one HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "");
  EXPECT_NE(answer.find("Content-Length: 8388608\r\n"), std::string::npos) << answer;
  EXPECT_EQ(times(answer, "HTTP/1.1 200 OK"), 2U);
  EXPECT_LT(answer.size(), 2000U);
}

TEST_P(HttpServer, AnOldClientIsToldTheEndByTheEnd) {
  Socket client = connect();
  const std::string answer = ask(client, "GET /pieces HTTP/1.0\r\n\r\n", "");
  EXPECT_EQ(answer.find("Transfer-Encoding"), std::string::npos);
  EXPECT_EQ(body_of(answer).size(), size_t{64} << 20);
}

// Who is idle in a drain may ask once more for half a second, however slow the machine is.
class HttpServerDrain : public HttpServer {
 protected:
  HttpServerDrain() { clock_ = &manual_clock_; }
  void last_requests_are_over() {
    turns(2);
    manual_clock_.advance(1s);
  }
};

TEST_P(HttpServerDrain, DrainClosesTheIdleAndWaitsForTheBusy) {
  Socket idle = connect();
  EXPECT_EQ(body_of(ask(idle, "GET /one HTTP/1.1\r\nHost: h\r\n\r\n", "/one")), "/one");
  Socket busy = connect();
  send(busy, "GET /hang HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(until([&] { return app_->waiting == 1; }));
  TaskGroup group;
  std::optional<bool> drained;
  group.spawn(into(server_->drain(soon()), drained));
  last_requests_are_over();
  EXPECT_EQ(receive(idle), "");
  EXPECT_FALSE(drained);
  app_->hold.set();
  const std::string answer = receive(busy);
  EXPECT_NE(answer.find("Connection: close"), std::string::npos) << answer;
  EXPECT_EQ(body_of(answer), "held");
  busy.close();
  ASSERT_TRUE(until([&] { return drained.has_value(); }));
  EXPECT_TRUE(*drained);
  EXPECT_EQ(app_->open, 0);
}

TEST_P(HttpServerDrain, AKeptConnectionMayAskOnceMoreInADrain) {
  Socket kept = connect();
  EXPECT_EQ(body_of(ask(kept, "GET /one HTTP/1.1\r\nHost: h\r\n\r\n", "/one")), "/one");
  TaskGroup group;
  std::optional<bool> drained;
  group.spawn(into(server_->drain(soon()), drained));
  loop_->run_once(Duration::zero());
  send(kept, "GET /two HTTP/1.1\r\nHost: h\r\n\r\n");
  const std::string answer = receive(kept);
  EXPECT_NE(answer.find("Connection: close"), std::string::npos) << answer;
  EXPECT_EQ(body_of(answer), "/two");
  kept.close();
  ASSERT_TRUE(until([&] { return drained.has_value(); }));
  EXPECT_TRUE(*drained);
}

TEST_P(HttpServerDrain, AnAnswerThatBeganBeforeADrainDoesNotTakeItsConnectionWithIt) {
  Socket kept = connect();
  Socket silent = connect();
  // Its head promised that the connection stays: nobody had thought of a drain yet.
  const std::string head = ask(kept, "GET /tail HTTP/1.1\r\nHost: h\r\n\r\n", "\r\n\r\n");
  EXPECT_EQ(head.find("Connection: close"), std::string::npos) << head;
  TaskGroup group;
  std::optional<bool> drained;
  group.spawn(into(server_->drain(soon()), drained));
  last_requests_are_over();
  EXPECT_EQ(receive(silent), "") << "who is idle is not waited for any longer";
  silent.close();
  app_->hold.set();
  EXPECT_EQ(receive(kept, "tail"), "tail");
  loop_->run_once(Duration::zero());
  send(kept, "GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
  const std::string answer = receive(kept);
  EXPECT_NE(answer.find("Connection: close"), std::string::npos) << answer;
  EXPECT_EQ(body_of(answer), "/next");
  kept.close();
  ASSERT_TRUE(until([&] { return drained.has_value(); }));
  EXPECT_TRUE(*drained);
}

TEST_P(HttpServerDrain, WhoConnectedJustBeforeADrainIsStillAnswered) {
  Socket late = connect();
  Socket silent = connect();
  TaskGroup group;
  std::optional<bool> drained;
  group.spawn(into(server_->drain(soon()), drained));
  loop_->run_once(Duration::zero());
  send(late, "GET /late HTTP/1.1\r\nHost: h\r\n\r\n");
  const std::string answer = receive(late);
  EXPECT_NE(answer.find("Connection: close"), std::string::npos) << answer;
  EXPECT_EQ(body_of(answer), "/late");
  late.close();
  last_requests_are_over();
  EXPECT_EQ(receive(silent), "");
  silent.close();
  ASSERT_TRUE(until([&] { return drained.has_value(); }));
  EXPECT_TRUE(*drained);
}

TEST_P(HttpServer, ARequestThatIsCutByTheEndOfTheServerIsFinishedToo) {
  Socket client = connect();
  send(client, "GET /hang HTTP/1.1\r\nHost: h\r\n\r\n");
  ASSERT_TRUE(until([&] { return app_->waiting == 1; }));
  EXPECT_FALSE(fakes::run_task(*loop_, server_->drain(in(3))));
  server_.reset();
  EXPECT_EQ(app_->waiting, 0);
  EXPECT_EQ(app_->done, app_->handled) << "what counts requests in flight would never come down";
  EXPECT_EQ(app_->open, 0);
}

TEST_P(HttpServer, BeyondItsConnectionsNewOnesAreClosed) {
  options_.max_connections = 1;
  restart();
  Socket first = connect();
  Socket second = connect();
  EXPECT_EQ(receive(second), "");
  EXPECT_EQ(app_->away, 1);
  EXPECT_EQ(body_of(ask(first, "GET /one HTTP/1.1\r\nHost: h\r\n\r\n", "/one")), "/one");
}

TEST_P(HttpServer, ANewApplicationAnswersTheNextRequestOfAnOldConnection) {
  Socket client = connect();
  EXPECT_EQ(body_of(ask(client, "GET /one HTTP/1.1\r\nHost: h\r\n\r\n", "/one")), "/one");
  auto next = std::make_shared<App>();
  server_->set_application(next);
  EXPECT_EQ(body_of(ask(client, "GET /two HTTP/1.1\r\nHost: h\r\n\r\n", "/two")), "/two");
  EXPECT_EQ(next->handled, 1);
  client.close();
  EXPECT_TRUE(until([&] { return server_->connections() == 0; }));
}

INSTANTIATE_TEST_SUITE_P(Io, HttpServer, testing::Values(IoKind::uring, IoKind::epoll), io_name);
INSTANTIATE_TEST_SUITE_P(Io, HttpServerDrain, testing::Values(IoKind::uring, IoKind::epoll), io_name);

}  // namespace
}  // namespace trellis::http
