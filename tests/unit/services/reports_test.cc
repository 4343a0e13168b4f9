// Reports of a service: asked for, made by a job, fetched, mailed, removed.
#include <gtest/gtest.h>

#include <string>

#include "queue/jobs_sqlite.h"
#include "services/links/clicks/figures_rows.h"
#include "services/links/reports/report_rows.h"
#include "services/mail/message.h"
#include "tests/unit/services/service_fixture.h"

namespace trellis::services::links {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

class Reports : public ServiceTest {
 protected:
  int64_t today() const { return unix_millis(system_clock().wall()) / millis_of(Span::day); }
  // Clicks of a link, and of all together.
  void count(int64_t link, int64_t day, int clicks, const std::string& referrer = "a.test") {
    std::vector<FiguresRow> rows(2);
    rows[0] = {Span::day, day, link, {}};
    rows[1] = {Span::day, day, kAllLinks, {}};
    for (FiguresRow& row : rows) {
      for (int i = 0; i < clicks; ++i) {
        Click click;
        click.referrer = referrer;
        click.agent.device = Device::phone;
        click.visitor = static_cast<uint64_t>(i + 1) * 0x9e3779b97f4a7c15;
        row.figures.add(click);
      }
    }
    ASSERT_TRUE(store_->write_now([&](store::SqliteConnection& db) { return add_figures(db, rows); }));
  }
  int64_t ask(const json& wanted) {
    const Answer answer = request("POST", "/v1/reports", wanted.dump());
    EXPECT_EQ(answer.status, 202) << answer.body;
    EXPECT_EQ(answer.field("Location"), "/v1/reports/" + std::to_string(answer.json().value("id", 0)));
    return answer.json().value("id", 0);
  }
  json report(int64_t id) { return request("GET", "/v1/reports/" + std::to_string(id)).json(); }
  Answer file(int64_t id) { return request("GET", "/v1/reports/" + std::to_string(id) + "/file"); }
  void begin_reports() { jobs_->work({queue::WorkerPlan{.queues = {kReportsQueue}}}, 10s); }
  void make_all() {
    const queue::QueueStats settled = jobs_settled(kReportsQueue);
    EXPECT_EQ(settled.delayed, 0);
  }
  std::vector<queue::JobRecord> mails() {
    auto task = queue_->list(mail::kMailQueue, queue::JobState::ready, 0, 100, kNever);
    return *fakes::run_task(*loop_, std::move(task));
  }
};

TEST_F(Reports, AreMadeInTheBackground) {
  start();
  const int64_t link = create("https://example.com/", {{"alias", "one"}}).json()["id"];
  count(link, today(), 3);
  const int64_t id = ask({{"by", {"day", "link", "referrer"}}, {"from", "2020-01-01"}});
  EXPECT_EQ(report(id)["state"], "waiting");
  EXPECT_EQ(file(id).status, 409);
  begin_reports();
  make_all();
  const json made = report(id);
  EXPECT_EQ(made["state"], "done") << made;
  EXPECT_EQ(made["progress"], 100);
  const Answer answer = file(id);
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body.size(), made["size"].get<size_t>());
  EXPECT_EQ(answer.field("Content-Type"), "text/csv; charset=utf-8");
  EXPECT_NE(answer.body.find("total,,3,0,3\r\n"), std::string::npos) << answer.body;
  EXPECT_NE(answer.body.find("link,one,3,0,3\r\nreferrer,"), std::string::npos) << answer.body;
  EXPECT_EQ(answer.body.find("link,", answer.body.find("link,") + 1), answer.body.npos) << answer.body;
  EXPECT_NE(answer.body.find("referrer,a.test,3,,\r\n"), std::string::npos) << answer.body;
  EXPECT_TRUE(mails().empty());
}

