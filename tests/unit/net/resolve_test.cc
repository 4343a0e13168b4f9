#include "net/resolve.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>

#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "tests/fakes/manual_clock.h"
#include "tests/fakes/run_task.h"

namespace trellis::net {
namespace {

using namespace std::chrono_literals;

class ResolveTest : public testing::Test {
 protected:
  ResolveTest() {
    LoopOptions options;
    options.pool = &pool_;
    options.clock = &clock_;
    loop_ = *Loop::make(options);
  }

  fakes::ManualClock clock_;
  std::unique_ptr<Loop> loop_;
  BlockingPool pool_{1};  // ends before the loop: its work comes back to it
};

TEST_F(ResolveTest, TakesNumericHostsAsTheyAre) {
  for (const char* host : {"127.0.0.1", "::1"}) {
    Resolver resolver(host, 80);
    const auto addresses = fakes::run_task(*loop_, resolver.addresses(kNever));
    ASSERT_TRUE(addresses);
    ASSERT_EQ(addresses->size(), 1u);
    EXPECT_EQ(addresses->front().host(), host);
    EXPECT_EQ(addresses->front().port(), 80);
  }
}

TEST_F(ResolveTest, FindsTheAddressesOfAName) {
  Resolver resolver("localhost", 8080);
  for (int again = 0; again < 2; ++again) {
    const auto addresses = fakes::run_task(*loop_, resolver.addresses(kNever));
    ASSERT_TRUE(addresses) << addresses.error().to_string();
    for (const Address& address : *addresses) {
      EXPECT_TRUE(address.host() == "127.0.0.1" || address.host() == "::1") << address.host();
      EXPECT_EQ(address.port(), 8080);
    }
  }
}

TEST_F(ResolveTest, SaysWhichNameHasNone) {
  const std::string host(300, 'a');  // longer than a name may be: no resolver is asked
  const auto addresses = resolve_blocking(host, 80);
  ASSERT_FALSE(addresses);
  EXPECT_EQ(addresses.error().code(), Code::unavailable);
  EXPECT_NE(addresses.error().to_string().find(host), std::string::npos);
}

TEST_F(ResolveTest, WaitsNoLongerThanToldAndAsksOnce) {
  std::promise<void> begun;
  std::promise<void> gate;
  ASSERT_TRUE(pool_.try_post([&begun, open = gate.get_future().share()] {  // the pool's only thread
    begun.set_value();
    open.wait();
  }));
  begun.get_future().wait();
  Resolver resolver("localhost", 80);
  for (int again = 0; again < 3; ++again) {
    auto asking = resolver.addresses(after(clock_.now(), 1s));
    asking.start();
    loop_->run_once(1ms);
    EXPECT_FALSE(asking.done());
    clock_.advance(1s);
    for (int turn = 0; turn < 1000 && !asking.done(); ++turn) loop_->run_once(1ms);
    EXPECT_TRUE(asking.done());
    if (asking.done()) {
      const auto addresses = asking.take();
      EXPECT_TRUE(!addresses && addresses.error().code() == Code::deadline_exceeded);
    }
    EXPECT_LE(pool_.queued(), 1u);
  }
  gate.set_value();
  EXPECT_TRUE(fakes::run_task(*loop_, resolver.addresses(kNever)));
}

}  // namespace
}  // namespace trellis::net
