// Which host a cluster asks, and which one next: over real TCP, the same on both backends.
#include <cstdlib>
#include <filesystem>
#include <map>
#include <set>

#include "tests/unit/upstream/cluster_kit.h"
#include "upstream/cluster.h"
#include "upstream/geo.h"

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;
using namespace test;

class ClusterChoice : public UpstreamCluster {};

TEST_P(ClusterChoice, AHostThatDoesNotListenIsPassedOver) {
  FarServer far(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  Cluster& c = cluster({nowhere(), far.address()});
  for (int i = 0; i < 4; ++i) EXPECT_EQ(ask(c, Method::post), "hi");
  EXPECT_EQ(c.open_connections(), 1U);
}

TEST_P(ClusterChoice, WhoseHostsAreAllGoneGoesOnToTheBackupAtOnce) {
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

TEST_P(ClusterChoice, ABackupIsNoPlaceToOverflowToNorToHurryTo) {
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

TEST_P(ClusterChoice, ItsOwnZoneServesAndTheOthersHelpWhenThatHasNobodyOrNoRoom) {
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

TEST_P(ClusterChoice, NobodyThereIsUnavailable) {
  Cluster& c = cluster({nowhere(), nowhere()});
  Asked asked(*loop_);
  auto answer = send(c, asked);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code(), Code::unavailable);
  EXPECT_EQ(answer.error().side(), Side::upstream);
  EXPECT_EQ(c.open_connections(), 0U);
  EXPECT_EQ(retries("failure"), 2U) << "the second host is a second try, and one of them is asked once more";
}

TEST_P(ClusterChoice, AnAnswerThatIsNoneGoesToTheNextHostWhereARepeatDoesNoHarm) {
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

TEST_P(ClusterChoice, AStatusIsTriedAgainOnlyWhereThatWasAskedFor) {
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

TEST_P(ClusterChoice, ABodyThatIsThereIsSentAgainAndOneThatIsGoneIsNot) {
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

TEST_P(ClusterChoice, TheOnlyHostsRetryAfterBeyondTheTimeLimitIsPassedOn) {
  FarServer busy(*loop_,
                 answers("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3600\r\nContent-Length: 4\r\n\r\nbusy"));
  config_.retry.on.push_back(RetryOn::s503);
  Cluster& c = cluster({busy.address()});
  EXPECT_EQ(ask(c), "busy");
  EXPECT_EQ(requests_, 1);
}

// By the host's own clock, which is some years behind here.
TEST_P(ClusterChoice, TheOnlyHostsRetryAfterMayBeADate) {
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

TEST_P(ClusterChoice, ASlowHostsRequestGoesToASecondOneToo) {
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

TEST_P(ClusterChoice, AHostThatHangsIsPutOutThoughAllItsRequestsGoWellByASecondOne) {
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

TEST_P(ClusterChoice, HostsThatAreAllSlowerThanTheHedgeArePutOutByNoRace) {
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

TEST_P(ClusterChoice, HostsComeAndGoWhileItRuns) {
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

TEST_P(ClusterChoice, AStickyClientStaysWithItsHostUntilThatGoes) {
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

TEST_P(ClusterChoice, AKeyStaysWithItsHost) {
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

TEST_P(ClusterChoice, AClientGoesToItsRegionThenToTheNextNearestAndComesBack) {
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

TEST_P(ClusterChoice, ATryThatFailsGoesOnToTheNextRegion) {
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

TEST_P(ClusterChoice, TheAddressOfAClientTellsItsRegion) {
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

INSTANTIATE_TEST_SUITE_P(Io, ClusterChoice, testing::Values(IoKind::uring, IoKind::epoll), io_name);

}  // namespace
}  // namespace trellis::upstream
