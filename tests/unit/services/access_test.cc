#include "services/links/access/access.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "services/links/access/key_rows.h"
#include "services/links/secrets.h"
#include "tests/unit/services/service_fixture.h"

namespace trellis::services::links {
namespace {

using http::Scope;

class AccessTest : public ServiceTest {
 protected:
  AccessTest() {
    config_.keys = LinksConfig::Keys::required;
    start();
    admin_ = make_key("the first", Scope::admin);
  }
  std::string make_key(std::string name, Scope scope, std::optional<int64_t> expires_at = {}) {
    auto task = service_->access().add(std::move(name), scope, std::nullopt, expires_at, 1'000, kNever);
    const Result<std::optional<Access::Added>> added = fakes::run_task(*loop_, std::move(task));
    EXPECT_TRUE(added && *added);
    return (*added)->text;
  }
  Answer as(const std::string& key, std::string_view method, std::string_view target, std::string body = {}) {
    return request(method, target, std::move(body), {{"X-Api-Key", key}});
  }
  int64_t id_of(const std::string& key) {
    for (const ApiKey& each : service_->access().list(0, 100)) {
      if (each.digest == sha256(key)) return each.id;
    }
    return 0;
  }

  std::string admin_;
};

TEST(Secrets, KnowsADigestOfTheStandard) {
  const Digest digest = sha256("abc");
  EXPECT_EQ(digest[0], 0xba);
  EXPECT_EQ(digest[31], 0xad);
}

TEST(Secrets, KeysAreLongAndNeverAlike) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const std::string key = make_key_text();
    EXPECT_EQ(key.size(), 36u);
    EXPECT_TRUE(key.starts_with("trl_"));
    EXPECT_TRUE(seen.insert(key).second);
  }
}

TEST_F(AccessTest, AnswersNobodyWithoutAKey) {
  for (const auto& [method, target] : {std::pair{"GET", "/v1/links"},
                                       {"POST", "/v1/links"},
                                       {"GET", "/v1/keys"},
                                       {"GET", "/v1/links/abc"},
                                       {"DELETE", "/v1/links/abc"}}) {
    const Answer answer = request(method, target);
    EXPECT_EQ(answer.status, 401) << target;
    EXPECT_EQ(answer.json()["code"], "unauthenticated");
    EXPECT_EQ(answer.field("WWW-Authenticate"), "Bearer realm=\"links\"");
  }
  EXPECT_EQ(as("trl_00000000000000000000000000000000", "GET", "/v1/links").status, 401);
  EXPECT_EQ(as(std::string(5000, 'x'), "GET", "/v1/links").status, 401);
  EXPECT_EQ(request("GET", "/v1/openapi.json").status, 200);
  EXPECT_EQ(request("GET", "/unknown").status, 404);
}

TEST_F(AccessTest, TakesAKeyInEitherField) {
  EXPECT_EQ(as(admin_, "GET", "/v1/links").status, 200);
  EXPECT_EQ(request("GET", "/v1/links", {}, {{"Authorization", "Bearer " + admin_}}).status, 200);
  EXPECT_EQ(request("GET", "/v1/links", {}, {{"Authorization", "bearer   " + admin_}}).status, 200);
  EXPECT_EQ(request("GET", "/v1/links", {}, {{"Authorization", "Basic " + admin_}}).status, 401);
  EXPECT_EQ(request("GET", "/v1/links", {}, {{"Authorization", admin_}}).status, 401);
}

TEST_F(AccessTest, ASmallerScopeDoesLess) {
  const std::string reader = make_key("reader", Scope::read);
  const std::string writer = make_key("writer", Scope::write);
  const std::string body = R"({"url":"https://example.com/","alias":"page"})";
  EXPECT_EQ(as(reader, "GET", "/v1/links").status, 200);
  EXPECT_EQ(as(reader, "POST", "/v1/links", body).status, 403);
  EXPECT_EQ(as(reader, "POST", "/v1/links", body).json()["code"], "permission_denied");
  EXPECT_EQ(as(writer, "POST", "/v1/links", body).status, 201);
  EXPECT_EQ(as(writer, "GET", "/v1/links/page").status, 200);
  EXPECT_EQ(as(writer, "GET", "/v1/keys").status, 403);
  EXPECT_EQ(as(admin_, "GET", "/v1/keys").status, 200);
  EXPECT_EQ(request("GET", "/page").status, 302) << "who follows a link needs no key";
}

TEST_F(AccessTest, TellsAKeyOnceAndStoresItsDigestOnly) {
  const Answer made = as(admin_, "POST", "/v1/keys", R"({"name":"shop","scope":"write"})");
  ASSERT_EQ(made.status, 201) << made.body;
  const std::string key = made.json()["key"];
  EXPECT_EQ(made.json()["begins"], key.substr(0, 8));
  const std::string place = made.field("Location");
  EXPECT_EQ(as(key, "GET", "/v1/links").status, 200);
  const Answer shown = as(admin_, "GET", place);
  EXPECT_EQ(shown.status, 200);
  EXPECT_FALSE(shown.json().contains("key"));
  EXPECT_NE(shown.json()["last_used_at"], nullptr);
  EXPECT_EQ(as(admin_, "GET", "/v1/keys").body.find(key), std::string::npos);
  stop();
  store_.reset();
  std::string bytes;
  for (const auto& file : std::filesystem::directory_iterator(folder_)) {
    FILE* in = std::fopen(file.path().c_str(), "rb");
    char buffer[65536];
    for (size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, in)) > 0;) bytes.append(buffer, got);
    std::fclose(in);
  }
  EXPECT_EQ(bytes.find(key), std::string::npos);
  EXPECT_NE(bytes.find("shop"), std::string::npos);
  start();
  EXPECT_EQ(as(key, "GET", "/v1/links").status, 200) << "over a restart";
  EXPECT_NE(as(admin_, "GET", place).json()["last_used_at"], nullptr);
}

