#include "services/links/clicks.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/unit/services/service_fixture.h"

namespace trellis::services::links {
namespace {

TEST(ClickRing, HandsEventsOverInOrderAndRefusesWhenFull) {
  ClickRing ring(8);
  for (int64_t i = 0; i < 8; ++i) EXPECT_TRUE(ring.push({i, 0, 0}));
  EXPECT_FALSE(ring.push({8, 0, 0}));
  int64_t next = 0;
  EXPECT_EQ(ring.drain([&](const ClickEvent& event) { EXPECT_EQ(event.link, next++); }), 8u);
  EXPECT_TRUE(ring.push({9, 0, 0}));
  EXPECT_EQ(ring.size(), 1u);
}

TEST(ClickRing, SaysOnceThatItIsHalfFull) {
  ClickRing ring(16);
  int said = 0;
  for (int i = 0; i < 16; ++i) {
    ring.push({1, 0, 0});
    said += ring.half_full() ? 1 : 0;
  }
  EXPECT_EQ(said, 1);
}

TEST(ClickRing, LosesNothingBetweenTwoThreads) {
  ClickRing ring(64);
  constexpr int64_t kEvents = 200'000;
  std::thread writer([&] {
    for (int64_t i = 0; i < kEvents;) {
      if (ring.push({i, 0, 0})) {
        ++i;
      } else {
        std::this_thread::yield();
      }
    }
  });
  int64_t next = 0;
  bool ordered = true;
  while (next < kEvents) {
    if (ring.drain([&](const ClickEvent& event) { ordered = ordered && event.link == next++; }) == 0)
      std::this_thread::yield();
  }
  writer.join();
  EXPECT_TRUE(ordered);
}

class ClickCounterTest : public ServiceTest {
 protected:
  ClickCounterTest() {
    open_store();
    EXPECT_TRUE(store_->migrate("links", migrations()));
  }
  int64_t stored(const std::string& sql) {
    return *store_->write_now([&](store::SqliteConnection& db) -> Result<int64_t> {
      TRY(store::Query row, db.query(sql));
      TRY(const bool found, row.next());
      return found ? row.integer(0) : -1;
    });
  }
};

TEST_F(ClickCounterTest, AddsUpByLinkAndHour) {
  ClickCounter counter(*store_, *loop_, metrics_, {.cores = 2});
  counter.start();
  const int64_t hour = 3'600'000;
  for (int i = 0; i < 100; ++i) counter.record(static_cast<size_t>(i % 2), {7, hour * 10 + i, 0});
  for (int i = 0; i < 50; ++i) counter.record(0, {7, hour * 11 + i, 0});
  counter.record(1, {8, hour * 11, 0});
  EXPECT_TRUE(fakes::run_task(*loop_, counter.stop(kNever)));
  EXPECT_EQ(stored("SELECT clicks FROM link_totals WHERE link = 7"), 150);
  EXPECT_EQ(stored("SELECT clicks FROM link_hours WHERE link = 7 AND hour = 10"), 100);
  EXPECT_EQ(stored("SELECT clicks FROM link_hours WHERE link = 7 AND hour = 11"), 50);
  EXPECT_EQ(stored("SELECT clicks FROM link_totals WHERE link = 8"), 1);
  EXPECT_EQ(counter.depth(), 0u);
}

TEST_F(ClickCounterTest, DropsAndCountsWhatDoesNotFit) {
  ClickCounter counter(*store_, *loop_, metrics_, {.cores = 1, .ring = 64});
  for (int i = 0; i < 100; ++i) counter.record(0, {1, 0, 0});
  counter.record(5, {1, 0, 0});
  EXPECT_EQ(counter.depth(), 64u);
  counter.start();
  EXPECT_TRUE(fakes::run_task(*loop_, counter.stop(kNever)));
  EXPECT_EQ(stored("SELECT clicks FROM link_totals WHERE link = 1"), 64);
  EXPECT_NE(metrics_.prometheus_text().find("trellis_queue_messages_total{topic=\"clicks\",event=\"dropped\"} 37"),
            std::string::npos);
}

TEST_F(ClickCounterTest, KeepsWhatTheStoreRefuses) {
  ClickCounter counter(*store_, *loop_, metrics_, {.cores = 1});
  // The table is not there: writing fails.
  ASSERT_TRUE(store_->write_now(
      [](store::SqliteConnection& db) { return db.script("ALTER TABLE link_totals RENAME TO away"); }));
  counter.start();
  for (int i = 0; i < 10; ++i) counter.record(0, {3, 0, 0});
  for (int i = 0; i < 20; ++i) loop_->run_once(std::chrono::milliseconds(20));
  EXPECT_EQ(counter.depth(), 10u);
  ASSERT_TRUE(store_->write_now(
      [](store::SqliteConnection& db) { return db.script("ALTER TABLE away RENAME TO link_totals"); }));
  EXPECT_TRUE(fakes::run_task(*loop_, counter.stop(kNever)));
  EXPECT_EQ(stored("SELECT clicks FROM link_totals WHERE link = 3"), 10);
}

}  // namespace
}  // namespace trellis::services::links
