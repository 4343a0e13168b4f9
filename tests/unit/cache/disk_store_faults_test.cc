#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "base/rng.h"
#include "cache/disk/disk_store.h"
#include "tests/unit/cache/disk_fixture.h"

namespace trellis::cache {
namespace {

TEST_F(DiskStoreTest, RefusesAFolderWithFilesOfOthers) {
  (void)disk_.open("/cache/holiday.jpg", Disk::Open::create);
  const auto opened = try_open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), Code::failed_precondition);
  EXPECT_NE(opened.error().to_string().find("holiday.jpg"), std::string::npos);
  EXPECT_EQ(disk_.paths().size(), 1u);
}

TEST_F(DiskStoreTest, RefusesSizesOutOfBounds) {
  options_.size = 3 * kSegment;
  EXPECT_EQ(try_open().error().code(), Code::invalid_argument);
  options_.size = 8 * kSegment;
  options_.segment_bytes = 1000;
  EXPECT_EQ(try_open().error().code(), Code::invalid_argument);
  options_.segment_bytes = 0;  // by the size
  EXPECT_TRUE(try_open());
}

TEST_F(DiskStoreTest, DropsSegmentsOfAnotherVersionAndOnesThatAreNone) {
  open();
  put("a", "1");
  store_->flush();
  const std::string path = disk_.paths().front();
  open();
  put("b", "2");
  store_.reset();
  std::string* label = disk_.contents(path);
  ASSERT_NE(label, nullptr);
  (*label)[label->size() - 4096 + 8] = 9;  // the version in its footer
  auto file = disk_.open("/cache/00000000000000ff.segment", Disk::Open::create);
  ASSERT_TRUE((*file)->write(0, "no segment at all"));
  open();
  EXPECT_EQ(figures().damaged, 2u);
  EXPECT_EQ(body("a"), "none");
  EXPECT_EQ(body("b"), "2");
  EXPECT_EQ(disk_.contents(path), nullptr);
  put("c", "3");
  open();
  EXPECT_EQ(body("c"), "3");
}

TEST_F(DiskStoreTest, ASegmentThatWasJustMadeWhenTheProcessWasKilledIsNoDamage) {
  open();
  put("a", "1");
  for (const uint64_t reserved : {uint64_t{0}, kSegment}) {
    open();
    const std::string path = "/cache/00000000000000ff.segment";
    store_.reset();
    auto file = disk_.open(path, Disk::Open::create);
    ASSERT_TRUE(file);
    if (reserved > 0) {
      ASSERT_TRUE((*file)->write(reserved - 1, std::string_view("\0", 1)));
    }
    open();
    EXPECT_EQ(figures().damaged, 0u);
    EXPECT_FALSE(store_->has_lost());
    EXPECT_EQ(body("a"), "1");
    EXPECT_EQ(disk_.contents(path), nullptr);
  }
}

TEST_F(DiskStoreTest, ASegmentWhoseLabelTheDiskLostIsDamage) {
  open();
  put("a", "1");
  open();
  put("b", "2");
  store_.reset();
  const std::vector<std::string> paths = disk_.paths();
  std::string* older = disk_.contents(paths.front());
  older->assign(older->size(), '\0');
  open();
  EXPECT_EQ(figures().damaged, 1u);
  EXPECT_TRUE(store_->has_lost());
  EXPECT_EQ(body("a"), "none");
  EXPECT_EQ(body("b"), "2");
}

