#include "net/dns.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <set>

#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "tests/fakes/dns_server.h"
#include "tests/fakes/manual_clock.h"
#include "tests/fakes/run_task.h"

namespace trellis::net {
namespace {

using fakes::DnsMessage;
using fakes::DnsServer;
using namespace std::chrono_literals;

constexpr uint16_t kA = 1;
constexpr uint16_t kSrv = 33;

class DnsTest : public testing::Test {
 protected:
  DnsTest() {
    LoopOptions options;
    options.pool = &pool_;
    options.clock = &clock_;
    loop_ = *Loop::make(options);
  }
  Result<DnsAnswer> addresses(DnsServer& server, const std::string& name) {
    Dns dns({server.address()});
    return fakes::run_task(*loop_, dns.addresses(name, 8080, kNever));
  }
  Result<DnsAnswer> services(DnsServer& server, const std::string& name) {
    Dns dns({server.address()});
    return fakes::run_task(*loop_, dns.services(name, kNever));
  }
  static std::set<std::string> texts(const DnsAnswer& answer) {
    std::set<std::string> out;
    for (const DnsHost& host : answer.hosts) out.insert(host.address.to_string());
    return out;
  }

  fakes::ManualClock clock_;
  std::unique_ptr<Loop> loop_;
  BlockingPool pool_{1};  // ends before the loop: its work comes back to it
};

DnsServer::Handler with(std::function<void(const DnsServer::Question&, DnsMessage&)> say) {
  return [say = std::move(say)](uint16_t id, const DnsServer::Question& question) {
    DnsMessage message;
    say(question, message);
    return message.bytes(id, question);
  };
}

TEST_F(DnsTest, TakesNumericHostsAsTheyAreAndAsksNobody) {
  DnsServer server([](uint16_t, const DnsServer::Question&) { return std::nullopt; });
  const auto answer = addresses(server, "127.0.0.1");
  ASSERT_TRUE(answer);
  EXPECT_EQ(texts(*answer), std::set<std::string>{"127.0.0.1:8080"});
  EXPECT_EQ(server.asked(), 0);
}

TEST_F(DnsTest, LooksIntoTheHostsFileFirst) {
  DnsServer server([](uint16_t, const DnsServer::Question&) { return std::nullopt; });
  const auto answer = addresses(server, "localhost");
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_TRUE(texts(*answer).contains("127.0.0.1:8080"));
  EXPECT_EQ(server.asked(), 0);
}

TEST_F(DnsTest, GivesAllAddressesWithTheirTtl) {
  DnsServer server(with([](const DnsServer::Question& question, DnsMessage& message) {
    if (question.type == kA) message.a(question.name, 40, "127.0.0.1").a(question.name, 30, "127.0.0.2");
  }));
  const auto answer = addresses(server, "api.test");
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_EQ(texts(*answer), (std::set<std::string>{"127.0.0.1:8080", "127.0.0.2:8080"}));
  EXPECT_EQ(answer->ttl, 30s);
  EXPECT_TRUE(answer->complete);
}

TEST_F(DnsTest, SaysThatThereIsNoSuchName) {
  DnsServer server(with([](const DnsServer::Question&, DnsMessage& message) { message.rcode = 3; }));
  const auto answer = addresses(server, "api.test.");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), Code::not_found);
  EXPECT_NE(answer.error().to_string().find("api.test"), std::string::npos);
}

TEST_F(DnsTest, SaysThatANameHasNoAddress) {
  DnsServer server(with([](const DnsServer::Question&, DnsMessage&) {}));
  const auto answer = addresses(server, "api.test.");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), Code::not_found);
}

TEST_F(DnsTest, SaysThatTheServersFailed) {
  for (const uint16_t rcode : {2, 5}) {  // SERVFAIL, REFUSED
    DnsServer server(with([rcode](const DnsServer::Question&, DnsMessage& message) { message.rcode = rcode; }));
    const auto answer = addresses(server, "api.test.");
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code(), Code::unavailable);
  }
}

TEST_F(DnsTest, SaysThatAPartIsMissing) {
  DnsServer server(with([](const DnsServer::Question& question, DnsMessage& message) {
    if (question.type == kA) {
      message.a(question.name, 40, "127.0.0.1");
    } else {
      message.rcode = 2;
    }
  }));
  const auto answer = addresses(server, "api.test.");
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_EQ(answer->hosts.size(), 1u);
  EXPECT_FALSE(answer->complete);
}

TEST_F(DnsTest, AsksAgainByTcpWhenTheAnswerWasCut) {
  DnsServer server(with([](const DnsServer::Question& question, DnsMessage& message) {
    message.truncated = !question.tcp;
    if (question.type == kA && question.tcp) message.a(question.name, 40, "127.0.0.7");
  }));
  const auto answer = addresses(server, "api.test.");
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_EQ(texts(*answer), std::set<std::string>{"127.0.0.7:8080"});
}

TEST_F(DnsTest, SaysThatAnAnswerCannotBeRead) {
  DnsServer server([](uint16_t id, const DnsServer::Question& question) {
    std::string bytes = DnsMessage().bytes(id, question);
    bytes[7] = 9;  // nine answers, none of them there
    return bytes;
  });
  const auto answer = addresses(server, "api.test.");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), Code::data_loss);
}

