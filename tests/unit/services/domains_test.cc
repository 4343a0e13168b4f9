#include "services/links/domains/domains.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "services/links/access/access.h"
#include "services/links/clicks/figures_rows.h"
#include "services/links/domains/domain_json.h"
#include "tests/unit/services/service_fixture.h"

namespace trellis::services::links {
namespace {

using nlohmann::json;

constexpr const char* kUrl = "https://example.com/";

Domain other_domain() {
  Domain domain;
  domain.id = 7;
  domain.host = "other.test";
  domain.base_url = "https://other.test";
  return domain;
}

// --- The table ---

TEST(DomainTable, FindsADomainHoweverItsHostIsWritten) {
  const DomainTable domains("https://go.test", {Domain(), other_domain()}, 1);
  for (const char* host : {"other.test", "OTHER.test", "other.test:443", "other.test:80", "other.test."}) {
    ASSERT_NE(domains.find(host), nullptr) << host;
    EXPECT_EQ(domains.find(host)->id, 7) << host;
  }
  for (const char* host : {"", "other.tes", "x.other.test", "other.test:8080", "other.test/a"})
    EXPECT_EQ(domains.find(host), nullptr) << host;
  EXPECT_EQ(domains.of_authority("other.test").id, 7);
  EXPECT_EQ(domains.of_authority("localhost:8080").id, 0);
  EXPECT_EQ(domains.of_authority("").id, 0);
}

TEST(DomainTable, GivesNamesAndShortUrlsAndTakesThemApart) {
  const DomainTable domains("http://go.test:8080", {Domain(), other_domain()}, 1);
  EXPECT_EQ(domains.default_domain().host, "go.test:8080");
  EXPECT_EQ(domains.find(7)->name_of("page"), "other.test/page");
  EXPECT_EQ(domains.short_url("other.test/page"), "https://other.test/page");
  EXPECT_EQ(domains.short_url("page"), "http://go.test:8080/page");
  EXPECT_EQ(domains.name_of_url("http://other.test/page"), "other.test/page");
  EXPECT_EQ(domains.name_of_url("http://go.test:8080/page"), "page");
  for (const char* url : {"http://go.test/page", "https://other.test/", "https://other.test/a?b", "page", ""})
    EXPECT_EQ(domains.name_of_url(url), "") << url;
}

TEST(DomainTable, IsPlainUntilARedirectHasToKnow) {
  EXPECT_TRUE(DomainTable("https://go.test").is_plain());
  EXPECT_FALSE(DomainTable("https://go.test", {Domain(), other_domain()}, 1).is_plain());
  Domain first;
  first.gone_url = kUrl;
  EXPECT_FALSE(DomainTable("https://go.test", {first}, 1).is_plain());
}

// --- JSON ---

TEST(DomainJson, TakesSchemeAndHostAlone) {
  const DomainTable domains("https://go.test");
  const auto base_of = [&](const std::string& url) {
    const auto read = read_new_domain(json{{"base_url", url}}.dump(), domains);
    return read ? read->base_url + " " + read->host : read.error().field;
  };
  EXPECT_EQ(base_of("https://Other.Test/"), "https://other.test other.test");
  EXPECT_EQ(base_of("HTTP://other.test:80"), "http://other.test other.test");
  EXPECT_EQ(base_of("https://other.test.:8443"), "https://other.test:8443 other.test:8443");
  EXPECT_EQ(base_of("https://[::1]:8443"), "https://[::1]:8443 [::1]:8443");
  for (const char* url : {"other.test", "ftp://other.test", "https://other.test/a", "https://other.test?a", "https://",
                          "https://me@other.test",
                          "https://b\xc3\xbc"
                          "cher.example",
                          "https://other.test/#", "https://other.test..", "https://.other.test", "https://a..test"}) {
    EXPECT_EQ(base_of(url), "base_url") << url;
  }
}

TEST(DomainJson, RefusesFallbacksThatCouldRunInACircle) {
  const DomainTable domains("https://go.test", {Domain(), other_domain()}, 1);
  const auto field_of = [&](const std::string& member, const json& value) {
    const auto read = read_new_domain(json{{"base_url", "https://new.test"}, {member, value}}.dump(), domains);
    return read ? "" : read.error().field;
  };
  for (const char* member : {"unknown_url", "gone_url", "root_url"}) {
    EXPECT_EQ(field_of(member, kUrl), "");
    EXPECT_EQ(field_of(member, nullptr), "");
    for (const char* url : {"https://go.test/x", "http://other.test/x", "https://new.test/x", "/x", "javascript:1", ""})
      EXPECT_EQ(field_of(member, url), member) << url;
  }
  EXPECT_EQ(field_of("status", 200), "status");
  EXPECT_EQ(field_of("unknwon_url", kUrl), "unknwon_url");
}

TEST(DomainJson, LeavesHostAndWhatTheConfigurationSaysAsTheyAre) {
  const DomainTable domains("https://go.test", {Domain(), other_domain()}, 1);
  const auto field_of = [&](int64_t id, const json& body) {
    const auto read = read_domain_patch(body.dump(), *domains.find(id), domains);
    return read ? "" : read.error().field;
  };
  EXPECT_EQ(field_of(7, {{"base_url", "http://other.test"}, {"status", 301}}), "");
  EXPECT_EQ(field_of(7, {{"base_url", "https://another.test"}}), "base_url");
  EXPECT_EQ(field_of(0, {{"root_url", kUrl}}), "");
  EXPECT_EQ(field_of(0, {{"base_url", "http://go.test"}}), "base_url");
  EXPECT_EQ(field_of(0, {{"status", 301}}), "status");
}

// --- The service ---

class DomainsTest : public ServiceTest {
 protected:
  void SetUp() override { start(); }

