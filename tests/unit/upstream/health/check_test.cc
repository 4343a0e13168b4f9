// One check over real TCP, the same on both backends: what is good, what is not and why, and that its time is an end
// to everything.
#include "upstream/health/check.h"

#include "tests/unit/http/wire_kit.h"
#include "tests/unit/upstream/health/grpc_server.h"
#include "upstream/hosts.h"

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;
using namespace http::test;

// What the servers below do with a connection.
struct Script {
  static Task<> answer(Socket& socket, std::string text, std::string& asked) {
    auto got = co_await receive_until(socket, "\r\n\r\n", kNever);
    if (!got || got->empty()) co_return;
    asked = *got;
    auto sent = co_await send_text(socket, std::move(text), kNever);
    (void)sent;
  }
  // Answers and keeps the connection.
  static Task<> answer_and_stay(Socket& socket, std::string text, std::string& asked) {
    co_await answer(socket, std::move(text), asked);
    auto end = co_await socket.recv(kNever);
    (void)end;
  }
  static Task<> say_at_once(Socket& socket, std::string text) {
    auto sent = co_await send_text(socket, std::move(text), kNever);
    auto end = co_await socket.recv(kNever);
    (void)sent;
    (void)end;
  }
  static Task<> say_nothing(Socket& socket) {
    while (true) {
      auto got = co_await socket.recv(kNever);
      if (!got || got->empty()) co_return;
    }
  }
  static Task<> close_at_once(Socket&) { co_return; }
  static Task<> reset_at_once(Socket& socket) {
    auto got = co_await receive_until(socket, "\r\n\r\n", kNever);
    (void)got;
    http::test::reset_on_close(socket);
  }
  // `begin`, then a byte every few milliseconds as long as anybody listens.
  static Task<> drip(Socket& socket, std::string begin, std::string byte) {
    auto got = co_await receive_until(socket, "\r\n\r\n", kNever);
    (void)got;
    auto sent = co_await send_text(socket, std::move(begin), kNever);
    while (sent) {
      co_await sleep_for(2ms);
      auto more = co_await send_text(socket, byte, kNever);
      if (!more) co_return;
    }
  }
  // `begin`, then `piece` without end.
  static Task<> flood(Socket& socket, std::string begin, std::string piece, size_t& sent_bytes) {
    auto got = co_await receive_until(socket, "\r\n\r\n", kNever);
    (void)got;
    auto sent = co_await send_text(socket, std::move(begin), kNever);
    while (sent) {
      auto more = co_await send_text(socket, piece, kNever);
      if (!more) co_return;
      sent_bytes += piece.size();
      co_await yield();
    }
  }
  static Task<> echo_pong(Socket& socket, std::string& asked) {
    auto got = co_await receive_until(socket, "PING\r\n", kNever);
    if (!got) co_return;
    asked = *got;
    auto first = co_await send_text(socket, "+PO", kNever);
    co_await yield();
    auto second = co_await send_text(socket, "NG\r\n", kNever);
    auto end = co_await socket.recv(kNever);
    (void)first;
    (void)second;
    (void)end;
  }
  static Task<> grpc(Socket& socket, test::GrpcAnswer answer) {
    test::GrpcServer server(std::move(answer));
    while (true) {
      std::string out = server.take_output();
      if (!out.empty()) {
        auto sent = co_await send_text(socket, std::move(out), kNever);
        if (!sent) co_return;
      }
      auto got = co_await socket.recv(kNever);
      if (!got || got->empty()) co_return;
      if (!server.feed(got->view())) co_return;
    }
  }
};

class UpstreamCheck : public OnBothBackends {
 protected:
  void TearDown() override {
    server_.reset();
    if (loop_) turns(5);
  }
  void serve(FarServer::Talk talk) { server_ = std::make_unique<FarServer>(*loop_, std::move(talk)); }
  void answers(std::string text) {
    serve([this, text](Socket& socket, int) { return Script::answer(socket, text, asked_); });
  }
  std::string check() { return check_at(server_->address()); }
  std::string check_at(const net::Address& address) {
    HostFacts facts{.name = "api", .authority = "api.internal:8080", .address = address, .zone = {}};
    auto result = fakes::run_task(*loop_, check_host(facts, config_));
    return result ? *result : "bad: " + result.error().what();
  }
  void soon_over() { config_.timeout = 60ms; }

  HealthConfig config_;
  std::unique_ptr<FarServer> server_;
  std::string asked_;
};

