// What a cluster tells who asks why.
#include <algorithm>

#include "http/explain.h"
#include "tests/unit/upstream/cluster_kit.h"

namespace trellis::upstream {
namespace {

using namespace std::chrono_literals;
using namespace test;

class ClusterExplains : public UpstreamCluster {
 protected:
  // "step detail" of each decision for one request.
  std::vector<std::string> told(Cluster& c, Method method = Method::get) {
    Asked asked(*loop_, method);
    http::Explain explain(*loop_, loop_->now());
    asked.context.explain = &explain;
    auto answer = send(c, asked);
    http::Fields fields(asked.arena);
    explain.write(fields);
    std::vector<std::string> lines;
    for (const http::Field& field : fields) {
      if (field.id != http::FieldId::x_trellis_explain) continue;
      const std::string_view text = field.value;
      const size_t detail = text.find("d=\"") + 3;
      lines.push_back(std::string(text.substr(0, text.find(';'))) + " " +
                      std::string(text.substr(detail, text.size() - detail - 1)));
    }
    return lines;
  }
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
  EXPECT_EQ(line(first, "pick "), "pick " + good + " by least_connections; " + good + " 0 under way, cost 1, " +
                                      gone.to_string() + " draining");
  EXPECT_EQ(line(first, "connection "), "connection a new one");
  EXPECT_TRUE(line(first, "try ").starts_with("try " + good + ": status 200 after ")) << line(first, "try ");
  EXPECT_EQ(line(told(c), "connection "), "connection one that was kept");
}

TEST_P(ClusterExplains, EachTryAndWhyThereIsNoOther) {
  config_.retry.attempts = 2;
  config_.retry.on.push_back(RetryOn::s503);
  FarServer far(*loop_, answers("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"));
  Cluster& c = cluster({nowhere(), far.address()});
  size_t tries = 0;
  for (const std::string& one : told(c, Method::post)) tries += one.starts_with("try ");
  const std::vector<std::string> lines = told(c, Method::post);
  EXPECT_EQ(line(lines, "retry "), "retry none: the method is not idempotent, and it was sent");
  EXPECT_GE(tries, 1U);
  // Asked safely it goes on until it may not.
  EXPECT_EQ(line(told(c), "retry "), "retry none: retry.attempts are used up");
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
