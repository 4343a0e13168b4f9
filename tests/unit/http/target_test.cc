#include "http/target.h"

#include <gtest/gtest.h>

#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "http/h1_parser.h"

namespace trellis::http {
namespace {

TEST(Target, IsNormalised) {
  struct Case {
    const char* raw;
    const char* path;
    const char* query;
  };
  for (const Case& c : std::vector<Case>{
           {"/", "/", ""},
           {"/a", "/a", ""},
           {"/a/", "/a/", ""},
           {"/a?", "/a", ""},
           {"/a?b", "/a", "b"},
           {"/a?b?c", "/a", "b?c"},
           {"/?/../x", "/", "/../x"},
           {"/a?%zz%", "/a", "%zz%"},
           {"/a?x=[1]&y={z}|^`\\\"'", "/a", "x=[1]&y={z}|^`\\\"'"},
           {"/a/./b", "/a/b", ""},
           {"/./a", "/a", ""},
           {"/a/.", "/a/", ""},
           {"/a/..", "/", ""},
           {"/a/../", "/", ""},
           {"/a/b/../c", "/a/c", ""},
           {"/a/b/../../c", "/c", ""},
           {"/a/b/..", "/a/", ""},
           {"/./././", "/", ""},
           {"/a//b", "/a//b", ""},
           {"//", "//", ""},
           {"//a///..", "//a//", ""},
           {"/.well-known/x", "/.well-known/x", ""},
           {"/..a", "/..a", ""},
           {"/...", "/...", ""},
           {"/a./b..", "/a./b..", ""},
           {"/.;a", nullptr, ""},
           {"/%41%7e%2D", "/A~-", ""},
           {"/%2e/a", "/a", ""},
           {"/a/%2E%2e/b", "/b", ""},
           {"/a/.%2e/b", "/b", ""},
           {"/%2f%3a", "/%2F%3A", ""},
           {"/%2F%3A", "/%2F%3A", ""},
           {"/%c3%a4", "/%C3%A4", ""},
           {"/%e2%82%ac", "/%E2%82%AC", ""},
           {"/%e9", "/%E9", ""},
           {"/a%20b", "/a%20b", ""},
           {"/%252e%252e/", "/%252e%252e/", ""},
           {"/a|b[c]^d", "/a|b[c]^d", ""},
           {"/a;b=c/d,e", "/a;b=c/d,e", ""},
           {"/a%2f..b", "/a%2F..b", ""},
       }) {
    Arena arena;
    std::string_view path;
    std::string_view query;
    const H1Error error = normalise_target(c.raw, arena, path, query);
    if (c.path == nullptr) {
      EXPECT_EQ(error, H1Error::bad_target) << c.raw;
      continue;
    }
    ASSERT_EQ(error, H1Error::none) << c.raw;
    EXPECT_EQ(path, c.path) << c.raw;
    EXPECT_EQ(query, c.query) << c.raw;
  }
}

TEST(Target, StaysWhereItIsWhenNormal) {
  Arena arena;
  for (const std::string_view raw :
       {"/a/b.html?c", "/.well-known/x", "/", "/a|b[c]", "/~user/x.tar.gz", "/a,b;c=d/e@f:g!$&'()*+"}) {
    std::string_view path;
    std::string_view query;
    ASSERT_EQ(normalise_target(raw, arena, path, query), H1Error::none) << raw;
    EXPECT_EQ(path.data(), raw.data());
  }
  EXPECT_EQ(arena.total(), 0U);
}

TEST(Target, IsRefusedWhenItIsUnsafe) {
  for (const std::string_view raw : {"",
                                     "a",
                                     "*",
                                     "?",
                                     "/..",
                                     "/../a",
                                     "/a/../..",
                                     "/a/../../b",
                                     "/%2e%2e",
                                     "/%2e%2e/a",
                                     "/a/%2e%2e/%2e%2e/b",
                                     "/./..",
                                     "/..//a",
                                     "/a/..;/b",
                                     "/a/..;x=y",
                                     "/..;",
                                     "/a/.;/b",
                                     "/a/%2e%2e;/b",
                                     "/a/..%2fb",
                                     "/a/..%2Fb",
                                     "/a%2f../b",
                                     "/a%2f..",
                                     "/a%2f.%2fb",
                                     "/..%2f",
                                     "/%2e%2e%2fa",
                                     "/a%2f..;b",
                                     "/a%2f%2e%2e",
                                     "/a\\b",
                                     "/a%5cb",
                                     "/..%5c",
                                     "/a%5Cb",
                                     "/%00",
                                     "/a%00b",
                                     "/%0a",
                                     "/%0D%0A",
                                     "/%09",
                                     "/%1f",
                                     "/%7f",
                                     "/%",
                                     "/%4",
                                     "/a%",
                                     "/%zz",
                                     "/%4g",
                                     "/%-1",
                                     "/% 41",
                                     "/%c0%ae",
                                     "/%c0%af",
                                     "/%c1%9c",
                                     "/%e0%80%af",
                                     "/%e0%9f%bf",
                                     "/%f0%80%80%af",
                                     "/%f0%8f%bf%bf",
                                     "/a b",
                                     "/a#b",
                                     "/a?b#c",
                                     "/a\"b",
                                     "/<a>",
                                     "/`",
                                     "/{a}",
                                     "/a?<b>",
                                     "/a?b c",
                                     "/\xc3\xa4",
                                     "/a?\xc3\xa4",
                                     "/a\x7f",
                                     "/a\t",
                                     "/a\r\n",
                                     "/a?\x01"}) {
    Arena arena;
    std::string_view path;
    std::string_view query;
    EXPECT_EQ(normalise_target(raw, arena, path, query), H1Error::bad_target) << raw << " became " << path;
  }
}

TEST(Target, TakesLatin1EscapesThatAreNoOverlongUtf8) {
  Arena arena;
  std::string_view path;
  std::string_view query;
  EXPECT_EQ(normalise_target("/%c0%41", arena, path, query), H1Error::none);
  EXPECT_EQ(path, "/%C0A");
  EXPECT_EQ(normalise_target("/%C0", arena, path, query), H1Error::none);
}

TEST(Target, HasSingleSlashesWhereTheyAreMerged) {
  Arena arena;
  for (const auto& [path, merged] : {std::pair<std::string_view, std::string_view>{"/", "/"},
                                     {"/a/b", "/a/b"},
                                     {"//", "/"},
                                     {"///a//b//", "/a/b/"},
                                     {"/a%2Fb", "/a/b"},
                                     {"/%2F", "/"},
                                     {"/%2F%2Fa%2F/%2Fb%2F", "/a/b/"},
                                     {"/a%252Fb", "/a%252Fb"},
                                     {"/a%5B%2", "/a%5B%2"},
                                     {"*", "*"}})
    EXPECT_EQ(merge_slashes(path, arena), merged) << path;
}

TEST(Target, StaysNormalWhenItsSlashesAreMerged) {
  static constexpr std::string_view kPieces[] = {"/", "%2F", "%2f", ".",   "..", "%2e",
                                                 ";", "a",   "%41", "%25", "2F", "//"};
  Rng rng(5);
  for (int i = 0; i < 20'000; ++i) {
    Arena arena;
    std::string raw = "/";
    for (uint64_t left = rng.below(8); left > 0; --left) raw += kPieces[rng.below(std::size(kPieces))];
    std::string_view path;
    std::string_view query;
    if (normalise_target(raw, arena, path, query) != H1Error::none) continue;
    const std::string_view merged = merge_slashes(path, arena);
    std::string_view again;
    ASSERT_EQ(normalise_target(merged, arena, again, query), H1Error::none) << raw << " became " << merged;
    ASSERT_EQ(again, merged) << raw;
    ASSERT_EQ(merge_slashes(merged, arena), merged) << raw;
    ASSERT_EQ(merged.find("//"), std::string_view::npos) << raw;
  }
}

TEST(Component, IsDecodedAndEncoded) {
  Arena arena;
  EXPECT_EQ(decode_component("a%20b+c", arena), "a b+c");
  EXPECT_EQ(decode_component("a%20b+c", arena, true), "a b c");
  EXPECT_EQ(decode_component("", arena), "");
  EXPECT_EQ(decode_component("%C3%a4", arena), "\xc3\xa4");
  EXPECT_EQ(decode_component("%", arena), std::nullopt);
  EXPECT_EQ(decode_component("a%4", arena), std::nullopt);
  EXPECT_EQ(decode_component("%g0", arena), std::nullopt);
  EXPECT_EQ(encode_component("a b/\xc3\xa4?~", arena), "a%20b%2F%C3%A4%3F~");
  EXPECT_EQ(encode_component("", arena), "");
  std::string every;
  for (int c = 0; c < 256; ++c) every += static_cast<char>(c);
  EXPECT_EQ(decode_component(encode_component(every, arena), arena), every);
}

TEST(Query, IsReadParameterByParameter) {
  std::string_view query = "a=1&&b&=c&d=e=f&";
  std::vector<std::pair<std::string, std::string>> seen;
  while (const auto parameter = next_parameter(query)) seen.emplace_back(parameter->key, parameter->value);
  const std::vector<std::pair<std::string, std::string>> expected = {{"a", "1"}, {"b", ""}, {"", "c"}, {"d", "e=f"}};
  EXPECT_EQ(seen, expected);

  Arena arena;
  EXPECT_EQ(query_value("x=1&q=a+b%21&q=2", "q", arena), "a b!");
  EXPECT_EQ(query_value("%71=3", "q", arena), "3");
  EXPECT_EQ(query_value("q", "q", arena), "");
  EXPECT_EQ(query_value("qq=1", "q", arena), std::nullopt);
  EXPECT_EQ(query_value("q=%zz", "q", arena), std::nullopt);
  EXPECT_EQ(query_value("", "q", arena), std::nullopt);
}

}  // namespace
}  // namespace trellis::http
