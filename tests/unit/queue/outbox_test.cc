#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "base/metrics.h"
#include "queue/event_log.h"
#include "queue/outbox_relay.h"
#include "queue/outbox_rows.h"
#include "runtime/blocking_pool.h"
#include "runtime/loop.h"
#include "store/backup.h"
#include "store/sqlite.h"
#include "tests/fakes/faulty_disk.h"
#include "tests/fakes/manual_clock.h"
#include "tests/fakes/run_task.h"

namespace trellis::queue {
namespace {

using namespace std::chrono_literals;

constexpr const char* kTopic = "orders.changes";

class OutboxTest : public testing::Test {
 protected:
  OutboxTest() : pool_(2) {
    LoopOptions options;
    options.pool = &pool_;
    loop_ = *Loop::make(options);
    std::string pattern = testing::TempDir() + "outboxXXXXXX";
    folder_ = mkdtemp(pattern.data());
    open();
  }
  ~OutboxTest() override {
    close();
    std::filesystem::remove_all(folder_);
  }
  void open(int64_t max_waiting = 100'000) {
    store_ = *store::SqliteStore::open({.path = folder_ + "/app.db"}, metrics_);
    open_log();
    outbox_ = std::make_shared<const Outbox>(kTopic, max_waiting);
  }
  void open_log(const char* folder = "/log") {
    EventLogOptions how;
    how.folder = folder;
    how.disk = &disk_;
    log_ = *EventLog::open(std::move(how), metrics_);
  }
  void close() {
    if (relay_) (void)run(relay_->stop(kNever));
    relay_.reset();
    log_.reset();
    store_.reset();
  }
  std::unique_ptr<OutboxRelay> relay() {
    OutboxRelayOptions how;
    how.max_events = 10;
    how.pace = 1ms;
    how.look = 5ms;
    how.tidy = tidy_;
    std::unique_ptr<OutboxRelay> relay;
    run_on_loop([&] {
      relay = std::make_unique<OutboxRelay>(outbox_, *store_, *log_, metrics_, how);
      return 0;
    });
    const auto started = run(relay->start());
    EXPECT_TRUE(started) << started.error().to_string();
    return relay;
  }
  // What is made on a loop is made while it runs.
  template <class F>
  void run_on_loop(F fn) {
    loop_->post([&] { (void)fn(); });
    loop_->run_once(0ms);
  }
  template <class T>
  T run(Task<T> task) {
    return fakes::run_task(*loop_, std::move(task));
  }
  Result<void> put(int from, int count) {
    return store_->write_now([&](store::SqliteConnection& db) -> Result<void> {
      std::vector<OutboxEvent> events;
      for (int i = from; i < from + count; ++i)
        events.push_back({"key" + std::to_string(i % 3), "{\"n\":" + std::to_string(i) + "}"});
      return outbox_->put(db, events, system_clock().wall());
    });
  }
  OutboxState state() {
    auto state = store_->write_now([](store::SqliteConnection& db) { return outbox_state(db, kTopic); });
    EXPECT_TRUE(state) << state.error().to_string();
    return state ? *state : OutboxState{};
  }
  uint32_t name() {
    auto name = store_->write_now([](store::SqliteConnection& db) { return open_outbox(db, kTopic, 99); });
    EXPECT_TRUE(name) << name.error().to_string();
    return name ? *name : 0;
  }
  void wait_until_moved() {
    for (int turn = 0; turn < 100'000 && state().waiting > 0; ++turn) loop_->run_once(2ms);
    EXPECT_EQ(state().waiting, 0);
  }
  std::vector<std::string> records() {
    std::vector<std::string> found;
    uint64_t from = 0;
    while (true) {
      const auto slice = log_->read_now(kTopic, 0, from);
      EXPECT_TRUE(slice) << slice.error().to_string();
      if (!slice || slice->events.empty()) return found;
      for (const StoredEvent& event : slice->events) found.push_back(event.value.value_or("-"));
      from = slice->next;
    }
  }
  // Each once and in order, with ids that rise by one.
  void expect_all(int count) {
    const std::vector<std::string> found = records();
    const uint32_t name = this->name();
    ASSERT_EQ(found.size(), static_cast<size_t>(count));
    for (int i = 0; i < count; ++i) {
      EXPECT_EQ(found[static_cast<size_t>(i)], outbox_record(name, i + 1, "{\"n\":" + std::to_string(i) + "}"));
    }
  }

  FaultyDisk disk_;
  Metrics metrics_;
  std::unique_ptr<Loop> loop_;
  BlockingPool pool_;  // ends before the loop: its work comes back to it
  std::string folder_;
  std::unique_ptr<store::SqliteStore> store_;
  std::unique_ptr<EventLog> log_;
  std::shared_ptr<const Outbox> outbox_;
  Duration tidy_ = 5ms;
  std::unique_ptr<OutboxRelay> relay_;
};

OutboxRow one_row(std::span<const OutboxEvent> events) {
  auto rows = outbox_rows(events);
  TRELLIS_ASSERT(rows && rows->size() == 1);
  return std::move(rows->front());
}

TEST(OutboxForms, ReadBackWhatTheyWroteAndNothingElse) {
  const std::vector<OutboxEvent> events = {{"", "{}"}, {"key", R"({"a":1})"}, {std::string(1024, 'k'), "{ }"}};
  const OutboxRow row = one_row(events);
  EXPECT_EQ(row.unpacked, 0u);  // too little to pack
  const std::string& bytes = row.bytes;
  const auto read = read_outbox_row(bytes, 0);
  ASSERT_TRUE(read);
  ASSERT_EQ(read->size(), 3u);
  EXPECT_EQ((*read)[1].key, "key");
  EXPECT_EQ((*read)[1].payload, R"({"a":1})");
  for (size_t cut = 1; cut < bytes.size(); ++cut) {
    const auto part = read_outbox_row(std::string_view(bytes).substr(0, cut), 0);
    if (part) {
      EXPECT_LT(part->size(), 3u);
    }
  }
  EXPECT_FALSE(read_outbox_row(std::string("\x01k\x03[1]", 6), 0));
}

TEST(OutboxForms, PackManyEventsAndTakeNothingThatIsDamaged) {
  std::vector<OutboxEvent> events;
  for (int i = 0; i < 500; ++i)
    events.push_back({"key" + std::to_string(i), R"({"event":"order.created","number":)" + std::to_string(i) + "}"});
  const OutboxRow row = one_row(events);
  ASSERT_GT(row.unpacked, 0u);
  EXPECT_LT(row.bytes.size() * 2, row.unpacked);
  const auto read = read_outbox_row(row.bytes, row.unpacked);
  ASSERT_TRUE(read);
  ASSERT_EQ(read->size(), events.size());
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ((*read)[i].key, events[i].key);
    EXPECT_EQ((*read)[i].payload, events[i].payload);
  }
  for (const size_t wrong : {size_t{1}, row.unpacked - 1, row.unpacked + 1, size_t{1} << 40}) {
    const auto refused = read_outbox_row(row.bytes, wrong);
    ASSERT_FALSE(refused) << wrong;
    EXPECT_EQ(refused.error().code(), Code::data_loss);
  }
  for (size_t cut = 0; cut < row.bytes.size(); cut += 7)
    EXPECT_FALSE(read_outbox_row(std::string_view(row.bytes).substr(0, cut), row.unpacked)) << cut;
}

TEST(OutboxForms, RecordsNameTheirOutboxAndNumber) {
  EXPECT_EQ(outbox_record(0x5f3a9c12, 7, R"({"a":1})"), R"({"id":"5f3a9c12-7","a":1})");
  EXPECT_EQ(outbox_record(0x5f3a9c12, 7, "{}"), R"({"id":"5f3a9c12-7"})");
  EXPECT_EQ(outbox_number(0x5f3a9c12, R"({"id":"5f3a9c12-4711","a":1})"), 4711);
  for (const char* other : {R"({"id":"5f3a9c13-1"})", R"({"id":"5f3a9c12-"})", R"({"id":"5f3a9c12-0"})", R"({"id":4})",
                            R"({"id":"5f3a9c12-1)", R"({"id":"5f3a9c12-99999999999999999999"})", "", "x"})
    EXPECT_EQ(outbox_number(0x5f3a9c12, other), std::nullopt) << other;
}

TEST_F(OutboxTest, MovesEventsInOrder) {
  relay_ = relay();
  ASSERT_TRUE(put(0, 1));
  ASSERT_TRUE(put(1, 25));
  ASSERT_TRUE(put(26, 4));
  wait_until_moved();
  expect_all(30);
}

TEST_F(OutboxTest, MovesLargeBatchesAndRowsFromBeforeTheyWerePacked) {
  relay_ = relay();
  ASSERT_TRUE(put(0, 2500));
  wait_until_moved();
  const auto old = store_->write_now([](store::SqliteConnection& db) {
    return db.execute(
        "INSERT INTO outbox(topic, last, count, events, put_at) SELECT id, moved + 1, 1, ?2, 0 FROM outbox_topics "
        "WHERE topic = ?1",
        kTopic, store::Blob{std::string_view("\x01k\x0a{\"n\":2500}", 13)});
  });
  ASSERT_TRUE(old) << old.error().to_string();
  ASSERT_TRUE(put(2501, 4));
  wait_until_moved();
  expect_all(2505);
}

TEST_F(OutboxTest, TellsTheStoreOfWhatWasMovedNowAndThenAndAtTheEnd) {
  tidy_ = 1h;
  relay_ = relay();
  const uint64_t before = store_->commits();
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(put(i * 20, 20));
    while (records().size() < static_cast<size_t>(i + 1) * 20) loop_->run_once(2ms);
  }
  EXPECT_EQ(store_->commits() - before, 5u);  // of those who put
  EXPECT_EQ(state().waiting, 100);
  EXPECT_TRUE(run(relay_->stop(kNever)));
  EXPECT_EQ(state().waiting, 0);
  relay_ = relay();
  ASSERT_TRUE(put(100, 1));
  while (records().size() < 101) loop_->run_once(2ms);
  expect_all(101);
}

TEST_F(OutboxTest, MovesNothingTwiceAfterACrashBeforeTheStoreWasTold) {
  tidy_ = 1h;
  relay_ = relay();
  ASSERT_TRUE(put(0, 30));
  while (records().size() < 30) loop_->run_once(2ms);
  relay_.reset();  // without its end
  EXPECT_EQ(state().waiting, 30);
  tidy_ = 5ms;
  relay_ = relay();
  ASSERT_TRUE(put(30, 3));
  wait_until_moved();
  expect_all(33);
}

TEST_F(OutboxTest, TakesBackWhatIsTakenBack) {
  relay_ = relay();
  const auto failed = store_->write_now([&](store::SqliteConnection& db) -> Result<void> {
    const OutboxEvent event{"key", "{}"};
    EXPECT_TRUE(outbox_->put(db, {&event, 1}, system_clock().wall()));
    return fail(Code::aborted, "taken back");
  });
  EXPECT_FALSE(failed);
  ASSERT_TRUE(put(0, 2));
  wait_until_moved();
  expect_all(2);
}

TEST_F(OutboxTest, RefusesWhatIsNoEvent) {
  relay_ = relay();
  for (const OutboxEvent& event :
       {OutboxEvent{"k", ""}, OutboxEvent{"k", "[1]"}, OutboxEvent{std::string(1025, 'k'), "{}"},
        OutboxEvent{"k", "{\"a\":\"" + std::string(kMaxOutboxPayload, 'x') + "\"}"}}) {
    const auto refused = store_->write_now(
        [&](store::SqliteConnection& db) { return outbox_->put(db, {&event, 1}, system_clock().wall()); });
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), Code::invalid_argument);
  }
}

