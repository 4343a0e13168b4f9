// What the server does beside answers: connections that become something else, and answers before the answer. Over real
// connections, the same on both backends.
#include "http/server.h"
#include "tests/unit/http/wire_kit.h"

namespace trellis::http {
namespace {

using namespace std::chrono_literals;
using namespace test;

constexpr const char* kHandshake =
    "GET /echo HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n";

// Sends back what comes, in capitals, until the client ends.
class Shout final : public UpgradeHandler {
 public:
  explicit Shout(int& alive) : alive_(alive) { ++alive_; }
  ~Shout() override { --alive_; }
  Task<> run(Socket& client, Traffic& traffic) override {
    while (true) {
      auto chunk = co_await client.recv(kNever);
      if (!chunk || chunk->empty()) co_return;
      std::string text(chunk->view());
      traffic.from_client += text.size();
      for (char& c : text) c = static_cast<char>(std::toupper(c));
      auto sent = co_await send_text(client, text, kNever);
      if (!sent) co_return;
      traffic.to_client += text.size();
    }
  }

 private:
  int& alive_;
};

class App final : public Application {
 public:
  // Outlives the application, as what a connection leaves behind does.
  struct Books {
    int ends = 0;  // of upgraded connections
    Sent last;
  };
  App(std::shared_ptr<Books> made, bool hands_over) : books(std::move(made)), hands_over_(hands_over) {}

  Task<Result<Response>> handle(Request& request, RequestContext& context) override {
    Response response(context.arena);
    if (request.path == "/echo") {
      if (!request.upgrade) co_return fail(Error(Code::invalid_argument, "nothing to do").from(Side::client));
      response.status = 101;
      response.fields.add(FieldId::upgrade, request.fields.value(FieldId::upgrade));
      response.upgraded = std::make_unique<Shout>(alive);
    } else if (request.path == "/unasked") {
      response.status = 101;
      response.fields.add(FieldId::upgrade, "echo");
      response.upgraded = std::make_unique<Shout>(alive);
    } else if (request.path == "/empty") {
      response.status = 101;
      response.fields.add(FieldId::upgrade, "echo");
    } else if (request.path == "/hints") {
      hinted = request.interim != nullptr;
      for (int status : {103, 102}) {
        if (!request.interim) break;
        Response early(context.arena, status);
        early.fields.add(FieldId::link, "</a.css>; rel=preload");
        early.fields.add(FieldId::connection, "x-hop");
        early.fields.add("X-Hop", "1");
        early.fields.add(FieldId::keep_alive, "timeout=5");
        early.fields.add("X-Long", context.arena.copy(std::string(hint_size, 'h')));
        request.interim->send_interim(early);
      }
      co_await go_on.wait(kNever);
      if (request.body) {
        auto body = co_await read_all(request.body.get(), 100, kNever);
        CO_TRY_VOID(std::move(body));
      }
      response.body = Body::of_static("final");
    } else {
      response.body = Body::of_static("plain");
    }
    co_return response;
  }
  void finished(const Request&, RequestContext&, const Sent& sent) noexcept override {
    ++done;
    books->last = sent;
  }
  std::unique_ptr<UpgradeEnd> upgraded(Request&, RequestContext&, const Sent& sent) override {
    ++upgrades;
    EXPECT_EQ(sent.status, 101);
    class End final : public UpgradeEnd {
     public:
      explicit End(std::shared_ptr<Books> to) : books(std::move(to)) {}
      void finished(const Request& request, RequestContext&, const Sent& ended) noexcept override {
        EXPECT_EQ(request.path, "/echo");
        ++books->ends;
        books->last = ended;
      }
      std::shared_ptr<Books> books;
    };
    if (!hands_over_) return nullptr;
    return std::make_unique<End>(books);
  }
  void refused(std::string_view, int, H1Error) noexcept override {}

  std::shared_ptr<Books> books;
  Event go_on;
  size_t hint_size = 1;
  int done = 0;
  int upgrades = 0;
  int alive = 0;
  bool hinted = false;

