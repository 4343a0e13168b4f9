// A cluster and its connections over real TCP, the same on both backends: what is pooled, what is repeated, and that
// the counts come back to zero.
#include "upstream/cluster.h"

#include "tests/unit/upstream/cluster_kit.h"

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;
using namespace test;

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
  EXPECT_EQ(c.open_connections(), 0U);
}

TEST_P(UpstreamCluster, AWornOutConnectionIsNotUsedAgain) {
  FarServer far(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  config_.limits.max_age = 1ns;
  Cluster& c = cluster({far.address()});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(c), "hi");
  EXPECT_EQ(far.connections, 3);
  EXPECT_EQ(c.open_connections(), 0U);
}

TEST_P(UpstreamCluster, LinksKeepToTheLimitThoughRequestsLeftConnectionsIdle) {
  config_.limits.connections = 2;
  FarServer far(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  Cluster& c = cluster({far.address()});
  EXPECT_EQ(ask(c), "hi");
  EXPECT_EQ(c.idle_connections(), 1U);
  std::vector<Cluster::Link> links;
  for (int i = 0; i < 2; ++i) {
    auto link = fakes::run_task(*loop_, c.connect("192.0.2.1", soon()));
    ASSERT_TRUE(link);
    links.push_back(*std::move(link));
  }
  EXPECT_EQ(c.open_connections(), 2U);
  EXPECT_EQ(c.idle_connections(), 0U) << "it made room";
  EXPECT_FALSE(fakes::run_task(*loop_, c.connect("192.0.2.1", soon())));
  EXPECT_EQ(c.open_connections(), 2U);
  links.clear();
  EXPECT_EQ(ask(c), "hi");
}

TEST_P(UpstreamCluster, ALinkCountsAsWorkOfItsHostWhileItLives) {
  FarServer far(*loop_, answers(""));
  Cluster& c = cluster({nowhere(), far.address()});
  {
    auto link = fakes::run_task(*loop_, c.connect("192.0.2.7", soon()));
    ASSERT_TRUE(link);
    EXPECT_EQ(link->host().name, far.address().to_string());
    EXPECT_EQ((*hosts_->list())[1]->active(), 1U);
  }
  EXPECT_EQ((*hosts_->list())[1]->active(), 0U);
  EXPECT_EQ(c.open_connections(), 0U);
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
  config_.limits.waiting = 0;
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
    ASSERT_TRUE(refused);
    EXPECT_EQ(refused->status, 503);
    EXPECT_EQ(second.context.outcome, "upstream_busy");
    EXPECT_EQ(second.context.failed_side, Side::self);
    EXPECT_EQ(c.open_connections(), 1U);
  }  // the first is cancelled
  EXPECT_EQ(c.open_connections(), 0U);
}

