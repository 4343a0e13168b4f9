#include "cache/edge/purge_book.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "base/rng.h"
#include "tests/fakes/faulty_disk.h"
#include "tests/fakes/manual_clock.h"

namespace trellis::cache {
namespace {

using namespace std::chrono_literals;
using Kind = PurgeRule::Kind;

PurgeRule key(std::string text, bool soft = false) {
  return {.kind = Kind::key, .text = std::move(text), .soft = soft};
}

// An object as a cache keeps it.
struct Object {
  std::string url;
  uint64_t filled;
  uint64_t checked;
  PurgeState look(const PurgeBook& book) {
    const uint64_t newest = book.newest();
    if (newest == checked) return PurgeState::alive;
    const PurgeState state = book.check({.url = url, .tags = {}, .filled = filled}, checked);
    checked = newest;
    return state;
  }
};
Object filled_now(const PurgeBook& book, std::string url) {
  const uint64_t newest = book.newest();
  return {std::move(url), newest, newest};
}

class PurgeBookTest : public testing::Test {
 protected:
  PurgeBookOptions options(std::string path = "/cache/purges") {
    return {.path = std::move(path), .node = 1, .disk = &disk_, .clock = &clock_};
  }
  std::unique_ptr<PurgeBook> open(PurgeBookOptions options) {
    Result<std::unique_ptr<PurgeBook>> book = PurgeBook::open(std::move(options));
    EXPECT_TRUE(book) << (book ? "" : book.error().to_string());
    return book ? *std::move(book) : nullptr;
  }
  std::unique_ptr<PurgeBook> open() { return open(options()); }
  std::unique_ptr<PurgeBook> in_memory(uint64_t node = 1) {
    PurgeBookOptions wanted = options("");
    wanted.node = node;
    return open(std::move(wanted));
  }

