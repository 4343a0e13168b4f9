// A cluster and its connections over real TCP, the same on both backends: what is pooled, what is repeated, and that
// the counts come back to zero.
#include "upstream/cluster.h"

#include "base/metrics.h"
#include "tests/unit/http/wire_kit.h"

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;
using namespace http::test;
using http::Method;
using http::Response;

// A request's body that gives what it is told to, when it is told to.
class FedBody final : public http::BodyReader {
 public:
  explicit FedBody(std::optional<uint64_t> length) : length_(length) {}
  Task<Result<Chunk>> read(Deadline) override {
    while (pieces.empty() && !ended) {
      fed.reset();
      co_await fed.wait(kNever);
    }
    if (pieces.empty()) co_return Chunk();
    std::string piece = std::move(pieces.front());
    pieces.erase(pieces.begin());
    co_return Chunk::from_string(std::move(piece));
  }
  std::optional<uint64_t> length() const noexcept override { return length_; }
  void feed(std::string piece) {
    pieces.push_back(std::move(piece));
    fed.set();
  }
  void end() {
    ended = true;
    fed.set();
  }
  std::vector<std::string> pieces;
  bool ended = false;
  Event fed;

 private:
  std::optional<uint64_t> length_;
};

struct Asked {
  explicit Asked(Loop& loop, Method method = Method::get)
      : request(arena), context{.arena = arena, .loop = loop, .started = loop.now()} {
    request.method = method;
    request.method_text = http::to_string(method);
    request.authority = "example.com";
    request.path = "/";
    request.scheme = "http";
  }
  Arena arena;
  http::Request request;
  http::RequestContext context;
};

// Answers each request of a connection with the same text, until the other side ends.
struct Script {
  static Task<> answer_all(Socket& socket, std::string text, int& requests) {
    while (true) {
      auto got = co_await receive_until(socket, "\r\n\r\n", kNever);
      if (!got || got->empty()) co_return;
      ++requests;
      auto sent = co_await send_text(socket, text, kNever);
      if (!sent) co_return;
    }
  }
  // One request, one answer, then the end of the connection at once.
  static Task<> answer_and_close(Socket& socket, std::string text, int& requests) {
    auto got = co_await receive_until(socket, "\r\n\r\n", kNever);
    if (!got || got->empty()) co_return;
    ++requests;
    auto sent = co_await send_text(socket, text, kNever);
    (void)sent;
  }
  // Answers and stays, without reading further.
  static Task<> answer_and_stay(Socket& socket, std::string text, int& requests) {
    auto got = co_await receive_until(socket, "\r\n\r\n", kNever);
    if (!got || got->empty()) co_return;
    ++requests;
    auto sent = co_await send_text(socket, text, kNever);
    (void)sent;
    Event never;
    co_await never.wait(kNever);
  }
  // Takes the request and says nothing.
  static Task<> stay_silent(Socket& socket, int& requests) {
    auto got = co_await receive_until(socket, "\r\n\r\n", kNever);
    if (!got || got->empty()) co_return;
    ++requests;
    auto end = co_await socket.recv(kNever);
    (void)end;
  }
};

class UpstreamCluster : public OnBothBackends {
 protected:
  void TearDown() override {
    cluster_.reset();
    if (loop_) turns(5);
  }
  Cluster& cluster(std::vector<net::Address> addresses) {
    std::vector<Host> hosts;
    for (const net::Address& address : addresses) hosts.push_back({address.to_string(), address});
    cluster_ = std::make_unique<Cluster>("api", config_, std::move(hosts), metrics_);
    return *cluster_;
  }
  FarServer::Talk answers(std::string text) {
    return [this, text](Socket& socket, int) { return Script::answer_all(socket, text, requests_); };
  }
  FarServer::Talk closes(std::string text) {
    return [this, text](Socket& socket, int) { return Script::answer_and_close(socket, text, requests_); };
  }
  FarServer::Talk stays(std::string text) {
    return [this, text](Socket& socket, int) { return Script::answer_and_stay(socket, text, requests_); };
  }
  Result<Response> send(Cluster& cluster, Asked& asked) {
    return fakes::run_task(*loop_, cluster.send(asked.request, asked.context));
  }
  std::string body(Result<Response>& answer) {
    if (!answer) return "error: " + answer.error().to_string();
    if (answer->body.kind() == http::Body::Kind::none) return "";
    if (answer->body.kind() == http::Body::Kind::bytes) return std::string(answer->body.bytes().view());
    std::unique_ptr<http::BodyReader> stream = answer->body.take_stream();
    auto text = fakes::run_task(*loop_, http::read_all(stream.get(), 1 << 30, soon()));
    return text ? *text : "error: " + text.error().to_string();
  }
  std::string ask(Cluster& cluster, Method method = Method::get) {
    Asked asked(*loop_, method);
    auto answer = send(cluster, asked);
    return body(answer);
  }
  // An address where nobody listens.
  net::Address nowhere() {
    Listening gone;
    return gone.address;
  }

