// The small filters, the simple targets, their order and how they are written in a configuration.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "http/problem.h"
#include "proxy/config.h"
#include "proxy/filter_order.h"
#include "proxy/filters/addresses.h"
#include "proxy/filters/body_limit.h"
#include "proxy/filters/headers.h"
#include "proxy/filters/redirect.h"
#include "proxy/filters/rewrite.h"
#include "tests/unit/proxy/filter_parts_kit.h"

namespace trellis::proxy {
namespace {

using http::FieldId;
using test::body_text;
using test::Exchange;
using test::FunctionTarget;
using test::PiecesBody;
using test::read_config;
using test::Rig;
using test::run_filter;

auto ok_target() {
  return FunctionTarget(
      [](http::Request&, http::RequestContext& context) { return http::Response(context.arena, 200); });
}
// Reads the whole body and tells its size, or fails as reading did.
class BodyReadingTarget final : public http::Handler {
 public:
  Task<Result<http::Response>> handle(http::Request& request, http::RequestContext& context) override {
    CO_TRY(std::string body, co_await http::read_all(request.body.get(), 1 << 20, kNever));
    http::Response response(context.arena, 200);
    response.body = http::Body(std::to_string(body.size()));
    co_return response;
  }
};

std::vector<AddressBlock> blocks(std::initializer_list<const char*> texts) {
  std::vector<AddressBlock> out;
  for (const char* text : texts) out.push_back(*AddressBlock::from_text(text));
  return out;
}

TEST(AddressFilter, AllowsAndDenies) {
  Rig rig;
  const auto status = [&](bool allow, std::string_view client) {
    Exchange exchange(rig);
    exchange.context.client_address = client;
    auto target = ok_target();
    Result<http::Response> response = run_filter(
        rig, std::make_unique<AddressFilter>(blocks({"192.0.2.0/24", "2001:db8::/32"}), allow), target, exchange);
    EXPECT_EQ(target.calls, response->status == 200 ? 1 : 0);
    if (response->status == 403) {
      EXPECT_EQ(exchange.context.outcome, "forbidden");
    }
    return response->status;
  };
  EXPECT_EQ(status(true, "192.0.2.9"), 200);
  EXPECT_EQ(status(true, "::ffff:192.0.2.9"), 200);
  EXPECT_EQ(status(true, "198.51.100.1"), 403);
  EXPECT_EQ(status(true, "2001:db8::5"), 200);
  EXPECT_EQ(status(true, "unix"), 403);
  EXPECT_EQ(status(false, "192.0.2.9"), 403);
  EXPECT_EQ(status(false, "198.51.100.1"), 200);
  EXPECT_EQ(status(false, ""), 403) << "who has no address passes no list";
}

TEST(BodyLimit, RefusesAnAnnouncedBodyAtOnce) {
  Rig rig;
  Exchange exchange(rig, "POST");
  exchange.request.body = std::make_unique<PiecesBody>(std::vector<std::string>{"x"}, 11);
  auto target = ok_target();
  Result<http::Response> response =
      run_filter(rig, std::make_unique<BodyLimitFilter>(BodyLimitConfig{10}), target, exchange);
  EXPECT_EQ(response->status, 413);
  EXPECT_EQ(target.calls, 0);
  EXPECT_EQ(exchange.context.outcome, "body_too_large");
}

TEST(BodyLimit, CountsABodyOfUnknownLength) {
  Rig rig;
  const auto run = [&](std::vector<std::string> pieces) {
    Exchange exchange(rig, "POST");
    exchange.request.body = std::make_unique<PiecesBody>(std::move(pieces));
    BodyReadingTarget target;
    Result<http::Response> response =
        run_filter(rig, std::make_unique<BodyLimitFilter>(BodyLimitConfig{10}), target, exchange);
    return response ? body_text(rig, *response) : std::to_string(http::status_for(response.error()));
  };
  EXPECT_EQ(run({"12345", "12345"}), "10");
  EXPECT_EQ(run({"12345", "123456"}), "413");
  EXPECT_EQ(run({}), "0");
}

TEST(Headers, EditsRequestAndAnswer) {
  Rig rig;
  const auto config = read_config<HeadersConfig>(R"(
request:
  set: { X-Client: "$${client.address}", User-Agent: hidden }
  add: { X-Tag: b }
  remove: [Cookie]
response:
  set: { X-Frame-Options: DENY }
  add: { Vary: Origin }
  remove: [Server, X-Powered-By]
)");
  Exchange exchange(rig);
  exchange.with("Cookie", "a=b").with("X-Tag", "a").with("user-agent", "curl").with("X-Client", "forged");
  FunctionTarget target([](http::Request& request, http::RequestContext& context) {
    http::Response response(context.arena, 200);
    EXPECT_EQ(request.fields.value(FieldId::user_agent), "hidden");
    EXPECT_EQ(request.fields.find("x-client"), "192.0.2.7");
    EXPECT_FALSE(request.fields.has(FieldId::cookie));
    size_t tags = 0;
    for (const http::Field& field : request.fields) tags += http::iequal(field.name, "x-tag");
    EXPECT_EQ(tags, 2u);
    response.fields.add(FieldId::server, "upstream");
    response.fields.add("x-powered-by", "magic");
    response.fields.add(FieldId::vary, "Accept");
    return response;
  });
  Result<http::Response> response = run_filter(rig, std::make_unique<HeadersFilter>(config), target, exchange);
  EXPECT_EQ(response->fields.find("X-Frame-Options"), "DENY");
  EXPECT_EQ(response->fields.joined(FieldId::vary), "Accept, Origin");
  EXPECT_FALSE(response->fields.has(FieldId::server));
  EXPECT_FALSE(response->fields.find("x-powered-by"));
  EXPECT_EQ(target.calls, 1);
}

TEST(Headers, WhatIsEditedDoesNotComeBackBehindTheBody) {
  struct Trailing final : http::BodyReader {
    explicit Trailing(Arena& arena) : fields(arena) { fields.add("X-User", "admin"); }
    Task<Result<Chunk>> read(Deadline) override { co_return Chunk(); }
    std::optional<uint64_t> length() const noexcept override { return std::nullopt; }
    const http::Fields* trailers() const noexcept override { return &fields; }
    http::Fields fields;
  };
  for (const char* edits : {"request: { remove: [X-User] }", "response: { remove: [X-User] }"}) {
    Rig rig;
    Exchange exchange(rig);
    exchange.request.body = std::make_unique<Trailing>(exchange.request.fields.arena());
    FunctionTarget target([&](http::Request& request, http::RequestContext& context) {
      EXPECT_EQ(request.body->trailers() == nullptr, std::string_view(edits).starts_with("request"));
      return http::Response(context.arena, 204);
    });
    ASSERT_TRUE(run_filter(rig, std::make_unique<HeadersFilter>(read_config<HeadersConfig>(edits)), target, exchange));
  }
}

std::string lines_of(const http::Fields& fields) {
  std::string out;
  for (const http::Field& field : fields) out += std::string(field.name) + ": " + std::string(field.value) + "\n";
  return out;
}

TEST(Headers, RenamesDefaultsAndAppends) {
  Rig rig;
  const auto config = read_config<HeadersConfig>(R"(
request:
  rename: { X-Old: X-New, X-Absent: X-Other }
  default: { X-New: unused, Accept-Language: en }
  append: { X-Chain: "$${client.address}", X-First: one }
)");
  Exchange exchange(rig);
  exchange.with("X-New", "gone").with("x-old", "1").with("X-Old", "2").with("X-Chain", "a").with("X-Chain", "b");
  exchange.with("X-Other", "stays");
  FunctionTarget target([](http::Request& request, http::RequestContext& context) {
    EXPECT_EQ(
        lines_of(request.fields),
        "X-New: 1\nX-New: 2\nX-Chain: a\nX-Chain: b, 192.0.2.7\nX-Other: stays\nAccept-Language: en\nX-First: one\n");
    EXPECT_EQ(request.fields.value(FieldId::accept_language), "en");
    return http::Response(context.arena, 200);
  });
  ASSERT_TRUE(run_filter(rig, std::make_unique<HeadersFilter>(config), target, exchange));
  EXPECT_EQ(target.calls, 1);
}

TEST(Headers, EditsAnswersByTheirStatus) {
  Rig rig;
  const auto config = read_config<HeadersConfig>(R"(
response: { set: { Cache-Control: public } }
by_status:
  5xx: { set: { Cache-Control: no-store, X-Class: "5" } }
  "404": { default: { Cache-Control: private }, add: { X-Class: missing } }
)");
  const auto fields = [&](int status) {
    Exchange exchange(rig);
    FunctionTarget target(
        [status](http::Request&, http::RequestContext& context) { return http::Response(context.arena, status); });
    return lines_of(run_filter(rig, std::make_unique<HeadersFilter>(config), target, exchange)->fields);
  };
  EXPECT_EQ(fields(200), "Cache-Control: public\n");
  EXPECT_EQ(fields(404), "Cache-Control: public\nX-Class: missing\n");
  EXPECT_EQ(fields(403), "Cache-Control: public\n");
  EXPECT_EQ(fields(500), "Cache-Control: no-store\nX-Class: 5\n");
  EXPECT_EQ(fields(599), "Cache-Control: no-store\nX-Class: 5\n");
}

TEST(Headers, KnowsTheClientTheTraceAndTheWay) {
  Rig rig;
  const auto config = read_config<HeadersConfig>(R"(
request: { set: { X-A: "$${client.address}:$${client.port} $${listener} $${header.X-B}|$${header.x-none}|$${cookie.id}" } }
response: { set: { X-C: "$${upstream} $${upstream.host} $${way} $${trace_id}" } }
)");
  Exchange exchange(rig);
  exchange.with("x-b", "told").with("Cookie", "a=b; id=42");
  exchange.context.client_port = 4711;
  exchange.context.listener = "web";
  FunctionTarget target([](http::Request& request, http::RequestContext& context) {
    EXPECT_EQ(request.fields.find("X-A"), "192.0.2.7:4711 web told||42");
    context.upstream = "api";
    context.upstream_host = "h:1";
    context.way = "canary";
    context.trace.trace_id_low = 0xabc;
    return http::Response(context.arena, 200);
  });
  Result<http::Response> response = run_filter(rig, std::make_unique<HeadersFilter>(config), target, exchange);
  EXPECT_EQ(response->fields.find("X-C"), "api h:1 canary 00000000000000000000000000000abc");
}

TEST(Headers, SaysWhatItCannotDo) {
  for (const char* bad :
       {"request: { rename: { X-A: x-a } }", "request: { rename: { Host: X-A } }", "request: { rename: { X-A: Host } }",
        "response: { append: { Set-Cookie: a=b } }", "by_status: { 600: {} }", "by_status: { 5x: {} }",
        "by_status: { 4xx: { set: { Connection: close } } }", "request: { set: { X-A: \"$${header.}\" } }",
        "request: { set: { X-A: \"$${cookie.a b}\" } }"})
    EXPECT_NE(test::config_problems<HeadersConfig>(bad), "") << bad;
}

TEST(Headers, RefusesWhatFramesMessages) {
  const std::string problems = test::config_problems<HeadersConfig>(
      "request: { set: { Host: a, X-A: \"$${nope}\" }, remove: [Transfer-Encoding] }\nresponse: { add: { "
      "Content-Length: \"5\", \"a b\": c } }\n");
  for (const char* part :
       {"request.set.Host", "request.set.X-A", "request.remove[0]", "response.add.Content-Length", "a b"})
    EXPECT_NE(problems.find(part), std::string::npos) << part << "\n" << problems;
}

std::string location(Rig& rig, const RedirectConfig& config, std::string_view target,
                     std::string_view host = "example.com:80") {
  Exchange exchange(rig, "GET", target);
  exchange.request.authority = host;
  const RedirectTarget redirect(config);
  const http::Response response = redirect.answer(exchange.request, exchange.context);
  EXPECT_EQ(response.status, config.status);
  return std::string(response.fields.value(FieldId::location));
}

TEST(Redirect, FillsInTheRequest) {
  Rig rig;
  EXPECT_EQ(location(rig, {"https://${host}${uri}", 301}, "/a?b=c"), "https://example.com/a?b=c");
  EXPECT_EQ(location(rig, {"https://x.org${path}?${query}", 308}, "/a?b=c"), "https://x.org/a?b=c");
  EXPECT_EQ(location(rig, {"https://x.org${path}?${query}", 308}, "/a"), "https://x.org/a");
  EXPECT_EQ(location(rig, {"/new", 302}, "/old"), "/new");
}

TEST(Redirect, NeverLeadsToAHostOfTheClientsChoice) {
  Rig rig;
  EXPECT_EQ(location(rig, {"${path}", 302}, "//evil.example/x"), "/evil.example/x");
  EXPECT_EQ(location(rig, {"${uri}", 302}, "///evil.example?x"), "/evil.example?x");
  EXPECT_EQ(location(rig, {"${path}", 302}, "/\\evil.example"), "/evil.example");
  EXPECT_EQ(location(rig, {"https://x.org${path}", 302}, "//evil.example"), "https://x.org//evil.example");
}

TEST(Redirect, SaysWhatIsWrongWithItsSettings) {
  EXPECT_NE(test::config_problems<RedirectConfig>("to: \"//x.org\"").find("another host"), std::string::npos);
  EXPECT_NE(test::config_problems<RedirectConfig>("to: \"/a b\"").find("to"), std::string::npos);
  EXPECT_NE(test::config_problems<RedirectConfig>("{to: /a, status: 304}").find("status"), std::string::npos);
  EXPECT_NE(test::config_problems<RedirectConfig>("status: 301").find("to"), std::string::npos);
}

TEST(Redirect, AsAFilterAnswersForTheTarget) {
  Rig rig;
  Exchange exchange(rig, "GET", "/a");
  auto target = ok_target();
  Result<http::Response> response =
      run_filter(rig, std::make_unique<RedirectFilter>(RedirectConfig{"/b", 307}), target, exchange);
  EXPECT_EQ(response->status, 307);
  EXPECT_EQ(target.calls, 0);
}

TEST(Rewrite, ChangesThePathTheTargetSees) {
  Rig rig;
  const auto seen = [&](const RewriteConfig& config, std::string_view path) {
    Exchange exchange(rig, "GET", path);
    std::string out;
    FunctionTarget target([&out](http::Request& request, http::RequestContext& context) {
      out = request.path;
      return http::Response(context.arena, 200);
    });
    EXPECT_TRUE(run_filter(rig, std::make_unique<RewriteFilter>(config), target, exchange));
    EXPECT_EQ(exchange.request.path, path) << "outside nothing has changed";
    return out;
  };
  EXPECT_EQ(seen({"/api", ""}, "/api/x/y"), "/x/y");
  EXPECT_EQ(seen({"/api/", ""}, "/api/x"), "/x");
  EXPECT_EQ(seen({"/api", ""}, "/api"), "/");
  EXPECT_EQ(seen({"/api", ""}, "/apix"), "/apix");
  EXPECT_EQ(seen({"/api", "/v2"}, "/api/x"), "/v2/x");
  EXPECT_EQ(seen({"/api", "/v2"}, "/api"), "/v2");
  EXPECT_EQ(seen({"/api", "/v2"}, "/api/"), "/v2/");
  EXPECT_EQ(seen({"", "/v2/"}, "/"), "/v2/");
  EXPECT_EQ(seen({"", "/v2"}, "*"), "*");
  for (const char* bad : {"strip_prefix: api", "add_prefix: /a/*", "{}", "strip_prefix: /a//b"})
    EXPECT_NE(test::config_problems<RewriteConfig>(bad), "") << bad;
}

TEST(FixedTarget, AnswersTheSameEachTime) {
  Rig rig;
  auto target = FixedTarget::make(read_config<FixedConfig>(
      "{status: 418, body: short, content_type: text/x, headers: {X-A: b, Cache-Control: no-store}}"));
  ASSERT_TRUE(target);
  for (const char* method : {"GET", "POST", "HEAD"}) {
    Exchange exchange(rig, method);
    Task<Result<http::Response>> task = (*target)->handle(exchange.request, exchange.context);
    task.start();
    ASSERT_TRUE(task.done());
    Result<http::Response> response = task.take();
    EXPECT_EQ(response->status, 418);
    EXPECT_EQ(response->fields.value(FieldId::content_type), "text/x");
    EXPECT_EQ(response->fields.find("X-A"), "b");
    const bool head = exchange.request.method == http::Method::head;
    EXPECT_EQ(body_text(rig, *response), head ? "" : "short");
    EXPECT_EQ(response->fields.value(FieldId::content_length), head ? "5" : "");
  }
}

TEST(FixedTarget, ReadsItsBodyFromAFileOnce) {
  Rig rig;
  char name[] = "/tmp/trellis-fixed-XXXXXX";
  const int fd = ::mkstemp(name);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::write(fd, "from a file", 11), 11);
  ::close(fd);
  FixedConfig config;
  config.file = name;
  auto target = FixedTarget::make(config);
  ::unlink(name);
  ASSERT_TRUE(target);
  Exchange exchange(rig);
  Result<http::Response> response = fakes::run_task(*rig.loop, (*target)->handle(exchange.request, exchange.context));
  EXPECT_EQ(body_text(rig, *response), "from a file");
  EXPECT_FALSE(FixedTarget::make(config)) << "the file is gone";
  config.file = "/dev/null";
  EXPECT_FALSE(FixedTarget::make(config));
}

TEST(FixedTarget, SaysWhatIsWrongWithItsSettings) {
  for (const char* bad : {"{body: a, file: b}", "{status: 204, body: a}", "{headers: {Connection: close}}",
                          "{status: 99}", "{content_type: \"a\\nb\"}"})
    EXPECT_NE(test::config_problems<FixedConfig>(bad), "") << bad;
}

struct RoutesRoot {
  std::vector<RouteConfig> routes;
  static config::Fields<RoutesRoot> fields() { return {{"routes", "routes", &RoutesRoot::routes}}; }
  void check(config::Checker& at) const { check_routes(routes, "routes", at); }
};

TEST(RouteConfig, ReadsEveryTargetAndFilter) {
  const auto root = read_config<RoutesRoot>(R"(
routes:
  - match: { path: /a/** }
    filters:
      - compress
      - headers: { response: { set: { X-A: b } } }
      - body_limit: { max: 64KiB }
      - allow: [10.0.0.0/8]
      - deny: ["10.0.0.1"]
      - rewrite: { strip_prefix: /a }
      - split: { ways: [{ share: 10%, to: upstream.canary }] }
      - mirror: { to: upstream.shadow }
      - buffer: { request: 1MiB }
      - fault: { delay: { time: 10ms } }
    to: upstream.api
  - { name: links, match: { host: go.example.com, methods: [GET, POST] }, to: service.links }
  - { match: { path: /f/** }, to: files ./public }
  - { match: { path: /g/** }, to: { files: { root: ./public, index: [] } } }
  - { match: { path: /r }, to: { redirect: { to: /x } } }
  - { match: { path: /x }, to: { fixed: { body: ok } } }
  - { match: { path: /s }, to: status }
  - { to: page }
)");
  ASSERT_EQ(root.routes.size(), 8u);
  using Kind = TargetConfig::Kind;
  const Kind kinds[] = {Kind::upstream, Kind::service, Kind::files,  Kind::files,
                        Kind::redirect, Kind::fixed,   Kind::status, Kind::page};
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(root.routes[i].to.which(), kinds[i]) << i;
  EXPECT_EQ(root.routes[0].to.name, "api");
  EXPECT_EQ(root.routes[0].label(), "/a/**");
  EXPECT_EQ(root.routes[1].label(), "links");
  EXPECT_EQ(root.routes[1].match.label(), "GET,POST go.example.com/**");
  EXPECT_EQ(root.routes[2].to.files->root, "./public");

  auto entries = root.routes[0].filters;
  sort_filters(entries);
  std::vector<std::string> order;
  for (const config::Entry& entry : entries) order.push_back(entry.name);
  EXPECT_EQ(order, (std::vector<std::string>{"deny", "allow", "fault", "body_limit", "headers", "compress", "rewrite",
                                             "buffer", "mirror", "split"}));
  std::vector<std::string> targets;
  for (const auto& [path, to] : targets_of(root.routes[0])) targets.push_back(path + ": " + to->name);
  EXPECT_EQ(targets, (std::vector<std::string>{"to: api", "filters[6].split.ways[0].to: canary",
                                               "filters[7].mirror.to: shadow"}));
  Rig rig;
  test::PartsKit kit;
  test::NamedTarget other("other");
  EXPECT_FALSE(make_filters(root.routes[0], kit.parts)) << "there is no such target";
  kit.targets = {{"canary", &other}, {"shadow", &other}};
  Result<std::vector<std::unique_ptr<Filter>>> filters = make_filters(root.routes[0], kit.parts);
  ASSERT_TRUE(filters);
  EXPECT_EQ(filters->size(), 10u);
  EXPECT_TRUE(make_target(root.routes[4].to));
  EXPECT_TRUE(make_target(root.routes[5].to));
  EXPECT_FALSE(make_target(root.routes[0].to));
  EXPECT_EQ(make_router(root.routes).size(), 8u);
}

TEST(RouteConfig, SaysWhatIsWrongAndWhere) {
  const std::string problems = test::config_problems<RoutesRoot>(R"(routes:
  - { match: { path: /a }, to: upstraem.api }
  - { match: { path: /b }, to: { fixed: {}, redirect: { to: /x } } }
  - { match: { path: /c }, filters: [comress], to: status }
  - { match: { path: /d }, filters: [compress, compress], to: status }
  - { match: { path: /e } }
)");
  for (const char* part : {"test.yaml:2:", "test.yaml:3:", "test.yaml:4:", "compress", "filters[1]", "routes[4]"})
    EXPECT_NE(problems.find(part), std::string::npos) << part << "\n" << problems;
  const std::string matches = test::config_problems<RoutesRoot>(R"(routes:
  - { match: { path: a }, to: status }
  - { match: { host: "a*", methods: ["G T"] }, to: status }
  - { match: { path: /x }, to: status }
  - { match: { path: /x }, to: page }
)");
  for (const char* part :
       {"routes[0].match.path", "routes[1].match.host", "routes[1].match.methods", "routes[3].match: never matches"})
    EXPECT_NE(matches.find(part), std::string::npos) << part << "\n" << matches;
}

TEST(FilterOrder, HasAReasonForEachStep) {
  std::vector<std::string_view> names;
  for (const FilterStep& step : filter_order()) {
    EXPECT_FALSE(step.reason.empty());
    if (!step.built_in) names.push_back(step.name);
  }
  for (const config::KindOf& kind : filter_kinds())
    EXPECT_EQ(std::count(names.begin(), names.end(), kind.name), 1) << kind.name;
  EXPECT_EQ(names.size(), filter_kinds().size());
}

}  // namespace
}  // namespace trellis::proxy
