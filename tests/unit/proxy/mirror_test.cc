// Copies go beside the original and never in its way; what became of each is counted.
#include "proxy/filters/mirror.h"

#include <gtest/gtest.h>

#include "tests/unit/proxy/filter_parts_kit.h"

namespace trellis::proxy {
namespace {

using namespace std::chrono_literals;
using test::body_text;
using test::Exchange;
using test::PartsKit;
using test::PiecesBody;
using test::read_config;
using test::Rig;

// Keeps what it got; answers when it is told to, at once unless `waits`.
class Shadow final : public http::Handler {
 public:
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override {
    ++calls;
    ++inside;
    struct Leave {
      int& inside;
      ~Leave() { --inside; }
    } leave{inside};
    method = request.method_text;
    path = request.path;
    query = request.query;
    mark = request.fields.find("X-Trellis-Mirror").value_or("");
    tag = request.fields.find("X-Tag").value_or("");
    has_body = request.body != nullptr;
    CO_TRY(body, co_await http::read_all(request.body.get(), 1 << 20, kNever));
    if (waits) {
      const bool told = co_await answer.wait(kNever);
      if (!told) co_return fail(Code::internal, "never");
    }
    if (fails) co_return fail(Error(Code::unavailable, "gone").from(Side::upstream));
    http::Response response(context.arena, 500);
    response.body = http::Body(
        std::unique_ptr<http::BodyReader>(std::make_unique<PiecesBody>(std::vector<std::string>{"thrown", "away"})));
    co_return response;
  }
  bool waits = false;
  bool fails = false;
  Event answer;
  int calls = 0;
  int inside = 0;
  std::string method, path, query, mark, tag, body;
  bool has_body = false;
};

// Reads the body and answers 200 with its size.
class Original final : public http::Handler {
 public:
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override {
    if (!reads) co_return http::Response(context.arena, 200);
    CO_TRY(std::string body, co_await http::read_all(request.body.get(), 1 << 20, kNever));
    http::Response response(context.arena, 200);
    response.body = http::Body("read " + std::to_string(body.size()));
    co_return response;
  }
  bool reads = true;
};

struct MirrorTest : ::testing::Test {
  Rig rig;
  PartsKit kit;
  Shadow shadow;
  Original original;

