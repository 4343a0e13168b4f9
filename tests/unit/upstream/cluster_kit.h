// A cluster over real TCP, the same on both backends: hosts that do as a script says, requests, and what became of
// them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/metrics.h"
#include "tests/unit/http/wire_kit.h"
#include "upstream/cluster.h"

namespace trellis::upstream::test {

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
  // Takes the request and goes.
  static Task<> read_and_close(Socket& socket, int& requests) {
    auto got = co_await receive_until(socket, "\r\n\r\n", kNever);
    if (got && !got->empty()) ++requests;
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
  static HostFacts facts(const net::Address& address) {
    return {.name = address.to_string(), .authority = address.to_string(), .address = address};
  }
  Cluster& cluster(std::vector<net::Address> addresses) {
    std::vector<HostFacts> members;
    for (const net::Address& address : addresses) members.push_back(facts(address));
    return cluster_of(std::move(members));
  }
  Cluster& cluster_of(std::vector<HostFacts> members) {
    hosts_ = std::make_shared<Hosts>("api", 1, config_.balance, metrics_);
    hosts_->set_members(std::move(members), Time::min());
    cluster_ = std::make_unique<Cluster>(hosts_, config_, metrics_, breaker_);
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
  std::shared_ptr<Hosts> hosts_;
  std::shared_ptr<Breaker> breaker_;
  std::unique_ptr<Cluster> cluster_;
};

}  // namespace trellis::upstream::test
