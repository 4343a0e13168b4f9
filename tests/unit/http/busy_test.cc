#include "http/busy.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "runtime/loop.h"
#include "tests/fakes/manual_clock.h"

namespace trellis::http {
namespace {

using namespace std::chrono_literals;

TEST(Busy, SaysWhichLimitItWasAndWhenToComeAgain) {
  fakes::ManualClock clock;
  auto loop = Loop::make({.io = IoKind::epoll, .clock = &clock, .seed = 7});
  ASSERT_TRUE(loop);
  Arena arena;
  RequestContext context{.arena = arena, .loop = **loop, .started = (*loop)->now()};
  context.request_id = "01JD";
  std::set<int> waits;
  for (int i = 0; i < 100; ++i) {
    const Response response = busy(context, "upstream_busy", "No place.", 4s);
    EXPECT_EQ(response.status, 503);
    const auto json = nlohmann::json::parse(response.body.bytes().view());
    EXPECT_EQ(json["code"], "upstream_busy");
    EXPECT_EQ(json["detail"], "No place.");
    EXPECT_EQ(json["temporary"], true);
    EXPECT_EQ(json["request_id"], "01JD");
    waits.insert(std::stoi(std::string(response.fields.value(FieldId::retry_after))));
  }
  EXPECT_EQ(context.outcome, "upstream_busy");
  EXPECT_EQ(context.failed_side, Side::self);
  EXPECT_GE(*waits.begin(), 4);
  EXPECT_LE(*waits.rbegin(), 6);
  EXPECT_GT(waits.size(), 1U) << "not all at once";
}

TEST(Busy, ClientsThatShallComeBackSoonDoNotAllComeBackAtOnce) {
  fakes::ManualClock clock;
  auto loop = Loop::make({.io = IoKind::epoll, .clock = &clock, .seed = 7});
  ASSERT_TRUE(loop);
  Arena arena;
  RequestContext context{.arena = arena, .loop = **loop, .started = (*loop)->now()};
  const auto told = [&](Duration wait) {
    std::set<std::string> waits;
    for (int i = 0; i < 100; ++i)
      waits.emplace(busy(context, "overloaded", "", wait).fields.value(FieldId::retry_after));
    return waits;
  };
  EXPECT_EQ(told(0ms), (std::set<std::string>{"1", "2"}));
  EXPECT_EQ(told(1s), (std::set<std::string>{"1", "2"}));
  EXPECT_EQ(told(1200ms), (std::set<std::string>{"2", "3"})) << "never sooner";
}

}  // namespace
}  // namespace trellis::http
