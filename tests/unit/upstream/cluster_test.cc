// A cluster and its connections over real TCP, the same on both backends: what is pooled, what is repeated, and that
// the counts come back to zero.
#include "upstream/cluster.h"

#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include "tests/unit/upstream/cluster_kit.h"
#include "upstream/geo.h"

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

TEST_P(UpstreamCluster, AHostThatDoesNotListenIsPassedOver) {
  FarServer far(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  Cluster& c = cluster({nowhere(), far.address()});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(ask(c, Method::post), "hi");
  EXPECT_EQ(c.open_connections(), 1U);
}

TEST_P(UpstreamCluster, WhoseHostsAreAllGoneGoesOnToTheBackupAtOnce) {
  FarServer far(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  HostFacts backup = facts(far.address());
  backup.backup = true;
  Cluster& c = cluster_of({facts(nowhere()), facts(nowhere()), backup});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(ask(c, Method::post), "hi");
  EXPECT_EQ(requests_, 4);
  auto link = fakes::run_task(*loop_, c.connect("192.0.2.1", soon()));
  ASSERT_TRUE(link) << link.error().to_string();
  EXPECT_EQ(link->host().name, backup.name) << "a relay, too";
}

TEST_P(UpstreamCluster, ABackupIsNoPlaceToOverflowToNorToHurryTo) {
  config_.limits.connections = 1;
  config_.limits.wait = 50ms;
  config_.retry.hedge_after = 20ms;
  FarServer slow(*loop_, [this](Socket& socket, int) { return Script::stay_silent(socket, requests_); });
  int asked_backup = 0;
  FarServer spare(*loop_, [&](Socket& socket, int) {
    return Script::answer_all(socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", asked_backup);
  });
  HostFacts backup = facts(spare.address());
  backup.backup = true;
  Cluster& c = cluster_of({facts(slow.address()), backup});
  Asked first(*loop_);
  Task<Result<Response>> waits = c.send(first.request, first.context);
  waits.start();
  Asked second(*loop_);
  auto refused = send(c, second);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->status, 503) << "the only host has no room, and works";
  EXPECT_EQ(requests_, 1);
  EXPECT_EQ(asked_backup, 0) << "one that is only slow is not helped by a backup";
}

TEST_P(UpstreamCluster, ItsOwnZoneServesAndTheOthersHelpWhenThatHasNobodyOrNoRoom) {
  config_.zone = "eu";
  config_.limits.connections = 1;
  FarServer near(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\neu"));
  FarServer far(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nus"));
  const auto in = [](const char* zone, const net::Address& address) {
    HostFacts host = facts(address);
    host.zone = zone;
    return host;
  };
  Cluster& c = cluster_of({in("us", far.address()), in("eu", near.address())});
  {
    auto held = fakes::run_task(*loop_, c.connect("192.0.2.1", soon()));
    ASSERT_TRUE(held);
    EXPECT_EQ(held->host().zone, "eu");
    EXPECT_EQ(ask(c), "us") << "no room at home";
  }
  for (int i = 0; i < 4; ++i) EXPECT_EQ(ask(c), "eu");
  hosts_->set_failing(*(*hosts_->list())[1], true, "test", loop_->now());
  EXPECT_EQ(ask(c), "us");

  Cluster& with_one_gone = cluster_of({in("us", far.address()), in("eu", nowhere())});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ask(with_one_gone, Method::post), "us") << "within the request";
}

TEST_P(UpstreamCluster, NobodyThereIsUnavailable) {
  Cluster& c = cluster({nowhere(), nowhere()});
  Asked asked(*loop_);
  auto answer = send(c, asked);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), Code::unavailable);
  EXPECT_EQ(answer.error().side(), Side::upstream);
  EXPECT_EQ(c.open_connections(), 0U);
  EXPECT_EQ(retries("failure"), 2U) << "the second host is a second try, and one of them is asked once more";
}

TEST_P(UpstreamCluster, AnAnswerThatIsNoneGoesToTheNextHostWhereARepeatDoesNoHarm) {
  int silent = 0;
  FarServer dies(*loop_, [&silent](Socket& socket, int) { return Script::read_and_close(socket, silent); });
  FarServer good(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  Cluster& c = cluster({dies.address(), good.address()});
  for (int i = 0; i < 6; ++i) EXPECT_EQ(ask(c), "hi");
  EXPECT_GT(silent, 0);
  int refused = 0;
  for (int i = 0; i < 6; ++i) refused += ask(c, Method::post).starts_with("error");
  EXPECT_GT(refused, 0) << "a POST that was sent is not sent again";
}

TEST_P(UpstreamCluster, AStatusIsTriedAgainOnlyWhereThatWasAskedFor) {
  FarServer busy(*loop_, answers("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy"));
  FarServer good(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  Cluster& plain = cluster({busy.address(), good.address()});
  int seen = 0;
  for (int i = 0; i < 6; ++i) seen += ask(plain) == "busy";
  EXPECT_EQ(seen, 3);
  config_.retry.on.push_back(RetryOn::s503);
  Cluster& again = cluster({busy.address(), good.address()});
  for (int i = 0; i < 6; ++i) EXPECT_EQ(ask(again), "hi");
}

TEST_P(UpstreamCluster, ABodyThatIsThereIsSentAgainAndOneThatIsGoneIsNot) {
  // Takes requests with a body that ends in "END", whole.
  struct Whole {
    static Task<> answer(Socket& socket, std::string text, std::vector<std::string>& bodies) {
      while (true) {
        auto got = co_await receive_until(socket, "END", kNever);
        if (!got || got->empty()) co_return;
        bodies.push_back(got->substr(got->find("\r\n\r\n") + 4));
        auto sent = co_await send_text(socket, text, kNever);
        if (!sent) co_return;
      }
    }
  };
  std::vector<std::string> at_busy;
  std::vector<std::string> at_good;
  FarServer busy(*loop_, [&](Socket& socket, int) {
    return Whole::answer(socket, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy", at_busy);
  });
  FarServer good(*loop_, [&](Socket& socket, int) {
    return Whole::answer(socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", at_good);
  });
  config_.retry.on.push_back(RetryOn::s503);
  Cluster& c = cluster({busy.address(), good.address()});
  const auto put = [&](std::unique_ptr<http::BodyReader> of, Method method) {
    Asked asked(*loop_, method);
    asked.request.body = std::move(of);
    auto answer = send(c, asked);
    return body(answer);
  };
  for (int i = 0; i < 4; ++i) EXPECT_EQ(put(std::make_unique<http::TextBody>("kept END"), Method::put), "hi");
  EXPECT_GE(at_busy.size(), 1u);
  EXPECT_EQ(at_good, std::vector<std::string>(4, "kept END"));
  std::multiset<std::string> streamed;
  std::multiset<std::string> posted;
  for (int i = 0; i < 4; ++i) {
    auto once = std::make_unique<FedBody>(8);
    once->feed("gone END");
    once->end();
    streamed.insert(put(std::move(once), Method::put));
  }
  for (int i = 0; i < 4; ++i) posted.insert(put(std::make_unique<http::TextBody>("post END"), Method::post));
  EXPECT_EQ(streamed.count("hi") + streamed.count("busy"), 4u);
  EXPECT_GE(streamed.count("busy"), 1u);
  EXPECT_GE(posted.count("busy"), 1u) << "a POST may have been done";
}

TEST_P(UpstreamCluster, TheOnlyHostsRetryAfterBeyondTheTimeLimitIsPassedOn) {
  FarServer busy(*loop_,
                 answers("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3600\r\nContent-Length: 4\r\n\r\nbusy"));
  config_.retry.on.push_back(RetryOn::s503);
  Cluster& c = cluster({busy.address()});
  EXPECT_EQ(ask(c), "busy");
  EXPECT_EQ(requests_, 1);
}

// By the host's own clock, which is some years behind here.
TEST_P(UpstreamCluster, TheOnlyHostsRetryAfterMayBeADate) {
  const std::string head = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\nRetry-After: ";
  const std::string date = "\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\nbusy";
  FarServer hour(*loop_, answers(head + "Sun, 06 Nov 1994 09:49:37 GMT" + date));
  FarServer over(*loop_, answers(head + "Sun, 06 Nov 1994 08:49:37 GMT" + date));
  FarServer clockless(*loop_, answers(head + "Sun, 06 Nov 1994 09:49:37 GMT\r\n\r\nbusy"));
  config_.retry.on.push_back(RetryOn::s503);
  config_.retry.attempts = 2;
  EXPECT_EQ(ask(cluster({hour.address()})), "busy");
  EXPECT_EQ(std::exchange(requests_, 0), 1) << "an hour is beyond the time limit";
  EXPECT_EQ(ask(cluster({over.address()})), "busy");
  EXPECT_EQ(std::exchange(requests_, 0), 2) << "that moment has come";
  EXPECT_EQ(ask(cluster({clockless.address()})), "busy");
  EXPECT_EQ(requests_, 2) << "that moment is long gone";
}

TEST_P(UpstreamCluster, ASlowHostsRequestGoesToASecondOneToo) {
  int silent = 0;
  FarServer slow(*loop_, [&silent](Socket& socket, int) { return Script::stay_silent(socket, silent); });
  FarServer good(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  config_.retry.hedge_after = 5ms;
  Cluster& c = cluster({slow.address(), good.address()});
  for (int i = 0; i < 4; ++i) {
    Asked asked(*loop_);
    auto answer = send(c, asked);
    EXPECT_EQ(body(answer), "hi");
    EXPECT_EQ(asked.context.upstream_host, good.address().to_string());
  }
  EXPECT_GT(silent, 0);
  EXPECT_EQ(c.open_connections(), c.idle_connections()) << "what lost was cancelled";
}

TEST_P(UpstreamCluster, AHostThatHangsIsPutOutThoughAllItsRequestsGoWellByASecondOne) {
  int silent = 0;
  FarServer slow(*loop_, [&silent](Socket& socket, int) { return Script::stay_silent(socket, silent); });
  FarServer good(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  config_.retry.hedge_after = 50ms;
  config_.balance = Balance::least_time;
  hosts_ = std::make_shared<Hosts>("api", 1, config_.balance, metrics_);
  hosts_->set_members({facts(slow.address()), facts(good.address())}, Time::min());
  Cluster c(hosts_, config_, metrics_, nullptr,
            std::make_shared<Ejection>(hosts_, EjectConfig{.consecutive_errors = 3}));
  for (int i = 0; i < 30; ++i) EXPECT_EQ(ask(c), "hi");
  EXPECT_LE(silent, 3);
  EXPECT_EQ((*hosts_->list())[1]->out_until(), Time::min());
}

TEST_P(UpstreamCluster, HostsThatAreAllSlowerThanTheHedgeArePutOutByNoRace) {
  FarServer::Talk slowly = [](Socket& socket, int) -> Task<> {
    while (true) {
      auto got = co_await receive_until(socket, "\r\n\r\n", kNever);
      if (!got || got->empty()) co_return;
      co_await sleep_for(20ms);
      auto sent = co_await send_text(socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", kNever);
      if (!sent) co_return;
    }
  };
  FarServer one(*loop_, slowly);
  FarServer two(*loop_, slowly);
  config_.retry.hedge_after = 1ms;
  hosts_ = std::make_shared<Hosts>("api", 1, config_.balance, metrics_);
  hosts_->set_members({facts(one.address()), facts(two.address())}, Time::min());
  Cluster c(hosts_, config_, metrics_, nullptr,
            std::make_shared<Ejection>(hosts_, EjectConfig{.consecutive_errors = 1}));
  for (int i = 0; i < 6; ++i) EXPECT_EQ(ask(c), "hi");
  for (const auto& host : *hosts_->list()) EXPECT_EQ(host->out_until(), Time::min());
}

TEST_P(UpstreamCluster, HostsComeAndGoWhileItRuns) {
  FarServer one(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"));
  FarServer two(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"));
  Cluster& c = cluster({one.address()});
  EXPECT_EQ(ask(c), "one");
  hosts_->set_members({facts(one.address()), facts(two.address())}, loop_->now());
  std::string got = ask(c) + ask(c);
  EXPECT_TRUE(got == "onetwo" || got == "twoone") << got;
  hosts_->set_draining(*hosts_->list()->front(), true, loop_->now());
  EXPECT_EQ(ask(c) + ask(c), "twotwo");
  hosts_->set_members({facts(one.address())}, loop_->now());
  EXPECT_TRUE(ask(c).starts_with("error")) << "it was taken out by hand";
  hosts_->set_draining(*hosts_->list()->front(), false, loop_->now());
  EXPECT_EQ(ask(c), "one");
  EXPECT_EQ(c.open_connections(), 1U);
}

TEST_P(UpstreamCluster, AStickyClientStaysWithItsHostUntilThatGoes) {
  FarServer one(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"));
  FarServer two(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"));
  config_.sticky = StickyConfig{.secret = "sixteen characters"};
  Cluster& c = cluster({one.address(), two.address()});
  Asked first(*loop_);
  auto answer = send(c, first);
  ASSERT_TRUE(answer);
  const std::string cookie(answer->fields.value(http::FieldId::set_cookie));
  const std::string host = body(answer);
  ASSERT_TRUE(cookie.starts_with("host_id=") && cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax")) << cookie;
  const std::string pair = cookie.substr(0, cookie.find(';'));
  for (int i = 0; i < 6; ++i) {
    Asked next(*loop_);
    next.request.fields.add_copy(http::FieldId::cookie, "a=b; " + pair);
    auto same = send(c, next);
    ASSERT_TRUE(same);
    EXPECT_FALSE(same->fields.has(http::FieldId::set_cookie));
    EXPECT_EQ(body(same), host);
  }
  hosts_->set_draining(*(*hosts_->list())[host == "one" ? 0 : 1], true, loop_->now());
  Asked moved(*loop_);
  moved.request.fields.add(http::FieldId::cookie, pair);
  auto other = send(c, moved);
  ASSERT_TRUE(other);
  EXPECT_TRUE(other->fields.has(http::FieldId::set_cookie)) << "it stays with its new host from now on";
  EXPECT_NE(body(other), host);
  Asked forged(*loop_);
  forged.request.fields.add(http::FieldId::cookie, "host_id=00000000000000000000000000000000");
  auto any = send(c, forged);
  ASSERT_TRUE(any);
  EXPECT_TRUE(any->fields.has(http::FieldId::set_cookie));
}

TEST_P(UpstreamCluster, AKeyStaysWithItsHost) {
  FarServer one(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"));
  FarServer two(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"));
  config_.balance = Balance::maglev;
  config_.hash_on = "header.x-user";
  Cluster& c = cluster({one.address(), two.address()});
  std::map<std::string, std::string> host_of;
  for (int i = 0; i < 200; ++i) {
    const std::string user = std::to_string(i % 50);
    Asked asked(*loop_);
    asked.request.fields.add_copy("X-User", user);
    auto answer = send(c, asked);
    const std::string host = body(answer);
    EXPECT_EQ(host_of.emplace(user, host).first->second, host) << user;
  }
  std::set<std::string> used;
  for (const auto& [user, host] : host_of) used.insert(host);
  EXPECT_EQ(used.size(), 2U);
}

// Three servers that say their name, each in the region of that name, and clients that are somewhere.
struct ThreeRegions {
  Loop& loop;
  int requests = 0;

  FarServer::Talk says(std::string name) {
    return [this, name](Socket& socket, int) {
      return Script::answer_all(socket, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + name, requests);
    };
  }
  std::vector<HostFacts> members() {
    std::vector<HostFacts> all;
    for (const auto& [server, zone] : {std::pair{&as, "as"}, {&eu, "eu"}, {&us, "us"}}) {
      const net::Address& address = server->address();
      all.push_back({.name = address.to_string(), .authority = address.to_string(), .address = address, .zone = zone});
    }
    return all;
  }
  static GeoConfig config() {
    GeoConfig geo;
    geo.header = "X-Country";
    geo.regions["as"] = {.countries = {"JP"}, .near = {"us"}};
    geo.regions["eu"] = {.countries = {"GB", "SE"}, .near = {"us"}};
    geo.regions["us"] = {.countries = {"US"}, .near = {"eu"}};
    geo.other = "us";
    return geo;
  }

  FarServer as{loop, says("as")};
  FarServer eu{loop, says("eu")};
  FarServer us{loop, says("us")};
};

TEST_P(UpstreamCluster, AClientGoesToItsRegionThenToTheNextNearestAndComesBack) {
  ThreeRegions three{*loop_};
  config_.geo = ThreeRegions::config();
  for (const Balance policy : {Balance::round_robin, Balance::least_connections, Balance::two_choices, Balance::hash}) {
    config_.balance = policy;
    hosts_ = std::make_shared<Hosts>("api", 1, policy, metrics_);
    hosts_->set_members(three.members(), Time::min());
    cluster_ = std::make_unique<Cluster>(hosts_, config_, metrics_, nullptr, nullptr, *Geo::open(*config_.geo));
    const auto from = [&](std::string_view country) {
      Asked asked(*loop_);
      asked.context.client_address = "192.0.2.1";
      if (!country.empty()) asked.request.fields.add_copy("x-country", country);
      auto answer = send(*cluster_, asked);
      return body(answer);
    };
    const auto host = [&](size_t place) -> Host& { return *(*hosts_->list())[place]; };
    for (int i = 0; i < 4; ++i) {
      EXPECT_EQ(from("GB"), "eu");
      EXPECT_EQ(from("JP"), "as");
      EXPECT_EQ(from(""), "us") << "of no known country: the other region";
      EXPECT_EQ(from("BR"), "us");
    }
    hosts_->set_failing(host(1), true, "test", loop_->now());
    for (int i = 0; i < 4; ++i) EXPECT_EQ(from("GB"), "us") << "the nearest that has a host";
    hosts_->set_draining(host(2), true, loop_->now());
    for (int i = 0; i < 4; ++i) EXPECT_EQ(from("GB"), "as") << "and the one behind it";
    EXPECT_EQ(from("JP"), "as");
    hosts_->set_failing(host(1), false, "", loop_->now());
    for (int i = 0; i < 4; ++i) EXPECT_EQ(from("GB"), "eu") << "and back";
    EXPECT_EQ(from(""), "eu") << "eu is nearest to us";
  }
  const auto tries = [&](const char* region, const char* at) {
    return metrics_.counter("trellis_region_tries_total", "", {{"upstream", "api"}, {"region", region}, {"at", at}})
        .value();
  };
  EXPECT_EQ(tries("eu", "home"), 4U * 8);
  EXPECT_EQ(tries("eu", "away"), 4U * 8);
  EXPECT_EQ(tries("us", "away"), 4U);
  EXPECT_EQ(tries("as", "away"), 0U);
}

TEST_P(UpstreamCluster, ATryThatFailsGoesOnToTheNextRegion) {
  ThreeRegions three{*loop_};
  config_.geo = ThreeRegions::config();
  std::vector<HostFacts> members = three.members();
  members[1].address = nowhere();
  hosts_ = std::make_shared<Hosts>("api", 1, config_.balance, metrics_);
  hosts_->set_members(std::move(members), Time::min());
  cluster_ = std::make_unique<Cluster>(hosts_, config_, metrics_, nullptr, nullptr, *Geo::open(*config_.geo));
  Asked asked(*loop_, Method::post);
  asked.request.fields.add_copy("X-Country", "SE");
  auto answer = send(*cluster_, asked);
  EXPECT_EQ(body(answer), "us");
}

TEST_P(UpstreamCluster, TheAddressOfAClientTellsItsRegion) {
  const char* named = std::getenv("TRELLIS_DATA");
  const std::string path = (named ? std::string(named) : std::string(TRELLIS_SOURCE_DIR) + "/../shared/data") +
                           "/mmdb/test-data/GeoIP2-Country-Test.mmdb";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no " << path << "; set TRELLIS_DATA";
  ThreeRegions three{*loop_};
  config_.geo = ThreeRegions::config();
  config_.geo->database = path;
  hosts_ = std::make_shared<Hosts>("api", 1, config_.balance, metrics_);
  hosts_->set_members(three.members(), Time::min());
  cluster_ = std::make_unique<Cluster>(hosts_, config_, metrics_, nullptr, nullptr, *Geo::open(*config_.geo));
  const auto from = [&](std::string_view address, std::string_view country) {
    Asked asked(*loop_);
    asked.context.client_address = address;
    if (!country.empty()) asked.request.fields.add_copy("X-Country", country);
    auto answer = send(*cluster_, asked);
    return body(answer);
  };
  EXPECT_EQ(from("81.2.69.160", ""), "eu") << "GB";
  EXPECT_EQ(from("81.2.69.160", "JP"), "as") << "the field wins";
  EXPECT_EQ(from("81.2.69.160", "ZZ"), "eu") << "a field that says nothing that is configured";
  EXPECT_EQ(from("89.160.20.112", ""), "eu") << "SE";
  EXPECT_EQ(from("216.160.83.56", ""), "us");
  EXPECT_EQ(from("10.0.0.1", ""), "us") << "nobody knows it: the other region";
  // Relays know the address only.
  auto link = fakes::run_task(*loop_, cluster_->connect("81.2.69.160", soon()));
  ASSERT_TRUE(link);
  EXPECT_EQ(link->host().zone, "eu");
  EXPECT_EQ(cluster_->pick_host("81.2.69.160")->facts.zone, "eu");
  EXPECT_EQ(cluster_->pick_host("216.160.83.56")->facts.zone, "us");
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
