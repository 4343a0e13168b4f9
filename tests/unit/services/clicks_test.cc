#include "services/links/clicks/clicks.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "services/links/clicks/figures_rows.h"
#include "tests/unit/services/service_fixture.h"

namespace trellis::services::links {
namespace {

RawClick click_of(int64_t link, int64_t at = 0) {
  RawClick click;
  click.link = link;
  click.at = at;
  return click;
}

TEST(ClickRing, HandsClicksOverInOrderAndRefusesWhenFull) {
  ClickRing ring(1024);
  int64_t pushed = 0;
  while (ring.push(click_of(pushed))) ++pushed;
  EXPECT_GT(pushed, 10);
  EXPECT_EQ(ring.size(), static_cast<size_t>(pushed));
  int64_t next = 0;
  const auto in_order = [&](const RawClick& click) { EXPECT_EQ(click.link, next++); };
  EXPECT_EQ(ring.drain(3, in_order), 3u);
  EXPECT_EQ(ring.drain(SIZE_MAX, in_order), static_cast<size_t>(pushed - 3));
  EXPECT_TRUE(ring.push(click_of(9)));
  EXPECT_EQ(ring.size(), 1u);
}

TEST(ClickRing, KeepsTextsAndCutsLongOnes) {
  ClickRing ring(4096);
  for (int round = 0; round < 20; ++round) {  // also over the end of the ring
    const std::string agent(2000, 'a');
    RawClick click = click_of(1, 2);
    click.rule = {.number = 3, .target = 2};
    click.scan = true;
    click.code = "code";
    click.address = "192.0.2.1";
    click.agent = agent;
    click.referrer = "https://example.com/";
    click.language = "de";
    click.query = "utm_source=x";
    ASSERT_TRUE(ring.push(click));
    ring.drain(1, [&](const RawClick& back) {
      EXPECT_EQ(back.at, 2);
      EXPECT_EQ(back.rule, (TakenRule{3, 2}));
      EXPECT_TRUE(back.scan);
      EXPECT_EQ(back.code, "code");
      EXPECT_EQ(back.address, "192.0.2.1");
      EXPECT_EQ(back.agent, std::string(RawClick::kMaxText, 'a'));
      EXPECT_EQ(back.referrer, "https://example.com/");
      EXPECT_EQ(back.language, "de");
      EXPECT_EQ(back.query, "utm_source=x");
    });
  }
}

TEST(ClickRing, SaysOnceThatItIsHalfFull) {
  ClickRing ring(4096);
  int said = 0;
  while (ring.push(click_of(1))) said += ring.half_full() ? 1 : 0;
  EXPECT_EQ(said, 1);
}

TEST(ClickRing, LosesNothingBetweenTwoThreads) {
  ClickRing ring(8192);
  constexpr int64_t kClicks = 200'000;
  std::thread writer([&] {
    std::string agent;
    for (int64_t i = 0; i < kClicks;) {
      agent.assign(static_cast<size_t>(i % 61), 'x');
      RawClick click = click_of(i);
      click.agent = agent;
      if (ring.push(click)) {
        ++i;
      } else {
        std::this_thread::yield();
      }
    }
  });
  int64_t next = 0;
  bool ordered = true;
  while (next < kClicks) {
    const size_t count = ring.drain(1000, [&](const RawClick& click) {
      ordered = ordered && click.link == next && click.agent.size() == static_cast<size_t>(next % 61);
      ++next;
    });
    if (count == 0) std::this_thread::yield();
  }
  writer.join();
  EXPECT_TRUE(ordered);
}

constexpr int64_t kHour = 3'600'000;  // milliseconds

class ClickCounterTest : public ServiceTest {
 protected:
  ClickCounterTest() {
    open_store();
    EXPECT_TRUE(store_->migrate("links", migrations()));
    EXPECT_TRUE(store_->migrate("links_figures", figures_migrations()));
  }
  void script(const std::string& sql) {
    ASSERT_TRUE(store_->write_now([&](store::SqliteConnection& db) { return db.script(sql); }));
  }
  // Number and clicks of people.
  std::vector<std::pair<int64_t, uint64_t>> figures(int64_t link, Span span, int64_t from, int64_t to) {
    const auto rows =
        store_->write_now([&](store::SqliteConnection& db) { return read_figures(db, link, span, from, to); });
    EXPECT_TRUE(rows) << rows.error().to_string();
    std::vector<std::pair<int64_t, uint64_t>> found;
    for (const FiguresRow& row : *rows) found.emplace_back(row.number, row.figures.people());
    return found;
  }
  int64_t stored(const std::string& sql) {
    return *store_->write_now([&](store::SqliteConnection& db) -> Result<int64_t> {
      TRY(store::Query row, db.query(sql));
      TRY(const bool found, row.next());
      return found ? row.integer(0) : -1;
    });
  }
};

TEST_F(ClickCounterTest, AddsUpByLinkMinuteHourAndDay) {
  ClickCounter counter(*store_, *loop_, metrics_, {.cores = 2});
  ASSERT_TRUE(fakes::run_task(*loop_, counter.start()));
  for (int i = 0; i < 100; ++i) counter.record(static_cast<size_t>(i % 2), click_of(7, kHour * 10 + i));
  for (int i = 0; i < 50; ++i) counter.record(0, click_of(7, kHour * 11 + i));
  counter.record(1, click_of(8, kHour * 30));
  EXPECT_TRUE(fakes::run_task(*loop_, counter.stop(kNever)));
  EXPECT_EQ(stored("SELECT clicks FROM link_totals WHERE link = 7"), 150);
  EXPECT_EQ(stored("SELECT clicks FROM link_totals WHERE link = 8"), 1);
  EXPECT_EQ(figures(7, Span::hour, 0, 100), (std::vector<std::pair<int64_t, uint64_t>>{{10, 100}, {11, 50}}));
  EXPECT_EQ(figures(7, Span::day, 0, 100), (std::vector<std::pair<int64_t, uint64_t>>{{0, 150}}));
  EXPECT_EQ(figures(7, Span::minute, 600, 700), (std::vector<std::pair<int64_t, uint64_t>>{{600, 100}, {660, 50}}));
  EXPECT_EQ(figures(kAllLinks, Span::day, 0, 100), (std::vector<std::pair<int64_t, uint64_t>>{{0, 150}, {1, 1}}));
  EXPECT_EQ(counter.depth(), 0u);
}

TEST_F(ClickCounterTest, DropsAndCountsWhatDoesNotFit) {
  ClickCounter counter(*store_, *loop_, metrics_, {.cores = 1, .ring_bytes = 4096});
  for (int i = 0; i < 1000; ++i) counter.record(0, click_of(1));
  counter.record(5, click_of(1));
  const size_t held = counter.depth();
  EXPECT_GT(held, 10u);
  EXPECT_LT(held, 1000u);
  ASSERT_TRUE(fakes::run_task(*loop_, counter.start()));
  EXPECT_TRUE(fakes::run_task(*loop_, counter.stop(kNever)));
  EXPECT_EQ(stored("SELECT clicks FROM link_totals WHERE link = 1"), static_cast<int64_t>(held));
  EXPECT_NE(metrics_.prometheus_text().find("trellis_queue_messages_total{topic=\"clicks\",event=\"dropped\"} " +
                                            std::to_string(1001 - held)),
            std::string::npos);
}

TEST_F(ClickCounterTest, KeepsWhatTheStoreRefuses) {
  ClickCounter counter(*store_, *loop_, metrics_, {.cores = 1});
  ASSERT_TRUE(fakes::run_task(*loop_, counter.start()));
  // The table is not there: writing fails.
  script("ALTER TABLE link_totals RENAME TO away");
  for (int i = 0; i < 10; ++i) counter.record(0, click_of(3));
  for (int i = 0; i < 20; ++i) loop_->run_once(std::chrono::milliseconds(20));
  EXPECT_EQ(counter.depth(), 10u);
  script("ALTER TABLE away RENAME TO link_totals");
  EXPECT_TRUE(fakes::run_task(*loop_, counter.stop(kNever)));
  EXPECT_EQ(stored("SELECT clicks FROM link_totals WHERE link = 3"), 10);
}

// The log has what the store refused when the node went down; the next one counts it, and nothing twice.
TEST_F(ClickCounterTest, CountsFromTheLogWhatTheStoreHasNot) {
  open_log();
  for (int round = 1; round <= 3; ++round) {
    ClickCounter counter(*store_, *loop_, metrics_, {.cores = 1, .log = log_.get()});
    ASSERT_TRUE(fakes::run_task(*loop_, counter.start()));
    script("ALTER TABLE link_totals RENAME TO away");
    script("ALTER TABLE figures_days RENAME TO days_away");
    for (int i = 0; i < 10; ++i) counter.record(0, click_of(3, kHour));
    EXPECT_TRUE(fakes::run_task(*loop_, counter.stop(kNever))) << "they are in the log";
    script("ALTER TABLE away RENAME TO link_totals");
    script("ALTER TABLE days_away RENAME TO figures_days");
    ClickCounter after(*store_, *loop_, metrics_, {.cores = 1, .log = log_.get()});
    ASSERT_TRUE(fakes::run_task(*loop_, after.start()));
    after.record(0, click_of(4, kHour));
    EXPECT_TRUE(fakes::run_task(*loop_, after.stop(kNever)));
    EXPECT_EQ(stored("SELECT clicks FROM link_totals WHERE link = 3"), 10 * round);
    EXPECT_EQ(stored("SELECT clicks FROM link_totals WHERE link = 4"), round);
    EXPECT_EQ(figures(3, Span::day, 0, 2), (std::vector<std::pair<int64_t, uint64_t>>{{0, 10 * round}}));
    EXPECT_EQ(figures(kAllLinks, Span::hour, 0, 2), (std::vector<std::pair<int64_t, uint64_t>>{{1, 11 * round}}));
  }
}

// A crash between two writes of what was gathered: the place in the log says which rows are written.
TEST_F(ClickCounterTest, GoesOnInTheMiddleOfWhatWasBeingWritten) {
  open_log();
  {
    ClickCounter counter(*store_, *loop_, metrics_, {.cores = 1, .log = log_.get()});
    ASSERT_TRUE(fakes::run_task(*loop_, counter.start()));
    script(
        "CREATE TRIGGER full BEFORE INSERT ON link_totals WHEN new.link = 7000 BEGIN SELECT RAISE(ABORT, 'no'); END");
    for (int64_t link = 1; link <= 12'000; ++link) counter.record(0, click_of(link));
    EXPECT_TRUE(fakes::run_task(*loop_, counter.stop(kNever)));
    EXPECT_EQ(stored("SELECT count(*) FROM link_totals"), 5000);
    script("DROP TRIGGER full");
  }
  ClickCounter counter(*store_, *loop_, metrics_, {.cores = 1, .log = log_.get()});
  ASSERT_TRUE(fakes::run_task(*loop_, counter.start()));
  EXPECT_TRUE(fakes::run_task(*loop_, counter.stop(kNever)));
  EXPECT_EQ(stored("SELECT count(*) FROM link_totals"), 12'000);
  EXPECT_EQ(stored("SELECT max(clicks) FROM link_totals"), 1);
}

// A reload starts the new service before the old one has stopped: both read one log, and each click counts once.
TEST_F(ClickCounterTest, TwoAtATimeCountNothingTwice) {
  open_log();
  ClickCounter old(*store_, *loop_, metrics_, {.cores = 1, .log = log_.get()});
  ASSERT_TRUE(fakes::run_task(*loop_, old.start()));
  for (int i = 0; i < 10; ++i) old.record(0, click_of(3, kHour));
  ClickCounter next(*store_, *loop_, metrics_, {.cores = 1, .log = log_.get()});
  ASSERT_TRUE(fakes::run_task(*loop_, next.start()));
  for (int round = 0; round < 20; ++round) {
    old.record(0, click_of(3, kHour));
    next.record(0, click_of(3, kHour));
    loop_->run_once(std::chrono::milliseconds(20));
  }
  EXPECT_TRUE(fakes::run_task(*loop_, old.stop(kNever)));
  next.record(0, click_of(3, kHour));
  while (stored("SELECT clicks FROM link_totals WHERE link = 3") < 51 ||
         figures(3, Span::day, 0, 1) != std::vector<std::pair<int64_t, uint64_t>>{{0, 51}})
    loop_->run_once(std::chrono::milliseconds(20));
  EXPECT_TRUE(fakes::run_task(*loop_, next.stop(kNever)));
  EXPECT_EQ(stored("SELECT clicks FROM link_totals WHERE link = 3"), 51);
  EXPECT_EQ(figures(3, Span::hour, 0, 2), (std::vector<std::pair<int64_t, uint64_t>>{{1, 51}}));
}

// More links than it may hold at once: it takes the rest from the log when it has room again.
TEST_F(ClickCounterTest, CatchesUpFromTheLogWhenItHadNoRoom) {
  open_log();
  ClickCounter counter(*store_, *loop_, metrics_, {.cores = 1, .max_links = 10, .max_figures = 10, .log = log_.get()});
  ASSERT_TRUE(fakes::run_task(*loop_, counter.start()));
  for (int64_t round = 0; round < 20; ++round) {
    for (int64_t link = 1; link <= 50; ++link) counter.record(0, click_of(round * 50 + link));
    for (int i = 0; i < 3; ++i) loop_->run_once(std::chrono::milliseconds(1));
  }
  while (stored("SELECT count(*) FROM link_totals") < 1000 || stored("SELECT count(*) FROM figures_days") < 1001)
    loop_->run_once(std::chrono::milliseconds(20));
  EXPECT_TRUE(fakes::run_task(*loop_, counter.stop(kNever)));
  EXPECT_EQ(stored("SELECT sum(clicks) FROM link_totals"), 1000);
  EXPECT_EQ(figures(kAllLinks, Span::day, 0, 1), (std::vector<std::pair<int64_t, uint64_t>>{{0, 1000}}));
}

}  // namespace
}  // namespace trellis::services::links
