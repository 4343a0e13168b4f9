#include "proxy/filters/cache.h"
#include "tests/unit/proxy/cache/cache_sharing_kit.h"

namespace trellis::proxy::test {
namespace {

using namespace std::chrono_literals;

TEST_F(CacheSharingTest, AnswersAgainFromWhatItStored) {
  fresh("one");
  auto first = get("/a");
  EXPECT_EQ(text(*first), "one");
  EXPECT_EQ(first->field("Cache-Status"), "edge-1; fwd=uri-miss; fwd-status=200; ttl=60; stored");
  rig_.advance(5s);
  auto second = get("/a");
  EXPECT_EQ(text(*second), "one");
  EXPECT_EQ(second->field("Age"), "5");
  EXPECT_EQ(second->field("Cache-Status"), "edge-1; hit; ttl=55");
  EXPECT_EQ(origin_.calls, 1);
  rig_.advance(56s);
  EXPECT_EQ(word(*get("/a")), "MISS");
}

TEST_F(CacheSharingTest, AsksOnceForAllWhoWait) {
  fresh("one");
  origin_.open.reset();
  std::vector<std::unique_ptr<Ask>> asks;
  for (int i = 0; i < 20; ++i) asks.push_back(begin("/a"));
  EXPECT_EQ(origin_.calls, 1);
  EXPECT_EQ(cache_->fills(), 1u);
  origin_.open.set();
  for (auto& ask : asks) EXPECT_EQ(text(*ask), "one");
  EXPECT_EQ(origin_.calls, 1);
  EXPECT_EQ(cache_->fills(), 0u);
}

TEST_F(CacheSharingTest, GivesBytesAsTheyComeToAllWhoWait) {
  const auto tap = std::make_shared<Tap>();
  origin_.answer = [&](const http::Request&, http::Response& response) {
    response.fields.add_copy("Cache-Control", "max-age=60");
    response.body = http::Body(std::make_unique<TappedBody>(tap, 6));
  };
  auto first = begin("/a");
  auto second = begin("/a");
  ASSERT_TRUE(first->done() && second->done());
  tap->give("abc");
  auto reading = second->result()->body.stream().read(kNever);
  auto piece = fakes::run_task(*rig_.loop, std::move(reading));
  EXPECT_EQ(piece->view(), "abc");
  tap->give("def");
  tap->end();
  EXPECT_EQ(text(*first), "abcdef");
  EXPECT_EQ(word(*get("/a")), "HIT");
  EXPECT_EQ(origin_.calls, 1);
}

TEST_F(CacheSharingTest, GoesOnFetchingWhenWhoAskedGoesAway) {
  fresh("one");
  origin_.open.reset();
  begin("/a").reset();
  origin_.open.set();
  settle();
  EXPECT_EQ(word(*get("/a")), "HIT");
  EXPECT_EQ(origin_.calls, 1);
}

TEST_F(CacheSharingTest, StoresNothingThatBreaksOff) {
  const auto tap = std::make_shared<Tap>();
  origin_.answer = [&](const http::Request&, http::Response& response) {
    response.fields.add_copy("Cache-Control", "max-age=60");
    response.body = http::Body(std::make_unique<TappedBody>(tap, std::nullopt));
  };
  auto first = begin("/a");
  tap->give("abc");
  tap->cut();
  EXPECT_TRUE(text(*first).starts_with("error: "));
  fresh("whole");
  EXPECT_EQ(text(*get("/a")), "whole");
}

// --- what a client could do to others ---

TEST_F(CacheSharingTest, KeepsTheRangeOfOneVariantFromThoseOfAnother) {
  origin_.answer = [](const http::Request& request, http::Response& response) {
    response.status = 206;
    response.fields.add_copy("Cache-Control", "public, max-age=60");
    response.fields.add_copy("Vary", "X-User");
    response.fields.add_copy("ETag", "\"1\"");
    response.fields.add_copy("Content-Range", "bytes 0-4/100");
    response.body = http::Body(value_of(request.fields, "X-User"));
  };
  origin_.open.reset();
  auto alice = begin("/a", {{"Range", "bytes=0-4"}, {"X-User", "alice"}});
  auto carol = begin("/a", {{"Range", "bytes=0-4"}, {"X-User", "carol"}});
  origin_.open.set();
  EXPECT_EQ(text(*alice), "alice");
  EXPECT_EQ(text(*carol), "carol");
}

TEST_F(CacheSharingTest, KeepsAPartThatCameAgainOnce) {
  origin_.answer = [](const http::Request&, http::Response& response) {
    response.status = 206;
    response.fields.add_copy("Cache-Control", "max-age=60");
    response.fields.add_copy("ETag", "\"1\"");
    response.fields.add_copy("Content-Range", "bytes 0-4/100");
    response.body = http::Body("01234");
  };
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(text(*get("/a", {{"Range", "bytes=0-4"}})), "01234");
    rig_.advance(61s);
  }
  EXPECT_EQ(origin_.calls, 3);
  const cache::ObjectRef object = cache_->find("http://example.com/a", rig_.loop->now());
  ASSERT_TRUE(object);
  EXPECT_EQ(object->parts().size(), 1u);
}

TEST_F(CacheSharingTest, KeepsWhatItHasWhenARequestIsNotToBeStored) {
  fresh("one");
  get("/a");
  get("/a", {{"Cache-Control", "no-cache, no-store"}});
  EXPECT_EQ(word(*get("/a")), "HIT");
  get("/a", {{"Cache-Control", "no-cache"}, {"Authorization", "Basic eDp5"}});
  EXPECT_EQ(word(*get("/a")), "HIT");
}

TEST_F(CacheSharingTest, LetsOthersShareWhenTheFirstIsNotToBeStored) {
  fresh("one");
  origin_.open.reset();
  auto mine = begin("/a", {{"Authorization", "Basic eDp5"}});
  std::vector<std::unique_ptr<Ask>> others;
  for (int i = 0; i < 10; ++i) others.push_back(begin("/a"));
  EXPECT_EQ(origin_.calls, 1);
  origin_.open.set();
  EXPECT_EQ(text(*mine), "one");
  for (auto& ask : others) EXPECT_EQ(text(*ask), "one");
  EXPECT_EQ(origin_.calls, 2);
}

TEST_F(CacheSharingTest, SharesNothingThatA304OrHeadSaysToOneClient) {
  fresh("one", "ETag", "\"1\"");
  get("/a");
  origin_.answer = [](const http::Request& request, http::Response& response) {
    response.status = request.method == http::Method::get ? 304 : 200;
    response.fields.add_copy("ETag", "\"1\"");
    response.fields.add_copy("Cache-Control", "private, max-age=600");
    response.fields.add_copy("X-User", "alice");
  };
  get("/a", {{"Cache-Control", "no-cache"}}, "HEAD");
  auto hit = get("/a");
  EXPECT_EQ(word(*hit), "HIT");
  EXPECT_EQ(hit->field("X-User"), "");
  EXPECT_EQ(text(*get("/a", {{"Cache-Control", "no-cache"}})), "one");
  fresh("two");
  EXPECT_EQ(text(*get("/a")), "two");
}

TEST_F(CacheSharingTest, SendsNoParameterThatDoesNotCount) {
  CacheFilterConfig config{.in = "edge"};
  config.key.without = {"utm_*"};
  use(std::move(config));
  fresh("one");
  get("/a?utm_source=%3Cscript%3E&x=1");
  EXPECT_EQ(word(*get("/a?x=1")), "HIT");
  get("/a?utm_x=1", {}, "HEAD");
  EXPECT_EQ(origin_.targets, (std::vector<std::string>{"/a?x=1", "/a"}));
}

TEST_F(CacheSharingTest, TakesUpNoMoreMemoryForFetchesThanItMay) {
  make({.capacity = 100 << 10, .shards = 1}, 64 << 10);
  std::vector<std::shared_ptr<Tap>> taps;
  origin_.answer = [&](const http::Request&, http::Response& response) {
    response.fields.add_copy("Cache-Control", "max-age=60");
    taps.push_back(std::make_shared<Tap>());
    response.body = http::Body(std::make_unique<TappedBody>(taps.back(), 60 << 10));
  };
  std::vector<std::unique_ptr<Ask>> asks;
  for (int i = 0; i < 5; ++i) asks.push_back(begin("/" + std::to_string(i)));
  EXPECT_LE(cache_->body_bytes(), 150u << 10);
  EXPECT_EQ(cache_->fills(), 2u);
  for (size_t i = 0; i < taps.size(); ++i) {
    taps[i]->give(std::string(60 << 10, 'x'));
    taps[i]->end();
    EXPECT_EQ(text(*asks[i]).size(), 60u << 10) << i;
  }
  asks.clear();
  EXPECT_LE(cache_->body_bytes(), 100u << 10);
}

// --- bodies that pass ---

TEST_F(CacheSharingTest, PassesABodyThatTurnsOutTooLarge) {
  origin_.answer = [](const http::Request&, http::Response& response) {
    response.fields.add_copy("Cache-Control", "max-age=60");
    response.body = http::Body(std::make_unique<PiecesBody>(std::vector<std::string>(300, std::string(10'000, 'x'))));
  };
  auto asked = begin("/a");
  EXPECT_EQ(text(*asked).size(), 3'000'000u);
  EXPECT_EQ(cache_->fills(), 0u);
  EXPECT_EQ(origin_.calls, 1);
  auto again = get("/a");
  EXPECT_EQ(text(*again).size(), 3'000'000u);
  EXPECT_EQ(origin_.calls, 2);
  again.reset();
  asked.reset();
  settle();
  EXPECT_EQ(cache_->body_bytes(), 0u);
}

TEST_F(CacheSharingTest, GivesAPassedBodyToNobodyWhoComesTooLate) {
  const auto tap = std::make_shared<Tap>();
  origin_.answer = [&](const http::Request&, http::Response& response) {
    response.fields.add_copy("Cache-Control", "max-age=60");
    if (origin_.calls > 1) {
      response.body = http::Body("another");
      return;
    }
    response.body = http::Body(std::make_unique<TappedBody>(tap, std::nullopt));
  };
  auto first = begin("/a");
  auto joined = begin("/a");
  tap->give(std::string(200 << 10, 'x'));
  settle();
  auto late = begin("/a");
  EXPECT_EQ(text(*late), "another");
  tap->end();
  EXPECT_EQ(text(*first).size(), 200u << 10);
  EXPECT_EQ(text(*joined).size(), 200u << 10);
}

TEST_F(CacheSharingTest, EndsAPassedFetchThatNobodyReads) {
  const auto tap = std::make_shared<Tap>();
  origin_.answer = [&](const http::Request&, http::Response& response) {
    response.fields.add_copy("Cache-Control", "max-age=60");
    response.body = http::Body(std::make_unique<TappedBody>(tap, std::nullopt));
  };
  begin("/a").reset();
  tap->give(std::string(200 << 10, 'x'));
  settle();
  EXPECT_EQ(kit_.background.size(), 0u);
  EXPECT_EQ(cache_->body_bytes(), 0u);
}

// --- freshness of what others fetch ---

TEST_F(CacheSharingTest, GivesWhoComesLaterOnlyWhatIsStillFresh) {
  const auto tap = std::make_shared<Tap>();
  origin_.answer = [&](const http::Request&, http::Response& response) {
    response.fields.add_copy("Cache-Control", "max-age=10");
    response.fields.add_copy("ETag", "\"1\"");
    if (origin_.calls > 1) {
      response.body = http::Body("new");
      return;
    }
    response.body = http::Body(std::make_unique<TappedBody>(tap, 3));
  };
  auto first = begin("/a");
  auto second = begin("/a");
  ASSERT_TRUE(second->done());
  rig_.advance(11s);
  EXPECT_EQ(text(*get("/a")), "new");
  tap->give("old");
  tap->end();
  EXPECT_EQ(text(*first), "old");
  EXPECT_EQ(text(*second), "old");
}

TEST_F(CacheSharingTest, GivesAFetchAllTheTimeThatARequestHas) {
  fresh("one");
  origin_.open.reset();
  Ask first(rig_, "GET", "/a");
  first.exchange.context.deadline = after(rig_.loop->now(), 10s);
  rig_.advance(9s);  // before it comes here
  first.task = chain_->run(first.exchange.request, first.exchange.context);
  first.task.start();
  auto second = begin("/a");
  rig_.advance(2s);
  settle();
  ASSERT_TRUE(first.done());
  EXPECT_EQ(first.result().error().code(), Code::deadline_exceeded);
  EXPECT_FALSE(second->done());
  origin_.open.set();
  EXPECT_EQ(text(*second), "one");
}

// --- invalidation and purges against fetches ---

TEST_F(CacheSharingTest, StoresNothingThatWasAskedForBeforeAnInvalidation) {
  for (const Fields& fields : {Fields{}, Fields{{"Range", "bytes=0-2"}}, Fields{{"X-Lang", "de"}}}) {
    SCOPED_TRACE(fields.empty() ? "whole" : fields[0].first);
    fresh("old", "Vary", "X-Lang");
    get("/a", {{"X-Lang", "en"}});  // its marker makes the next one a fetch of a variant
    origin_.open.reset();
    auto before = begin("/a", fields);
    cache_->invalidate("http://example.com/a");
    fresh("new", "Vary", "X-Lang");
    auto after = begin("/a", fields);
    origin_.open.set();
    EXPECT_EQ(text(*before), "old");
    EXPECT_EQ(text(*after), "new");
    EXPECT_EQ(text(*get("/a", fields)), "new");
    cache_->invalidate("http://example.com/a");
  }
}

TEST_F(CacheSharingTest, InvalidatesByUnsafeMethods) {
  fresh("old");
  get("/a");
  EXPECT_EQ(word(*get("/a", {}, "POST")), "BYPASS");
  fresh("new");
  EXPECT_EQ(text(*get("/a")), "new");
}

TEST_F(CacheSharingTest, FreshensNothingByAHeadThatAnInvalidationOvertook) {
  fresh("old", "ETag", "\"1\"");
  get("/a");
  origin_.open.reset();
  auto head = begin("/a", {{"Cache-Control", "no-cache"}}, "HEAD");
  cache_->invalidate("http://example.com/a");
  origin_.open.set();
  text(*head);
  fresh("new");
  EXPECT_EQ(text(*get("/a")), "new");
}

TEST_F(CacheSharingTest, APurgeDuringAFetchWins) {
  fresh("old");
  origin_.open.reset();
  auto before = begin("/a");
  cache_->invalidate_all();
  fresh("new");
  auto after = begin("/a");
  EXPECT_EQ(origin_.calls, 2);
  origin_.open.set();
  EXPECT_EQ(text(*before), "old");
  EXPECT_EQ(text(*after), "new");
  EXPECT_EQ(text(*get("/a")), "new");
}

TEST_F(CacheSharingTest, APurgeForbidsWhatWasStaleOnErrors) {
  origin_.answer = [](const http::Request&, http::Response& response) {
    response.fields.add_copy("Cache-Control", "max-age=1, stale-if-error=600");
    response.body = http::Body("old");
  };
  get("/a");
  rig_.advance(2s);
  origin_.fails = true;
  EXPECT_EQ(word(*get("/a")), "STALE");
  origin_.open.reset();
  auto asked = begin("/a");
  cache_->invalidate_all();
  origin_.open.set();
  EXPECT_TRUE(text(*asked).starts_with("error: "));
}

TEST_F(CacheSharingTest, A304DoesNotBringBackWhatWasPurgedWhileItWaited) {
  fresh("old", "ETag", "\"1\"");
  get("/a");
  origin_.answer = [](const http::Request& request, http::Response& response) {
    response.fields.add_copy("Cache-Control", "no-store");
    response.status = request.fields.has(http::FieldId::if_none_match) ? 304 : 200;
    response.fields.add_copy("ETag", "\"1\"");
    if (response.status == 200) response.body = http::Body("new");
  };
  rig_.advance(61s);
  origin_.open.reset();
  auto first = begin("/a");
  auto second = begin("/a");  // waits, and asks by itself then
  cache_->invalidate_all();
  origin_.open.set();
  text(*first);
  EXPECT_EQ(text(*second), "new");
}

// --- what does not vary any more, what is too large now ---

TEST_F(CacheSharingTest, SharesWhatDoesNotVaryAnyMore) {
  fresh("old", "Vary", "X-Lang");
  get("/a", {{"X-Lang", "en"}});
  rig_.advance(61s);
  fresh("new");
  origin_.open.reset();
  std::vector<std::unique_ptr<Ask>> asks;
  for (int i = 0; i < 10; ++i) asks.push_back(begin("/a", {{"X-Lang", "en"}}));
  origin_.open.set();
  for (auto& ask : asks) EXPECT_EQ(text(*ask), "new");
  EXPECT_EQ(origin_.calls, 2);
}

TEST_F(CacheSharingTest, AsksForAnAnswerThatIsNotSharedAtOnceAndTogether) {
  origin_.answer = [](const http::Request&, http::Response& response) {
    response.fields.add_copy("Cache-Control", "private");
    response.body = http::Body("mine");
  };
  origin_.open.reset();
  std::vector<std::unique_ptr<Ask>> asks;
  for (int i = 0; i < 5; ++i) asks.push_back(begin("/a"));
  EXPECT_EQ(origin_.calls, 1);
  origin_.open.set();
  for (auto& ask : asks) EXPECT_EQ(text(*ask), "mine");
  EXPECT_EQ(origin_.calls, 5);
  origin_.open.reset();
  auto one = begin("/a");
  auto two = begin("/a");
  EXPECT_EQ(origin_.calls, 7);
  rig_.advance(11s);
  auto three = begin("/a");
  auto four = begin("/a");
  EXPECT_EQ(origin_.calls, 8);
  origin_.open.set();
  for (Ask* ask : {one.get(), two.get(), three.get(), four.get()}) EXPECT_EQ(text(*ask), "mine");
}

// --- disk ---

TEST_F(CacheSharingTest, AnswersFromDiskAfterARestart) {
  make({.capacity = 1 << 20}, 1 << 20, true);
  fresh(std::string(50'000, 'x'));
  get("/a");
  restart({.capacity = 1 << 20});
  auto asked = get("/a", {{"Cache-Control", "only-if-cached"}});
  EXPECT_EQ(asked->status(), 200);
  EXPECT_EQ(text(*asked).size(), 50'000u);
  EXPECT_EQ(word(*get("/a")), "HIT");
  EXPECT_EQ(get("/b", {{"Cache-Control", "only-if-cached"}})->status(), 504);
  EXPECT_EQ(origin_.calls, 1);
}

TEST_F(CacheSharingTest, AnswersHeadFromDisk) {
  make({.capacity = 1 << 20}, 1 << 20, true);
  fresh(std::string(50'000, 'x'), "ETag", "\"1\"");
  get("/a");
  fresh("one", "Vary", "X-Lang");
  get("/v", {{"X-Lang", "en"}});
  restart({.capacity = 1 << 20});
  auto head = get("/a", {}, "HEAD");
  EXPECT_EQ(head->status(), 200);
  EXPECT_EQ(head->field("Content-Length"), "50000");
  EXPECT_EQ(head->field("Cache-Status"), "edge-1; hit; ttl=60; detail=disk");
  EXPECT_EQ(text(*head), "");
  EXPECT_EQ(get("/a", {{"If-None-Match", "\"1\""}}, "HEAD")->status(), 304);
  EXPECT_EQ(word(*get("/v", {{"X-Lang", "en"}}, "HEAD")), "HIT");
  EXPECT_EQ(origin_.calls, 2);
  EXPECT_EQ(word(*get("/v", {{"X-Lang", "de"}}, "HEAD")), "MISS");
  EXPECT_EQ(word(*get("/a", {{"Cache-Control", "no-cache"}}, "HEAD")), "MISS");
  EXPECT_EQ(origin_.calls, 4);
  (void)cache_->book().add({{cache::PurgeRule::Kind::all, "", false}});
  EXPECT_EQ(word(*get("/a", {}, "HEAD")), "MISS");
  EXPECT_EQ(origin_.calls, 5);
}

TEST_F(CacheSharingTest, AsksTheOriginForNoVariantThatIsOnDisk) {
  make({.capacity = 1 << 20}, 1 << 20, true);
  fresh("one", "Vary", "X-Lang");
  get("/a", {{"X-Lang", "en"}});
  get("/a", {{"X-Lang", "de"}});
  restart({.capacity = 1 << 20});
  std::vector<std::unique_ptr<Ask>> asks;
  for (int i = 0; i < 40; ++i) asks.push_back(begin("/a", {{"X-Lang", i % 2 == 0 ? "en" : "de"}}));
  for (auto& ask : asks) EXPECT_EQ(text(*ask), "one");
  EXPECT_EQ(origin_.calls, 2);
}

}  // namespace
}  // namespace trellis::proxy::test
