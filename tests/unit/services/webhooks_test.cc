#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <string>

#include "queue/jobs_sqlite.h"
#include "services/links/webhooks/webhook_delivery.h"
#include "services/links/webhooks/webhook_rows.h"
#include "tests/unit/services/service_fixture.h"

namespace trellis::services::links {
namespace {

bool is_public(const char* text) {
  sockaddr_storage address{};
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address);
  if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
    address.ss_family = AF_INET;
  } else {
    EXPECT_EQ(inet_pton(AF_INET6, text, &v6->sin6_addr), 1) << text;
    address.ss_family = AF_INET6;
  }
  return is_public_address(reinterpret_cast<const sockaddr*>(&address));
}

TEST(Webhooks, ReachThePublicInternetOnly) {
  for (const char* text : {"1.1.1.1", "93.184.216.34", "172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1",
                           "223.255.255.255", "2606:4700::1", "2a00::1", "::ffff:1.1.1.1"})
    EXPECT_TRUE(is_public(text)) << text;
  for (const char* text : {"0.0.0.0",
                           "10.1.2.3",
                           "100.64.0.1",
                           "127.0.0.1",
                           "127.255.255.255",
                           "169.254.169.254",
                           "172.16.0.1",
                           "172.31.255.255",
                           "192.0.0.1",
                           "192.0.2.1",
                           "192.168.1.1",
                           "198.18.0.1",
                           "198.51.100.1",
                           "203.0.113.1",
                           "224.0.0.1",
                           "255.255.255.255",
                           "::",
                           "::1",
                           "fe80::1",
                           "fc00::1",
                           "fd12::1",
                           "ff02::1",
                           "64:ff9b::a00:1",
                           "2001:db8::1",
                           "2001::1",
                           "2002:a00:1::1",
                           "3fff::1",
                           "::ffff:127.0.0.1",
                           "::ffff:10.0.0.1"})
    EXPECT_FALSE(is_public(text)) << text;
}

