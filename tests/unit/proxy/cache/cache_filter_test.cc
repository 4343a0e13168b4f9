// What the cache filter stores and uses, as clients and the origin see it, with a clock that tests move. The rules
// themselves have their tables in tests/unit/cache/rules_*_test.cc; here is what follows from one request to the next.
#include <gtest/gtest.h>

#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cache/edge/edge_cache.h"
#include "cache/edge/purge_book.h"
#include "http/date.h"
#include "proxy/filters/cache.h"
#include "tests/unit/proxy/filter_parts_kit.h"

namespace trellis::proxy {
namespace {

using namespace std::chrono_literals;
using http::FieldId;
using Lines = std::vector<std::pair<std::string, std::string>>;

// What came back, out of its arena.
struct Got {
  int status = 0;
  Lines fields;
  std::string body;
  std::string error;

  std::string field(std::string_view name) const {
    std::string out;
    for (const auto& [each, value] : fields) {
      if (http::iequal(each, name)) out.append(out.empty() ? "" : "|").append(value);
    }
    return out;
  }
  std::string cache() const { return field("X-Cache-Status"); }
};

// What the origin was asked, and what it says.
struct Origin final : public http::Handler {
  struct Asked {
    std::string method;
    std::string uri;
    Lines fields;
    std::string field(std::string_view name) const {
      for (const auto& [each, value] : fields) {
        if (http::iequal(each, name)) return value;
      }
      return "";
    }
  };
  int status = 200;
  Lines fields;
  std::string body = "first";
  bool dead = false;
  bool waits = false;  // each request for an `open` of its own
  Event open;
  std::vector<Asked> asked;

  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override {
    asked.push_back({std::string(request.method_text),
                     std::string(request.path) + (request.query.empty() ? "" : "?") + std::string(request.query),
                     {}});
    for (const http::Field& field : request.fields) asked.back().fields.emplace_back(field.name, field.value);
    if (waits) {
      co_await open.wait(kNever);
      open.reset();
    }
    if (dead) co_return fail(Error(Code::unavailable, "no connection").from(Side::upstream));
    http::Response response(context.arena, status);
    for (const auto& [name, value] : fields) response.fields.add_copy(name, value);
    if (request.method != http::Method::head && status != 304 && status != 204) response.body = http::Body(body);
    co_return response;
  }
};

class CacheFilterTest : public ::testing::Test {
 protected:
  void configure(const char* yaml = "{ in: edge }") {
    cache_ =
        std::make_shared<cache::EdgeCache>(memory_, nullptr, *cache::PurgeBook::open({}), cache::EdgeCacheOptions{});
    kit_.parts.node = "edge";
    kit_.parts.edge_cache = [this](const std::string&) -> Result<std::shared_ptr<cache::EdgeCache>> { return cache_; };
    auto filter = CacheFilter::make(test::read_config<CacheFilterConfig>(yaml), kit_.parts);
    ASSERT_TRUE(filter) << filter.error().to_string();
    std::vector<std::unique_ptr<Filter>> filters;
    filters.push_back(*std::move(filter));
    chain_ = std::make_unique<Chain>(std::move(filters), origin_);
  }
  void SetUp() override { configure(); }
  void TearDown() override {
    chain_.reset();
    fakes::run_task(*rig_.loop, kit_.background.join(kNever));
    cache_.reset();
  }

  Got ask(const Lines& fields = {}, const char* method = "GET", const char* target = "/a", const char* body = nullptr) {
    test::Exchange exchange(rig_, method, target);
    for (const auto& [name, value] : fields) exchange.with(name, value);
    if (body != nullptr) exchange.request.body = std::make_unique<http::TextBody>(body);
    Got got;
    auto response = fakes::run_task(*rig_.loop, chain_->run(exchange.request, exchange.context));
    if (!response) {
      got.error = response.error().to_string();
      return got;
    }
    got.status = response->status;
    for (const http::Field& field : response->fields) got.fields.emplace_back(field.name, field.value);
    got.body = test::body_text(rig_, *response);
    turn();  // what goes on behind it
    return got;
  }
  // Requests that are under way at once.
  struct Waiting {
    std::unique_ptr<test::Exchange> exchange;
    Task<Result<http::Response>> task;
  };
  Waiting begin(const Lines& fields = {}) {
    Waiting out{std::make_unique<test::Exchange>(rig_, "GET", "/a"), {}};
    for (const auto& [name, value] : fields) out.exchange->with(name, value);
    out.task = chain_->run(out.exchange->request, out.exchange->context);
    out.task.start();
    turn();
    return out;
  }
  std::string end(Waiting waiting) {
    for (int i = 0; i < 100 && !waiting.task.done(); ++i) turn();
    if (!waiting.task.done()) return "waits";
    auto response = waiting.task.take();
    if (!response) return "error";
    const std::string cache(response->fields.find("X-Cache-Status").value_or(""));
    return cache + " " + test::body_text(rig_, *response);
  }
  void turn() {
    for (int i = 0; i < 5; ++i) rig_.loop->run_once(Duration::zero());
  }
  size_t asked() const { return origin_.asked.size(); }
  std::string date(int64_t offset = 0) const {
    char text[http::kHttpDateSize];
    http::format_http_date(unix_seconds(rig_.clock.wall()) + offset, text);
    return {text, sizeof text};
  }
  void says(Lines fields, std::string body = "first", int status = 200) {
    origin_.fields = std::move(fields);
    origin_.body = std::move(body);
    origin_.status = status;
  }

