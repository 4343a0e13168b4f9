#include "proxy/cache/members.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "http/server.h"
#include "proxy/cache/member_mark.h"
#include "runtime/blocking_pool.h"
#include "tests/unit/http/wire_kit.h"
#include "upstream/cluster.h"

namespace trellis::proxy {
namespace {

using namespace http::test;
using cache::PurgeRule;

constexpr std::string_view kKey = "the key of the cluster";

// An edge as far as its cluster goes: messages to the members, and objects that say who made them.
class NodeApp final : public http::Application {
 public:
  explicit NodeApp(std::string name) : name_(std::move(name)) {}
  Members* members = nullptr;
  int made = 0;
  bool stale = false;           // what it makes
  std::function<void()> hangs;  // called by a request for an object, which is not answered then

  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override {
    if (!Members::cache_of_path(request.path).empty()) return members->answer(request, context);
    return object(request, context);
  }
  void finished(const http::Request&, http::RequestContext&, const http::Sent&) noexcept override {}
  void refused(std::string_view, int, http::H1Error) noexcept override {}

 private:
  Task<Result<http::Response>> object(http::Request& request, http::RequestContext& context) {
    const Members::Sender sender = members->sender_of(request, context);
    if (sender.kind == Members::Sender::Kind::ahead) co_return members->refuse_ahead(context);
    ++made;
    if (hangs) {
      hangs();
      co_await sleep_until(kNever);
    }
    http::Response response(context.arena, 200);
    response.body = http::Body("made by " + name_ + " over " + std::string(sender.scheme));
    if (sender.kind == Members::Sender::Kind::member) Members::mark_answer(response, stale);
    co_return response;
  }
  std::string name_;
};

struct Edge {
  std::string name;
  Listening listening;
  std::shared_ptr<cache::PurgeBook> book;
  std::shared_ptr<upstream::Hosts> hosts;
  std::shared_ptr<upstream::Cluster> cluster;
  std::unique_ptr<Members> members;
  std::shared_ptr<NodeApp> app;
  std::shared_ptr<Silence> silence = std::make_shared<Silence>();
  std::unique_ptr<http::Server> server;
  std::unique_ptr<Acceptor> acceptor;
  std::vector<std::string> forgotten;