  FaultyDisk disk_;
  fakes::ManualClock clock_;
};

TEST_F(PurgeBookTest, APurgeMeetsWhatWasThereAndNotWhatComesAfter) {
  auto book = in_memory();
  Object before = filled_now(*book, "a.com/1");
  Object other = filled_now(*book, "a.com/2");
  EXPECT_EQ(before.look(*book), PurgeState::alive);
  ASSERT_TRUE(book->add({key("a.com/1")}).kept);
  Object after = filled_now(*book, "a.com/1");
  EXPECT_EQ(before.look(*book), PurgeState::dead);
  EXPECT_EQ(other.look(*book), PurgeState::alive);
  EXPECT_EQ(after.look(*book), PurgeState::alive);
}

TEST_F(PurgeBookTest, APurgeDuringAFillWinsOverTheFill) {
  auto book = in_memory();
  const uint64_t began = book->newest();
  ASSERT_TRUE(book->add({key("a.com/1")}).kept);
  ASSERT_TRUE(book->add({key("a.com/2")}).kept);
  Object object{"a.com/1", began, began};  // stored after the purge
  EXPECT_EQ(object.look(*book), PurgeState::dead);
}

TEST_F(PurgeBookTest, AHeldBookRefusesWhatIsAskedOfItUntilItGoesOn) {
  auto book = open();
  Object object = filled_now(*book, "a.com/1");
  book->hold();
  const auto refused = book->add_asked({key("a.com/1")});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::unavailable);
  EXPECT_EQ(object.look(*book), PurgeState::alive);
  EXPECT_TRUE(book->add({key("a.com/2")}).kept);  // what a request made invalid is so in any case
  book->resume();
  const auto added = book->add_asked({key("a.com/1")});
  ASSERT_TRUE(added && added->kept);
  EXPECT_EQ(object.look(*book), PurgeState::dead);
}

TEST_F(PurgeBookTest, RulesAndNumbersOutliveARestart) {
  uint64_t last = 0;
  Object object;
  {
    auto book = open();
    object = filled_now(*book, "a.com/1");
    ASSERT_TRUE(book->add({key("a.com/1"), key("a.com/2", true)}).kept);
    last = book->newest();
  }
  disk_.lose_power();
  clock_.jump_wall(-1h);
  auto book = open();
  EXPECT_GT(book->newest(), last);
  EXPECT_EQ(book->figures().rules, 2u);
  EXPECT_EQ(object.look(*book), PurgeState::dead);
  Object soft{"a.com/2", object.filled, object.filled};
  EXPECT_EQ(soft.look(*book), PurgeState::stale);
}

TEST_F(PurgeBookTest, WithoutAFileEverythingFromBeforeCountsAsPurged) {
  auto book = open();
  Object old{"a.com/1", book->newest() - 1, book->newest() - 1};
  EXPECT_EQ(old.look(*book), PurgeState::dead);
  EXPECT_EQ(filled_now(*book, "a.com/1").look(*book), PurgeState::alive);
}

TEST_F(PurgeBookTest, ADamagedFileIsPutAsideAndEverythingFromBeforeCountsAsPurged) {
  Object object;
  {
    auto book = open();
    object = filled_now(*book, "never.purged/");
    ASSERT_TRUE(book->add({key("a.com/1")}).kept);
    ASSERT_TRUE(book->add({key("a.com/2")}).kept);
  }
  (*disk_.contents("/cache/purges"))[40] ^= 1;
  clock_.advance(1s);
  {
    auto book = open();
    EXPECT_NE(disk_.contents("/cache/purges.damaged"), nullptr);
    EXPECT_EQ(Object(object).look(*book), PurgeState::dead);
    ASSERT_TRUE(book->add({key("a.com/3")}).kept);
  }
  auto book = open();
  EXPECT_EQ(object.look(*book), PurgeState::dead);
}

TEST_F(PurgeBookTest, ADiskThatFailsIsToldAndThePurgeHoldsAllTheSame) {
  auto book = open();
  Object object = filled_now(*book, "a.com/1");
  disk_.sync_fails = true;
  EXPECT_FALSE(book->add({key("a.com/1")}).kept);
  EXPECT_TRUE(book->figures().failing);
  EXPECT_EQ(Object(object).look(*book), PurgeState::dead);
  disk_.sync_fails = false;
  book->tick();  // writes what is not on disk
  EXPECT_FALSE(book->figures().failing);
  book.reset();
  disk_.lose_power();
  EXPECT_EQ(object.look(*open()), PurgeState::dead);
}

// The power goes in the middle of any operation: what was acknowledged holds.
TEST_F(PurgeBookTest, WhatWasAcknowledgedHoldsWhereverThePowerGoes) {
  for (uint64_t death = 1; death < 120; ++death) {
    FaultyDisk disk(death);
    PurgeBookOptions wanted = options();
    wanted.disk = &disk;
    std::vector<Object> purged;
    for (int life = 0; life < 2; ++life) {
      auto book = PurgeBook::open(wanted);
      if (!book) break;
      if (life == 0) disk.calls_to_death = death;
      for (int i = 0; i < 12; ++i) {
        clock_.advance(1ms);
        Object object = filled_now(**book, "a.com/" + std::to_string(life * 100 + i));
        if ((*book)->add({key(object.url)}).kept) purged.push_back(object);
      }
      (*book).reset();
      disk.lose_power();
    }
    auto book = PurgeBook::open(wanted);
    ASSERT_TRUE(book) << book.error().to_string();
    for (Object& object : purged) ASSERT_EQ(object.look(**book), PurgeState::dead) << death << " " << object.url;
    clock_.advance(1ms);
    EXPECT_EQ(filled_now(**book, "a.com/0").look(**book), PurgeState::alive);
  }
}

TEST_F(PurgeBookTest, SeveralAddersShareASync) {
  auto book = open();
  const uint64_t before = disk_.syncs();
  disk_.hold_syncs();
  std::vector<std::thread> adders;
  for (int i = 0; i < 8; ++i) {
    adders.emplace_back([&, i] { EXPECT_TRUE(book->add({key("a.com/" + std::to_string(i))}).kept); });
  }
  while (book->figures().rules < 8) std::this_thread::yield();
  disk_.let_syncs_go();
  for (std::thread& adder : adders) adder.join();
  EXPECT_LE(disk_.syncs() - before, 2u);
  book.reset();
  EXPECT_EQ(open()->figures().rules, 8u);
}

TEST_F(PurgeBookTest, TheFileDoesNotGrowWithWhatWasLetGo) {
  auto book = open();
  for (int i = 0; i < 40; ++i) {
    std::vector<PurgeRule> rules;
    for (int j = 0; j < 100; ++j) rules.push_back(key("a.com/" + std::string(1000, 'x') + std::to_string(i * 100 + j)));
    ASSERT_TRUE(book->add(std::move(rules)).kept);
    clock_.advance(1h);
    book->all_checked(book->newest());
    book->tick();
  }
  EXPECT_LE(book->figures().rules, 2600u + 400);
  EXPECT_LE(book->figures().file_bytes, 10u << 20);
}

TEST_F(PurgeBookTest, NoRuleIsLetGoBeforeAllObjectsWereCheckedAgainstIt) {
  auto book = in_memory();
  Object object = filled_now(*book, "a.com/1");
  ASSERT_TRUE(book->add({key("a.com/1")}).kept);
  clock_.advance(48h);
  book->tick();
  EXPECT_EQ(book->figures().rules, 1u);
  EXPECT_EQ(Object(object).look(*book), PurgeState::dead);
  book->all_checked(book->newest());
  book->tick();
  EXPECT_EQ(book->figures().rules, 0u);
}

TEST_F(PurgeBookTest, BeyondTheLimitTheOldestCountForAllThatWasNotChecked) {
  PurgeBookOptions wanted = options();
  wanted.limit = 100;
  auto book = open(wanted);
  Object unchecked = filled_now(*book, "never.purged/");
  Object checked = unchecked;
  for (int i = 0; i < 150; ++i) {
    clock_.advance(1ms);
    ASSERT_TRUE(book->add({key("a.com/" + std::to_string(i))}).kept);
    EXPECT_EQ(checked.look(*book), PurgeState::alive) << i;
  }
  EXPECT_LE(book->figures().rules, 100u);
  EXPECT_EQ(Object(unchecked).look(*book), PurgeState::dead);
  EXPECT_EQ(filled_now(*book, "never.purged/").look(*book), PurgeState::alive);
  book.reset();
  book = open(wanted);
  EXPECT_EQ(unchecked.look(*book), PurgeState::dead);
}

TEST_F(PurgeBookTest, ARuleThatIsRepeatedTakesTheRoomOfOne) {
  PurgeBookOptions wanted = options("");
  wanted.limit = 100;
  auto book = open(wanted);
  Object object = filled_now(*book, "never.purged/");
  for (int i = 0; i < 1000; ++i) {
    clock_.advance(1ms);
    ASSERT_TRUE(book->add({key("a.com/" + std::to_string(i % 10), i % 2 == 0)}).kept);
  }
  EXPECT_LE(book->figures().rules, 100u);
  EXPECT_EQ(object.look(*book), PurgeState::alive);
  EXPECT_EQ(book->figures().floor, 0u);
}

TEST_F(PurgeBookTest, RulesTravelFromBookToBook) {
  auto one = in_memory(1);
  auto two = in_memory(2);
  Object object = filled_now(*two, "a.com/1");
  const PurgeBook::Added added = one->add({key("a.com/1")});
  const PurgeBook::Merged merged = two->merge(added.batch, false);
  EXPECT_EQ(merged.rules, 1u);
  EXPECT_FALSE(merged.gap);
  EXPECT_EQ(object.look(*two), PurgeState::dead);
  EXPECT_EQ(two->merge(added.batch, false).rules, 0u);
  EXPECT_TRUE(two->missing(*one->marks(), 100).extents.empty());
}

TEST_F(PurgeBookTest, WhoWasAwayFindsTheGapAndAsksForWhatIsMissing) {
  auto one = in_memory(1);
  auto two = in_memory(2);
  auto three = in_memory(3);
  Object object = filled_now(*three, "a.com/1");
  two->merge(one->add({key("a.com/1")}).batch, false);  // three is away
  Object fresh = filled_now(*three, "a.com/9");
  EXPECT_FALSE(three->covers(*two->marks()));
  EXPECT_TRUE(two->covers(*three->marks()));
  const auto later = one->add({key("a.com/2")});
  EXPECT_TRUE(three->merge(later.batch, false).gap);
  EXPECT_TRUE(three->has_gap());
  EXPECT_EQ(Object(object).look(*three), PurgeState::alive);
  // two has it as well: one may be gone by now.
  const PurgeBatch missing = two->missing(*three->marks(), 100);
  ASSERT_EQ(missing.records.size(), 1u);
  EXPECT_FALSE(three->merge(missing, true).gap);
  EXPECT_EQ(object.look(*three), PurgeState::dead);
  EXPECT_EQ(fresh.look(*three), PurgeState::alive);
  EXPECT_TRUE(three->covers(*two->marks()));
  EXPECT_TRUE(three->has_gap());  // two does not know the later rule either
  EXPECT_FALSE(three->merge(later.batch, false).gap);
  EXPECT_FALSE(three->has_gap());
  EXPECT_TRUE(one->missing(*three->marks(), 100).extents.empty());
}

TEST_F(PurgeBookTest, MissingRulesComeInPartsThatAreCompleteInThemselves) {
  auto one = in_memory(1);
  auto two = in_memory(2);
  std::vector<PurgeRule> rules;
  for (int i = 0; i < 25; ++i) rules.push_back(key("a.com/" + std::to_string(i)));
  (void)one->add(rules);
  int rounds = 0;
  size_t got = 0;
  while (true) {
    const PurgeBatch batch = one->missing(*two->marks(), 10);
    got += two->merge(batch, true).rules;
    ++rounds;
    if (!batch.more) break;
  }
  EXPECT_EQ(rounds, 3);
  EXPECT_EQ(got, 25u);
  EXPECT_EQ(two->figures().floor, 0u);
}

TEST_F(PurgeBookTest, RulesThatNobodyHasAnyMoreCountForAllThatIsOlder) {
  auto one = in_memory(1);
  auto two = in_memory(2);
  Object old = filled_now(*two, "never.purged/");
  (void)one->add({key("a.com/1")});
  clock_.advance(48h);
  one->all_checked(one->newest());
  one->tick();
  ASSERT_EQ(one->figures().rules, 0u);
  clock_.advance(1s);
  two->merge(one->add({key("a.com/2")}).batch, false);
  (void)two->add({key("b.com/")});
  Object recent = filled_now(*two, "never.purged/");
  EXPECT_EQ(Object(old).look(*two), PurgeState::alive);
  two->merge(one->missing(*two->marks(), 100), true);
  EXPECT_EQ(old.look(*two), PurgeState::dead);
  EXPECT_EQ(recent.look(*two), PurgeState::alive);
}

TEST_F(PurgeBookTest, WhatIsFromBeforeTheStartIsDoubtfulUntilTheOthersWereAsked) {
  Object object;
  {
    auto book = open();
    object = filled_now(*book, "a.com/1");
    ASSERT_TRUE(book->add({key("b.com/")}).kept);
  }
  clock_.advance(1s);
  PurgeBookOptions wanted = options();
  wanted.doubt = true;
  auto book = open(wanted);
  EXPECT_EQ(Object(object).look(*book), PurgeState::stale);
  EXPECT_EQ(filled_now(*book, "a.com/1").look(*book), PurgeState::alive);
  book->trust();
  EXPECT_EQ(object.look(*book), PurgeState::alive);
}

// Whoever read the newest number meets every rule up to it, and tells of marks that cover it.
TEST_F(PurgeBookTest, ReadersOnOtherThreadsMeetEveryRuleUpToTheNumberTheyRead) {
  auto book = in_memory();
  const uint64_t filled = book->newest();
  constexpr uint64_t kRules = 2000;
  std::atomic<bool> ended = false;
  std::atomic<uint64_t> wrong = 0;
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!ended) {
        const uint64_t newest = book->newest();
        const auto marks = book->marks();
        const uint64_t known = marks->empty() ? 0 : marks->front().known;
        if (newest > filled && known < newest) ++wrong;
        if (newest == filled) continue;
        const PurgeState state =
            book->check({.url = "a.com/" + std::to_string(newest), .tags = {}, .filled = filled}, filled);
        if (state != PurgeState::dead) ++wrong;
      }
    });
  }
  for (uint64_t i = 1; i <= kRules; ++i) {
    // The clock stands, so that the number of a rule is known before.
    const PurgeBook::Added added = book->add({key("a.com/" + std::to_string(filled + i))});
    ASSERT_EQ(added.batch.records.front().number, filled + i);
  }
  ended = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0u);
}