TEST(Webhooks, SignTimeAndBody) {
  // By: printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
  EXPECT_EQ(webhook_signature("0123456789abcdef", 1'700'000'000, R"({"a":1})"),
            "t=1700000000,v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23");
  EXPECT_NE(webhook_signature("0123456789abcdeg", 1'700'000'000, R"({"a":1})"),
            webhook_signature("0123456789abcdef", 1'700'000'000, R"({"a":1})"));
}

TEST(Webhooks, EventsHaveNames) {
  for (const LinkEvent event : {LinkEvent::created, LinkEvent::changed, LinkEvent::deleted, LinkEvent::expired})
    EXPECT_EQ(link_event(to_string(event)), event);
  EXPECT_EQ(link_event("link.visited"), std::nullopt);
}

class WebhookTest : public ServiceTest {
 protected:
  size_t waiting() {
    auto task = queue_->list(kWebhooksQueue, queue::JobState::ready, 0, 100, kNever);
    const auto jobs = fakes::run_task(*loop_, std::move(task));
    return jobs ? jobs->size() : 0;
  }
};

TEST_F(WebhookTest, AreMadeReadChangedAndDeleted) {
  start();
  const Answer made =
      request("POST", "/v1/webhooks", R"({"url":"https://example.com/hook","events":["link.created"]})");
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(made.field("Location"), "/v1/webhooks/1");
  EXPECT_EQ(made.json()["secret"].get<std::string>().size(), 64u);
  const auto shown = request("GET", "/v1/webhooks/1").json();
  EXPECT_EQ(shown["url"], "https://example.com/hook");
  EXPECT_FALSE(shown.contains("secret"));
  const Answer changed = request("PATCH", "/v1/webhooks/1", R"({"events":["link.deleted","link.changed"]})");
  EXPECT_EQ(changed.json()["events"], nlohmann::json({"link.changed", "link.deleted"}));
  EXPECT_EQ(request("GET", "/v1/webhooks").json()["items"].size(), 1u);
  EXPECT_EQ(request("DELETE", "/v1/webhooks/1").status, 204);
  EXPECT_EQ(request("DELETE", "/v1/webhooks/1").status, 404);
  EXPECT_EQ(request("GET", "/v1/webhooks/1").status, 404);
  EXPECT_EQ(request("PATCH", "/v1/webhooks/1", "{}").status, 404);
}

TEST_F(WebhookTest, AreChangedInTheVersionThatWasRead) {
  start();
  const std::string place = "/v1/webhooks/1";
  const Answer made = request("POST", "/v1/webhooks", R"({"url":"https://example.com/hook"})");
  const std::string first(made.field("ETag"));
  EXPECT_EQ(first, "\"1-1\"");
  EXPECT_EQ(request("GET", place).field("ETag"), first);
  EXPECT_EQ(request("GET", place, {}, {{"If-None-Match", first}}).status, 304);
  const Answer changed = request("PATCH", place, R"({"events":["link.deleted"]})", {{"If-Match", first}});
  ASSERT_EQ(changed.status, 200) << changed.body;
  const std::string second(changed.field("ETag"));
  EXPECT_NE(second, first);
  const Answer late = request("PATCH", place, R"({"events":["link.created"]})", {{"If-Match", first}});
  EXPECT_EQ(late.status, 412);
  EXPECT_EQ(late.json()["code"], "precondition_failed");
  EXPECT_EQ(request("DELETE", place, {}, {{"If-Match", first}}).status, 412);
  EXPECT_EQ(request("GET", place).json()["events"], nlohmann::json({"link.deleted"}));
  EXPECT_EQ(request("DELETE", place, {}, {{"If-Match", second}}).status, 204);
}

TEST_F(WebhookTest, AreMadeOnceWithAKey) {
  start();
  const std::string wanted = R"({"url":"https://example.com/hook"})";
  const Headers key = {{"Idempotency-Key", "k"}};
  const Answer first = request("POST", "/v1/webhooks", wanted, key);
  const Answer again = request("POST", "/v1/webhooks", wanted, key);
  EXPECT_EQ(again.status, 201);
  EXPECT_EQ(again.body, first.body);
  EXPECT_EQ(again.field("ETag"), first.field("ETag"));
  EXPECT_EQ(again.field("Location"), "/v1/webhooks/1");
  EXPECT_EQ(request("POST", "/v1/webhooks", R"({"url":"https://example.com/other"})", key).status, 422);
  EXPECT_EQ(request("GET", "/v1/webhooks").json()["items"].size(), 1u);
  EXPECT_EQ(request("POST", "/v1/links", wanted, key).status, 201);  // each path has keys of its own
}

TEST_F(WebhookTest, AreReadStrictly) {
  start();
  const std::pair<const char*, const char*> wrong[] = {
      {R"({})", "url"},
      {R"({"url":"ftp://example.com/"})", "url"},
      {R"({"url":"https://example.com/","events":[]})", "events"},
      {R"({"url":"https://example.com/","events":["link.seen"]})", "events"},
      {R"({"url":"https://example.com/","secret":"short"})", "secret"},
      {R"({"url":"https://example.com/","more":1})", "more"}};
  for (const auto& [body, field] : wrong) {
    const Answer answer = request("POST", "/v1/webhooks", body);
    EXPECT_EQ(answer.status, 400) << body;
    EXPECT_EQ(answer.json()["field"], field) << body;
  }
}

TEST_F(WebhookTest, AJobIsWrittenWithTheChangeThatItTellsOf) {
  start();
  code_of("https://example.com/before");
  EXPECT_EQ(waiting(), 0u);
  ASSERT_EQ(request("POST", "/v1/webhooks", R"({"url":"https://a.test/"})").status, 201);
  ASSERT_EQ(request("POST", "/v1/webhooks", R"({"url":"https://b.test/","events":["link.deleted"]})").status, 201);
  const std::string code = code_of("https://example.com/");
  EXPECT_EQ(waiting(), 1u);
  ASSERT_EQ(request("PATCH", "/v1/links/" + code, R"({"title":"x"})").status, 200);
  EXPECT_EQ(waiting(), 2u);
  ASSERT_EQ(request("PATCH", "/v1/links/" + code, R"({})").status, 200);
  EXPECT_EQ(waiting(), 2u);
  ASSERT_EQ(request("DELETE", "/v1/links/" + code).status, 204);
  EXPECT_EQ(waiting(), 4u);
  EXPECT_EQ(request("DELETE", "/v1/links/" + code).status, 410);
  EXPECT_EQ(waiting(), 4u);
}

}  // namespace
}  // namespace trellis::services::links
