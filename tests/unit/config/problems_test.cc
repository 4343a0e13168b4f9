#include "config/problems.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace trellis::config {
namespace {

Mark at(const std::string& file, uint32_t line, uint32_t column) {
  return Mark{std::make_shared<const std::string>(file), line, column};
}

TEST(Problems, AreSortedByPlace) {
  Problems problems;
  problems.add(at("b.yaml", 1, 1), "x", "third");
  problems.add(at("a.yaml", 10, 2), "y", "second");
  problems.add(at("a.yaml", 9, 20), "z", "first", "a hint");
  EXPECT_EQ(problems.to_string(), "a.yaml:9:20: z: first; a hint\na.yaml:10:2: y: second\nb.yaml:1:1: x: third\n");
}

TEST(Problems, OfOnePlaceKeepTheirOrder) {
  Problems problems;
  problems.add(at("a.yaml", 1, 1), "", "one");
  problems.add(at("a.yaml", 1, 1), "", "two");
  EXPECT_EQ(problems.to_string(), "a.yaml:1:1: one\na.yaml:1:1: two\n");
}

TEST(Problems, WithoutALineShowOnlyTheSource) {
  Problems problems;
  problems.add(at("--set a.b", 0, 0), "a.b", "wrong");
  EXPECT_EQ(problems.to_string(), "--set a.b: a.b: wrong\n");
}

TEST(Problems, BeyondTheShownOnesAreCounted) {
  Problems problems;
  for (uint32_t i = 0; i < 2500; ++i) problems.add(at("a.yaml", i + 1, 1), "x", "wrong");
  const std::string text = problems.to_string();
  EXPECT_EQ(problems.total(), 2500u);
  EXPECT_EQ(std::ranges::count(text, '\n'), 101);
  EXPECT_TRUE(text.ends_with("and 2400 more problems\n"));
}

TEST(Problems, KnowWhichPathsTheyTouch) {
  Problems problems;
  problems.add(at("a.yaml", 1, 1), "limits[0].rate", "wrong");
  EXPECT_TRUE(problems.touches("limits[0].rate"));
  EXPECT_TRUE(problems.touches("limits[0]"));
  EXPECT_TRUE(problems.touches("limits"));
  EXPECT_TRUE(problems.touches("limits[0].rate.count"));
  EXPECT_FALSE(problems.touches("limits[0].burst"));
  EXPECT_FALSE(problems.touches("limit"));
  EXPECT_FALSE(problems.touches("limits[0].rates"));
}

TEST(Suggest, FindsTheNearestWord) {
  constexpr std::array<std::string_view, 5> kWords{"burst", "rate", "round_robin", "timeout", "ip"};
  EXPECT_EQ(nearest("brust", kWords), "burst");   // neighbours swapped
  EXPECT_EQ(nearest("bursts", kWords), "burst");  // one too many
  EXPECT_EQ(nearest("rte", kWords), "rate");      // one too few
  EXPECT_EQ(nearest("Round-Robin", kWords), "round_robin");
  EXPECT_EQ(nearest("time", kWords), "timeout");  // a prefix
  EXPECT_EQ(nearest("timeouts_ms", kWords), "timeout");
  EXPECT_EQ(nearest("zz", kWords), "");  // two edits of a short word mean nothing
  EXPECT_EQ(nearest("something", kWords), "");
  EXPECT_EQ(nearest("", kWords), "");
  EXPECT_EQ(nearest(std::string(1000, 'a'), kWords), "");
}

TEST(Suggest, ListsWhatIsAllowedWhenNothingIsNear) {
  constexpr std::array<std::string_view, 2> kWords{"burst", "rate"};
  EXPECT_EQ(suggest("brust", kWords), "did you mean \"burst\"?");
  EXPECT_EQ(suggest("other", kWords), "allowed: burst, rate");
  EXPECT_EQ(suggest("other", {}), "nothing is allowed here");
}

}  // namespace
}  // namespace trellis::config