TEST_F(Reports, AreOfALinkOrOfATag) {
  start();
  const int64_t one = create("https://example.com/1", {{"alias", "one"}, {"tags", {"x"}}}).json()["id"];
  const int64_t two = create("https://example.com/2", {{"alias", "two"}, {"tags", {"x"}}}).json()["id"];
  const int64_t three = create("https://example.com/3", {{"alias", "three"}}).json()["id"];
  for (const int64_t link : {one, two, three}) {
    count(link, today(), 2);
    count(link, today() - 1, 1);
  }
  const int64_t of_tag = ask({{"tag", "x"}, {"by", {"day", "link"}}, {"format", "json"}});
  const int64_t of_link = ask({{"link", "three"}, {"by", {"day"}}, {"format", "json"}});
  const int64_t of_nothing = ask({{"tag", "none"}, {"by", {"day"}}, {"format", "json"}});
  begin_reports();
  make_all();
  const json tagged = file(of_tag).json();
  EXPECT_EQ(tagged["clicks"], 6);
  // The same two people, on both days, of both links.
  EXPECT_EQ(tagged["visitors"], 2);
  EXPECT_EQ(tagged["by"]["day"]["values"][1]["visitors"], 2);
  EXPECT_EQ(tagged["by"]["link"]["values"].size(), 2u);
  EXPECT_EQ(file(of_link).json()["clicks"], 3);
  EXPECT_EQ(file(of_link).json()["link"], "three");
  EXPECT_EQ(file(of_nothing).json()["clicks"], 0);
}

TEST_F(Reports, TakeAsManyPiecesAsTheyNeed) {
  start();
  int64_t last = 0;
  for (int i = 0; i < 230; ++i) {
    last = create("https://example.com/" + std::to_string(i), {{"tags", {"many"}}}).json()["id"];
    count(last, today(), 1);
  }
  const int64_t id = ask({{"tag", "many"}, {"by", {"link"}}, {"limit", 200}});
  begin_reports();
  make_all();
  const std::string csv = file(id).body;
  EXPECT_NE(csv.find("total,,230,0,1\r\n"), std::string::npos) << csv;
  EXPECT_NE(csv.find("link,(other),30,,\r\n"), std::string::npos) << csv;
}

TEST_F(Reports, AreMailedInTheWriteThatEndsThem) {
  config_.reports.mail_to = {"*@example.org"};
  start();
  count(1, today(), 3);
  EXPECT_EQ(request("POST", "/v1/reports", R"({"mail_to":"ada@example.com"})").status, 403);
  const int64_t id = ask({{"mail_to", "ada@example.org"}});
  begin_reports();
  make_all();
  const auto jobs = mails();
  ASSERT_EQ(jobs.size(), 1u);
  const auto message = mail::read_message(jobs[0].payload);
  ASSERT_TRUE(message) << message.error().to_string();
  EXPECT_EQ(message->to, "ada@example.org");
  EXPECT_NE(message->text.find("3 clicks"), std::string::npos);
  EXPECT_NE(message->text.find("https://go.example.com/v1/reports/" + std::to_string(id) + "/file"), std::string::npos);
  ASSERT_EQ(message->attachments.size(), 1u);
  EXPECT_EQ(message->attachments[0].name, "report-" + std::to_string(id) + ".csv");
  EXPECT_EQ(message->attachments[0].bytes, file(id).body);
  // The job a second time: as after a crash.
  enqueue(kReportsQueue, kMakeReport, std::to_string(id));
  make_all();
  EXPECT_EQ(mails().size(), 1u);
}

TEST_F(Reports, OfALinkThatIsDeletedMeanwhileFail) {
  start();
  code_of("https://example.com/");
  create("https://example.com/", {{"alias", "one"}});
  const int64_t id = ask({{"link", "one"}});
  ASSERT_EQ(request("DELETE", "/v1/links/one").status, 204);
  EXPECT_EQ(request("POST", "/v1/reports", R"({"link":"one"})").status, 410);
  EXPECT_EQ(request("POST", "/v1/reports", R"({"link":"never"})").status, 404);
  begin_reports();
  make_all();
  EXPECT_EQ(report(id)["state"], "failed");
  EXPECT_EQ(report(id)["error"], "the link was deleted meanwhile");
  EXPECT_EQ(file(id).status, 409);
}

