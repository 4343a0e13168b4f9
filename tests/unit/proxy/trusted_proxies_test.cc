// Whom a node believes about who asked: proxies that are named, and of what they hand on only what they wrote.
#include "proxy/trusted_proxies.h"

#include "http/handler.h"
#include "proxy/filters/addresses.h"
#include "proxy/forward.h"
#include "proxy/received_fields.h"
#include "proxy/trace.h"
#include "tests/unit/proxy/proxy_test_kit.h"

namespace trellis::proxy {
namespace {

using http::FieldId;
using Reads = TrustedProxies::Reads;

TrustedProxies trust(std::vector<std::string_view> blocks, Reads reads = Reads::x_forwarded_for) {
  std::vector<net::AddressSet::Block> parsed;
  for (const std::string_view block : blocks) parsed.push_back(*net::AddressSet::parse_block(block));
  return {net::AddressSet(std::move(parsed)), reads};
}

class TrustedProxiesTest : public testing::Test {
 protected:
  // As the pipeline does it, up to what the upstream hears.
  void pass(const TrustedProxies& trusted, test::Exchange& x) {
    if (!trusted.empty()) trusted.believe(x.request, x.context);
    begin_trace(x.request, x.context, rig_.loop->rng());
    x.context.request_id = {};
    begin_request_id(x.request, x.context, rig_.loop->wall(), rig_.loop->rng());
    take_off_received(x.request);
    prepare_for_upstream(x.request, x.context, "1.1 edge");
    for (const FieldId id : {FieldId::x_forwarded_for, FieldId::x_forwarded_host, FieldId::x_forwarded_proto,
                             FieldId::forwarded, FieldId::traceparent, FieldId::x_request_id}) {
      EXPECT_EQ(x.request.fields.count(id), 1U) << http::field_name(id);
    }
  }
  // The client, and what the upstream hears of it, for a peer and its X-Forwarded-For.
  std::pair<std::string, std::string> by_list(const TrustedProxies& trusted, std::string_view peer,
                                              std::string_view list) {
    test::Exchange x(rig_);
    x.context.client_address = peer;
    x.with("X-Forwarded-For", list);
    pass(trusted, x);
    return {std::string(x.context.client_address), std::string(x.request.fields.value(FieldId::x_forwarded_for))};
  }
  std::string by_forwarded(const TrustedProxies& trusted, std::string_view peer, std::string_view list) {
    test::Exchange x(rig_);
    x.context.client_address = peer;
    x.with("Forwarded", list);
    pass(trusted, x);
    return std::string(x.request.fields.value(FieldId::forwarded));
  }

