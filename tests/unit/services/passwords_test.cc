#include "services/links/access/passwords.h"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "runtime/sync.h"
#include "services/links/access/password_page.h"
#include "tests/unit/services/service_fixture.h"

namespace trellis::services::links {
namespace {

TEST(Scrypt, KnowsItsOwnTextAndNoOther) {
  const Result<std::string> text = scrypt_text("open sesame");
  ASSERT_TRUE(text);
  EXPECT_TRUE(text->starts_with("scrypt$14$8$5$"));
  EXPECT_TRUE(is_scrypt_text(*text));
  EXPECT_TRUE(fits_scrypt(*text, "open sesame"));
  EXPECT_FALSE(fits_scrypt(*text, "open sesam"));
  EXPECT_NE(*scrypt_text("open sesame"), *text) << "a salt of its own";
}

// RFC 7914 §12: scrypt("pleaseletmein", "SodiumChloride", 16384, 8, 1), its first 32 bytes.
TEST(Scrypt, KnowsAVectorOfTheStandard) {
  const std::string vector =
      "scrypt$14$8$1$536f6469756d43686c6f72696465$7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2";
  EXPECT_TRUE(fits_scrypt(vector, "pleaseletmein"));
  EXPECT_FALSE(fits_scrypt(vector, "pleaseletmeout"));
}

TEST(Scrypt, FitsNothingThatIsNoText) {
  for (const char* text : {"", "scrypt", "scrypt$14$8$5$$", "scrypt$99$8$5$00$00", "scrypt$x$8$5$00$00",
                           "scrypt$14$8$5$0$00", "scrypt$14$0$0$00$00", "bcrypt$14$8$5$00$00"})
    EXPECT_FALSE(fits_scrypt(text, "")) << text;
}

TEST(Scrypt, TakesFromAnImportOnlyWhatItWritesItself) {
  const std::string good = "scrypt$14$8$5$" + std::string(32, 'a') + "$" + std::string(64, '0');
  EXPECT_TRUE(is_scrypt_text(good));
  EXPECT_FALSE(is_scrypt_text(good + "0"));
  EXPECT_FALSE(is_scrypt_text(good.substr(1)));
  for (const auto& [from, to] :
       {std::pair{"$14$", "$15$"}, {"$8$", "$9$"}, {"a$0", "a00"}, {"aaa", "aAa"}, {"00", "0g"}}) {
    std::string bad = good;
    bad.replace(bad.find(from), std::string_view(from).size(), to);
    EXPECT_FALSE(is_scrypt_text(bad)) << bad;
  }
}

TEST(Passwords, AreReadFromFormsAndCredentials) {
  EXPECT_EQ(form_password("password=a+b%21"), "a b!");
  EXPECT_EQ(form_password("x=1&password=secret&y=2"), "secret");
  EXPECT_EQ(form_password("password="), std::nullopt);
  EXPECT_EQ(form_password("password=%zz"), std::nullopt);
  EXPECT_EQ(form_password("password=" + std::string(129, 'x')), std::nullopt);
  EXPECT_EQ(form_password(""), std::nullopt);
  EXPECT_EQ(basic_password("Basic dXNlcjpzZWNyZXQ="), "secret");
  EXPECT_EQ(basic_password("basic OnNlY3JldDp4"), "secret:x");
  EXPECT_EQ(basic_password("Basic dXNlcg=="), std::nullopt);
  EXPECT_EQ(basic_password("Basic !"), std::nullopt);
  EXPECT_EQ(basic_password("Bearer dXNlcjpzZWNyZXQ="), std::nullopt);
  EXPECT_EQ(basic_password("Basic"), std::nullopt);
}

class PasswordsTest : public ServiceTest {
 protected:
  PasswordsTest() {
    start();
    const Answer made =
        create("https://example.com/secret", {{"password", "sesame"}, {"alias", "door"}, {"title", "Secrets"}});
    EXPECT_EQ(made.status, 201) << made.body;
    made_ = made.body;
  }
  Answer post(const std::string& body) {
    return request("POST", "/door", body, {{"Content-Type", "application/x-www-form-urlencoded"}});
  }
  std::string made_;
};

TEST_F(PasswordsTest, NobodyIsToldThePasswordOrWhereTheLinkLeads) {
  EXPECT_NE(made_.find("\"has_password\":true"), std::string::npos);
  EXPECT_EQ(made_.find("sesame"), std::string::npos);
  EXPECT_EQ(made_.find("scrypt"), std::string::npos);
  const Answer asked = request("GET", "/door");
  EXPECT_EQ(asked.status, 200);
  EXPECT_EQ(asked.field("Location"), "");
  EXPECT_EQ(asked.body.find("secret"), std::string::npos);
  EXPECT_NE(asked.body.find("<label for=\"password\">"), std::string::npos);
  EXPECT_EQ(asked.body.find("<script"), std::string::npos);
  EXPECT_EQ(asked.field("Cache-Control"), "private, no-store");
  EXPECT_EQ(asked.field("Content-Security-Policy"), password_page_policy());
  const Answer preview = request("GET", "/door+", {}, {{"Accept", "application/json"}});
  EXPECT_EQ(preview.json()["protected"], true);
  for (const char* kept : {"url", "created_at", "expires_at"}) EXPECT_EQ(preview.json()[kept], nullptr) << kept;
  EXPECT_EQ(request("GET", "/door+").body.find("<time"), std::string::npos);
  for (const char* open : {"/door+", "/door.qr", "/door?password=sesame"}) {
    const Answer answer = request("GET", open);
    EXPECT_EQ(answer.status, 200) << open;
    EXPECT_EQ(answer.body.find("example.com/secret"), std::string::npos) << open;
    EXPECT_EQ(answer.body.find("Secrets"), std::string::npos) << open;
  }
}

TEST_F(PasswordsTest, TheRightOneLeadsThereAndCounts) {
  const Answer wrong = post("password=open");
  EXPECT_EQ(wrong.status, 403);
  EXPECT_NE(wrong.body.find("role=\"alert\""), std::string::npos);
  EXPECT_EQ(clicks_of("door"), 0);
  const Answer right = post("password=sesame");
  EXPECT_EQ(right.status, 303);
  EXPECT_EQ(right.field("Location"), "https://example.com/secret");
  EXPECT_EQ(right.field("Cache-Control"), "private, no-store");
  const Answer program = request("GET", "/door", {}, {{"Authorization", "Basic OnNlc2FtZQ=="}});
  EXPECT_EQ(program.status, 302);
  EXPECT_EQ(request("GET", "/door", {}, {{"Authorization", "Basic OnNlc2Ft"}}).status, 403);
  EXPECT_EQ(request("DELETE", "/door").status, 405);
  restart();
  EXPECT_EQ(clicks_of("door"), 2);
  EXPECT_EQ(post("password=sesame").status, 303);
}

TEST_F(PasswordsTest, IsChangedAndTakenAway) {
  EXPECT_EQ(request("PATCH", "/v1/links/door", R"({"password":"other"})").status, 200);
  EXPECT_EQ(post("password=sesame").status, 403);
  EXPECT_EQ(post("password=other").status, 303);
  EXPECT_EQ(request("PATCH", "/v1/links/door", R"({"title":"A door"})").status, 200);
  EXPECT_EQ(request("GET", "/door").status, 200) << "still closed";
  const Answer open = request("PATCH", "/v1/links/door", R"({"password":null})");
  EXPECT_EQ(open.json()["has_password"], false);
  EXPECT_EQ(request("GET", "/door").status, 302);
  for (const char* body : {R"({"password":""})", R"({"password":1})"})
    EXPECT_EQ(request("PATCH", "/v1/links/door", body).status, 400) << body;
}

TEST_F(PasswordsTest, NoOtherMethodAndNoOtherBodyOpensIt) {
  for (const char* method : {"PUT", "PATCH", "DELETE", "OPTIONS"}) {
    const Answer answer = request(method, "/door");
    EXPECT_EQ(answer.status, 405) << method;
    EXPECT_EQ(answer.field("Location"), "") << method;
  }
  EXPECT_EQ(request("HEAD", "/door").status, 200);
  EXPECT_EQ(request("POST", "/door", R"({"password":"sesame"})").status, 415);
  EXPECT_EQ(post(std::string(5000, 'x')).status, 413);
  EXPECT_EQ(create("https://example.com/eight", {{"password", "sesame"}, {"alias", "eight"}, {"status", 308}}).status,
            201);
  EXPECT_EQ(request("PUT", "/eight").status, 405);
  EXPECT_EQ(
      request("POST", "/eight", "password=sesame", {{"Content-Type", "application/x-www-form-urlencoded"}}).status, 303)
      << "what was sent stays here";
}

TEST_F(PasswordsTest, AVisitOfTheMaximumIsTakenByTheRightOneOnly) {
  EXPECT_EQ(request("PATCH", "/v1/links/door", R"({"max_visits":2})").status, 200);
  EXPECT_EQ(request("GET", "/door").status, 200);
  EXPECT_EQ(post("password=open").status, 403);
  EXPECT_EQ(post("password=sesame").status, 303);
  EXPECT_EQ(request("GET", "/v1/links/door").json()["visits_left"], 1);
  EXPECT_EQ(post("password=sesame").status, 303);
  EXPECT_EQ(post("password=sesame").status, 410);
}

TEST_F(PasswordsTest, ALinkWithOneIsNeverFoundInsteadOfAnother) {
  const nlohmann::json settings = {{"find_existing", true}};
  const Answer open = create("https://example.com/secret", settings);
  EXPECT_EQ(open.status, 201);
  EXPECT_EQ(open.json()["has_password"], false);
  EXPECT_EQ(create("https://example.com/secret", settings).status, 200) << "the open one";
  nlohmann::json closed = settings;
  closed["password"] = "sesame";
  EXPECT_EQ(create("https://example.com/secret", closed).status, 201);
  const Answer shlink = request("POST", "/rest/v3/short-urls",
                                R"({"longUrl":"https://example.com/secret","findIfExists":true,"customSlug":"third"})");
  EXPECT_EQ(shlink.status, 200);
  EXPECT_EQ(request("GET", "/third").status, 302);
}

TEST_F(PasswordsTest, ABatchTakesSome) {
  const Answer made = request("POST", "/v1/links:batch",
                              R"({"links":[{"url":"https://a.example/","alias":"a","password":"one"},)"
                              R"({"url":"https://b.example/","alias":"b"}]})",
                              {{"Idempotency-Key", "k"}});
  EXPECT_EQ(made.json()["made"], 2) << made.body;
  EXPECT_EQ(request("GET", "/a").status, 200);
  EXPECT_EQ(request("GET", "/b").status, 302);
  EXPECT_EQ(request("POST", "/a", "password=one", {{"Content-Type", "application/x-www-form-urlencoded"}}).status, 303);
  std::string many = R"({"links":[)";
  for (int i = 0; i < 33; ++i) many += std::string(i > 0 ? "," : "") + R"({"url":"https://c.example/","password":"x"})";
  const Answer refused = request("POST", "/v1/links:batch", many + "]}");
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.json()["results"][0]["problem"]["field"], "password");
}

TEST_F(PasswordsTest, ARepeatedRequestGetsTheFirstAnswerAndAnotherPasswordNone) {
  const nlohmann::json first = {{"password", "one"}, {"alias", "k"}};
  const Headers key = {{"Idempotency-Key", "key"}};
  const Answer made = create("https://example.com/k", first, key);
  EXPECT_EQ(made.status, 201);
  EXPECT_EQ(create("https://example.com/k", first, key).body, made.body);
  EXPECT_EQ(create("https://example.com/k", {{"password", "two"}, {"alias", "k"}}, key).status, 422);
}

TEST_F(PasswordsTest, AreExportedAsHashesAndComeBackClosed) {
  const std::string csv = request("GET", "/v1/exports?format=csv").body;
  const std::string ndjson = request("GET", "/v1/exports?format=ndjson").body;
  EXPECT_EQ(csv.find("sesame"), std::string::npos);
  EXPECT_NE(csv.find("scrypt$"), std::string::npos);
  EXPECT_EQ(request("GET", "/v1/exports?format=shlink").body.find("secret"), std::string::npos)
      << "elsewhere it would be open";
  const auto report = [this](const std::string& file) {
    return request("POST", "/v1/imports", file, {{"Content-Type", "text/csv"}}).body;
  };
  EXPECT_NE(report(csv).find("\"exists\""), std::string::npos);
  for (const std::string& file : {csv, ndjson}) {
    std::string moved = file;
    moved.replace(moved.find("door"), 4, file == csv ? "csv1" : "json");
    EXPECT_NE(report(moved).find("\"made\""), std::string::npos);
  }
  for (const char* code : {"/csv1", "/json"}) {
    EXPECT_EQ(request("GET", code).status, 200) << code;
    EXPECT_EQ(request("GET", code, {}, {{"Authorization", "Basic OnNlc2FtZQ=="}}).status, 302) << code;
  }
  for (const char* hash : {"sesame", "true", "scrypt$20$8$5$00$00"}) {
    const std::string told = report(std::string("url,code,password_hash\nhttps://example.com/,never,") + hash + "\n");
    EXPECT_NE(told.find("\"problem\""), std::string::npos) << told;
  }
  EXPECT_NE(report("url,code,password\nhttps://example.com/,never,sesame\n").find("no such column"), std::string::npos);
  EXPECT_EQ(request("GET", "/never").status, 404);
}

TEST_F(PasswordsTest, AfterTenWrongOnesNoMoreAreLookedAtForAWhile) {
  client_address_ = "192.0.2.1";
  for (int i = 0; i < 20; ++i) EXPECT_EQ(post("password=").status, 403) << "nothing was looked at";
  for (int i = 0; i < 10; ++i) EXPECT_EQ(post("password=open").status, 403);
  const Answer slowed = post("password=sesame");
  EXPECT_EQ(slowed.status, 429);
  EXPECT_NE(slowed.field("Retry-After"), "");
  client_address_ = "198.51.100.1";
  EXPECT_EQ(post("password=sesame").status, 303) << "elsewhere";
}

// A form whose sender takes his time.
class SlowBody final : public http::BodyReader {
 public:
  SlowBody(std::string text, Event* sent) : text_(std::move(text)), sent_(sent) {}
  Task<Result<Chunk>> read(Deadline deadline) override {
    if (sent_) (void)co_await sent_->wait(deadline);
    std::string text = std::exchange(text_, {});
    co_return text.empty() ? Chunk() : Chunk::from_string(std::move(text));
  }
  std::optional<uint64_t> length() const noexcept override { return std::nullopt; }

