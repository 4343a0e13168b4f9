#include "services/links/preview.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/services/service_fixture.h"

namespace trellis::services::links {
namespace {

bool has(const std::string& text, std::string_view piece) { return text.find(piece) != std::string::npos; }

TEST(Preview, EscapesWhatCameFromOutside) {
  std::string out;
  append_html(out, "<b a='1' c=\"2\">&\n\x7f");
  EXPECT_EQ(out, "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;\xef\xbf\xbd\xef\xbf\xbd");
  const std::string page = preview_page({.code = "a",
                                         .short_url = "https://go.example.com/a",
                                         .url = "https://example.com/\"><script>alert(1)</script>",
                                         .title = "</dd><script>alert(2)</script>"});
  EXPECT_FALSE(has(page, "<script"));
  EXPECT_TRUE(has(page, "&lt;/dd&gt;&lt;script&gt;alert(2)&lt;/script&gt;"));
}

TEST(Preview, ShowsTheHostBeforeTheRest) {
  const std::string page = preview_page({.code = "a", .short_url = "s", .url = "http://example.com:81?x#y"});
  EXPECT_TRUE(has(page, "<h1>example.com:81</h1>"));
  EXPECT_TRUE(has(page, "http://<b>example.com:81</b>?x#y"));
  EXPECT_TRUE(has(page, "not encrypted"));
  EXPECT_FALSE(has(preview_page({.code = "a", .short_url = "s", .url = "https://example.com/"}), "not encrypted"));
}

TEST(Preview, SaysNothingOfWhatAPasswordProtects) {
  const Preview secret = {.code = "a", .short_url = "https://go.example.com/a"};
  EXPECT_TRUE(has(preview_page(secret), "protected by a password"));
  const auto json = nlohmann::json::parse(preview_json(secret));
  EXPECT_TRUE(json["protected"].get<bool>());
  EXPECT_TRUE(json["url"].is_null());
  EXPECT_TRUE(json["created_at"].is_null());
  EXPECT_TRUE(json["expires_at"].is_null());
}

TEST(Preview, JsonIsForThoseWhoPreferIt) {
  EXPECT_EQ(wish_of("application/json"), Wish::json);
  EXPECT_EQ(wish_of("text/html;q=0.5, application/json"), Wish::json);
  EXPECT_EQ(wish_of("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Wish::page);
  EXPECT_EQ(wish_of("text/html, application/json;q=0.9"), Wish::page);
  EXPECT_EQ(wish_of("*/*"), Wish::either);
  EXPECT_EQ(wish_of(""), Wish::either);
  EXPECT_EQ(wish_of("application/json;q=0"), Wish::either);
}

class PreviewService : public ServiceTest {};

TEST_F(PreviewService, ShowsWhereALinkLeadsAndCountsNothing) {
  start();
  const Answer made =
      request("POST", "/v1/links", R"({"url":"https://example.com/ä","alias":"once","title":"A <b>","max_visits":1})");
  ASSERT_EQ(made.status, 201) << made.body;
  const Answer page = request("GET", "/once+", {}, {{"Accept", "text/html"}});
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.field("Content-Type"), "text/html; charset=utf-8");
  EXPECT_EQ(page.field("Cache-Control"), "no-store");
  EXPECT_EQ(page.field("X-Robots-Tag"), "noindex, nofollow");
  EXPECT_TRUE(page.field("Content-Security-Policy").starts_with("default-src 'none'; style-src 'sha256-"));
  EXPECT_TRUE(has(page.body, "A &lt;b&gt;"));
  EXPECT_TRUE(has(page.body, "https://<b>example.com</b>/%C3%A4"));
  const Answer json = request("GET", "/once+", {}, {{"Accept", "application/json"}});
  EXPECT_EQ(json.json()["url"], "https://example.com/%C3%A4");
  EXPECT_EQ(json.json()["title"], "A <b>");
  EXPECT_FALSE(json.json()["varies"].get<bool>());
  EXPECT_EQ(json.json()["short_url"], "https://go.example.com/once");
  // The one visit is still there, and then it is not.
  EXPECT_EQ(request("GET", "/once").status, 302);
  EXPECT_EQ(request("GET", "/once+").status, 410);
}

TEST_F(PreviewService, SaysWhyThereIsNone) {
  start();
  EXPECT_EQ(request("GET", "/nobody+").status, 404);
  EXPECT_EQ(request("GET", "/nobody+", {}, {{"Accept", "application/json"}}).json()["code"], "not_found");
  const Answer made = request("POST", "/v1/links",
                              R"({"url":"https://example.com/","alias":"later","not_before":"2250-01-01T00:00:00Z"})");
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(request("GET", "/later+").status, 404);
  ASSERT_EQ(request("DELETE", "/v1/links/later").status, 204);
  const Answer gone = request("GET", "/later+");
  EXPECT_EQ(gone.status, 410);
  EXPECT_TRUE(has(gone.body, "This link is gone"));
  EXPECT_EQ(request("POST", "/later+").status, 405);
}

}  // namespace
}  // namespace trellis::services::links