TEST_F(DiskStoreTest, ServesNoDamagedByte) {
  open();
  const std::string whole = body_of("key", 1000);
  put("key", whole, "the meta");
  put("behind", "it");
  store_.reset();
  const std::string path = disk_.paths().front();
  const std::string good = *disk_.contents(path);
  int served = 0;
  for (size_t at = 4096; at < 4096 + 512 * 3; at += 7) {
    std::string* file = disk_.contents(path);
    *file = good;
    (*file)[at] = static_cast<char>((*file)[at] ^ 0x20);
    open();
    const auto got = get("key");
    if (got) {
      ++served;  // the byte was none of the record's
      EXPECT_EQ(got->body, whole);
      EXPECT_EQ(got->meta, "the meta");
    } else {
      EXPECT_EQ(figures().damaged, 1u) << at;
      EXPECT_FALSE(store_->may_have(hash64("key")));
    }
    EXPECT_EQ(body("behind"), "it") << at;
    store_.reset();
    for (const std::string& other : disk_.paths()) {
      if (other != path) (void)disk_.remove(other);
    }
  }
  EXPECT_LT(served, 100);
}

TEST_F(DiskStoreTest, ReadsTheRecordsWhereATableIsDamaged) {
  open();
  for (int i = 0; i < 30; ++i) put(std::to_string(i), "body " + std::to_string(i));
  store_->flush();
  store_->remove(hash64("7"));
  store_.reset();
  const std::string path = disk_.paths().front();
  const std::string good = *disk_.contents(path);
  for (const size_t back : {size_t{4096 + 4000}, size_t{4090}, size_t{4070}}) {
    std::string* file = disk_.contents(path);
    *file = good;
    char& byte = (*file)[file->size() - back];
    byte = static_cast<char>(byte ^ 1);
    open();
    EXPECT_EQ(figures().objects, 29u);
    EXPECT_EQ(body("3"), "body 3");
    EXPECT_EQ(body("7"), "none");
  }
}

TEST_F(DiskStoreTest, DamageFurtherOnIsSaidWhereItIsMet) {
  options_.segment_bytes = 4 << 20;
  options_.size = 4 * options_.segment_bytes;
  open();
  put("large", body_of("large", 3 * kDiskPiece));
  store_.reset();
  (*disk_.contents(disk_.paths().front()))[4096 + 2 * kDiskPiece] ^= 1;
  open();
  auto found = run_task(*loop_, store_->find("large", hash64("large")));
  ASSERT_TRUE(found && *found);
  EXPECT_TRUE(run_task(*loop_, (*found)->read()));
  const auto second = run_task(*loop_, (*found)->read());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Code::data_loss);
  EXPECT_FALSE(store_->may_have(hash64("large")));
  EXPECT_EQ(figures().damaged, 1u);
}

TEST_F(DiskStoreTest, GoesOnWithLessWhereTheDiskIsFull) {
  disk_.capacity = 4 * kSegment;
  open();
  put_until("k ", [&] { return figures().evicted > 10; });
  EXPECT_EQ(figures().state, DiskState::full);
  EXPECT_EQ(figures().refused, 0u);
  EXPECT_LE(figures().bytes, 4 * kSegment);
  ASSERT_TRUE(put("new", "body"));
  store_->flush();
  EXPECT_EQ(body("new"), "body");
  disk_.capacity = UINT64_MAX;
  put_until("more ", [&] { return figures().state == DiskState::ok; });
  put_until("yet more ", [&] { return figures().bytes > 6 * kSegment; });
}

TEST_F(DiskStoreTest, TakesAlongWhatWasAskedForOnAFullDiskToo) {
  disk_.capacity = 4 * kSegment + kSegment / 2;
  open();
  put_until("k ", [&] { return figures().state == DiskState::full; });
  put("hot", "body");
  store_->flush();
  for (int round = 0; round < 40; ++round) {
    ASSERT_EQ(body("hot"), "body") << round;
    const uint64_t evicted = figures().evicted;
    put_until("more " + std::to_string(round) + " ", [&] { return figures().evicted > evicted; });
    store_->touch(hash64("hot"));
  }
  EXPECT_GT(figures().moved, 5u);
}

