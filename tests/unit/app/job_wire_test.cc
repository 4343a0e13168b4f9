#include "app/control/job_wire.h"

#include <gtest/gtest.h>

namespace trellis::app {
namespace {

using namespace std::chrono_literals;
using queue::Settled;
using queue::Verdict;

TEST(JobWire, ReadsBackClaimedJobs) {
  std::vector<queue::ClaimedJob> jobs(2);
  jobs[0] = {{.id = 7, .attempt = 3}, "send", std::string("\x00\xff{}", 4), 2, 10, 9};
  jobs[1] = {{.id = INT64_MAX, .attempt = INT64_MAX}, "k", "", 1, 1, 0};
  const auto read = read_claimed(write_claimed(jobs));
  ASSERT_TRUE(read) << read.error().to_string();
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ((*read)[0].lease.id, 7);
  EXPECT_EQ((*read)[0].lease.attempt, 3);
  EXPECT_EQ((*read)[0].kind, "send");
  EXPECT_EQ((*read)[0].payload, jobs[0].payload);
  EXPECT_EQ((*read)[0].tried, 2);
  EXPECT_EQ((*read)[0].max_attempts, 10);
  EXPECT_EQ((*read)[0].priority, 9);
  EXPECT_EQ((*read)[1].lease.attempt, INT64_MAX);
  EXPECT_TRUE(read_claimed(write_claimed({}))->empty());
}

TEST(JobWire, ReadsBackSettlements) {
  std::vector<queue::Settlement> settlements = {{{1, 2}, Verdict::ack, {}, {}},
                                                {{3, 4}, Verdict::retry, "later \"please\"", 1500ms},
                                                {{5, 6}, Verdict::bury, "no", {}},
                                                {{7, 8}, Verdict::release, {}, {}},
                                                {{9, 10}, Verdict::extend, {}, {}}};
  const auto read = read_settlements(write_settlements(settlements));
  ASSERT_TRUE(read) << read.error().to_string();
  ASSERT_EQ(read->size(), settlements.size());
  for (size_t i = 0; i < settlements.size(); ++i) {
    EXPECT_EQ((*read)[i].lease.id, settlements[i].lease.id);
    EXPECT_EQ((*read)[i].lease.attempt, settlements[i].lease.attempt);
    EXPECT_EQ((*read)[i].verdict, settlements[i].verdict);
    EXPECT_EQ((*read)[i].error, settlements[i].error);
    EXPECT_EQ((*read)[i].delay, settlements[i].delay);
  }
}

TEST(JobWire, ReadsBackOutcomes) {
  const std::vector<Settled> outcomes = {Settled::yes, Settled::stale, Settled::buried};
  const auto read = read_settled(write_settled(outcomes), 3);
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, outcomes);
  EXPECT_FALSE(read_settled(write_settled(outcomes), 2));
}

TEST(JobWire, TakesNothingThatIsOutOfItsLimits) {
  for (const char* text :
       {"", "[]", "{}", "{\"jobs\":{}}", "{\"jobs\":[1]}", "{\"jobs\":[],\"more\":1}", "{\"jobs\":[{\"id\":1}]}",
        R"({"jobs":[{"id":0,"attempt":1,"kind":"k","tried":1,"max_attempts":1,"priority":4,"payload_base64":""}]})",
        R"({"jobs":[{"id":1,"attempt":1,"kind":"a b","tried":1,"max_attempts":1,"priority":4,"payload_base64":""}]})",
        R"({"jobs":[{"id":1,"attempt":1,"kind":"k","tried":1,"max_attempts":1,"priority":10,"payload_base64":""}]})",
        R"({"jobs":[{"id":1,"attempt":1,"kind":"k","tried":1,"max_attempts":1,"priority":4,"payload_base64":"?"}]})"})
    EXPECT_FALSE(read_claimed(text)) << text;
  for (const char* text :
       {R"({"settlements":[{"id":1,"attempt":1}]})", R"({"settlements":[{"id":1,"attempt":1,"verdict":"eat"}]})",
        R"({"settlements":[{"id":1.5,"attempt":1,"verdict":"ack"}]})",
        R"({"settlements":[{"id":18446744073709551615,"attempt":1,"verdict":"ack"}]})",
        R"({"settlements":[{"id":1,"attempt":1,"verdict":"retry","delay_ms":-1}]})",
        R"({"settlements":[{"id":1,"attempt":1,"verdict":"retry","error":1}]})"})
    EXPECT_FALSE(read_settlements(text)) << text;
  EXPECT_FALSE(read_claimed(
      write_claimed(std::vector<queue::ClaimedJob>(kMaxClaimed + 1, {{.id = 1, .attempt = 1}, "k", "", 1, 1, 4}))));
  EXPECT_FALSE(read_settled(R"({"settled":["maybe"]})", 1));
}

}  // namespace
}  // namespace trellis::app