  void stop() {
    acceptor.reset();
    server.reset();
    listening.close();
  }
};

class MembersTest : public OnBothBackends {
 protected:
  void SetUp() override {
    auto made = Loop::make({.io = GetParam(), .pool = &pool_});
    if (!made && GetParam() == IoKind::uring) GTEST_SKIP() << "no io_uring here: " << made.error().to_string();
    ASSERT_TRUE(made) << made.error().to_string();
    loop_ = *std::move(made);
    config_.balance = upstream::Balance::hash;
  }
  void TearDown() override {
    for (auto& edge : edges_) {
      edge->server.reset();
      edge->members.reset();
      edge->acceptor.reset();
      edge->cluster.reset();
    }
    pool_.close();
    if (loop_) turns(5);
    edges_.clear();
    loop_.reset();
  }
  void make(size_t count, std::string_view key_of_last = kKey, const char* name_of_last = nullptr) {
    for (size_t i = 0; i < count; ++i) {
      edges_.push_back(std::make_unique<Edge>());
      edges_.back()->name = "edge-" + std::to_string(i);
    }
    if (name_of_last) edges_.back()->name = name_of_last;
    for (size_t i = 0; i < count; ++i) start(*edges_[i], i + 1 == count ? key_of_last : kKey);
  }
  void start(Edge& edge, std::string_view key) {
    std::vector<upstream::HostFacts> facts;
    for (const auto& one : edges_) {
      const std::string address = one->listening.address.to_string();
      facts.push_back({.name = address, .authority = address, .address = one->listening.address});
    }
    edge.book = *cache::PurgeBook::open({.node = Members::number_of(edge.name)});
    edge.hosts = std::make_shared<upstream::Hosts>("edges", 1, config_.balance, metrics_);
    edge.hosts->set_members(std::move(facts), Time::min());
    edge.cluster = std::make_shared<upstream::Cluster>(edge.hosts, config_, metrics_);
    auto options = std::make_shared<MembersOptions>();
    options->cache = "edge";
    options->key = key;
    options->node = edge.name;
    options->silence = edge.silence;
    options->forget = [&edge](std::string_view one) { edge.forgotten.emplace_back(one); };
    edge.members = std::make_unique<Members>(std::move(options), edge.cluster, edge.book, metrics_);
    edge.members->set_self({edge.listening.address.to_string()});
    edge.app = std::make_shared<NodeApp>(edge.name);
    edge.app->members = edge.members.get();
    edge.server = std::make_unique<http::Server>(http::ServerOptions{}, edge.app);
    edge.acceptor = std::make_unique<Acceptor>(edge.listening.fd, [&edge](int fd) { edge.server->accept(fd); });
    edge.acceptor->start();
  }
  std::vector<MemberAck> purge(Edge& edge, std::string text) {
    cache::PurgeBook::Added added =
        edge.book->add({{.kind = PurgeRule::Kind::key, .text = std::move(text), .soft = false}});
    return fakes::run_task(*loop_, edge.members->tell(std::move(added.batch)));
  }
  static bool knows(const Edge& edge, std::string_view url) {
    return edge.book->check({.url = url, .tags = {}, .filled = UINT64_MAX - 1}, 0) == cache::PurgeState::dead;
  }
  // What a node has of an object, asked by the owner's way; "": it is to ask the origin.
  std::string fetch(Edge& edge, uint64_t key, std::string_view scheme = "http") {
    Arena arena;
    http::Request request(arena);
    http::RequestContext context{.arena = arena, .loop = *loop_, .started = loop_->now()};
    request.method_text = "GET";
    request.scheme = scheme;
    request.authority = "example.com";
    request.path = "/object";
    request.target = "/object";
    auto answer = fakes::run_task(*loop_, edge.members->fetch(key, request, context));
    if (!answer) return "";
    http::Response& response = answer->response;
    EXPECT_FALSE(response.fields.find(kMemberField));
    const std::string stale = answer->stale ? ", stale" : "";
    if (response.body.kind() == http::Body::Kind::bytes) return std::string(response.body.bytes().view()) + stale;
    auto stream = response.body.take_stream();
    return fakes::run_task(*loop_, http::read_all(stream.get(), 1000, soon())).value_or("broken") + stale;
  }
  // A key that this node owns.
  uint64_t key_of(const Edge& owner) {
    for (uint64_t key = 0x9E37'79B9'7F4A'7C15;; key *= 0xD129'0D3C'5A4B'F295) {
      if (edges_[0]->cluster->host_of_key(key)->facts.name == owner.listening.address.to_string()) return key;
    }
  }