TEST_F(AccessTest, ARevokedKeyOpensNothingAtOnce) {
  const std::string key = make_key("gone soon", Scope::write);
  const std::string place = "/v1/keys/" + std::to_string(id_of(key));
  EXPECT_EQ(as(key, "GET", "/v1/links").status, 200);
  EXPECT_EQ(as(admin_, "DELETE", place).status, 204);
  EXPECT_EQ(as(key, "GET", "/v1/links").status, 401);
  EXPECT_EQ(as(admin_, "DELETE", place).status, 404);
  EXPECT_EQ(as(admin_, "GET", place).status, 404);
  EXPECT_EQ(as(admin_, "PATCH", place, R"({"name":"x"})").status, 404);
}

TEST_F(AccessTest, AChangedKeyDoesWhatItMayNow) {
  const std::string key = make_key("changing", Scope::read);
  const std::string place = "/v1/keys/" + std::to_string(id_of(key));
  EXPECT_EQ(as(key, "POST", "/v1/links", R"({"url":"https://example.com/"})").status, 403);
  const Answer changed = as(admin_, "PATCH", place, R"({"scope":"write","name":"changed"})");
  EXPECT_EQ(changed.status, 200) << changed.body;
  EXPECT_EQ(changed.json()["name"], "changed");
  EXPECT_EQ(as(key, "POST", "/v1/links", R"({"url":"https://example.com/"})").status, 201);
}

TEST_F(AccessTest, AKeyIsChangedInTheVersionThatWasRead) {
  const std::string key = make_key("changing", Scope::read);
  const std::string place = "/v1/keys/" + std::to_string(id_of(key));
  const auto admin = [&](std::string_view method, std::string body, Headers headers) {
    headers.push_back({"X-Api-Key", admin_});
    return request(method, place, std::move(body), std::move(headers));
  };
  const std::string first(admin("GET", {}, {}).field("ETag"));
  EXPECT_EQ(as(key, "GET", "/v1/links").status, 200);  // its use changes nothing
  EXPECT_EQ(admin("GET", {}, {{"If-None-Match", first}}).status, 304);
  EXPECT_EQ(admin("PATCH", R"({"scope":"write"})", {{"If-Match", first}}).status, 200);
  EXPECT_EQ(admin("PATCH", R"({"scope":"admin"})", {{"If-Match", first}}).status, 412);
  EXPECT_EQ(admin("DELETE", {}, {{"If-Match", first}}).status, 412);
  EXPECT_EQ(admin("GET", {}, {}).json()["scope"], "write");
  EXPECT_EQ(as(key, "GET", "/v1/links").status, 200);
  EXPECT_EQ(
      admin("DELETE", {}, {{"If-Match", "\"nonsense\", " + std::string(admin("GET", {}, {}).field("ETag"))}}).status,
      204);
  EXPECT_EQ(as(key, "GET", "/v1/links").status, 401);
}

TEST_F(AccessTest, AKeyEndsAtItsTime) {
  const std::string old = make_key("old", Scope::read, 2'000);
  EXPECT_EQ(as(old, "GET", "/v1/links").status, 401);
  using Verdict = Access::Verdict;
  EXPECT_EQ(service_->access().judge(old, Scope::read, 1'999), Verdict::allowed);
  EXPECT_EQ(service_->access().judge(old, Scope::read, 2'000), Verdict::unknown);
  EXPECT_EQ(service_->access().judge(old, Scope::write, 1'999), Verdict::too_little);
  EXPECT_EQ(service_->access().judge("", Scope::read, 1'999), Verdict::missing);
  EXPECT_EQ(as(admin_, "POST", "/v1/keys", R"({"name":"a","scope":"read","expires_at":"2001-01-01T00:00:00Z"})").status,
            400);
}

TEST_F(AccessTest, ListsKeysInPages) {
  for (int i = 0; i < 5; ++i) make_key("key " + std::to_string(i), Scope::read);
  std::vector<std::string> names;
  std::string cursor;
  for (int page = 0; page < 10; ++page) {
    const auto answer = as(admin_, "GET", "/v1/keys?limit=2" + cursor).json();
    for (const auto& key : answer["items"]) names.push_back(key["name"]);
    if (answer["next"].is_null()) break;
    cursor = "&cursor=" + answer["next"].get<std::string>();
  }
  EXPECT_EQ(names, (std::vector<std::string>{"the first", "key 0", "key 1", "key 2", "key 3", "key 4"}));
  EXPECT_EQ(as(admin_, "GET", "/v1/keys?limit=0").status, 400);
  EXPECT_EQ(as(admin_, "GET", "/v1/keys?limit=101").status, 400);
  EXPECT_EQ(as(admin_, "GET", "/v1/keys?cursor=x").status, 400);
  EXPECT_EQ(as(admin_, "GET", "/v1/keys?colour=x").status, 400);
}

TEST_F(AccessTest, RefusesWhatIsNoKey) {
  for (const char* body : {R"({"scope":"read"})", R"({"name":"a"})", R"({"name":"","scope":"read"})",
                           R"({"name":"a","scope":"all"})", R"({"name":"a","scope":"read","x":1})",
                           R"({"name":"a\nb","scope":"read"})", R"({"name":1,"scope":"read"})", "[]"}) {
    EXPECT_EQ(as(admin_, "POST", "/v1/keys", body).status, 400) << body;
  }
}

TEST_F(AccessTest, EveryRouteSaysItsScope) {
  EXPECT_EQ(routes_->gaps(), std::vector<std::string>());
  const auto document = request("GET", "/v1/openapi.json").json();
  EXPECT_EQ(document["paths"]["/v1/keys"]["post"]["security"][0]["ApiKey"][0], "admin");
  EXPECT_EQ(document["paths"]["/v1/links"]["get"]["security"][1]["Bearer"][0], "read");
  EXPECT_TRUE(document["paths"]["/v1/links"]["get"]["responses"].contains("401"));
  EXPECT_FALSE(document["paths"]["/{code}"]["get"].contains("security"));
}

class AccessOffTest : public ServiceTest {};

TEST_F(AccessOffTest, NobodyMakesAKeyForTheDayTheyAreRequired) {
  start();
  EXPECT_EQ(request("GET", "/v1/links").status, 200);
  const Answer refused = request("POST", "/v1/keys", R"({"name":"a","scope":"admin"})");
  EXPECT_EQ(refused.status, 403);
  EXPECT_EQ(refused.json()["code"], "keys_off");
  EXPECT_EQ(request("GET", "/v1/keys").status, 403);
}

}  // namespace
}  // namespace trellis::services::links