  UpstreamConfig config_;
  uint64_t retries(const char* outcome) {
    return metrics_.counter("trellis_retries_total", "", {{"upstream", "api"}, {"outcome", outcome}}).value();
  }
  Metrics metrics_;
  int requests_ = 0;
  std::unique_ptr<Cluster> cluster_;
};

TEST_P(UpstreamCluster, UsesAConnectionAgain) {
  FarServer far(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  Cluster& c = cluster({far.address()});
  for (int i = 0; i < 5; ++i) EXPECT_EQ(ask(c), "hi");
  EXPECT_EQ(far.connections, 1);
  EXPECT_EQ(c.open_connections(), 1U);
  EXPECT_EQ(c.idle_connections(), 1U);
}

TEST_P(UpstreamCluster, ReadsEveryFraming) {
  struct Case {
    std::string text;
    std::string body;
    bool kept;
  };
  const std::string large(100'000, 'L');
  const std::vector<Case> cases = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true},
      {"HTTP/1.1 204 No Content\r\n\r\n", "", true},
      {"HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\n\r\n", "", true},
      {"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + large, large, true},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nX-T: 1\r\n\r\n", "abc",
       true},
      {"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz",
       "z", true},
      {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nz", "z", false},
      {"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nz", "z", false},
      {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nzHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", "z", false},
  };
  for (const Case& one : cases) {
    FarServer far(*loop_, answers(one.text));
    Cluster& c = cluster({far.address()});
    EXPECT_EQ(ask(c), one.body) << one.text.substr(0, 80);
    EXPECT_EQ(c.idle_connections(), one.kept ? 1U : 0U) << one.text.substr(0, 80);
    EXPECT_EQ(c.open_connections(), one.kept ? 1U : 0U) << one.text.substr(0, 80);
  }
  FarServer far(*loop_, closes("HTTP/1.1 200 OK\r\n\r\n" + large));
  Cluster& c = cluster({far.address()});
  EXPECT_EQ(ask(c), large);
  EXPECT_EQ(c.open_connections(), 0U);
}

TEST_P(UpstreamCluster, WhatIsMalformedIsTheUpstreamsFault) {
  for (const char* text :
       {"HTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "HTTP/1.1 200 O"}) {
    FarServer far(*loop_, closes(text));
    Cluster& c = cluster({far.address()});
    Asked asked(*loop_);
    auto answer = send(c, asked);
    ASSERT_FALSE(answer) << text;
    EXPECT_EQ(answer.error().side(), Side::upstream) << text;
    EXPECT_EQ(answer.error().code(), Code::data_loss) << text;
    EXPECT_EQ(c.open_connections(), 0U) << text;
  }
}

TEST_P(UpstreamCluster, AnAnswerThatBreaksOffIsAnErrorOfItsBody) {
  for (const char* text : {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
                           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
                           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdeX"}) {
    FarServer far(*loop_, closes(text));
    Cluster& c = cluster({far.address()});
    EXPECT_TRUE(ask(c).starts_with("error: ")) << text;
    EXPECT_EQ(c.open_connections(), 0U) << text;
  }
}

TEST_P(UpstreamCluster, AConnectionThatEndsBehindItsAnswerIsNotKept) {
  FarServer far(*loop_, closes("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  Cluster& c = cluster({far.address()});
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(ask(c), "hi");
    if (i % 2 == 0) turns(3);
  }
  EXPECT_TRUE(until([&] { return c.open_connections() == 0; }));
  EXPECT_EQ(c.idle_connections(), 0U);
}

// Bytes and end are both in the kernel before the answer is read.
TEST_P(UpstreamCluster, AnEndThatCameTogetherWithTheAnswerHarmsNothing) {
  for (int i = 0; i < 3; ++i) {
    bool over = false;
    Event go;
    struct Late {
      static Task<> talk(Socket& socket, Event& go, bool& over) {
        auto got = co_await receive_until(socket, "\r\n\r\n", kNever);
        (void)got;
        co_await go.wait(kNever);
        const std::string text = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        (void)::send(socket.fd(), text.data(), text.size(), MSG_NOSIGNAL);
        ::shutdown(socket.fd(), SHUT_RDWR);
        over = true;
      }
    };
    FarServer far(*loop_, [&](Socket& socket, int) { return Late::talk(socket, go, over); });
    Cluster& c = cluster({far.address()});
    Asked asked(*loop_);
    std::optional<Result<Response>> answer;
    TaskGroup group;
    group.spawn(into(c.send(asked.request, asked.context), answer));
    turns(10);
    go.set();
    ASSERT_TRUE(until([&] { return answer.has_value(); }));
    EXPECT_EQ(body(*answer), "hi");
    EXPECT_TRUE(until([&] { return c.open_connections() == 0; }));
  }
}

TEST_P(UpstreamCluster, AStalePooledConnectionIsReplacedForWhatMayBeRepeated) {
  // Answers the first request of a connection and resets on the second.
  struct Once {
    static Task<> talk(Socket& socket, int& requests) {
      auto got = co_await receive_until(socket, "\r\n\r\n", kNever);
      if (!got || got->empty()) co_return;
      ++requests;
      auto sent = co_await send_text(socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", kNever);
      if (!sent) co_return;
      auto second = co_await receive_until(socket, "\r\n\r\n", kNever);
      (void)second;
      reset_on_close(socket);
    }
  };
  FarServer far(*loop_, [&](Socket& socket, int) { return Once::talk(socket, requests_); });
  Cluster& c = cluster({far.address()});
  EXPECT_EQ(ask(c), "hi");
  EXPECT_EQ(retries("success"), 0U);
  EXPECT_EQ(ask(c), "hi");
  EXPECT_EQ(retries("success"), 1U);
  EXPECT_EQ(far.connections, 2);
  EXPECT_EQ(ask(c, Method::put), "hi");
  EXPECT_EQ(far.connections, 3);
  EXPECT_TRUE(ask(c, Method::post).starts_with("error: ")) << "a POST may have been done";
  // A body that was taken cannot be given twice.
  EXPECT_EQ(ask(c), "hi");
  Asked asked(*loop_, Method::put);
  auto fed = std::make_unique<FedBody>(3);
  fed->feed("abc");
  fed->end();
  asked.request.body = std::move(fed);
  auto answer = send(c, asked);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().side(), Side::upstream);
  EXPECT_EQ(c.open_connections(), 0U);
}

TEST_P(UpstreamCluster, AHostThatDoesNotListenIsPassedOver) {
  FarServer far(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  Cluster& c = cluster({nowhere(), far.address()});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(ask(c, Method::post), "hi");
  EXPECT_EQ(c.open_connections(), 1U);
}

TEST_P(UpstreamCluster, NobodyThereIsUnavailable) {
  Cluster& c = cluster({nowhere(), nowhere()});
  Asked asked(*loop_);
  auto answer = send(c, asked);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), Code::unavailable);
  EXPECT_EQ(answer.error().side(), Side::upstream);
  EXPECT_EQ(c.open_connections(), 0U);
  EXPECT_EQ(retries("failure"), 1U) << "the second host is a second try";
}

TEST_P(UpstreamCluster, NoHostAtAllIsAnErrorAndNoEnd) {
  Cluster& c = cluster({});
  Asked asked(*loop_);
  auto answer = send(c, asked);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), Code::unavailable);
}

TEST_P(UpstreamCluster, AtItsLimitItTakesNoMoreAndComesBack) {
  config_.limits.connections = 1;
  FarServer far(*loop_, [&](Socket& socket, int) { return Script::stay_silent(socket, requests_); });
  Cluster& c = cluster({far.address()});
  Asked first(*loop_);
  {
    TaskGroup group;
    std::optional<Result<Response>> ignored;
    group.spawn(into(c.send(first.request, first.context), ignored));
    ASSERT_TRUE(until([&] { return requests_ == 1; }));
    Asked second(*loop_);
    auto refused = send(c, second);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), Code::resource_exhausted);
    EXPECT_EQ(refused.error().side(), Side::self);
    EXPECT_EQ(c.open_connections(), 1U);
  }  // the first is cancelled
  EXPECT_EQ(c.open_connections(), 0U);
}

