#include "services/links/id_allocator.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/unit/services/service_fixture.h"

namespace trellis::services::links {
namespace {

class IdAllocatorTest : public ServiceTest {
 protected:
  IdAllocatorTest() {
    open_store();
    EXPECT_TRUE(store_->migrate("links", migrations()));
  }
  std::unique_ptr<IdAllocator> make() {
    auto ids = std::make_unique<IdAllocator>(*store_, *loop_, system_clock());
    EXPECT_TRUE(fakes::run_task(*loop_, ids->start()));
    return ids;
  }
  uint64_t take(IdAllocator& ids) {
    auto task = ids.take(kNever);
    return *fakes::run_task(*loop_, std::move(task));
  }
  void stop(IdAllocator& ids) { fakes::run_task(*loop_, ids.stop(kNever)); }
};

TEST_F(IdAllocatorTest, GivesEveryValueOnceInOrder) {
  auto ids = make();
  uint64_t previous = 0;
  for (int i = 0; i < 5000; ++i) {
    const uint64_t id = take(*ids);
    ASSERT_GT(id, previous);
    previous = id;
  }
  // A fast taker gets larger blocks.
  EXPECT_GT(ids->block_size(), IdAllocator::kMinBlock);
  stop(*ids);
}

TEST_F(IdAllocatorTest, ACrashWastesValuesAndRepeatsNone) {
  std::set<uint64_t> seen;
  for (int crash = 0; crash < 10; ++crash) {
    auto ids = make();
    for (int i = 0; i < 30 + crash * 20; ++i) ASSERT_TRUE(seen.insert(take(*ids)).second);
    ids.reset();  // without a stop; what a lease under way brings is lost
    store_.reset();
    open_store();
  }
}

TEST_F(IdAllocatorTest, LeavesOutWhatAliasesBurned) {
  const auto burned = store_->write_now([](store::SqliteConnection& db) -> Result<void> {
    return db.execute("INSERT INTO burned_codes(counter) VALUES(5), (6), (40), (64), (65), (70)");
  });
  ASSERT_TRUE(burned);
  auto ids = make();
  std::set<uint64_t> seen;
  for (int i = 0; i < 100; ++i) seen.insert(take(*ids));
  for (const uint64_t counter : {5, 6, 40, 64, 65, 70}) EXPECT_FALSE(seen.contains(counter)) << counter;
  EXPECT_EQ(seen.size(), 100u);
  stop(*ids);
}

TEST_F(IdAllocatorTest, GivesNoValueBelowOneThatItWasToldToSkipTo) {
  auto ids = make();
  take(*ids);
  const auto leased = store_->write_now([](store::SqliteConnection& db) { return lease_ids(db, 500); });
  ASSERT_TRUE(leased);
  ids->skip_to(leased->end);
  EXPECT_GE(take(*ids), leased->end);
  stop(*ids);
}

TEST_F(IdAllocatorTest, SaysSoWhenAllAreGiven) {
  const auto near_the_end = store_->write_now([](store::SqliteConnection& db) -> Result<void> {
    return db.execute("UPDATE link_settings SET value = ?1 WHERE name = 'next'", kCodeCount - 3);
  });
  ASSERT_TRUE(near_the_end);
  auto ids = make();
  for (int i = 0; i < 3; ++i) EXPECT_LT(take(*ids), kCodeCount);
  const auto none = fakes::run_task(*loop_, ids->take(kNever));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code(), Code::resource_exhausted);
  stop(*ids);
}

}  // namespace
}  // namespace trellis::services::links