TEST(PurgeBook, TwoProcessesKeepTheirRulesWhileOneTakesOver) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / ("purges" + std::to_string(random_seed()));
  std::filesystem::create_directories(folder);
  fakes::ManualClock clock;
  const PurgeBookOptions options{.path = folder / "purges", .node = 1, .clock = &clock};
  auto old = PurgeBook::open(options);
  ASSERT_TRUE(old);
  Object object = filled_now(**old, "a.com/old");
  clock.advance(1s);
  ASSERT_TRUE((*old)->add({key("a.com/before")}).kept);
  auto fresh = PurgeBook::open(options);
  ASSERT_TRUE(fresh) << fresh.error().to_string();
  EXPECT_TRUE((*fresh)->figures().waiting);
  EXPECT_EQ((*fresh)->figures().rules, 1u);
  ASSERT_TRUE((*fresh)->add({key("a.com/new")}).kept);
  ASSERT_TRUE((*old)->add({key("a.com/old")}).kept);
  (*fresh)->tick();
  EXPECT_TRUE((*fresh)->figures().waiting);
  old->reset();
  (*fresh)->tick();
  EXPECT_FALSE((*fresh)->figures().waiting);
  EXPECT_EQ((*fresh)->figures().rules, 3u);
  EXPECT_EQ(object.look(**fresh), PurgeState::dead);
  fresh->reset();
  auto again = PurgeBook::open(options);
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->figures().rules, 3u);
  EXPECT_FALSE((*again)->figures().waiting);
  again->reset();
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace trellis::cache
