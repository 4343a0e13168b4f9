#include "services/links/access/blocklist.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/unit/services/service_fixture.h"

namespace trellis::services::links {
namespace {

class BlocklistTest : public ServiceTest {
 protected:
  Answer block(const std::string& pattern) {
    return request("POST", "/v1/blocklist", nlohmann::json{{"pattern", pattern}, {"reason", "spam"}}.dump());
  }
  void write_file(const std::string& text) { std::ofstream(folder_ + "/blocked.txt") << text; }
};

TEST_F(BlocklistTest, EntriesAreMadeListedAndTakenAway) {
  start();
  const Answer made = block("Bad.Example/x/");
  EXPECT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(made.json()["pattern"], "bad.example/x");
  EXPECT_EQ(made.json()["reason"], "spam");
  const std::string at = made.field("Location");
  EXPECT_EQ(request("GET", at).json(), made.json());
  EXPECT_EQ(block("bad.example./x").status, 409);
  EXPECT_EQ(block("*.bad.example").status, 400);
  EXPECT_EQ(block("*.bad.example").json()["field"], "pattern");
  EXPECT_EQ(block("two.example").status, 201);
  const auto first = request("GET", "/v1/blocklist?limit=1").json();
  EXPECT_EQ(first["items"].size(), 1u);
  const auto second = request("GET", "/v1/blocklist?limit=1&cursor=" + first["next"].get<std::string>()).json();
  EXPECT_EQ(second["items"][0]["pattern"], "two.example");
  EXPECT_EQ(second["next"], nullptr);
  EXPECT_EQ(request("GET", "/v1/blocklist?limit=0").status, 400);
  EXPECT_EQ(request("DELETE", at).status, 204);
  EXPECT_EQ(request("DELETE", at).status, 404);
  EXPECT_EQ(request("GET", at).status, 404);
}

TEST_F(BlocklistTest, NoWayToMakeOrChangeALinkLeadsThere) {
  start();
  block("bad.example");
  const std::string bad = "https://www.bad.example/x";
  const Answer refused = create(bad);
  EXPECT_EQ(refused.status, 422);
  EXPECT_EQ(refused.json()["code"], "blocked");
  EXPECT_EQ(refused.json()["field"], "url");
  EXPECT_NE(refused.body.find("bad.example"), std::string::npos);
  EXPECT_EQ(refused.body.find("spam"), std::string::npos) << "the reason is not for everybody";
  const nlohmann::json rules = {{{"when", {{{"device", {"phone"}}}}}, {"url", bad}}};
  EXPECT_EQ(create("https://good.example/", {{"rules", rules}}).json()["field"], "rules");
  const std::string code = code_of("https://good.example/");
  EXPECT_EQ(request("PATCH", "/v1/links/" + code, nlohmann::json{{"url", bad}}.dump()).status, 422);
  EXPECT_EQ(request("PATCH", "/v1/links/" + code, nlohmann::json{{"rules", rules}}.dump()).status, 422);
  const Answer batch =
      request("POST", "/v1/links:batch",
              R"({"atomic":false,"links":[{"url":"https://ok.example/"},{"url":"https://bad.example/"}]})");
  EXPECT_EQ(batch.json()["made"], 1);
  EXPECT_EQ(batch.json()["results"][1]["status"], 422);
  EXPECT_EQ(batch.json()["results"][1]["problem"]["code"], "blocked");
  EXPECT_EQ(request("POST", "/v1/links:batch", R"({"links":[{"url":"https://bad.example/"}]})").status, 422);
  const Answer imported =
      request("POST", "/v1/imports", "url,code\nhttps://bad.example/,aaa\nhttps://ok.example/,bbb\n",
              {{"Content-Type", "text/csv"}});
  EXPECT_NE(imported.body.find(R"("code":"blocked")"), std::string::npos) << imported.body;
  EXPECT_EQ(request("GET", "/aaa").status, 404);
  EXPECT_EQ(request("GET", "/bbb").status, 302);
  EXPECT_EQ(request("POST", "/rest/v3/short-urls", R"({"longUrl":"https://bad.example/"})").status, 422);
  EXPECT_EQ(request("PATCH", "/rest/v3/short-urls/" + code, R"({"longUrl":"https://bad.example/"})").status, 422);
  EXPECT_EQ(request("GET", "/yourls-api.php?action=shorturl&format=json&url=https%3A%2F%2Fbad.example%2F").status, 422);
  EXPECT_EQ(request("GET", "/" + code).field("Location"), "https://good.example/");
}

TEST_F(BlocklistTest, ALinkWhoseDestinationIsBlockedLaterAnswersSoUntilItIsNot) {
  start();
  const std::string plain = code_of("https://bad.example/x");
  const nlohmann::json rules = {{{"when", {{{"device", {"phone"}}}}}, {"url", "https://bad.example/"}}};
  const std::string ruled = create("https://good.example/", {{"rules", rules}}).json()["code"];
  const std::string other = code_of("https://good.example/");
  for (const std::string& code : {plain, ruled, other}) EXPECT_EQ(request("GET", "/" + code).status, 302);
  const std::string at = block("bad.example").field("Location");
  for (const std::string& code : {plain, ruled}) {
    const Answer blocked = request("GET", "/" + code);
    EXPECT_EQ(blocked.status, 410);
    EXPECT_EQ(blocked.json()["code"], "blocked");
    EXPECT_EQ(blocked.field("Location"), "");
    EXPECT_EQ(blocked.body.find("bad.example"), std::string::npos) << "no entry for visitors";
    EXPECT_EQ(request("GET", "/" + code + "+").status, 410);
    EXPECT_EQ(request("GET", "/v1/links/" + code).status, 200) << "it can be looked at and mended";
  }
  EXPECT_EQ(request("GET", "/" + other).status, 302);
  EXPECT_EQ(request("PATCH", "/v1/links/" + plain, R"({"title":"seen"})").status, 200);
  EXPECT_EQ(request("GET", "/" + plain).status, 410);
  EXPECT_EQ(request("PATCH", "/v1/links/" + ruled, R"({"rules":null})").status, 200);
  EXPECT_EQ(request("GET", "/" + ruled).status, 302);
  restart();
  EXPECT_EQ(request("GET", "/" + plain).status, 410);
  EXPECT_EQ(request("DELETE", at).status, 204);
  EXPECT_EQ(request("GET", "/" + plain).status, 302);
}

TEST_F(BlocklistTest, AFileIsReadAtTheStart) {
  write_file("# spam\nbad.example\n");
  config_.blocklist = folder_ + "/blocked.txt";
  start();
  EXPECT_EQ(create("https://bad.example/").status, 422);
  EXPECT_EQ(request("GET", "/v1/blocklist").json()["items"].size(), 0u);
  EXPECT_FALSE(service_->files_changed());
  write_file("# spam\nworse.example\n");
  EXPECT_TRUE(service_->files_changed());
  EXPECT_EQ(create("https://worse.example/").status, 201) << "until it is read again";
  const std::string code = code_of("https://worse.example/");
  restart();
  EXPECT_EQ(request("GET", "/" + code).status, 410);
  std::filesystem::remove(config_.blocklist);
  EXPECT_TRUE(service_->files_changed());
}

TEST_F(BlocklistTest, AFileThatIsWrongIsNotBegunWith) {
  open_store();
  for (const char* text : {"good.example\nnot a host\n", ""}) {
    const std::string path = folder_ + "/wrong.txt";
    if (*text) std::ofstream(path) << text;
    Blocklist blocklist(*text ? path : folder_ + "/none.txt", *store_);
    auto starting = blocklist.start();
    const Result<void> started = fakes::run_task(*loop_, std::move(starting));
    ASSERT_FALSE(started);
    EXPECT_NE(started.error().to_string().find(*text ? "wrong.txt:2" : "none.txt"), std::string::npos)
        << started.error().to_string();
  }
}

}  // namespace
}  // namespace trellis::services::links
