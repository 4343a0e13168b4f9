#include "base/time.h"

#include <gtest/gtest.h>

namespace trellis {
namespace {

using namespace std::chrono_literals;

TEST(After, NeverOverflows) {
  constexpr Time kNow{Duration(1h)};
  EXPECT_EQ(after(kNow, 5s), kNow + 5s);
  EXPECT_EQ(after(kNow, Duration::max()), kNever);
  EXPECT_EQ(after(kNow, Duration::max() - 1s), kNever);
  EXPECT_EQ(after(kNever, 1ns), kNever);
  EXPECT_EQ(after(kNever, 0ns), kNever);
  EXPECT_EQ(after(Time::min(), 5s), Time::min() + 5s) << "hosts that were there from the start joined then";
  EXPECT_EQ(after(Time::min(), Duration::max()), kNever);
}

}  // namespace
}  // namespace trellis
