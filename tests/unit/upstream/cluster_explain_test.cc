// What a cluster tells who asks why.
#include <algorithm>

#include "http/explain.h"
#include "tests/fakes/decisions.h"
#include "tests/unit/upstream/cluster_kit.h"

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;
using namespace test;

class ClusterExplains : public UpstreamCluster {
 protected:
  std::vector<std::string> told(Cluster& c, Method method = Method::get) {
    Asked asked(*loop_, method);
    http::Explain explain(*loop_, loop_->now());
    asked.context.explain = &explain;
    auto answer = send(c, asked);
    http::Fields fields(asked.arena);
    explain.write(fields);
    return fakes::decisions_in(fields);
  }
  static bool is_try(const std::string& decision) { return decision.starts_with("try "); }
  static std::string line(const std::vector<std::string>& lines, std::string_view begin) {
    const auto found = std::ranges::find_if(lines, [&](const std::string& one) { return one.starts_with(begin); });
    return found == lines.end() ? "" : *found;
  }
};

TEST_P(ClusterExplains, WhoWasChosenAndHowTheOthersStood) {
  config_.balance = Balance::least_connections;
  FarServer far(*loop_, answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"));
  const net::Address gone = nowhere();
  Cluster& c = cluster({far.address(), gone});
  const std::string good = far.address().to_string();
  hosts_->set_draining(*(*hosts_->list())[1], true, loop_->now());
  const std::vector<std::string> first = told(c);
  EXPECT_TRUE(line(first, "upstream ").starts_with("upstream api: 1 of 2 hosts up, 1 to choose from"))
      << line(first, "upstream ");
  EXPECT_EQ(line(first, "pick "), "pick " + good + " by least_connections; " + good + " 0 under way, cost 0, " +
                                      gone.to_string() + " draining");
  EXPECT_EQ(line(first, "connection "), "connection a new one");
  EXPECT_TRUE(line(first, "try ").starts_with("try " + good + ": status 200 after ")) << line(first, "try ");
  EXPECT_EQ(line(told(c), "connection "), "connection one that was kept");
}

TEST_P(ClusterExplains, EachTryAndWhyThereIsNoOther) {
  config_.retry.attempts = 2;
  config_.retry.on.push_back(RetryOn::s503);
  FarServer far(*loop_, answers("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"));
  const net::Address gone = nowhere();
  Cluster& c = cluster({gone, far.address()});
  // In turns: one of two begins with the host that refuses.
  bool both = false;
  for (int i = 0; i < 2; ++i) {
    const std::vector<std::string> lines = told(c, Method::post);
    EXPECT_EQ(line(lines, "retry "),
              "retry none: " + std::string(std::ranges::count_if(lines, is_try) == 2
                                               ? "retry.attempts are used up"
                                               : "the method is not idempotent, and it was sent"));
    if (std::ranges::count_if(lines, is_try) < 2) continue;
    both = true;
    const auto first = std::ranges::find_if(lines, is_try);
    const auto second = std::find_if(first + 1, lines.end(), is_try);
    EXPECT_TRUE(first->starts_with("try " + gone.to_string() + ": connect")) << *first;
    EXPECT_TRUE(second->starts_with("try " + far.address().to_string() + ": status 503 after ")) << *second;
  }
  EXPECT_TRUE(both);
}

TEST_P(ClusterExplains, ThatTheHostsWantToBeLeftAloneForLonger) {
  config_.retry.on = {RetryOn::s503};
  config_.timeouts.total = 2s;
  FarServer far(*loop_, answers("HTTP/1.1 503 Busy\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n"));
  Cluster& c = cluster({far.address()});
  EXPECT_EQ(line(told(c), "retry "), "retry none: all were asked, and the pause before the next try ends too late");
}

TEST_P(ClusterExplains, ThatNoReasonOfRetriesHolds) {
  config_.retry.on = {RetryOn::timeout};
  Cluster& c = cluster({nowhere()});
  EXPECT_EQ(line(told(c, Method::post), "retry "), "retry none: not a reason of retry.on")
      << "nothing was sent, so it is not for the method";
}

TEST_P(ClusterExplains, WhichLimitRefused) {
  breaker_ = std::make_shared<Breaker>("api", BreakerConfig{.min_requests = 1, .probes = 1}, 1, 7);
  Cluster& c = cluster({nowhere()});
  ask(c);
  const std::vector<std::string> lines = told(c);
  EXPECT_NE(line(lines, "upstream ").find("breaker open"), std::string::npos) << line(lines, "upstream ");
  EXPECT_TRUE(line(lines, "limit ").starts_with("limit upstream_open: ")) << line(lines, "limit ");
}

TEST_P(ClusterExplains, ThatThereIsNobody) {
  Cluster& c = cluster({});
  EXPECT_EQ(line(told(c), "pick "), "pick nobody");
}

INSTANTIATE_TEST_SUITE_P(Io, ClusterExplains, testing::Values(IoKind::uring, IoKind::epoll), io_name);

}  // namespace
}  // namespace trellis::upstream
