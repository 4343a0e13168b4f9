#include "services/links/link_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "services/links/domains/domains.h"

namespace trellis::services::links {
namespace {

constexpr int64_t kNow = 1'800'000'000'000;

UrlHost own() { return {.host = "go.example.com", .port = 443, .default_port = true}; }

std::string field_of(const std::string& body) {
  const auto link = read_new_link(body, own(), kNow);
  return link ? "accepted" : link.error().field;
}

TEST(NewLink, ReadsEveryMember) {
  const auto link = read_new_link(
      R"({"url":"https://example.com/\u00e4 b","alias":"mine","title":"T","status":308,"not_before":"2039-01-01T00:00:00Z",
          "expires_at":"2040-01-01T01:00:00+01:00","max_visits":3,"forward_query":true,"tags":["a","b c"]})",
      own(), kNow);
  ASSERT_TRUE(link) << link.error().detail;
  EXPECT_EQ(link->set.url, "https://example.com/\xc3\xa4 b");
  EXPECT_EQ(link->alias, "mine");
  EXPECT_EQ(link->set.title, "T");
  EXPECT_EQ(link->set.status, 308);
  EXPECT_EQ(link->set.expires_at, std::optional<int64_t>(2'208'988'800'000));
  EXPECT_EQ(link->set.not_before, std::optional<int64_t>(2'177'452'800'000));
  EXPECT_EQ(link->set.max_visits, std::optional<int64_t>(3));
  EXPECT_EQ(link->set.forward_query, true);
  EXPECT_EQ(link->set.tags, (std::vector<std::string>{"a", "b c"}));
  const auto least =
      read_new_link(R"({"url":"https://example.com","alias":null,"title":null,"expires_at":null})", own(), kNow);
  ASSERT_TRUE(least);
  EXPECT_EQ(least->set.status, std::nullopt);
  Link plain;
  least->set.apply_to(plain);
  EXPECT_EQ(plain.expires_at, std::nullopt);
}

TEST(NewLink, NamesTheMemberThatIsWrong) {
  EXPECT_EQ(field_of("{}"), "url");
  EXPECT_EQ(field_of(R"({"url":1})"), "url");
  EXPECT_EQ(field_of(R"({"url":"ftp://x"})"), "url");
  EXPECT_EQ(field_of(R"({"url":"https://go.example.com/x"})"), "url");
  EXPECT_EQ(field_of(R"({"url":"https://a.example","alias":"a b"})"), "alias");
  EXPECT_EQ(field_of(R"({"url":"https://a.example","alias":""})"), "alias");
  EXPECT_EQ(field_of(R"({"url":"https://a.example","alias":"V1"})"), "alias");
  EXPECT_EQ(field_of(R"({"url":"https://a.example","title":7})"), "title");
  EXPECT_EQ(field_of(R"({"url":"https://a.example","title":"a\nb"})"), "title");
  EXPECT_EQ(field_of(R"({"url":"https://a.example","title":")" + std::string(513, 'x') + "\"}"), "title");
  EXPECT_EQ(field_of(R"({"url":"https://a.example","status":303})"), "status");
  EXPECT_EQ(field_of(R"({"url":"https://a.example","status":"302"})"), "status");
  EXPECT_EQ(field_of(R"({"url":"https://a.example","status":302.0})"), "status");
  EXPECT_EQ(field_of(R"({"url":"https://a.example","expires_at":"soon"})"), "expires_at");
  EXPECT_EQ(field_of(R"({"url":"https://a.example","expires_at":"2020-01-01T00:00:00Z"})"), "expires_at");
  EXPECT_EQ(field_of(R"({"url":"https://a.example","expires_at":2040})"), "expires_at");
  EXPECT_EQ(field_of(R"({"url":"https://a.example","not_before":"soon"})"), "not_before");
  EXPECT_EQ(
      field_of(
          R"({"url":"https://a.example","not_before":"2040-01-01T00:00:00Z","expires_at":"2039-01-01T00:00:00Z"})"),
      "not_before");
  for (const char* visits : {"0", "-1", "1.5", "\"3\"", "1000000001", "18446744073709551616"})
    EXPECT_EQ(field_of(std::string(R"({"url":"https://a.example","max_visits":)") + visits + "}"), "max_visits");
  EXPECT_EQ(field_of(R"({"url":"https://a.example","forward_query":1})"), "forward_query");
  for (const char* tags : {"\"a\"", "[1]", "[\"\"]", "[\" a\"]", "[\"a,b\"]", "[\"a\",\"a\"]", "[\"a\\nb\"]"})
    EXPECT_EQ(field_of(std::string(R"({"url":"https://a.example","tags":)") + tags + "}"), "tags");
  EXPECT_EQ(field_of(R"({"url":"https://a.example","url":"https://b.example"})"), "url");
  EXPECT_EQ(field_of(R"({"url":"https://a.example","titel":"x"})"), "titel");
}

TEST(NewLink, SuggestsTheMemberThatWasMeant) {
  const auto link = read_new_link(R"({"url":"https://a.example","titel":"x"})", own(), kNow);
  ASSERT_FALSE(link);
  EXPECT_EQ(link.error().code, "unknown_member");
  EXPECT_NE(link.error().detail.find("\"title\""), std::string::npos) << link.error().detail;
}

TEST(NewLink, RefusesWhatIsNoJsonObject) {
  for (const std::string& body :
       {std::string(), std::string("x"), std::string("[]"), std::string("\"url\""), std::string("{\"url\":"),
        std::string("{\"url\":\"https://a.example/\xff\"}"), std::string(60'000, '['),
        R"({"url":)" + std::string(30'000, '[') + std::string(30'000, ']') + "}"}) {
    const auto link = read_new_link(body, own(), kNow);
    EXPECT_FALSE(link) << body.substr(0, 40);
  }
}

TEST(NewLink, RefusesAMemberThatIsThereTwiceAtAnyDepth) {
  const auto twice = [](const std::string& body) {
    const auto link = read_new_link(body, own(), kNow);
    return link ? "accepted" : link.error().field + ": " + link.error().detail;
  };
  EXPECT_EQ(twice(R"({"url":"https://a.example","url":"https://b.example"})"), "url: The member is there twice.");
  EXPECT_EQ(twice(R"({"url":"https://a.example","rules":[{"url":"https://a.example","url":"https://b.example"}]})"),
            "rules: The member \"url\" is there twice.");
  EXPECT_EQ(twice(R"({"url":"https://a.example","rules":[{"url":"https://b.example"},{"url":"https://c.example"}]})"),
            "accepted");
}

TEST(LinkPatch, TellsAbsentFromNull) {
  const auto none = read_link_patch("{}", own(), kNow);
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->empty());
  const auto never = read_link_patch(R"({"expires_at":null,"title":"new"})", own(), kNow);
  ASSERT_TRUE(never);
  ASSERT_TRUE(never->expires_at.has_value());
  EXPECT_EQ(*never->expires_at, std::nullopt);
  EXPECT_EQ(never->title, "new");
  Link link;
  link.expires_at = 5;
  link.max_visits = 7;
  never->apply_to(link);
  EXPECT_EQ(link.expires_at, std::nullopt);
  EXPECT_EQ(link.max_visits, 7) << "not said, so it stays";
  const auto alias = read_link_patch(R"({"alias":"x"})", own(), kNow);
  ASSERT_FALSE(alias);
  EXPECT_EQ(alias.error().field, "alias");
}

TEST(LinkJson, WritesWhatIsPromised) {
  Link link;
  link.id = 7;
  link.code = "abc";
  link.url = "https://example.com/\"q\"\\";
  link.created_at = 1'700'000'000'123;
  link.updated_at = 1'700'000'001'000;
  link.version = 3;
  link.clicks = 12;
  link.max_visits = 5;
  link.visits = 2;
  link.tags = {"one", "two"};
  std::string out;
  append_link(out, link, DomainTable("https://go.example.com"));
  const auto json = nlohmann::json::parse(out);
  EXPECT_EQ(json["id"], 7);
  EXPECT_EQ(json["short_url"], "https://go.example.com/abc");
  EXPECT_EQ(json["url"], link.url);
  EXPECT_EQ(json["created_at"], "2023-11-14T22:13:20.123Z");
  EXPECT_TRUE(json["expires_at"].is_null());
  EXPECT_EQ(json["clicks"], 12);
  EXPECT_EQ(json["etag"], "\"7-3\"");
  EXPECT_TRUE(json["not_before"].is_null());
  EXPECT_EQ(json["max_visits"], 5);
  EXPECT_EQ(json["visits_left"], 3);
  EXPECT_EQ(json["forward_query"], false);
  EXPECT_EQ(json["tags"], nlohmann::json::array({"one", "two"}));
  EXPECT_EQ(json["domain"], "go.example.com");
  EXPECT_EQ(json["has_password"], false);
  EXPECT_EQ(json.size(), 19u);
}

TEST(Time, ReadsRfc3339AndNothingElse) {
  EXPECT_EQ(parse_time("1970-01-01T00:00:00Z"), 0);
  EXPECT_EQ(parse_time("2023-11-14T22:13:20.123Z"), 1'700'000'000'123);
  EXPECT_EQ(parse_time("2023-11-14t22:13:20.1z"), 1'700'000'000'100);
  EXPECT_EQ(parse_time("2023-11-14T23:43:20.123456+01:30"), 1'700'000'000'123);
  EXPECT_EQ(parse_time("2024-02-29T00:00:00-00:00"), 1'709'164'800'000);
  for (const char* text :
       {"", "2023", "2023-11-14", "2023-11-14T22:13:20", "2023-11-14 22:13:20Z", "2023-13-14T22:13:20Z",
        "2023-02-29T00:00:00Z", "2023-11-14T24:00:00Z", "2023-11-14T22:60:00Z", "2023-11-14T22:13:20.Z",
        "2023-11-14T22:13:20+1:30", "2023-11-14T22:13:20+01:30x", "2023-11-14T22:13:20.1234567890Z",
        "9999-12-31T23:59:59Z", "1969-12-31T23:59:59Z"}) {
    EXPECT_EQ(parse_time(text), std::nullopt) << text;
  }
  EXPECT_EQ(parse_time(format_time(1'700'000'000'123)), 1'700'000'000'123);
}

TEST(Cursor, GoesThereAndBackAndRefusesOthers) {
  for (const int64_t id : {int64_t{0}, int64_t{1}, int64_t{123'456'789}, static_cast<int64_t>(kCodeCount)})
    EXPECT_EQ(id_of_cursor(cursor_of(id)), id);
  EXPECT_EQ(id_of_cursor(""), std::nullopt);
  EXPECT_EQ(id_of_cursor("0000000000000001"), std::nullopt);
  EXPECT_EQ(id_of_cursor("zz"), std::nullopt);
}

}  // namespace
}  // namespace trellis::services::links