TEST_P(UpstreamCluster, ARequestWaitsForAConnectionAndItsTurnIsNotLost) {
  struct WhenTold {
    static Task<> talk(Socket& socket, Event& go, int& requests) {
      while (true) {
        auto got = co_await receive_until(socket, "\r\n\r\n", kNever);
        if (!got || got->empty()) co_return;
        ++requests;
        co_await go.wait(kNever);
        auto sent = co_await send_text(socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", kNever);
        if (!sent) co_return;
      }
    }
  };
  config_.limits.connections = 1;
  config_.limits.wait = 1min;
  Event go;
  FarServer far(*loop_, [&](Socket& socket, int) { return WhenTold::talk(socket, go, requests_); });
  Cluster& c = cluster({far.address()});
  Asked asked[3] = {Asked(*loop_), Asked(*loop_), Asked(*loop_)};
  std::optional<Result<Response>> answers[3];
  TaskGroup clients[3];
  for (int i = 0; i < 3; ++i) clients[i].spawn(into(c.send(asked[i].request, asked[i].context), answers[i]));
  ASSERT_TRUE(until([&] { return requests_ == 1; }));
  turns(5);
  EXPECT_EQ(c.open_connections(), 1U);
  go.set();
  ASSERT_TRUE(until([&] { return answers[0].has_value(); }));
  clients[1].cancel_all();  // woken or about to be
  EXPECT_EQ(body(*answers[0]), "hi");
  ASSERT_TRUE(until([&] { return answers[2].has_value(); }));
  EXPECT_EQ(body(*answers[2]), "hi");
  EXPECT_LE(far.connections, 2);  // one that had begun to ask takes its connection with it
  EXPECT_LE(c.open_connections(), 1U);
}

TEST_P(UpstreamCluster, AnOpenBreakerRefusesAndAGoodProbeClosesIt) {
  const BreakerConfig breaker{.open_for = 10ms, .min_requests = 3, .probes = 1};
  breaker_ = std::make_shared<Breaker>("api", breaker, 1, 1);
  std::string text = "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n";
  FarServer far(*loop_, [&](Socket& socket, int) { return Script::answer_and_close(socket, text, requests_); });
  Cluster& c = cluster({far.address()});
  const auto status = [&] {
    Asked asked(*loop_);
    auto answer = send(c, asked);
    return answer ? std::to_string(answer->status) + " " + std::string(asked.context.outcome) : "error";
  };
  for (int i = 0; i < 3; ++i) EXPECT_EQ(status(), "500 ");
  EXPECT_EQ(status(), "503 upstream_open");
  EXPECT_EQ(requests_, 3);
  text = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  ASSERT_TRUE(until([&] { return breaker_->wait(loop_->now()) == 0ns; }));
  EXPECT_EQ(status(), "200 ");
  EXPECT_EQ(breaker_->state(), Breaker::State::closed);
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

TEST_P(UpstreamCluster, AHeadLeavesWithABodyThatIsThereAndAloneBeforeOneThatIsNot) {
  struct First {
    static Task<> keep(Socket& socket, std::vector<std::string>& firsts) {
      auto got = co_await socket.recv(kNever);
      if (!got || got->empty()) co_return;
      firsts.emplace_back(got->view());
      std::string all(got->view());
      while (!all.ends_with("END")) {
        auto more = co_await socket.recv(kNever);
        if (!more || more->empty()) co_return;
        all += more->view();
      }
      auto sent =
          co_await send_text(socket, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", kNever);
      (void)sent;
    }
  };
  std::vector<std::string> firsts;
  FarServer far(*loop_, [&](Socket& socket, int) { return First::keep(socket, firsts); });
  Cluster& c = cluster({far.address()});
  Asked there(*loop_, Method::post);
  there.request.body = std::make_unique<http::TextBody>("all of it END");
  auto answer = send(c, there);
  EXPECT_EQ(body(answer), "hi");
  Asked slow(*loop_, Method::post);
  auto fed = std::make_unique<FedBody>(3);
  FedBody* feed = fed.get();
  slow.request.body = std::move(fed);
  std::string got;
  TaskGroup group;
  group.spawn([](Cluster& to, Asked& asked, std::string& text) -> Task<> {
    auto answered = co_await to.send(asked.request, asked.context);
    text = answered ? "answered" : answered.error().to_string();
  }(c, slow, got));
  ASSERT_TRUE(until([&] { return firsts.size() == 2; })) << "the head does not wait for the body";
  feed->feed("END");
  feed->end();
  ASSERT_TRUE(until([&] { return !got.empty(); }));
  EXPECT_EQ(got, "answered");
  EXPECT_TRUE(firsts[0].ends_with("\r\n\r\nall of it END")) << firsts[0];
  EXPECT_TRUE(firsts[1].ends_with("\r\n\r\n")) << firsts[1];
}

TEST_P(UpstreamCluster, AnUploadOnADeadPooledConnectionIsSentOnceMoreWhileItsBodyCanBe) {
  // Answers one request, takes another one's body and goes; from the second connection on it is well.
  struct Stale {
    static Task<> talk(Socket& socket, int number, std::vector<std::string>& bodies) {
      if (number == 0) {
        auto first = co_await receive_until(socket, "\r\n\r\n", kNever);
        if (!first || first->empty()) co_return;
        auto sent = co_await send_text(socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", kNever);
        if (!sent) co_return;
      }
      auto got = co_await receive_until(socket, "END", kNever);
      if (number == 0 || !got) co_return;
      bodies.push_back(got->substr(got->find("\r\n\r\n") + 4));
      auto sent = co_await send_text(socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", kNever);
      (void)sent;
    }
  };
  const auto put_on_dead_connection = [&](std::unique_ptr<http::BodyReader> sent, std::vector<std::string>& bodies) {
    FarServer far(*loop_, [&](Socket& socket, int number) { return Stale::talk(socket, number, bodies); });
    Cluster& c = cluster({far.address()});
    EXPECT_EQ(ask(c), "hi");
    Asked asked(*loop_, Method::put);
    asked.request.body = std::move(sent);
    auto answer = send(c, asked);
    std::string text = body(answer);
    cluster_.reset();
    return text;
  };
  const auto fed = [](std::vector<std::string> pieces) {
    auto made = std::make_unique<FedBody>(8);
    for (std::string& piece : pieces) made->feed(std::move(piece));
    made->end();
    return made;
  };
  std::vector<std::string> bodies;
  EXPECT_EQ(put_on_dead_connection(fed({"kept END"}), bodies), "hi");
  EXPECT_EQ(put_on_dead_connection(std::make_unique<http::TextBody>("text END"), bodies), "hi");
  EXPECT_EQ(bodies, (std::vector<std::string>{"kept END", "text END"}));
  EXPECT_EQ(metrics_.counter("trellis_upstream_requests_total", "", {{"upstream", "api"}, {"code", "none"}}).value(),
            0U)
      << "nobody is blamed";
  // What was read beyond the first piece is gone.
  bodies.clear();
  EXPECT_TRUE(put_on_dead_connection(fed({"gone", " END"}), bodies).starts_with("error: "));
  EXPECT_EQ(bodies, std::vector<std::string>());
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
  HostFigures figures(metrics_, "api", far.address().to_string());
  Cluster& c = cluster({far.address()});
  Asked asked(*loop_);
  auto answer = send(c, asked);
  ASSERT_TRUE(answer);
  cluster_.reset();
  EXPECT_EQ(body(answer), "hi");
  EXPECT_EQ(figures.connections("opened").value(), 1U);
  EXPECT_EQ(figures.connections("closed").value(), 1U);
}

INSTANTIATE_TEST_SUITE_P(Io, UpstreamCluster, testing::Values(IoKind::uring, IoKind::epoll), io_name);

}  // namespace
}  // namespace trellis::upstream