  test::Rig rig_;
  test::PartsKit kit_;
  cache::MemoryCache memory_{{}, kit_.metrics};
  std::shared_ptr<cache::EdgeCache> cache_;
  Origin origin_;
  std::unique_ptr<Chain> chain_;
};

TEST_F(CacheFilterTest, AnswersFromTheStoreWhileItIsFresh) {
  says({{"Cache-Control", "max-age=10"}, {"Date", date()}, {"X-Any", "1"}});
  EXPECT_EQ(ask().cache(), "MISS");
  rig_.advance(9s);
  says({}, "second");
  const Got hit = ask();
  EXPECT_EQ(hit.cache(), "HIT");
  EXPECT_EQ(hit.body, "first");
  EXPECT_EQ(hit.field("Age"), "9");
  EXPECT_EQ(hit.field("X-Any"), "1");
  EXPECT_EQ(hit.field("Date"), date(-9));
  EXPECT_EQ(hit.field("Cache-Status"), "edge; hit; ttl=1");
  EXPECT_EQ(asked(), 1U);
  rig_.advance(1s);
  EXPECT_EQ(ask().body, "second");
}

TEST_F(CacheFilterTest, KnowsWhenAnAnswerWithoutDateCame) {
  says({{"Cache-Control", "max-age=10"}, {"ETag", "\"a\""}});
  ask();
  rig_.advance(9s);
  EXPECT_EQ(ask().field("Date"), date(-9));
  rig_.advance(9s);
  says({{"Cache-Control", "max-age=10"}}, "", 304);
  EXPECT_EQ(ask().cache(), "REVALIDATED");
  rig_.advance(9s);
  const Got hit = ask();
  EXPECT_EQ(hit.cache() + hit.field("Date") + hit.field("Age"), "HIT" + date(-9) + "9");
  rig_.advance(9s);
  says({{"Cache-Control", "max-age=10"}, {"ETag", "\"a\""}});
  ask({}, "HEAD");
  EXPECT_EQ(ask().cache(), "HIT");
  EXPECT_EQ(asked(), 3U);
}

TEST_F(CacheFilterTest, AddsItsAgeToWhatTheAnswerHad) {
  says({{"Cache-Control", "max-age=100"}, {"Age", "30"}});
  ask();
  rig_.advance(3s);
  EXPECT_EQ(ask().field("Age"), "33");
}

TEST_F(CacheFilterTest, GivesAHeadFromAStoredGetAndKeepsFieldsOfConnectionsOut) {
  says({{"Cache-Control", "max-age=10, no-cache=\"x-secret\""},
        {"X-Secret", "1"},
        {"Set-Cookie", "a=b"},
        {"Proxy-Authentication-Info", "x"},
        {"Content-Range", "odd"}});
  const Got first = ask();
  EXPECT_EQ(first.field("X-Secret") + first.field("Set-Cookie"), "1a=b") << "whose answer it is gets all of it";
  const Got head = ask({}, "HEAD");
  EXPECT_EQ(head.cache(), "HIT");
  EXPECT_EQ(head.field("Content-Length"), "5");
  EXPECT_EQ(head.body, "");
  const Got second = ask();
  EXPECT_EQ(second.field("X-Secret") + second.field("Set-Cookie") + second.field("Proxy-Authentication-Info"), "");
  EXPECT_EQ(second.field("Content-Range"), "odd");
  EXPECT_EQ(asked(), 1U);
}

// RFC 9111 §4.3.
TEST_F(CacheFilterTest, ValidatesWhatIsStale) {
  says({{"Cache-Control", "max-age=2"},
        {"ETag", "\"a\""},
        {"Last-Modified", date(-60)},
        {"X-Any", "1"},
        {"X-Old", "1"}});
  ask();
  rig_.advance(3s);
  says({{"Cache-Control", "max-age=5"}, {"ETag", "\"a\""}, {"X-Any", "2"}, {"Set-Cookie", "a=b"}}, "", 304);
  const Got got = ask({{"If-None-Match", "\"other\""}, {"Accept", "x"}});
  EXPECT_EQ(got.cache(), "REVALIDATED");
  EXPECT_EQ(got.status, 200);
  EXPECT_EQ(got.body, "first");
  EXPECT_EQ(got.field("X-Any") + got.field("X-Old") + got.field("Set-Cookie"), "21a=b");
  EXPECT_EQ(origin_.asked[1].field("If-None-Match"), "\"a\"");
  EXPECT_EQ(origin_.asked[1].field("If-Modified-Since"), date(-63));
  EXPECT_EQ(origin_.asked[1].field("Accept"), "x");
  const Got hit = ask();
  EXPECT_EQ(hit.cache(), "HIT");
  EXPECT_EQ(hit.field("X-Any") + hit.field("X-Old") + hit.field("Set-Cookie"), "21");
  EXPECT_EQ(hit.field("Cache-Control"), "max-age=5");
  EXPECT_EQ(ask({{"If-None-Match", "W/\"a\", \"b\""}}).status, 304);
  EXPECT_EQ(asked(), 2U);
}

// §4.3.4.
TEST_F(CacheFilterTest, AsksAgainWhenA304IsAboutAnotherAnswer) {
  says({{"Cache-Control", "max-age=2"}, {"ETag", "\"a\""}});
  ask();
  rig_.advance(3s);
  says({{"Cache-Control", "max-age=9"}, {"ETag", "\"b\""}}, "", 304);
  const Got got = ask();
  ASSERT_EQ(asked(), 3U);
  EXPECT_EQ(origin_.asked[2].field("If-None-Match"), "");
  EXPECT_NE(got.body, "first");
}

TEST_F(CacheFilterTest, TakesANewAnswerInThePlaceOfAStaleOne) {
  says({{"Cache-Control", "max-age=2"}, {"ETag", "\"a\""}});
  ask();
  rig_.advance(3s);
  says({{"Cache-Control", "max-age=5"}, {"ETag", "\"b\""}}, "second");
  EXPECT_EQ(ask().body, "second");
  EXPECT_EQ(ask().cache(), "HIT");
  // One that may not be stored takes its place too.
  rig_.advance(6s);
  says({{"Cache-Control", "no-store"}}, "third");
  EXPECT_EQ(ask().body, "third");
  says({{"Cache-Control", "no-store"}}, "fourth");
  EXPECT_EQ(ask().body, "fourth");
  EXPECT_EQ(ask({{"Cache-Control", "only-if-cached"}}).status, 504);
}

// §5.2.1.
// RFC 9110 §15.4.5: what describes the bytes they have. The rest may have changed since.
TEST_F(CacheFilterTest, TellsThoseWhoHaveTheBytesWhatAValidationChanged) {
  says({{"Cache-Control", "max-age=2"}, {"ETag", "\"a\""}, {"Content-Type", "text/plain"}, {"X-Any", "1"}});
  ask();
  rig_.advance(3s);
  says({{"ETag", "\"a\""}, {"X-Any", "2"}}, "", 304);
  for (const char* cache : {"REVALIDATED", "HIT"}) {
    const Got got = ask({{"If-None-Match", "\"a\""}});
    EXPECT_EQ(got.cache(), cache);
    EXPECT_EQ(got.status, 304);
    EXPECT_EQ(got.field("X-Any") + got.field("Content-Type"), "2");
  }
}

TEST_F(CacheFilterTest, HeedsWhatTheRequestSays) {
  says({{"Cache-Control", "max-age=10"}, {"ETag", "\"a\""}});
  EXPECT_EQ(ask({{"Cache-Control", "only-if-cached"}}).status, 504);
  EXPECT_EQ(asked(), 0U);
  ask();
  rig_.advance(5s);
  says({{"Cache-Control", "max-age=10"}, {"ETag", "\"a\""}}, "", 304);
  EXPECT_EQ(ask({{"Cache-Control", "max-age=4"}}).cache(), "REVALIDATED");
  EXPECT_EQ(ask({{"Pragma", "no-cache"}}).cache(), "REVALIDATED");
  EXPECT_EQ(ask({{"Cache-Control", "min-fresh=11"}}).cache(), "REVALIDATED");
  EXPECT_EQ(ask({{"Cache-Control", "min-fresh=10, only-if-cached"}}).cache(), "HIT");
  rig_.advance(15s);
  EXPECT_EQ(ask({{"Cache-Control", "max-stale=5"}}).cache(), "STALE");
  EXPECT_EQ(ask({{"Cache-Control", "max-stale=4"}}).cache(), "REVALIDATED");
}

TEST_F(CacheFilterTest, CanBeDeafToRequests) {
  configure("{ in: edge, ignore_request_directives: true }");
  says({{"Cache-Control", "max-age=10"}});
  EXPECT_EQ(ask({{"Cache-Control", "no-store"}}).cache(), "MISS");
  EXPECT_EQ(ask({{"Cache-Control", "no-cache"}}).cache(), "HIT");
}

// RFC 5861 §3: the old answer at once, the new one next time.
TEST_F(CacheFilterTest, RefreshesBehindTheClientsBack) {
  says({{"Cache-Control", "max-age=1, stale-while-revalidate=60"}, {"ETag", "\"a\""}});
  ask();
  rig_.advance(3s);
  says({{"Cache-Control", "max-age=10"}, {"ETag", "\"b\""}}, "second");
  const Got stale = ask({{"X-Who", "me"}, {"Range", "bytes=0-1"}});
  EXPECT_EQ(stale.cache(), "STALE");
  EXPECT_EQ(stale.body, "fi");
  ASSERT_EQ(asked(), 2U);
  EXPECT_EQ(origin_.asked[1].field("If-None-Match"), "\"a\"");
  EXPECT_EQ(origin_.asked[1].field("Range"), "");
  EXPECT_EQ(ask().body, "second");
  EXPECT_EQ(asked(), 2U);
}

// RFC 5861 §4, RFC 9111 §4.2.4.
TEST_F(CacheFilterTest, GivesAStaleAnswerWhenTheOriginFails) {
  configure("{ in: edge, stale_if_error: 60s }");
  const auto after_failure = [&](const char* directives, bool dead) {
    cache_->invalidate_all();
    origin_.dead = false;
    says({{"Cache-Control", directives}});
    ask();
    rig_.advance(10s);
    says({}, "sorry", 503);
    origin_.dead = dead;
    const Got got = ask();
    return got.error.empty() ? std::to_string(got.status) + " " + got.cache() + " " + got.body : std::string("error");
  };
  EXPECT_EQ(after_failure("max-age=2", true), "200 STALE first");
  EXPECT_EQ(after_failure("max-age=2", false), "200 STALE first");
  EXPECT_EQ(after_failure("max-age=2, stale-if-error=5", true), "error");
  EXPECT_EQ(after_failure("max-age=2, must-revalidate", true), "error");
  EXPECT_EQ(after_failure("max-age=2, proxy-revalidate", true), "error");
  EXPECT_EQ(after_failure("s-maxage=2", true), "error");
  EXPECT_EQ(after_failure("s-maxage=2, stale-if-error=60", true), "200 STALE first");
  EXPECT_EQ(after_failure("max-age=2, no-cache", true), "error");
}

// §4: one fetch for all who may have its answer.
TEST_F(CacheFilterTest, CollapsesRequestsWhereTheAnswerAllowsIt) {
  says({{"Cache-Control", "max-age=10"}});
  origin_.waits = true;
  Waiting first = begin();
  Waiting second = begin();
  Waiting third = begin({{"Cache-Control", "max-age=5"}});
  EXPECT_EQ(asked(), 1U);
  origin_.open.set();
  EXPECT_EQ(end(std::move(first)), "MISS first");
  EXPECT_EQ(end(std::move(second)), "HIT first");
  EXPECT_EQ(end(std::move(third)), "HIT first");
  EXPECT_EQ(asked(), 1U);
}

// An answer that is never fresh is one for those who came before it was asked for, so nobody reads what was true before
// they asked.
TEST_F(CacheFilterTest, AsksOnceMoreForThoseWhoCameDuringAFetchOfWhatIsNeverFresh) {
  says({{"Cache-Control", "max-age=0"}, {"ETag", "\"a\""}}, "old");
  origin_.waits = true;
  Waiting first = begin();
  rig_.advance(1ms);
  Waiting second = begin();
  Waiting third = begin();
  EXPECT_EQ(asked(), 1U);
  origin_.open.set();
  EXPECT_EQ(end(std::move(first)), "MISS old");
  turn();
  EXPECT_EQ(asked(), 2U);
  origin_.open.set();
  EXPECT_EQ(end(std::move(second)), "MISS old");
  EXPECT_EQ(end(std::move(third)), "HIT old");
  EXPECT_EQ(asked(), 2U);
}

TEST_F(CacheFilterTest, AsksForEachWhatMayNotBeShared) {
  for (const char* directives : {"no-cache", "private, max-age=5", "no-store"}) {
    origin_.asked.clear();
    origin_.open.reset();
    origin_.waits = true;
    says({{"Cache-Control", directives}, {"ETag", "\"a\""}});
    Waiting first = begin();
    rig_.advance(1ms);
    Waiting second = begin();
    origin_.open.set();
    EXPECT_EQ(end(std::move(first)).substr(0, 4), "MISS") << directives;
    origin_.open.set();
    EXPECT_EQ(end(std::move(second)).substr(0, 4), "MISS") << directives;
    EXPECT_EQ(asked(), 2U) << directives;
    origin_.waits = false;
    ask({}, "DELETE");
    rig_.advance(1min);
  }
}

TEST_F(CacheFilterTest, GivesTheStaleAnswerToAllWhenTheOriginFails) {
  configure("{ in: edge, stale_if_error: 60s }");
  says({{"Cache-Control", "max-age=2"}});
  ask();
  rig_.advance(10s);
  origin_.dead = origin_.waits = true;
  Waiting first = begin();
  Waiting second = begin();
  origin_.open.set();
  EXPECT_EQ(end(std::move(first)), "STALE first");
  EXPECT_EQ(end(std::move(second)), "STALE first") << "of the other's fetch, which failed";
  EXPECT_EQ(asked(), 2U);
}

// §4.1.
TEST_F(CacheFilterTest, KeepsVariantsApart) {
  says({{"Cache-Control", "max-age=10"}, {"Vary", "Foo"}}, "one");
  ask({{"Foo", "1"}});
  says({{"Cache-Control", "max-age=10"}, {"Vary", "Foo"}}, "two");
  const Got miss = ask({{"Foo", "2"}});
  EXPECT_EQ(miss.body, "two");
  EXPECT_EQ(miss.field("Cache-Status"), "edge; fwd=vary-miss; fwd-status=200; ttl=10; stored");
  says({}, "none");
  EXPECT_EQ(ask({{"Foo", " 1 "}, {"Other", "x"}}).body, "one");
  EXPECT_EQ(ask({{"Foo", "2"}}).body, "two");
  EXPECT_EQ(ask({{"Foo", "3"}}).body, "none");
  EXPECT_EQ(ask().body, "none");
}

TEST_F(CacheFilterTest, FindsTheLanguageLikedBest) {
  says({{"Cache-Control", "max-age=10"}, {"Vary", "Accept-Language"}, {"Content-Language", "de"}}, "deutsch");
  ask({{"Accept-Language", "en, de"}});
  says({{"Cache-Control", "max-age=10"}, {"Vary", "Accept-Language"}, {"Content-Language", "fr"}}, "francais");
  EXPECT_EQ(ask({{"Accept-Language", "fr;q=0.5, de"}}).body, "deutsch");
  EXPECT_EQ(ask({{"Accept-Language", "fr, de;q=0.5"}}).body, "francais");
  EXPECT_EQ(ask({{"Accept-Language", "fr"}}).cache(), "HIT");
  EXPECT_EQ(asked(), 2U);
}

// §4.4.
TEST_F(CacheFilterTest, ForgetsWhatAnUnsafeRequestChanges) {
  const auto store = [&](const char* target) {
    says({{"Cache-Control", "max-age=100"}});
    ask({}, "GET", target);
  };
  const auto is_stored = [&](const char* target) {
    return ask({{"Cache-Control", "only-if-cached"}}, "GET", target).status == 200;
  };
  store("/a");
  store("/b");
  store("/c?x");
  says({}, "", 500);
  ask({}, "POST", "/a", "x");
  EXPECT_TRUE(is_stored("/a")) << "it failed";
  says({{"Location", "/b"}, {"Content-Location", "c?x"}}, "", 201);
  ask({}, "M-SEARCH", "/a", "x");
  EXPECT_FALSE(is_stored("/a"));
  EXPECT_FALSE(is_stored("/b"));
  EXPECT_FALSE(is_stored("/c?x"));
}

// §4.3.5.
TEST_F(CacheFilterTest, LearnsFromTheAnswerToAHead) {
  const Lines stored = {{"Cache-Control", "max-age=2"}, {"ETag", "\"a\""}, {"X-Any", "1"}};
  says(stored);
  ask();
  rig_.advance(3s);
  says({{"Cache-Control", "max-age=100"}, {"ETag", "\"a\""}, {"X-Any", "2"}});
  EXPECT_EQ(ask({}, "HEAD").status, 200);
  EXPECT_EQ(origin_.asked.back().method, "HEAD");
  const Got fresh = ask();
  EXPECT_EQ(fresh.cache() + fresh.field("X-Any") + fresh.body, "HIT2first");
  rig_.advance(101s);
  says({{"ETag", "\"b\""}});
  ask({}, "HEAD");
  EXPECT_EQ(ask({{"Cache-Control", "only-if-cached, max-stale"}}).status, 504);
}

// RFC 9110 §14, RFC 9111 §3.3, §3.4.
TEST_F(CacheFilterTest, CutsRangesFromAWholeAnswer) {
  says({{"Cache-Control", "max-age=10"}, {"ETag", "\"a\""}}, "0123456789");
  ask();
  const Got part = ask({{"Range", "bytes=2-3"}});
  EXPECT_EQ(part.status, 206);
  EXPECT_EQ(part.body, "23");
  EXPECT_EQ(part.field("Content-Range"), "bytes 2-3/10");
  EXPECT_EQ(ask({{"Range", "bytes=-1"}}).body, "9");
  EXPECT_EQ(ask({{"Range", "bytes=10-"}}).status, 416);
  EXPECT_EQ(ask({{"Range", "bytes=2-3"}, {"If-Range", "\"b\""}}).status, 200);
  EXPECT_EQ(asked(), 1U);
}

TEST_F(CacheFilterTest, KeepsPartsAndCompletesThem) {
  const Lines common = {{"Cache-Control", "max-age=10"}, {"ETag", "\"a\""}};
  const auto part = [&](const char* range, const char* bytes) {
    Lines fields = common;
    fields.emplace_back("Content-Range", range);
    says(fields, bytes, 206);
  };
  part("bytes 0-4/10", "01234");
  EXPECT_EQ(ask({{"Range", "bytes=0-4"}}).body, "01234");
  EXPECT_EQ(ask({{"Range", "bytes=1-2"}}).body, "12");
  EXPECT_EQ(asked(), 1U);
  part("bytes 5-9/10", "56789");
  const Got whole = ask();
  EXPECT_EQ(whole.status, 200);
  EXPECT_EQ(whole.body, "0123456789");
  EXPECT_EQ(origin_.asked[1].field("Range"), "bytes=5-9");
  EXPECT_EQ(origin_.asked[1].field("If-Range"), "\"a\"");
  EXPECT_EQ(ask({{"Range", "bytes=3-6"}}).body, "3456");
  EXPECT_EQ(asked(), 2U);
}

// RFC 9111 §3.5: that it never changes does not say that it is for all.
TEST_F(CacheFilterTest, KeepsWhatNeverChangesFromThoseWithoutCredentials) {
  configure("{ in: edge, immutable: [/a] }");
  says({{"Content-Type", "text/css"}}, "secret");
  const Got own = ask({{"Authorization", "Basic eDp5"}});
  EXPECT_EQ(own.body + own.field("Cache-Control"), "secret");
  says({}, "public");
  const Got other = ask();
  EXPECT_EQ(other.body, "public");
  EXPECT_EQ(other.field("Cache-Control"), "public, max-age=31536000, immutable");
  EXPECT_EQ(ask({{"Authorization", "Basic eDp5"}}).cache(), "HIT");
}

TEST_F(CacheFilterTest, KeepsWhatNeverChangesWhateverItSaysToCdns) {
  configure("{ in: edge, immutable: [/a] }");
  says({{"CDN-Cache-Control", "max-age=5"}, {"Surrogate-Control", "max-age=5"}});
  EXPECT_EQ(ask().field("CDN-Cache-Control"), "");
  rig_.advance(100h);
  EXPECT_EQ(ask().cache(), "HIT");
}

// Caches like this one may store it, others not: to make it public would be to tell them that they may.
TEST_F(CacheFilterTest, KeepsPrivateWhatNeverChanges) {
  configure("{ in: edge, immutable: [/a] }");
  says({{"CDN-Cache-Control", "max-age=5"}, {"Cache-Control", "private"}});
  for (const char* what : {"MISS", "HIT"}) {
    const Got got = ask();
    EXPECT_EQ(got.cache(), what);
    EXPECT_EQ(got.field("Cache-Control"), "private");
  }
}

// RFC 9213 §3.1: a CDN in front of this one goes by it too.
TEST_F(CacheFilterTest, PassesOnWhatIsForCdns) {
  const Lines for_cdns{{"CDN-Cache-Control", "max-age=10"},
                       {"ETag", "\"a\""},
                       {"Surrogate-Control", "max-age=5"},
                       {"Surrogate-Key", "a"},
                       {"Cache-Tag", "a"}};
  says(for_cdns);
  for (const int status : {200, 200, 304}) {
    const Got got = ask(status == 304 ? Lines{{"If-None-Match", "\"a\""}} : Lines{});
    EXPECT_EQ(got.status, status);
    EXPECT_EQ(got.field("CDN-Cache-Control"), "max-age=10");
    EXPECT_EQ(got.field("Surrogate-Control") + got.field("Surrogate-Key") + got.field("Cache-Tag"), "");
  }
  EXPECT_EQ(asked(), 1U);
  says({{"CDN-Cache-Control", "no-store"}});
  EXPECT_EQ(ask({}, "GET", "/other").field("CDN-Cache-Control"), "no-store");
}

TEST_F(CacheFilterTest, PassesARangeThatWasNotAskedFor) {
  says({{"Cache-Control", "max-age=10"}, {"Content-Range", "bytes 0-4/10"}}, "01234", 206);
  const Got other = ask({{"Range", "bytes=-5"}});
  EXPECT_EQ(other.status, 206);
  EXPECT_EQ(other.body, "01234");
  EXPECT_EQ(other.field("Content-Range"), "bytes 0-4/10");
  // One that is shorter than it says is not kept either.
  says({{"Cache-Control", "max-age=10"}, {"Content-Range", "bytes 4-9/10"}}, "01234", 206);
  EXPECT_EQ(ask({{"Range", "bytes=4-9"}}).body, "01234");
  EXPECT_EQ(ask({{"Range", "bytes=4-9"}}).cache(), "MISS");
}

TEST_F(CacheFilterTest, StaysOutOfWhatIsNotItsOwn) {
  says({{"Cache-Control", "max-age=10"}});
  const auto passes = [&](const Lines& fields, const char* body = nullptr) {
    const size_t before = asked();
    const Got first = ask(fields, "GET", "/a", body);
    const Got second = ask(fields, "GET", "/a", body);
    return asked() == before + 2 && first.cache() == "BYPASS" && second.cache() == "BYPASS";
  };
  EXPECT_TRUE(passes({}, "fat"));
  EXPECT_TRUE(passes({{"If-Match", "\"a\""}}));
  EXPECT_TRUE(passes({{"If-Unmodified-Since", date()}}));
  EXPECT_TRUE(passes({{"X-Original-URL", "/admin"}}));
  EXPECT_TRUE(passes({{"X-HTTP-Method-Override", "DELETE"}}));
}

// What the key does not hold must not change the answer, so the origin is not told.
TEST_F(CacheFilterTest, AsksTheOriginForNoMoreThanTheKeyHolds) {
  configure("{ in: edge, key: { without: [utm_*], query: sorted } }");
  says({{"Cache-Control", "max-age=10"}});
  ask({{"Surrogate-Capability", "me=\"ESI/1.0\""}}, "GET", "/a?utm_source=x&b=1&a=2");
  EXPECT_EQ(origin_.asked[0].uri, "/a?a=2&b=1");
  EXPECT_EQ(origin_.asked[0].field("Surrogate-Capability"), "trellis=\"Surrogate/1.0\"");
  EXPECT_EQ(ask({}, "GET", "/a?a=2&b=1&utm_id=7").cache(), "HIT");
  EXPECT_EQ(ask({}, "GET", "/a?a=2").cache(), "MISS");
}

// What is not stored still need not be sent to one who has it.
TEST_F(CacheFilterTest, LetsClientsValidateWhatIsNotStored) {
  says({{"Cache-Control", "private"}, {"ETag", "\"a\""}, {"Content-Type", "text/plain"}, {"Set-Cookie", "a=b"}});
  const Got first = ask({{"If-None-Match", "\"a\""}});
  EXPECT_EQ(first.status, 304);
  EXPECT_EQ(first.field("ETag") + first.field("Set-Cookie") + first.field("Content-Type"), "\"a\"a=b");
  EXPECT_EQ(origin_.asked[0].field("If-None-Match"), "") << "the first time the whole may be storable";
  says({{"Cache-Control", "private"}, {"ETag", "\"a\""}}, "", 304);
  EXPECT_EQ(ask({{"If-None-Match", "\"a\""}}).status, 304);
  EXPECT_EQ(origin_.asked[1].field("If-None-Match"), "\"a\"");
  rig_.advance(11s);
  says({{"Cache-Control", "max-age=10"}, {"ETag", "\"a\""}});
  EXPECT_EQ(ask({{"If-None-Match", "\"a\""}}).status, 304);
  EXPECT_EQ(ask().cache(), "HIT");
}

TEST_F(CacheFilterTest, AsksOnceForWhatCannotBeSliced) {
  configure("{ in: edge, slice: 64KiB }");
  says({{"Cache-Control", "private"}});
  EXPECT_EQ(ask().body, "first");
  EXPECT_EQ(asked(), 1U);
  says({}, "none", 404);
  EXPECT_EQ(ask().status, 404);
  EXPECT_EQ(asked(), 2U);
}

TEST_F(CacheFilterTest, GivesWhatIsNotStoredOfASliceToTheOneWhoAsked) {
  configure("{ in: edge, slice: 64KiB }");
  says({{"Cache-Control", "max-age=10, no-cache=\"X-Any\""}, {"X-Any", "1"}, {"Set-Cookie", "a=b"}});
  const Got first = ask();
  EXPECT_EQ(first.field("X-Any") + first.field("Set-Cookie"), "1a=b");
  EXPECT_EQ(first.field("Cache-Status"), "edge; fwd=uri-miss; fwd-status=200; ttl=10; stored; detail=slice");
  const Got second = ask();
  EXPECT_EQ(second.cache() + second.field("X-Any") + second.field("Set-Cookie"), "HIT");
}

// RFC 5861 §4.
TEST_F(CacheFilterTest, GivesAStaleSliceWhenTheOriginFails) {
  configure("{ in: edge, slice: 64KiB, stale_if_error: 1h }");
  says({{"Cache-Control", "max-age=1"}});
  ask();
  rig_.advance(2s);
  origin_.dead = true;
  const Got got = ask();
  EXPECT_EQ(got.cache() + got.body, "STALEfirst");
  EXPECT_TRUE(got.field("Cache-Status").ends_with("detail=stale-if-error")) << got.field("Cache-Status");
}

// RFC 9110 §9.3.3.
TEST_F(CacheFilterTest, KeepsAPostsAnswerForLaterGets) {
  says({{"Cache-Control", "max-age=10"}, {"Content-Location", "/a"}}, "posted");
  EXPECT_EQ(ask({}, "POST", "/a", "x").body, "posted");
  says({}, "got");
  const Got hit = ask();
  EXPECT_EQ(hit.body, "posted");
  EXPECT_EQ(hit.cache(), "HIT");
  says({{"Cache-Control", "max-age=10"}, {"Content-Location", "/other"}}, "posted");
  ask({}, "POST", "/a", "x");
  says({}, "got");
  EXPECT_EQ(ask().body, "got");
}

TEST(CacheConfig, WhatWouldDoNothingIsRefused) {
  const auto good = test::read_config<CacheFilterConfig>("{in: a, ttl: {0: 1s, 200: 5s}, error_statuses: [404, 503]}");
  EXPECT_EQ(good.error_statuses, (std::vector<int>{404, 503}));
  for (const char* bad : {"{in: a, ttl: {206: 5s}}", "{in: a, ttl: {304: 5s}}", "{in: a, ttl: {99: 5s}}",
                          "{in: a, error_statuses: [200]}", "{in: a, jitter: 60%}", "{in: a, slice: 1KiB}"})
    EXPECT_NE(test::config_problems<CacheFilterConfig>(bad), "") << bad;
}

}  // namespace
}  // namespace trellis::proxy
