#include "app/node/host_state.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "tests/fakes/run_task.h"

namespace trellis::app {
namespace {

using upstream::HostChanges;

class HostStateTest : public testing::Test {
 protected:
  HostStateTest() {
    LoopOptions options;
    options.pool = &pool_;
    loop_ = *Loop::make(options);
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string("host-state-") + testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    state_ = *HostState::open(folder_.string());
  }
  ~HostStateTest() override {
    state_.reset();
    std::filesystem::remove_all(folder_);
  }
  Result<> weigh(const std::string& upstream, const std::string& host, uint32_t weight) {
    return fakes::run_task(*loop_, state_->change(
                                       upstream,
                                       [host, weight](HostChanges& changes) -> Result<> {
                                         changes.weights[host] = weight;
                                         return {};
                                       },
                                       [this](const HostChanges& changes) { applied_ = changes; }));
  }

  std::unique_ptr<Loop> loop_;
  BlockingPool pool_{2};  // ends before the loop: its work comes back to it
  std::filesystem::path folder_;
  std::unique_ptr<HostState> state_;
  HostChanges applied_;
};

TEST_F(HostStateTest, BeginsWithNothing) {
  EXPECT_TRUE(state_->of("app").empty());
  EXPECT_FALSE(std::filesystem::exists(folder_));
}

TEST_F(HostStateTest, KeepsWhatWasChanged) {
  ASSERT_TRUE(weigh("app", "10.0.0.1:80", 3));
  EXPECT_EQ(applied_.weights.at("10.0.0.1:80"), 3u);
  ASSERT_TRUE(weigh("other", "10.0.0.2:80", 4));
  ASSERT_TRUE(weigh("app", "10.0.0.3:80", 5));
  const auto again = HostState::open(folder_.string());
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ((*again)->of("app"), state_->of("app"));
  EXPECT_EQ((*again)->of("app").weights.size(), 2u);
  EXPECT_EQ((*again)->of("other").weights.at("10.0.0.2:80"), 4u);
}

TEST_F(HostStateTest, ChangesNothingWhenItIsRefused) {
  ASSERT_TRUE(weigh("app", "10.0.0.1:80", 3));
  applied_ = {};
  const auto refused = fakes::run_task(*loop_, state_->change(
                                                   "app",
                                                   [](HostChanges& changes) -> Result<> {
                                                     changes.weights.clear();
                                                     return fail(Code::not_found, "no such host");
                                                   },
                                                   [this](const HostChanges& changes) { applied_ = changes; }));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::not_found);
  EXPECT_TRUE(applied_.empty());
  EXPECT_EQ(state_->of("app").weights.size(), 1u);
}

TEST_F(HostStateTest, ChangesNothingWhenItCannotBeWritten) {
  std::ofstream(folder_.string()) << "a file where the folder should be";
  const auto written = weigh("app", "10.0.0.1:80", 3);
  ASSERT_FALSE(written);
  EXPECT_NE(written.error().to_string().find(folder_.string()), std::string::npos);
  EXPECT_TRUE(state_->of("app").empty());
  EXPECT_TRUE(applied_.empty());
}

TEST_F(HostStateTest, MakesManyChangesAtOnceOneAfterTheOther) {
  std::vector<Task<Result<>>> changing;
  for (uint32_t i = 1; i <= 20; ++i) {
    changing.push_back(state_->change(
        "app",
        [i](HostChanges& changes) -> Result<> {
          changes.weights["10.0.0.1:" + std::to_string(i)] = static_cast<uint32_t>(changes.weights.size());
          return {};
        },
        [](const HostChanges&) {}));
    changing.back().start();
  }
  for (auto& one : changing) {
    const auto made =
        fakes::run_task(*loop_, [](Task<Result<>>& task) -> Task<Result<>> { co_return co_await task.join(); }(one));
    EXPECT_TRUE(made);
  }
  for (uint32_t i = 1; i <= 20; ++i) EXPECT_EQ(state_->of("app").weights.at("10.0.0.1:" + std::to_string(i)), i - 1);
}

TEST_F(HostStateTest, GoesOnWhenTheOneWhoAskedIsGone) {
  {
    auto changing = state_->change(
        "app",
        [](HostChanges& changes) -> Result<> {
          changes.draining.insert("10.0.0.1:80");
          return {};
        },
        [this](const HostChanges& changes) { applied_ = changes; });
    changing.start();
    EXPECT_FALSE(changing.done());
  }
  ASSERT_TRUE(weigh("other", "10.0.0.1:80", 1));  // after it
  EXPECT_TRUE(state_->of("app").draining.contains("10.0.0.1:80"));
}

TEST_F(HostStateTest, WritesWhatWasAskedForBeforeItIsHeldAndRefusesTheRest) {
  auto earlier = state_->change(
      "app",
      [](HostChanges& changes) -> Result<> {
        changes.weights["10.0.0.1:80"] = 3;
        return {};
      },
      [this](const HostChanges& changes) { applied_ = changes; });
  earlier.start();
  EXPECT_FALSE(earlier.done());
  ASSERT_TRUE(fakes::run_task(*loop_, state_->hold(after(loop_->now(), std::chrono::seconds(20)))));
  EXPECT_EQ((*HostState::open(folder_.string()))->of("app").weights.at("10.0.0.1:80"), 3u);
  EXPECT_EQ(applied_.weights.at("10.0.0.1:80"), 3u);
  const auto refused = weigh("app", "10.0.0.1:80", 4);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::unavailable);
  EXPECT_EQ(state_->of("app").weights.at("10.0.0.1:80"), 3u);
  EXPECT_TRUE(earlier.done());
}

TEST_F(HostStateTest, KnowsWhatAnotherProcessWroteWhileItWasHeld) {
  ASSERT_TRUE(weigh("app", "10.0.0.1:80", 3));
  ASSERT_TRUE(fakes::run_task(*loop_, state_->hold(kNever)));
  auto ours = std::exchange(state_, *HostState::open(folder_.string()));
  ASSERT_TRUE(weigh("app", "10.0.0.1:80", 4));
  state_ = std::move(ours);
  fakes::run_task(*loop_, state_->resume());
  EXPECT_FALSE(state_->held());
  EXPECT_EQ(state_->of("app").weights.at("10.0.0.1:80"), 4u);
  ASSERT_TRUE(weigh("app", "10.0.0.2:80", 5));
  EXPECT_EQ((*HostState::open(folder_.string()))->of("app").weights.size(), 2u);
}

TEST_F(HostStateTest, RefusesABrokenFileWithItsName) {
  std::filesystem::create_directories(folder_);
  std::ofstream(folder_ / "hosts.json") << R"({"version":1,"upstreams":{"app":{"weights":)";
  const auto opened = HostState::open(folder_.string());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), Code::data_loss);
  EXPECT_NE(opened.error().to_string().find((folder_ / "hosts.json").string()), std::string::npos);
  EXPECT_NE(opened.error().to_string().find("move it away"), std::string::npos);
}

}  // namespace
}  // namespace trellis::app
