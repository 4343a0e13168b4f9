#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "services/links/codes.h"
#include "services/links/link_events.h"
#include "store/sqlite.h"
#include "tests/unit/services/service_fixture.h"

namespace trellis::services::links {
namespace {

using nlohmann::json;

class Bulk : public ServiceTest {
 protected:
  void SetUp() override { start(); }

  Answer batch(json links, std::optional<bool> atomic = std::nullopt, Headers headers = {}) {
    json body{{"links", std::move(links)}};
    if (atomic) body["atomic"] = *atomic;
    return request("POST", "/v1/links:batch", body.dump(), std::move(headers));
  }
  size_t count() { return request("GET", "/v1/links?limit=100").json()["items"].size(); }
};

json link(const std::string& url, const std::string& alias = {}) {
  json out{{"url", url}};
  if (!alias.empty()) out["alias"] = alias;
  return out;
}

TEST_F(Bulk, ABatchMakesEachLinkInItsOrder) {
  const Answer answer =
      batch({link("https://a.example/"), link("https://b.example/", "bee"), link("https://a.example/")});
  ASSERT_EQ(answer.status, 200) << answer.body;
  const json body = answer.json();
  EXPECT_EQ(body["made"], 3);
  EXPECT_EQ(body["failed"], 0);
  ASSERT_EQ(body["results"].size(), 3u);
  EXPECT_EQ(body["results"][1]["code"], "bee");
  EXPECT_EQ(body["results"][1]["short_url"], "https://go.example.com/bee");
  std::set<std::string> codes;
  for (const json& result : body["results"]) {
    EXPECT_EQ(result["status"], 201);
    const Answer made = request("GET", "/v1/links/" + result["code"].get<std::string>());
    EXPECT_EQ(made.json()["etag"], result["etag"]);
    EXPECT_EQ(made.json()["id"], result["id"]);
    codes.insert(result["code"]);
  }
  EXPECT_EQ(codes.size(), 3u);
  EXPECT_EQ(request("GET", "/bee").status, 302);
}

TEST_F(Bulk, LinksMadeAfterABatchAreNewer) {
  create("https://before.example/", {{"alias", "before"}});
  batch({link("https://a.example/", "first"), link("https://b.example/", "second")});
  create("https://after.example/", {{"alias", "after"}});
  std::vector<std::string> codes;
  const json listed = request("GET", "/v1/links").json();
  for (const json& each : listed["items"]) codes.push_back(each["code"]);
  EXPECT_EQ(codes, (std::vector<std::string>{"after", "second", "first", "before"}));
}

TEST_F(Bulk, AnAtomicBatchWithOneBadLinkMakesNone) {
  const Answer answer = batch({link("https://a.example/"), link("ftp://b.example/"), link("https://c.example/")});
  EXPECT_EQ(answer.status, 400);
  const json body = answer.json();
  EXPECT_EQ(body["code"], "batch_refused");
  ASSERT_EQ(body["results"].size(), 1u);
  EXPECT_EQ(body["results"][0]["index"], 1);
  EXPECT_EQ(body["results"][0]["problem"]["field"], "url");
  EXPECT_EQ(count(), 0u);
}

TEST_F(Bulk, AnAtomicBatchWithATakenAliasMakesNone) {
  create("https://first.example/", {{"alias", "mine"}});
  const Answer answer = batch({link("https://a.example/"), link("https://b.example/", "mine")});
  EXPECT_EQ(answer.status, 409);
  EXPECT_EQ(answer.json()["results"][0]["index"], 1);
  EXPECT_EQ(answer.json()["results"][0]["problem"]["field"], "alias");
  EXPECT_EQ(count(), 1u);
}

TEST_F(Bulk, AnAliasThatIsTwiceInABatchIsTakenTheSecondTime) {
  EXPECT_EQ(batch({link("https://a.example/", "x"), link("https://b.example/", "x")}).status, 409);
  EXPECT_EQ(count(), 0u);
  const json body = batch({link("https://a.example/", "x"), link("https://b.example/", "x")}, false).json();
  EXPECT_EQ(body["results"][0]["status"], 201);
  EXPECT_EQ(body["results"][1]["status"], 409);
  EXPECT_EQ(request("GET", "/v1/links/x").json()["url"], "https://a.example/");
}

TEST_F(Bulk, WithoutAtomicEachLinkHasItsOwnResult) {
  create("https://first.example/", {{"alias", "mine"}});
  const json body = batch({link("nonsense"),
                           link("https://a.example/"),
                           link("https://b.example/", "mine"),
                           {{"url", "https://c.example/"}, {"tilte", "x"}}},
                          false)
                        .json();
  EXPECT_EQ(body["made"], 1);
  EXPECT_EQ(body["failed"], 3);
  EXPECT_EQ(body["results"][0]["status"], 400);
  EXPECT_EQ(body["results"][0]["problem"]["field"], "url");
  EXPECT_EQ(body["results"][1]["status"], 201);
  EXPECT_EQ(body["results"][2]["status"], 409);
  EXPECT_EQ(body["results"][2]["problem"]["code"], "already_exists");
  EXPECT_EQ(body["results"][3]["problem"]["code"], "unknown_member");
}

TEST_F(Bulk, ABatchWithAKeyIsDoneOnce) {
  const Headers key{{"Idempotency-Key", "one"}};
  const Answer first = batch({link("https://a.example/"), link("bad")}, false, key);
  EXPECT_EQ(first.status, 200);
  EXPECT_EQ(batch({link("https://a.example/"), link("bad")}, false, key).body, first.body);
  EXPECT_EQ(batch({link("https://b.example/")}, false, key).status, 422);
  EXPECT_EQ(count(), 1u);
  restart();
  EXPECT_EQ(batch({link("https://a.example/"), link("bad")}, false, key).body, first.body);
  EXPECT_EQ(count(), 1u);
}

TEST_F(Bulk, ARepeatGetsTheFirstAnswerWhateverHappenedMeanwhile) {
  const json links = {link("https://a.example/", "first"), link("https://bad.example/", "second")};
  for (const bool atomic : {true, false}) {
    json each = links;
    each[0]["alias"] = atomic ? "first" : "third";
    each[1]["alias"] = atomic ? "second" : "fourth";
    const Headers key{{"Idempotency-Key", atomic ? "all" : "some"}};
    const Answer first = batch(each, atomic, key);
    ASSERT_EQ(first.json()["made"], 2) << first.body;
    const Answer blocked = request("POST", "/v1/blocklist", json{{"pattern", "bad.example"}}.dump());
    ASSERT_EQ(blocked.status, 201) << blocked.body;
    const Answer again = batch(each, atomic, key);
    EXPECT_EQ(again.status, 200) << again.body;
    EXPECT_EQ(again.body, first.body);
    each[0]["title"] = "another";
    EXPECT_EQ(batch(each, atomic, key).status, 422);
    EXPECT_EQ(request("DELETE", "/v1/blocklist/" + blocked.json()["id"].dump()).status, 204);
  }
  EXPECT_EQ(count(), 4u);
}

TEST_F(Bulk, ABatchThatIsTooLongIsRefused) {
  EXPECT_EQ(request("POST", "/v1/links:batch", std::string((16 << 20) + 1, ' ')).status, 413);
  EXPECT_EQ(request("POST", "/v1/links:batch", R"({"links":[{"url":}]})").json()["code"], "invalid_json");
  EXPECT_EQ(request("POST", "/v1/links:batch", "[]").status, 400);
}

TEST_F(Bulk, ATombstoneKeepsItsCodeFromBatchesToo) {
  create("https://first.example/", {{"alias", "gone"}});
  EXPECT_EQ(request("DELETE", "/v1/links/gone").status, 204);
  EXPECT_EQ(batch({link("https://b.example/", "gone")}).status, 409);
}

TEST_F(Bulk, ABatchMakesAnUnknownCodeKnownAtOnce) {
  EXPECT_EQ(request("GET", "/later").status, 404);
  batch({link("https://a.example/", "later")});
  EXPECT_EQ(request("GET", "/later").status, 302);
}

TEST_F(Bulk, CodesThatTheCounterComesToAreLeftOut) {
  // The key of this node, by the codes it makes: the next numbers' codes are brought as aliases.
  const json first = create("https://a.example/").json();
  auto reading = store_->read([](store::SqliteConnection& db) { return load_key(db, CodeKey{}); });
  CodeKey key{};
  ASSERT_TRUE(store_->write_now([&](store::SqliteConnection& db) -> Result<void> {
    TRY(key, load_key(db, CodeKey{}));
    return {};
  }));
  const Codes codes(key);
  ASSERT_EQ(codes.code_of(first["id"].get<uint64_t>()), first["code"]);
  json brought = json::array();
  std::set<std::string> all;
  for (uint64_t id = 100; id < 180; ++id) {
    brought.push_back(link("https://b.example/", codes.code_of(id)));
    all.insert(codes.code_of(id));
  }
  EXPECT_EQ(batch(brought).json()["made"], 80);
  for (int i = 0; i < 150; ++i) all.insert(code_of("https://c.example/" + std::to_string(i)));
  json more = json::array();
  for (int i = 0; i < 150; ++i) more.push_back(link("https://d.example/"));
  const json made = batch(more).json();
  for (const json& result : made["results"]) all.insert(result["code"].get<std::string>());
  EXPECT_EQ(all.size(), 380u);
}

TEST_F(Bulk, AnExistingLinkIsFoundWhenItsSettingsAreTheSame) {
  const json made = create("https://a.example/", {{"tags", {"x", "y"}}, {"title", "A"}}).json();
  const auto find = [&](json more) {
    more["find_existing"] = true;
    return create("https://a.example/", more);
  };
  const Answer found = find({{"tags", {"y", "x"}}});
  EXPECT_EQ(found.status, 200);
  EXPECT_EQ(found.json()["code"], made["code"]);
  EXPECT_EQ(found.json()["title"], "A");
  EXPECT_EQ(find({{"tags", {"x", "y"}}, {"title", "A"}}).status, 200);
  EXPECT_EQ(find({{"tags", {"x", "y"}}, {"title", "B"}}).status, 201);
  EXPECT_EQ(find({{"tags", {"x"}}}).status, 201);
  EXPECT_EQ(find({{"tags", {"x", "y"}}, {"status", 301}}).status, 201);
  EXPECT_EQ(find({{"tags", {"x", "y"}}, {"alias", "other"}}).status, 201);
  EXPECT_EQ(find({{"tags", {"x", "y"}}, {"alias", "other"}}).status, 200);
  EXPECT_EQ(create("https://a.example/", {{"find_existing", "yes"}}).json()["field"], "find_existing");
}

TEST_F(Bulk, FindingFollowsChangesAndRemovals) {
  const std::string code = code_of("https://a.example/");
  const json find{{"find_existing", true}};
  EXPECT_EQ(create("https://a.example/", find).json()["code"], code);
  EXPECT_EQ(request("PATCH", "/v1/links/" + code, R"({"url":"https://b.example/"})").status, 200);
  EXPECT_EQ(create("https://b.example/", find).json()["code"], code);
  const Answer fresh = create("https://a.example/", find);
  EXPECT_EQ(fresh.status, 201);
  EXPECT_EQ(request("DELETE", "/v1/links/" + code).status, 204);
  EXPECT_EQ(create("https://b.example/", find).status, 201);
}

TEST_F(Bulk, LinksThatAreOlderThanTheIndexAreFoundAfterTheStart) {
  const std::string code = code_of("https://a.example/");
  ASSERT_TRUE(store_->write_now([](store::SqliteConnection& db) -> Result<void> {
    TRY_VOID(db.execute("DELETE FROM link_urls"));
    return db.execute("UPDATE link_settings SET value = 0 WHERE name = 'urls_indexed'");
  }));
  EXPECT_EQ(create("https://a.example/", {{"find_existing", true}, {"title", "new"}}).status, 201);
  restart();
  EXPECT_EQ(create("https://a.example/", {{"find_existing", true}, {"title", ""}}).json()["code"], code);
}

TEST_F(Bulk, ABatchFindsExistingLinksAndThoseItMadeItself) {
  const std::string code = code_of("https://a.example/");
  json links = json::array();
  for (const char* url : {"https://a.example/", "https://b.example/", "https://b.example/"}) {
    links.push_back({{"url", url}, {"find_existing", true}});
  }
  const json body = batch(links).json();
  EXPECT_EQ(body["made"], 1);
  EXPECT_EQ(body["exists"], 2);
  EXPECT_EQ(body["results"][0]["status"], 200);
  EXPECT_EQ(body["results"][0]["code"], code);
  EXPECT_EQ(body["results"][1]["code"], body["results"][2]["code"]);
}

TEST_F(Bulk, ManyAreToldOfInTheirOrder) {
  stop();
  open_log();
  start();
  json links = json::array();
  for (int i = 0; i < 3500; ++i)
    links.push_back(link("https://a.example/" + std::to_string(i), i % 3 == 0 ? "alias-" + std::to_string(i / 7) : ""));
  const json body = batch(links, false).json();  // some aliases are there twice
  std::vector<std::string> made;
  for (const json& result : body["results"])
    if (result["status"] == 201) made.push_back(result["code"]);
  ASSERT_EQ(made.size(), body["made"]);
  ASSERT_GT(made.size(), 2500u);
  std::vector<std::string> told;
  uint64_t next = 0;
  for (int turn = 0; turn < 10'000 && told.size() < made.size(); ++turn) {
    loop_->run_once(std::chrono::milliseconds(10));
    auto reading = log_->read(kChangesTopic, 0, next);
    const auto slice = fakes::run_task(*loop_, std::move(reading));
    ASSERT_TRUE(slice) << slice.error().to_string();
    next = slice->next;
    for (const queue::StoredEvent& event : slice->events) {
      told.push_back(event.key);
      EXPECT_EQ(json::parse(*event.value)["link"]["code"], event.key);
    }
  }
  EXPECT_EQ(told, made);
}

}  // namespace
}  // namespace trellis::services::links
