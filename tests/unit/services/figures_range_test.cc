// Questions about ranges of time, beside a plain count of the same clicks.
#include "services/links/clicks/figures_range.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "base/rng.h"
#include "base/varint.h"
#include "services/links/clicks/figures_sum.h"
#include "services/links/clicks/stats_json.h"
#include "store/sqlite_connection.h"

namespace trellis::services::links {
namespace {

constexpr std::array<Span, 3> kSpans = {Span::minute, Span::hour, Span::day};
constexpr int64_t kFirstDay = 20'000;
constexpr int64_t kDays = 6;
constexpr int64_t kLink = 7;

// As the first version wrote them: no visitors among the totals.
std::string first_version(std::string_view stored) {
  ByteReader in(stored);
  EXPECT_EQ(in.octet(), 2);
  std::string out(1, '\1');
  const uint64_t people = in.varint();
  append_varint(out, people);
  append_varint(out, in.varint());
  if (people > 0) (void)in.varint();
  out += in.bytes(in.left());
  return out;
}

class FiguresRangeTest : public ::testing::Test {
 protected:
  FiguresRangeTest() {
    char pattern[] = "/tmp/trellis_figures_XXXXXX";
    folder_ = mkdtemp(pattern);
    auto opened = store::SqliteConnection::open({.path = folder_ + "/store"});
    EXPECT_TRUE(opened) << opened.error().to_string();
    db_ = *std::move(opened);
    EXPECT_TRUE(store::migrate(*db_, "links_figures", figures_migrations(), 0));
    EXPECT_TRUE(db_->execute("BEGIN"));  // never ended: nothing here needs a disk
  }
  ~FiguresRangeTest() override {
    db_.reset();
    std::filesystem::remove_all(folder_);
  }

  Click draw(Rng& rng) {
    Click click;
    click.link = kLink;
    // Most in a few hours, so that some rows are full and many are thin.
    const int64_t hours = rng.below(3) == 0 ? kDays * 24 : 5;
    click.at = kFirstDay * millis_of(Span::day) +
               static_cast<int64_t>(rng.below(static_cast<uint64_t>(hours))) * 3'600'000 +
               static_cast<int64_t>(rng.below(3'600'000));
    click.agent.device = rng.below(8) == 0 ? Device::bot : static_cast<Device>(1 + rng.below(3));
    if (rng.below(3) > 0) click.referrer = "site" + std::to_string(rng.below(60)) + ".example";
    if (rng.below(5) > 0) click.country = {'D', static_cast<char>('A' + rng.below(20))};
    if (rng.below(4) == 0) click.utm.campaign = "a campaign with a long name " + std::to_string(rng.below(12));
    click.visitor = (rng.below(4000) + 1) * 0x9E3779B97F4A7C15u;
    return click;
  }
  // In the way of the counter: each piece adds to what is there.
  void write(const std::vector<Click>& clicks, std::initializer_list<Span> spans) {
    for (const Span span : spans) {
      std::map<int64_t, Figures> rows;
      for (const Click& click : clicks) rows[click.at / millis_of(span)].add(click);
      for (auto& [number, figures] : rows) {
        const FiguresRow row{span, number, kLink, std::move(figures)};
        ASSERT_TRUE(add_figures(*db_, {&row, 1}));
      }
    }
  }
  // What a reader sees of [from, to) if he has the clicks themselves.
  void expect_plain(const std::vector<Click>& clicks, Span step, int64_t from, int64_t to) {
    const auto range = sum_figures(*db_, kLink, step, from, to);
    ASSERT_TRUE(range) << range.error().to_string();
    std::map<int64_t, FiguresTotals> points;
    std::map<int64_t, UniqueVisitors> visitors;
    std::map<std::tuple<bool, Dimension, std::string>, uint64_t> counts;
    Figures all;
    for (const Click& click : clicks) {
      const int64_t number = click.at / millis_of(step);
      if (number < from || number >= to) continue;
      const bool bot = click.agent.is_bot();
      ++(bot ? points[number].bots : points[number].people);
      if (!bot) visitors[number].add(click.visitor);
      if (!click.referrer.empty()) ++counts[{bot, Dimension::referrer, click.referrer}];
      if (!click.utm.campaign.empty()) ++counts[{bot, Dimension::utm_campaign, click.utm.campaign}];
      all.add(click);
    }
    ASSERT_EQ(range->points.size(), points.size());
    size_t at = 0;
    for (auto& [number, totals] : points) {
      totals.visitors = visitors[number].count();
      EXPECT_EQ(range->points[at].number, number);
      EXPECT_EQ(range->points[at].totals, totals);
      ++at;
    }
    EXPECT_EQ(range->all, all);
    for (const auto& [key, sum] : counts) {
      const auto& [bot, dimension, value] = key;
      uint64_t found = 0;
      for (const Figures::Count& count : range->all.counts()) {
        if (count.bots == bot && count.dimension == dimension && count.value == value) found += count.clicks;
      }
      EXPECT_EQ(found, sum) << value;
    }
  }
  void expect_plain_everywhere(const std::vector<Click>& clicks, Rng& rng, int rounds) {
    for (const Span step : kSpans) {
      const int64_t first = kFirstDay * (millis_of(Span::day) / millis_of(step));
      const int64_t steps = kDays * (millis_of(Span::day) / millis_of(step));
      for (int round = 0; round < rounds && !HasFailure(); ++round) {
        const int64_t from = first - 3 + static_cast<int64_t>(rng.below(static_cast<uint64_t>(steps)));
        const int64_t most = std::min<int64_t>(kMostPoints, steps);
        expect_plain(clicks, step, from, from + 1 + static_cast<int64_t>(rng.below(static_cast<uint64_t>(most))));
      }
      if (steps <= kMostPoints) expect_plain(clicks, step, first, first + steps);
    }
  }