  test::Rig rig_;
};

using Heard = std::pair<std::string, std::string>;

TEST_F(TrustedProxiesTest, BelievesNobodyWhoIsNotNamed) {
  EXPECT_EQ(by_list({}, "10.0.0.1", "198.51.100.1"), Heard("10.0.0.1", "10.0.0.1"));
  EXPECT_EQ(by_list(trust({"10.0.0.0/8"}), "192.0.2.7", "198.51.100.1"), Heard("192.0.2.7", "192.0.2.7"));
  EXPECT_EQ(by_list(trust({"10.0.0.0/8"}), "192.0.2.7", "10.0.0.1"), Heard("192.0.2.7", "192.0.2.7"));
}

TEST_F(TrustedProxiesTest, TheClientIsTheFirstFromTheRightThatIsNotTrusted) {
  const TrustedProxies trusted = trust({"10.0.0.0/8", "fd00::/8"});
  EXPECT_EQ(by_list(trusted, "10.0.0.1", "198.51.100.1"), Heard("198.51.100.1", "198.51.100.1, 10.0.0.1"));
  EXPECT_EQ(by_list(trusted, "10.0.0.1", "198.51.100.1, 10.0.0.2 ,fd00::5"),
            Heard("198.51.100.1", "198.51.100.1, 10.0.0.2, fd00::5, 10.0.0.1"));
  EXPECT_EQ(by_list(trusted, "fd00::1", "2001:db8::7"), Heard("2001:db8::7", "2001:db8::7, fd00::1"));
  EXPECT_EQ(by_list(trusted, "10.0.0.1", "10.0.0.3, 10.0.0.2"), Heard("10.0.0.3", "10.0.0.3, 10.0.0.2, 10.0.0.1"))
      << "all are trusted: the farthest asked";
  EXPECT_EQ(by_list(trusted, "10.0.0.1", "198.51.100.1:4711"), Heard("198.51.100.1", "198.51.100.1, 10.0.0.1"));
  EXPECT_EQ(by_list(trusted, "10.0.0.1", "[2001:db8::7]:80, [fd00::2]"),
            Heard("2001:db8::7", "2001:db8::7, fd00::2, 10.0.0.1"));
}

TEST_F(TrustedProxiesTest, WhatAClientPutInFrontOfItsProxiesIsNotHandedOn) {
  const TrustedProxies trusted = trust({"10.0.0.0/8"});
  for (const char* made_up : {"10.0.0.9", "127.0.0.1", "6.6.6.6, 10.0.0.9", "nonsense", "\"", "for=6.6.6.6", ",,,",
                              "::1%lo", "999.1.1.1", "10.0.0.9\", \""}) {
    EXPECT_EQ(by_list(trusted, "10.0.0.1", std::string(made_up) + ", 198.51.100.1"),
              Heard("198.51.100.1", "198.51.100.1, 10.0.0.1"))
        << made_up;
  }
  test::Exchange lines(rig_);
  lines.context.client_address = "10.0.0.1";
  lines.with("X-Forwarded-For", "10.9.9.9").with("X-Forwarded-For", "198.51.100.1");
  pass(trusted, lines);
  EXPECT_EQ(lines.context.client_address, "198.51.100.1");
}

TEST_F(TrustedProxiesTest, StopsAtWhatIsNoAddress) {
  const TrustedProxies trusted = trust({"10.0.0.0/8"});
  EXPECT_EQ(by_list(trusted, "10.0.0.1", "198.51.100.1, unknown"), Heard("10.0.0.1", "10.0.0.1"));
  EXPECT_EQ(by_list(trusted, "10.0.0.1", "198.51.100.1, x, 10.0.0.2"), Heard("10.0.0.2", "10.0.0.2, 10.0.0.1"));
  EXPECT_EQ(by_list(trusted, "10.0.0.1", "[198.51.100.1]"), Heard("10.0.0.1", "10.0.0.1"));
  EXPECT_EQ(by_list(trusted, "10.0.0.1", "[2001:db8::7]x"), Heard("10.0.0.1", "10.0.0.1"));
  EXPECT_EQ(by_list(trusted, "10.0.0.1", ""), Heard("10.0.0.1", "10.0.0.1"));
}

TEST_F(TrustedProxiesTest, ThereIsAnEndOfProxiesThatAreBelieved) {
  std::string list = "198.51.100.1";
  for (int i = 0; i < 100; ++i) list += ", 10.0.1." + std::to_string(i);
  const Heard heard = by_list(trust({"10.0.0.0/8"}), "10.0.0.1", list);
  EXPECT_EQ(heard.first, "10.0.1.68");
  EXPECT_EQ(std::count(heard.second.begin(), heard.second.end(), ','), 32);
}

TEST_F(TrustedProxiesTest, SchemeAndHostComeFromTrustedProxiesOnly) {
  for (const char* peer : {"10.0.0.1", "192.0.2.7"}) {
    test::Exchange x(rig_);
    x.context.client_address = peer;
    x.with("X-Forwarded-For", "198.51.100.1")
        .with("X-Forwarded-Proto", "HTTPS")
        .with("X-Forwarded-Host", "shop.example");
    x.with("X-Forwarded-Prefix", "/evil").with("Forwarded", "for=6.6.6.6;proto=https").with("X-Real-IP", "6.6.6.6");
    pass(trust({"10.0.0.0/8"}), x);
    const http::Fields& fields = x.request.fields;
    const bool trusted = std::string_view(peer) == "10.0.0.1";
    EXPECT_EQ(x.request.scheme, trusted ? "https" : "http");
    EXPECT_EQ(fields.value(FieldId::x_forwarded_proto), trusted ? "https" : "http");
    EXPECT_EQ(fields.value(FieldId::x_forwarded_host), trusted ? "shop.example" : "example.com");
    EXPECT_EQ(x.request.authority, "example.com") << "routes by the Host that came";
    EXPECT_EQ(fields.value(FieldId::forwarded), trusted
                                                    ? "for=198.51.100.1;proto=https;host=\"shop.example\", for=10.0.0.1"
                                                    : "for=192.0.2.7;proto=http;host=\"example.com\"");
    EXPECT_FALSE(fields.find("x-forwarded-prefix"));
    EXPECT_FALSE(fields.has(FieldId::x_real_ip));
  }
}

TEST_F(TrustedProxiesTest, TwoWordsOnTheSameAreNone) {
  test::Exchange x(rig_);
  x.context.client_address = "10.0.0.1";
  x.with("X-Forwarded-Proto", "https").with("X-Forwarded-Proto", "http");
  x.with("X-Forwarded-Host", "a, b");
  pass(trust({"10.0.0.0/8"}), x);
  EXPECT_EQ(x.request.scheme, "http");
  EXPECT_EQ(x.request.fields.value(FieldId::x_forwarded_host), "example.com");
}

TEST_F(TrustedProxiesTest, ForwardedIsReadWhereItIsNamedAndThenAlone) {
  const TrustedProxies trusted = trust({"10.0.0.0/8", "2001:db8::/32"}, Reads::forwarded);
  EXPECT_EQ(by_forwarded(trusted, "10.0.0.1", "for=198.51.100.1;proto=https;host=shop.example"),
            "for=198.51.100.1;proto=https;host=\"shop.example\", for=10.0.0.1");
  EXPECT_EQ(by_forwarded(trusted, "10.0.0.1",
                         "for=198.51.100.1;proto=https;by=_x, For=\"[2001:db8::2]:4711\";Proto=http;host=\"inner:80\""),
            "for=198.51.100.1;proto=https;host=\"example.com\", for=\"[2001:db8::2]\", for=10.0.0.1")
      << "scheme and host are those of the client's own element";
  EXPECT_EQ(by_forwarded(trusted, "10.0.0.1", "for=unknown"), "for=10.0.0.1;proto=http;host=\"example.com\"");
  EXPECT_EQ(by_forwarded(trusted, "10.0.0.1", "for=_hidden, for=10.0.0.2"),
            "for=10.0.0.2;proto=http;host=\"example.com\", for=10.0.0.1");
  for (const char* broken : {"for=1.1.1.1;for=2.2.2.2", "for=\"1.1.1.1", "1.1.1.1", "for", "for=2001:db9::1",
                             "for=\"a\\\"b\"", "for=1.1.1.1;proto=a b"}) {
    EXPECT_EQ(by_forwarded(trusted, "10.0.0.1", broken), "for=10.0.0.1;proto=http;host=\"example.com\"") << broken;
  }
  test::Exchange both(rig_);
  both.context.client_address = "10.0.0.1";
  both.with("X-Forwarded-For", "6.6.6.6").with("X-Forwarded-Proto", "https").with("Forwarded", "for=198.51.100.1");
  pass(trusted, both);
  EXPECT_EQ(both.context.client_address, "198.51.100.1");
  EXPECT_EQ(both.request.scheme, "http");
}

TEST_F(TrustedProxiesTest, NothingToTheLeftHidesWhatAProxyWrote) {
  const TrustedProxies trusted = trust({"10.0.0.0/8"}, Reads::forwarded);
  for (const char* made_up : {"for=\"evil", "\"", "for=\"a\\\"", "for=10.0.0.9", "x;y;z", ";", "\\", "for=\"[::1",
                              "for=10.0.0.9;host=\"", "for=\",\\\\\""}) {
    EXPECT_EQ(by_forwarded(trusted, "10.0.0.1", std::string(made_up) + ", for=198.51.100.1"),
              "for=198.51.100.1;proto=http;host=\"example.com\", for=10.0.0.1")
        << made_up;
  }
}

TEST_F(TrustedProxiesTest, IdsOfStrangersBesideTrustedProxiesAreReplaced) {
  constexpr const char* kTrace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  const auto ids = [&](const TrustedProxies& trusted, std::string_view peer) {
    test::Exchange x(rig_);
    x.context.client_address = peer;
    x.with("X-Request-Id", "mine").with("traceparent", kTrace).with("tracestate", "a=b");
    pass(trusted, x);
    const bool kept = x.context.request_id == "mine";
    EXPECT_EQ(x.request.fields.value(FieldId::x_request_id) == "mine", kept);
    EXPECT_EQ(x.request.fields.value(FieldId::traceparent).find("0af7651916cd43dd") != std::string_view::npos, kept);
    EXPECT_EQ(x.request.fields.has(FieldId::tracestate), kept);
    return kept;
  };
  EXPECT_TRUE(ids(trust({"10.0.0.0/8"}), "10.0.0.1"));
  EXPECT_FALSE(ids(trust({"10.0.0.0/8"}), "192.0.2.7"));
  EXPECT_TRUE(ids({}, "192.0.2.7")) << "where no proxy is named, ids are for finding only";
}

TEST_F(TrustedProxiesTest, RulesHoldForTheClientAndNotForItsProxy) {
  const auto status = [&](std::string_view list) {
    test::Exchange x(rig_);
    x.context.client_address = "10.0.0.1";
    x.with("X-Forwarded-For", list);
    trust({"10.0.0.0/8"}).believe(x.request, x.context);
    test::FunctionTarget target(
        [](http::Request&, http::RequestContext& context) { return http::Response(context.arena, 200); });
    const auto blocks = std::vector<AddressBlock>{*AddressBlock::from_text("198.51.100.0/24")};
    return test::run_filter(rig_, std::make_unique<AddressFilter>(blocks, false), target, x)->status;
  };
  EXPECT_EQ(status("198.51.100.1"), 403);
  EXPECT_EQ(status("203.0.113.5"), 200);
  EXPECT_EQ(status("203.0.113.5, 198.51.100.1"), 403);
}

// --- what the configuration sets ---

TEST_F(TrustedProxiesTest, AFieldThatTheConfigurationSetCounts) {
  test::Exchange x(rig_);
  x.with("X-Forwarded-Proto", "evil");
  take_off_received(x.request);
  x.with("X-Forwarded-Proto", "https").with("X-Request-Id", "ours");
  prepare_for_upstream(x.request, x.context, "1.1 edge");
  EXPECT_EQ(x.request.fields.joined(FieldId::x_forwarded_proto), "https");
  EXPECT_EQ(x.request.fields.joined(FieldId::x_request_id), "ours");
  EXPECT_EQ(x.request.fields.joined(FieldId::x_forwarded_for), "192.0.2.7");
}

}  // namespace
}  // namespace trellis::proxy
