#include "cache/edge/edge_cache.h"

#include <string>
#include <thread>

#include "cache/edge/purge_walk.h"
#include "runtime/blocking_pool.h"
#include "runtime/sync.h"
#include "tests/unit/cache/disk_fixture.h"

namespace trellis::cache {
namespace {

using namespace std::chrono_literals;

constexpr uint64_t kSegment = 4 << 20;  // has room for bodies of many pieces
constexpr std::string_view kUri = "http://example.com/a";

class EdgeCacheTest : public testing::Test {
 protected:
  EdgeCacheTest() {
    LoopOptions options;
    options.clock = &clock_;
    loop_ = *Loop::make(options);
    open(1 << 20, false);
  }
  ~EdgeCacheTest() override { background_.cancel_all(); }

  void open(uint64_t memory, bool with_disk) {
    cache_.reset();
    memory_.reset();
    memory_ =
        std::make_unique<MemoryCache>(MemoryCacheOptions{.name = "edge", .capacity = memory, .shards = 1}, metrics_);
    std::unique_ptr<DiskStore> disk;
    if (with_disk) {
      DiskOptions options;
      options.name = "edge";
      options.path = "/cache";
      options.size = 16 * kSegment;
      options.segment_bytes = kSegment;
      options.disk = &disk_;
      options.clock = &clock_;
      disk = *DiskStore::open(options, metrics_);
    }
    cache_ = std::make_shared<EdgeCache>(*memory_, std::move(disk), *PurgeBook::open(book_),
                                         EdgeCacheOptions{.max_object = 8 << 20, .on_the_way = on_the_way_});
  }
  // As after a restart: with what is on disk, and nothing in memory.
  void reopen(uint64_t memory = 1 << 20) {
    cache_->disk()->flush();
    open(memory, true);
  }

  ObjectRef make(std::string_view key, std::string_view text, std::vector<uint64_t> tags = {}) {
    auto body = cache_->make_body(text.size());
    body->append(text);
    body->finish();
    ObjectHead head;
    head.answered = loop_->now();
    head.freshness.answered = unix_seconds(clock_.wall());
    head.freshness.lifetime = 60;
    head.purge_url = "example.com/a";
    head.tags = std::move(tags);
    head.filled = cache_->book().newest();
    return cache_->make_object(std::string(key), std::move(head), {{0, std::move(body)}});
  }
  void put(std::string_view key, std::string_view text) { cache_->insert(make(key, text), cache_->stamp(key)); }
  std::string get(std::string_view key) {
    const ObjectRef object = cache_->find(key, loop_->now());
    if (!object) return "none";
    std::string text;
    for (const std::string_view piece : object->parts()[0].body->pieces()) text += piece;
    return text;
  }
  ObjectRef load(std::string_view key) {
    return fakes::run_task(*loop_, cache_->load(std::string(key), kNever, background_, nullptr));
  }
  void finish_background() {
    const auto until = std::chrono::steady_clock::now() + 60s;
    while (background_.size() > 0 && std::chrono::steady_clock::now() < until) loop_->run_once(Duration::zero());
    ASSERT_EQ(background_.size(), 0u);
  }
  FillLeader lead(std::string_view key) {
    auto joined = cache_->join(key);
    EXPECT_TRUE(joined.leads);
    return FillLeader(cache_, std::move(joined.fill));
  }

  // A walk, with a disk whose threads answer in their own time.
  bool walk() {
    std::optional<bool> ended;
    background_.spawn([](std::shared_ptr<EdgeCache> cache, std::optional<bool>& out) -> Task<> {
      std::weak_ptr<EdgeCache> weak = cache;
      cache.reset();
      Task<bool> walking = walk_once(std::move(weak));
      out = co_await walking;
    }(cache_, ended));
    const auto until = std::chrono::steady_clock::now() + 60s;
    while (!ended && std::chrono::steady_clock::now() < until) {
      loop_->run_once(Duration::zero());
      clock_.advance(1ms);
    }
    return ended.value_or(false);
  }
  void purge(PurgeRule rule) { EXPECT_TRUE(cache_->book().add({std::move(rule)}).kept); }
  size_t rules() { return cache_->book().figures().rules; }