  std::string folder_;
  std::unique_ptr<store::SqliteConnection> db_;
};

TEST_F(FiguresRangeTest, IsThePlainCountForEveryRangeAndStep) {
  for (const uint64_t seed : {1u, 2u, 3u}) {
    Rng rng(seed);
    ASSERT_TRUE(db_->script("DELETE FROM figures_minutes; DELETE FROM figures_hours; DELETE FROM figures_days"));
    std::vector<Click> clicks;
    for (int piece = 0; piece < 4; ++piece) {
      std::vector<Click> some;
      for (int i = 0; i < 1500; ++i) some.push_back(draw(rng));
      write(some, {Span::minute, Span::hour, Span::day});
      clicks.insert(clicks.end(), some.begin(), some.end());
    }
    expect_plain_everywhere(clicks, rng, 15);
  }
}

TEST_F(FiguresRangeTest, IsNotMisledByCoarseRowsThatLagBehind) {
  Rng rng(4);
  std::vector<Click> clicks;
  for (int i = 0; i < 3000; ++i) clicks.push_back(draw(rng));
  write(clicks, {Span::minute, Span::hour, Span::day});
  std::vector<Click> later;
  for (int i = 0; i < 300; ++i) later.push_back(draw(rng));
  write(later, {Span::minute});  // the hours and days are to be written yet
  clicks.insert(clicks.end(), later.begin(), later.end());
  const int64_t minutes = kFirstDay * 1440;
  for (int round = 0; round < 10 && !HasFailure(); ++round) {
    const int64_t from = minutes + static_cast<int64_t>(rng.below(3000));
    expect_plain(clicks, Span::minute, from, from + 1 + static_cast<int64_t>(rng.below(3000)));
  }
  write(later, {Span::hour});
  expect_plain(clicks, Span::hour, kFirstDay * 24, (kFirstDay + kDays) * 24);
}

TEST_F(FiguresRangeTest, LeavesOutADayWhoseHoursAreGone) {
  Rng rng(5);
  std::vector<Click> clicks;
  for (int i = 0; i < 3000; ++i) clicks.push_back(draw(rng));
  write(clicks, {Span::minute, Span::hour, Span::day});
  const int64_t kept = (kFirstDay + 1) * 24 + 7;
  ASSERT_TRUE(db_->execute("DELETE FROM figures_hours WHERE number < ?1", kept));
  std::vector<Click> rest;
  for (const Click& click : clicks) {
    if (click.at / millis_of(Span::hour) >= kept) rest.push_back(click);
  }
  expect_plain(rest, Span::hour, kFirstDay * 24, (kFirstDay + kDays) * 24);
}

TEST_F(FiguresRangeTest, ReadsRowsOfTheFirstVersion) {
  Rng rng(6);
  std::vector<Click> clicks;
  for (int i = 0; i < 4000; ++i) clicks.push_back(draw(rng));
  write(clicks, {Span::minute, Span::hour, Span::day});
  for (const Span span : kSpans) {
    const std::string table = "figures_" + std::string(to_string(span)) + "s";
    std::vector<std::pair<int64_t, std::string>> old;
    {
      auto rows = db_->query("SELECT number, figures FROM " + table);
      ASSERT_TRUE(rows);
      while (*rows->next()) old.emplace_back(rows->integer(0), first_version(rows->blob(1)));
    }
    ASSERT_FALSE(old.empty());
    for (const auto& [number, figures] : old) {
      ASSERT_TRUE(
          db_->execute("UPDATE " + table + " SET figures = ?2 WHERE number = ?1", number, store::Blob{figures}));
    }
  }
  expect_plain_everywhere(clicks, rng, 5);
}

TEST_F(FiguresRangeTest, RefusesDamagedRows) {
  Rng rng(8);
  std::vector<Click> clicks;
  for (int i = 0; i < 50; ++i) clicks.push_back(draw(rng));
  write(clicks, {Span::day});
  ASSERT_TRUE(db_->execute("UPDATE figures_days SET figures = substr(figures, 1, length(figures) - 1)"));
  const auto range = sum_figures(*db_, kLink, Span::day, kFirstDay, kFirstDay + kDays);
  ASSERT_FALSE(range);
  EXPECT_EQ(range.error().code(), Code::data_loss);
}

TEST(FiguresSum, StaysBoundedAndLosesNoClick) {
  Rng rng(9);
  FiguresSum sum;
  uint64_t value = 0;
  for (int row = 0; row < 120; ++row) {
    Figures figures;
    for (int i = 0; i < 450; ++i) {
      Click click;
      click.agent.device = Device::phone;
      click.referrer = i < 50 ? "often.example" : "site" + std::to_string(++value);
      click.visitor = rng.next();
      figures.add(click);
    }
    std::string stored;
    figures.append_to(stored);
    ASSERT_TRUE(sum.add(stored));
    EXPECT_LE(sum.figures().counts().size(), FiguresSum::kMostHeld);
  }
  const Figures figures = sum.figures();
  EXPECT_EQ(figures.people(), 120u * 450);
  const DimensionTable table = dimension_table(figures, Dimension::referrer, StatsQuestion::Bots::exclude, 1);
  ASSERT_EQ(table.values.size(), 1u);
  EXPECT_EQ(table.values[0], std::pair(std::string_view("often.example"), uint64_t{120 * 50}));
  EXPECT_EQ(table.other, 120u * 400);
  EXPECT_EQ(table.none, 0u);
}

TEST(DimensionTable, ShowsPeopleProgramsOrBoth) {
  Figures figures;
  const auto add = [&figures](const char* country, bool bot, int times) {
    Click click;
    click.agent.device = bot ? Device::bot : Device::phone;
    if (*country) click.country = {country[0], country[1]};
    for (int i = 0; i < times; ++i) figures.add(click);
  };
  add("DE", false, 3);
  add("FR", false, 5);
  add("", false, 2);
  add("DE", true, 4);
  add("IT", true, 1);
  using Values = std::vector<std::pair<std::string_view, uint64_t>>;
  using Bots = StatsQuestion::Bots;
  const auto people = dimension_table(figures, Dimension::country, Bots::exclude, 20);
  EXPECT_EQ(people.values, (Values{{"FR", 5}, {"DE", 3}}));
  EXPECT_EQ(people.none, 2u);
  const auto bots = dimension_table(figures, Dimension::country, Bots::only, 20);
  EXPECT_EQ(bots.values, (Values{{"DE", 4}, {"IT", 1}}));
  const auto all = dimension_table(figures, Dimension::country, Bots::all, 2);
  EXPECT_EQ(all.values, (Values{{"DE", 7}, {"FR", 5}}));
  EXPECT_EQ(all.other, 1u);
  EXPECT_EQ(all.none, 2u);
}

}  // namespace
}  // namespace trellis::services::links