TEST_F(DiskStoreTest, GoesOnWithoutADiskThatFailsAndWithItWhenItWorksAgain) {
  open();
  put("a", "1");
  put("b", "2");
  store_->flush();
  disk_.write_fails = true;
  for (int i = 0; i < 100 && figures().state != DiskState::failed; ++i) {
    put("x", "y");
    store_->flush();
  }
  EXPECT_EQ(figures().state, DiskState::failed);
  EXPECT_GE(figures().refused, 1u);
  EXPECT_FALSE(put("c", "3"));
  EXPECT_EQ(body("a"), "none");
  store_->remove(hash64("b"));
  store_->flush();  // does not wait for it
  clock_.advance(std::chrono::seconds(4));
  disk_.write_fails = false;
  EXPECT_EQ(figures().state, DiskState::failed);
  clock_.advance(std::chrono::seconds(2));
  wait_until([&] { return figures().state == DiskState::ok; });
  EXPECT_EQ(body("a"), "1");
  EXPECT_EQ(body("b"), "none");
  EXPECT_TRUE(put("c", "3"));
  store_->flush();
  open();
  EXPECT_EQ(body("a"), "1");
  EXPECT_EQ(body("b"), "none");
  EXPECT_EQ(body("c"), "3");
}

TEST_F(DiskStoreTest, WhatWasNotWrittenLeavesNothingOlderInItsPlace) {
  open();
  put("a", "old");
  put("b", "old");
  store_->flush();
  disk_.write_fails = true;
  put("a", "new");
  store_->flush();
  disk_.write_fails = false;
  clock_.advance(std::chrono::seconds(6));
  wait_until([&] { return figures().state == DiskState::ok; });
  store_->flush();
  EXPECT_EQ(body("a"), "none");
  EXPECT_EQ(body("b"), "old");
  open();
  EXPECT_EQ(body("a"), "none");
  EXPECT_EQ(body("b"), "old");
}

TEST_F(DiskStoreTest, FailsByReadsToo) {
  open();
  for (int i = 0; i < 10; ++i) put(std::to_string(i), "body");
  store_->flush();
  disk_.read_fails = true;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(body(std::to_string(i)), "none");
  EXPECT_EQ(figures().state, DiskState::failed);
  clock_.advance(std::chrono::seconds(6));
  store_->flush();
  EXPECT_EQ(figures().state, DiskState::failed);
  disk_.read_fails = false;
  clock_.advance(std::chrono::seconds(6));
  wait_until([&] { return figures().state == DiskState::ok; });
  EXPECT_EQ(body("5"), "body");
}

TEST_F(DiskStoreTest, NobodyWaitsLongerForAReadThanHeWants) {
  options_.segment_bytes = 4 << 20;
  options_.size = 4 * options_.segment_bytes;
  open();
  put("a", body_of("a", 2 * kDiskPiece));
  store_->flush();
  auto found = run_task(*loop_, store_->find("a", hash64("a")));
  ASSERT_TRUE(found && *found);
  EXPECT_TRUE(run_task(*loop_, (*found)->read()));
  disk_.hold_reads();
  const auto soon = [&] { return loop_->exact_now() + std::chrono::milliseconds(1); };
  const auto again = run_task(*loop_, store_->find("a", hash64("a"), soon()));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), Code::deadline_exceeded);
  EXPECT_EQ(run_task(*loop_, (*found)->read(soon())).error().code(), Code::deadline_exceeded);
  disk_.let_reads_go();
  EXPECT_EQ(run_task(*loop_, (*found)->read())->size(), kDiskPiece);  // where it was
  EXPECT_EQ(body("a"), body_of("a", 2 * kDiskPiece));
  EXPECT_EQ(figures().state, DiskState::ok);
}

