#include "services/links/access/guesses.h"

#include <gtest/gtest.h>

#include <string>

#include "base/metrics.h"
#include "tests/unit/services/service_fixture.h"

namespace trellis::services::links {
namespace {

using std::chrono::seconds;

class GuessesTest : public testing::Test {
 protected:
  size_t told(Guesses& guesses, const std::string& address, size_t asked, Time now) {
    size_t told = 0;
    for (size_t i = 0; i < asked; ++i) told += guesses.unknown(address, now) ? 0 : 1;
    return told;
  }
  Metrics metrics_;
  Time now_{seconds(1000)};
};

TEST_F(GuessesTest, AnAddressStandsForItsBlock) {
  EXPECT_EQ(block_of("192.0.2.1").view(), block_of("192.0.2.254").view());
  EXPECT_NE(block_of("192.0.2.1").view(), block_of("192.0.3.1").view());
  EXPECT_EQ(block_of("::ffff:192.0.2.9").view(), block_of("192.0.2.1").view());
  EXPECT_EQ(block_of("2001:db8:0:ff00::1").view(), block_of("2001:db8:0:ffff::2").view());
  EXPECT_NE(block_of("2001:db8:0:fe00::1").view(), block_of("2001:db8:0:ff00::1").view());
  for (const char* none : {"", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "name", "192.0.2.1:80"})
    EXPECT_EQ(block_of(none).size, 0u) << none;
  EXPECT_EQ(block_of(std::string(1000, '1')).size, 0u);
}

TEST_F(GuessesTest, SlowsABlockBeyondItsLimitUntilTheMinuteIsOver) {
  Guesses guesses(5, 1, metrics_);
  EXPECT_EQ(told(guesses, "192.0.2.1", 4, now_), 4u);
  EXPECT_EQ(told(guesses, "192.0.2.77", 4, now_ + seconds(10)), 1u) << "the same block";
  const auto wait = guesses.unknown("192.0.2.1", now_ + seconds(20));
  ASSERT_TRUE(wait);
  EXPECT_EQ(*wait, seconds(40));
  EXPECT_EQ(told(guesses, "192.0.3.1", 5, now_ + seconds(20)), 5u) << "another block";
  EXPECT_FALSE(guesses.any_shut(now_ + seconds(20)));
  EXPECT_EQ(told(guesses, "192.0.2.1", 6, now_ + seconds(60)), 5u);
}

TEST_F(GuessesTest, ShutsOutOnlyAtAnExtremeRate) {
  Guesses guesses(5, 1, metrics_);
  told(guesses, "192.0.2.1", 50, now_);
  EXPECT_FALSE(guesses.any_shut(now_));
  told(guesses, "192.0.2.1", 1, now_);
  ASSERT_TRUE(guesses.any_shut(now_));
  EXPECT_EQ(guesses.shut("192.0.2.200", now_ + seconds(10)), seconds(50));
  EXPECT_EQ(guesses.shut("192.0.3.1", now_), std::nullopt);
  EXPECT_FALSE(guesses.any_shut(now_ + seconds(60)));
  EXPECT_EQ(guesses.shut("192.0.2.1", now_ + seconds(60)), std::nullopt);
}

TEST_F(GuessesTest, TheMachineItselfAndZeroAreNeverSlowed) {
  Guesses guesses(1, 1, metrics_);
  EXPECT_EQ(told(guesses, "127.0.0.1", 1000, now_), 1000u);
  Guesses off(0, 1, metrics_);
  EXPECT_EQ(told(off, "192.0.2.1", 1000, now_), 1000u);
  EXPECT_FALSE(off.any_shut(now_));
}

TEST_F(GuessesTest, ManyOthersDoNotPushOutTheOneWhoGuessesMost) {
  Guesses guesses(100, 1, metrics_);
  told(guesses, "192.0.2.1", 150, now_);
  for (int i = 0; i < 200'000; ++i) {
    const std::string other =
        std::to_string(10 + i / 65536) + "." + std::to_string(i / 256 % 256) + "." + std::to_string(i % 256) + ".1";
    (void)guesses.unknown(other, now_);
  }
  EXPECT_TRUE(guesses.unknown("192.0.2.1", now_));
}

class GuessingTest : public ServiceTest {
 protected:
  GuessingTest() {
    config_.guesses = 3;
    start();
  }
};

TEST_F(GuessingTest, KnownCodesAreServedWhileUnknownOnesAreSlowed) {
  const std::string code = code_of("https://example.com/");
  client_address_ = "192.0.2.1";
  for (int i = 0; i < 3; ++i) EXPECT_EQ(request("GET", "/nothing" + std::to_string(i)).status, 404);
  const Answer slowed = request("GET", "/nothing");
  EXPECT_EQ(slowed.status, 429);
  EXPECT_NE(slowed.field("Retry-After"), "");
  EXPECT_EQ(slowed.json()["code"], "too_many_guesses");
  EXPECT_EQ(request("GET", "/nothing+").status, 429) << "previews tell as much";
  EXPECT_EQ(request("GET", "/" + code).status, 302);
  for (int i = 0; i < 40; ++i) request("GET", "/nothing");
  EXPECT_EQ(request("GET", "/" + code).status, 429) << "an extreme rate";
  client_address_ = "198.51.100.1";
  EXPECT_EQ(request("GET", "/" + code).status, 302);
  EXPECT_EQ(request("GET", "/nothing").status, 404);
}

}  // namespace
}  // namespace trellis::services::links
