// Faults come by their shares and in their order; the pace of a body is what was asked for, on a clock that tests move.
#include "proxy/filters/fault.h"

#include <gtest/gtest.h>

#include "proxy/fault_plan.h"
#include "proxy/paced_body.h"
#include "tests/unit/proxy/filter_parts_kit.h"

namespace trellis::proxy {
namespace {

using namespace std::chrono_literals;
using test::body_text;
using test::Exchange;
using test::NamedTarget;
using test::PartsKit;
using test::PiecesBody;
using test::read_config;
using test::Rig;

TEST(FaultPlan, DrawsEachKindByItsShare) {
  const FaultPlan plan(FaultDelayConfig{{100ms, 300ms}, 0.2}, FaultAbortConfig{500, 0.1}, FaultResetConfig{0.05});
  Rng rng(11);
  constexpr int kDraws = 100'000;
  int delays = 0;
  int aborts = 0;
  int resets = 0;
  for (int i = 0; i < kDraws; ++i) {
    const Fault fault = plan.draw(rng);
    if (fault.delay != 0ns) {
      ++delays;
      EXPECT_GE(fault.delay, 100ms);
      EXPECT_LE(fault.delay, 300ms);
    }
    aborts += fault.abort == 500;
    resets += fault.reset;
    EXPECT_FALSE(fault.reset && fault.abort != 0) << "one end is enough";
  }
  // Six standard deviations each.
  EXPECT_NEAR(delays, 20'000, 760);
  EXPECT_NEAR(aborts, 9'500, 560);
  EXPECT_NEAR(resets, 5'000, 415);
}

TEST(FaultPlan, DrawsTheSameFromTheSameSeed) {
  const FaultPlan plan(FaultDelayConfig{{0ms, 1s}, 0.5}, FaultAbortConfig{503, 0.5}, FaultResetConfig{0.5});
  Rng one(5);
  Rng two(5);
  for (int i = 0; i < 100; ++i) {
    const Fault a = plan.draw(one);
    const Fault b = plan.draw(two);
    EXPECT_EQ(a.delay, b.delay);
    EXPECT_EQ(a.reset, b.reset);
    EXPECT_EQ(a.abort, b.abort);
  }
}

TEST(FaultPlan, InjectsNothingWithoutSettings) {
  Rng rng(1);
  const Fault fault = FaultPlan().draw(rng);
  EXPECT_EQ(fault.delay, 0ns);
  EXPECT_FALSE(fault.reset);
  EXPECT_EQ(fault.abort, 0);
}

TEST(Pace, TakesTheTimeThatTheBytesTake) {
  Time now = Time(1000s);
  const Time began = now;
  Pace pace(1000);
  EXPECT_EQ(pace.slice(), 50u);
  for (int i = 0; i < 100; ++i) now = pace.take(now, 50);
  EXPECT_EQ(now - began, 5s);
}

TEST(Pace, MakesUpForALateTimerAndNotForASlowReader) {
  Pace pace(1000);
  const Time began(1000s);
  EXPECT_EQ(pace.take(began, 50), began + 50ms);
  EXPECT_EQ(pace.take(began + 53ms, 50), began + 100ms) << "three milliseconds late, made up for";
  EXPECT_EQ(pace.take(began + 10s, 50), began + 10s) << "credit for one slice";
  EXPECT_EQ(pace.take(began + 10s, 50), began + 10s + 50ms) << "and not for ten seconds";
}

TEST(Pace, GoesFromAByteASecondToWhatOneTurnCanCarry) {
  Pace slow(1);
  EXPECT_EQ(slow.slice(), 1u);
  EXPECT_EQ(slow.take(Time(5s), 1), Time(6s));
  Pace fast(uint64_t{1} << 40);
  EXPECT_EQ(fast.slice(), Pace::kMaxSlice);
  EXPECT_LT(fast.take(Time(5s), Pace::kMaxSlice) - Time(5s), 1us);
}

struct FaultTest : ::testing::Test {
  Rig rig;
  PartsKit kit;
  NamedTarget target{"answer"};
  Exchange exchange{rig};

  Task<Result<http::Response>> run(std::string_view yaml) {
    std::vector<std::unique_ptr<Filter>> filters;
    filters.push_back(std::make_unique<FaultFilter>(read_config<FaultConfig>(yaml), kit.parts));
    exchange.chain = std::make_unique<Chain>(std::move(filters), target);
    return exchange.chain->run(exchange.request, exchange.context);
  }
  uint64_t faults(const char* kind) { return kit.count("trellis_faults_total", {{"route", "test"}, {"fault", kind}}); }
};

TEST_F(FaultTest, DelaysBeforeTheTarget) {
  Task<Result<http::Response>> task = run("delay: { time: 100ms }");
  task.start();
  rig.advance(99ms);
  EXPECT_EQ(target.calls, 0);
  rig.advance(5ms);
  EXPECT_TRUE(task.done());
  EXPECT_EQ(task.take()->status, 200);
  EXPECT_EQ(faults("delay"), 1u);
}

TEST_F(FaultTest, DelaysNoLongerThanTheDeadline) {
  exchange.context.deadline = rig.loop->now() + 50ms;
  Task<Result<http::Response>> task = run("delay: { time: 1h }");
  task.start();
  rig.advance(60ms);
  ASSERT_TRUE(task.done());
  EXPECT_EQ(task.take().error().code(), Code::deadline_exceeded);
  EXPECT_EQ(target.calls, 0);
}

TEST_F(FaultTest, AbortsWithAStatus) {
  Result<http::Response> answer = fakes::run_task(*rig.loop, run("abort: { status: 507 }"));
  EXPECT_EQ(answer->status, 507);
  EXPECT_EQ(exchange.context.outcome, "fault_abort");
  EXPECT_EQ(exchange.context.failed_side, Side::self);
  EXPECT_EQ(target.calls, 0);
  EXPECT_EQ(faults("abort"), 1u);
}

TEST_F(FaultTest, AsksForAResetOfTheConnection) {
  Result<http::Response> answer = fakes::run_task(*rig.loop, run("{ reset: {}, abort: {} }"));
  EXPECT_TRUE(exchange.context.reset);
  EXPECT_EQ(exchange.context.outcome, "fault_reset");
  EXPECT_EQ(target.calls, 0);
  EXPECT_EQ(faults("reset"), 1u);
  EXPECT_EQ(faults("abort"), 0u);
}

TEST_F(FaultTest, ConcernsOnlyWhoIsNamed) {
  const char* yaml = "{ abort: {}, when: { header: \"x-fault: 1\" } }";
  EXPECT_EQ(fakes::run_task(*rig.loop, run(yaml))->status, 200);
  exchange.with("X-Fault", "1");
  EXPECT_EQ(fakes::run_task(*rig.loop, run(yaml))->status, 503);
}

TEST_F(FaultTest, PacesTheBody) {
  Result<http::Response> answer = fakes::run_task(*rig.loop, run("bandwidth: 100B"));
  ASSERT_TRUE(answer);
  ASSERT_EQ(answer->body.kind(), http::Body::Kind::stream);
  EXPECT_EQ(answer->body.length(), 6u);
  http::BodyReader& body = answer->body.stream();
  // Six bytes at a hundred a second: five after 50 ms, the last one 10 ms later.
  Task<Result<Chunk>> first = body.read(kNever);
  first.start();
  rig.advance(49ms);
  EXPECT_FALSE(first.done());
  rig.advance(2ms);
  ASSERT_TRUE(first.done());
  EXPECT_EQ(first.take()->view(), "answe");
  Task<Result<Chunk>> second = body.read(kNever);
  second.start();
  EXPECT_FALSE(second.done());
  rig.advance(12ms);
  ASSERT_TRUE(second.done());
  EXPECT_EQ(second.take()->view(), "r");
  EXPECT_TRUE(fakes::run_task(*rig.loop, body.read(kNever))->empty());
  EXPECT_EQ(faults("bandwidth"), 1u);
}

TEST(PacedBody, KeepsToTheDeadline) {
  Rig rig;
  PacedBody body(http::Body(std::string("slow")), 1);
  Task<Result<Chunk>> reading = body.read(rig.loop->now() + 100ms);
  reading.start();
  rig.advance(150ms);
  ASSERT_TRUE(reading.done());
  EXPECT_EQ(reading.take().error().code(), Code::deadline_exceeded);
}

TEST(PacedBody, GivesAllOfAStream) {
  Rig rig;
  PacedBody body(http::Body(std::unique_ptr<http::BodyReader>(
                     std::make_unique<PiecesBody>(std::vector<std::string>{std::string(300, 'a'), "b", "cc"}))),
                 uint64_t{1} << 40);
  EXPECT_EQ(body.length(), std::nullopt);
  std::string text;
  for (int reads = 0; reads < 10; ++reads) {
    Task<Result<Chunk>> reading = body.read(kNever);
    reading.start();
    while (!reading.done()) rig.advance(1ms);
    const Result<Chunk> piece = reading.take();
    if (piece->empty()) break;
    text += piece->view();
  }
  EXPECT_EQ(text, std::string(300, 'a') + "bcc");
}

TEST(FaultConfig, SaysWhatIsWrong) {
  for (const char* bad : {"{}", "{ when: { header: x } }", "abort: { status: 200 }", "delay: {}", "delay: { time: 2h }",
                          "delay: { time: 2s..1s }", "{ reset: { share: 101% } }", "{ abort: {}, when: {} }"})
    EXPECT_NE(test::config_problems<FaultConfig>(bad), "") << bad;
  EXPECT_EQ(read_config<FaultConfig>("delay: { time: 100ms..500ms, share: 10% }").delay->time.high, 500ms);
}

}  // namespace
}  // namespace trellis::proxy
