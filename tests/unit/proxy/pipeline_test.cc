#include "proxy/pipeline.h"

#include "base/metrics.h"
#include "tests/unit/proxy/proxy_test_kit.h"

namespace trellis::proxy {
namespace {

using namespace std::chrono_literals;
using test::Exchange;
using test::Rig;

// Two routes: /good answers, /bad fails as `fault` says; nothing else is routed.
class PipelineTest : public testing::Test {
 protected:
  class Good final : public http::Handler {
   public:
    Task<Result<http::Response>> handle(http::Request&, http::RequestContext& context) override {
      deadline = context.deadline;
      request_id = context.request_id;
      http::Response response(context.arena, 201);
      response.body = http::Body::of_static("made");
      co_return response;
    }
    Deadline deadline{};
    std::string request_id;
  };
  class Bad final : public http::Handler {
   public:
    Task<Result<http::Response>> handle(http::Request&, http::RequestContext&) override {
      co_return fail(Error(fault, "the details").from(Side::upstream));
    }
    Code fault = Code::unavailable;
  };

  PipelineTest() {
    PipelineParts parts;
    parts.shedder = &shedder_;
    parts.listener = "web";
    std::vector<RouteProblem> problems;
    const std::vector<Match> matches{
        {"", "/good", {"GET"}, {}, {}}, {"", "/bad", {}, {}, {}}, {"", "/healthz", {}, {}, {}}};
    parts.router = std::make_shared<const Router>(Router::compile(matches, problems));
    auto good = std::make_unique<Good>();
    auto bad = std::make_unique<Bad>();
    good_ = good.get();
    bad_ = bad.get();
    parts.routes.push_back(route("good", good.get()));
    parts.routes.push_back(route("bad", bad.get()));
    parts.routes.push_back(route("health", good.get()));
    parts.routes[0].timeout = 30s;
    parts.targets.push_back(std::move(good));
    parts.targets.push_back(std::move(bad));
    parts.unrouted = route("none", nullptr);
    pipeline_ = std::make_unique<Pipeline>(std::move(parts), metrics_);
  }
  PipelineRoute route(const std::string& name, http::Handler* target) {
    PipelineRoute made;
    made.name = name;
    made.figures = std::make_shared<RouteFigures>(metrics_, name);
    made.counts = std::make_shared<RouteCounts>(metrics_, "web", name);
    if (target) made.chain = std::make_unique<Chain>(std::vector<std::unique_ptr<Filter>>{}, *target);
    return made;
  }
  // As a server does it: the answer, then what became of it.
  http::Response ask(Exchange& exchange, Duration takes = 0ns) {
    exchange.context.request_id = {};
    Result<http::Response> response =
        fakes::run_task(*rig_.loop, pipeline_->handle(exchange.request, exchange.context));
    EXPECT_TRUE(response) << "every error becomes an answer";
    rig_.advance(takes);
    pipeline_->finished(exchange.request, exchange.context,
                        {.status = response->status, .first_byte = rig_.loop->now(), .complete = true});
    return std::move(*response);
  }
  uint64_t answered(const char* route_name, const char* code, const char* side) {
    return metrics_
        .counter("trellis_requests_total", "",
                 {{"listener", "web"}, {"route", route_name}, {"code", code}, {"side", side}})
        .value();
  }

