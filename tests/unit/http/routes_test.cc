#include "http/routes.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "runtime/loop.h"
#include "tests/fakes/run_task.h"

namespace trellis::http {
namespace {

Task<Result<Response>> answer(RequestContext& context, std::string name) {
  Response response(context.arena, 200);
  response.body = Body(std::move(name));
  co_return response;
}

class RoutesTest : public testing::Test {
 protected:
  RoutesTest() {
    LoopOptions options;
    options.seed = 1;
    loop_ = *Loop::make(options);
  }
  void add(Method method, const char* pattern, const char* name, RouteDoc doc = {}) {
    routes_.add(method, pattern, std::move(doc),
                [name = std::string(name)](Request&, RequestContext& context, PathParameters path) {
                  return answer(context, name + ":" + std::string(path[0]) + ":" + std::string(path[1]));
                });
  }
  // The status and the body, or the value of Allow.
  std::pair<int, std::string> get(std::string_view path, Method method = Method::get) {
    Arena arena;
    Request request(arena);
    request.method = method;
    request.path = path;
    RequestContext context{.arena = arena, .loop = *loop_, .started = loop_->now()};
    auto response = fakes::run_task(*loop_, routes_.handle(request, context));
    if (!response) return {0, response.error().what()};
    if (response->fields.has(FieldId::allow))
      return {response->status, std::string(response->fields.value(FieldId::allow))};
    return {response->status, std::string(response->body.bytes().view())};
  }
  using Got = std::pair<int, std::string>;