  MirrorTest() { kit.targets = {{"shadow", &shadow}}; }
  std::unique_ptr<Filter> filter(const std::string& more = {}) {
    auto made = MirrorFilter::make(read_config<MirrorConfig>("{ to: upstream.shadow" + more + " }"), kit.parts);
    TRELLIS_ASSERT(made.has_value());
    return *std::move(made);
  }
  // The original's answer must be there without a turn of the loop, whatever the shadow does.
  std::string ask(Exchange& exchange, std::unique_ptr<Filter> made) {
    std::vector<std::unique_ptr<Filter>> filters;
    filters.push_back(std::move(made));
    exchange.chain = std::make_unique<Chain>(std::move(filters), original);
    Task<Result<http::Response>> task = exchange.chain->run(exchange.request, exchange.context);
    task.start();
    EXPECT_TRUE(task.done());
    Result<http::Response> answer = task.take();
    return answer ? body_text(rig, *answer) : answer.error().to_string();
  }
  void turns() {
    for (int i = 0; i < 20; ++i) rig.advance(0ms);
  }
  uint64_t outcomes(MirrorOutcome outcome) {
    return kit.count("trellis_mirror_total", {{"route", "test"}, {"outcome", std::string(to_string(outcome))}});
  }
  uint64_t all() {
    uint64_t sum = 0;
    for (int i = 0; i < 6; ++i) sum += outcomes(static_cast<MirrorOutcome>(i));
    return sum;
  }
};

TEST_F(MirrorTest, SendsACopyBesideTheOriginal) {
  {
    Exchange exchange(rig, "POST", "/a/b?c=d");
    exchange.with("X-Tag", "kept");
    exchange.request.body = std::make_unique<PiecesBody>(std::vector<std::string>{"one", "two"});
    EXPECT_EQ(ask(exchange, filter()), "read 6");
    EXPECT_EQ(shadow.calls, 0) << "the original goes first";
    EXPECT_FALSE(exchange.request.fields.find("X-Trellis-Mirror"));
  }  // the original and the filter are gone: the copy has all it needs
  turns();
  EXPECT_EQ(shadow.calls, 1);
  EXPECT_EQ(shadow.method, "POST");
  EXPECT_EQ(shadow.path, "/a/b");
  EXPECT_EQ(shadow.query, "c=d");
  EXPECT_EQ(shadow.mark, "1");
  EXPECT_EQ(shadow.tag, "kept");
  EXPECT_EQ(shadow.body, "onetwo");
  EXPECT_EQ(outcomes(MirrorOutcome::answered), 1u);
  EXPECT_EQ(all(), 1u);
  EXPECT_EQ(kit.background.size(), 0u);
}

TEST_F(MirrorTest, SendsARequestWithoutABodyWithoutOne) {
  Exchange exchange(rig);
  EXPECT_EQ(ask(exchange, filter()), "read 0");
  turns();
  EXPECT_EQ(shadow.calls, 1);
  EXPECT_FALSE(shadow.has_body);
}

TEST_F(MirrorTest, DropsCopiesWhereTooManyAreUnderWay) {
  shadow.waits = true;
  auto made = filter(", max_in_flight: 2");
  std::vector<std::unique_ptr<Filter>> filters;
  filters.push_back(std::move(made));
  const Chain chain(std::move(filters), original);
  for (int i = 0; i < 5; ++i) {
    Exchange exchange(rig);
    Task<Result<http::Response>> task = chain.run(exchange.request, exchange.context);
    task.start();
    ASSERT_TRUE(task.done());
    EXPECT_TRUE(task.take());
    turns();
  }
  EXPECT_EQ(shadow.inside, 2);
  EXPECT_EQ(outcomes(MirrorOutcome::dropped), 3u);
  shadow.answer.set();
  turns();
  EXPECT_EQ(outcomes(MirrorOutcome::answered), 2u);
  EXPECT_EQ(all(), 5u);
}

TEST_F(MirrorTest, CutsACopyThatTakesTooLong) {
  shadow.waits = true;
  Exchange exchange(rig);
  ask(exchange, filter(", timeout: 2s"));
  turns();
  EXPECT_EQ(shadow.inside, 1);
  rig.advance(1900ms);
  turns();
  EXPECT_EQ(shadow.inside, 1);
  rig.advance(200ms);
  turns();
  EXPECT_EQ(shadow.inside, 0) << "cancelled where it waited";
  EXPECT_EQ(outcomes(MirrorOutcome::late), 1u);
}

TEST_F(MirrorTest, CountsAShadowThatFails) {
  shadow.fails = true;
  Exchange exchange(rig);
  EXPECT_EQ(ask(exchange, filter()), "read 0");
  turns();
  EXPECT_EQ(outcomes(MirrorOutcome::failed), 1u);
}

TEST_F(MirrorTest, DoesNotCopyBodiesBeyondTheLimit) {
  for (const std::optional<uint64_t> length : {std::optional<uint64_t>(11), std::optional<uint64_t>()}) {
    Exchange exchange(rig, "POST");
    exchange.request.body = std::make_unique<PiecesBody>(std::vector<std::string>{"123456", "78901"}, length);
    EXPECT_EQ(ask(exchange, filter(", body: 10B")), "read 11");
    turns();
  }
  EXPECT_EQ(shadow.calls, 0);
  EXPECT_EQ(outcomes(MirrorOutcome::too_large), 2u);
  Exchange exchange(rig, "POST");
  exchange.request.body = std::make_unique<PiecesBody>(std::vector<std::string>{"123456", "7890"});
  EXPECT_EQ(ask(exchange, filter(", body: 10B")), "read 10");
  turns();
  EXPECT_EQ(shadow.body, "1234567890") << "ten fit";
}

TEST_F(MirrorTest, DoesNotCopyABodyThatNobodyReadToItsEnd) {
  original.reads = false;
  {
    Exchange exchange(rig, "POST");
    exchange.request.body = std::make_unique<PiecesBody>(std::vector<std::string>{"unread"});
    ask(exchange, filter());
  }
  turns();
  EXPECT_EQ(shadow.calls, 0);
  EXPECT_EQ(outcomes(MirrorOutcome::incomplete), 1u);
}

TEST_F(MirrorTest, CopiesNoCopiesAndNoUpgrades) {
  for (const char* name : {"X-Trellis-Mirror", "Upgrade"}) {
    Exchange exchange(rig);
    exchange.with(name, "1");
    ask(exchange, filter());
    turns();
  }
  EXPECT_EQ(all(), 0u);
  EXPECT_EQ(shadow.calls, 0);
}

TEST_F(MirrorTest, CopiesTheShareThatWasAskedFor) {
  auto made = filter(", share: 20%");
  std::vector<std::unique_ptr<Filter>> filters;
  filters.push_back(std::move(made));
  const Chain chain(std::move(filters), original);
  for (int i = 0; i < 2000; ++i) {
    Exchange exchange(rig);
    EXPECT_TRUE(fakes::run_task(*rig.loop, chain.run(exchange.request, exchange.context)));
    rig.advance(0ms);
  }
  turns();
  EXPECT_NEAR(shadow.calls, 400, 108);  // six standard deviations
}

TEST_F(MirrorTest, EndsWithTheCore) {
  shadow.waits = true;
  Exchange exchange(rig);
  ask(exchange, filter());
  turns();
  EXPECT_EQ(shadow.inside, 1);
  kit.background.cancel_all();
  EXPECT_EQ(shadow.inside, 0);
}

TEST(MirrorConfig, LeadsToAnUpstreamOnly) {
  EXPECT_NE(test::config_problems<MirrorConfig>("to: service.links").find("upstream"), std::string::npos);
  EXPECT_NE(test::config_problems<MirrorConfig>("{}").find("to"), std::string::npos);
  EXPECT_EQ(read_config<MirrorConfig>("to: upstream.shadow").max_in_flight, 64u);
}

}  // namespace
}  // namespace trellis::proxy
