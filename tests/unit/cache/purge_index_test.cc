#include "cache/edge/purge_index.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/rng.h"

namespace trellis::cache {
namespace {

using Kind = PurgeRule::Kind;

PurgeRule rule(Kind kind, std::string text, bool soft = false) {
  return {.kind = kind, .text = std::move(text), .soft = soft};
}
PurgeState check(const PurgeIndex& index, std::string_view url, uint64_t since, std::vector<uint64_t> tags = {}) {
  return index.check({.url = url, .tags = tags, .filled = since}, since);
}

TEST(PurgeIndex, ARuleMeetsWhatItNamesAndIsNewerThan) {
  PurgeIndex index;
  index.add(rule(Kind::key, "a.com/x?q"), 10);
  index.add(rule(Kind::host, "b.com"), 11);
  index.add(rule(Kind::tag, "red"), 12);
  index.add(rule(Kind::prefix, "c.com/img/"), 13);
  EXPECT_EQ(check(index, "a.com/x?q", 9), PurgeState::dead);
  EXPECT_EQ(check(index, "a.com/x?q", 10), PurgeState::alive);
  EXPECT_EQ(check(index, "a.com/x", 9), PurgeState::alive);
  EXPECT_EQ(check(index, "b.com/anything", 10), PurgeState::dead);
  EXPECT_EQ(check(index, "b.com.evil/", 10), PurgeState::alive);
  EXPECT_EQ(check(index, "z.com/", 11, {1, tag_hash("red")}), PurgeState::dead);
  EXPECT_EQ(check(index, "z.com/", 11, {tag_hash("Red")}), PurgeState::alive);
  EXPECT_EQ(check(index, "c.com/img/1.png", 12), PurgeState::dead);
  EXPECT_EQ(check(index, "c.com/img", 12), PurgeState::alive);
  EXPECT_EQ(check(index, "c.com/img/1.png", 13), PurgeState::alive);
  index.add(rule(Kind::all, ""), 14);
  EXPECT_EQ(check(index, "z.com/", 13), PurgeState::dead);
  EXPECT_EQ(check(index, "z.com/", 14), PurgeState::alive);
}

TEST(PurgeIndex, TheTextOfOneKindIsNoOther) {
  PurgeIndex index;
  index.add(rule(Kind::tag, "a.com"), 1);
  index.add(rule(Kind::key, "b.com/"), 2);
  index.add(rule(Kind::host, "c.com"), 3);
  EXPECT_EQ(check(index, "a.com/", 0), PurgeState::alive);
  EXPECT_EQ(check(index, "b.com/x", 0), PurgeState::alive);
  EXPECT_EQ(check(index, "x.com/", 0, {tag_hash("c.com")}), PurgeState::alive);
}

TEST(PurgeIndex, WhatHostsShareIsMetWhicheverOfThemIsNamed) {
  PurgeIndex index;
  index.add(rule(Kind::key, "a.com/x?q"), 10);
  index.add(rule(Kind::prefix, "a.com/img/"), 11);
  EXPECT_EQ(check(index, "/x?q", 9), PurgeState::dead);
  EXPECT_EQ(check(index, "/x", 9), PurgeState::alive);
  EXPECT_EQ(check(index, "/img/1.png", 10), PurgeState::dead);
  EXPECT_EQ(check(index, "/other/1.png", 9), PurgeState::alive);
  EXPECT_EQ(check(index, "b.com/x?q", 9), PurgeState::alive);
  EXPECT_EQ(check(index, "b.com/img/1.png", 9), PurgeState::alive);
  index.add(rule(Kind::host, "a.com"), 12);
  EXPECT_EQ(check(index, "/other/1.png", 11), PurgeState::dead);
  EXPECT_EQ(check(index, "b.com/other", 11), PurgeState::alive);
  // An unsafe request names such a page without any host; a text without a path names none.
  index.add(rule(Kind::key, "/y"), 13);
  EXPECT_EQ(check(index, "/y", 12), PurgeState::dead);
  index.add(rule(Kind::prefix, "a.com"), 14);
  EXPECT_EQ(check(index, "/z", 13), PurgeState::alive);
}

TEST(PurgeIndex, AHardRuleOutdoesASoftOneWhateverTheirOrder) {
  PurgeIndex index;
  index.add(rule(Kind::key, "a.com/", true), 10);
  EXPECT_EQ(check(index, "a.com/", 5), PurgeState::stale);
  index.add(rule(Kind::host, "a.com"), 11);
  index.add(rule(Kind::prefix, "a.com/", true), 12);
  EXPECT_EQ(check(index, "a.com/", 5), PurgeState::dead);
  EXPECT_EQ(check(index, "a.com/", 11), PurgeState::stale);
  EXPECT_EQ(check(index, "a.com/", 12), PurgeState::alive);
}

TEST(PurgeIndex, PrefixesAgreeWithComparingEachOfThem) {
  Rng rng(7);
  const auto text = [&](size_t longest) {
    std::string made = "h/";
    for (size_t size = rng.below(longest + 1); size > 0; --size) made += static_cast<char>('a' + rng.below(2));
    return made;
  };
  for (int round = 0; round < 300; ++round) {
    PurgeIndex index;
    std::vector<std::pair<std::string, uint64_t>> rules;
    for (uint64_t number = 1; number <= rng.below(40); ++number) {
      rules.emplace_back(text(6), number);
      index.add(rule(Kind::prefix, rules.back().first), number);
    }
    for (int i = 0; i < 50; ++i) {
      const std::string url = text(8);
      uint64_t newest = 0;
      for (const auto& [prefix, number] : rules) {
        if (url.starts_with(prefix)) newest = std::max(newest, number);
      }
      if (newest > 0) {
        EXPECT_EQ(check(index, url, newest - 1), PurgeState::dead) << url;
      }
      EXPECT_EQ(check(index, url, newest), PurgeState::alive) << url;
    }
  }
}

}  // namespace
}  // namespace trellis::cache