TEST_P(UpstreamCheck, AsksForThePathAndClosesTheConnection) {
  config_.path = "/healthz?deep=1";
  answers("HTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(check(), "answered 204");
  EXPECT_TRUE(asked_.starts_with("GET /healthz?deep=1 HTTP/1.1\r\nHost: api.internal:8080\r\n")) << asked_;
  EXPECT_NE(asked_.find("Connection: close\r\n"), std::string::npos) << asked_;
  EXPECT_NE(asked_.find("User-Agent: trellis-health\r\n"), std::string::npos) << asked_;
}

TEST_P(UpstreamCheck, HeadAndHostAreAsConfigured) {
  config_.method = HealthConfig::Method::head;
  config_.host = "www.example.com";
  answers("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n");
  EXPECT_EQ(check(), "answered 200");
  EXPECT_TRUE(asked_.starts_with("HEAD / HTTP/1.1\r\nHost: www.example.com\r\n")) << asked_;
}

TEST_P(UpstreamCheck, StatusesOutsideTheRangesAreBad) {
  answers("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(check(), "bad: answered 503, expected 200-399");
  config_.status = {{200, 299}, {503, 503}};
  EXPECT_EQ(check(), "answered 503");
  answers("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(check(), "bad: answered 302, expected 200-299, 503");
}

TEST_P(UpstreamCheck, AnInterimAnswerIsNotTheAnswer) {
  answers("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(check(), "bad: answered 500, expected 200-399");
}

TEST_P(UpstreamCheck, NoConnectionSaysWhy) {
  net::Address nowhere;
  {
    Listening gone;
    nowhere = gone.address;
  }
  EXPECT_EQ(check_at(nowhere), "bad: no connection: Connection refused");
}

TEST_P(UpstreamCheck, AnotherPortOfTheHostAnswers) {
  answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  net::Address elsewhere;
  {
    Listening gone;
    elsewhere = gone.address;
  }
  config_.port = server_->address().port();
  EXPECT_EQ(check_at(elsewhere), "answered 200");
}

TEST_P(UpstreamCheck, WhoClosesHasNotAnswered) {
  serve([](Socket& socket, int) { return Script::close_at_once(socket); });
  const std::string said = check();  // whether the request could still be sent is a matter of moments
  EXPECT_TRUE(said == "bad: closed without an answer" || said == "bad: the connection broke before an answer" ||
              said == "bad: the connection broke")
      << said;
}

TEST_P(UpstreamCheck, AResetIsNoAnswer) {
  serve([](Socket& socket, int) { return Script::reset_at_once(socket); });
  EXPECT_EQ(check(), "bad: the connection broke before an answer");
}

TEST_P(UpstreamCheck, GarbageIsNoAnswer) {
  for (const std::string_view text :
       {"220 mail.example.com ESMTP\r\n\r\n", "HTTP/1.1 two hundred\r\n\r\n", "HTTP/1.1 200 OK\r\nA B: c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "\x16\x03\x01\r\n\r\n"}) {
    answers(std::string(text));
    EXPECT_TRUE(check().starts_with("bad: malformed answer: ")) << text;
  }
}

TEST_P(UpstreamCheck, AHeadWithoutEndIsCutOff) {
  size_t sent = 0;
  serve([&](Socket& socket, int) {
    return Script::flood(socket, "HTTP/1.1 200 OK\r\n", "A: " + std::string(4000, 'a') + "\r\n", sent);
  });
  EXPECT_EQ(check(), "bad: malformed answer: head_too_large");
}

TEST_P(UpstreamCheck, SilenceEndsWithItsTime) {
  soon_over();
  serve([](Socket& socket, int) { return Script::say_nothing(socket); });
  EXPECT_EQ(check(), "bad: no answer in 60ms");
}

TEST_P(UpstreamCheck, ADrippingHeadDoesNotStretchTheTime) {
  soon_over();
  serve([](Socket& socket, int) { return Script::drip(socket, "HTTP/1.1 200 OK\r\nA: ", "a"); });
  EXPECT_EQ(check(), "bad: no answer in 60ms");
}

TEST_P(UpstreamCheck, ADrippingBodyDoesNotStretchTheTime) {
  soon_over();
  config_.body = "ready";
  serve([](Socket& socket, int) { return Script::drip(socket, "HTTP/1.1 200 OK\r\n\r\n", "r"); });
  EXPECT_EQ(check(), "bad: answered 200, but the body did not end in 60ms");
}

TEST_P(UpstreamCheck, WithoutABodyToLookForItIsNotWaitedFor) {
  serve([](Socket& socket, int) { return Script::drip(socket, "HTTP/1.1 200 OK\r\n\r\n", "r"); });
  EXPECT_EQ(check(), "answered 200");
}

TEST_P(UpstreamCheck, TheBodyMustSayWhatIsExpected) {
  config_.body = "database: ok";
  answers("HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\ncache: ok\ndatabase: ok\r\n");
  EXPECT_EQ(check(), "answered 200, the body says \"database: ok\"");
  answers("HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\ndatabase: down");
  EXPECT_EQ(check(), "bad: answered 200, but the body does not say \"database: ok\"");
  answers("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(check(), "bad: answered 200, but the body does not say \"database: ok\"");
}

TEST_P(UpstreamCheck, TheTextMayLieAcrossPiecesAndChunks) {
  config_.body = "database: ok";
  answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndata\r\n6\r\nbase: \r\n2\r\nok\r\n0\r\n\r\n");
  EXPECT_EQ(check(), "answered 200, the body says \"database: ok\"");
}

TEST_P(UpstreamCheck, ABodyThatBreaksOffIsBad) {
  config_.body = "ok";
  answers("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnearly");
  EXPECT_EQ(check(), "bad: answered 200, but the body broke off");
  answers("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
  EXPECT_EQ(check(), "bad: answered 200, but the body broke off");
}

TEST_P(UpstreamCheck, AHugeBodyIsReadUpToItsLimit) {
  config_.body = "needle";
  size_t sent = 0;
  serve([&](Socket& socket, int) {
    return Script::flood(socket, "HTTP/1.1 200 OK\r\n\r\n", std::string(8192, 'x'), sent);
  });
  EXPECT_EQ(check(), "bad: answered 200, but the first 64KiB of the body do not say \"needle\"");
  answers("HTTP/1.1 200 OK\r\n\r\n" + std::string(kMaxChecked - 6, 'x') + "needle");
  EXPECT_EQ(check(), "answered 200, the body says \"needle\"");
  answers("HTTP/1.1 200 OK\r\n\r\n" + std::string(kMaxChecked - 5, 'x') + "needle");
  EXPECT_EQ(check(), "bad: answered 200, but the first 64KiB of the body do not say \"needle\"");
}

TEST_P(UpstreamCheck, ATcpCheckTakesAConnectionForGood) {
  config_.kind = HealthConfig::Kind::tcp;
  serve([](Socket& socket, int) { return Script::say_nothing(socket); });
  EXPECT_EQ(check(), "took the connection");
}

TEST_P(UpstreamCheck, ATcpCheckMaySayAndExpectSomething) {
  config_.kind = HealthConfig::Kind::tcp;
  config_.send = "PING\r\n";
  config_.expect = "+PONG";
  serve([this](Socket& socket, int) { return Script::echo_pong(socket, asked_); });
  EXPECT_EQ(check(), "said \"+PONG\"");
  EXPECT_EQ(asked_, "PING\r\n");
}

TEST_P(UpstreamCheck, ATcpCheckWaitsForABanner) {
  config_.kind = HealthConfig::Kind::tcp;
  config_.expect = "220 ";
  serve([](Socket& socket, int) { return Script::say_at_once(socket, "220 mail.example.com ESMTP\r\n"); });
  EXPECT_EQ(check(), "said \"220 \"");
}

TEST_P(UpstreamCheck, ATcpCheckThatHearsSomethingElseIsBad) {
  config_.kind = HealthConfig::Kind::tcp;
  config_.expect = "220 ";
  soon_over();
  serve([](Socket& socket, int) { return Script::say_at_once(socket, "421 busy\r\n"); });
  EXPECT_EQ(check(), "bad: did not say \"220 \" in 60ms");
  serve([](Socket& socket, int) { return Script::close_at_once(socket); });
  EXPECT_EQ(check(), "bad: closed before it said \"220 \"");
  config_.timeout = 2s;
  size_t sent = 0;
  config_.send = "\r\n\r\n";
  serve([&](Socket& socket, int) { return Script::flood(socket, "", std::string(8192, '4'), sent); });
  EXPECT_EQ(check(), "bad: said 64KiB without \"220 \"");
}

TEST_P(UpstreamCheck, AGrpcServerIsAskedForItsStatus) {
  config_.kind = HealthConfig::Kind::grpc;
  config_.service = "shop.Orders";
  serve([](Socket& socket, int) { return Script::grpc(socket, test::serving(1)); });
  EXPECT_EQ(check(), "answered SERVING");
  serve([](Socket& socket, int) { return Script::grpc(socket, test::serving(2)); });
  EXPECT_EQ(check(), "bad: answered NOT_SERVING");
}

TEST_P(UpstreamCheck, AGrpcCheckEndsWithItsTimeToo) {
  config_.kind = HealthConfig::Kind::grpc;
  soon_over();
  serve([](Socket& socket, int) { return Script::say_nothing(socket); });
  EXPECT_EQ(check(), "bad: no answer in 60ms");
  serve([](Socket& socket, int) { return Script::grpc(socket, {.silent = true}); });
  EXPECT_EQ(check(), "bad: no answer in 60ms");
}

TEST_P(UpstreamCheck, AnHttp1ServerIsNoGrpcServer) {
  config_.kind = HealthConfig::Kind::grpc;
  serve([](Socket& socket, int) {
    return Script::say_at_once(socket, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  });
  EXPECT_TRUE(check().starts_with("bad: malformed answer: "));
}

INSTANTIATE_TEST_SUITE_P(Io, UpstreamCheck, testing::Values(IoKind::epoll, IoKind::uring), io_name);

}  // namespace
}  // namespace trellis::upstream