TEST_F(OutboxTest, KeepsRowsWhileTheLogTakesNothingAndRefusesBeyondTheLimit) {
  outbox_ = std::make_shared<const Outbox>(kTopic, 50);
  relay_ = relay();
  disk_.sync_fails = true;
  ASSERT_TRUE(put(0, 30));
  for (int turn = 0; turn < 20; ++turn) loop_->run_once(2ms);
  ASSERT_TRUE(put(30, 20));
  const auto refused = put(50, 1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::resource_exhausted);
  EXPECT_EQ(state().waiting, 50);
  EXPECT_GT(state().oldest_ms, 0);
  disk_.sync_fails = false;
  wait_until_moved();
  ASSERT_TRUE(put(50, 1));
  wait_until_moved();
  expect_all(51);
}

TEST_F(OutboxTest, FindsInTheLogWhatACrashLeftInTheTable) {
  relay_ = relay();
  ASSERT_TRUE(put(0, 5));
  wait_until_moved();
  // As after a crash between the log's acknowledgement and the removal of the rows: part of a row is in the log.
  (void)run(relay_->stop(kNever));
  relay_.reset();
  ASSERT_TRUE(put(5, 10));
  std::vector<queue::Event> events;
  for (int i = 5; i < 9; ++i)
    events.push_back({"k", outbox_record(this->name(), i + 1, "{\"n\":" + std::to_string(i) + "}")});
  ASSERT_TRUE(log_->append_now(kTopic, std::move(events)));
  relay_ = relay();
  wait_until_moved();
  expect_all(15);
}