  Rig rig_;
  Metrics metrics_;
  Shedder shedder_{{.lag = 50ms}, 0, metrics_};
  Good* good_ = nullptr;
  Bad* bad_ = nullptr;
  std::unique_ptr<Pipeline> pipeline_;
};

TEST_F(PipelineTest, GivesEachRequestAnIdADeadlineAndACount) {
  Exchange exchange(rig_, "GET", "/good");
  const Time before = rig_.loop->now();
  const http::Response response = ask(exchange, 5ms);
  EXPECT_EQ(response.status, 201);
  EXPECT_EQ(good_->deadline, after(before, 30s));
  EXPECT_EQ(good_->request_id.size(), 26U);
  EXPECT_EQ(response.fields.value(http::FieldId::x_request_id), good_->request_id);
  EXPECT_EQ(exchange.context.route, "good");
  EXPECT_EQ(answered("good", "201", "none"), 1U);
}

TEST_F(PipelineTest, KeepsTheIdThatTheClientGave) {
  Exchange exchange(rig_, "GET", "/good");
  exchange.with("X-Request-Id", "abc-123");
  const http::Response response = ask(exchange);
  EXPECT_EQ(response.fields.value(http::FieldId::x_request_id), "abc-123");
}

TEST_F(PipelineTest, MakesAnAnswerOfAnErrorAndSaysWhoseItWas) {
  Exchange exchange(rig_, "GET", "/bad");
  http::Response response = ask(exchange);
  EXPECT_EQ(response.status, 502);
  EXPECT_EQ(response.fields.value(http::FieldId::content_type), "application/problem+json");
  EXPECT_FALSE(response.fields.value(http::FieldId::x_request_id).empty());
  EXPECT_EQ(test::body_text(rig_, response).find("the details"), std::string::npos) << "not for clients";
  EXPECT_EQ(answered("bad", "502", "upstream"), 1U);

  bad_->fault = Code::deadline_exceeded;
  Exchange late(rig_, "GET", "/bad");
  EXPECT_EQ(ask(late).status, 504);
  EXPECT_EQ(answered("bad", "504", "upstream"), 1U);
}

TEST_F(PipelineTest, WhatNoRouteTakesIsCountedToo) {
  Exchange nowhere(rig_, "GET", "/nowhere");
  EXPECT_EQ(ask(nowhere).status, 404);
  EXPECT_EQ(answered("none", "404", "client"), 1U);

  Exchange wrong(rig_, "DELETE", "/good");
  const http::Response response = ask(wrong);
  EXPECT_EQ(response.status, 405);
  EXPECT_EQ(response.fields.value(http::FieldId::allow), "GET, HEAD");
}

TEST_F(PipelineTest, ConnectAndTraceNeverReachATarget) {
  for (const char* method : {"CONNECT", "TRACE"}) {
    Exchange exchange(rig_, method, "/bad");
    const http::Response response = ask(exchange);
    EXPECT_EQ(response.status, 405) << method;
    EXPECT_TRUE(response.fields.has(http::FieldId::allow)) << method;
  }
  EXPECT_EQ(answered("bad", "502", "upstream"), 0U);
}

TEST_F(PipelineTest, AClientThatLeftIsTheClientsSide) {
  Exchange exchange(rig_, "GET", "/good");
  (void)fakes::run_task(*rig_.loop, pipeline_->handle(exchange.request, exchange.context));
  pipeline_->finished(exchange.request, exchange.context, {.status = 499, .first_byte = rig_.loop->now()});
  EXPECT_EQ(answered("good", "499", "client"), 1U);
}

TEST_F(PipelineTest, BytesThatWereNoRequestAreCountedByTheirFault) {
  pipeline_->refused("192.0.2.1", 400, http::H1Error::bad_field_name);
  pipeline_->refused("192.0.2.1", 408, http::H1Error::none);
  const auto refused = [this](const std::string& reason) {
    return metrics_.counter("trellis_refused_total", "", {{"reason", reason}}).value();
  };
  EXPECT_EQ(refused(std::string(http::to_string(http::H1Error::bad_field_name))), 1U);
  EXPECT_EQ(refused("head_timeout"), 1U);
  EXPECT_EQ(answered("none", "400", "client"), 1U);
}

TEST_F(PipelineTest, ConnectionsAreThoseOpenedLessThoseClosed) {
  const std::shared_ptr<void> token = watch_connections(metrics_, "web");
  pipeline_->opened();
  pipeline_->opened();
  pipeline_->closed();
  EXPECT_NE(metrics_.prometheus_text().find("trellis_connections{listener=\"web\"} 1"), std::string::npos)
      << metrics_.prometheus_text();
}

TEST_F(PipelineTest, ALateCoreRefusesRequestsButNotThoseForItsHealth) {
  for (int i = 0; i < 50; ++i) {
    shedder_.refuses(Priority::normal, *rig_.loop);
    rig_.advance(500ms);
  }
  Exchange exchange(rig_, "GET", "/good");
  const http::Response response = ask(exchange);
  EXPECT_EQ(response.status, 503);
  EXPECT_TRUE(response.fields.has(http::FieldId::retry_after));
  EXPECT_EQ(response.fields.value(http::FieldId::x_request_id), exchange.context.request_id);
  EXPECT_EQ(exchange.context.outcome, "overloaded");
  EXPECT_EQ(answered("good", "503", "self"), 1U);
  EXPECT_EQ(metrics_.counter("trellis_shed_total", "", {{"reason", "overloaded"}}).value(), 1U);
  Exchange health(rig_, "GET", "/healthz");
  EXPECT_EQ(ask(health).status, 201);
}

}  // namespace
}  // namespace trellis::proxy
