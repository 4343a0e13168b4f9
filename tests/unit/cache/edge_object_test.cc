#include <gtest/gtest.h>

#include <array>
#include <string>
#include <thread>
#include <vector>

#include "base/arena.h"
#include "cache/edge/object.h"
#include "runtime/loop.h"
#include "tests/fakes/manual_clock.h"
#include "tests/fakes/run_task.h"

namespace trellis::cache {
namespace {

using namespace std::chrono_literals;

std::string pattern(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + (i * 7 + i / 251) % 26);
  return text;
}

// All that a reader gets, and how it ends.
Task<std::string> read_to_end(std::shared_ptr<ObjectBody> body, uint64_t from, size_t most) {
  ObjectBody::Reader reader(std::move(body), from);
  std::string text;
  while (true) {
    Task<Result<Chunk>> reading = reader.read(most, kNever);
    Result<Chunk> piece = co_await reading;
    if (!piece) co_return text + "|" + piece.error().to_string();
    if (piece->empty()) co_return text;
    text += piece->view();
  }
}

class ObjectBodyTest : public testing::Test {
 protected:
  ObjectBodyTest() : loop_(*Loop::make({})) {}
  template <class T>
  T run(Task<T> task) {
    return fakes::run_task(*loop_, std::move(task));
  }
  std::string read(std::shared_ptr<ObjectBody> body, uint64_t from = 0) {
    return run(read_to_end(std::move(body), from, 10'000));
  }
  std::unique_ptr<Loop> loop_;
};

TEST_F(ObjectBodyTest, LetsManyLoopsReadWhatGrows) {
  const std::string text = pattern(3'000'000);
  for (const std::optional<uint64_t> expected : {std::optional<uint64_t>(), std::optional<uint64_t>(text.size())}) {
    auto body = std::make_shared<ObjectBody>(expected);
    std::array<std::string, 4> got;
    std::vector<std::thread> threads;
    for (size_t t = 0; t < got.size(); ++t) {
      threads.emplace_back([&, t] {
        auto loop = *Loop::make({});
        got[t] = fakes::run_task(*loop, read_to_end(body, t * 1000, 1 + t * 5000));
      });
    }
    for (size_t at = 0, size = 1; at < text.size(); at += size, size = size * 2 % 40'009)
      ASSERT_TRUE(body->append(std::string_view(text).substr(at, size)));
    body->finish();
    for (std::thread& thread : threads) thread.join();
    for (size_t t = 0; t < got.size(); ++t) EXPECT_EQ(got[t], text.substr(t * 1000)) << t;
    std::string joined;
    for (const std::string_view piece : body->pieces()) joined += piece;
    EXPECT_EQ(joined, text);
  }
}

TEST_F(ObjectBodyTest, BreaksOffForAllWhoRead) {
  auto body = std::make_shared<ObjectBody>(10);
  ASSERT_TRUE(body->append("abc"));
  std::string got;
  std::thread reader([&] {
    auto loop = *Loop::make({});
    got = fakes::run_task(*loop, read_to_end(body, 0, 100));
  });
  body->finish();  // bytes are missing
  reader.join();
  EXPECT_EQ(body->state(), ObjectBody::State::broken);
  EXPECT_TRUE(got.starts_with("abc|")) << got;
  EXPECT_TRUE(read(body).starts_with("abc|"));
}

TEST_F(ObjectBodyTest, TakesNoMoreThanWasExpected) {
  ObjectBody body(3);
  EXPECT_TRUE(body.append("ab"));
  EXPECT_FALSE(body.append("cd"));
  EXPECT_TRUE(body.append("c"));
  body.finish();
  EXPECT_EQ(body.state(), ObjectBody::State::whole);
  EXPECT_EQ(body.at(1), "bc");
  body.give_up();  // too late
  EXPECT_EQ(body.state(), ObjectBody::State::whole);
}

TEST_F(ObjectBodyTest, CountsItsBytesAsLongAsItLives) {
  const auto bytes = std::make_shared<ObjectBody::Bytes>(0);
  {
    ObjectBody known(100'000, bytes);
    EXPECT_EQ(bytes->load(), 100'000u);
    ObjectBody unknown(std::nullopt, bytes);
    ASSERT_TRUE(unknown.append(pattern(100'000)));
    EXPECT_EQ(bytes->load(), 100'000u + unknown.memory());
    EXPECT_GE(unknown.memory(), 100'000u);
  }
  EXPECT_EQ(bytes->load(), 0u);
}

// Writes to a body that passes, at its slowest reader's pace.
Task<bool> pour(std::shared_ptr<ObjectBody> body, std::string text, size_t& most_memory) {
  for (size_t at = 0; at < text.size(); at += 1000) {
    Task<bool> waiting = body->wait_for_readers(100'000, kNever);
    const bool goes_on = co_await waiting;
    if (!goes_on) co_return false;
    body->append(std::string_view(text).substr(at, 1000));
    most_memory = std::max(most_memory, body->memory());
  }
  body->finish();
  co_return true;
}

TEST_F(ObjectBodyTest, PassesAtThePaceOfItsReaders) {
  const std::string text = pattern(5'000'000);
  auto body = std::make_shared<ObjectBody>(std::nullopt);
  std::array<std::string, 3> got;
  std::vector<std::thread> threads;
  // Each reader is there before the body passes: made by its thread, which says so.
  std::atomic<int> there = 0;
  for (size_t t = 0; t < got.size(); ++t) {
    threads.emplace_back([&, t] {
      auto loop = *Loop::make({});
      Task<std::string> reading = read_to_end(body, 0, 700 + t);
      reading.start();
      ++there;
      while (!reading.done()) loop->run_once(1s);
      got[t] = reading.take();
    });
  }
  while (there < 3) std::this_thread::yield();
  body->pass();
  size_t most_memory = 0;
  EXPECT_TRUE(run(pour(body, text, most_memory)));
  for (std::thread& thread : threads) thread.join();
  for (const std::string& each : got) EXPECT_EQ(each, text);
  EXPECT_LT(most_memory, 3'000'000u);
  EXPECT_EQ(body->at(0), "");
  EXPECT_TRUE(read(body).starts_with("|"));  // came too late
}

TEST_F(ObjectBodyTest, EndsWhenNobodyReadsAnyMore) {
  auto body = std::make_shared<ObjectBody>(std::nullopt);
  body->pass();
  size_t most_memory = 0;
  EXPECT_FALSE(run(pour(body, "text", most_memory)));
}

TEST_F(ObjectBodyTest, WaitsForItsEnd) {
  auto body = std::make_shared<ObjectBody>(3);
  Task<bool> waiting = body->wait_for_end(kNever);
  waiting.start();
  body->append("ab");
  loop_->run_once(Duration::zero());
  EXPECT_FALSE(waiting.done());
  body->append("c");
  body->finish();
  while (!waiting.done()) loop_->run_once(1s);
  EXPECT_TRUE(waiting.take());
}

// --- objects ---

ObjectPart part_of(uint64_t first, std::string_view text, std::optional<uint64_t> expected) {
  auto body = std::make_shared<ObjectBody>(expected);
  body->append(text);
  if (!expected || *expected == text.size()) body->finish();
  return {first, std::move(body)};
}
ObjectRef object_of(std::optional<uint64_t> total, std::vector<ObjectPart> parts) {
  ObjectHead head;
  head.total = total;
  return ObjectRef(new Object(1, "key", std::move(head), std::move(parts)));
}

TEST(EdgeObject, TellsWhichBytesItHas) {
  const ObjectRef object = object_of(100, {part_of(50, "0123456789", 10), part_of(0, "abc", 20), part_of(15, "x", 10)});
  EXPECT_FALSE(object->whole());
  EXPECT_TRUE(object->growing());
  EXPECT_TRUE(object->covers({0, 24}));
  EXPECT_FALSE(object->covers({0, 25}));
  EXPECT_TRUE(object->covers({50, 59}));
  EXPECT_FALSE(object->covers({49, 59}));
  EXPECT_EQ(object->part_at(22)->first, 15u);
  EXPECT_EQ(object->part_at(30), nullptr);
  EXPECT_EQ(object->total(), 100u);
  EXPECT_TRUE(object_of(5, {part_of(0, "ab", 2), part_of(2, "cde", 3)})->whole());
  EXPECT_TRUE(object_of(std::nullopt, {part_of(0, "", std::nullopt)})->whole());
  const ObjectRef growing = object_of(std::nullopt, {{0, std::make_shared<ObjectBody>(std::nullopt)}});
  EXPECT_TRUE(growing->whole());
  EXPECT_EQ(growing->total(), std::nullopt);
  growing->parts()[0].body->give_up();
  EXPECT_TRUE(growing->broken());
}

ObjectHead a_head() {
  Arena arena;
  http::Fields fields(arena);
  fields.add(http::FieldId::content_type, "text/plain");
  fields.add_copy("X-Two", "");
  fields.add_copy("X-Two", "b");
  ObjectHead head;
  head.status = 404;
  head.freshness.answered = 1'000'000;
  head.freshness.date = 999'990;
  head.freshness.lifetime = 60;
  head.freshness.age = 10;
  head.freshness.flags = Freshness::kHasEtag;
  head.took = 30ms;
  head.purge_url = "example.com/a";
  head.tags = {1, UINT64_MAX};
  head.filled = 77;
  head.total = 0;
  head.fields = StoredFields(fields);
  return head;
}

TEST(EdgeObject, IsTheSameAfterTheDisk) {
  const WallTime wall{std::chrono::seconds(1'000'020)};
  const Time now = Time() + 5s;
  const auto back = ObjectHead::decode(a_head().encode(), now, wall);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->status, 404);
  EXPECT_EQ(back->answered, now - 20s);  // it aged meanwhile
  EXPECT_EQ(back->took, 30ms);
  EXPECT_EQ(back->freshness.lifetime, 60);
  EXPECT_EQ(back->purge_url, "example.com/a");
  EXPECT_EQ(back->tags, (std::vector<uint64_t>{1, UINT64_MAX}));
  EXPECT_EQ(back->filled, 77u);
  EXPECT_EQ(back->total, 0u);
  Arena arena;
  http::Fields fields(arena);
  back->fields.add_to(fields);
  EXPECT_EQ(fields.size(), 3u);
  EXPECT_EQ(fields.value(http::FieldId::content_type), "text/plain");
  EXPECT_EQ(back->encode(), a_head().encode());
}

TEST(EdgeObject, IsNotYoungerThanItWasWhenTheClockWasSetBack) {
  const Time now = Time() + 5s;
  const auto back = ObjectHead::decode(a_head().encode(), now, WallTime{std::chrono::seconds(10)});
  ASSERT_TRUE(back);
  EXPECT_EQ(back->answered, now);
}

TEST(EdgeObject, TakesNothingThatIsCutOrChanged) {
  const std::string whole = a_head().encode();
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(ObjectHead::decode(whole.substr(0, size), Time(), WallTime())) << size;
  EXPECT_FALSE(ObjectHead::decode(whole + "x", Time(), WallTime()));
}

TEST(EdgeObject, MarkersAreTheSameAfterTheDisk) {
  Variants variants;
  variants.names = {"accept-encoding", "x-lang"};
  variants.id = 0xfeed;
  std::string text;
  variants.encode(text);
  ByteReader in(text);
  const auto back = Variants::decode(in);
  ASSERT_TRUE(back && in.at_end());
  EXPECT_EQ(back->names, variants.names);
  EXPECT_EQ(back->id, 0xfeedu);
}

}  // namespace
}  // namespace trellis::cache
