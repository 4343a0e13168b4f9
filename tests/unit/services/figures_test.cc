#include "services/links/clicks/figures.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/arena.h"
#include "base/rng.h"
#include "services/links/clicks/stats_json.h"
#include "services/links/rules/rules.h"

namespace trellis::services::links {
namespace {

Click click_of(std::string referrer, uint64_t visitor, Device device = Device::phone) {
  Click click;
  click.link = 5;
  click.at = 1'700'000'000'000;
  click.agent.device = device;
  click.referrer = std::move(referrer);
  click.visitor = visitor * 0x9E3779B97F4A7C15u;
  return click;
}

uint64_t clicks_of(const Figures& figures, Dimension dimension, std::string_view value, bool bots = false) {
  for (const Figures::Count& count : figures.counts()) {
    if (count.bots == bots && count.dimension == dimension && count.value == value) return count.clicks;
  }
  return 0;
}

TEST(Click, ABatchReadsBackToTheSameClicks) {
  Rng rng(7);
  std::vector<Click> clicks;
  for (int i = 0; i < 500; ++i) {
    Click click = click_of(i % 3 == 0 ? "" : "host" + std::to_string(rng.below(9)) + ".example", rng.next(),
                           static_cast<Device>(rng.below(kDevices)));
    click.link = static_cast<int64_t>(rng.below(1'000'000'000'000));
    click.at += static_cast<int64_t>(rng.below(1000)) - 500;
    click.rule.number = static_cast<uint8_t>(rng.below(5));
    if (click.rule.number > 2) click.rule.target = static_cast<uint8_t>(rng.below(kMaxSplit + 1));
    click.scan = rng.below(2) == 0;
    if (i % 4 == 0) click.country = {'D', 'E'};
    if (i % 5 == 0) click.language = "de";
    if (i % 6 == 0) click.utm = {.source = "mail", .medium = "", .campaign = "spring", .term = "", .content = ""};
    clicks.push_back(click);
  }
  const std::string bytes = write_clicks(clicks);
  const auto back = read_clicks(bytes);
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, clicks);
  // Every short one, then some: each is read to its end.
  for (size_t size = 0; size < bytes.size(); size += 1 + size / 50) EXPECT_FALSE(read_clicks(bytes.substr(0, size)));
  EXPECT_FALSE(read_clicks(bytes + "x"));
}

TEST(Click, LinksFarApartAreWrittenToo) {
  std::vector<Click> clicks(3);
  clicks[0].link = std::numeric_limits<int64_t>::max();
  clicks[1].link = std::numeric_limits<int64_t>::min();
  const auto back = read_clicks(write_clicks(clicks));
  ASSERT_TRUE(back);
  EXPECT_EQ(*back, clicks);
}

TEST(Click, ATargetWithoutItsRuleIsNone) {
  std::vector<Click> clicks(1);
  clicks[0].rule = {.number = 0, .target = 1};
  EXPECT_FALSE(read_clicks(write_clicks(clicks)));
}

TEST(Click, CountriesAreCodesOrUnknown) {
  std::vector<Click> clicks(1);
  clicks[0].country = {'D', 'E'};
  const std::string bytes = write_clicks(clicks);
  const size_t at = bytes.find("DE");
  ASSERT_NE(at, bytes.npos);
  for (const std::string_view code : {std::string_view("\0E", 2), std::string_view("D\0", 2), std::string_view("de")}) {
    std::string other = bytes;
    other.replace(at, 2, code);
    EXPECT_FALSE(read_clicks(other)) << code;
  }
}

TEST(Click, TheFirstLanguageCounts) {
  EXPECT_EQ(first_language("de-CH, en;q=0.8"), "de");
  EXPECT_EQ(first_language(" FR"), "fr");
  EXPECT_EQ(first_language("*"), "");
  EXPECT_EQ(first_language("verylong"), "");
  EXPECT_EQ(first_language(""), "");
}

TEST(ClickReader, KeepsNothingOfTheAddress) {
  ClickReader reader(nullptr);
  DaySalt salt{1, 2, 3};
  reader.set_salt(1, salt);
  RawClick raw;
  raw.address = "192.0.2.77";
  raw.agent = "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0";
  raw.referrer = "https://www.news.example/a/secret/page?token=1";
  raw.language = "de-DE";
  raw.query = "utm_source=mail&x=1";
  const Click click = reader.read(raw);
  EXPECT_EQ(click.referrer, "news.example");
  EXPECT_EQ(click.agent.browser, Browser::firefox);
  EXPECT_EQ(click.utm.source, "mail");
  const std::string bytes = write_clicks(std::span(&click, 1));
  EXPECT_EQ(bytes.find("192.0.2"), std::string::npos);
  EXPECT_EQ(bytes.find("secret"), std::string::npos);
  EXPECT_EQ(reader.read(raw).visitor, click.visitor);
  reader.set_salt(2, DaySalt{4, 5, 6});
  EXPECT_NE(reader.read(raw).visitor, click.visitor) << "another day, another visitor";
}

TEST(Figures, CountPeopleAndProgramsApart) {
  Figures figures;
  for (uint64_t i = 0; i < 10; ++i) figures.add(click_of("a.example", i % 4));
  figures.add(click_of("a.example", 99, Device::bot));
  EXPECT_EQ(figures.people(), 10u);
  EXPECT_EQ(figures.bots(), 1u);
  EXPECT_EQ(figures.visitors(), 4u);
  EXPECT_EQ(clicks_of(figures, Dimension::referrer, "a.example"), 10u);
  EXPECT_EQ(clicks_of(figures, Dimension::referrer, "a.example", true), 1u);
  EXPECT_EQ(clicks_of(figures, Dimension::device, "phone"), 10u);
  EXPECT_EQ(clicks_of(figures, Dimension::source, "link"), 10u);
}

TEST(Figures, TellRulesAndTheTargetsOfASplitApart) {
  Figures figures;
  for (const TakenRule rule : {TakenRule{0, 0}, TakenRule{1, 0}, TakenRule{2, 1}, TakenRule{2, 16}, TakenRule{2, 16}}) {
    Click click = click_of("", 1);
    click.rule = rule;
    figures.add(click);
  }
  EXPECT_EQ(clicks_of(figures, Dimension::rule, "1"), 1u);
  EXPECT_EQ(clicks_of(figures, Dimension::rule, "2"), 0u);
  EXPECT_EQ(clicks_of(figures, Dimension::rule, "2a"), 1u);
  EXPECT_EQ(clicks_of(figures, Dimension::rule, "2p"), 2u);
}

TEST(Figures, AddUpTheSameInAnyPieces) {
  Rng rng(3);
  Figures whole;
  std::vector<Figures> pieces(7);
  for (int i = 0; i < 3000; ++i) {
    const Click click = click_of("h" + std::to_string(rng.below(40)), rng.below(500));
    whole.add(click);
    pieces[rng.below(pieces.size())].add(click);
  }
  Figures sum;
  for (const Figures& piece : pieces) {
    std::string bytes;
    piece.append_to(bytes);
    auto back = Figures::read(bytes);
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, piece);
    sum.merge(*back);
  }
  EXPECT_EQ(sum, whole);
}

