// What a pipeline tells who asks with its key: the way of a request through routes and filters.
#include <algorithm>

#include "base/metrics.h"
#include "proxy/pipeline.h"
#include "tests/fakes/decisions.h"
#include "tests/unit/proxy/proxy_test_kit.h"

namespace trellis::proxy {
namespace {

using test::Exchange;
using test::Rig;

// Answers, and keeps what it got.
class Seeing final : public http::Handler {
 public:
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override {
    told = request.fields.has(http::FieldId::x_trellis_explain);
    asked = context.explain != nullptr;
    http::Response response(context.arena, 200);
    response.fields.add(http::FieldId::cache_control, "max-age=60");
    co_return response;
  }
  bool told = false;
  bool asked = false;
};

class Refusing final : public Filter {
 public:
  Task<Result<http::Response>> handle(http::Request&, http::RequestContext& context, Next) override {
    co_return http::Response(context.arena, 403);
  }
};
class Passing final : public Filter {
 public:
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context, Next next) override {
    return next(request, context);
  }
};

constexpr std::string_view kKey = "0123456789abcdef";

class PipelineExplains : public testing::Test {
 protected:
  PipelineExplains() {
    const std::vector<Match> matches{
        {"", "/api/**", {"GET"}, {}, {}}, {"", "/**", {}, {{"x-beta", "1"}}, {}}, {"", "/shut", {}, {}, {}}};
    std::vector<RouteProblem> problems;
    PipelineParts parts;
    parts.listener = "web";
    parts.explain_key = kKey;
    parts.router = std::make_shared<const Router>(Router::compile(matches, problems));
    const std::vector<std::string> names{"api", "beta", "shut"};
    for (size_t i = 0; i < names.size(); ++i) {
      PipelineRoute route = named(names[i]);
      route.match = matches[i];
      route.to = "upstream." + names[i];
      std::vector<std::unique_ptr<Filter>> filters;
      filters.push_back(std::make_unique<Passing>());
      if (names[i] == "shut") {
        filters.push_back(std::make_unique<Refusing>());
        filters.back()->name = "deny";
      }
      route.chain = std::make_unique<Chain>(std::move(filters), target_);
      parts.routes.push_back(std::move(route));
    }
    parts.unrouted = named("none");
    pipeline_ = std::make_unique<Pipeline>(std::move(parts), metrics_);
  }
  PipelineRoute named(const std::string& name) {
    PipelineRoute made;
    made.name = name;
    made.figures = std::make_shared<RouteFigures>(metrics_, name);
    made.counts = std::make_shared<RouteCounts>(metrics_, "web", name);
    return made;
  }
  std::vector<std::string> told(Exchange& exchange) {
    Result<http::Response> response =
        fakes::run_task(*rig_.loop, pipeline_->handle(exchange.request, exchange.context));
    EXPECT_TRUE(response);
    cache_control_ = response->fields.value(http::FieldId::cache_control);
    return fakes::decisions_in(response->fields);
  }

  Rig rig_;
  Metrics metrics_;
  Seeing target_;
  std::unique_ptr<Pipeline> pipeline_;
  std::string cache_control_;
};

TEST_F(PipelineExplains, TellsTheWayOfARequest) {
  Exchange exchange(rig_, "GET", "/api/users");
  exchange.with("X-Beta", "1").with("x-trellis-explain", kKey);
  EXPECT_EQ(told(exchange),
            (std::vector<std::string>{
                "client 192.0.2.7 at listener web",
                "route api: path /api/**, method GET; leads to upstream.api; less specific: beta (path /**, header "
                "x-beta is 1)",
                "filter filter passes", "answer status 200; its Cache-Control was max-age=60"}));
  EXPECT_EQ(cache_control_, "no-store");
  EXPECT_TRUE(target_.asked);
  EXPECT_FALSE(target_.told) << "the key is nobody else's";
  EXPECT_EQ(exchange.context.explain, nullptr) << "it ends with the request";
}

TEST_F(PipelineExplains, TellsNothingWithoutTheKey) {
  for (const std::string_view key : {"", "0123456789abcdeF", "0123456789abcde", "1"}) {
    Exchange exchange(rig_, "GET", "/api/users");
    exchange.with("X-Trellis-Explain", key);
    EXPECT_EQ(told(exchange), std::vector<std::string>()) << key;
    EXPECT_EQ(cache_control_, "max-age=60");
    EXPECT_FALSE(target_.told) << "a wrong key may be nearly the right one";
    EXPECT_FALSE(target_.asked);
  }
}

TEST_F(PipelineExplains, TellsWhoAnsweredOnTheWay) {
  Exchange exchange(rig_, "GET", "/shut");
  exchange.with("X-Trellis-Explain", kKey);
  const std::vector<std::string> lines = told(exchange);
  EXPECT_EQ(lines[2], "filter filter passes");
  EXPECT_EQ(lines[3], "filter deny went no further: it answers 403");
}

TEST_F(PipelineExplains, TellsWhichRoutesComeNearTo404) {
  Exchange exchange(rig_, "POST", "/api/users");
  exchange.with("X-Trellis-Explain", kKey);
  const std::vector<std::string> lines = told(exchange);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[1],
            "route no route of 3 takes POST example.com/api/users; near: api (path /api/**, method GET), beta (path "
            "/**, header x-beta is 1)");
  EXPECT_EQ(lines[2], "answer status 405, method_not_allowed; its Cache-Control was no-store");
}

}  // namespace
}  // namespace trellis::proxy