  BlockingPool pool_{1};
  Metrics metrics_;
  upstream::UpstreamConfig config_;
  std::vector<std::unique_ptr<Edge>> edges_;
};

TEST_P(MembersTest, EveryOtherNodeIsToldOfAPurgeAndSaysSo) {
  make(3);
  const std::vector<MemberAck> acks = purge(*edges_[0], "a.com/1");
  ASSERT_EQ(acks.size(), 2u);
  for (const MemberAck& ack : acks) EXPECT_EQ(ack.error, "") << ack.member;
  for (const auto& edge : edges_) EXPECT_TRUE(knows(*edge, "a.com/1")) << edge->name;
}

TEST_P(MembersTest, WhoIsAwayIsReportedAndLearnsItWhenItIsBack) {
  make(3);
  const int listening = ::dup(edges_[2]->listening.fd);  // keeps the port, so that nobody else gets it
  edges_[2]->stop();
  ::shutdown(listening, SHUT_RDWR);
  ::close(listening);
  const std::vector<MemberAck> acks = purge(*edges_[0], "a.com/1");
  size_t missing = 0;
  for (const MemberAck& ack : acks) missing += ack.error.empty() ? 0 : 1;
  EXPECT_EQ(missing, 1u);
  EXPECT_TRUE(knows(*edges_[1], "a.com/1"));
  EXPECT_FALSE(knows(*edges_[2], "a.com/1"));
  // It asks both; the one that took the purge need not be there any more.
  edges_[0]->stop();
  edges_[2]->members->follow();
  EXPECT_TRUE(until([&] { return knows(*edges_[2], "a.com/1"); }));
}

TEST_P(MembersTest, AGapIsSeenAndFilledAtOnce) {
  make(2);
  (void)edges_[0]->book->add({{.kind = PurgeRule::Kind::key, .text = "a.com/lost", .soft = false}});
  purge(*edges_[0], "a.com/told");
  EXPECT_TRUE(until([&] { return knows(*edges_[1], "a.com/lost"); }));
  EXPECT_TRUE(until([&] { return !edges_[1]->book->has_gap(); }));
}

TEST_P(MembersTest, WhoHasAnotherKeyIsNoMember) {
  make(2, "another key");
  const std::vector<MemberAck> acks = purge(*edges_[0], "a.com/1");
  ASSERT_EQ(acks.size(), 1u);
  EXPECT_NE(acks[0].error, "");
  EXPECT_FALSE(knows(*edges_[1], "a.com/1"));
  EXPECT_EQ(fetch(*edges_[0], key_of(*edges_[1])), "");
}

TEST_P(MembersTest, AnObjectComesFromItsOwner) {
  make(3);
  EXPECT_EQ(fetch(*edges_[0], key_of(*edges_[1])), "made by edge-1 over http");
  EXPECT_EQ(fetch(*edges_[0], key_of(*edges_[2]), "https"), "made by edge-2 over https");
  EXPECT_EQ(fetch(*edges_[0], key_of(*edges_[0])), "");  // by itself
  edges_[1]->app->stale = true;
  EXPECT_EQ(fetch(*edges_[0], key_of(*edges_[1])), "made by edge-1 over http, stale");
}

TEST_P(MembersTest, WhatASilentMemberOwnsHasTheNextOwner) {
  make(3);
  Edge& edge = *edges_[0];
  std::map<std::string, int> from;
  uint64_t key = 1;
  for (int i = 0; i < 60; key += 0x9E37'79B9'7F4A'7C15) {
    const std::shared_ptr<upstream::Host> owner = edge.cluster->host_of_key(key);
    if (owner->facts.name != edges_[1]->listening.address.to_string()) continue;
    ++i;
    edge.silence->set({owner.get()});
    ++from[fetch(edge, key)];
    edge.silence->set({});
  }
  EXPECT_EQ(edges_[1]->app->made, 0);
  EXPECT_GT(from[""], 0);  // this node; how many depends on the ports
  EXPECT_GT(from["made by edge-2 over http"], 0);
  EXPECT_EQ(from.size(), 2u);
  EXPECT_EQ(fetch(edge, key_of(*edges_[1])), "made by edge-1 over http");
}

TEST_P(MembersTest, WhoWaitsForAnOwnerThatFallsSilentGoesOn) {
  make(2);
  Edge& edge = *edges_[0];
  const uint64_t key = key_of(*edges_[1]);
  edges_[1]->app->hangs = [&] { edge.silence->set({edge.cluster->host_of_key(key).get()}); };
  EXPECT_EQ(fetch(edge, key), "");
  EXPECT_EQ(edges_[1]->app->made, 1);
  EXPECT_FALSE(edge.members->owns_another(key));
  EXPECT_EQ(edge.cluster->host_of_key(key)->facts.name, edges_[1]->listening.address.to_string());
}

TEST_P(MembersTest, ADeadOwnerIsAMissAndNoError) {
  make(2);
  const uint64_t key = key_of(*edges_[1]);
  edges_[1]->stop();
  EXPECT_EQ(fetch(*edges_[0], key), "");
}

TEST_P(MembersTest, AnOwnerThatLacksAPurgeGivesNothingUntilItHasIt) {
  make(2);
  const uint64_t key = key_of(*edges_[1]);
  (void)edges_[0]->book->add({{.kind = PurgeRule::Kind::key, .text = "a.com/1", .soft = false}});
  EXPECT_EQ(fetch(*edges_[0], key), "");
  EXPECT_EQ(edges_[1]->app->made, 0);
  // It has asked for what it lacks.
  EXPECT_TRUE(until([&] { return knows(*edges_[1], "a.com/1"); }));
  EXPECT_EQ(fetch(*edges_[0], key), "made by edge-1 over http");
}

TEST_P(MembersTest, TheOwnersForgetWhatChanged) {
  make(3);
  std::vector<std::string> keys;
  std::map<std::string, std::vector<std::string>> wanted;
  for (int i = 0; i < 12; ++i) {
    keys.push_back("http://example.com/" + std::to_string(i));
    wanted[edges_[0]->cluster->host_of_key(hash64(keys.back()))->facts.name].push_back(keys.back());
  }
  auto forgetting = [](Members& members, std::vector<std::string> what) -> Task<bool> {
    co_await members.forget(std::move(what));
    co_return true;
  };
  EXPECT_TRUE(fakes::run_task(*loop_, forgetting(*edges_[0]->members, keys)));
  EXPECT_TRUE(edges_[0]->forgotten.empty());  // the caller's own matter
  for (size_t i = 1; i < 3; ++i) EXPECT_EQ(edges_[i]->forgotten, wanted[edges_[i]->listening.address.to_string()]);
}

TEST_P(MembersTest, TwoNodesOfOneNameDoNotHearEachOther) {
  make(2, kKey, "edge-0");
  const std::vector<MemberAck> acks = purge(*edges_[0], "a.com/1");
  ASSERT_EQ(acks.size(), 1u);
  EXPECT_NE(acks[0].error.find("409"), std::string::npos) << acks[0].error;
}

TEST_P(MembersTest, AFifthNodeTakesAFifthOfTheObjectsAndMovesNoOthers) {
  make(5);
  std::vector<upstream::HostFacts> facts;
  for (size_t i = 0; i < 4; ++i) {
    const std::string address = edges_[i]->listening.address.to_string();
    facts.push_back({.name = address, .authority = address, .address = edges_[i]->listening.address});
  }
  auto hosts = std::make_shared<upstream::Hosts>("four", 1, config_.balance, metrics_);
  hosts->set_members(std::move(facts), Time::min());
  upstream::Cluster before(hosts, config_, metrics_);
  const std::string fifth = edges_[4]->listening.address.to_string();
  constexpr int kObjects = 20'000;
  int moved = 0;
  std::map<std::string, int> owned;
  for (int i = 0; i < kObjects; ++i) {
    const uint64_t key = hash64("https://example.com/" + std::to_string(i));
    const std::string was = before.host_of_key(key)->facts.name;
    const std::string is = edges_[0]->cluster->host_of_key(key)->facts.name;
    ++owned[is];
    if (was == is) continue;
    ++moved;
    EXPECT_EQ(is, fifth);
  }
  EXPECT_GT(moved, kObjects * 15 / 100);
  EXPECT_LT(moved, kObjects * 25 / 100);
  EXPECT_EQ(owned.size(), 5u);
}

INSTANTIATE_TEST_SUITE_P(Io, MembersTest, testing::Values(IoKind::uring, IoKind::epoll), io_name);

}  // namespace
}  // namespace trellis::proxy
