#include "queue/event_log.h"

#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <thread>

#include "base/metrics.h"
#include "base/rng.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "runtime/sync.h"
#include "tests/fakes/faulty_disk.h"
#include "tests/fakes/manual_clock.h"
#include "tests/fakes/run_task.h"

namespace trellis::queue {
namespace {

constexpr Duration kNoKeeping = std::chrono::hours(1000);

class EventLogTest : public testing::Test {
 protected:
  EventLogOptions options() {
    EventLogOptions options;
    options.folder = "/log";
    options.disk = &disk_;
    options.clock = &clock_;
    options.keep_every = kNoKeeping;
    return options;
  }
  void open(TopicOptions topic = {.name = "clicks"}) {
    auto opened = EventLog::open(options(), metrics_);
    ASSERT_TRUE(opened) << opened.error().to_string();
    log_ = *std::move(opened);
    const auto made = log_->open_topic(topic);
    ASSERT_TRUE(made) << made.error().to_string();
  }
  uint64_t add(std::string key, std::optional<std::string> value) {
    auto at = log_->append_now("clicks", {Event{std::move(key), std::move(value)}});
    EXPECT_TRUE(at) << at.error().to_string();
    return at ? at->front().offset : UINT64_MAX;
  }
  Code add_fails() {
    auto at = log_->append_now("clicks", {Event{"k", "refused"}});
    EXPECT_FALSE(at);
    return at ? Code::internal : at.error().code();
  }
  std::vector<std::string> values(uint64_t from = 0) {
    std::vector<std::string> found;
    while (true) {
      auto slice = log_->read_now("clicks", 0, from, 7);
      EXPECT_TRUE(slice) << slice.error().to_string();
      if (!slice || slice->events.empty()) return found;
      for (const StoredEvent& event : slice->events) found.push_back(event.value.value_or("-"));
      from = slice->next;
    }
  }
  std::string segment(size_t index) const {
    std::vector<std::string> found;
    for (const std::string& path : disk_.paths()) {
      if (path.starts_with("/log/clicks/0/")) found.push_back(path);
    }
    return index < found.size() ? found[index] : "";
  }