TEST_F(OutboxTest, MovesNothingTwiceWhenOnlySomeOfTheRowsThatTheLogHasWereRemoved) {
  relay_ = relay();
  (void)run(relay_->stop(kNever));
  relay_.reset();
  std::vector<queue::Event> events;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(put(i, 1));
    events.push_back({"k", outbox_record(this->name(), i + 1, "{\"n\":" + std::to_string(i) + "}")});
  }
  ASSERT_TRUE(log_->append_now(kTopic, std::move(events)));
  const auto forgotten =
      store_->write_now([](store::SqliteConnection& db) { return outbox_forget(db, kTopic, 3, 3, 1); });
  ASSERT_TRUE(forgotten);
  EXPECT_EQ(forgotten->rows, 1u);
  EXPECT_EQ(forgotten->state.moved, 3);
  EXPECT_EQ(forgotten->state.waiting, 0);
  EXPECT_EQ(forgotten->state.oldest_ms, 0);
  ASSERT_TRUE(put(3, 2));
  EXPECT_EQ(state().waiting, 2);
  EXPECT_GT(state().oldest_ms, 0);
  relay_ = relay();
  wait_until_moved();
  expect_all(5);
}

TEST_F(OutboxTest, RemembersThatTheLogHasAPartOfARow) {
  relay_ = relay();
  (void)run(relay_->stop(kNever));
  relay_.reset();
  ASSERT_TRUE(put(0, 3));
  ASSERT_TRUE(log_->append_now(kTopic, {{"k", outbox_record(this->name(), 1, "{\"n\":0}")}}));
  disk_.sync_fails = true;
  relay_ = relay();
  (void)run(relay_->stop(kNever));
  relay_.reset();
  EXPECT_EQ(state().moved, 1);
  EXPECT_EQ(state().waiting, 2);
  disk_.sync_fails = false;
  relay_ = relay();
  wait_until_moved();
  expect_all(3);
}

