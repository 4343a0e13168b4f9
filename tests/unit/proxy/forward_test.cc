// Server, forward target and upstream in one loop, over real connections on both backends: what only their meeting
// shows.
#include "proxy/forward.h"

#include "proxy/received_fields.h"
#include "tests/unit/proxy/edge_kit.h"

namespace trellis::proxy {
namespace {

using namespace std::chrono_literals;
using namespace test;

class Edge final : public http::Application {
 public:
  explicit Edge(std::shared_ptr<upstream::Cluster> cluster) : forward_(std::move(cluster), "edge-1") {}
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override {
    context.request_id = "id";
    take_off_received(request);
    for (const auto& [name, value] : configured) request.fields.add(name, value);
    return forward_.handle(request, context);
  }
  void finished(const http::Request&, http::RequestContext&, const http::Sent& sent) noexcept override {
    ++done;
    last = sent;
  }
  void refused(std::string_view, int, http::H1Error) noexcept override {}
  int done = 0;
  http::Sent last;
  std::vector<std::pair<std::string, std::string>> configured;  // fields that a filter sets

 private:
  Forward forward_;
};

// Answers with everything it gets, from the first byte of a body on.
Task<> echo(Socket& socket) {
  auto head = co_await receive_until(socket, "\r\n\r\n", kNever);
  if (!head || head->empty()) co_return;
  const size_t end = head->find("\r\n\r\n") + 4;
  const size_t at = head->find("Content-Length: ");
  const std::string length = at == std::string::npos ? "0" : head->substr(at + 16, head->find('\r', at) - at - 16);
  auto sent = co_await send_text(
      socket, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + length + "\r\n\r\n" + head->substr(end),
      kNever);
  if (!sent) co_return;
  while (true) {
    auto chunk = co_await socket.recv(kNever);
    if (!chunk || chunk->empty()) co_return;
    std::string text(chunk->view());
    auto echoed = co_await send_text(socket, text, kNever);
    if (!echoed) co_return;
  }
}
// Keeps what it was asked, answers `text`, reads no further until told.
Task<> answer_early(Socket& socket, std::string text, Event& go, std::string& asked) {
  auto head = co_await receive_until(socket, "\r\n\r\n", kNever);
  if (!head) co_return;
  asked += *head;
  auto sent = co_await send_text(socket, text, kNever);
  if (!sent) co_return;
  co_await go.wait(kNever);
}

// The kernel may grow the room for what is received to more than a test sends; from now on it keeps little.
void hold_little(int fd) {
  const int little = 64 << 10;
  ASSERT_EQ(::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof little), 0);
}

class ForwardEdge : public EdgeTest<Edge> {
 protected:
  Event go_;
  std::string asked_;
};

TEST_P(ForwardEdge, AnEchoOfALargeBodyLosesNoByte) {
  start([](Socket& socket, int) { return echo(socket); });
  for (const size_t size : {size_t{40'000}, size_t{6} << 20}) {
    Socket client = connect();
    std::string body(size, 'x');
    for (size_t i = 0; i < size; ++i) body[i] = static_cast<char>('a' + i % 23);
    TaskGroup group;
    std::optional<Result<>> sent;
    group.spawn(into(
        send_text(client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n" + body,
                  soon()),
        sent));
    auto got = fakes::run_task(*loop_, receive_until(client, "\r\n\r\n", soon()));
    ASSERT_TRUE(got);
    std::string text = body_of(*got);
    auto rest = fakes::run_task(*loop_, receive_bytes(client, size - text.size(), soon()));
    ASSERT_TRUE(rest) << rest.error().to_string();
    text += *rest;
    EXPECT_EQ(text.size(), size);
    EXPECT_TRUE(text == body);
  }
}

// The upstream answers before it reads on: what the client has sent meanwhile stays for the upstream.
TEST_P(ForwardEdge, AnEarlyAnswerTakesNothingFromTheRequest) {
  struct Later {
    static Task<> talk(Socket& socket, Event& go) {
      hold_little(socket.fd());
      auto head = co_await receive_until(socket, "\r\n\r\n", kNever);
      if (!head) co_return;
      std::string body = head->substr(head->find("\r\n\r\n") + 4);
      co_await go.wait(kNever);  // until the pump has filled the connection and waits
      auto sent = co_await send_text(socket, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n", kNever);
      if (!sent) co_return;
      Event none;
      co_await none.wait(after(Loop::current().now(), 20ms));
      while (body.size() < (12U << 20)) {
        auto chunk = co_await socket.recv(kNever);
        if (!chunk || chunk->empty()) co_return;
        body += chunk->view();
      }
      const std::string digits = std::to_string(body.size());
      auto done = co_await send_text(socket, digits, kNever);
      (void)done;
      auto end = co_await socket.recv(kNever);
      (void)end;
    }
  };
  start([this](Socket& socket, int) { return Later::talk(socket, go_); });
  TcpPair pair = tcp_pair(*loop_, 0);
  hold_little(pair.fd);
  server_->accept(pair.fd);
  Socket client = std::move(pair.far);
  TaskGroup group;
  std::optional<Result<>> sent;
  const size_t size = 12U << 20;
  group.spawn(into(send_text(client,
                             "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(size) + "\r\n\r\n" +
                                 std::string(size, 'u'),
                             soon()),
                   sent));
  turns(500);
  EXPECT_FALSE(sent) << "the test wants a full pipe";
  go_.set();
  const std::string answer = receive(client, "12582912");
  EXPECT_EQ(body_of(answer), "12582912");
}

TEST_P(ForwardEdge, AnAnswerToWhoStillWaitsFor100EndsNothing) {
  start([this](Socket& socket, int) {
    return answer_early(socket, "HTTP/1.1 413 Large\r\nContent-Length: 5\r\n\r\nlarge", go_, asked_);
  });
  Socket client = connect();
  send(client, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n");
  const std::string answer = receive(client, "large");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 ")) << answer;
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
  EXPECT_EQ(asked_.find("Expect"), std::string::npos);
}

// The client takes nothing: 100 Continue finds no room, and the answer comes all the same.
TEST_P(ForwardEdge, A100ThatFindsNoRoomMeetsNoAnswer) {
  start([this](Socket& socket, int) {
    return answer_early(socket, "HTTP/1.1 413 Large\r\nContent-Length: 5\r\n\r\nlarge", go_, asked_);
  });
  TcpPair pair = tcp_pair(*loop_, 4096);
  const int small = 4096;
  ::setsockopt(pair.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
  const std::string filling(4096, 'f');
  while (::send(pair.fd, filling.data(), filling.size(), MSG_DONTWAIT) > 0) {
  }
  while (::send(pair.fd, filling.data(), 1, MSG_DONTWAIT) > 0) {
  }
  server_->accept(pair.fd);
  send(pair.far, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n");
  turns(100);
  EXPECT_NE(asked_, "");
  const std::string answer = receive(pair.far, "large");
  EXPECT_NE(answer.find("HTTP/1.1 413 "), std::string::npos);
}

TEST_P(ForwardEdge, AClientThatResetsWhileItUploadsCancelsTheUpstreamsRequest) {
  start([](Socket& socket, int) { return echo(socket); });
  for (int i = 0; i < 10; ++i) {
    Socket client = connect(4096);
    send(client, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n" +
                     std::string(1000 * static_cast<size_t>(i), 'x'));
    turns(i);
    reset_on_close(client);
    client.close();
    EXPECT_TRUE(until([&] { return server_->connections() == 0; }));
  }
  EXPECT_TRUE(until([&] { return cluster_->open_connections() == cluster_->idle_connections(); }));
  EXPECT_EQ(server_->in_flight(), 0U);
}

TEST_P(ForwardEdge, ASlowClientHoldsTheUpstreamBack) {
  size_t sent_bytes = 0;
  struct Flood {
    static Task<> talk(Socket& socket, size_t& sent) {
      auto head = co_await receive_until(socket, "\r\n\r\n", kNever);
      if (!head) co_return;
      auto first = co_await send_text(socket, "HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n", kNever);
      if (!first) co_return;
      for (int i = 0; i < 1024; ++i) {
        auto piece = co_await send_text(socket, std::string(65536, 'f'), kNever);
        if (!piece) co_return;
        sent += 65536;
      }
      auto end = co_await socket.recv(kNever);
      (void)end;
    }
  };
  start([&](Socket& socket, int) { return Flood::talk(socket, sent_bytes); });
  Socket client = connect(16 * 1024);
  send(client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  turns(500);
  EXPECT_LT(sent_bytes, size_t{24} << 20) << "read on without a reader";
  auto all = fakes::run_task(*loop_, receive_bytes(client, 67108864, soon()));
  ASSERT_TRUE(all);
  EXPECT_GE(all->size(), 67108864U);
}

TEST_P(ForwardEdge, AnUpstreamThatBreaksOffCutsTheAnswer) {
  struct Cut {
    static Task<> talk(Socket& socket) {
      auto head = co_await receive_until(socket, "\r\n\r\n", kNever);
      (void)head;
      auto sent =
          co_await send_text(socket, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", kNever);
      (void)sent;
    }
  };
  start([](Socket& socket, int) { return Cut::talk(socket); });
  Socket client = connect();
  send(client, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  const std::string answer = receive(client);
  EXPECT_EQ(answer.find("0\r\n\r\n"), std::string::npos) << "a cut answer must not look whole";
  EXPECT_FALSE(edge_->last.complete);
}

TEST_P(ForwardEdge, SaysWhoReallyAskedWhateverTheClientClaims) {
  start([this](Socket& socket, int) { return answer_early(socket, "HTTP/1.1 204 No Content\r\n\r\n", go_, asked_); });
  Socket client = connect();
  send(client,
       "GET /a?b HTTP/1.1\r\nHost: Shop.example\r\nX-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: "
       "6.6.6.6\r\n"
       "Connection: x-secret\r\nX-Secret: 1\r\nTE: trailers\r\nUpgrade: h2c\r\n\r\n");
  receive(client, "\r\n\r\n");
  EXPECT_TRUE(asked_.starts_with("GET /a?b HTTP/1.1\r\nHost: shop.example\r\n")) << asked_;
  EXPECT_EQ(asked_.find("6.6.6.6"), std::string::npos) << asked_;
  EXPECT_NE(asked_.find("127.0.0.1"), std::string::npos);
  for (const char* gone : {"X-Secret", "x-secret", "Upgrade"})
    EXPECT_EQ(asked_.find(gone), std::string::npos) << asked_;
  EXPECT_NE(asked_.find("TE: trailers\r\nConnection: TE\r\n"), std::string::npos) << "trailers pass";
  EXPECT_NE(asked_.find("1.1 edge-1"), std::string::npos) << asked_;
}

TEST_P(ForwardEdge, KeepsWhatTheConfigurationSaysOfTheClient) {
  start([this](Socket& socket, int) { return answer_early(socket, "HTTP/1.1 204 No Content\r\n\r\n", go_, asked_); });
  edge_->configured = {{"X-Real-IP", "192.0.2.1"}, {"X-Forwarded-Proto", "https"}};
  Socket client = connect();
  send(client, "GET / HTTP/1.1\r\nHost: h\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-Proto: ftp\r\n\r\n");
  receive(client, "\r\n\r\n");
  EXPECT_NE(asked_.find("X-Real-IP: 192.0.2.1\r\n"), std::string::npos) << asked_;
  EXPECT_NE(asked_.find("X-Forwarded-Proto: https\r\n"), std::string::npos) << asked_;
  EXPECT_EQ(asked_.find("6.6.6.6"), std::string::npos) << asked_;
  EXPECT_EQ(asked_.find("ftp"), std::string::npos) << asked_;
}

INSTANTIATE_TEST_SUITE_P(Io, ForwardEdge, testing::Values(IoKind::uring, IoKind::epoll), io_name);

}  // namespace
}  // namespace trellis::proxy