TEST_P(UpstreamCluster, CancelledWhileItConnectsCountsBack) {
  Listening full;
  ASSERT_EQ(::listen(full.fd, 0), 0);
  Cluster& c = cluster({full.address});
  for (int i = 0; i < 4; ++i) {
    Asked asked(*loop_);
    TaskGroup group;
    std::optional<Result<Response>> ignored;
    group.spawn(into(c.send(asked.request, asked.context), ignored));
    turns(2);
  }
  EXPECT_EQ(c.open_connections(), 0U);
}

TEST_P(UpstreamCluster, AnAnswerThatDoesNotComeIsATimeout) {
  config_.timeouts.first_byte = 5ms;
  FarServer far(*loop_, [&](Socket& socket, int) { return Script::stay_silent(socket, requests_); });
  Cluster& c = cluster({far.address()});
  Asked asked(*loop_);
  auto answer = send(c, asked);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), Code::deadline_exceeded);
  EXPECT_EQ(answer.error().side(), Side::upstream);
  EXPECT_EQ(requests_, 1);
  EXPECT_EQ(c.open_connections(), 0U);
}

TEST_P(UpstreamCluster, AnEarlyAnswerWithoutABodyDoesNotWait) {
  for (const char* text : {"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"}) {
    FarServer far(*loop_, stays(text));
    Cluster& c = cluster({far.address()});
    Asked asked(*loop_, Method::post);
    asked.request.body = std::make_unique<FedBody>(1'000'000);  // never comes
    auto answer = send(c, asked);
    ASSERT_TRUE(answer);
    std::string read = "still reading";
    if (answer->body.kind() == http::Body::Kind::stream) {
      auto stream = answer->body.take_stream();
      auto all = fakes::run_task(*loop_, http::read_all(stream.get(), 100, in(20)));
      if (all) read = *all;
    } else {
      read = "";
    }
    EXPECT_EQ(read, "") << text;
    answer = fail(Code::internal, "dropped");
    EXPECT_EQ(c.open_connections(), 0U) << text;
  }
}

