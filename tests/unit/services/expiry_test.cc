// The job that takes expired links away.
#include "services/links/expiry.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/services/service_fixture.h"

namespace trellis::services::links {
namespace {

using namespace std::chrono_literals;

class Expiry : public ServiceTest {
 protected:
  // As if it had been made with that time and the time had come.
  void expire(const std::string& code, Duration ago) {
    const int64_t at = unix_millis(system_clock().wall() - ago);
    ASSERT_TRUE(store_->write_now([&](store::SqliteConnection& db) {
      return db.execute("UPDATE links SET expires_at = ?2 WHERE code = ?1", code, at);
    }));
  }
  std::string make_expired(const std::string& url, Duration ago) {
    const std::string code = code_of(url);
    expire(code, ago);
    return code;
  }
  int64_t expired_rows() {
    const auto counted = store_->write_now([](store::SqliteConnection& db) -> Result<int64_t> {
      TRY(store::Query row, db.query("SELECT count(*) FROM links WHERE expires_at IS NOT NULL"));
      TRY_VOID(row.next());
      return row.integer(0);
    });
    EXPECT_TRUE(counted);
    return *counted;
  }
  void remove_expired_now() {
    enqueue(kLinksQueue, kRemoveExpired);
    const queue::QueueStats settled = jobs_settled(kLinksQueue);
    EXPECT_EQ(settled.dead + settled.delayed, 0);
  }
};

TEST_F(Expiry, LeavesATombstoneOfWhatExpiredLongAgo) {
  start();
  begin_jobs();
  const std::string old = make_expired("https://example.com/old", 24h * 31);
  const std::string recent = make_expired("https://example.com/recent", 24h * 29);
  const std::string lasting = code_of("https://example.com/lasting");
  remove_expired_now();
  EXPECT_EQ(request("GET", "/" + old).status, 410);
  EXPECT_EQ(request("GET", "/v1/links/" + old).status, 410);
  EXPECT_EQ(request("GET", "/v1/links/" + recent).status, 200);
  EXPECT_EQ(request("GET", "/" + lasting).status, 302);
  // The code stays taken.
  EXPECT_EQ(create("https://example.com/other", {{"alias", old}}).status, 409);
}

TEST_F(Expiry, TakesAsManyPiecesAsItNeedsAndIsHarmlessTwice) {
  start();
  begin_jobs();
  for (int i = 0; i < 210; ++i) make_expired("https://example.com/" + std::to_string(i), 24h * 40);
  const std::string kept = make_expired("https://example.com/kept", 1h);
  remove_expired_now();
  EXPECT_EQ(expired_rows(), 1);
  remove_expired_now();
  EXPECT_EQ(expired_rows(), 1);
  EXPECT_EQ(request("GET", "/v1/links/" + kept).status, 200);
}

TEST_F(Expiry, SparesALinkWhoseEndWasMovedAway) {
  start();
  begin_jobs();
  const std::string code = make_expired("https://example.com/", 24h * 40);
  EXPECT_EQ(request("PATCH", "/v1/links/" + code, R"({"expires_at":null})").status, 200);
  remove_expired_now();
  EXPECT_EQ(request("GET", "/" + code).status, 302);
}

TEST_F(Expiry, IsToldToWebhooksInTheWriteThatRemoves) {
  start();
  ASSERT_EQ(request("POST", "/v1/webhooks", R"({"url":"https://a.test/","events":["link.expired"]})").status, 201);
  ASSERT_EQ(request("POST", "/v1/webhooks", R"({"url":"https://b.test/","events":["link.deleted"]})").status, 201);
  const std::string old = make_expired("https://example.com/old", 24h * 31);
  make_expired("https://example.com/recent", 24h);
  jobs_->work({queue::WorkerPlan{.queues = {kLinksQueue}}}, 10s);
  remove_expired_now();
  auto listing = queue_->list("webhooks", queue::JobState::ready, 0, 100, kNever);
  const auto jobs = fakes::run_task(*loop_, std::move(listing));
  ASSERT_TRUE(jobs);
  ASSERT_EQ(jobs->size(), 1u);
  const auto told = nlohmann::json::parse(jobs->front().payload);
  EXPECT_EQ(told["event"], "link.expired");
  EXPECT_EQ(told["webhook"], 1);
  EXPECT_EQ(told["link"]["code"], old);
}

TEST_F(Expiry, IsRepeatedEachHour) {
  start();
  begin_jobs();
  const auto schedules = fakes::run_task(*loop_, schedules_->list(kNever));
  const auto found =
      std::ranges::find_if(*schedules, [](const auto& one) { return one.name == "links.remove-expired"; });
  ASSERT_NE(found, schedules->end());
  EXPECT_EQ(found->kind, kRemoveExpired);
  EXPECT_EQ(found->cron, "17 * * * *");
}

}  // namespace
}  // namespace trellis::services::links
