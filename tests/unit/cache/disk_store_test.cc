#include "cache/disk/disk_store.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/rng.h"
#include "tests/unit/cache/disk_fixture.h"

namespace trellis::cache {
namespace {

TEST_F(DiskStoreTest, FindsWhatWasPut) {
  open();
  for (const size_t size : {size_t{0}, size_t{1}, size_t{500}, size_t{100'000}}) {
    const std::string key = "size " + std::to_string(size);
    ASSERT_TRUE(put(key, body_of(key, size)));
  }
  store_->flush();
  for (const size_t size : {size_t{0}, size_t{1}, size_t{500}, size_t{100'000}}) {
    const std::string key = "size " + std::to_string(size);
    EXPECT_TRUE(store_->may_have(hash64(key)));
    const auto got = get(key);
    ASSERT_TRUE(got) << key;
    EXPECT_EQ(got->meta, "meta of " + key);
    EXPECT_EQ(got->body, body_of(key, size));
  }
  EXPECT_FALSE(get("never put"));
  EXPECT_EQ(figures().objects, 4u);
  EXPECT_EQ(figures().written, 4u);
}

TEST_F(DiskStoreTest, AnswersAtOnceWhereThePageCacheHasIt) {
  open();
  put("small", body_of("small", 60'000));
  put("bad", body_of("bad", 1000));
  put("unreadable", "body");
  store_->flush();
  const auto find = [&](std::string key) { return store_->find(key, hash64(key)); };
  EXPECT_EQ(body("small"), body_of("small", 60'000));  // past the page cache, as the segment is being written
  open();
  EXPECT_EQ(body("small"), body_of("small", 60'000));  // by a thread
  disk_.all_cached = true;
  auto small = find("small");
  small.start();
  ASSERT_TRUE(small.done());
  auto found = small.take();
  ASSERT_TRUE(found && *found);
  EXPECT_EQ(run_task(*loop_, (*found)->read())->view(), body_of("small", 60'000));
  disk_.read_fails = true;
  auto unreadable = find("unreadable");
  unreadable.start();
  ASSERT_TRUE(unreadable.done());
  EXPECT_FALSE(unreadable.take());
  EXPECT_FALSE(store_->may_have(hash64("unreadable")));
  disk_.read_fails = false;
  store_.reset();
  std::string& file = *disk_.contents(disk_.paths().front());
  file[file.find(body_of("bad", 1000)) + 500] ^= 1;
  open();
  EXPECT_EQ(body("small"), body_of("small", 60'000));
  EXPECT_EQ(body("bad"), "none");
  EXPECT_EQ(figures().damaged, 1u);
}

TEST_F(DiskStoreTest, ReadsAnObjectOfManyPiecesThatCameInRunsOfAnyLength) {
  options_.segment_bytes = 4 << 20;
  options_.size = 4 * options_.segment_bytes;
  open();
  const std::string whole = body_of("large", 1'000'003);
  auto owner = std::make_shared<const std::string>(whole);
  DiskObject object;
  object.key = "large";
  object.hash = hash64(object.key);
  object.meta = std::string(50'000, 'm');
  object.owner = owner;
  Rng rng(7);
  for (size_t at = 0; at < whole.size();) {
    const size_t run = std::min<size_t>(rng.below(200'000), whole.size() - at);
    object.body.push_back(std::string_view(*owner).substr(at, run));
    at += run;
  }
  ASSERT_TRUE(store_->put(std::move(object)));
  store_->flush();
  EXPECT_EQ(body("large"), whole);
  EXPECT_EQ(get("large")->meta.size(), 50'000u);
}

TEST_F(DiskStoreTest, SkipsWithoutReading) {
  options_.segment_bytes = 4 << 20;
  options_.size = 4 * options_.segment_bytes;
  open();
  const std::string whole = body_of("large", 3 * kDiskPiece + 10);
  put("large", whole);
  store_->flush();
  auto found = run_task(*loop_, store_->find("large", hash64("large")));
  ASSERT_TRUE(found && *found);
  DiskReader& reader = **found;
  const auto next = [&] { return std::string(run_task(*loop_, reader.read())->view()); };
  reader.skip_to(100);
  EXPECT_EQ(next(), whole.substr(100, kDiskPiece - 100));
  EXPECT_EQ(reader.position(), kDiskPiece);
  reader.skip_to(3 * kDiskPiece - 5);
  EXPECT_EQ(next(), whole.substr(3 * kDiskPiece - 5, 5));
  EXPECT_EQ(next(), whole.substr(3 * kDiskPiece));
  EXPECT_EQ(next(), "");
  reader.skip_to(5);
  EXPECT_EQ(next(), whole.substr(5, kDiskPiece - 5));
  reader.skip_to(UINT64_MAX);
  EXPECT_EQ(next(), "");
}

TEST_F(DiskStoreTest, TellsKeysOfTheSameHashApart) {
  open();
  DiskObject object = object_of("one", "body", "meta");
  object.hash = 42;
  store_->put(std::move(object));
  store_->flush();
  EXPECT_TRUE(run_task(*loop_, get_all(*store_, "one", 42)));
  EXPECT_FALSE(run_task(*loop_, get_all(*store_, "other", 42)));
  EXPECT_TRUE(run_task(*loop_, get_all(*store_, "one", 42)));
  EXPECT_EQ(figures().damaged, 0u);
}

TEST_F(DiskStoreTest, HasTheLastOfManyUnderAKey) {
  open();
  for (int i = 0; i < 50; ++i) put("key", "body " + std::to_string(i));
  store_->flush();
  EXPECT_EQ(body("key"), "body 49");
  EXPECT_EQ(figures().objects, 1u);
}

TEST_F(DiskStoreTest, IsWarmAfterARestart) {
  open();
  std::map<std::string, std::string> bodies;
  for (int i = 0; i < 100; ++i) {
    const std::string key = "key " + std::to_string(i);
    bodies[key] = body_of(key, static_cast<size_t>(i) * 100);
    put(key, bodies[key]);
  }
  for (int restart = 0; restart < 3; ++restart) {
    open();
    EXPECT_EQ(figures().objects, 100u);
    for (const auto& [key, body] : bodies) EXPECT_EQ(this->body(key), body);
  }
  EXPECT_EQ(figures().damaged, 0u);
}

TEST_F(DiskStoreTest, ReadsSegmentsThroughThatHaveNoTable) {
  open();
  for (int i = 0; i < 20; ++i) put("key " + std::to_string(i), body_of(std::to_string(i), 1000));
  store_->flush();
  disk_.calls_to_death = 0;  // neither table nor anything else
  store_.reset();
  disk_.calls_to_death = UINT64_MAX;
  open();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(body("key " + std::to_string(i)), body_of(std::to_string(i), 1000));
  EXPECT_EQ(figures().damaged, 0u);
  EXPECT_LT(figures().bytes, kSegment);  // it has its table now, and is cut
}

TEST_F(DiskStoreTest, ForgetsWhatWasRemovedOverARestartToo) {
  open();
  put("a", "1");
  put("b", "2");
  store_->flush();
  store_->remove(hash64("a"));
  EXPECT_FALSE(store_->may_have(hash64("a")));
  EXPECT_EQ(body("a"), "none");
  store_->flush();
  open();
  EXPECT_EQ(body("a"), "none");
  EXPECT_EQ(body("b"), "2");
  put("a", "3");
  open();
  EXPECT_EQ(body("a"), "3");
}

TEST_F(DiskStoreTest, RemovesTenThousand) {
  options_.segment_bytes = 16 << 20;
  options_.size = 4 * options_.segment_bytes;
  open();
  for (int i = 0; i < 10'000; ++i) put(std::to_string(i), "body");
  store_->flush();
  for (int i = 0; i < 10'000; i += 2) store_->remove(hash64(std::to_string(i)));
  store_->flush();
  EXPECT_EQ(figures().objects, 5'000u);
  open();
  EXPECT_EQ(figures().objects, 5'000u);
  EXPECT_EQ(body("1"), "body");
  EXPECT_EQ(body("2"), "none");
}

TEST_F(DiskStoreTest, WhatIsRemovedBeforeItWasWrittenNeverAppears) {
  open();
  disk_.hold_syncs();  // the writer stops where it ends its first segment
  for (int i = 0; i < 4; ++i) put("large " + std::to_string(i), body_of("large", kSegment / 3));
  put("gone", "1");
  put("again", "1");
  store_->remove(hash64("gone"));
  store_->remove(hash64("again"));
  put("again", "2");
  disk_.let_syncs_go();
  store_->flush();
  EXPECT_EQ(body("gone"), "none");
  EXPECT_EQ(body("again"), "2");
  open();
  EXPECT_EQ(body("gone"), "none");
  EXPECT_EQ(body("again"), "2");
}

TEST_F(DiskStoreTest, RefusesWhatIsTooLargeOrTooMuch) {
  options_.max_queued = 100'000;
  open();
  EXPECT_FALSE(put("large", std::string(store_->max_object() + 1, 'x')));
  EXPECT_TRUE(put("fits", std::string(store_->max_object() - 1000 - 50'000, 'x')));
  store_->flush();
  disk_.hold_syncs();
  int taken = 0;
  for (int i = 0; i < 100; ++i) taken += put(std::to_string(i), body_of("x", 30'000)) ? 1 : 0;
  EXPECT_LT(taken, 100);
  EXPECT_GE(figures().refused, static_cast<uint64_t>(101 - taken));
  disk_.let_syncs_go();
  store_->flush();
  EXPECT_TRUE(put("now", "there is room"));
}

TEST_F(DiskStoreTest, WritesTheLargestObjectItTakes) {
  open();
  for (int i = 0; i < 20; ++i) {
    const std::string key = "k" + std::to_string(i);
    ASSERT_TRUE(put(key, body_of(key, store_->max_object() - 1000), std::string(900, 'm')));
    store_->flush();
    EXPECT_EQ(body(key), body_of(key, store_->max_object() - 1000));
  }
}

TEST_F(DiskStoreTest, PacksSmallObjectsIntoUnitsHoweverTheyCome) {
  open();
  for (int i = 0; i < 200; ++i) {
    put(std::to_string(i), std::string(400, 'x'), "m");
    store_->flush();
  }
  store_.reset();
  uint64_t bytes = 0;
  for (const std::string& path : disk_.paths()) bytes += disk_.contents(path)->size();
  EXPECT_LT(bytes, 200 * 512 + 6 * 4096u);
  open();
  EXPECT_EQ(figures().objects, 200u);
}

// --- Room ---

TEST_F(DiskStoreTest, DropsTheOldestAndTakesAlongWhatWasAskedFor) {
  open();
  for (int i = 0; i < 8; ++i) put("old " + std::to_string(i), body_of(std::to_string(i), 1000));
  store_->flush();
  EXPECT_NE(body("old 3"), "none");
  put_until("more ", [&] { return figures().evicted > 0; });
  EXPECT_EQ(body("old 2"), "none");
  EXPECT_EQ(body("old 3"), body_of("3", 1000));
  EXPECT_EQ(figures().moved, 1u);
  EXPECT_LE(figures().bytes, options_.size);
  // What nobody asks for any more goes in the end. The two answers above count once more.
  put_until("yet more ", [&] { return !store_->may_have(hash64("old 3")); });
  EXPECT_LE(figures().bytes, options_.size);
  store_.reset();
  uint64_t bytes = 0;
  for (const std::string& path : disk_.paths()) bytes += disk_.contents(path)->size();
  EXPECT_LE(bytes, options_.size);
}

TEST_F(DiskStoreTest, TakesAlongWhatWasGivenFromMemory) {
  open();
  put("hot", "body");
  store_->flush();
  store_->touch(hash64("hot"));
  store_->touch(hash64("never put"));
  put_until("more ", [&] { return figures().evicted > 0; });
  EXPECT_EQ(body("hot"), "body");
}

TEST_F(DiskStoreTest, TakesNoMoreAlongThanHalfASegment) {
  open();
  for (int i = 0; i < 8; ++i) put("old " + std::to_string(i), body_of(std::to_string(i), 25'000));
  store_->flush();
  for (int i = 0; i < 8; ++i) EXPECT_NE(body("old " + std::to_string(i)), "none");
  put_until("more ", [&] { return figures().evicted > 0; });
  EXPECT_EQ(figures().moved, 5u);
  EXPECT_GE(figures().evicted, 3u);
}

TEST_F(DiskStoreTest, AnObjectStaysReadableWhileItIsRead) {
  options_.segment_bytes = 2 << 20;
  options_.size = 4 * options_.segment_bytes;
  open();
  const std::string whole = body_of("large", 700'000);
  put("large", whole);
  store_->flush();
  auto found = run_task(*loop_, store_->find("large", hash64("large")));
  ASSERT_TRUE(found && *found);
  std::string read(run_task(*loop_, (*found)->read())->view());
  store_->remove(hash64("large"));
  put_until("more ", [&] { return figures().evicted > 100; });
  while (true) {
    const auto bytes = run_task(*loop_, (*found)->read());
    ASSERT_TRUE(bytes);
    if (bytes->empty()) break;
    read += bytes->view();
  }
  EXPECT_EQ(read, whole);
  store_.reset();
  (*found)->skip_to(0);
  EXPECT_EQ(run_task(*loop_, (*found)->read())->size(), kDiskPiece);  // it has that
  EXPECT_EQ(run_task(*loop_, (*found)->read()).error().code(), Code::unavailable);
}

TEST_F(DiskStoreTest, SmallerAfterARestartWithLessSize) {
  open();
  put_until("k ", [&] { return figures().evicted > 0; });
  options_.size = 4 * kSegment;
  open();
  put_until("more ", [&] { return figures().bytes <= options_.size; });
}

// --- Other meta ---

TEST_F(DiskStoreTest, ReplacesTheMetaOfABody) {
  open();
  put("a", body_of("a", 40'000), "old");
  store_->flush();
  EXPECT_TRUE(store_->replace_meta("a", hash64("a"), "new and longer"));
  EXPECT_FALSE(store_->replace_meta("b", hash64("b"), "there is none"));
  EXPECT_TRUE(store_->replace_meta("another key", hash64("a"), "not mine") || true);
  store_->flush();
  for (int restart = 0; restart < 2; ++restart) {
    const auto got = get("a");
    ASSERT_TRUE(got);
    EXPECT_EQ(got->meta, "new and longer");
    EXPECT_EQ(got->body, body_of("a", 40'000));
    open();
  }
}

TEST_F(DiskStoreTest, ReplacesNoMetaOfWhatIsStillQueued) {
  open();
  disk_.hold_syncs();
  for (int i = 0; i < 4; ++i) put("large " + std::to_string(i), body_of("large", kSegment / 3));
  put("a", "body", "old");
  EXPECT_FALSE(store_->replace_meta("a", hash64("a"), "new"));
  disk_.let_syncs_go();
  store_->flush();
  EXPECT_EQ(get("a")->meta, "old");
}

// --- Walks ---

TEST_F(DiskStoreTest, AWalkRemovesWhatIsDeadForGood) {
  open();
  for (int i = 0; i < 40; ++i) put(std::to_string(i), body_of("x", 9'000), i % 4 == 0 ? "tag a" : "tag b");
  EXPECT_TRUE(sync());
  EXPECT_EQ(walk([](std::string_view, std::string_view meta) { return meta == "tag a"; }), 10u);
  EXPECT_EQ(figures().objects, 30u);
  open();
  EXPECT_EQ(figures().objects, 30u);
  EXPECT_EQ(body("4"), "none");
  EXPECT_NE(body("5"), "none");
}

TEST_F(DiskStoreTest, AWalkLooksAtWhatMovesMeanwhile) {
  open();
  put("a", "old");
  store_->flush();
  int looked = 0;
  EXPECT_EQ(walk([&](std::string_view, std::string_view meta) {
              if (++looked > 1) return meta == "of the old one";
              put("a", "new", "of the new one");
              store_->flush();
              return true;
            }),
            0u);
  EXPECT_EQ(looked, 2);
  EXPECT_EQ(body("a"), "new");
}

TEST_F(DiskStoreTest, AWalkMeetsWhatIsTakenAlongToANewSegment) {
  open();
  put("kept", body_of("kept", 9'000), "dead");
  store_->flush();
  DiskStore::Walk steps;
  // The first step takes the names of a part; then its object moves.
  const uint64_t hash = hash64("kept");
  steps.part = hash % 256;
  EXPECT_TRUE(step(steps, 0, [](auto, auto) { return true; }));
  for (int i = 0; i < 3; ++i) (void)get("kept");
  put_until("new", [&] { return figures().moved > 0; });
  EXPECT_TRUE(step(steps, 10, [](auto key, auto) { return key == "kept"; }));
  EXPECT_EQ(steps.removed, 1u);
  EXPECT_EQ(body("kept"), "none");
}

TEST_F(DiskStoreTest, AWalkEndsInAnErrorWhereTheDiskFails) {
  open();
  for (int i = 0; i < 40; ++i) put(std::to_string(i), "body");
  store_->flush();
  disk_.read_fails = true;
  DiskStore::Walk steps;
  Result<bool> more = true;
  while (more && *more) more = run_task(*loop_, store_->walk_on(steps, 8, [](auto, auto) { return false; }));
  EXPECT_FALSE(more);
  EXPECT_EQ(steps.removed, 0u);
}

TEST_F(DiskStoreTest, WhatCouldNotBeReadOnceDoesNotComeBackAfterARestart) {
  open();
  put("a", "body");
  ASSERT_TRUE(sync());
  disk_.read_fails = true;
  EXPECT_EQ(body("a"), "none");
  disk_.read_fails = false;
  EXPECT_EQ(body("a"), "none");
  ASSERT_TRUE(sync());
  open();
  EXPECT_EQ(body("a"), "none");
}

TEST_F(DiskStoreTest, WhatWasRemovedBeforeASyncStaysAwayWhenThePowerGoes) {
  open();
  for (int i = 0; i < 40; ++i) put(std::to_string(i), "body");
  ASSERT_TRUE(sync());
  EXPECT_EQ(walk([](auto, auto) { return true; }), 40u);
  ASSERT_TRUE(sync());
  store_->release();
  disk_.lose_power();
  open();
  EXPECT_EQ(figures().objects, 0u);
}

TEST_F(DiskStoreTest, ASyncSaysWhenTheDiskRefuses) {
  open();
  put("a", "body");
  EXPECT_TRUE(sync());
  disk_.sync_fails = true;
  EXPECT_FALSE(sync());
}

}  // namespace
}  // namespace trellis::cache