TEST_F(OutboxTest, TwoRelaysMoveEachEventOnce) {
  relay_ = relay();
  auto other = relay();
  for (int i = 0; i < 200; ++i) {
    ASSERT_TRUE(put(i, 1));
    loop_->run_once(0ms);
  }
  wait_until_moved();
  (void)run(other->stop(kNever));
  expect_all(200);
}

TEST_F(OutboxTest, AnOutboxFromABackupGoesOnAboveTheNumbersOfTheLog) {
  relay_ = relay();
  ASSERT_TRUE(put(0, 5));
  wait_until_moved();
  ASSERT_TRUE(run(store_->backup(folder_ + "/copy.db")));
  ASSERT_TRUE(put(5, 5));
  wait_until_moved();
  const uint32_t name = this->name();
  close();
  for (const char* more : {"", "-wal", "-shm"}) std::filesystem::remove(folder_ + "/app.db" + more);
  std::filesystem::rename(folder_ + "/copy.db", folder_ + "/app.db");
  open();
  relay_ = relay();
  EXPECT_EQ(this->name(), name);
  EXPECT_EQ(state().moved, 10);
  ASSERT_TRUE(put(100, 1));
  wait_until_moved();
  ASSERT_EQ(records().size(), 11u);
  EXPECT_EQ(records().back(), outbox_record(name, 11, "{\"n\":100}"));
}

TEST_F(OutboxTest, ALogThatWasLostBeginsAnew) {
  relay_ = relay();
  ASSERT_TRUE(put(0, 5));
  wait_until_moved();
  (void)run(relay_->stop(kNever));
  relay_.reset();
  log_.reset();
  open_log("/another");
  ASSERT_TRUE(put(5, 2));
  relay_ = relay();
  wait_until_moved();
  EXPECT_EQ(records().size(), 2u);
}

}  // namespace
}  // namespace trellis::queue
