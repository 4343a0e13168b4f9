// What words, values and expressions of nginx say, before anything is made of them.
#include <gtest/gtest.h>

#include <map>

#include "app/import/nginx/path.h"
#include "app/import/nginx/settings.h"
#include "app/import/nginx/syntax.h"
#include "tests/unit/app/import_kit.h"

namespace trellis::app {
namespace {

using test::in_memory;

std::vector<std::string> words_of(const std::string& text) {
  const Result<NginxTree> tree = parse_nginx_text(text, "x.conf", in_memory({}));
  if (!tree) return {tree.error().to_string()};
  std::vector<std::string> out;
  for (const NginxDirective& one : tree->top.block) {
    out.push_back(one.name);
    out.insert(out.end(), one.words.begin(), one.words.end());
  }
  return out;
}
using Words = std::vector<std::string>;

TEST(NginxSyntax, CutsWordsAsNginxDoes) {
  EXPECT_EQ(words_of("a b  c;\nd;"), (Words{"a", "b", "c", "d"}));
  EXPECT_EQ(words_of("a \"b c\" 'd;{}#' # e;\n;"), (Words{"a", "b c", "d;{}#"}));
  EXPECT_EQ(words_of("a \"b\\\"c\\n\\d\" e\\;f g\\ h;"), (Words{"a", "b\"c\n\\d", "e\\;f", "g\\ h"}));
  EXPECT_EQ(words_of("a ${b}c b#c x\"y;"), (Words{"a", "${b}c", "b#c", "x\"y"}));
  EXPECT_EQ(words_of("if ($a = \"b\"){}"), (Words{"if", "($a", "=", "b", ")"}));
}

TEST(NginxSyntax, KeepsPlacesOverIncludes) {
  const auto files = in_memory({{"/etc/n/main", "a;\nhttp {\n include d/*.conf;\n include none;\n}\n"},
                                {"/etc/n/d/1.conf", "\n\nb;"},
                                {"/etc/n/d/2.conf", "server { include other; }"},
                                {"/etc/n/other", "c;"}});
  const Result<NginxTree> tree = parse_nginx("/etc/n/main", files);
  ASSERT_TRUE(tree) << tree.error().to_string();
  const NginxDirective& http = tree->top.block.at(1);
  EXPECT_EQ(http.block.at(0).at.to_string(), "/etc/n/d/1.conf:3");
  EXPECT_EQ(http.block.at(1).block.at(0).at.to_string(), "/etc/n/other:1");
  ASSERT_EQ(tree->missing.size(), 1u);
  EXPECT_EQ(tree->missing[0].second, "none");
}

TEST(NginxSyntax, RefusesWhatNginxRefuses) {
  for (const char* bad : {"a", "a {", "}", "a } b;", ";", "{ }", "a \"b\"c;", "a \"b;", "a 'b", "a { b }", "a \\",
                          "include;", "include a b;", "x_by_lua_block { { }"})
    EXPECT_FALSE(parse_nginx_text(bad, "x.conf", in_memory({}))) << bad;
  EXPECT_FALSE(parse_nginx_text(std::string("a \0;", 4), "x.conf", in_memory({})));
}

TEST(NginxSyntax, HasLimits) {
  const ImportFiles files = in_memory({{"loop", "include loop;"}});
  EXPECT_FALSE(parse_nginx("loop", files));
  std::string deep;
  for (int i = 0; i < 33; ++i) deep += "a {";
  EXPECT_FALSE(parse_nginx_text(deep + std::string(33, '}'), "x", files));
  EXPECT_FALSE(parse_nginx_text("a " + std::string(4097, 'b') + ";", "x", files));
  EXPECT_TRUE(parse_nginx_text("a " + std::string(4096, 'b') + ";", "x", files));
  std::string many;
  for (int i = 0; i < 100'001; ++i) many += "a;";
  EXPECT_FALSE(parse_nginx_text(many, "x", files));
}

TEST(NginxSyntax, SkipsCodeOfOtherLanguages) {
  EXPECT_EQ(words_of("x_by_lua_block { if a then b = { \"}\" } end } c;"), (Words{"x_by_lua_block", "c"}));
}

TEST(NginxSettings, ReadsTimesAndSizes) {
  EXPECT_EQ(nginx_milliseconds("1h30m"), 5'400'000u);
  EXPECT_EQ(nginx_milliseconds("60"), 60'000u);
  EXPECT_EQ(nginx_milliseconds("250ms"), 250u);
  EXPECT_EQ(nginx_milliseconds("1d"), 86'400'000u);
  for (const char* bad : {"", "s", "1x", "-1", "1 m", "99999999999"}) EXPECT_FALSE(nginx_milliseconds(bad)) << bad;
  EXPECT_EQ(nginx_size("8k"), 8192u);
  EXPECT_EQ(nginx_size("0"), 0u);
  EXPECT_EQ(nginx_size("2G"), 2ULL << 30);
  for (const char* bad : {"", "k", "1t", "-1"}) EXPECT_FALSE(nginx_size(bad)) << bad;
}

// --- paths ---

TEST(NginxPath, SaysWhatAnExpressionSaysOrNothing) {
  const auto paths = [](const char* regex) {
    const auto found = paths_of_regex(regex);
    return found ? found->patterns : Words{"-"};
  };
  EXPECT_EQ(paths("^/api/"), Words{"/api/**"});
  EXPECT_EQ(paths("^/a$"), Words{"/a"});
  EXPECT_EQ(paths("^/a/?$"), (Words{"/a", "/a/"}));
  EXPECT_EQ(paths("^/(a|b)/c$"), (Words{"/a/c", "/b/c"}));
  EXPECT_EQ(paths("^/v[12]/"), (Words{"/v1/**", "/v2/**"}));
  EXPECT_EQ(paths("^/u/[^/]+/x$"), Words{"/u/*/x"});
  EXPECT_EQ(paths("^/u/([^/]+)$"), Words{"/u/*"});
  EXPECT_EQ(paths("^/a(/|$)"), Words{"/a/**"});
  EXPECT_EQ(paths("^/a/(.*)$"), Words{"/a/**"});
  EXPECT_EQ(paths("^/favicon\\.ico$"), Words{"/favicon.ico"});
  EXPECT_TRUE(paths_of_regex("^/api")->wider);
  EXPECT_FALSE(paths_of_regex("^/api/")->wider);
  EXPECT_EQ(paths_of_regex("^/(a|b/c)/")->too_much, (Words{"/a", "/b/c"}));
  EXPECT_EQ(paths_of_regex("^/u/[^/]+/")->too_much, Words{"/u/*"});
  for (const char* all : {"^/api", "^/", "^/a(/|$)", "^/a$", "^/a(/|)"})
    EXPECT_EQ(paths_of_regex(all)->too_much, Words{}) << all;
  for (const char* more : {"\\.php$", "^/u/\\d+$", "^/a.b$", "^/a*", "/a", "^/[a-z]/", "^/[^/]+", "^(?!/x)", "^/a|^/b",
                           "^/(a", "^/x[", "^/(a|b|c|d)(a|b|c|d)(a|b|c|d)$", "", "^", "^/u/[^/]+x$"})
    EXPECT_EQ(paths(more), Words{"-"}) << more;
}

TEST(NginxPath, KnowsRewritesOfPrefixes) {
  const auto change = [](const char* regex, const char* to) {
    const auto found = prefix_change(regex, to);
    return found ? found->strip + " " + found->add : std::string("-");
  };
  EXPECT_EQ(change("^/api/(.*)$", "/$1"), "/api ");
  EXPECT_EQ(change("^/api(/.*)$", "$1"), "/api ");
  EXPECT_EQ(change("^/api/?(.*)$", "/$1"), "/api ");
  EXPECT_EQ(change("^/a/(.*)", "/b/c/$1"), "/a /b/c");
  EXPECT_EQ(change("^/(.*)$", "/b/$1"), " /b");
  EXPECT_EQ(change("^(.*)$", "/b$1"), " /b");
  for (const auto& [regex, to] : {std::pair{"^/a/(.*)$", "/b$1"},
                                  {"^/a/(.*)$", "/b/$1?x=1"},
                                  {"/a/(.*)", "/$1"},
                                  {"^/a/(\\d+)$", "/$1"},
                                  {"^/(a|b)/(.*)$", "/$1"},
                                  {"^/a/(.*)$", "/x"}})
    EXPECT_EQ(change(regex, to), "-") << regex << ' ' << to;
}

}  // namespace
}  // namespace trellis::app