  fakes::ManualClock clock_;
  Metrics metrics_;
  FaultyDisk disk_;
  PurgeBookOptions book_{.disk = &disk_, .clock = &clock_};
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<MemoryCache> memory_;
  uint64_t on_the_way_ = 0;
  std::shared_ptr<EdgeCache> cache_;
  TaskGroup background_;
};

// --- fills ---

TEST_F(EdgeCacheTest, OneLeadsAndTheOthersLearnHowItEnds) {
  {
    FillLeader leader = lead(kUri);
    const auto waits = cache_->join(kUri);
    EXPECT_FALSE(waits.leads);
    leader.failed(Error(Code::unavailable, "down"));
    EXPECT_EQ(waits.fill->end, Fill::End::failed);
    EXPECT_TRUE(cache_->join(kUri).leads);  // who comes now begins anew
  }
  // That one's leader was never made: nobody is in its way for good.
  cache_->invalidate(kUri);
  std::shared_ptr<Fill> waits;
  {
    FillLeader leader = lead(kUri);
    waits = cache_->join(kUri).fill;
  }
  EXPECT_EQ(waits->end, Fill::End::abandoned);
  EXPECT_TRUE(waits->decided.finished());
  FillLeader leader = lead(kUri);
  waits = cache_->join(kUri).fill;
  leader.unshared();
  EXPECT_EQ(waits->end, Fill::End::unshared);
}

TEST_F(EdgeCacheTest, WhoComesWhileItGrowsReadsAlong) {
  FillLeader leader = lead(kUri);
  const ObjectRef object = make(kUri, "text");
  leader.give(object, ObjectRef());
  const auto joined = cache_->join(kUri);
  EXPECT_FALSE(joined.leads);
  EXPECT_EQ(joined.fill->object.entry().get(), object.entry().get());
  leader.end();
  EXPECT_EQ(cache_->fills(), 0u);
  EXPECT_TRUE(cache_->join(kUri).leads);
}

TEST_F(EdgeCacheTest, AFillOfAVariantIsJoinedUnderItsOwnKeyToo) {
  const ObjectRef marker = cache_->make_variants(std::string(kUri), {.names = {"x-lang"}, .id = 7});
  const std::string variant = std::string(kUri) + "\n#0000000000000007\nx-lang=de";
  FillLeader leader = lead(kUri);
  leader.give(make(variant, "text"), marker);
  EXPECT_FALSE(cache_->join(variant).leads);
  EXPECT_FALSE(cache_->join(kUri).leads);
  leader.end();
  EXPECT_EQ(cache_->fills(), 0u);
}

TEST_F(EdgeCacheTest, APurgeWinsOverAFill) {
  FillLeader leader = lead(kUri);
  cache_->invalidate_all();
  EXPECT_TRUE(cache_->join(kUri).leads);  // not known whether it meets that one
  ObjectRef object = make(kUri, "old");
  ObjectHead head;
  head.filled = leader.filled();
  head.freshness.lifetime = 60;
  object = cache_->make_object(std::string(kUri), std::move(head), object->parts());
  cache_->insert(object, leader.stamp());
  EXPECT_EQ(get(kUri), "none");
}

TEST_F(EdgeCacheTest, APurgeOfSomethingElseLetsAnAnsweredFillGoOn) {
  FillLeader leader = lead(kUri);
  leader.give(make(kUri, "text", {1}), ObjectRef());
  (void)cache_->book().add({PurgeRule{PurgeRule::Kind::tag, "other", false}});
  EXPECT_FALSE(cache_->join(kUri).leads);
}

TEST_F(EdgeCacheTest, AnInvalidationMeetsAllFillsOfItsUri) {
  const std::string variant = std::string(kUri) + "\n#0000000000000007\nx-lang=de";
  const std::vector<std::string> keys = {std::string(kUri), variant, range_key(kUri, "bytes=0-1"), slice_key(kUri, 3)};
  std::vector<FillLeader> leaders;
  for (const std::string& key : keys) leaders.push_back(lead(key));
  const Stamp other = cache_->stamp("http://example.com/b");
  cache_->invalidate(kUri);
  EXPECT_EQ(cache_->stamp("http://example.com/b"), other);
  for (size_t i = 0; i < keys.size(); ++i) {
    EXPECT_TRUE(cache_->join(keys[i]).leads) << i;
    cache_->insert(make(keys[i], "old"), leaders[i].stamp());
    EXPECT_EQ(get(keys[i]), "none") << i;
    put(keys[i], "new");
    EXPECT_EQ(get(keys[i]), "new") << i;
  }
}

TEST_F(EdgeCacheTest, InvalidatesAgainstInsertionsOnOtherThreads) {
  // However the two meet: what was asked for before an invalidation is not there after it.
  for (int i = 0; i < 2000; ++i) {
    const std::string key = "http://example.com/" + std::to_string(i);
    const Stamp stamp = cache_->stamp(key);
    const ObjectRef object = make(key, "old");
    std::thread inserter([&] { cache_->insert(object, stamp); });
    cache_->invalidate(key);
    inserter.join();
    ASSERT_EQ(get(key), "none") << i;
  }
}

// --- memory ---

TEST_F(EdgeCacheTest, AnObjectThatMemoryDoesNotTakeReplacesWhatItHad) {
  put(kUri, "old");
  put(kUri, std::string(900'000, 'x'));
  EXPECT_EQ(get(kUri), "none");
}

TEST_F(EdgeCacheTest, ABodyThatGrowsIsNotStored) {
  auto body = cache_->make_body(10);
  body->append("abc");
  ObjectHead head;
  cache_->insert(cache_->make_object(std::string(kUri), std::move(head), {{0, body}}), cache_->stamp(kUri));
  EXPECT_EQ(get(kUri), "none");
}

TEST_F(EdgeCacheTest, HasRoomForHalfAsMuchAgainAsItsMemoryOrMore) {
  EXPECT_FALSE(cache_->has_room((8 << 20) + 1));  // larger than any may be
  EXPECT_TRUE(cache_->has_room(1536 << 10));
  EXPECT_FALSE(cache_->has_room((1536 << 10) + 1));
  {
    const auto one = cache_->make_body(1 << 20);
    EXPECT_TRUE(cache_->has_room(512 << 10));
    EXPECT_FALSE(cache_->has_room(600 << 10));
  }
  EXPECT_TRUE(cache_->has_room(1536 << 10));
  on_the_way_ = 3 << 20;
  open(1 << 20, false);
  EXPECT_TRUE(cache_->has_room(4 << 20));
  EXPECT_FALSE(cache_->has_room((4 << 20) + 1));
}

// --- disk ---

TEST_F(EdgeCacheTest, FindsOnDiskWhatWasThereBefore) {
  open(1 << 20, true);
  put(kUri, "text");
  const std::string text = body_of("large", 900'000);
  put("http://example.com/large", text);
  const std::string marked = "http://example.com/v";
  cache_->insert(cache_->make_variants(marked, {.names = {"x-lang"}, .id = 7}), cache_->stamp(marked));
  reopen(4 << 20);
  EXPECT_EQ(get(kUri), "none");
  ASSERT_TRUE(load(kUri));
  EXPECT_EQ(get(kUri), "text");
  const ObjectRef large = load("http://example.com/large");
  ASSERT_TRUE(large);
  EXPECT_TRUE(large->whole());
  finish_background();
  EXPECT_EQ(get("http://example.com/large"), text);
  const ObjectRef marker = load(marked);
  ASSERT_TRUE(marker);
  EXPECT_EQ(marker->kind(), Object::Kind::variants);
  EXPECT_EQ(marker->vary().id, 7u);
  EXPECT_FALSE(load("http://example.com/nothing"));
}

TEST_F(EdgeCacheTest, WhatIsLoadedGivesWayToWhatCameMeanwhile) {
  open(4 << 20, true);
  const std::string old = body_of("old", 900'000);
  put(kUri, old);
  reopen(4 << 20);
  ASSERT_TRUE(load(kUri));  // its rest is being read
  put(kUri, "new");
  finish_background();
  EXPECT_EQ(get(kUri), "new");

  put(kUri, old);
  reopen(4 << 20);
  ASSERT_TRUE(load(kUri));
  cache_->invalidate(kUri);
  finish_background();
  EXPECT_EQ(get(kUri), "none");
  EXPECT_FALSE(load(kUri));
}

TEST_F(EdgeCacheTest, KeepsSlicesOnDiskAndNoOtherParts) {
  open(1 << 20, true);
  const std::string slice = slice_key(kUri, 3);
  const auto part = [&](const std::string& key) {
    auto body = cache_->make_body(5);
    body->append("slice");
    body->finish();
    ObjectHead head = make(kUri, "")->head();
    head.total = 20;
    return cache_->make_object(key, std::move(head), {{15, std::move(body)}});
  };
  for (const std::string& key : {slice, std::string(kUri)}) cache_->insert(part(key), cache_->stamp(key));
  reopen();
  EXPECT_FALSE(cache_->may_be_on_disk(kUri));
  const ObjectRef seen = fakes::run_task(*loop_, cache_->peek_on_disk(slice, kNever));
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->total(), 20u);
  const ObjectRef object = load(slice);
  ASSERT_TRUE(object);
  EXPECT_FALSE(object->whole());
  EXPECT_EQ(object->total(), 20u);
  ASSERT_EQ(object->parts().size(), 1u);
  EXPECT_EQ(object->parts()[0].first, 15u);
  EXPECT_EQ(object->parts()[0].end(), 20u);
  EXPECT_EQ(get(slice), "slice");
}

TEST_F(EdgeCacheTest, WhoOnlyLooksChangesNothing) {
  open(64 << 10, true);
  put("http://example.com/seen", body_of("seen", 9'000));
  cache_->disk()->flush();
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(cache_->peek("http://example.com/seen", loop_->now()));
    EXPECT_TRUE(fakes::run_task(*loop_, cache_->peek_on_disk("http://example.com/seen", kNever)));
  }
  for (int i = 0; i < 12; ++i) put("http://example.com/" + std::to_string(i), body_of("x", 9'000));
  EXPECT_FALSE(cache_->peek("http://example.com/seen", loop_->now()));
}

// --- walks ---

TEST_F(EdgeCacheTest, RulesThatEverythingWasComparedWithAreLetGo) {
  open(1 << 20, true);
  for (int i = 0; i < 300; ++i) {
    const std::string key = std::string(kUri) + std::to_string(i);
    cache_->insert(make(key, "text", {tag_hash(i % 3 == 0 ? "a" : "b")}), cache_->stamp(key));
  }
  const ObjectRef held = make("http://example.com/late", "text", {tag_hash("a")});
  EXPECT_FALSE(cache_->book().wants_check());
  purge({PurgeRule::Kind::tag, "a", false});
  EXPECT_FALSE(cache_->book().wants_check());
  clock_.advance(25h);
  EXPECT_TRUE(cache_->book().wants_check());
  cache_->tick();
  EXPECT_EQ(rules(), 1u);
  EXPECT_TRUE(walk());
  EXPECT_EQ(memory_->objects(), 200u);
  EXPECT_EQ(cache_->disk()->figures().objects, 200u);
  EXPECT_FALSE(cache_->book().wants_check());
  cache_->tick();
  EXPECT_EQ(rules(), 0u);
  // What was compared stays, and what came from before the walk does not get in without its rules.
  EXPECT_EQ(get(std::string(kUri) + "1"), "text");
  cache_->insert(held, cache_->stamp(held->key()));
  EXPECT_EQ(get(held->key()), "none");
  EXPECT_FALSE(cache_->may_be_on_disk(held->key()));
  open(1 << 20, true);
  EXPECT_FALSE(load(std::string(kUri) + "0"));
  EXPECT_TRUE(load(std::string(kUri) + "1"));
}

TEST_F(EdgeCacheTest, WhatTheDiskHasIsAsGoodAsItsLastWalk) {
  open(1 << 20, true);
  put(kUri, "text");
  purge({PurgeRule::Kind::tag, "other", false});
  clock_.advance(25h);
  EXPECT_TRUE(walk());
  cache_->tick();
  ASSERT_EQ(rules(), 0u);
  const ObjectRef seen = fakes::run_task(*loop_, cache_->peek_on_disk(std::string(kUri), kNever));
  EXPECT_EQ(cache_->purge_state(*seen), PurgeState::alive);
  memory_->purge(EdgeCache::kSpace, std::nullopt);  // by a rule of its own
  EXPECT_FALSE(load(kUri));
}

TEST_F(EdgeCacheTest, AWalkWhoseDiskFailsLeavesTheRules) {
  open(1 << 20, true);
  put(kUri, "text");
  purge({PurgeRule::Kind::tag, "other", false});
  clock_.advance(25h);
  cache_->disk()->flush();
  disk_.read_fails = true;
  EXPECT_FALSE(walk());
  cache_->tick();
  EXPECT_EQ(rules(), 1u);
}

TEST_F(EdgeCacheTest, WhatASoftPurgeMetDoesNotStayOnDiskWithoutItsRule) {
  open(1 << 20, true);
  put(kUri, "text");
  purge({PurgeRule::Kind::host, "example.com", true});
  clock_.advance(25h);
  EXPECT_TRUE(walk());
  cache_->tick();
  EXPECT_EQ(rules(), 0u);
  const ObjectRef object = cache_->find(kUri, loop_->now());
  ASSERT_TRUE(object);
  EXPECT_TRUE(object->expired);
  EXPECT_EQ(cache_->purge_state(*object), PurgeState::stale);
  cache_->insert_head(object, cache_->stamp(kUri));
  cache_->disk()->flush();
  EXPECT_FALSE(cache_->may_be_on_disk(kUri));
}

TEST_F(EdgeCacheTest, WhatComesBackWithALossOfTheDiskIsOlderThanItsRules) {
  book_.path = "/purges";
  open(1 << 20, true);
  put(kUri, "text");
  cache_->disk()->flush();
  const std::string old = *disk_.contents("/cache/0000000000000000.segment");
  purge({PurgeRule::Kind::host, "example.com", false});
  clock_.advance(25h);
  EXPECT_TRUE(walk());
  cache_->tick();
  ASSERT_EQ(rules(), 0u);
  put("http://example.com/new", "text");
  cache_.reset();
  // The removal is lost, and something is found damaged.
  *disk_.contents("/cache/0000000000000000.segment") = old;
  (void)disk_.open("/cache/0000000000000007.segment", Disk::Open::create);
  *disk_.contents("/cache/0000000000000007.segment") = std::string(kSegment, 'x');
  open(1 << 20, true);
  ASSERT_TRUE(cache_->disk()->has_lost());
  EXPECT_FALSE(load(kUri));
  cache_->tick();
  EXPECT_GT(cache_->book().figures().floor, 0u);
}

TEST_F(EdgeCacheTest, LoadsNothingThatWasPurgedOrHasNoRoom) {
  open(1 << 20, true);
  put(kUri, body_of("large", 500'000));
  put("http://example.com/b", "text");
  reopen();
  const auto taken = cache_->make_body(1400 << 10);
  EXPECT_FALSE(load(kUri));
  EXPECT_TRUE(load("http://example.com/b"));
  cache_->invalidate_all();
  EXPECT_FALSE(load("http://example.com/b"));
  EXPECT_FALSE(cache_->may_be_on_disk("http://example.com/b"));
}

TEST_F(EdgeCacheTest, LoadsNothingLargeOnceItsCoreStops) {
  open(4 << 20, true);
  put(kUri, body_of("large", 900'000));
  reopen(4 << 20);
  background_.close();
  EXPECT_FALSE(load(kUri));
  EXPECT_EQ(cache_->body_bytes(), 0u);
}

TEST_F(EdgeCacheTest, AReadErrorBreaksOffWhatWasGiven) {
  open(4 << 20, true);
  put(kUri, body_of("large", 2'000'000));
  reopen(4 << 20);
  const ObjectRef object = load(kUri);
  ASSERT_TRUE(object);
  disk_.read_fails = true;
  finish_background();
  EXPECT_TRUE(object->broken() || object->whole());
  EXPECT_EQ(object->growing(), false);
  if (object->broken()) {
    EXPECT_EQ(get(kUri), "none");
  }
}

}  // namespace
}  // namespace trellis::cache
