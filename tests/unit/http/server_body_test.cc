#include <gtest/gtest.h>

#include "http/server_exchange.h"

namespace trellis::http::detail {
namespace {

using namespace std::chrono_literals;

constexpr Time kBegan = Time(1000s);

Deadline due(uint64_t read, Time now, uint64_t rate = 1000) {
  ServerOptions options;
  options.body_timeout = 30s;
  options.min_body_rate = rate;
  return next_piece_due({.kind = BodyKind::chunked, .read = read, .done = false, .began = kBegan}, options, now);
}

TEST(RequestBody, ThatComesInTimeHasItsTimeoutForEachPiece) {
  EXPECT_EQ(due(0, kBegan), kBegan + 30s);
  EXPECT_EQ(due(1'000'000, kBegan + 10s), kBegan + 40s);
  EXPECT_EQ(due(5, kBegan + 1h, 0), kBegan + 1h + 30s) << "without a rate";
}

TEST(RequestBody, ThatIsSlowerThanTheLeastRateIsLate) {
  EXPECT_EQ(due(10'000, kBegan + 20s), kBegan + 40s) << "ten seconds were earned, twenty are over";
  EXPECT_EQ(due(1, kBegan + 29s), kBegan + 30s);
  EXPECT_LT(due(10'000, kBegan + 50s), kBegan + 50s);
}

// In nanoseconds the count of bytes that came leaves 64 bits at 18 GB (unsigned) or half of it.
TEST(RequestBody, ThatIsLargeHasEarnedItsTimeToo) {
  for (const uint64_t gigabytes : {9, 10, 18, 19, 37, 100, 1000}) {
    const uint64_t read = gigabytes * 1'000'000'000;
    const Time now = kBegan + std::chrono::seconds(read / 2000);  // twice as fast as it must be
    EXPECT_EQ(due(read, now), now + 30s) << gigabytes << " GB";
    const Time late = kBegan + std::chrono::seconds(read / 1000) + 40s;
    EXPECT_LT(due(read, late), late) << gigabytes << " GB";
  }
  const Time now = kBegan + 24h;
  for (const uint64_t rate : {uint64_t{1}, uint64_t{240}, uint64_t{UINT32_MAX}}) {
    const Deadline until = due(UINT64_MAX, now, rate);
    EXPECT_GT(until, now) << rate;
    EXPECT_LE(until, now + 30s) << rate;
  }
}

}  // namespace
}  // namespace trellis::http::detail