  FaultyDisk disk_;
  fakes::ManualClock clock_;
  Metrics metrics_;
  std::unique_ptr<EventLog> log_;
};

TEST_F(EventLogTest, GivesOffsetsAndReadsBack) {
  open();
  EXPECT_EQ(add("a", "one"), 0u);
  EXPECT_EQ(add("b", "two"), 1u);
  EXPECT_EQ(add("a", std::nullopt), 2u);
  EXPECT_EQ(values(), (std::vector<std::string>{"one", "two", "-"}));
  EXPECT_EQ(values(2), (std::vector<std::string>{"-"}));
  EXPECT_EQ(values(3), (std::vector<std::string>{}));
  log_.reset();
  open();
  EXPECT_EQ(values(), (std::vector<std::string>{"one", "two", "-"}));
  EXPECT_EQ(add("a", "four"), 3u);
}

TEST_F(EventLogTest, KeepsAKeyInItsPartition) {
  open({.name = "clicks", .partitions = 4});
  std::map<std::string, uint32_t> where;
  for (int i = 0; i < 200; ++i) {
    const std::string key = "key" + std::to_string(i % 20);
    const auto at = log_->append_now("clicks", {Event{key, std::to_string(i)}});
    ASSERT_TRUE(at);
    const auto [known, is_new] = where.emplace(key, at->front().partition);
    EXPECT_EQ(known->second, at->front().partition);
  }
  std::set<uint32_t> used;
  for (const auto& [key, partition] : where) used.insert(partition);
  EXPECT_EQ(used.size(), 4u);
  // One append over several partitions, without keys: in turn.
  const auto at = log_->append_now("clicks", {Event{"", "a"}, Event{"", "b"}, Event{"", "c"}, Event{"", "d"}});
  ASSERT_TRUE(at);
  used.clear();
  for (const EventPosition& position : *at) used.insert(position.partition);
  EXPECT_EQ(used.size(), 4u);
}

TEST_F(EventLogTest, SyncsMoreFilesThanAtOnce) {
  open({.name = "clicks", .partitions = 20});
  for (uint64_t round = 0; round < 50; ++round) {
    std::vector<Event> events(20);
    for (size_t i = 0; i < events.size(); ++i) events[i].value = std::to_string(i);
    disk_.sync_fails = round == 30;
    const auto at = log_->append_now("clicks", std::move(events));
    if (round == 30) {
      EXPECT_EQ(at.error().code(), Code::unavailable);
      disk_.sync_fails = false;
      continue;
    }
    ASSERT_TRUE(at) << at.error().to_string();
    for (const EventPosition& position : *at) {
      EXPECT_EQ(position.offset, round < 30 ? round : round - 1);
      EXPECT_EQ(*log_->head("clicks", position.partition), position.offset + 1);
    }
  }
}

TEST_F(EventLogTest, RefusesWhatCannotBe) {
  open({.name = "clicks", .partitions = 2});
  EXPECT_EQ(log_->append_now("nothing", {Event{"", "x"}}).error().code(), Code::not_found);
  EXPECT_EQ(log_->append_now("clicks", {Event{std::string(kMaxKey + 1, 'k'), "x"}}).error().code(),
            Code::invalid_argument);
  EXPECT_EQ(log_->read_now("clicks", 2, 0).error().code(), Code::not_found);
  EXPECT_EQ(log_->commit_now("Group!", "clicks", 0, 0).error().code(), Code::invalid_argument);
  EXPECT_EQ(log_->commit_now("group", "clicks", 0, 1).error().code(), Code::invalid_argument);
  EXPECT_EQ(log_->open_topic({.name = "../x"}).error().code(), Code::invalid_argument);
  log_.reset();
  auto opened = EventLog::open(options(), metrics_);
  ASSERT_TRUE(opened);
  EXPECT_EQ((*opened)->open_topic({.name = "clicks", .partitions = 1}).error().code(), Code::failed_precondition);
}

TEST_F(EventLogTest, SharesASyncAmongWhoAppendsAtOnce) {
  open();
  BlockingPool pool(1);
  LoopOptions how;
  how.seed = 1;
  how.pool = &pool;
  auto loop = *Loop::make(how);
  const auto one = [](EventLog& log, int i, std::atomic<int>& done) -> Task<> {
    std::vector<Event> events(1);
    events[0].key = "k" + std::to_string(i);
    events[0].value = std::to_string(i);
    Task<Result<std::vector<EventPosition>>> task = log.append(std::string("clicks"), std::move(events));
    const auto at = co_await task;
    if (at) ++done;
  };
  const auto join = [](TaskGroup& group) -> Task<> { (void)co_await group.join(kNever); };
  std::atomic<int> done = 0;
  TaskGroup group;
  const uint64_t before = disk_.syncs();
  disk_.hold_syncs();
  for (int i = 0; i < 1000; ++i) group.spawn(one(*log_, i, done));
  disk_.let_syncs_go();
  fakes::run_task(*loop, join(group));
  EXPECT_EQ(done, 1000);
  EXPECT_LT(disk_.syncs() - before, 500u);
  const auto read = fakes::run_task(*loop, log_->read("clicks", 0, 0, 2000));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->events.size(), 1000u);
  EXPECT_TRUE(fakes::run_task(*loop, log_->commit("group", "clicks", 0, 1000)));
  EXPECT_EQ(log_->committed("group", "clicks", 0), 1000u);
  EXPECT_EQ(fakes::run_task(*loop, log_->offset_at("clicks", 0, clock_.wall())).value(), 0u);
  EXPECT_EQ(fakes::run_task(*loop, log_->append("clicks", {Event{"", "late"}}, clock_.now())).error().code(),
            Code::deadline_exceeded);
  log_.reset();
  pool.close();  // before the loop: their work comes back to it
}

TEST_F(EventLogTest, RollsSegmentsAndFindsOffsetsAndTimesInThem) {
  open({.name = "clicks", .keep = {.segment_bytes = 4096}});
  for (int i = 0; i < 300; ++i) {
    add("k", std::to_string(i) + std::string(100, '.'));
    clock_.advance(std::chrono::seconds(1));
  }
  EXPECT_NE(segment(9), "");
  for (int round = 0; round < 2; ++round) {
    for (const int i : {0, 1, 57, 150, 299}) {
      const auto slice = log_->read_now("clicks", 0, static_cast<uint64_t>(i), 1);
      ASSERT_TRUE(slice);
      EXPECT_TRUE(slice->events.at(0).value->starts_with(std::to_string(i) + "."));
      const WallTime at(std::chrono::milliseconds(slice->events[0].at_ms));
      EXPECT_EQ(log_->offset_at_now("clicks", 0, at).value(), static_cast<uint64_t>(i));
      EXPECT_EQ(log_->offset_at_now("clicks", 0, at - std::chrono::milliseconds(500)).value(),
                static_cast<uint64_t>(i));
    }
    EXPECT_EQ(log_->offset_at_now("clicks", 0, clock_.wall()).value(), 300u);
    EXPECT_EQ(values().size(), 300u);
    log_.reset();
    open({.name = "clicks", .keep = {.segment_bytes = 4096}});
  }
}

TEST_F(EventLogTest, KeepsTimesInOrderWhenTheWallClockGoesBack) {
  open();
  add("k", "one");
  clock_.jump_wall(-std::chrono::hours(1));
  add("k", "two");
  const auto slice = log_->read_now("clicks", 0, 0);
  ASSERT_TRUE(slice);
  EXPECT_GE(slice->events.at(1).at_ms, slice->events.at(0).at_ms);
}

TEST_F(EventLogTest, RemembersGroupsAndTellsTheirLag) {
  open({.name = "clicks", .partitions = 1});
  for (int i = 0; i < 10; ++i) add("k", std::to_string(i));
  EXPECT_TRUE(log_->commit_now("slow", "clicks", 0, 2));
  EXPECT_TRUE(log_->commit_now("fast", "clicks", 0, 10));
  EXPECT_TRUE(log_->commit_now("fast", "clicks", 0, 9));
  log_.reset();
  open();
  EXPECT_EQ(log_->committed("slow", "clicks", 0), 2u);
  EXPECT_EQ(log_->committed("fast", "clicks", 0), 9u);
  EXPECT_EQ(log_->committed("none", "clicks", 0), 0u);
  const auto lags = log_->lags();
  ASSERT_EQ(lags.size(), 2u);
  EXPECT_EQ(lags[0].group, "fast");
  EXPECT_EQ(lags[0].lag(), 1u);
  EXPECT_EQ(lags[1].lag(), 8u);
  clock_.advance(std::chrono::seconds(5));
  log_->keep_house();
  const std::string text = metrics_.prometheus_text();
  EXPECT_NE(text.find("trellis_queue_depth{topic=\"clicks\",group=\"slow\"} 8"), std::string::npos) << text;
  EXPECT_NE(text.find("trellis_queue_oldest_seconds{topic=\"clicks\",group=\"slow\"} 5"), std::string::npos);
  EXPECT_TRUE(log_->commit_now("slow", "clicks", 0, 10));
  log_->keep_house();
  EXPECT_NE(metrics_.prometheus_text().find("trellis_queue_oldest_seconds{topic=\"clicks\",group=\"slow\"} 0"),
            std::string::npos);
}

TEST_F(EventLogTest, KeepsCommittedOffsetsSmall) {
  open();
  for (int i = 0; i < 100; ++i) add("k", "v");
  for (int i = 0; i < 40'000; ++i) ASSERT_TRUE(log_->commit_now("group", "clicks", 0, static_cast<uint64_t>(i % 100)));
  log_->keep_house();
  uint64_t bytes = 0;
  for (const std::string& path : disk_.paths()) {
    if (path.starts_with("/log/.groups/")) bytes += disk_.contents(path)->size();
  }
  EXPECT_LT(bytes, uint64_t{3} << 20);
  log_.reset();
  open();
  EXPECT_EQ(log_->committed("group", "clicks", 0), 99u);
}

TEST_F(EventLogTest, RemovesOldSegmentsBySize) {
  const TopicOptions topic{.name = "clicks", .keep = {.segment_bytes = 4096, .retain_bytes = 10'000}};
  open(topic);
  for (int i = 0; i < 500; ++i) add("k", std::string(100, 'v'));
  EXPECT_EQ(log_->first("clicks", 0).value(), 0u);
  log_->keep_house();
  const uint64_t first = log_->first("clicks", 0).value();
  EXPECT_GT(first, 300u);
  EXPECT_EQ(values().size(), 500u - first);
  EXPECT_TRUE(log_->commit_now("group", "clicks", 0, 1));
  EXPECT_EQ(log_->lags().at(0).lag(), 500u - first);
  log_.reset();
  open(topic);
  EXPECT_EQ(log_->first("clicks", 0).value(), first);
  EXPECT_EQ(add("k", "v"), 500u);
}

TEST_F(EventLogTest, RemovesOldSegmentsByAge) {
  open({.name = "clicks", .keep = {.segment_bytes = 4096, .retain_for = std::chrono::hours(1)}});
  for (int i = 0; i < 100; ++i) add("k", std::string(100, 'v'));
  clock_.advance(std::chrono::minutes(50));
  for (int i = 0; i < 100; ++i) add("k", std::string(100, 'w'));
  log_->keep_house();
  EXPECT_EQ(log_->first("clicks", 0).value(), 0u);
  clock_.advance(std::chrono::minutes(20));
  log_->keep_house();
  const uint64_t first = log_->first("clicks", 0).value();
  EXPECT_GT(first, 50u);
  EXPECT_LE(first, 100u);
}

TEST_F(EventLogTest, CompactsByKey) {
  const TopicOptions topic{.name = "clicks",
                           .keep = {.segment_bytes = 4096, .compact = true, .keep_tombstones = std::chrono::hours(1)}};
  open(topic);
  std::map<std::string, std::string> last;
  for (int i = 0; i < 600; ++i) {
    const std::string key = "key" + std::to_string(i % 10);
    last[key] = std::to_string(i);
    add(key, last[key]);
  }
  add("key3", std::nullopt);
  last.erase("key3");
  for (int i = 0; i < 200; ++i) {
    last["other" + std::to_string(i)] = "x";
    add("other" + std::to_string(i), "x");
  }
  const auto state = [&] {
    std::map<std::string, std::optional<std::string>> found;
    uint64_t from = 0;
    while (true) {
      const auto slice = log_->read_now("clicks", 0, from, 10);
      EXPECT_TRUE(slice);
      if (!slice || slice->events.empty()) return found;
      for (const StoredEvent& event : slice->events) found[event.key] = event.value;
      from = slice->next;
    }
  };
  const size_t before = values().size();
  log_->keep_house();
  EXPECT_LT(values().size(), before / 2);
  const auto compacted = state();
  EXPECT_EQ(compacted.at("key3"), std::nullopt);
  for (const auto& [key, value] : last) EXPECT_EQ(compacted.at(key), value) << key;
  // The tombstone goes when it is old and another segment was closed.
  clock_.advance(std::chrono::hours(2));
  for (int i = 0; i < 100; ++i) add("more" + std::to_string(i), "x");
  log_->keep_house();
  EXPECT_FALSE(state().contains("key3"));
  log_.reset();
  open(topic);
  for (const auto& [key, value] : last) EXPECT_EQ(state().at(key), value) << key;
  EXPECT_EQ(log_->head("clicks", 0).value(), 901u);
}

TEST_F(EventLogTest, NeverGivesAnOffsetTwice) {
  const TopicOptions topic{.name = "clicks",
                           .keep = {.segment_bytes = 90, .compact = true, .keep_tombstones = std::chrono::seconds(1)}};
  open(topic);
  add("x", "stays");
  add("gone", std::nullopt);
  clock_.advance(std::chrono::hours(1));
  // A new segment is begun, but nothing gets into it.
  disk_.capacity = 0;
  for (const std::string& path : disk_.paths()) disk_.capacity += disk_.contents(path)->size();
  disk_.capacity += kSegmentHeader;
  EXPECT_EQ(add_fails(), Code::resource_exhausted);
  disk_.capacity = UINT64_MAX;
  log_->keep_house();
  EXPECT_EQ(values(), (std::vector<std::string>{"stays"}));
  // A reader gets past what was removed, and its lag ends.
  EXPECT_EQ(log_->read_now("clicks", 0, 1)->next, 2u);
  log_.reset();
  open(topic);
  EXPECT_EQ(add("y", "next"), 2u);
  EXPECT_EQ(values(), (std::vector<std::string>{"stays", "next"}));
}

TEST_F(EventLogTest, GoesOnBehindASegmentWhoseHeaderIsDamaged) {
  open();
  for (int i = 0; i < 10; ++i) add("k", std::to_string(i));
  log_.reset();
  (*disk_.contents(segment(0)))[3] ^= 1;
  open();
  EXPECT_EQ(log_->read_now("clicks", 0, 0).error().code(), Code::data_loss);
  const uint64_t at = add("k", "more");
  EXPECT_GE(at, 10u);
  EXPECT_EQ(values(at), (std::vector<std::string>{"more"}));
  log_.reset();
  open();
  EXPECT_EQ(values(at), (std::vector<std::string>{"more"}));
  EXPECT_EQ(add("k", "again"), at + 1);
}

// Its events tell no time any more, but they may be mended: they go when those behind them do.
TEST_F(EventLogTest, RemovesADamagedSegmentNotBeforeItsTime) {
  const TopicOptions topic{.name = "clicks", .keep = {.segment_bytes = 4096, .retain_for = std::chrono::hours(2)}};
  open(topic);
  for (int i = 0; i < 100; ++i) {
    add("k", std::string(100, 'v'));
    clock_.advance(std::chrono::minutes(1));
  }
  log_.reset();
  (*disk_.contents(segment(0)))[3] ^= 1;
  open(topic);
  log_->keep_house();
  EXPECT_EQ(log_->first("clicks", 0).value(), 0u);
  clock_.advance(std::chrono::hours(3));
  log_->keep_house();
  EXPECT_GT(log_->first("clicks", 0).value(), 0u);
}

TEST_F(EventLogTest, FindsTimesBeforeAndBehindADamagedSegment) {
  const TopicOptions topic{.name = "clicks", .keep = {.segment_bytes = 4096}};
  open(topic);
  std::vector<WallTime> at;
  for (int i = 0; i < 150; ++i) {
    at.push_back(clock_.wall());
    add("k", std::string(100, 'v'));
    clock_.advance(std::chrono::seconds(1));
  }
  ASSERT_NE(segment(4), "");
  log_.reset();
  (*disk_.contents(segment(2)))[3] ^= 1;
  open(topic);
  for (const size_t i : {size_t{1}, size_t{40}, size_t{110}, size_t{149}}) {
    EXPECT_EQ(log_->offset_at_now("clicks", 0, at[i]).value(), i);
  }
}

// Acknowledged events that are not there are damage too, not a gap.
TEST_F(EventLogTest, TellsThatEventsBetweenSegmentsAreMissing) {
  const TopicOptions topic{.name = "clicks", .keep = {.segment_bytes = 4096}};
  for (const bool whole_file : {true, false}) {
    open(topic);
    for (int i = 0; i < 150; ++i) add("k", std::to_string(i) + std::string(100, '.'));
    const uint64_t before = log_->head("clicks", 0).value() - 150;
    ASSERT_NE(segment(3), "");
    log_.reset();
    if (whole_file) {
      ASSERT_TRUE(disk_.remove(segment(1)));
    } else {
      // Behind a whole record.
      std::string& bytes = *disk_.contents(segment(1));
      bytes.resize(kSegmentHeader + 10 * (kRecordHeader + 1 + 2 + 100));
    }
    open(topic);
    uint64_t from = before;
    size_t served = 0;
    size_t told = 0;
    while (from < log_->head("clicks", 0).value()) {
      const auto slice = log_->read_now("clicks", 0, from, 1000);
      if (slice) {
        served += slice->events.size();
        ASSERT_GT(slice->next, from);
        from = slice->next;
        continue;
      }
      EXPECT_EQ(slice.error().code(), Code::data_loss);
      ++told;
      BlockingPool pool(1);
      LoopOptions how;
      how.pool = &pool;
      auto loop = *Loop::make(how);
      const uint64_t next = fakes::run_task(*loop, log_->next_whole("clicks", 0, from)).value();
      ASSERT_GT(next, from);
      from = next;
    }
    EXPECT_EQ(told, 1u);
    EXPECT_LT(served, 150u);
    EXPECT_GT(served, 80u);
    log_.reset();
    for (const std::string& path : disk_.paths()) {
      if (path.starts_with("/log/clicks/")) (void)disk_.remove(path);
    }
  }
}

TEST_F(EventLogTest, NeverServesDamageAndLeadsPastIt) {
  const TopicOptions topic{.name = "clicks", .keep = {.segment_bytes = 4096}};
  open(topic);
  for (int i = 0; i < 100; ++i) add("k", std::to_string(i) + std::string(100, '.'));
  log_.reset();
  std::string& bytes = *disk_.contents(segment(1));
  bytes[1000] = static_cast<char>(bytes[1000] ^ 1);
  open(topic);
  uint64_t from = 0;
  uint64_t lost = 0;
  size_t served = 0;
  while (from < 100) {
    const auto slice = log_->read_now("clicks", 0, from, 1000);
    if (slice) {
      served += slice->events.size();
      from = slice->next;
      continue;
    }
    EXPECT_EQ(slice.error().code(), Code::data_loss);
    EXPECT_NE(slice.error().what().find(segment(1)), std::string::npos) << slice.error().what();
    BlockingPool pool(1);
    LoopOptions how;
    how.pool = &pool;
    auto loop = *Loop::make(how);
    const uint64_t next = fakes::run_task(*loop, log_->next_whole("clicks", 0, from)).value();
    pool.close();  // its work comes back to the loop
    ASSERT_GT(next, from);
    lost += next - from;
    from = next;
  }
  EXPECT_EQ(lost, 1u);
  EXPECT_EQ(served, 99u);
  EXPECT_NE(metrics_.prometheus_text().find("trellis_queue_damaged_total{topic=\"clicks\"} 1"), std::string::npos);
  // Retention and compaction bear it, appends go on.
  log_->keep_house();
  EXPECT_EQ(add("k", "more"), 100u);
}

TEST_F(EventLogTest, RefusesWhenTheDiskIsFullAndGoesOnWhenThereIsRoom) {
  open();
  for (int i = 0; i < 10; ++i) add("k", "v" + std::to_string(i));
  const auto before = values();
  disk_.capacity = disk_.contents(segment(0))->size() + 60;
  EXPECT_EQ(add_fails(), Code::resource_exhausted);
  EXPECT_EQ(add_fails(), Code::resource_exhausted);
  EXPECT_EQ(values(), before);
  disk_.capacity = UINT64_MAX;
  EXPECT_EQ(add("k", "room"), 10u);
  disk_.lose_power();
  log_.reset();
  open();
  EXPECT_EQ(values().size(), 11u);
  EXPECT_EQ(values().back(), "room");
}

TEST_F(EventLogTest, AcknowledgesNothingThatWasNotSynced) {
  open();
  add("k", "before");
  disk_.sync_fails = true;
  EXPECT_EQ(add_fails(), Code::unavailable);
  EXPECT_EQ(add_fails(), Code::unavailable);
  EXPECT_EQ(log_->commit_now("group", "clicks", 0, 1).error().code(), Code::unavailable);
  EXPECT_EQ(log_->committed("group", "clicks", 0), 0u);
  EXPECT_EQ(values(), (std::vector<std::string>{"before"}));
  disk_.sync_fails = false;
  disk_.open_fails = true;
  EXPECT_EQ(add_fails(), Code::unavailable);
  disk_.open_fails = false;
  EXPECT_EQ(add("k", "after"), 1u);
  EXPECT_TRUE(log_->commit_now("group", "clicks", 0, 1));
  log_.reset();
  disk_.lose_power();
  open();
  EXPECT_EQ(values(), (std::vector<std::string>{"before", "after"}));
  EXPECT_EQ(log_->committed("group", "clicks", 0), 1u);
}

TEST_F(EventLogTest, ReadsWhileTheDiskRefusesWrites) {
  open();
  add("k", "one");
  disk_.write_fails = true;
  EXPECT_EQ(add_fails(), Code::unavailable);
  EXPECT_EQ(values(), (std::vector<std::string>{"one"}));
  disk_.write_fails = false;
  EXPECT_EQ(add("k", "two"), 1u);
}

// Everything acknowledged is there after the power went, at its offset; nothing is served that nobody appended.
TEST(EventLogProperty, KeepsWhatItAcknowledgedThroughFaultsAndPowerLoss) {
  struct Known {
    std::string key;
    std::string value;
  };
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Rng rng(seed);
    FaultyDisk disk(seed * 7919);
    fakes::ManualClock clock;
    std::map<std::pair<uint32_t, uint64_t>, Known> acknowledged;
    std::set<std::string> appended;
    uint64_t commit_low = 0;
    uint64_t commit_high = 0;
    int number = 0;
    for (int life = 0; life < 4; ++life) {
      Metrics metrics;
      EventLogOptions options;
      options.folder = "/log";
      options.disk = &disk;
      options.clock = &clock;
      options.keep_every = kNoKeeping;
      auto opened = EventLog::open(options, metrics);
      ASSERT_TRUE(opened) << opened.error().to_string();
      EventLog& log = **opened;
      const auto made = log.open_topic({.name = "t", .partitions = 3, .keep = {.segment_bytes = 3000}});
      ASSERT_TRUE(made) << made.error().to_string();

      std::set<std::string> seen;
      std::map<std::pair<uint32_t, uint64_t>, Known> there;
      for (uint32_t partition = 0; partition < 3; ++partition) {
        uint64_t from = 0;
        while (true) {
          const auto slice = log.read_now("t", partition, from, 50);
          ASSERT_TRUE(slice) << slice.error().to_string();
          if (slice->events.empty()) break;
          for (const StoredEvent& event : slice->events) {
            ASSERT_GE(event.offset, from);
            from = event.offset + 1;
            ASSERT_TRUE(event.value);
            EXPECT_TRUE(appended.contains(*event.value)) << "served what nobody appended";
            EXPECT_TRUE(seen.insert(*event.value).second) << "served twice: " << *event.value;
            there[{partition, event.offset}] = {event.key, *event.value};
          }
        }
      }
      for (const auto& [at, known] : acknowledged) {
        const auto found = there.find(at);
        ASSERT_TRUE(found != there.end()) << "lost partition " << at.first << " offset " << at.second;
        EXPECT_EQ(found->second.key, known.key);
        EXPECT_EQ(found->second.value, known.value);
      }
      const uint64_t committed = log.committed("g", "t", 0);
      EXPECT_GE(committed, commit_low);
      EXPECT_LE(committed, commit_high);
      commit_low = commit_high = committed;

      for (int step = 0; step < 40; ++step) {
        clock.advance(std::chrono::milliseconds(rng.below(100)));
        switch (rng.below(12)) {
          case 0: disk.capacity = rng.below(2) == 0 ? UINT64_MAX : 20'000 + rng.below(20'000); break;
          case 1: disk.sync_fails = rng.below(2) == 0; break;
          case 2: disk.write_fails = rng.below(3) == 0; break;
          case 3: disk.open_fails = rng.below(3) == 0; break;
          case 4: {
            const uint64_t head = log.head("t", 0).value();
            if (head < commit_low) break;
            const uint64_t next = commit_low + rng.below(head - commit_low + 1);
            commit_high = std::max(commit_high, next);
            if (log.commit_now("g", "t", 0, next)) commit_low = commit_high = next;
            break;
          }
          default: {
            std::vector<Event> events(1 + rng.below(4));
            for (Event& event : events) {
              event.key = "k" + std::to_string(rng.below(9));
              event.value = std::to_string(number++) + ":" + std::string(rng.below(700), 'v');
              appended.insert(*event.value);
            }
            const auto positions = log.append_now("t", events);
            if (!positions) break;
            for (size_t i = 0; i < events.size(); ++i) {
              acknowledged[{(*positions)[i].partition, (*positions)[i].offset}] = {events[i].key, *events[i].value};
            }
          }
        }
        if (step == 30) disk.calls_to_death = rng.below(40);
      }
      opened->reset();
      disk.lose_power();
    }
  }
}

// The same with compaction under way when the power goes: the last value of each key is there.
TEST(EventLogProperty, KeepsTheLastOfEachKeyThroughCompactionAndPowerLoss) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Rng rng(seed);
    FaultyDisk disk(seed * 104'729);
    fakes::ManualClock clock;
    std::map<std::string, int> last;  // acknowledged
    int number = 0;
    for (int life = 0; life < 4; ++life) {
      Metrics metrics;
      EventLogOptions options;
      options.folder = "/log";
      options.disk = &disk;
      options.clock = &clock;
      options.keep_every = kNoKeeping;
      auto opened = EventLog::open(options, metrics);
      ASSERT_TRUE(opened) << opened.error().to_string();
      EventLog& log = **opened;
      const auto made = log.open_topic({.name = "t", .keep = {.segment_bytes = 2000, .compact = true}});
      ASSERT_TRUE(made) << made.error().to_string();
      std::map<std::string, int> found;
      uint64_t from = 0;
      while (true) {
        const auto slice = log.read_now("t", 0, from, 50);
        ASSERT_TRUE(slice) << slice.error().to_string();
        if (slice->events.empty()) break;
        for (const StoredEvent& event : slice->events) found[event.key] = std::stoi(*event.value);
        from = slice->next;
      }
      for (const auto& [key, value] : last) {
        ASSERT_TRUE(found.contains(key)) << key;
        EXPECT_GE(found[key], value) << key;
      }
      for (int step = 0; step < 120; ++step) {
        const std::string key = "k" + std::to_string(rng.below(6));
        const int value = number++;
        if (log.append_now("t", {Event{key, std::to_string(value)}})) last[key] = value;
        if (rng.below(20) == 0) log.keep_house();
        if (step == 100) disk.calls_to_death = rng.below(60);
      }
      log.keep_house();
      opened->reset();
      disk.lose_power();
    }
  }
}

TEST(EventLogOnDisk, WorksInAFolderAndIsLocked) {
  std::string folder = testing::TempDir() + "eventsXXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  Metrics metrics;
  EventLogOptions options;
  options.folder = folder + "/a/b";
  for (int round = 0; round < 3; ++round) {
    auto log = EventLog::open(options, metrics);
    ASSERT_TRUE(log) << log.error().to_string();
    EXPECT_EQ(EventLog::open(options, metrics).error().code(), Code::failed_precondition);
    ASSERT_TRUE((*log)->open_topic({.name = "t", .partitions = 2, .keep = {.segment_bytes = 4096, .compact = true}}));
    for (int i = 0; i < 50; ++i) {
      ASSERT_TRUE((*log)->append_now("t", {Event{"k" + std::to_string(i % 5), std::string(200, 'v')}}));
    }
    (*log)->keep_house();
    ASSERT_TRUE((*log)->commit_now("g", "t", 1, (*log)->head("t", 1).value()));
    EXPECT_EQ((*log)->head("t", 0).value() + (*log)->head("t", 1).value(), 50u * static_cast<uint64_t>(round + 1));
    EXPECT_EQ((*log)->read_now("t", 1, (*log)->committed("g", "t", 1)).value().events.size(), 0u);
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace trellis::queue