TEST_F(Reports, AreAskedForOnceWithAKey) {
  config_.reports.mail_to = {"*@example.com"};
  start();
  create("https://example.com/", {{"alias", "one"}});
  const std::string wanted = R"({"link":"one","mail_to":"ada@example.com"})";
  const Headers key = {{"Idempotency-Key", "monday"}};
  const Answer first = request("POST", "/v1/reports", wanted, key);
  ASSERT_EQ(first.status, 202) << first.body;
  const Answer other = request("POST", "/v1/reports", R"({"link":"one"})", key);
  EXPECT_EQ(other.status, 422);
  EXPECT_EQ(other.json()["code"], "idempotency_key_reused");
  EXPECT_EQ(request("POST", "/v1/links", wanted, key).status, 400);  // each path has keys of its own
  stop();
  start();
  // Also when it would be refused by now.
  request("DELETE", "/v1/links/one");
  const Answer again = request("POST", "/v1/reports", wanted, key);
  EXPECT_EQ(again.status, 202);
  EXPECT_EQ(again.body, first.body);
  EXPECT_EQ(again.field("Location"), first.field("Location"));
  EXPECT_EQ(request("GET", "/v1/reports").json()["items"].size(), 1u);
  EXPECT_EQ(request("POST", "/v1/reports", wanted, {{"Idempotency-Key", ""}}).status, 400);
}

TEST_F(Reports, AreListedAndDeleted) {
  start();
  for (int i = 0; i < 3; ++i) ask(json::object());
  const json first = request("GET", "/v1/reports?limit=2").json();
  ASSERT_EQ(first["items"].size(), 2u);
  EXPECT_EQ(first["items"][0]["id"], 3);
  const json second = request("GET", "/v1/reports?limit=2&cursor=" + first["next"].get<std::string>()).json();
  ASSERT_EQ(second["items"].size(), 1u);
  EXPECT_TRUE(second["next"].is_null());
  EXPECT_EQ(request("GET", "/v1/reports?limit=0").status, 400);
  EXPECT_EQ(request("GET", "/v1/reports?more=1").status, 400);
  EXPECT_EQ(request("DELETE", "/v1/reports/2").status, 204);
  EXPECT_EQ(request("DELETE", "/v1/reports/2").status, 404);
  EXPECT_EQ(request("GET", "/v1/reports/2").status, 404);
  EXPECT_EQ(file(2).status, 404);
  begin_reports();
  make_all();
  EXPECT_EQ(request("GET", "/v1/reports").json()["items"].size(), 2u);
  EXPECT_EQ(request("DELETE", "/v1/reports/3").status, 204);
  EXPECT_EQ(file(3).status, 404);
}

TEST_F(Reports, AreRemovedWhenTheyAreOld) {
  start();
  begin_reports();
  const int64_t old = ask(json::object());
  const int64_t fresh = ask(json::object());
  make_all();
  ASSERT_TRUE(store_->write_now([&](store::SqliteConnection& db) {
    return db.execute("UPDATE link_reports SET created_at = created_at - ?2 WHERE id = ?1", old,
                      std::chrono::milliseconds(24h * 8).count());
  }));
  enqueue(kReportsQueue, kRemoveReports);
  make_all();
  EXPECT_EQ(file(old).status, 404);
  EXPECT_EQ(file(fresh).status, 200);
}

TEST_F(Reports, AreRepeated) {
  RepeatedReport weekly;
  weekly.name = "weekly";
  weekly.cron = "0 6 * * mon";
  weekly.by = {"day"};
  weekly.mail_to = "boss@example.org";
  config_.reports.repeat = {weekly};
  start();
  begin_jobs();
  const auto schedules = fakes::run_task(*loop_, schedules_->list(kNever));
  const auto found =
      std::ranges::find_if(*schedules, [](const auto& one) { return one.name == "links.report.weekly"; });
  ASSERT_NE(found, schedules->end());
  EXPECT_EQ(found->cron, "0 6 * * mon");
  count(1, today(), 50);
  count(1, today() - 1, 3);
  count(1, today() - 7, 2);
  count(1, today() - 8, 50);
  enqueue(kReportsQueue, kRepeatReport, found->payload);
  make_all();
  const json all = request("GET", "/v1/reports").json()["items"];
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0]["state"], "done");
  EXPECT_NE(file(all[0]["id"]).body.find("total,,5,0,3\r\n"), std::string::npos);
  EXPECT_EQ(mails().size(), 1u);
}

}  // namespace
}  // namespace trellis::services::links
