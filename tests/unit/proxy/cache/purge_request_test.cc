#include "proxy/cache/purge_request.h"

#include <gtest/gtest.h>

#include <string>

#include "base/arena.h"
#include "tests/fakes/manual_clock.h"

namespace trellis::proxy {
namespace {

using namespace std::chrono_literals;
using cache::PurgeRule;

constexpr std::string_view kKey = "0123456789abcdef0123456789abcdef";

class PurgeRequestTest : public testing::Test {
 protected:
  PurgeRequestTest() : request_(arena_) {
    request_.method_text = "PURGE";
    request_.authority = "shop.example.com:8443";
    ask_for("/a?x=1", "/a", "x=1");
  }
  void ask_for(std::string_view target, std::string_view path, std::string_view query) {
    request_.target = target;
    request_.path = path;
    request_.query = query;
  }
  void sign(std::string_view what, std::string_view key = kKey) {
    request_.fields.clear();
    const PurgeFields fields = sign_purge(key, "Shop.Example.com:8443", request_.target, what, clock_.wall());
    request_.fields.add_copy("X-Trellis-Purge", fields.what);
    request_.fields.add_copy("X-Trellis-Purge-Time", fields.time);
    request_.fields.add_copy("X-Trellis-Purge-Signature", fields.signature);
  }
  Result<PurgeRule> rule() const { return purge_rule_of(request_, kKey, clock_.wall()); }
  Code refusal() const {
    const auto made = rule();
    return made ? Code::internal : made.error().code();
  }

  Arena arena_;
  http::Request request_;
  fakes::ManualClock clock_;
};

TEST_F(PurgeRequestTest, SaysWhatGoes) {
  sign("key");
  EXPECT_EQ(rule().value(), (PurgeRule{PurgeRule::Kind::key, "shop.example.com/a?x=1", false}));
  sign("prefix ; soft");
  EXPECT_EQ(rule().value(), (PurgeRule{PurgeRule::Kind::prefix, "shop.example.com/a?x=1", true}));
  sign("host");
  EXPECT_EQ(rule().value(), (PurgeRule{PurgeRule::Kind::host, "shop.example.com", false}));
  sign("tag=product-7;soft");
  EXPECT_EQ(rule().value(), (PurgeRule{PurgeRule::Kind::tag, "product-7", true}));
  sign("all");
  EXPECT_EQ(rule().value(), (PurgeRule{PurgeRule::Kind::all, "", false}));
  ask_for("/img/*", "/img/*", "");
  sign("prefix");
  EXPECT_EQ(rule()->text, "shop.example.com/img/");
}

TEST_F(PurgeRequestTest, WhoseSignatureIsAnothersIsDenied) {
  EXPECT_EQ(refusal(), Code::permission_denied);
  sign("key", "another key");
  EXPECT_EQ(refusal(), Code::permission_denied);
  sign("key");
  request_.fields.set("X-Trellis-Purge", "all");
  EXPECT_EQ(refusal(), Code::permission_denied);
  sign("key");
  request_.authority = "other.example.com";
  EXPECT_EQ(refusal(), Code::permission_denied);
  request_.authority = "shop.example.com:8443";
  ask_for("/a", "/a", "");
  EXPECT_EQ(refusal(), Code::permission_denied);
  sign("key");
  request_.fields.set("X-Trellis-Purge-Signature", "");
  EXPECT_EQ(refusal(), Code::permission_denied);
}

TEST_F(PurgeRequestTest, ASignatureIsGoodForFiveMinutesBothWays) {
  sign("key");
  clock_.advance(5min);
  EXPECT_TRUE(rule());
  clock_.advance(1s);
  EXPECT_EQ(refusal(), Code::permission_denied);
  clock_.jump_wall(-10min - 2s);
  EXPECT_EQ(refusal(), Code::permission_denied);
  request_.fields.set("X-Trellis-Purge-Time", "99999999999999999999");
  EXPECT_EQ(refusal(), Code::permission_denied);
}

TEST_F(PurgeRequestTest, WhatIsSignedAndMakesNoSenseIsTold) {
  for (const std::string_view what : {"", "everything", "key; hard", "tag", "tag=", "tag=a,b"}) {
    sign(what);
    EXPECT_EQ(refusal(), Code::invalid_argument) << what;
  }
}

}  // namespace
}  // namespace trellis::proxy