 private:
  bool hands_over_;
};

class HttpUpgrade : public OnBothBackends {
 protected:
  void SetUp() override {
    OnBothBackends::SetUp();
    if (loop_) start();
  }
  void start(bool hands_over = true) {
    server_.reset();
    books_ = std::make_shared<App::Books>();
    app_ = std::make_shared<App>(books_, hands_over);
    server_ = std::make_unique<Server>(options_, app_);
  }
  Socket connect() {
    TcpPair pair = tcp_pair(*loop_);
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

  ServerOptions options_;
  std::shared_ptr<App::Books> books_;
  std::shared_ptr<App> app_;
  std::unique_ptr<Server> server_;
};

TEST_P(HttpUpgrade, TheHandlerHasTheSocketToItself) {
  Socket client = connect();
  send(client, kHandshake);
  const std::string answer = receive(client, "\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n")) << answer;
  EXPECT_NE(answer.find("Connection: Upgrade\r\n"), std::string::npos) << answer;
  EXPECT_NE(answer.find("Upgrade: echo\r\n"), std::string::npos) << answer;
  EXPECT_EQ(answer.find("Content-Length"), std::string::npos) << answer;
  for (int i = 0; i < 3; ++i) {
    send(client, "GET / HTTP/1.1 number " + std::to_string(i));
    EXPECT_EQ(receive(client, std::to_string(i)), "GET / HTTP/1.1 NUMBER " + std::to_string(i));
  }
  EXPECT_EQ(server_->in_flight(), 1U);
  EXPECT_EQ(app_->upgrades, 1);
  EXPECT_EQ(books_->ends, 0);
  client.close();
  EXPECT_TRUE(until([&] { return server_->connections() == 0; }));
  EXPECT_EQ(app_->done, 0) << "who was given hears of the end, and nobody else";
  EXPECT_EQ(books_->ends, 1);
  EXPECT_EQ(books_->last.bytes_in, 69U);
  EXPECT_EQ(books_->last.bytes_out, 69U + answer.size());
  EXPECT_EQ(app_->alive, 0);
  EXPECT_EQ(server_->in_flight(), 0U);
}

TEST_P(HttpUpgrade, WhatCameBehindTheHeadIsTheFirstInput) {
  Socket client = connect();
  send(client, std::string(kHandshake) + "early");
  EXPECT_TRUE(receive(client, "EARLY").ends_with("\r\n\r\nEARLY"));
}

TEST_P(HttpUpgrade, AnApplicationThatHandsNothingOverHearsOfTheEndItself) {
  start(false);
  Socket client = connect();
  send(client, kHandshake);
  receive(client, "\r\n\r\n");
  client.close();
  EXPECT_TRUE(until([&] { return app_->done == 1; }));
  EXPECT_EQ(books_->last.status, 101);
}

TEST_P(HttpUpgrade, NobodyIsSwitchedUnasked) {
  for (const char* request :
       {"GET /unasked HTTP/1.1\r\nHost: h\r\n\r\n", "GET /unasked HTTP/1.1\r\nHost: h\r\nUpgrade: echo\r\n\r\n",
        "POST /unasked HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\nContent-Length: 2\r\n\r\nhi",
        "GET /unasked HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET /empty HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"}) {
    Socket client = connect();
    send(client, request);
    const std::string answer = receive(client, "}");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 500 ")) << request << answer;
    EXPECT_EQ(app_->alive, 0);
    send(client, "GET /plain HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_TRUE(receive(client, "plain").ends_with("plain")) << "the connection is still HTTP";
  }
  Socket old = connect();
  send(old, "GET /unasked HTTP/1.0\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
  EXPECT_TRUE(receive(old).starts_with("HTTP/1.1 500 "));
  EXPECT_EQ(app_->upgrades, 0);
}

TEST_P(HttpUpgrade, AReloadNeitherEndsAConnectionNorKeepsTheOldApplication) {
  Socket client = connect();
  send(client, kHandshake);
  receive(client, "\r\n\r\n");
  auto new_books = std::make_shared<App::Books>();
  auto kept = std::make_shared<App>(new_books, true);
  server_->set_application(kept);
  EXPECT_EQ(app_.use_count(), 1) << "only the test has it";
  send(client, "still here");
  EXPECT_EQ(receive(client, "HERE"), "STILL HERE");
  client.close();
  EXPECT_TRUE(until([&] { return server_->connections() == 0; }));
  EXPECT_EQ(books_->ends, 1);
  EXPECT_EQ(new_books->ends + kept->done, 0);
}

TEST_P(HttpUpgrade, ADrainWaitsAndThenCuts) {
  Socket client = connect();
  send(client, kHandshake);
  receive(client, "\r\n\r\n");
  EXPECT_FALSE(fakes::run_task(*loop_, server_->drain(in(30))));
  send(client, "yet");
  EXPECT_EQ(receive(client, "YET"), "YET");
  server_.reset();
  EXPECT_EQ(books_->ends, 1);
  EXPECT_EQ(books_->last.bytes_in, 3U);
  EXPECT_EQ(receive(client), "");
}

TEST_P(HttpUpgrade, InterimAnswersGoOutAtOnceAndWithoutWhatIsForOneHop) {
  Socket client = connect();
  send(client, "GET /hints HTTP/1.1\r\nHost: h\r\n\r\n");
  const std::string fields = "Link: </a.css>; rel=preload\r\nX-Long: h\r\n\r\n";
  EXPECT_EQ(receive(client, "102 Processing\r\n" + fields),
            "HTTP/1.1 103 Early Hints\r\n" + fields + "HTTP/1.1 102 Processing\r\n" + fields);
  app_->go_on.set();
  const std::string answer = receive(client, "final");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
}

TEST_P(HttpUpgrade, AnOldClientGetsNoInterimAnswer) {
  app_->go_on.set();
  Socket client = connect();
  send(client, "GET /hints HTTP/1.0\r\n\r\n");
  EXPECT_TRUE(receive(client).starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_FALSE(app_->hinted);
}

TEST_P(HttpUpgrade, AnInterimAnswerGoesBefore100Continue) {
  app_->go_on.set();
  Socket client = connect();
  send(client, "POST /hints HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  const std::string before = receive(client, "100 Continue\r\n\r\n");
  EXPECT_TRUE(before.starts_with("HTTP/1.1 103 ")) << before;
  send(client, "ab");
  EXPECT_TRUE(receive(client, "final").starts_with("HTTP/1.1 200 OK\r\n"));
}

// The client takes nothing for a while: an interim answer that was begun is ended before the final one, others are left
// out.
TEST_P(HttpUpgrade, AnInterimAnswerThatFindsLittleRoomBreaksNothing) {
  const int small = 4096;
  for (const size_t size : {size_t{100}, size_t{1 << 20}}) {
    start();
    app_->hint_size = size;
    TcpPair pair = tcp_pair(*loop_, 4096);
    ::setsockopt(pair.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    server_->accept(pair.fd);
    send(pair.far, "GET /hints HTTP/1.1\r\nHost: h\r\n\r\n");
    turns(50);
    app_->go_on.set();
    std::string answer = receive(pair.far, "final");
    int answers = 0;
    while (answer.starts_with("HTTP/1.1 1")) {
      const size_t end = answer.find("\r\n\r\n");
      ASSERT_NE(end, std::string::npos);
      EXPECT_TRUE(answer.substr(0, end).ends_with("X-Long: " + std::string(size, 'h')));
      answer.erase(0, end + 4);
      ++answers;
    }
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer.substr(0, 100);
    EXPECT_EQ(answers, size == 100 ? 2 : 1);
  }
}

INSTANTIATE_TEST_SUITE_P(Io, HttpUpgrade, testing::Values(IoKind::uring, IoKind::epoll), io_name);

}  // namespace
}  // namespace trellis::http
