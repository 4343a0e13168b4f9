// What may be written of health and ejection, and what is said about the rest.
#include "upstream/health/config.h"

#include <gtest/gtest.h>

#include "config/yaml.h"

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;

template <class T>
std::string problems_of(const std::string& text, T* out = nullptr) {
  config::Problems problems;
  const config::Node node = config::parse(text, "test.yaml", {}, problems);
  auto value = config::read<T>(node, problems);
  if (value && out) *out = *value;
  return problems.to_string();
}

TEST(HealthConfig, ReadsAllOfIt) {
  HealthConfig config;
  EXPECT_EQ(
      problems_of("{ path: \"/healthz?x=1\", method: GET, host: www.example.com, status: [200-299, 401], body: ok, "
                  "port: 9000, interval: 5s, unhealthy_interval: 1s, timeout: 500ms, unhealthy_after: 4, "
                  "healthy_after: 1, initial: unhealthy }",
                  &config),
      "");
  EXPECT_EQ(config.path, "/healthz?x=1");
  EXPECT_EQ(config.status_text(), "200-299, 401");
  EXPECT_TRUE(config.good_status(401));
  EXPECT_FALSE(config.good_status(300));
  EXPECT_FALSE(config.good_status(402));
  EXPECT_EQ(config.initial, HealthConfig::Initial::unhealthy);
  EXPECT_EQ(config.unhealthy_interval, 1s);
}

TEST(HealthConfig, ThreeHundredNinetyNineIsGoodByDefaultAndFourHundredIsNot) {
  const HealthConfig config;
  EXPECT_TRUE(config.good_status(200));
  EXPECT_TRUE(config.good_status(399));
  EXPECT_FALSE(config.good_status(199));
  EXPECT_FALSE(config.good_status(400));
}

TEST(HealthConfig, RefusesWhatCannotBeAsked) {
  for (const char* text :
       {"path: healthz", "path: \"/a b\"", "path: \"/../x\"", "host: \"a b\"", "status: []", "status: [200-199]",
        "status: [99]", "status: [600]", "status: [2xx]", "interval: 10ms", "unhealthy_interval: 99ms", "timeout: 0s",
        "unhealthy_after: 0", "port: 70000", "kind: icmp", "{ method: HEAD, body: x }"}) {
    EXPECT_NE(problems_of<HealthConfig>(text), "") << text;
  }
}

TEST(HealthConfig, SettingsOfAnotherKindAreSaid) {
  for (const char* text : {"{ kind: tcp, path: /x }", "{ kind: tcp, host: x }", "{ kind: grpc, status: [200] }",
                           "{ kind: http, send: x }", "{ expect: x }", "{ service: a.B }", "{ kind: grpc, body: x }"}) {
    EXPECT_NE(problems_of<HealthConfig>(text).find("only checks of kind"), std::string::npos) << text;
  }
  EXPECT_EQ(problems_of<HealthConfig>("{ kind: tcp, send: \"PING\\r\\n\", expect: \"+PONG\" }"), "");
  EXPECT_EQ(problems_of<HealthConfig>("{ kind: grpc, service: a.B, host: api.internal }"), "");
}

TEST(EjectConfig, ReadsAllOfItAndOff) {
  EjectConfig config;
  EXPECT_EQ(problems_of("{ consecutive_errors: 7, error_rate: 50%, slower_than: 3, min_requests: 10, interval: 5s, "
                        "base_time: 10s, max_time: 1m, max_share: 30% }",
                        &config),
            "");
  EXPECT_EQ(config.consecutive_errors, 7U);
  EXPECT_EQ(config.error_rate, 0.5);
  EXPECT_EQ(config.slower_than, 3.0);
  EXPECT_EQ(config.max_share, 0.3);
  EXPECT_EQ(problems_of("{ consecutive_errors: off, error_rate: off, slower_than: off }", &config), "");
  EXPECT_EQ(config.consecutive_errors, 0U);
  EXPECT_FALSE(config.error_rate);
  EXPECT_FALSE(config.slower_than);
}

TEST(EjectConfig, IsOnForErrorsInARowByDefault) {
  const EjectConfig config;
  EXPECT_EQ(config.consecutive_errors, 5U);
  EXPECT_FALSE(config.error_rate);
  EXPECT_FALSE(config.slower_than);
}

TEST(EjectConfig, RefusesWhatMakesNoSense) {
  for (const char* text : {"consecutive_errors: 0", "consecutive_errors: some", "error_rate: 0%", "error_rate: 101%",
                           "slower_than: 1", "max_share: 120%", "interval: 10ms", "{ base_time: 1m, max_time: 30s }"}) {
    EXPECT_NE(problems_of<EjectConfig>(text), "") << text;
  }
  EXPECT_FALSE(EjectConfig::from_text("on"));
}

}  // namespace
}  // namespace trellis::upstream
