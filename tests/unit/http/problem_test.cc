#include "http/problem.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "http/h1_parser.h"
#include "http/handler.h"

namespace trellis::http {
namespace {

nlohmann::json body_of(const Response& response) { return nlohmann::json::parse(response.body.bytes().view()); }

TEST(Problem, IsJsonWithAStableCode) {
  Arena arena;
  const Response response = problem(arena, 429, "too_many_requests", "a \"quoted\"\n\x01 detail\\", true, "01JD");
  EXPECT_EQ(response.status, 429);
  EXPECT_EQ(response.fields.value(FieldId::content_type), "application/problem+json");
  const auto json = body_of(response);
  EXPECT_EQ(json["title"], "Too Many Requests");
  EXPECT_EQ(json["status"], 429);
  EXPECT_EQ(json["code"], "too_many_requests");
  EXPECT_EQ(json["detail"], "a \"quoted\"\n\x01 detail\\");
  EXPECT_EQ(json["temporary"], true);
  EXPECT_EQ(json["request_id"], "01JD");
}

TEST(Problem, LeavesOutWhatIsEmptyAndSurvivesAnyBytes) {
  Arena arena;
  const auto json = body_of(problem(arena, 400, "x", "", false, ""));
  EXPECT_FALSE(json.contains("detail"));
  EXPECT_FALSE(json.contains("request_id"));
  std::string every;
  for (int c = 0; c < 256; ++c) every += static_cast<char>(c);
  EXPECT_NO_THROW(body_of(problem(arena, 400, every, every, false, every)));
}

TEST(Problem, MapsErrorsByCodeAndSide) {
  struct Case {
    Code code;
    int client;
    int upstream;
    int self;
  };
  for (const Case& c : {Case{Code::cancelled, 499, 499, 499}, Case{Code::invalid_argument, 400, 502, 500},
                        Case{Code::deadline_exceeded, 408, 504, 503}, Case{Code::not_found, 404, 502, 404},
                        Case{Code::already_exists, 409, 502, 409}, Case{Code::permission_denied, 403, 502, 403},
                        Case{Code::unauthenticated, 401, 502, 401}, Case{Code::resource_exhausted, 429, 503, 503},
                        Case{Code::failed_precondition, 412, 502, 412}, Case{Code::aborted, 409, 502, 409},
                        Case{Code::unavailable, 400, 502, 503}, Case{Code::data_loss, 400, 502, 500},
                        Case{Code::unimplemented, 501, 502, 501}, Case{Code::internal, 500, 502, 500}}) {
    EXPECT_EQ(status_for(Error(c.code, "x").from(Side::client)), c.client) << to_string(c.code);
    EXPECT_EQ(status_for(Error(c.code, "x").from(Side::upstream)), c.upstream) << to_string(c.code);
    EXPECT_EQ(status_for(Error(c.code, "x").from(Side::self)), c.self) << to_string(c.code);
  }
  EXPECT_EQ(status_for(Error(Code::invalid_argument, "x")), 400);
  EXPECT_EQ(status_for(Error(Code::resource_exhausted, "body_too_large: more than 5 bytes").from(Side::client)), 413);
  EXPECT_EQ(code_for(Error(Code::unavailable, "x").from(Side::upstream)), "upstream_unavailable");
}

struct Context {
  Arena arena;
  RequestContext context{.arena = arena, .loop = *reinterpret_cast<runtime::Loop*>(&arena), .started = {}};
};

TEST(Problem, TellsTheClientOnlyWhatIsTheClientsOwn) {
  Context c;
  c.context.request_id = "id-1";
  const Response client = response_for(Error(Code::invalid_argument, "url: not a URL").from(Side::client), c.context);
  EXPECT_EQ(body_of(client)["detail"], "url: not a URL");
  EXPECT_EQ(body_of(client)["request_id"], "id-1");
  EXPECT_EQ(c.context.outcome, "invalid_argument");
  EXPECT_EQ(c.context.failed_side, Side::client);

  const Response upstream = response_for(
      Error(Code::unavailable, "connect 10.0.0.1:80").from(Side::upstream).because(Error(Code::unavailable, "refused")),
      c.context);
  EXPECT_EQ(upstream.status, 502);
  EXPECT_EQ(upstream.body.bytes().view().find("10.0.0.1"), std::string_view::npos);
  EXPECT_EQ(body_of(upstream)["temporary"], true);
  EXPECT_EQ(c.context.outcome, "upstream_unavailable");
  EXPECT_EQ(c.context.failed_side, Side::upstream);

  const Response own =
      response_for(Error(Code::internal, "store /var/x.db: disk I/O error").from(Side::self), c.context);
  EXPECT_EQ(own.status, 500);
  EXPECT_EQ(own.body.bytes().view().find("/var"), std::string_view::npos);
  const Response unset = response_for(Error(Code::not_found, "row 5 of /var/x.db"), c.context);
  EXPECT_EQ(unset.status, 404);
  EXPECT_EQ(unset.body.bytes().view().find("/var"), std::string_view::npos);

  const Response large =
      response_for(Error(Code::resource_exhausted, "body_too_large: more than 5 bytes").from(Side::client), c.context);
  EXPECT_EQ(large.status, 413);
  EXPECT_EQ(body_of(large)["detail"], "more than 5 bytes");
  EXPECT_EQ(body_of(large)["code"], "body_too_large");
}

}  // namespace
}  // namespace trellis::http
