#include "cache/edge/purge_rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "base/arena.h"
#include "http/fields.h"

namespace trellis::cache {
namespace {

using Kind = PurgeRule::Kind;

std::string text_of(Kind kind, std::string_view text) {
  const Result<PurgeRule> rule = make_purge_rule(kind, text, false);
  return rule ? rule->text : "refused";
}

TEST(PurgeRule, AUrlHasTheFormThatObjectsAreComparedIn) {
  EXPECT_EQ(text_of(Kind::key, "https://Shop.Example.com/a?b=1"), "shop.example.com/a?b=1");
  EXPECT_EQ(text_of(Kind::key, "http://shop.example.com:8080/a"), "shop.example.com/a");
  EXPECT_EQ(text_of(Kind::key, "shop.example.com/a/../b/%7euser"), "shop.example.com/b/~user");
  EXPECT_EQ(text_of(Kind::key, "https://shop.example.com"), "shop.example.com/");
  EXPECT_EQ(text_of(Kind::key, "https://shop.example.com?q"), "shop.example.com/?q");
  EXPECT_EQ(text_of(Kind::key, "https://[::1]:8443/a"), "[::1]/a");
  EXPECT_EQ(text_of(Kind::key, "https://[::1]/a"), "[::1]/a");
  EXPECT_EQ(text_of(Kind::key, "https://shop.example.com.:8443/a"), "shop.example.com/a");
  std::string object;
  append_purge_url(object, "shop.example.com:8443", "/a", "z=1&a=2");
  EXPECT_EQ(text_of(Kind::key, "https://shop.example.com/a?a=2&z=1"), object);
  EXPECT_EQ(host_of_purge_url(object), "shop.example.com");
}

TEST(PurgeRule, APrefixEndsWhereItWasWrittenToEnd) {
  EXPECT_EQ(text_of(Kind::prefix, "https://example.com/img/*"), "example.com/img/");
  EXPECT_EQ(text_of(Kind::prefix, "example.com/im"), "example.com/im");
  EXPECT_EQ(text_of(Kind::prefix, "example.com"), "example.com/");
  EXPECT_EQ(text_of(Kind::prefix, "example.com/a?"), "example.com/a?");
  EXPECT_EQ(text_of(Kind::prefix, "example.com/a?z=1&b="), "example.com/a?z=1&b=");
}

TEST(PurgeRule, WhatNoRequestCanHaveIsRefused) {
  for (const std::string_view text :
       {"", "https://", "/path", "exa mple.com/", "example.com/a b", "example.com/%zz", "example.com/../..",
        "user@example.com/", "[::1/", "::1:80/", "[]]/", "[1:2]/", "example.com:8:43/", "example.com:99999/",
        "example.com../", "a..example.com/", ".example.com/", "./"}) {
    EXPECT_EQ(text_of(Kind::key, text), "refused") << text;
    EXPECT_EQ(text_of(Kind::prefix, text), "refused") << text;
  }
  EXPECT_EQ(text_of(Kind::key, "example.com/" + std::string(9000, 'a')), "refused");
  EXPECT_EQ(text_of(Kind::tag, ""), "refused");
  EXPECT_EQ(text_of(Kind::tag, "a,b"), "refused");
  EXPECT_EQ(text_of(Kind::tag, std::string(1025, 'a')), "refused");
  EXPECT_EQ(text_of(Kind::host, "example.com/"), "refused");
  EXPECT_EQ(text_of(Kind::all, "everything"), "refused");
  EXPECT_EQ(text_of(Kind::tag, "product-1"), "product-1");
  EXPECT_EQ(text_of(Kind::host, "WWW.example.com:443"), "www.example.com");
  EXPECT_EQ(text_of(Kind::all, ""), "");
}

TEST(PurgeRule, EveryKindHasAWord) {
  for (const Kind kind : {Kind::key, Kind::prefix, Kind::host, Kind::tag, Kind::all}) {
    EXPECT_EQ(purge_kind_from(to_string(kind)), kind);
  }
  EXPECT_EQ(purge_kind_from("url"), std::nullopt);
}

TEST(PurgeRule, TagsComeFromBothFieldsEachOnce) {
  Arena arena;
  http::Fields fields(arena);
  fields.add("Surrogate-Key", "a  b\tc");
  fields.add("cache-tag", "c, d e ,,f");
  fields.add("X-Other", "g");
  const std::vector<uint64_t> tags = tag_hashes(fields);
  EXPECT_THAT(
      tags, testing::UnorderedElementsAre(tag_hash("a"), tag_hash("b"), tag_hash("c"), tag_hash("d e"), tag_hash("f")));
  EXPECT_TRUE(std::is_sorted(tags.begin(), tags.end()));
}

TEST(PurgeRule, TagsBeyondTheLimitsArePassedOver) {
  Arena arena;
  http::Fields fields(arena);
  std::string many;
  for (int i = 0; i < 2000; ++i) many += "t" + std::to_string(i) + " ";
  const std::string value = std::string(kMaxTag + 1, 'x') + " " + many;
  fields.add("Surrogate-Key", value);
  const std::vector<uint64_t> tags = tag_hashes(fields);
  EXPECT_EQ(tags.size(), kMaxTags);
  EXPECT_TRUE(std::binary_search(tags.begin(), tags.end(), tag_hash("t1023")));
  EXPECT_FALSE(std::binary_search(tags.begin(), tags.end(), tag_hash("t1024")));
}

TEST(PurgeRule, FieldsForCachesAreKnownInAnyCase) {
  Arena arena;
  http::Fields fields(arena);
  for (const std::string_view name : {"surrogate-key", "CACHE-TAG", "Surrogate-Control"}) {
    fields.add(name, "x");
  }
  for (const http::Field& field : fields) EXPECT_TRUE(is_cache_only_field(field));
  for (const std::string_view name : {"Cache-Control", "CDN-Cache-Control"}) {
    fields.clear();
    fields.add(name, "x");
    EXPECT_FALSE(is_cache_only_field(*fields.begin())) << name;
  }
}

}  // namespace
}  // namespace trellis::cache
