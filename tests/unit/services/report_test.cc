// What a report is asked for, and how it is written.
#include "services/links/reports/report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "services/links/bulk/csv.h"
#include "services/links/reports/report_config.h"

namespace trellis::services::links {
namespace {

constexpr int64_t kDay = millis_of(Span::day);
constexpr int64_t kNow = 20'000 * kDay + 1;

Click click_of(const std::string& referrer, uint64_t visitor, bool bot = false) {
  Click click;
  click.referrer = referrer;
  click.visitor = visitor * 0x9e3779b97f4a7c15;
  click.agent.device = bot ? Device::bot : Device::phone;
  return click;
}

FiguresRow row_of(int64_t day, const std::vector<Click>& clicks) {
  FiguresRow row{Span::day, day, 1, {}};
  for (const Click& click : clicks) row.figures.add(click);
  return row;
}

ReportQuestion question_of(const std::string& body) {
  auto question = read_report_question(body, kNow);
  EXPECT_TRUE(question) << body;
  return question ? *question : ReportQuestion();
}

ReportSums sums_of(const std::string& body) {
  ReportSums sums(question_of(body));
  const FiguresRow first = row_of(19'999, {click_of("a.test", 1), click_of("a.test", 2), click_of("b.test", 1)});
  const FiguresRow second = row_of(20'000, {click_of("", 1), click_of("c.test", 3, true)});
  for (const FiguresRow* row : {&first, &second}) {
    sums.add(*row);
    if (sums.question().by_link) sums.add_to_link(*row);
  }
  if (sums.question().by_link) sums.end_link("one");
  return sums;
}

TEST(Report, AsksForWhatIsUsualWhereNothingIsSaid) {
  const ReportQuestion question = question_of("{}");
  EXPECT_EQ(question.to, 20'001);
  EXPECT_EQ(question.from, 20'001 - 30);
  EXPECT_TRUE(question.by_day);
  EXPECT_FALSE(question.by_link);
  EXPECT_EQ(question.by.size(), kDimensions);
  EXPECT_EQ(question.format, ReportFormat::csv);
}

TEST(Report, RoundsOutwardsToDays) {
  const ReportQuestion question =
      question_of(R"({"from":"2026-11-01T10:00:00Z","to":"2026-11-07T00:00:01Z","by":["link"]})");
  EXPECT_EQ(report_title(question), "Clicks from 2026-11-01 to 2026-11-07");
  EXPECT_EQ(question.to - question.from, 7);
}

TEST(Report, IsReadStrictly) {
  const std::pair<const char*, const char*> wrong[] = {
      {R"([])", ""},
      {R"({"more":1})", "more"},
      {R"({"from":"yesterday"})", "from"},
      {R"({"from":"2026-11-02","to":"2026-11-02"})", "from"},
      {R"({"from":"2000-01-01"})", "from"},
      {R"({"by":[]})", "by"},
      {R"({"by":["moon"]})", "by"},
      {R"({"by":"day"})", "by"},
      {R"({"bots":"some"})", "bots"},
      {R"({"limit":0})", "limit"},
      {R"({"limit":501})", "limit"},
      {R"({"limit":1.5})", "limit"},
      {R"({"tag":"a,b"})", "tag"},
      {R"({"link":"a/b"})", "link"},
      {R"({"link":"a","tag":"b"})", "link"},
      {R"({"format":"pdf"})", "format"},
      {R"({"mail_to":"nobody"})", "mail_to"},
      {R"({"mail_to":"a@b.c\r\nBcc: d@e.f"})", "mail_to"},
  };
  for (const auto& [body, field] : wrong) {
    const auto question = read_report_question(body, kNow);
    ASSERT_FALSE(question) << body;
    EXPECT_EQ(question.error().field, field) << body;
  }
}

TEST(Report, IsAskedAgainAsItWasWritten) {
  const ReportQuestion question = question_of(
      R"({"from":"2026-11-01","to":"2026-11-08","by":["rule","day","link"],"bots":"all","limit":7,"tag":"ä","format":"html","mail_to":"a@b.c"})");
  std::string text;
  JsonWriter json(text);
  json.begin_object();
  append_question(json, question);
  json.end_object();
  std::string again;
  JsonWriter second(again);
  second.begin_object();
  append_question(second, question_of(text));
  second.end_object();
  EXPECT_EQ(again, text);
  EXPECT_EQ(nlohmann::json::parse(text)["by"], nlohmann::json({"day", "link", "rule"}));
}

TEST(Report, AddsUp) {
  const Report report = sums_of(R"({"by":["day","link","referrer"]})").report();
  EXPECT_EQ(report.clicks, 4u);
  EXPECT_EQ(report.bots, 1u);
  EXPECT_EQ(report.visitors, 2u);
  ASSERT_EQ(report.sections.size(), 3u);
  ASSERT_EQ(report.sections[0].lines.size(), 2u);
  EXPECT_EQ(report.sections[0].lines[0].clicks, 3u);
  EXPECT_EQ(report.sections[0].lines[0].visitors, 2u);
  EXPECT_EQ(report.sections[0].lines[1].bots, 1u);
  ASSERT_EQ(report.sections[1].lines.size(), 1u);
  EXPECT_EQ(report.sections[1].lines[0].value, "one");
  EXPECT_EQ(report.sections[1].lines[0].clicks, 4u);
  EXPECT_EQ(report.sections[1].lines[0].visitors, 2u);
  EXPECT_EQ(report.sections[2].lines[0].value, "a.test");
  EXPECT_EQ(report.sections[2].none, 1u);
}

TEST(Report, IsWrittenAsCsv) {
  const ReportSums sums = sums_of(R"({"by":["day","referrer"],"limit":1})");
  EXPECT_EQ(write_report(sums.report(), sums.question()),
            "by,value,clicks,bots,visitors\r\n"
            "total,,4,1,2\r\n"
            "day,2024-10-03,3,0,2\r\n"
            "day,2024-10-04,1,1,1\r\n"
            "referrer,a.test,2,,\r\n"
            "referrer,(other),1,,\r\n"
            "referrer,(none),1,,\r\n");
}

TEST(Report, GivesASpreadsheetNoFormula) {
  ReportSums sums(question_of(R"({"by":["utm_source"]})"));
  FiguresRow row{Span::day, 20'000, 1, {}};
  for (const char* text : {"=1+1", "+1", "-1", "@SUM(A1)", "plain"}) {
    Click click;
    click.utm.source = text;
    click.agent.device = Device::phone;
    row.figures.add(click);
  }
  sums.add(row);
  const std::string csv = write_report(sums.report(), sums.question());
  for (const char* text : {"'=1+1", "'+1", "'-1", "'@SUM(A1)", ",plain"}) EXPECT_NE(csv.find(text), csv.npos) << csv;
  EXPECT_EQ(csv.find(",="), csv.npos);
}

// Where ; separates, a cell begins inside of a value, which nothing quotes there.
TEST(Report, GivesASpreadsheetWithSemicolonsNoFormula) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a;=1+1", "utm_source,a;'=1+1,1,,\r\n"},   {"a; +1;-1", "utm_source,a; '+1;'-1,1,,\r\n"},
      {";;@x", "utm_source,;;'@x,1,,\r\n"},       {"a\t=1", "utm_source,a\t'=1,1,,\r\n"},
      {"a\n=1", "utm_source,\"a\n'=1\",1,,\r\n"}, {"a;\"=1\"", "utm_source,\"a;\"\"'=1\"\"\",1,,\r\n"},
      {" =1", "utm_source,\" '=1\",1,,\r\n"},     {"a;b=c;d-e", "utm_source,a;b=c;d-e,1,,\r\n"},
      {"\uff1d1", "utm_source,'\uff1d1,1,,\r\n"}, {"a;\uff0b1", "utm_source,a;'\uff0b1,1,,\r\n"},
      {"\uff0d1", "utm_source,'\uff0d1,1,,\r\n"}, {"\uff20x", "utm_source,'\uff20x,1,,\r\n"},
  };
  for (const auto& [value, row] : cases) {
    Report report;
    report.sections.emplace_back().by = "utm_source";
    report.sections[0].lines.push_back({value, 1});
    ReportQuestion question;
    question.format = ReportFormat::csv;
    const std::string csv = write_report(report, question);
    EXPECT_NE(csv.find(row), csv.npos) << csv;
  }
}

TEST(Report, IsWrittenAsJson) {
  const ReportSums sums = sums_of(R"({"by":["day","referrer"],"format":"json"})");
  const auto json = nlohmann::json::parse(write_report(sums.report(), sums.question()));
  EXPECT_EQ(json["clicks"], 4);
  EXPECT_EQ(json["by"]["day"]["values"][0],
            (nlohmann::json{{"value", "2024-10-03"}, {"clicks", 3}, {"bots", 0}, {"visitors", 2}}));
  EXPECT_EQ(json["by"]["referrer"]["none"], 1);
}

TEST(Report, IsAPageWithoutMarkupOfStrangers) {
  ReportSums sums(question_of(R"({"by":["utm_source"],"tag":"<b>","format":"html"})"));
  FiguresRow row{Span::day, 20'000, 1, {}};
  Click click;
  click.utm.source = "<script>alert(1)</script>";
  click.agent.device = Device::phone;
  row.figures.add(click);
  sums.add(row);
  const std::string page = write_report(sums.report(), sums.question());
  EXPECT_EQ(page.find("<script"), page.npos);
  EXPECT_EQ(page.find("<b>"), page.npos);
  EXPECT_NE(page.find("&lt;script&gt;"), page.npos);
}

TEST(Report, IsCutForAMail) {
  const ReportSums sums = sums_of(R"({"by":["day","referrer"]})");
  EXPECT_EQ(report_text(sums.report(), sums.question(), 1),
            "Clicks from 2024-09-05 to 2024-10-04\n\n4 clicks, 2 visitors, 1 by bots\n"
            "\nday\n  2024-10-03: 3\n  (other): 1\n"
            "\nreferrer\n  a.test: 2\n  (other): 1\n  (none): 1\n");
}

TEST(ReportsConfig, SaysWhoMayBeSentOne) {
  ReportsConfig config;
  EXPECT_FALSE(config.may_mail("ada@example.org"));
  config.mail_to = {"ada@example.org", "*@Example.com"};
  EXPECT_TRUE(config.may_mail("ada@example.org"));
  EXPECT_TRUE(config.may_mail("ada@EXAMPLE.org"));
  EXPECT_TRUE(config.may_mail("anybody@example.com"));
  for (const char* text : {"Ada@example.org", "bob@example.org", "a@mail.example.com", "a@example.com.evil.test",
                           "a@notexample.com", "", "@example.com@evil.test"})
    EXPECT_FALSE(config.may_mail(text)) << text;
}

}  // namespace
}  // namespace trellis::services::links