TEST_F(DiskStoreTest, IsAMissAtOnceWhenTooManyReadsWait) {
  options_.read_threads = 1;
  open();
  put("a", "body");
  store_->flush();
  disk_.hold_reads();
  std::vector<Task<Result<std::optional<DiskReader>>>> waiting;
  while (waiting.size() < 10'000) {
    waiting.push_back(store_->find("a", hash64("a")));
    waiting.back().start();
    if (waiting.back().done()) break;
  }
  ASSERT_LT(waiting.size(), 10'000u);
  const auto last = waiting.back().take();
  EXPECT_TRUE(last && !*last);
  disk_.let_reads_go();
  for (size_t i = 0; i + 1 < waiting.size(); ++i) {
    while (!waiting[i].done()) loop_->run_once(std::chrono::seconds(1));
    const auto found = waiting[i].take();
    EXPECT_TRUE(found && *found);
  }
}

TEST_F(DiskStoreTest, AReaderThatGoesAwayIsNotMissed) {
  open();
  put("a", "body");
  store_->flush();
  disk_.hold_reads();
  {
    auto finding = store_->find("a", hash64("a"));
    finding.start();
    EXPECT_FALSE(finding.done());
  }
  disk_.let_reads_go();
  store_.reset();
}

TEST_F(DiskStoreTest, BeginsWithoutADiskThatFailsAndRemovesNothing) {
  open();
  put_until("k ", [&] { return figures().bytes > 4 * kSegment; });
  put("a", "1");
  put("b", "2");
  store_.reset();
  const size_t files = disk_.paths().size();
  disk_.read_fails = true;
  open();
  EXPECT_EQ(figures().state, DiskState::failed);
  EXPECT_FALSE(put("c", "3"));
  EXPECT_EQ(body("a"), "none");
  store_->remove(hash64("b"));
  store_->flush();
  EXPECT_EQ(disk_.paths().size(), files);
  disk_.read_fails = false;
  wait_until([&] { return figures().state == DiskState::ok; });
  EXPECT_EQ(body("b"), "none");  // from the first moment on
  EXPECT_EQ(body("a"), "1");
  EXPECT_TRUE(put("c", "3"));
  store_->flush();
  EXPECT_EQ(body("b"), "none");
}

TEST_F(DiskStoreTest, WaitsForTheProcessThatHasTheFolder) {
  open();
  put("a", "1");
  put("b", "2");
  store_.reset();
  disk_.locked = true;
  open();
  EXPECT_EQ(figures().state, DiskState::waiting);
  EXPECT_FALSE(put("c", "3"));
  EXPECT_EQ(body("a"), "none");
  store_->remove(hash64("b"));
  store_->flush();
  disk_.locked = false;
  wait_until([&] { return figures().state == DiskState::ok; });
  store_->flush();
  EXPECT_EQ(body("a"), "1");
  EXPECT_EQ(body("b"), "none");
  EXPECT_TRUE(put("c", "3"));
}

TEST_F(DiskStoreTest, LetsAnotherTakeOverAndStillFindsWhatItHas) {
  open();
  for (int i = 0; i < 10; ++i) put(std::to_string(i), body_of(std::to_string(i), 10'000));
  store_->release();
  EXPECT_FALSE(put("more", "body"));
  store_->remove(hash64("3"));
  store_->flush();
  EXPECT_EQ(body("3"), "none");
  const auto old = std::move(store_);
  open();
  EXPECT_EQ(figures().objects, 10u);
  put_until("new ", [&] { return !store_->may_have(hash64("5")); });
  const auto got = run_task(*loop_, get_all(*old, "5", hash64("5")));
  ASSERT_TRUE(got);
  EXPECT_EQ(got->body, body_of("5", 10'000));
}

TEST_F(DiskStoreTest, EndsWhileItWaits) {
  disk_.locked = true;
  open();
  store_.reset();
}

TEST_F(DiskStoreTest, OnTheMachinesOwnDiskTheSecondStoreWaitsForTheFirst) {
  std::string pattern = testing::TempDir() + "diskstoreXXXXXX";
  options_.path = mkdtemp(pattern.data());
  options_.disk = nullptr;
  options_.clock = nullptr;
  open();
  const std::string large = body_of("large", 100'000);
  put("large", large);
  store_->flush();
  EXPECT_EQ(body("large"), large);
  EXPECT_EQ(body("large"), large);  // from memory
  const auto first = std::move(store_);
  open();
  EXPECT_EQ(figures().state, DiskState::waiting);
  EXPECT_EQ(body("large"), "none");
  first->release();
  wait_until([&] { return figures().state == DiskState::ok; });
  EXPECT_EQ(body("large"), large);
  put_until("more ", [&] { return figures().evicted > 0; });
  EXPECT_EQ(figures().damaged, 0u);
  store_.reset();
  std::filesystem::remove_all(options_.path);
}

TEST_F(DiskStoreTest, OnTheMachinesOwnDiskReadsAndWritesSideBySideDoNoHarm) {
  std::string pattern = testing::TempDir() + "diskstoreXXXXXX";
  options_.path = mkdtemp(pattern.data());
  options_.disk = nullptr;
  options_.clock = nullptr;
  options_.segment_bytes = 4 << 20;
  options_.size = 8 * options_.segment_bytes;
  open();
  Rng rng(11);
  const auto size_of = [](uint64_t i) { return static_cast<size_t>(500 + i * 7919 % 40'000); };
  uint64_t found = 0;
  for (uint64_t i = 0; i < 3000; ++i) {
    const std::string key = std::to_string(i);
    ASSERT_TRUE(put(key, body_of(key, size_of(i))));
    if (i % 50 == 0) store_->flush();
    const uint64_t back = rng.below(std::min<uint64_t>(i + 1, 300));
    const auto got = get(std::to_string(i - back));
    if (!got) continue;
    ++found;
    ASSERT_EQ(got->body, body_of(std::to_string(i - back), size_of(i - back)));
  }
  EXPECT_GT(found, 1000u);
  EXPECT_EQ(figures().damaged, 0u);
  EXPECT_EQ(figures().refused, 0u);
  EXPECT_EQ(figures().state, DiskState::ok);
  store_.reset();
  std::filesystem::remove_all(options_.path);
}

// --- Power ---

// Every object's body tells its key and version, so that whatever is found can be told from torn and mixed bytes.
std::string versioned(const std::string& key, int version) {
  const std::string name = key + "/" + std::to_string(version);
  return name + ":" + body_of(name, hash64(name) % 30'000);
}

TEST_F(DiskStoreTest, WhateverIsFoundAfterALossOfPowerIsWhole) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    FaultyDisk disk(seed * 7919);
    options_.disk = &disk;
    options_.size = 5 * kSegment;
    Rng rng(seed);
    std::map<std::string, int> newest;
    for (int round = 0; round < 4; ++round) {
      open();
      if (rng.below(4) > 0) disk.calls_to_death = 5 + rng.below(150);
      const uint64_t steps = rng.below(150);
      for (uint64_t step = 0; step < steps; ++step) {
        const std::string key = "key " + std::to_string(rng.below(30));
        if (rng.below(8) == 0) {
          store_->remove(hash64(key));
        } else {
          put(key, versioned(key, ++newest[key]));
        }
        if (rng.below(5) == 0) store_->flush();
        if (rng.below(5) == 0) (void)get(key);
      }
      store_->flush();
      // Stopped dead, or closed.
      if (rng.below(2) == 0) disk.calls_to_death = 0;
      store_.reset();
      disk.lose_power();
      open();
      for (const auto& [key, version] : newest) {
        const auto got = get(key);
        if (!got) continue;
        const int found = std::atoi(got->body.substr(key.size() + 1).c_str());
        ASSERT_GE(found, 1) << "seed " << seed;
        ASSERT_LE(found, version) << "seed " << seed;
        ASSERT_EQ(got->body, versioned(key, found)) << "seed " << seed;
      }
    }
    store_.reset();
  }
}

}  // namespace
}  // namespace trellis::cache