  std::unique_ptr<Loop> loop_;
  Routes routes_;
};

TEST_F(RoutesTest, LiteralSegmentsWinWhateverTheOrder) {
  add(Method::get, "/{any}", "any");
  add(Method::get, "/{any}/{other}", "two");
  add(Method::get, "/a/{other}", "a");
  add(Method::get, "/a/b", "ab");
  EXPECT_EQ(get("/x"), Got(200, "any:x:"));
  EXPECT_EQ(get("/x/y"), Got(200, "two:x:y"));
  EXPECT_EQ(get("/a/y"), Got(200, "a:y:"));
  EXPECT_EQ(get("/a/b"), Got(200, "ab::"));
}

TEST_F(RoutesTest, AParameterMayHaveAnEnd) {
  add(Method::get, "/{x}", "any");
  add(Method::get, "/{x}.qr", "qr");
  add(Method::get, "/{x}+", "preview");
  add(Method::get, "/a.qr", "literal");
  EXPECT_EQ(get("/b"), Got(200, "any:b:"));
  EXPECT_EQ(get("/b.qr"), Got(200, "qr:b:"));
  EXPECT_EQ(get("/b+"), Got(200, "preview:b:"));
  EXPECT_EQ(get("/a.qr"), Got(200, "literal::"));
  // Nothing before the end is no parameter.
  EXPECT_EQ(get("/.qr"), Got(200, "any:.qr:"));
  EXPECT_EQ(get("/+"), Got(200, "any:+:"));
}

TEST_F(RoutesTest, AnswersWhatItDoesNotKnow) {
  add(Method::get, "/a/{x}", "a");
  EXPECT_EQ(get("/a/").first, 404);
  EXPECT_EQ(get("/a").first, 404);
  EXPECT_EQ(get("/a/b/c").first, 404);
  EXPECT_EQ(get("/a/b/").first, 404);
  EXPECT_EQ(get("/").first, 404);
  EXPECT_EQ(get("*").first, 404);
  EXPECT_EQ(get("/1/2/3/4/5/6/7/8/9/10").first, 404);
}

TEST_F(RoutesTest, NamesTheMethodsItHas) {
  add(Method::get, "/a", "get");
  add(Method::post, "/a", "post");
  EXPECT_EQ(get("/a", Method::head), Got(200, "get::"));
  EXPECT_EQ(get("/a", Method::put), Got(405, "GET, HEAD, POST, OPTIONS"));
  EXPECT_EQ(get("/a", Method::options), Got(204, "GET, HEAD, POST, OPTIONS"));
}

TEST_F(RoutesTest, FindsWhatHasNoWords) {
  add(Method::get, "/a/{x}", "a");
  EXPECT_GE(routes_.gaps().size(), 5u);
  Routes whole;
  RouteDoc doc;
  doc.id = "a";
  doc.summary = "s";
  doc.description = "d";
  doc.parameters = {{"x", "path", "The x."}};
  doc.answers = {{200, "Fine.", "A"}, {404, "None.", "Missing"}};
  whole.schema("A", R"({"type":"object"})");
  whole.add(Method::get, "/a/{x}", doc,
            [](Request&, RequestContext& context, PathParameters) { return answer(context, ""); });
  EXPECT_EQ(whole.gaps(), std::vector<std::string>{"GET /a/{x}: no schema Missing"});
}

TEST_F(RoutesTest, WritesOpenApi) {
  RouteDoc doc;
  doc.id = "make";
  doc.summary = "Make \"it\"";
  doc.body = "A";
  doc.answers = {{201, "Made.", "A"}, {400, "Bad.", "Problem"}};
  add(Method::post, "/a", "a", doc);
  routes_.schema("A", R"({"type":"object"})");
  const auto json = nlohmann::json::parse(routes_.openapi("t", "1", "d"));
  EXPECT_EQ(json["info"]["title"], "t");
  const auto& post = json["paths"]["/a"]["post"];
  EXPECT_EQ(post["operationId"], "make");
  EXPECT_EQ(post["summary"], "Make \"it\"");
  EXPECT_EQ(post["requestBody"]["content"]["application/json"]["schema"]["$ref"], "#/components/schemas/A");
  EXPECT_TRUE(post["responses"]["400"]["content"].contains("application/problem+json"));
  EXPECT_EQ(json["components"]["schemas"]["A"]["type"], "object");
}

TEST_F(RoutesTest, AProblemCanNameItsField) {
  Arena arena;
  RequestContext context{.arena = arena, .loop = *loop_, .started = loop_->now()};
  context.request_id = "r";
  const Response response = field_problem(context, 400, "bad", "a\"b", "No.");
  const auto json = nlohmann::json::parse(response.body.bytes().view());
  EXPECT_EQ(json["field"], "a\"b");
  EXPECT_EQ(json["code"], "bad");
  EXPECT_EQ(json["request_id"], "r");
  EXPECT_EQ(context.outcome, "bad");
}

TEST_F(RoutesTest, AsksTheGuardBeforeEveryRouteThatIsNotOpen) {
  std::vector<Scope> asked;
  routes_.guard([&asked](Request&, RequestContext& context, Scope scope, const RouteDoc&) -> std::optional<Response> {
    asked.push_back(scope);
    if (scope == Scope::read) return std::nullopt;
    return Response(context.arena, 403);
  });
  add(Method::get, "/open", "open", {.id = "open", .scope = Scope::open});
  add(Method::get, "/read", "read", {.id = "read", .scope = Scope::read});
  add(Method::post, "/read", "write", {.id = "write", .scope = Scope::write});
  add(Method::get, "/forgotten", "forgotten");
  EXPECT_EQ(get("/open").first, 200);
  EXPECT_EQ(get("/read").first, 200);
  EXPECT_EQ(get("/read", Method::post).first, 403);
  EXPECT_EQ(get("/forgotten").first, 403) << "as if it were for admins";
  EXPECT_EQ(asked, (std::vector<Scope>{Scope::read, Scope::write, Scope::admin}));
  size_t unsaid = 0;
  for (const std::string& gap : routes_.gaps()) unsaid += gap.find("no scope") != std::string::npos ? 1 : 0;
  EXPECT_EQ(unsaid, 1u);
}

}  // namespace
}  // namespace trellis::http