  int64_t add(const std::string& base_url, json more = json::object()) {
    more["base_url"] = base_url;
    const Answer made = request("POST", "/v1/domains", more.dump());
    EXPECT_EQ(made.status, 201) << made.body;
    return made.status == 201 ? made.json()["id"].get<int64_t>() : -1;
  }
  Answer at(const std::string& host, const std::string& path, const std::string& method = "GET") {
    return request(method, path, {}, {{"Host", host}});
  }
  std::string led(const std::string& host, const std::string& path) {
    const Answer answer = at(host, path);
    return std::to_string(answer.status) + " " + answer.field("Location");
  }
};

TEST_F(DomainsTest, ACodeIsOneLinkOnEachDomain) {
  add("https://other.test");
  EXPECT_EQ(create("https://example.com/1", {{"alias", "page"}}).status, 201);
  const Answer second = create("https://example.com/2", {{"alias", "page"}, {"domain", "OTHER.test"}});
  EXPECT_EQ(second.status, 201) << second.body;
  EXPECT_EQ(second.json()["code"], "page");
  EXPECT_EQ(second.json()["domain"], "other.test");
  EXPECT_EQ(second.json()["short_url"], "https://other.test/page");
  EXPECT_EQ(second.field("Location"), "/v1/links/page?domain=other.test");
  EXPECT_EQ(create("https://example.com/3", {{"alias", "page"}, {"domain", "other.test"}}).status, 409);

  EXPECT_EQ(led("go.example.com", "/page"), "302 https://example.com/1");
  EXPECT_EQ(led("other.test", "/page"), "302 https://example.com/2");
  EXPECT_EQ(led("other.test:443", "/page"), "302 https://example.com/2");
  EXPECT_EQ(led("unknown.test", "/page"), "302 https://example.com/1");

  EXPECT_EQ(request("GET", "/v1/links/page").json()["url"], "https://example.com/1");
  EXPECT_EQ(request("GET", "/v1/links/page?domain=go.example.com").json()["url"], "https://example.com/1");
  EXPECT_EQ(request("GET", "/v1/links/page?domain=other.test").json()["url"], "https://example.com/2");
  EXPECT_EQ(request("GET", "/v1/links/page?domain=unknown.test").status, 400);
  EXPECT_EQ(request("GET", "/v1/links/page?domian=other.test").status, 400);
  EXPECT_EQ(request("DELETE", "/v1/links/page?domian=other.test").status, 400);

  EXPECT_EQ(request("PATCH", "/v1/links/page?domain=other.test", R"({"url":"https://example.com/4"})").status, 200);
  EXPECT_EQ(led("other.test", "/page"), "302 https://example.com/4");
  EXPECT_EQ(request("DELETE", "/v1/links/page?domain=other.test").status, 204);
  EXPECT_EQ(at("other.test", "/page").status, 410);
  EXPECT_EQ(led("go.example.com", "/page"), "302 https://example.com/1");
}

TEST_F(DomainsTest, AnAliasOfTheFormOfACodeThatWasMadeIsFreeOnOtherDomains) {
  add("https://other.test");
  const std::string here = code_of("https://example.com/1");
  const json there = create("https://example.com/2", {{"domain", "other.test"}}).json();
  EXPECT_EQ(there["code"].get<std::string>().size(), kCodeSize);
  // Below the mark of the counter, on either side.
  EXPECT_EQ(create(kUrl, {{"alias", here}, {"domain", "other.test"}}).status, 201);
  EXPECT_EQ(create(kUrl, {{"alias", there["code"]}}).status, 201);
  EXPECT_EQ(create(kUrl, {{"alias", here}}).status, 409);
  EXPECT_EQ(create(kUrl, {{"alias", there["code"]}, {"domain", "other.test"}}).status, 409);
  // Above it: burned once, and no code that is made takes it.
  EXPECT_EQ(create(kUrl, {{"alias", "AAAAAAA"}}).status, 201);
  EXPECT_EQ(create(kUrl, {{"alias", "AAAAAAA"}, {"domain", "other.test"}}).status, 201);
  EXPECT_EQ(create(kUrl, {{"alias", "AAAAAAA"}, {"domain", "other.test"}}).status, 409);
}

TEST_F(DomainsTest, FallbacksTakeThePlaceOf404And410AndEndAtOnce) {
  const int64_t id = add("https://other.test", {{"unknown_url", "https://example.com/unknown"},
                                                {"gone_url", "https://example.com/gone"},
                                                {"root_url", "https://example.com/root"}});
  create(kUrl, {{"alias", "old"}, {"domain", "other.test"}});
  EXPECT_EQ(request("DELETE", "/v1/links/old?domain=other.test").status, 204);
  EXPECT_EQ(led("other.test", "/nothing"), "302 https://example.com/unknown");
  EXPECT_EQ(led("other.test", "/old"), "302 https://example.com/gone");
  EXPECT_EQ(led("other.test", "/"), "302 https://example.com/root");
  EXPECT_EQ(at("other.test", "/nothing").field("Cache-Control"), "private, max-age=0");
  EXPECT_EQ(at("other.test", "/nothing", "POST").status, 404);
  EXPECT_EQ(at("go.example.com", "/nothing").status, 404);
  EXPECT_EQ(at("go.example.com", "/").status, 404);

  const std::string path = "/v1/domains/" + std::to_string(id);
  EXPECT_EQ(request("PATCH", path, R"({"unknown_url":null,"gone_url":null})").status, 200);
  EXPECT_EQ(at("other.test", "/nothing").status, 404);
  EXPECT_EQ(at("other.test", "/old").status, 410);
  EXPECT_EQ(led("other.test", "/"), "302 https://example.com/root");
}

TEST_F(DomainsTest, TheDefaultDomainCanHaveFallbacksToo) {
  EXPECT_EQ(request("PATCH", "/v1/domains/0", R"({"unknown_url":"https://example.com/unknown"})").status, 200);
  EXPECT_EQ(led("go.example.com", "/nothing"), "302 https://example.com/unknown");
  EXPECT_EQ(led("whoever.test", "/nothing"), "302 https://example.com/unknown");
  EXPECT_EQ(request("DELETE", "/v1/domains/0").status, 409);
  stop();
  start();
  EXPECT_EQ(led("go.example.com", "/nothing"), "302 https://example.com/unknown");
}

TEST_F(DomainsTest, ADomainIsListedAndKeptAndGoesWhenNoLinkIsOnIt) {
  const int64_t id = add("https://other.test", {{"status", 308}});
  EXPECT_EQ(request("POST", "/v1/domains", R"({"base_url":"http://other.test"})").status, 409);
  EXPECT_EQ(request("POST", "/v1/domains", R"({"base_url":"http://go.example.com"})").status, 409);
  EXPECT_EQ(create(kUrl, {{"alias", "page"}, {"domain", "other.test"}}).json()["status"], 308);
  stop();
  start();
  const json all = request("GET", "/v1/domains").json();
  ASSERT_EQ(all["items"].size(), 2);
  EXPECT_EQ(all["items"][0]["host"], "go.example.com");
  EXPECT_EQ(all["items"][0]["default"], true);
  EXPECT_EQ(all["items"][1]["host"], "other.test");
  EXPECT_EQ(all["next"], nullptr);
  EXPECT_EQ(request("GET", "/v1/domains?limit=1").json()["next"], "0");
  EXPECT_EQ(request("GET", "/v1/domains?limit=1&cursor=0").json()["items"][0]["id"], id);

  const std::string path = "/v1/domains/" + std::to_string(id);
  EXPECT_EQ(request("DELETE", path).json()["code"], "domain_in_use");
  EXPECT_EQ(request("DELETE", "/v1/links/page?domain=other.test").status, 204);
  EXPECT_EQ(request("DELETE", path).status, 204);
  EXPECT_EQ(request("DELETE", path).status, 404);
  EXPECT_EQ(request("GET", path).status, 404);
  EXPECT_EQ(create(kUrl, {{"domain", "other.test"}}).json()["field"], "domain");
  EXPECT_EQ(at("other.test", "/page").status, 404);
  // It comes back with another number, and what was deleted on it stays so.
  EXPECT_GT(add("https://other.test"), id);
  EXPECT_EQ(at("other.test", "/page").status, 410);
}

TEST_F(DomainsTest, ADomainIsChangedInTheVersionThatWasRead) {
  const std::string place = "/v1/domains/" + std::to_string(add("https://other.test"));
  for (const std::string& each : {place, std::string("/v1/domains/0")}) {
    const std::string first(request("GET", each).field("ETag"));
    EXPECT_EQ(request("GET", each, {}, {{"If-None-Match", first}}).status, 304);
    const Answer changed = request("PATCH", each, R"({"root_url":"https://a.test/"})", {{"If-Match", first}});
    ASSERT_EQ(changed.status, 200) << changed.body;
    EXPECT_NE(changed.field("ETag"), first);
    EXPECT_EQ(request("GET", each).field("ETag"), changed.field("ETag"));
    EXPECT_EQ(request("PATCH", each, R"({"root_url":"https://b.test/"})", {{"If-Match", first}}).status, 412);
    EXPECT_EQ(request("GET", each).json()["root_url"], "https://a.test/");
  }
  EXPECT_EQ(request("DELETE", place, {}, {{"If-Match", "\"1-1\""}}).status, 412);
  stop();
  start();
  const std::string last(request("GET", place).field("ETag"));
  EXPECT_EQ(last, "\"1-2\"");
  EXPECT_EQ(request("DELETE", place, {}, {{"If-Match", last}}).status, 204);
}

TEST_F(DomainsTest, NoLinkLeadsToADomainOfTheService) {
  add("https://other.test");
  EXPECT_EQ(create("https://other.test/x").json()["field"], "url");
  EXPECT_EQ(create("http://other.test/x", {{"domain", "other.test"}}).json()["field"], "url");
  EXPECT_EQ(create("https://go.example.com/x", {{"domain", "other.test"}}).json()["field"], "url");
  const json rules = json::parse(R"([{"url":"https://other.test/x"}])");
  EXPECT_EQ(create(kUrl, {{"rules", rules}}).json()["field"], "rules[0].url");
}

TEST_F(DomainsTest, ListsSearchesAndExistingLinksKeepToTheirDomain) {
  add("https://other.test");
  create("https://example.com/1", {{"alias", "one"}});
  create("https://example.com/1", {{"alias", "two"}, {"domain", "other.test"}});
  const auto codes = [this](const std::string& query) {
    std::string out;
    const json page = request("GET", "/v1/links" + query).json();
    for (const json& link : page["items"]) out += link["code"].get<std::string>() + " ";
    return out;
  };
  EXPECT_EQ(codes(""), "two one ");
  EXPECT_EQ(codes("?domain=other.test"), "two ");
  EXPECT_EQ(codes("?domain=go.example.com"), "one ");
  EXPECT_EQ(codes("?q=other"), "");
  EXPECT_EQ(codes("?q=two"), "two ");
  EXPECT_EQ(request("GET", "/v1/links?domain=unknown.test").status, 400);

  const json found = create("https://example.com/1", {{"domain", "other.test"}, {"find_existing", true}}).json();
  EXPECT_EQ(found["code"], "two");
  EXPECT_EQ(create("https://example.com/1", {{"find_existing", true}}).json()["code"], "one");
}

TEST_F(DomainsTest, AnExistingLinkIsFoundHoweverManyOtherDomainsHave) {
  add("https://other.test");
  json links = json::array();
  for (int i = 0; i < 150; ++i) links.push_back({{"url", kUrl}});
  EXPECT_EQ(request("POST", "/v1/links:batch", json{{"links", links}}.dump()).json()["made"], 150);
  const json more = {{"domain", "other.test"}, {"find_existing", true}};
  const Answer made = create(kUrl, more);
  EXPECT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(create(kUrl, more).json()["code"], made.json()["code"]);
  EXPECT_EQ(create(kUrl, {{"find_existing", true}}).status, 200);
}

TEST_F(DomainsTest, BatchesImportsAndExportsCarryTheDomain) {
  add("https://other.test");
  const json batch = request("POST", "/v1/links:batch",
                             R"({"atomic":false,"links":[{"url":"https://example.com/1","alias":"a"},
                                {"url":"https://example.com/2","alias":"a","domain":"other.test"},
                                {"url":"https://example.com/3","domain":"other.test"},
                                {"url":"https://example.com/4","domain":"unknown.test"}]})")
                         .json();
  EXPECT_EQ(batch["made"], 3) << batch.dump();
  EXPECT_EQ(batch["results"][1]["short_url"], "https://other.test/a");
  EXPECT_EQ(batch["results"][2]["domain"], "other.test");
  EXPECT_EQ(batch["results"][2]["code"].get<std::string>().size(), kCodeSize);
  EXPECT_EQ(batch["results"][3]["problem"]["field"], "domain");

  for (const char* format : {"csv", "ndjson"}) {
    const std::string file = request("GET", std::string("/v1/exports?format=") + format).body;
    const std::string of_other = request("GET", std::string("/v1/exports?domain=other.test&format=") + format).body;
    EXPECT_EQ(of_other.find("example.com/1"), std::string::npos);
    EXPECT_NE(of_other.find("example.com/3"), std::string::npos);
    // All of them are there as they were.
    const Answer again = request("POST", "/v1/imports?report=problems", file, {{"Content-Type", "text/plain"}});
    EXPECT_NE(again.body.find("\"rows\":3,\"made\":0,\"exists\":3"), std::string::npos) << again.body;
  }
  const std::string rows =
      "url,code,domain\nhttps://example.com/5,b,\nhttps://example.com/6,b,other.test\n"
      "https://example.com/7,c,unknown.test\n";
  const Answer some = request("POST", "/v1/imports", rows, {{"Content-Type", "text/csv"}});
  EXPECT_NE(some.body.find("\"made\":2"), std::string::npos) << some.body;
  EXPECT_NE(some.body.find("there is no such domain here"), std::string::npos) << some.body;
  EXPECT_EQ(led("other.test", "/b"), "302 https://example.com/6");
  const Answer into = request("POST", "/v1/imports?domain=other.test",
                              "url,code,domain\nhttps://example.com/8,d,\nhttps://example.com/9,e,go.example.com\n",
                              {{"Content-Type", "text/csv"}});
  EXPECT_NE(into.body.find("\"made\":1"), std::string::npos) << into.body;
  EXPECT_NE(into.body.find("the import is into another domain"), std::string::npos) << into.body;
  EXPECT_EQ(led("other.test", "/d"), "302 https://example.com/8");
}

TEST_F(DomainsTest, PreviewsAndQrCodesAreOfTheHostThatWasAsked) {
  add("https://other.test");
  create("https://example.com/1", {{"alias", "page"}});
  create("https://example.com/2", {{"alias", "page"}, {"domain", "other.test"}});
  const auto url_at = [this](const char* host) {
    return request("GET", "/page+", {}, {{"Host", host}, {"Accept", "application/json"}}).json();
  };
  EXPECT_EQ(url_at("go.example.com")["url"], "https://example.com/1");
  EXPECT_EQ(url_at("other.test")["url"], "https://example.com/2");
  EXPECT_EQ(url_at("other.test")["short_url"], "https://other.test/page");
  EXPECT_EQ(url_at("other.test")["code"], "page");
  EXPECT_NE(at("go.example.com", "/page.qr").field("ETag"), at("other.test", "/page.qr").field("ETag"));
  EXPECT_EQ(at("other.test", "/page.qr").status, 200);
}

TEST_F(DomainsTest, ShlinksApiNamesALinkByCodeAndDomain) {
  add("https://other.test");
  const auto shlink = [this](const char* method, const std::string& path, std::string body = {}) {
    return request(method, "/rest/v3" + path, std::move(body));
  };
  const json made =
      shlink("POST", "/short-urls", R"({"longUrl":"https://example.com/2","customSlug":"page","domain":"other.test"})")
          .json();
  EXPECT_EQ(made["domain"], "other.test") << made.dump();
  EXPECT_EQ(made["shortCode"], "page");
  EXPECT_EQ(made["shortUrl"], "https://other.test/page");
  EXPECT_EQ(shlink("GET", "/short-urls/page").status, 404);
  EXPECT_EQ(shlink("GET", "/short-urls/page?domain=other.test").status, 200);
  EXPECT_EQ(shlink("GET", "/short-urls/other.test%2Fpage").status, 404);
  EXPECT_EQ(shlink("GET", "/short-urls?domain=other.test").json()["shortUrls"]["pagination"]["totalItems"], 1);
  EXPECT_EQ(shlink("GET", "/short-urls?domain=DEFAULT").json()["shortUrls"]["pagination"]["totalItems"], 0);
  EXPECT_EQ(shlink("GET", "/domains").json()["domains"]["data"].size(), 2);
  EXPECT_EQ(shlink("PATCH", "/short-urls/page?domain=other.test", R"({"longUrl":"https://example.com/3"})").status,
            200);
  EXPECT_EQ(led("other.test", "/page"), "302 https://example.com/3");
  EXPECT_EQ(shlink("DELETE", "/short-urls/page?domain=other.test").status, 204);
  EXPECT_EQ(at("other.test", "/page").status, 410);
}

// --- Keys that are limited to a domain ---

class DomainKeysTest : public ServiceTest {
 protected:
  void SetUp() override {
    config_.keys = LinksConfig::Keys::required;
    start();
    auto task = service_->access().add("admin", http::Scope::admin, std::nullopt, std::nullopt, 1'000, kNever);
    admin_ = (*fakes::run_task(*loop_, std::move(task)))->text;
    EXPECT_EQ(as(admin_, "POST", "/v1/domains", R"({"base_url":"https://other.test"})").status, 201);
    EXPECT_EQ(as(admin_, "POST", "/v1/domains", R"({"base_url":"https://third.test"})").status, 201);
    const json wanted = {{"name", "limited"}, {"scope", "admin"}, {"domain", "Other.test"}};
    const Answer made = as(admin_, "POST", "/v1/keys", wanted.dump());
    EXPECT_EQ(made.status, 201) << made.body;
    EXPECT_EQ(made.json()["domain"], "other.test");
    key_ = made.json()["key"];
    as(admin_, "POST", "/v1/links", R"({"url":"https://example.com/default","alias":"page"})");
    as(admin_, "POST", "/v1/links", R"({"url":"https://example.com/other","alias":"page","domain":"other.test"})");
    as(admin_, "POST", "/v1/links", R"({"url":"https://example.com/third","alias":"page","domain":"third.test"})");
  }
  Answer as(const std::string& key, std::string_view method, std::string_view target, std::string body = {},
            Headers headers = {}) {
    headers.emplace_back("X-Api-Key", key);
    return request(method, target, std::move(body), std::move(headers));
  }

  std::string admin_;
  std::string key_;
};

TEST_F(DomainKeysTest, SeesAndChangesLinksOfItsDomainOnly) {
  EXPECT_EQ(as(key_, "GET", "/v1/links/page").json()["url"], "https://example.com/other");
  EXPECT_EQ(as(key_, "GET", "/v1/links/page?domain=other.test").status, 200);
  for (const char* query : {"?domain=third.test", "?domain=go.example.com", "?domain=unknown.test", "?domain=",
                            "?domain=other.test&domain=third.test", "?dom%61in=third.test", "?domain=third%2etest"}) {
    for (const char* method : {"GET", "PATCH", "DELETE"})
      EXPECT_EQ(as(key_, method, std::string("/v1/links/page") + query, "{}").status, 403) << method << query;
    EXPECT_EQ(as(key_, "GET", std::string("/v1/links") + query).status, 403) << query;
  }
  const json made = as(key_, "POST", "/v1/links", R"({"url":"https://example.com/new"})").json();
  EXPECT_EQ(made["domain"], "other.test");
  EXPECT_EQ(as(key_, "POST", "/v1/links", R"({"url":"https://example.com/new","domain":"third.test"})").status, 400);
  EXPECT_EQ(as(key_, "POST", "/v1/links", R"({"url":"https://example.com/n","domain":"other.test"})").status, 201);

  EXPECT_EQ(as(key_, "PATCH", "/v1/links/page", R"({"title":"mine"})").status, 200);
  EXPECT_EQ(as(key_, "DELETE", "/v1/links/page").status, 204);
  EXPECT_EQ(as(admin_, "GET", "/v1/links/page").json()["title"], "");
  EXPECT_EQ(as(admin_, "GET", "/v1/links/page?domain=third.test").json()["title"], "");
  EXPECT_EQ(as(admin_, "GET", "/v1/links/page?domain=other.test").status, 410);
}

TEST_F(DomainKeysTest, ListsFilesBatchesAndStatisticsAreOfItsDomainOnly) {
  const std::string listed = as(key_, "GET", "/v1/links").body + as(key_, "GET", "/v1/exports").body +
                             as(key_, "GET", "/v1/links?q=example").body + as(key_, "GET", "/v1/links?limit=100").body;
  EXPECT_NE(listed.find("example.com/other"), std::string::npos);
  EXPECT_EQ(listed.find("example.com/default"), std::string::npos);
  EXPECT_EQ(listed.find("example.com/third"), std::string::npos);
  EXPECT_EQ(as(key_, "GET", "/v1/exports?domain=third.test").status, 403);

  const json batch = as(key_, "POST", "/v1/links:batch",
                        R"({"atomic":false,"links":[{"url":"https://example.com/1"},
                           {"url":"https://example.com/2","domain":"third.test"}]})")
                         .json();
  EXPECT_EQ(batch["results"][0]["domain"], "other.test");
  EXPECT_EQ(batch["results"][1]["problem"]["field"], "domain");
  const Answer imported = as(key_, "POST", "/v1/imports",
                             "url,code,domain\nhttps://example.com/3,three,\nhttps://example.com/4,four,third.test\n",
                             {{"Content-Type", "text/csv"}});
  EXPECT_NE(imported.body.find("\"made\":1"), std::string::npos) << imported.body;
  EXPECT_EQ(as(admin_, "GET", "/v1/links/three?domain=other.test").status, 200);
  EXPECT_EQ(as(admin_, "GET", "/v1/links/three").status, 404);

  EXPECT_EQ(as(key_, "GET", "/v1/links/page/stats").status, 200);
  EXPECT_EQ(as(key_, "GET", "/v1/links/page/stats?domain=third.test").status, 403);
  EXPECT_EQ(as(key_, "GET", "/v1/stats").status, 200);
  EXPECT_EQ(as(key_, "GET", "/v1/stats?domain=third.test").status, 403);
}

// Whatever route comes later: those that do not take ?domain= take no such key.
TEST_F(DomainKeysTest, RoutesThatDoNotKnowDomainsTakeNoSuchKey) {
  const json document = request("GET", "/v1/openapi.json").json();
  size_t refused = 0;
  for (const auto& [path, methods] : document["paths"].items()) {
    for (const auto& [method, route] : methods.items()) {
      if (!route.contains("security") || route["security"].empty()) continue;
      bool heeds = false;
      for (const json& parameter : route.value("parameters", json::array()))
        heeds = heeds || (parameter["in"] == "query" && parameter["name"] == "domain");
      if (heeds) continue;
      std::string target = path;
      if (const size_t at = target.find('{'); at != std::string::npos)
        target.replace(at, target.find('}') + 1 - at, "1");
      std::string verb = method;
      for (char& c : verb) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
      EXPECT_EQ(as(key_, verb, target).status, 403) << verb << " " << target;
      ++refused;
    }
  }
  EXPECT_GT(refused, 10u);
}

TEST_F(DomainKeysTest, SeeAndChangeTheirDomainOnlyThroughShlinksInterfaceToo) {
  for (const char* host : {"go.example.com", "other.test", "third.test"})
    as(admin_, "PATCH", std::string("/v1/links/page?domain=") + host, R"({"tags":["shared"]})");
  const auto shlink = [this](const char* method, const std::string& path, std::string body = {}) {
    return as(key_, method, "/rest/v3" + path, std::move(body));
  };
  const auto listed = [&shlink](const std::string& query) {
    std::string urls;
    const json answer = shlink("GET", "/short-urls" + query).json();
    for (const json& link : answer["shortUrls"]["data"]) urls += std::string(link["longUrl"]) + " ";
    return urls;
  };
  EXPECT_EQ(listed(""), "https://example.com/other ");
  EXPECT_EQ(listed("?domain=other.test"), "https://example.com/other ");
  EXPECT_EQ(shlink("GET", "/short-urls/page").json()["longUrl"], "https://example.com/other");
  for (const char* query : {"?domain=third.test", "?domain=DEFAULT", "?domain=unknown.test", "?domain=",
                            "?domain=other.test&domain=third.test", "?dom%61in=third.test", "?domain[]=third.test"}) {
    for (const char* method : {"GET", "PATCH", "DELETE"})
      EXPECT_EQ(shlink(method, std::string("/short-urls/page") + query, "{}").status, 403) << method << query;
    EXPECT_EQ(shlink("GET", std::string("/short-urls") + query).status, 403) << query;
    EXPECT_EQ(shlink("POST", std::string("/short-urls/page/redirect-rules") + query, R"({"redirectRules":[]})").status,
              403)
        << query;
  }
  const json made = shlink("POST", "/short-urls", R"({"longUrl":"https://example.com/1","customSlug":"one"})").json();
  EXPECT_EQ(made["domain"], "other.test");
  EXPECT_EQ(shlink("POST", "/short-urls", R"({"longUrl":"https://example.com/2","domain":"other.test"})").status, 200);
  for (const char* domain : {"third.test", "DEFAULT", "go.example.com", "unknown.test"}) {
    const json body = {{"longUrl", "https://example.com/2"}, {"domain", domain}};
    EXPECT_EQ(shlink("POST", "/short-urls", body.dump()).status, 403) << domain;
  }
  const json again =
      shlink("POST", "/short-urls", R"({"longUrl":"https://example.com/default","findIfExists":true})").json();
  EXPECT_EQ(again["domain"], "other.test") << "that of another domain is not found";

  const json tags = shlink("GET", "/tags/stats").json()["tags"]["data"];
  ASSERT_EQ(tags.size(), 1u);
  EXPECT_EQ(tags[0]["shortUrlsCount"], 1);
  EXPECT_EQ(shlink("PUT", "/tags", R"({"oldName":"shared","newName":"mine"})").status, 403);
  EXPECT_EQ(shlink("DELETE", "/tags?tags[]=shared").status, 403);
  EXPECT_EQ(as(admin_, "GET", "/v1/links/page").json()["tags"][0], "shared");
  const json domains = shlink("GET", "/domains").json()["domains"];
  ASSERT_EQ(domains["data"].size(), 1u);
  EXPECT_EQ(domains["data"][0]["domain"], "other.test");
  EXPECT_EQ(shlink("GET", "/domains/third.test/visits").status, 403);
  EXPECT_EQ(shlink("GET", "/domains/DEFAULT/visits").status, 403);
  EXPECT_EQ(shlink("PATCH", "/short-urls/page", R"({"title":"mine"})").json()["title"], "mine");
  EXPECT_EQ(shlink("DELETE", "/short-urls/page").status, 204);
  EXPECT_EQ(as(admin_, "GET", "/v1/links/page").json()["title"], "");
  EXPECT_EQ(as(admin_, "GET", "/v1/links/page?domain=third.test").status, 200);
  EXPECT_EQ(as(admin_, "GET", "/v1/links/page?domain=other.test").status, 410);
}

TEST_F(DomainKeysTest, EveryRouteOfShlinksInterfaceRefusesOtherDomainsAndKeysOfRemovedOnes) {
  for (const char* host : {"go.example.com", "other.test", "third.test"})
    as(admin_, "PATCH", std::string("/v1/links/page?domain=") + host, R"({"tags":["shared"]})");
  struct {
    const char* method;
    std::string path;
    const char* body;
    int status;
  } const routes[] = {
      {"GET", "/short-urls", "", 200},
      {"POST", "/short-urls", R"({"longUrl":"https://example.com/new"})", 200},
      {"GET", "/short-urls/page", "", 200},
      {"PATCH", "/short-urls/page", R"({"title":"mine"})", 200},
      {"GET", "/short-urls/page/visits", "", 200},
      {"GET", "/short-urls/page/redirect-rules", "", 200},
      {"POST", "/short-urls/page/redirect-rules", R"({"redirectRules":[]})", 200},
      {"GET", "/tags", "", 200},
      {"GET", "/tags/stats", "", 200},
      {"GET", "/tags/shared/visits", "", 200},
      {"PUT", "/tags", R"({"oldName":"shared","newName":"mine"})", 403},
      {"DELETE", "/tags?tags[]=shared", "", 403},
      {"GET", "/visits", "", 200},
      {"GET", "/visits/non-orphan", "", 200},
      {"GET", "/visits/orphan", "", 200},
      {"GET", "/domains", "", 200},
      {"GET", "/domains/other.test/visits", "", 200},
      {"GET", "/domains/third.test/visits", "", 403},
      {"GET", "/domains/unknown.test/visits", "", 403},
      {"GET", "/mercure-info", "", 501},
      {"DELETE", "/short-urls/page", "", 204},
  };
  for (const auto& route : routes) {
    const std::string with = route.path + (route.path.find('?') == std::string::npos ? "?" : "&") + "domain=";
    for (const char* domain : {"third.test", "DEFAULT"})
      EXPECT_EQ(as(key_, route.method, "/rest/v3" + with + domain, route.body).status, 403) << with << domain;
    const Answer own = as(key_, route.method, "/rest/v3" + route.path, route.body);
    EXPECT_EQ(own.status, route.status) << route.method << " " << route.path << own.body;
    for (const char* foreign : {"third", "default\"", "go.example.com"})
      EXPECT_EQ(own.body.find(foreign), std::string::npos) << route.path << own.body;
  }
  const json left = as(admin_, "GET", "/v1/links?domain=other.test").json();
  for (const json& link : left["items"])
    as(admin_, "DELETE", "/v1/links/" + std::string(link["code"]) + "?domain=other.test");
  EXPECT_EQ(as(admin_, "DELETE", "/v1/domains/1").status, 204);
  for (const auto& route : routes)
    EXPECT_EQ(as(key_, route.method, "/rest/v3" + route.path, route.body).status, 403) << route.path;
  EXPECT_EQ(as(admin_, "POST", "/v1/domains", R"({"base_url":"https://other.test"})").status, 201);
  EXPECT_EQ(as(key_, "GET", "/rest/v3/short-urls").status, 403) << "that is another domain";
  EXPECT_EQ(as(key_, "GET", "/rest/v3/short-urls?domain=other.test").status, 403);
}

// Whose links have names without a host.
TEST_F(DomainKeysTest, TheDefaultDomainIsOneToTheInterfacesOfOthersToo) {
  for (const char* host : {"go.example.com", "other.test", "third.test"})
    as(admin_, "PATCH", std::string("/v1/links/page?domain=") + host, R"({"tags":["shared"]})");
  const std::string key =
      as(admin_, "POST", "/v1/keys", R"({"name":"own","scope":"write","domain":"go.example.com"})").json()["key"];
  const auto shlink = [this, &key](const char* path) { return as(key, "GET", std::string("/rest/v3") + path); };
  for (const char* path : {"/short-urls", "/short-urls?domain=DEFAULT", "/short-urls?domain=go.example.com"}) {
    const json links = shlink(path).json()["shortUrls"];
    EXPECT_EQ(links["pagination"]["totalItems"], 1) << path;
    EXPECT_EQ(links["data"][0]["longUrl"], "https://example.com/default");
  }
  EXPECT_EQ(shlink("/short-urls?domain=other.test").status, 403);
  EXPECT_EQ(shlink("/short-urls/other.test%2Fpage").status, 404);
  EXPECT_EQ(shlink("/tags/stats").json()["tags"]["data"][0]["shortUrlsCount"], 1);
  EXPECT_EQ(shlink("/domains").json()["domains"]["data"].size(), 1u);
  EXPECT_EQ(shlink("/domains/DEFAULT/visits").status, 200);
  const std::string yourls = "/yourls-api.php?format=json&signature=" + key + "&action=";
  EXPECT_EQ(request("GET", yourls + "expand&shorturl=page").json()["longurl"], "https://example.com/default");
  EXPECT_EQ(request("GET", yourls + "expand&shorturl=https://other.test/page").status, 403);
  EXPECT_EQ(request("GET", yourls + "expand&shorturl=other.test/page").status, 404);
  EXPECT_EQ(request("GET", yourls + "db-stats").json()["db-stats"]["total_links"], "1");
}

TEST_F(DomainKeysTest, CountVisitsOfTheirDomainOnlyThroughTheInterfacesOfOthers) {
  const auto count = [this](const char* host, int64_t clicks) {
    const json link = as(admin_, "GET", std::string("/v1/links/page?domain=") + host).json();
    as(admin_, "PATCH", std::string("/v1/links/page?domain=") + host, R"({"tags":["shared"]})");
    std::vector<FiguresRow> rows(3);
    const int64_t hour = unix_millis(system_clock().wall()) / millis_of(Span::hour);
    rows[0] = {Span::hour, hour, link["id"].get<int64_t>(), {}};
    rows[1] = {Span::hour, hour, kAllLinks, {}};
    rows[2] = {Span::hour, hour, links_of_domain(std::string_view(host) == "other.test" ? 1 : 2), {}};
    for (FiguresRow& row : rows) {
      Click click;
      click.agent.device = Device::phone;
      for (int64_t i = 0; i < clicks; ++i) row.figures.add(click);
    }
    ASSERT_TRUE(store_->write_now([&](store::SqliteConnection& db) -> Result<void> {
      TRY_VOID(add_figures(db, rows));
      const LinkCount total{rows[0].link, clicks};
      return add_clicks(db, std::span(&total, 1));
    }));
  };
  count("other.test", 3);
  count("third.test", 5);
  const auto visits = [this](const std::string& key, const std::string& path) {
    return as(key, "GET", "/rest/v3" + path).json()["visits"]["pagination"]["totalItems"];
  };
  for (const char* path :
       {"/visits/non-orphan", "/tags/shared/visits", "/short-urls/page/visits", "/domains/other.test/visits"})
    EXPECT_EQ(visits(key_, path), 3) << path;
  EXPECT_EQ(visits(admin_, "/visits/non-orphan"), 8);
  EXPECT_EQ(visits(admin_, "/tags/shared/visits"), 8);
  const auto total = [this](const std::string& key) {
    return as(key, "GET", "/rest/v3/visits").json()["visits"]["nonOrphanVisits"]["total"];
  };
  EXPECT_EQ(total(key_), 3);
  EXPECT_EQ(total(admin_), 8);
  EXPECT_EQ(as(key_, "GET", "/rest/v3/tags/stats").json()["tags"]["data"][0]["visitsSummary"]["total"], 3);
  EXPECT_EQ(as(key_, "GET", "/rest/v3/short-urls//visits").status, 404) << "no code is not every code";
  const auto clicks = [this](const std::string& key, const std::string& action) {
    return request("GET", "/yourls-api.php?format=json&signature=" + key + "&action=" + action).json();
  };
  EXPECT_EQ(clicks(key_, "db-stats")["db-stats"]["total_clicks"], "3");
  EXPECT_EQ(clicks(admin_, "db-stats")["db-stats"]["total_clicks"], "8");
  EXPECT_EQ(clicks(key_, "url-stats&shorturl=page")["link"]["clicks"], "3");
}

TEST_F(DomainKeysTest, SeeAndChangeTheirDomainOnlyThroughTheInterfaceOfYourlsToo) {
  const auto yourls = [this](const std::string& query) {
    return request("GET", "/yourls-api.php?format=json&signature=" + key_ + query);
  };
  const json made = yourls("&action=shorturl&keyword=one&url=https%3A%2F%2Fexample.com%2F1").json();
  EXPECT_EQ(made["shorturl"], "https://other.test/one");
  EXPECT_EQ(made["url"]["keyword"], "one");
  EXPECT_EQ(as(admin_, "GET", "/v1/links/one").status, 404);
  EXPECT_EQ(as(admin_, "GET", "/v1/links/one?domain=other.test").status, 200);
  EXPECT_EQ(yourls("&action=expand&shorturl=page").json()["longurl"], "https://example.com/other");
  EXPECT_EQ(yourls("&action=expand&shorturl=https://other.test/page").json()["longurl"], "https://example.com/other");
  EXPECT_EQ(yourls("&action=url-stats&shorturl=page").json()["link"]["shorturl"], "https://other.test/page");
  EXPECT_EQ(yourls("&action=shorturl&keyword=third.test%2Fmine&url=https%3A%2F%2Fexample.com%2F1").status, 400);
  EXPECT_EQ(yourls("&action=shorturl&keyword=page&url=https%3A%2F%2Fexample.com%2F1").json()["code"], "error:keyword");
  for (const char* url : {"https://third.test/page", "https://go.example.com/page"}) {
    for (const char* action : {"expand", "url-stats"}) {
      const Answer refused = yourls(std::string("&action=") + action + "&shorturl=" + url);
      EXPECT_EQ(refused.status, 403) << url;
      EXPECT_EQ(refused.body.find("example.com/default"), std::string::npos);
      EXPECT_EQ(refused.body.find("example.com/third"), std::string::npos);
    }
  }
  const json stats = yourls("&action=stats&limit=10").json();
  EXPECT_EQ(stats["stats"]["total_links"], "2");
  EXPECT_EQ(stats["links"].size(), 2u);
  EXPECT_EQ(stats.dump().find("third.test"), std::string::npos);
  EXPECT_EQ(yourls("&action=db-stats").json()["db-stats"]["total_links"], "2");
  EXPECT_EQ(request("GET", "/yourls-api.php?format=json&action=db-stats&signature=" + admin_)
                .json()["db-stats"]["total_links"],
            "4");

  for (const char* code : {"one", "page"})
    as(admin_, "DELETE", std::string("/v1/links/") + code + "?domain=other.test");
  EXPECT_EQ(as(admin_, "DELETE", "/v1/domains/1").status, 204);
  for (const char* query :
       {"&action=db-stats", "&action=stats&limit=10", "&action=expand&shorturl=page", "&action=url-stats&shorturl=page",
        "&action=version", "&action=shorturl&url=https%3A%2F%2Fexample.com%2F9"})
    EXPECT_EQ(yourls(query).status, 403) << query;
}

TEST_F(DomainKeysTest, DoesNotGetAnswersThatWereGivenToOthersAndDoesNotLearnOfThem) {
  const std::string body = R"({"url":"https://example.com/secret"})";
  EXPECT_EQ(as(admin_, "POST", "/v1/links", body, {{"Idempotency-Key", "once"}}).json()["domain"], "go.example.com");
  const json own = as(key_, "POST", "/v1/links", body, {{"Idempotency-Key", "once"}}).json();
  EXPECT_EQ(own["domain"], "other.test");
  EXPECT_EQ(as(key_, "POST", "/v1/links", body, {{"Idempotency-Key", "once"}}).json(), own);
  EXPECT_EQ(as(key_, "POST", "/v1/links", R"({"url":"https://example.com/"})", {{"Idempotency-Key", "once"}}).status,
            422);
}

TEST_F(DomainKeysTest, StaysLimitedOverARestartAndWithoutItsDomain) {
  stop();
  start();
  EXPECT_EQ(as(key_, "GET", "/v1/links/page").json()["url"], "https://example.com/other");
  EXPECT_EQ(as(key_, "DELETE", "/v1/links/page").status, 204);
  EXPECT_EQ(as(admin_, "DELETE", "/v1/domains/1").status, 204);
  EXPECT_EQ(as(key_, "GET", "/v1/links/page").status, 403);
  EXPECT_EQ(as(key_, "GET", "/v1/links").status, 403);
  const json keys = as(admin_, "GET", "/v1/keys").json();
  const std::string place = "/v1/keys/" + keys["items"][1]["id"].dump();
  EXPECT_EQ(as(admin_, "PATCH", place, R"({"domain":"third.test"})").json()["field"], "domain");
  EXPECT_EQ(as(admin_, "PATCH", place, R"({"name":"still limited"})").json()["domain"], "other.test");
}

TEST_F(DomainKeysTest, OpensNothingWhenTheHostIsAddedAgain) {
  EXPECT_EQ(as(admin_, "DELETE", "/v1/links/page?domain=other.test").status, 204);
  EXPECT_EQ(as(admin_, "DELETE", "/v1/domains/1").status, 204);
  EXPECT_EQ(as(admin_, "POST", "/v1/domains", R"({"base_url":"https://other.test"})").status, 201);
  for (const char* path : {"/v1/links", "/v1/links?domain=other.test", "/v1/links/page", "/v1/exports"})
    EXPECT_EQ(as(key_, "GET", path).status, 403) << path;
  restart();
  EXPECT_EQ(as(key_, "GET", "/v1/links").status, 403);
  const json wanted = {{"name", "anew"}, {"scope", "read"}, {"domain", "other.test"}};
  const std::string anew = as(admin_, "POST", "/v1/keys", wanted.dump()).json()["key"];
  EXPECT_EQ(as(anew, "GET", "/v1/links").status, 200);
}

TEST_F(DomainKeysTest, TheDefaultDomainCanHaveKeysToo) {
  const json wanted = {{"name", "default only"}, {"scope", "write"}, {"domain", "go.example.com"}};
  const json made = as(admin_, "POST", "/v1/keys", wanted.dump()).json();
  EXPECT_EQ(made["domain"], "go.example.com");
  const std::string key = made["key"];
  EXPECT_EQ(as(key, "GET", "/v1/links/page").json()["url"], "https://example.com/default");
  EXPECT_EQ(as(key, "GET", "/v1/links/page?domain=other.test").status, 403);
  EXPECT_EQ(as(key, "GET", "/v1/links").json()["items"].size(), 1);
}

}  // namespace
}  // namespace trellis::services::links
