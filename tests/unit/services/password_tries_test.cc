#include "services/links/access/password_tries.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

namespace trellis::services::links {
namespace {

using std::chrono::seconds;
using Try = std::shared_ptr<PasswordTries::Try>;

class PasswordTriesTest : public testing::Test {
 protected:
  bool try_wrong(PasswordTries::Who who, Time now) {
    const Try attempt = tries_->begin(who, now);
    if (attempt) attempt->wrong();
    return attempt != nullptr;
  }
  std::shared_ptr<PasswordTries> tries_ = std::make_shared<PasswordTries>(1);
  PasswordTries::Who who_ = tries_->who("192.0.2.1", 7);
  Time now_{seconds(1000)};
};

TEST_F(PasswordTriesTest, RightOnesCountForNothing) {
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(tries_->begin(who_, now_));
  EXPECT_EQ(tries_->slowed(who_, now_), std::nullopt);
}

TEST_F(PasswordTriesTest, TenWrongOnesAreTheLastOfTheMinute) {
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(try_wrong(who_, now_));
  EXPECT_FALSE(tries_->begin(who_, now_));
  EXPECT_EQ(tries_->slowed(who_, now_ + seconds(20)), seconds(40));
  EXPECT_TRUE(tries_->begin(tries_->who("192.0.2.1", 8), now_)) << "another link";
  EXPECT_TRUE(tries_->begin(tries_->who("192.0.3.1", 7), now_)) << "another block";
  EXPECT_FALSE(tries_->begin(tries_->who("192.0.2.200", 7), now_)) << "the same block";
  EXPECT_TRUE(try_wrong(who_, now_ + seconds(60)));
}

TEST_F(PasswordTriesTest, ThoseUnderWayMayAllBeWrongSoNoMoreBeginAndNobodyIsSlowed) {
  std::vector<Try> under_way;
  for (int i = 0; i < 10; ++i) under_way.push_back(tries_->begin(who_, now_));
  EXPECT_FALSE(tries_->begin(who_, now_));
  EXPECT_EQ(tries_->slowed(who_, now_), std::nullopt) << "none was wrong yet";
  under_way.front().reset();
  under_way.front() = tries_->begin(who_, now_);
  EXPECT_TRUE(under_way.front()) << "a right one gives back what it held";
  for (const Try& attempt : under_way) attempt->wrong();
  under_way.clear();
  EXPECT_TRUE(tries_->slowed(who_, now_));
}

TEST_F(PasswordTriesTest, AWrongOneCountsInTheMinuteInWhichItBegan) {
  const Try late = tries_->begin(who_, now_);
  for (int i = 0; i < 9; ++i) EXPECT_TRUE(try_wrong(who_, now_));
  EXPECT_FALSE(tries_->begin(who_, now_ + seconds(59)));
  EXPECT_TRUE(tries_->begin(who_, now_ + seconds(60)));
}

TEST_F(PasswordTriesTest, LoopbackIsOneBlockWithMoreTries) {
  const auto here = tries_->who("127.0.0.1", 7);
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(try_wrong(here, now_));
  EXPECT_FALSE(tries_->begin(here, now_));
  EXPECT_FALSE(tries_->begin(tries_->who("::1", 7), now_));
  EXPECT_TRUE(tries_->begin(tries_->who("127.0.0.1", 8), now_));
}

TEST_F(PasswordTriesTest, ATryOutlivesWhoBeganIt) {
  const Try attempt = tries_->begin(who_, now_);
  tries_.reset();
  attempt->wrong();
}

}  // namespace
}  // namespace trellis::services::links