TEST_P(UpstreamCluster, AnEarlyAnswerStreamsWhileTheRequestStillComes) {
  // An echo: the head first, then each piece as it comes.
  struct Echo {
    static Task<> talk(Socket& socket) {
      auto got = co_await receive_until(socket, "\r\n\r\n", kNever);
      if (!got) co_return;
      std::string early = got->substr(got->find("\r\n\r\n") + 4);
      auto sent = co_await send_text(socket, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n" + early, kNever);
      if (!sent) co_return;
      while (true) {
        auto chunk = co_await socket.recv(kNever);
        if (!chunk || chunk->empty()) co_return;
        std::string text(chunk->view());
        auto echoed = co_await send_text(socket, text, kNever);
        if (!echoed) co_return;
      }
    }
  };
  FarServer far(*loop_, [](Socket& socket, int) { return Echo::talk(socket); });
  Cluster& c = cluster({far.address()});
  Asked asked(*loop_, Method::post);
  auto fed = std::make_unique<FedBody>(6);
  FedBody* feed = fed.get();
  asked.request.body = std::move(fed);
  feed->feed("abc");
  auto answer = send(c, asked);
  ASSERT_TRUE(answer);
  feed->feed("def");
  feed->end();
  EXPECT_EQ(body(answer), "abcdef");
}

TEST_P(UpstreamCluster, AnIdleConnectionThatTheUpstreamClosesIsForgotten) {
  struct Timed {
    static Task<> talk(Socket& socket, Event& close) {
      auto got = co_await receive_until(socket, "\r\n\r\n", kNever);
      (void)got;
      auto sent = co_await send_text(socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", kNever);
      (void)sent;
      co_await close.wait(kNever);
    }
  };
  Event close;
  FarServer far(*loop_, [&](Socket& socket, int) { return Timed::talk(socket, close); });
  Cluster& c = cluster({far.address()});
  EXPECT_EQ(ask(c), "hi");
  EXPECT_EQ(c.idle_connections(), 1U);
  close.set();
  EXPECT_TRUE(until([&] { return c.open_connections() == 0; }));
}

TEST_P(UpstreamCluster, IdleConnectionsAreClosedInTime) {
  config_.limits.idle_time = 5ms;
  FarServer far(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  Cluster& c = cluster({far.address()});
  EXPECT_EQ(ask(c), "hi");
  EXPECT_TRUE(until([&] { return c.open_connections() == 0; }));
}

TEST_P(UpstreamCluster, AConnectionMayComeHomeToAClusterThatIsGone) {
  FarServer far(*loop_, answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"));
  Cluster& c = cluster({far.address()});
  Asked asked(*loop_);
  auto answer = send(c, asked);
  ASSERT_TRUE(answer);
  cluster_.reset();
  EXPECT_EQ(body(answer), "hi");
  const std::string host = far.address().to_string();
  EXPECT_EQ(connection_counter(metrics_, "api", host, "opened").value(),
            connection_counter(metrics_, "api", host, "closed").value());
}

INSTANTIATE_TEST_SUITE_P(Io, UpstreamCluster, testing::Values(IoKind::uring, IoKind::epoll), io_name);

}  // namespace
}  // namespace trellis::upstream