TEST(Figures, StayBoundedWhateverClientsSend) {
  Figures figures;
  for (uint64_t i = 0; i < 20'000; ++i) {
    figures.add(click_of("r" + std::to_string(i) + ".example", i));
    figures.add(click_of("often.example", i));
  }
  EXPECT_LT(figures.counts().size(), 2 * kMaxValues);
  EXPECT_EQ(clicks_of(figures, Dimension::referrer, "often.example"), 20'000u);
  uint64_t sum = 0;
  for (const Figures::Count& count : figures.counts()) {
    if (count.dimension == Dimension::referrer) sum += count.clicks;
  }
  EXPECT_EQ(sum, 40'000u) << "what is not named is in the sum of others";
  std::string bytes;
  figures.append_to(bytes);
  EXPECT_TRUE(Figures::read(bytes));
  for (size_t size = 0; size < bytes.size(); size += 97) EXPECT_FALSE(Figures::read(bytes.substr(0, size)));
}

std::string field_of(std::string_view query) {
  Arena arena;
  const auto question = read_stats_question(query, 1'700'000'000'000, arena);
  return question ? "" : question.error().field;
}

TEST(StatsQuestion, IsReadStrictly) {
  EXPECT_EQ(field_of(""), "");
  EXPECT_EQ(field_of("step=hour&by=country,device&bots=all&limit=500&from=2023-11-10&to=2023-11-14T12:00:00Z"), "");
  EXPECT_EQ(field_of("step=week"), "step");
  EXPECT_EQ(field_of("by=country,colour"), "by");
  EXPECT_EQ(field_of("bots=some"), "bots");
  EXPECT_EQ(field_of("limit=0"), "limit");
  EXPECT_EQ(field_of("limit=501"), "limit");
  EXPECT_EQ(field_of("from=yesterday"), "from");
  EXPECT_EQ(field_of("from=2023-11-10&to=2023-11-10"), "from");
  EXPECT_EQ(field_of("step=minute&from=2023-11-01&to=2023-11-10"), "from");
  EXPECT_EQ(field_of("colour=red"), "colour");
}

TEST(StatsQuestion, WithoutATimeIsTheLastThirtyDays) {
  Arena arena;
  const auto question = read_stats_question("", 100 * millis_of(Span::day) + 5, arena);
  ASSERT_TRUE(question);
  EXPECT_EQ(question->from, 71);
  EXPECT_EQ(question->to, 101);
  EXPECT_EQ(question->by.size(), kDimensions);
}

}  // namespace
}  // namespace trellis::services::links