 private:
  std::string text_;
  Event* sent_;
};

// A form on its way, beside others.
class Posting {
 public:
  Posting(http::Routes& routes, Loop& loop, std::string_view address, const std::string& password,
          Event* sent = nullptr)
      : loop_(loop), request_(arena_), context_{.arena = arena_, .loop = loop, .started = loop.now()} {
    request_.method_text = "POST";
    request_.method = Method::post;
    request_.target = request_.path = "/door";
    request_.fields.add("Content-Type", "application/x-www-form-urlencoded");
    request_.body = std::make_unique<SlowBody>("password=" + password, sent);
    context_.client_address = address;
    task_.emplace(routes.handle(request_, context_));
    task_->start();
  }
  int status() {
    while (!task_->done()) loop_.run_once(std::chrono::seconds(10));
    if (!response_) response_.emplace(task_->take());
    return *response_ ? (*response_)->status : 0;
  }
  std::string field(http::FieldId id) { return std::string((*response_)->fields.value(id)); }
  void leave() { task_.reset(); }

 private:
  using Method = http::Method;
  Loop& loop_;
  Arena arena_;
  http::Request request_;
  http::RequestContext context_;
  std::optional<Task<Result<http::Response>>> task_;
  std::optional<Result<http::Response>> response_;
};

TEST_F(PasswordsTest, ManyRightOnesAtOnceAreAllLetThrough) {
  std::deque<Posting> all;
  for (int i = 0; i < 14; ++i) all.emplace_back(*routes_, *loop_, "192.0.2.1", "sesame");
  for (Posting& one : all) EXPECT_EQ(one.status(), 303);
}

TEST_F(PasswordsTest, ManyWrongOnesAtOnceAreTenToo) {
  std::deque<Posting> all;
  for (int i = 0; i < 20; ++i) all.emplace_back(*routes_, *loop_, "192.0.2.1", "open");
  std::map<int, int> told;
  for (Posting& one : all) ++told[one.status()];
  EXPECT_EQ(told, (std::map<int, int>{{403, 10}, {429, 10}}));
}

TEST_F(PasswordsTest, WhoLeavesWhileHeWaitsHasTriedNothing) {
  client_address_ = "192.0.2.1";
  {
    std::deque<Posting> all;
    for (int i = 0; i < 14; ++i) all.emplace_back(*routes_, *loop_, client_address_, "sesame");
    for (int i = 0; i < 3; ++i) loop_->run_once(std::chrono::milliseconds(1));
    for (Posting& one : all) one.leave();
  }
  for (int i = 0; i < 9; ++i) EXPECT_EQ(post("password=open").status, 403);
  EXPECT_EQ(post("password=sesame").status, 303);
}

TEST_F(PasswordsTest, WhatHoldsIsTheLinkAsItIsWhenTheFormIsThere) {
  const auto after_a = [this](const std::string& method, const std::string& change, const std::string& password) {
    Event sent;
    Posting form(*routes_, *loop_, "192.0.2.1", password, &sent);
    for (int i = 0; i < 3; ++i) loop_->run_once(std::chrono::milliseconds(1));
    const int changed = request(method, "/v1/links/door", change).status;
    EXPECT_TRUE(changed == 200 || changed == 204) << changed;
    sent.set();
    const int status = form.status();
    return status == 303 ? form.field(http::FieldId::location) : std::to_string(status);
  };
  EXPECT_EQ(after_a("PATCH", R"({"password":"other"})", "sesame"), "403");
  EXPECT_EQ(after_a("PATCH", R"({"url":"https://example.com/moved"})", "other"), "https://example.com/moved");
  EXPECT_EQ(after_a("PATCH", R"({"not_before":"2250-01-01T00:00:00Z"})", "other"), "404");
  EXPECT_EQ(request("PATCH", "/v1/links/door", R"({"not_before":null})").status, 200);
  EXPECT_EQ(after_a("PATCH", R"({"password":null})", "whatever"), "https://example.com/moved");
  EXPECT_EQ(request("PATCH", "/v1/links/door", R"({"password":"other"})").status, 200);
  EXPECT_EQ(after_a("DELETE", "", "other"), "410");
}

}  // namespace
}  // namespace trellis::services::links
