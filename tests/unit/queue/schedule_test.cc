#include "queue/schedule.h"

#include <gtest/gtest.h>

#include <string>

namespace trellis::queue {
namespace {

using namespace std::chrono_literals;

WallTime at(int year, unsigned month, unsigned day, int hour = 0, int minute = 0, int second = 0) {
  const std::chrono::sys_days date{std::chrono::year(year) / std::chrono::month(month) / std::chrono::day(day)};
  return WallTime(date.time_since_epoch()) + std::chrono::hours(hour) + std::chrono::minutes(minute) +
         std::chrono::seconds(second);
}

WallTime next(std::string_view cron, WallTime time) {
  const auto parsed = Cron::parse(cron);
  EXPECT_TRUE(parsed) << cron << ": " << (parsed ? "" : parsed.error().to_string());
  return parsed ? parsed->next_after(time) : WallTime();
}

std::string error_of(std::string_view cron) {
  const auto parsed = Cron::parse(cron);
  if (parsed) return "accepted";
  EXPECT_EQ(parsed.error().code(), Code::invalid_argument);
  return parsed.error().what();
}

TEST(Cron, IsDueAtWholeMinutesAfterTheTime) {
  EXPECT_EQ(next("* * * * *", at(2026, 1, 1, 10, 0)), at(2026, 1, 1, 10, 1));
  EXPECT_EQ(next("* * * * *", at(2026, 1, 1, 10, 0, 59)), at(2026, 1, 1, 10, 1));
  EXPECT_EQ(next("30 6 * * *", at(2026, 1, 1, 6, 29, 59)), at(2026, 1, 1, 6, 30));
  EXPECT_EQ(next("30 6 * * *", at(2026, 1, 1, 6, 30)), at(2026, 1, 2, 6, 30));
  EXPECT_EQ(next("0 0 1 1 *", at(2026, 1, 1)), at(2027, 1, 1));
  EXPECT_EQ(next("59 23 31 12 *", at(2026, 12, 31, 23, 58)), at(2026, 12, 31, 23, 59));
}

TEST(Cron, KnowsRangesStepsListsAndNames) {
  EXPECT_EQ(next("*/15 * * * *", at(2026, 1, 1, 10, 46)), at(2026, 1, 1, 11, 0));
  EXPECT_EQ(next("5-20/5 * * * *", at(2026, 1, 1, 10, 20)), at(2026, 1, 1, 11, 5));
  EXPECT_EQ(next("0 8,12,18 * * *", at(2026, 1, 1, 12, 0)), at(2026, 1, 1, 18, 0));
  EXPECT_EQ(next("0 0 1 jan,JUL *", at(2026, 2, 1)), at(2026, 7, 1));
  EXPECT_EQ(next("0 9 * * mon-fri", at(2026, 1, 2, 9, 0)), at(2026, 1, 5, 9, 0));  // a Friday
  EXPECT_EQ(next("0 9 * * 7", at(2026, 1, 1)), at(2026, 1, 4, 9, 0));
  EXPECT_EQ(next("0 9 * * 0", at(2026, 1, 1)), at(2026, 1, 4, 9, 0));
  EXPECT_EQ(next("0 9 * * sat-sun", at(2026, 1, 3, 9, 0)), at(2026, 1, 4, 9, 0));
  EXPECT_EQ(next("0\t9  * * *", at(2026, 1, 1)), at(2026, 1, 1, 9, 0));
}

TEST(Cron, TakesEitherDayWhenBothAreRestricted) {
  EXPECT_EQ(next("0 0 13 * fri", at(2026, 1, 1)), at(2026, 1, 2));
  EXPECT_EQ(next("0 0 13 * fri", at(2026, 1, 9)), at(2026, 1, 13));
  EXPECT_EQ(next("0 0 13 * *", at(2026, 1, 9)), at(2026, 1, 13));
}

TEST(Cron, KnowsTheLengthOfMonthsAndLeapYears) {
  EXPECT_EQ(next("0 0 31 * *", at(2026, 1, 31)), at(2026, 3, 31));
  EXPECT_EQ(next("0 0 29 2 *", at(2026, 1, 1)), at(2028, 2, 29));
  EXPECT_EQ(next("0 0 29 2 *", at(2096, 3, 1)), at(2104, 2, 29));  // 2100 is none
  EXPECT_EQ(next("0 12 28-31 2 *", at(2028, 2, 28, 12)), at(2028, 2, 29, 12));
  EXPECT_EQ(next("0 0 29 2 */7", at(2026, 1, 1)), at(2032, 2, 29));  // a Sunday
}

TEST(Cron, RefusesDaysThatNeverCome) {
  EXPECT_EQ(error_of("0 0 30 2 *"), "cron: no month of \"2\" has a day 30");
  EXPECT_EQ(error_of("0 0 31 feb,apr,jun,sep,nov *"), "cron: no month of \"feb,apr,jun,sep,nov\" has a day 31");
  EXPECT_EQ(error_of("0 0 30 2,3 *"), "accepted");
  EXPECT_EQ(error_of("0 0 30 2 mon"), "accepted");  // each Monday in February
}

TEST(Cron, SaysWhatIsWrong) {
  EXPECT_EQ(error_of(""), "cron: expected five fields (minute, hour, day of the month, month, day of the week), got 0");
  EXPECT_EQ(error_of("* * * * * *"),
            "cron: expected five fields (minute, hour, day of the month, month, day of the week), got 6");
  EXPECT_EQ(error_of("60 * * * *"), "cron: minute \"60\": expected 0 to 59");
  EXPECT_EQ(error_of("* 24 * * *"), "cron: hour \"24\": expected 0 to 23");
  EXPECT_EQ(error_of("* * 0 * *"), "cron: day of the month \"0\": expected 1 to 31");
  EXPECT_EQ(error_of("* * * 13 *"), "cron: month \"13\": expected 1 to 12 or a name such as jan");
  EXPECT_EQ(error_of("* * * * 8"), "cron: day of the week \"8\": expected 0 to 7 or a name such as sun");
  EXPECT_EQ(error_of("* * * foo *"), "cron: month \"foo\": expected 1 to 12 or a name such as jan");
  EXPECT_EQ(error_of("5-1 * * * *"), "cron: minute \"5-1\": the range ends before it begins");
  EXPECT_EQ(error_of("*/0 * * * *"), "cron: minute \"*/0\": a step is a number from 1 to 99");
  EXPECT_EQ(error_of("5/2 * * * *"), "cron: minute \"5/2\": a step needs a range or * before it");
  EXPECT_EQ(error_of("1,,2 * * * *"), "cron: minute \",2\": an empty place in the list");
  for (const std::string_view bad :
       {"-1 * * * *", "1- * * * *", "1-2-3 * * * *", "+1 * * * *", "1.5 * * * *", "*-5 * * * *", "** * * * *", "@daily",
        "001 * * * *", "1, * * * *", "*/ * * * *"}) {
    EXPECT_NE(error_of(bad), "accepted") << bad;
  }
  EXPECT_NE(error_of(std::string(100'000, '*')), "accepted");
}

TEST(Cron, FindsTheLatestDueTimeSinceAnother) {
  const Cron hourly = *Cron::parse("0 * * * *");
  EXPECT_EQ(hourly.latest(at(2026, 1, 1, 12, 30), at(2026, 1, 1, 9, 0)), at(2026, 1, 1, 12, 0));
  EXPECT_EQ(hourly.latest(at(2026, 1, 1, 12, 0), at(2026, 1, 1, 11, 0)), at(2026, 1, 1, 12, 0));
  EXPECT_EQ(hourly.latest(at(2026, 1, 1, 12, 30), at(2026, 1, 1, 12, 0)), std::nullopt);
  const Cron leap = *Cron::parse("0 0 29 2 *");
  EXPECT_EQ(leap.latest(at(2026, 1, 1), at(2020, 1, 1)), at(2024, 2, 29));
  EXPECT_EQ(leap.latest(at(2027, 1, 1), at(2024, 2, 29)), std::nullopt);
}

TEST(Cron, AgreesWithItselfInBothDirections) {
  for (const std::string_view text : {"*/7 3-5 * * *", "13 4 1,15 * mon", "0 0 29 2 *", "59 23 31 * *"}) {
    const Cron cron = *Cron::parse(text);
    WallTime time = at(2023, 6, 1);
    for (int i = 0; i < 20; ++i) {
      const WallTime due = cron.next_after(time);
      ASSERT_GT(due, time);
      EXPECT_EQ(cron.latest(due + 59s, time), due) << text;
      EXPECT_EQ(cron.latest(due - 1s, time), std::nullopt) << text;
      time = due;
    }
  }
}

}  // namespace
}  // namespace trellis::queue
