#include "services/links/links.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "services/links/link_json.h"
#include "tests/unit/services/service_fixture.h"

namespace trellis::services::links {
namespace {

class LinksTest : public ServiceTest {
 protected:
  LinksTest() { start(); }
};

TEST_F(LinksTest, CreatesALinkAndFollowsItToExactlyItsTarget) {
  const std::string url = "https://www.example.com/a b\"c{d}|e\\f%20g?x=[1]&y='2'#Two Words";
  const Answer made = create(url, {{"title", "A title"}});
  ASSERT_EQ(made.status, 201) << made.body;
  const auto link = made.json();
  const std::string code = link["code"];
  EXPECT_EQ(code.size(), 7u);
  EXPECT_EQ(link["short_url"], "https://go.example.com/" + code);
  EXPECT_EQ(link["url"], url);
  EXPECT_EQ(link["clicks"], 0);
  EXPECT_EQ(link["status"], 302);
  EXPECT_EQ(made.field("Location"), "/v1/links/" + code);
  EXPECT_EQ(made.field("ETag"), link["etag"]);
  EXPECT_EQ(made.field("Content-Type"), "application/json");
  for (const char* method : {"GET", "HEAD"}) {
    const Answer followed = request(method, "/" + code);
    EXPECT_EQ(followed.status, 302);
    EXPECT_EQ(followed.field("Location"), url);
    EXPECT_EQ(followed.field("Cache-Control"), "private, max-age=0");
    EXPECT_TRUE(followed.body.empty());
  }
  const Answer shown = request("GET", "/v1/links/" + code);
  EXPECT_EQ(shown.status, 200);
  EXPECT_EQ(shown.json()["url"], url);
  EXPECT_EQ(shown.json()["title"], "A title");
}

TEST_F(LinksTest, SurvivesARestart) {
  const std::string code = code_of("https://example.com/kept");
  for (int i = 0; i < 5; ++i) request("GET", "/" + code);
  restart();
  EXPECT_EQ(request("GET", "/" + code).field("Location"), "https://example.com/kept");
  EXPECT_EQ(clicks_of(code), 5);
  // The key of the codes is the same, the numbers go on.
  const Answer again = create("https://example.com/next");
  EXPECT_EQ(again.status, 201);
  EXPECT_GT(again.json()["id"], request("GET", "/v1/links/" + code).json()["id"]);
}

TEST_F(LinksTest, CountsClicksButNotHead) {
  const std::string code = code_of("https://example.com/");
  for (int i = 0; i < 30; ++i) request("GET", "/" + code);
  for (int i = 0; i < 7; ++i) request("HEAD", "/" + code);
  while (clicks_of(code) < 30) loop_->run_once(std::chrono::milliseconds(20));
  EXPECT_EQ(clicks_of(code), 30);
  const std::string text = metrics_.prometheus_text();
  EXPECT_NE(text.find("trellis_queue_messages_total{topic=\"clicks\",event=\"counted\"} 30"), std::string::npos);
  EXPECT_NE(text.find("trellis_queue_depth{topic=\"clicks\",group=\"counter\"} 0"), std::string::npos);
}

TEST_F(LinksTest, KnowsFourKindsOfRedirect) {
  for (const int status : {301, 302, 307, 308}) {
    const std::string code = create("https://example.com/", {{"status", status}}).json()["code"];
    EXPECT_EQ(request("GET", "/" + code).status, status);
    const Answer posted = request("POST", "/" + code, "body");
    if (status == 307 || status == 308) {
      EXPECT_EQ(posted.status, status);
      EXPECT_EQ(posted.field("Location"), "https://example.com/");
    } else {
      EXPECT_EQ(posted.status, 405);
      EXPECT_EQ(posted.field("Allow"), "GET, HEAD");
    }
  }
}

TEST_F(LinksTest, GrantsSoManyVisitsAndNotOneMore) {
  const Answer made = create("https://example.com/", {{"max_visits", 3}, {"status", 301}});
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(made.json()["visits_left"], 3);
  const std::string code = made.json()["code"];
  EXPECT_EQ(request("HEAD", "/" + code).status, 301) << "does not count";
  EXPECT_EQ(request("GET", "/" + code).field("Cache-Control"), "private, no-store");
  restart();
  EXPECT_EQ(request("GET", "/" + code).status, 301);
  EXPECT_EQ(request("GET", "/" + code).status, 301);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(request("GET", "/" + code).status, 410);
  EXPECT_EQ(request("HEAD", "/" + code).status, 410);
  EXPECT_EQ(request("GET", "/v1/links/" + code).json()["visits_left"], 0);
  // More of them may be granted later.
  EXPECT_EQ(request("PATCH", "/v1/links/" + code, R"({"max_visits":4})").status, 200);
  EXPECT_EQ(request("GET", "/" + code).status, 301);
  EXPECT_EQ(request("GET", "/" + code).status, 410);
  EXPECT_EQ(request("PATCH", "/v1/links/" + code, R"({"max_visits":null})").status, 200);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(request("GET", "/" + code).status, 301);
}

TEST_F(LinksTest, IsUnknownBeforeItsTime) {
  const Answer made = create("https://example.com/", {{"not_before", "2100-01-01T00:00:00Z"}});
  const std::string code = made.json()["code"];
  EXPECT_EQ(request("GET", "/" + code).status, 404);
  EXPECT_EQ(request("GET", "/v1/links/" + code).status, 200);
  EXPECT_EQ(request("PATCH", "/v1/links/" + code, R"({"expires_at":"2099-01-01T00:00:00Z"})").status, 400);
  EXPECT_EQ(request("PATCH", "/v1/links/" + code, R"({"not_before":null})").status, 200);
  EXPECT_EQ(request("GET", "/" + code).status, 302);
}

TEST_F(LinksTest, ForwardsTheQueryWhereItIsTold) {
  const auto follow = [this](const std::string& url, const std::string& query) {
    const std::string code = create(url, {{"forward_query", true}}).json()["code"];
    return request("GET", "/" + code + query).field("Location");
  };
  EXPECT_EQ(follow("https://example.com/a", "?x=1&y=%20"), "https://example.com/a?x=1&y=%20");
  EXPECT_EQ(follow("https://example.com/a?b=2#part", "?x=1"), "https://example.com/a?b=2&x=1#part");
  EXPECT_EQ(follow("https://example.com/a?", "?x=1"), "https://example.com/a?x=1");
  EXPECT_EQ(follow("https://example.com/a#?", "?x=1"), "https://example.com/a?x=1#?");
  EXPECT_EQ(follow("https://example.com/a?b", ""), "https://example.com/a?b");
  const std::string plain = code_of("https://example.com/a");
  EXPECT_EQ(request("GET", "/" + plain + "?x=1").field("Location"), "https://example.com/a");
}

TEST_F(LinksTest, FollowsTheFirstRuleThatHolds) {
  const auto rules = nlohmann::json::parse(R"([
    {"when":[{"query":{"name":"ref","equals":"mail"}}], "url":"https://example.com/mail"},
    {"when":[{"device":["phone"]}], "url":"https://example.com/ph\u00f6ne"},
    {"when":[{"language":["de"]}], "url":"https://example.com/de"}])");
  const Answer made = create("https://example.com/own", {{"rules", rules}, {"forward_query", true}});
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(made.json()["rules"].size(), 3u);
  const std::string code = made.json()["code"];
  const auto location = [&](const std::string& query, const Headers& fields) {
    return request("GET", "/" + code + query, "", fields).field("Location");
  };
  const Headers phone{{"User-Agent", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Mobile/15E148"}};
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(location("", {}), "https://example.com/own");
    EXPECT_EQ(location("?ref=mail", phone), "https://example.com/mail?ref=mail");
    EXPECT_EQ(location("", phone), "https://example.com/ph%C3%B6ne");
    EXPECT_EQ(location("", {{"Accept-Language", "de-CH, en;q=0.5"}}), "https://example.com/de");
    restart();  // and from the store
  }
  const Answer wrong = request("PATCH", "/v1/links/" + code,
                               R"({"rules":[{"when":[{"device":["fridge"]}],"url":"https://x.example/"}]})");
  EXPECT_EQ(wrong.status, 400);
  EXPECT_EQ(wrong.json()["field"], "rules[0].when[0].device[0]") << wrong.body;
  const Answer circle = request("PATCH", "/v1/links/" + code, R"({"rules":[{"url":"https://go.example.com/x"}]})");
  EXPECT_EQ(circle.status, 400) << circle.body;
  EXPECT_EQ(request("PATCH", "/v1/links/" + code, R"({"rules":[]})").json()["rules"].size(), 0u);
  EXPECT_EQ(location("", phone), "https://example.com/own");
}

TEST_F(LinksTest, FindsLinksByTheirTags) {
  const std::string red = create("https://example.com/1", {{"tags", {"red", "two words"}}}).json()["code"];
  const std::string both = create("https://example.com/2", {{"tags", {"red", "blue"}}}).json()["code"];
  code_of("https://example.com/3");
  const auto tagged = [this](const std::string& tag) {
    std::vector<std::string> codes;
    const nlohmann::json page = request("GET", "/v1/links?tag=" + tag).json();
    for (const auto& item : page["items"]) codes.push_back(item["code"]);
    return codes;
  };
  EXPECT_EQ(tagged("red"), (std::vector<std::string>{both, red}));
  EXPECT_EQ(tagged("two%20words"), std::vector<std::string>{red});
  EXPECT_EQ(tagged("green"), std::vector<std::string>{});
  EXPECT_EQ(request("PATCH", "/v1/links/" + both, R"({"tags":["green"]})").json()["tags"][0], "green");
  EXPECT_EQ(tagged("red"), std::vector<std::string>{red});
  EXPECT_EQ(tagged("green"), std::vector<std::string>{both});
  EXPECT_EQ(request("DELETE", "/v1/links/" + red).status, 204);
  EXPECT_EQ(tagged("red"), std::vector<std::string>{});
  EXPECT_EQ(request("GET", "/v1/links?tag=a,b").status, 400);
}

TEST_F(LinksTest, AnswersProblemsForWhatIsNotThere) {
  const Answer missing = request("GET", "/nothing");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(missing.field("Content-Type"), "application/problem+json");
  EXPECT_EQ(missing.json()["code"], "not_found");
  EXPECT_EQ(missing.json()["request_id"], "test-request");
  EXPECT_EQ(missing.json()["temporary"], false);
  EXPECT_EQ(request("GET", "/").status, 404);
  EXPECT_EQ(request("GET", "/a/b/c").status, 404);
  EXPECT_EQ(request("GET", "/bad.code").status, 404);
  EXPECT_EQ(request("GET", "/v1/links/nothing").status, 404);
  EXPECT_EQ(request("PATCH", "/v1/links/nothing", "{}").status, 404);
  EXPECT_EQ(request("DELETE", "/v1/links/nothing").status, 404);
  const Answer method = request("PUT", "/v1/links", "{}");
  EXPECT_EQ(method.status, 405);
  EXPECT_EQ(method.field("Allow"), "GET, HEAD, POST, OPTIONS");
  const Answer options = request("OPTIONS", "/v1/links/abc");
  EXPECT_EQ(options.status, 204);
  EXPECT_EQ(options.field("Allow"), "GET, HEAD, PATCH, DELETE, OPTIONS");
}

TEST_F(LinksTest, ACodeThatWasAskedForBeforeItsLinkIsFollowedAtOnce) {
  EXPECT_EQ(request("GET", "/early").status, 404);
  EXPECT_EQ(create("https://example.com/", {{"alias", "early"}}).status, 201);
  EXPECT_EQ(request("GET", "/early").status, 302);
}

TEST_F(LinksTest, AliasesAreUniqueAndOnce) {
  const Answer made = create("https://example.com/1", {{"alias", "My_alias-1"}});
  EXPECT_EQ(made.status, 201);
  EXPECT_EQ(made.json()["code"], "My_alias-1");
  const Answer taken = create("https://example.com/2", {{"alias", "My_alias-1"}});
  EXPECT_EQ(taken.status, 409);
  EXPECT_EQ(taken.json()["field"], "alias");
  EXPECT_EQ(taken.json()["code"], "already_exists");
  EXPECT_EQ(request("DELETE", "/v1/links/My_alias-1").status, 204);
  EXPECT_EQ(create("https://example.com/2", {{"alias", "My_alias-1"}}).status, 409);
}

TEST_F(LinksTest, AnAliasInTheFormOfACodeTakesItsNumber) {
  const std::string code = code_of("https://example.com/");
  EXPECT_EQ(create("https://example.com/x", {{"alias", code}}).status, 409);
  // One whose number lies far ahead is free, once.
  const std::string alias = "zzzzzzz";
  EXPECT_EQ(create("https://example.com/x", {{"alias", alias}}).status, 201);
  EXPECT_EQ(create("https://example.com/x", {{"alias", alias}}).status, 409);
  EXPECT_EQ(request("GET", "/" + alias).field("Location"), "https://example.com/x");
}

TEST_F(LinksTest, ADeletedLinkIsGoneForEver) {
  const std::string code = code_of("https://example.com/");
  EXPECT_EQ(request("GET", "/" + code).status, 302);
  EXPECT_EQ(request("DELETE", "/v1/links/" + code).status, 204);
  EXPECT_EQ(request("GET", "/" + code).status, 410);
  EXPECT_EQ(request("GET", "/v1/links/" + code).status, 410);
  EXPECT_EQ(request("PATCH", "/v1/links/" + code, "{}").status, 410);
  EXPECT_EQ(request("DELETE", "/v1/links/" + code).status, 410);
  restart();
  EXPECT_EQ(request("GET", "/" + code).status, 410);
  EXPECT_EQ(create("https://example.com/", {{"alias", code}}).status, 409);
}

TEST_F(LinksTest, AnExpiredLinkIsGone) {
  const std::string soon = format_time(unix_millis(loop_->clock().wall()) + 300);
  const std::string code = create("https://example.com/", {{"expires_at", soon}}).json()["code"];
  ASSERT_EQ(code.size(), 7u);
  while (request("GET", "/" + code).status == 302) loop_->run_once(std::chrono::milliseconds(100));
  EXPECT_EQ(request("GET", "/" + code).status, 410);
  // It is still there to be changed.
  EXPECT_EQ(request("PATCH", "/v1/links/" + code, R"({"expires_at":null})").status, 200);
  EXPECT_EQ(request("GET", "/" + code).status, 302);
}

TEST_F(LinksTest, AChangeTakesEffectAtOnce) {
  const Answer made = create("https://example.com/old", {{"title", "t"}});
  const std::string code = made.json()["code"];
  EXPECT_EQ(request("GET", "/" + code).field("Location"), "https://example.com/old");
  const Answer changed = request("PATCH", "/v1/links/" + code, R"({"url":"https://example.com/new","status":301})",
                                 {{"If-Match", made.field("ETag")}});
  ASSERT_EQ(changed.status, 200) << changed.body;
  EXPECT_EQ(changed.json()["url"], "https://example.com/new");
  EXPECT_EQ(changed.json()["title"], "t");
  EXPECT_NE(changed.field("ETag"), made.field("ETag"));
  const Answer followed = request("GET", "/" + code);
  EXPECT_EQ(followed.status, 301);
  EXPECT_EQ(followed.field("Location"), "https://example.com/new");
  const Answer late = request("PATCH", "/v1/links/" + code, R"({"title":"late"})", {{"If-Match", made.field("ETag")}});
  EXPECT_EQ(late.status, 412);
  EXPECT_EQ(late.json()["code"], "precondition_failed");
  EXPECT_EQ(request("DELETE", "/v1/links/" + code, "", {{"If-Match", made.field("ETag")}}).status, 412);
  EXPECT_EQ(
      request("PATCH", "/v1/links/" + code, "{}", {{"If-Match", "\"x\", " + changed.field("ETag")}}).field("ETag"),
      changed.field("ETag"));
  EXPECT_EQ(request("DELETE", "/v1/links/" + code, "", {{"If-Match", "*"}}).status, 204);
}

TEST_F(LinksTest, AChangeWhoseClientLeftIsSeenAsWell) {
  const std::string code = code_of("https://example.com/old");
  EXPECT_EQ(request("GET", "/" + code).field("Location"), "https://example.com/old");
  {
    Arena arena;
    http::Request change(arena);
    const std::string path = "/v1/links/" + code;
    change.method = http::Method::delete_;
    change.path = path;
    http::RequestContext context{.arena = arena, .loop = *loop_, .started = loop_->now()};
    auto task = routes_->handle(change, context);
    task.start();
    EXPECT_FALSE(task.done());
  }
  while (request("GET", "/" + code).status == 302) loop_->run_once(std::chrono::milliseconds(10));
  EXPECT_EQ(request("GET", "/" + code).status, 410);
}

TEST_F(LinksTest, ListsNewestFirstByCursor) {
  std::vector<std::string> made;
  for (int i = 0; i < 25; ++i) made.push_back(code_of("https://example.com/" + std::to_string(i)));
  EXPECT_EQ(request("DELETE", "/v1/links/" + made[10]).status, 204);
  made.erase(made.begin() + 10);
  std::vector<std::string> listed;
  std::string target = "/v1/links?limit=7";
  for (int page = 0; page < 10; ++page) {
    const Answer answer = request("GET", target);
    ASSERT_EQ(answer.status, 200) << answer.body;
    const auto json = answer.json();
    EXPECT_LE(json["items"].size(), 7u);
    for (const auto& link : json["items"]) listed.push_back(link["code"]);
    if (json["next"].is_null()) break;
    target = "/v1/links?limit=7&cursor=" + json["next"].get<std::string>();
  }
  std::reverse(listed.begin(), listed.end());
  EXPECT_EQ(listed, made);
  EXPECT_EQ(request("GET", "/v1/links").json()["items"].size(), 20u);
}

TEST_F(LinksTest, FindsByCodeUrlAndTitle) {
  create("https://example.com/Apples", {{"title", "fruit"}});
  create("https://example.com/pears", {{"title", "100% fruit_x"}});
  create("https://example.com/", {{"alias", "applePie"}});
  const auto count = [this](const std::string& q) { return request("GET", "/v1/links?q=" + q).json()["items"].size(); };
  EXPECT_EQ(count("apple"), 2u);
  EXPECT_EQ(count("FRUIT"), 2u);
  EXPECT_EQ(count("100%25+fruit"), 1u);
  EXPECT_EQ(count("%25"), 1u);
  EXPECT_EQ(count("nothing"), 0u);
}

TEST_F(LinksTest, RefusesBadQueries) {
  for (const char* query : {"limit=0", "limit=101", "limit=x", "limit=", "cursor=abc", "what=1", "q=%zz"}) {
    const Answer answer = request("GET", std::string("/v1/links?") + query);
    EXPECT_EQ(answer.status, 400) << query;
    EXPECT_EQ(answer.field("Content-Type"), "application/problem+json");
  }
}

TEST_F(LinksTest, RefusesBadBodiesAndMedia) {
  const Answer unknown = request("POST", "/v1/links", R"({"url":"https://example.com","titel":"x"})");
  EXPECT_EQ(unknown.status, 400);
  EXPECT_EQ(unknown.json()["field"], "titel");
  EXPECT_EQ(unknown.json()["code"], "unknown_member");
  EXPECT_NE(unknown.json()["detail"].get<std::string>().find("title"), std::string::npos);
  EXPECT_EQ(create("https://GO.example.com:443/loop").json()["field"], "url");
  EXPECT_EQ(request("POST", "/v1/links", "nonsense").json()["code"], "invalid_json");
  const auto said = [this](std::string_view body) {
    return request("POST", "/v1/links", std::string(body)).json()["detail"];
  };
  EXPECT_EQ(said(R"({"url": x"https://a.example"})"), "The body is not valid JSON: byte 9 does not fit.");
  EXPECT_EQ(said(R"({"url": "https://a.example)"), "The body is not valid JSON: it ends too early.");
  EXPECT_EQ(said(R"({"max_visits": 1e999})"), "The body is not valid JSON: a number is too large.");
  EXPECT_EQ(request("POST", "/v1/links").status, 415);
  EXPECT_EQ(request("POST", "/v1/links", "{}", {{"Content-Type", "text/plain"}}).status, 415);
  EXPECT_EQ(request("POST", "/v1/links", R"({"url":"https://a.example"})",
                    {{"Content-Type", "Application/JSON; charset=utf-8"}})
                .status,
            201);
  EXPECT_EQ(request("POST", "/v1/links", "{}", {{"Accept", "text/html"}}).status, 406);
  EXPECT_EQ(request("GET", "/v1/links", "", {{"Accept", "text/html, application/json;q=0"}}).status, 406);
  EXPECT_EQ(request("GET", "/v1/links", "", {{"Accept", "text/html, */*;q=0.1"}}).status, 200);
  const Answer large = request("POST", "/v1/links", std::string(70'000, ' ') + "{}");
  EXPECT_EQ(large.status, 413);
  EXPECT_EQ(large.field("Content-Type"), "application/problem+json");
}

TEST_F(LinksTest, AnIdempotencyKeyMakesOneLink) {
  const Headers key = {{"Idempotency-Key", "order-1"}};
  const Answer first = create("https://example.com/", {{"title", "a"}}, key);
  ASSERT_EQ(first.status, 201);
  const Answer again = create("https://example.com/", {{"title", "a"}}, key);
  EXPECT_EQ(again.status, 201);
  EXPECT_EQ(again.body, first.body);
  EXPECT_EQ(again.field("ETag"), first.field("ETag"));
  EXPECT_EQ(again.field("Location"), first.field("Location"));
  EXPECT_EQ(create("https://example.com/", {{"title", "b"}}, key).status, 422);
  restart();
  EXPECT_EQ(create("https://example.com/", {{"title", "a"}}, key).body, first.body);
  EXPECT_EQ(request("GET", "/v1/links").json()["items"].size(), 1u);
  EXPECT_EQ(create("https://example.com/", {}, {{"Idempotency-Key", "has space"}}).status, 400);
  EXPECT_EQ(create("https://example.com/", {}, {{"Idempotency-Key", std::string(256, 'k')}}).status, 400);
}

TEST_F(LinksTest, ARepeatGetsTheFirstAnswerAlsoOfWhatIsRefusedNow) {
  const Headers key = {{"Idempotency-Key", "order-1"}};
  const Answer first = create("https://bad.example/", {}, key);
  ASSERT_EQ(first.status, 201);
  EXPECT_EQ(request("POST", "/v1/blocklist", R"({"pattern":"bad.example"})").status, 201);
  const Answer again = create("https://bad.example/", {}, key);
  EXPECT_EQ(again.status, 201) << again.body;
  EXPECT_EQ(again.body, first.body);
  EXPECT_EQ(again.field("ETag"), first.field("ETag"));
  EXPECT_EQ(again.field("Location"), first.field("Location"));
  const int refused = create("https://bad.example/", {}).status;
  EXPECT_GE(refused, 400);
  EXPECT_EQ(create("https://bad.example/", {{"title", "b"}}, key).status, refused);
  EXPECT_EQ(create("https://bad.example/", {}, {{"Idempotency-Key", "order-2"}}).status, refused);
}

TEST_F(LinksTest, PublishesWhatItsRoutesAre) {
  const Answer answer = request("GET", "/v1/openapi.json");
  ASSERT_EQ(answer.status, 200);
  const auto json = answer.json();
  EXPECT_EQ(json["openapi"], "3.1.0");
  for (const char* name : {"Link", "NewLink", "LinkPatch", "LinkPage", "Problem"})
    EXPECT_TRUE(json["components"]["schemas"][name].is_object()) << name;
  EXPECT_TRUE(json["paths"]["/v1/links"]["post"]["requestBody"].is_object());
  EXPECT_TRUE(json["paths"]["/{code}"]["head"].is_object());
  EXPECT_TRUE(json["paths"]["/v1/links/{code}"]["patch"]["responses"]["412"].is_object());
  // Every route is described; this is where a new one without words fails.
  EXPECT_EQ(routes_->gaps(), std::vector<std::string>());
}

TEST_F(LinksTest, CodesOfSeveralCoresNeverMeet) {
  std::vector<std::thread> threads;
  std::vector<std::set<std::string>> codes(3);
  for (size_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      LoopOptions options;
      options.seed = t + 2;
      options.pool = &pool_;
      auto loop = *Loop::make(options);
      for (int i = 0; i < 100; ++i) {
        const Answer made = send(*routes_, *loop, "POST", "/v1/links", R"({"url":"https://example.com/"})");
        ASSERT_EQ(made.status, 201) << made.body;
        codes[t].insert(made.json()["code"]);
      }
    });
  }
  // Leases run on the home loop.
  std::atomic<bool> done{false};
  std::thread joiner([&] {
    for (std::thread& thread : threads) thread.join();
    done = true;
    loop_->post([] {});
  });
  while (!done) loop_->run_once(std::chrono::milliseconds(50));
  joiner.join();
  std::set<std::string> all;
  for (const auto& each : codes) all.insert(each.begin(), each.end());
  EXPECT_EQ(all.size(), 300u);
}

TEST(LinksConfig, ChecksItsValues) {
  const auto problems_of = [](const char* text) {
    config::Problems problems;
    (void)config::read<LinksConfig>(config::parse(text, "links.yaml", {}, problems), problems);
    return problems.to_string();
  };
  EXPECT_EQ(problems_of("{store: main, cache: hot, base_url: 'https://go.example.com', status: 308, cache_for: 1m}"),
            "");
  EXPECT_NE(problems_of("{store: main, cache: hot, base_url: go.example.com}").find("base_url"), std::string::npos);
  EXPECT_NE(problems_of("{store: main, cache: hot, base_url: 'https://a.example', status: 303}").find("status"),
            std::string::npos);
  EXPECT_NE(problems_of("{cache: hot, base_url: 'https://a.example'}").find("store"), std::string::npos);
}

}  // namespace
}  // namespace trellis::services::links