TEST_F(DnsTest, WaitsNoLongerThanTold) {
  DnsServer server([](uint16_t, const DnsServer::Question&) { return std::nullopt; });
  Dns dns({server.address()});
  auto asking = dns.addresses("api.test.", 80, after(clock_.now(), 1s));
  asking.start();
  loop_->run_once(0ms);
  EXPECT_FALSE(asking.done());
  clock_.advance(2s);
  const auto answer = fakes::run_task(
      *loop_, [](Task<Result<DnsAnswer>>& task) -> Task<Result<DnsAnswer>> { co_return co_await task.join(); }(asking));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), Code::deadline_exceeded);
}

TEST_F(DnsTest, FindsServicesWithTheAddressesOfTheirTargets) {
  DnsServer server(with([](const DnsServer::Question& question, DnsMessage& message) {
    if (question.type == kSrv) {
      message.srv(question.name, 50, 2, 10, 9001, "b.test").srv(question.name, 50, 1, 20, 9000, "a.test");
    } else if (question.type == kA && question.name == "a.test") {
      message.a(question.name, 15, "127.0.0.3");
    } else if (question.type == kA && question.name == "b.test") {
      message.a(question.name, 25, "127.0.0.4");
    }
  }));
  const auto answer = services(server, "_http._tcp.test.");
  ASSERT_TRUE(answer) << answer.error().to_string();
  ASSERT_EQ(answer->hosts.size(), 2u);
  EXPECT_EQ(answer->hosts[0].address.to_string(), "127.0.0.3:9000");
  EXPECT_EQ(answer->hosts[0].priority, 1);
  EXPECT_EQ(answer->hosts[0].weight, 20);
  EXPECT_EQ(answer->hosts[0].target, "a.test");
  EXPECT_EQ(answer->hosts[1].address.to_string(), "127.0.0.4:9001");
  EXPECT_EQ(answer->ttl, 15s);
}

TEST_F(DnsTest, GivesThoseServicesWhoseTargetsCanBeFound) {
  DnsServer server(with([](const DnsServer::Question& question, DnsMessage& message) {
    if (question.type == kSrv) {
      message.srv(question.name, 50, 1, 1, 9000, "a.test").srv(question.name, 50, 1, 1, 9000, "broken.test");
    } else if (question.name == "broken.test") {
      message.rcode = 2;
    } else if (question.type == kA) {
      message.a(question.name, 15, "127.0.0.3");
    }
  }));
  const auto answer = services(server, "_http._tcp.test.");
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_EQ(answer->hosts.size(), 1u);
  EXPECT_FALSE(answer->complete);
}

TEST_F(DnsTest, SaysThatAServiceIsNotOffered) {
  DnsServer server(with([](const DnsServer::Question& question, DnsMessage& message) {
    if (question.type == kSrv) message.srv(question.name, 50, 0, 0, 0, "");
  }));
  const auto answer = services(server, "_http._tcp.test.");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), Code::not_found);
}

TEST_F(DnsTest, TakesNoMoreHostsThanItsLimit) {
  DnsServer server(with([](const DnsServer::Question& question, DnsMessage& message) {
    if (question.type == kA) {
      message.truncated = !question.tcp;
      for (int i = 1; i <= 200 && question.tcp; ++i) message.a(question.name, 40, "127.0.1." + std::to_string(i));
    }
  }));
  const auto answer = addresses(server, "api.test.");
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_EQ(answer->hosts.size(), kMaxDnsHosts);
}

TEST_F(DnsTest, RefusesWhatIsNoName) {
  Dns dns({});
  for (const std::string& name : {std::string("a b"), std::string("a..b"), std::string(300, 'a'), std::string("."),
                                  std::string(64, 'a') + ".test", std::string("-\n")}) {
    const auto answer = fakes::run_task(*loop_, dns.addresses(name, 80, kNever));
    ASSERT_FALSE(answer) << name;
    EXPECT_EQ(answer.error().code(), Code::invalid_argument);
  }
}

TEST_F(DnsTest, AnswersManyAtOnce) {
  DnsServer server(with([](const DnsServer::Question& question, DnsMessage& message) {
    if (question.type == kA) message.a(question.name, 40, "127.0.0.1");
  }));
  Dns dns({server.address()});
  std::vector<Task<Result<DnsAnswer>>> asking;
  for (int i = 0; i < 100; ++i) {
    asking.push_back(dns.addresses("n" + std::to_string(i) + ".test.", 80, kNever));
    asking.back().start();
  }
  for (auto& task : asking) {
    const auto answer = fakes::run_task(
        *loop_, [](Task<Result<DnsAnswer>>& one) -> Task<Result<DnsAnswer>> { co_return co_await one.join(); }(task));
    EXPECT_TRUE(answer);
  }
}

TEST_F(DnsTest, MayGoWhileServersAreStillAsked) {
  DnsServer server([](uint16_t, const DnsServer::Question&) { return std::nullopt; });
  auto dns = std::make_unique<Dns>(std::vector<Address>{server.address()});
  {
    auto asking = dns->addresses("api.test.", 80, kNever);
    asking.start();
  }
  dns.reset();
  loop_->run_once(0ms);
}

}  // namespace
}  // namespace trellis::net
