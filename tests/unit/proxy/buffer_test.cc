// Bodies are kept up to their limits and the core's, and none of their bytes is lost on the way.
#include "proxy/filters/buffer.h"

#include <gtest/gtest.h>

#include "proxy/held_body.h"
#include "runtime/sync.h"
#include "tests/unit/proxy/filter_parts_kit.h"

namespace trellis::proxy {
namespace {

using namespace std::chrono_literals;
using test::body_text;
using test::Exchange;
using test::PartsKit;
using test::PiecesBody;
using test::read_config;
using test::Rig;

// Gives a piece each time it is let.
class GatedBody final : public http::BodyReader {
 public:
  GatedBody(Event& let, std::vector<std::string> pieces) : let_(let), pieces_(std::move(pieces)) {}
  Task<Result<Chunk>> read(Deadline) override {
    const bool may = co_await let_.wait(kNever);
    if (!may) co_return fail(Code::internal, "never");
    let_.reset();
    if (at_ == pieces_.size()) co_return Chunk();
    co_return Chunk::copy_of(pieces_[at_++]);
  }
  std::optional<uint64_t> length() const noexcept override { return std::nullopt; }

 private:
  Event& let_;
  std::vector<std::string> pieces_;
  size_t at_ = 0;
};

std::string read_whole(Rig& rig, http::BodyReader& body) {
  Result<std::string> all = fakes::run_task(*rig.loop, http::read_all(&body, 1 << 30, kNever));
  return all ? *all : "error: " + all.error().to_string();
}

std::string pattern(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + i * 7 % 26);
  return text;
}

std::vector<std::string> cut(const std::string& text, size_t size) {
  std::vector<std::string> pieces;
  for (size_t at = 0; at < text.size(); at += size) pieces.push_back(text.substr(at, size));
  return pieces;
}

TEST(HeldBytes, GivesBackWhatItTook) {
  const auto memory = std::make_shared<HeldMemory>();
  for (const size_t size :
       {size_t{1}, HeldBytes::kBlock - 1, HeldBytes::kBlock, HeldBytes::kBlock + 1, size_t{100'000}}) {
    for (const size_t piece : {size_t{1000}, size_t{16'384}, size_t{70'000}}) {
      const std::string text = pattern(size);
      HeldBytes held(memory, 1 << 20, std::nullopt);
      for (const std::string& each : cut(text, piece)) ASSERT_TRUE(held.append(each));
      held.seal();
      EXPECT_EQ(held.size(), size);
      for (int round = 0; round < 2; ++round) {
        std::string got;
        for (Chunk block = held.next(); !block.empty(); block = held.next()) got += block.view();
        EXPECT_EQ(got, text);
        EXPECT_TRUE(held.rewind());
      }
    }
  }
  EXPECT_EQ(memory->used(), 0u);
}

TEST(HeldBytes, TakesNoMoreMemoryThanThereMayBe) {
  const auto memory = std::make_shared<HeldMemory>();
  HeldBytes first(memory, 3 * HeldBytes::kBlock, std::nullopt);
  HeldBytes second(memory, 3 * HeldBytes::kBlock, std::nullopt);
  EXPECT_TRUE(first.append(pattern(2 * HeldBytes::kBlock)));
  EXPECT_FALSE(second.append(pattern(HeldBytes::kBlock + 1))) << "one block is left";
  EXPECT_EQ(second.size(), 0u);
  EXPECT_TRUE(second.append(pattern(HeldBytes::kBlock)));
  EXPECT_EQ(memory->used(), 3 * HeldBytes::kBlock);
  EXPECT_FALSE(first.append("x"));
  second.seal();
  second.let_go();
  EXPECT_EQ(memory->used(), 3 * HeldBytes::kBlock) << "nothing was read";
  EXPECT_FALSE(second.next().empty());
  EXPECT_EQ(memory->used(), 2 * HeldBytes::kBlock) << "what is read is gone";
  EXPECT_FALSE(second.rewind());
  EXPECT_TRUE(first.append("x"));
}

TEST(HeldBytes, ChargesASmallBodyOfKnownLengthForNoMoreThanItIs) {
  const auto memory = std::make_shared<HeldMemory>();
  HeldBytes held(memory, 1 << 20, 100);
  EXPECT_TRUE(held.append(pattern(60)));
  EXPECT_EQ(memory->used(), 100u);
  EXPECT_TRUE(held.append(pattern(40)));
  EXPECT_EQ(memory->used(), 100u);
}

// Notes when it is asked and what it was given.
class Target final : public http::Handler {
 public:
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override {
    ++calls;
    length = request.body ? request.body->length() : std::nullopt;
    if (request.body) {
      Result<std::string> text = co_await http::read_all(request.body.get(), 1 << 30, kNever);
      if (!text) co_return fail(std::move(text).error());
      body = *std::move(text);
      repeatable = request.body->rewind();
      if (repeatable) {
        Result<std::string> again = co_await http::read_all(request.body.get(), 1 << 30, kNever);
        repeatable = again && *again == body;
      }
    }
    http::Response response(context.arena, 200);
    if (!type.empty()) response.fields.add(http::FieldId::content_type, type);
    if (!buffering.empty()) response.fields.add(http::FieldId::x_accel_buffering, buffering);
    if (answer) response.body = http::Body(std::move(answer));
    co_return response;
  }
  int calls = 0;
  std::optional<uint64_t> length;
  std::string body;
  bool repeatable = false;
  std::string type;
  std::string buffering;
  std::unique_ptr<http::BodyReader> answer;
};

struct BufferTest : ::testing::Test {
  Rig rig;
  PartsKit kit;
  Target target;
  Exchange exchange{rig, "POST"};

  Task<Result<http::Response>> run(std::string_view yaml) {
    std::vector<std::unique_ptr<Filter>> filters;
    filters.push_back(std::make_unique<BufferFilter>(read_config<BufferConfig>(yaml), kit.parts));
    exchange.chain = std::make_unique<Chain>(std::move(filters), target);
    return exchange.chain->run(exchange.request, exchange.context);
  }
  uint64_t bodies(const char* what, const char* outcome) {
    return kit.count("trellis_buffered_bodies_total", {{"route", "test"}, {"body", what}, {"outcome", outcome}});
  }
};

TEST_F(BufferTest, AsksTheTargetOnceTheBodyIsThere) {
  Event let;
  exchange.request.body = std::make_unique<GatedBody>(let, std::vector<std::string>{"slow ", "body"});
  Task<Result<http::Response>> task = run("request: 1MiB");
  task.start();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(target.calls, 0) << i;
    let.set();
    rig.advance(0ms);
  }
  for (int i = 0; i < 5 && !task.done(); ++i) rig.advance(0ms);
  ASSERT_TRUE(task.done());
  EXPECT_EQ(target.body, "slow body");
  EXPECT_EQ(target.length, 9u) << "now it is known";
  EXPECT_TRUE(target.repeatable);
  EXPECT_EQ(bodies("request", "whole"), 1u);
  exchange.request.body.reset();
  EXPECT_EQ(kit.memory->used(), 0u);
}

TEST_F(BufferTest, StreamsOnBeyondTheLimit) {
  const std::string text = pattern(100'000);
  exchange.request.body = std::make_unique<PiecesBody>(cut(text, 3000), text.size());
  ASSERT_TRUE(fakes::run_task(*rig.loop, run("request: 32KiB")));
  EXPECT_EQ(target.body, text);
  EXPECT_EQ(target.length, text.size());
  EXPECT_FALSE(target.repeatable) << "the rest is gone";
  EXPECT_EQ(bodies("request", "in_part"), 1u);
}

TEST_F(BufferTest, StreamsWhereThereIsNoMemory) {
  kit.memory->add(40 << 10);  // of others
  const std::string text = pattern(60'000);
  exchange.request.body = std::make_unique<PiecesBody>(cut(text, 5000));
  ASSERT_TRUE(fakes::run_task(*rig.loop, run("{ request: 1MiB, memory: 64KiB }")));
  EXPECT_EQ(target.body, text);
  EXPECT_FALSE(target.repeatable);
  EXPECT_EQ(bodies("request", "no_memory"), 1u);
  exchange.request.body.reset();
  EXPECT_EQ(kit.memory->used(), 40u << 10);
}

TEST_F(BufferTest, FreesTheRequestOnceTheAnswerHasCome) {
  exchange.request.body = std::make_unique<PiecesBody>(cut(pattern(50'000), 5000));
  target.answer = std::make_unique<PiecesBody>(std::vector<std::string>{"a"});
  ASSERT_TRUE(fakes::run_task(*rig.loop, run("request: 1MiB")));
  EXPECT_TRUE(exchange.request.body != nullptr);
  EXPECT_EQ(kit.memory->used(), 0u) << "while the answer may still take its time";
}

TEST_F(BufferTest, PassesAClientsFaultOn) {
  class Broken final : public http::BodyReader {
   public:
    Task<Result<Chunk>> read(Deadline) override { co_return fail(Error(Code::cancelled, "left").from(Side::client)); }
    std::optional<uint64_t> length() const noexcept override { return 10; }
  };
  exchange.request.body = std::make_unique<Broken>();
  Result<http::Response> answer = fakes::run_task(*rig.loop, run("request: 1MiB"));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().side(), Side::client);
  EXPECT_EQ(target.calls, 0);
}

TEST_F(BufferTest, TakesAnAnswerFromTheTargetAtOnce) {
  const std::string text = pattern(40'000);
  target.answer = std::make_unique<PiecesBody>(cut(text, 3000));
  Result<http::Response> answer = fakes::run_task(*rig.loop, run("response: 64KiB"));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->body.length(), text.size()) << "all of it is there";
  EXPECT_GT(kit.memory->used(), 0u);
  EXPECT_EQ(body_text(rig, *answer), text);
  EXPECT_EQ(bodies("response", "whole"), 1u);
  EXPECT_EQ(kit.memory->used(), 0u);
}

TEST_F(BufferTest, LetsALargeAnswerStreamOn) {
  const std::string text = pattern(200'000);
  target.answer = std::make_unique<PiecesBody>(cut(text, 10'000), text.size());
  Result<http::Response> answer = fakes::run_task(*rig.loop, run("response: 64KiB"));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->body.length(), text.size());
  EXPECT_EQ(body_text(rig, *answer), text);
  EXPECT_EQ(bodies("response", "in_part"), 1u);
}

TEST_F(BufferTest, LeavesLiveAnswersAlone) {
  for (const auto& [type, buffering] :
       {std::pair("text/event-stream; charset=utf-8", ""), {"application/grpc", ""}, {"text/plain", "no"}}) {
    target.type = type;
    target.buffering = buffering;
    target.answer = std::make_unique<PiecesBody>(std::vector<std::string>{"tick", "tick"});
    Result<http::Response> answer = fakes::run_task(*rig.loop, run("response: 64KiB"));
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->body.length(), std::nullopt) << type;
    EXPECT_EQ(body_text(rig, *answer), "ticktick");
  }
  EXPECT_EQ(bodies("response", "whole"), 0u);
}

TEST_F(BufferTest, SaysWhatIsWrongWithItsSettings) {
  for (const char* bad : {"{}", "memory: 64MiB", "{ request: 1MiB, memory: 1KiB }", "request: 2GiB"})
    EXPECT_NE(test::config_problems<BufferConfig>(bad), "") << bad;
}

TEST(TextBody, CanBeReadOnceMore) {
  Rig rig;
  http::TextBody body("text");
  EXPECT_EQ(read_whole(rig, body), "text");
  EXPECT_TRUE(body.rewind());
  EXPECT_EQ(body.length(), 4u);
  EXPECT_EQ(read_whole(rig, body), "text");
}

}  // namespace
}  // namespace trellis::proxy
