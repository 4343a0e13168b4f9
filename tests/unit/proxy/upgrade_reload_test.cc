// A WebSocket that outlives the configuration it began with: what its line in the access log says at its end must not
// lie in what the reload took away. Under AddressSanitizer that shows at once; elsewhere by names long enough to be on
// the heap.
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/file_writer.h"
#include "base/metrics.h"
#include "http/server.h"
#include "proxy/access_log.h"
#include "proxy/filters/headers.h"
#include "proxy/filters/split.h"
#include "proxy/forward.h"
#include "proxy/pipeline.h"
#include "tests/unit/http/wire_kit.h"
#include "tests/unit/proxy/filter_parts_kit.h"
#include "upstream/cluster.h"

namespace trellis::proxy {
namespace {

using namespace http::test;

constexpr const char* kAgent = "an-agent-that-the-configuration-has-set/1.0";
constexpr const char* kWay = "a-way-whose-name-is-too-long-for-a-small-string";
constexpr const char* kRoute = "a-route-whose-name-is-too-long-for-a-small-string";
constexpr const char* kUpstream = "an-upstream-whose-name-is-too-long-for-a-small-string";
constexpr const char* kHost = "a-host-whose-name-is-too-long-for-a-small-string:80";

class UpgradeReload : public OnBothBackends {
 protected:
  UpgradeReload() {
    path_ = std::filesystem::path(testing::TempDir()) / ("upgrade-reload-" + std::to_string(::getpid()) + ".log");
    std::filesystem::remove(path_);
  }
  ~UpgradeReload() override { std::filesystem::remove(path_); }

  // All that a configuration becomes; nothing but its users keeps it.
  std::shared_ptr<Pipeline> pipeline(const net::Address& address, const std::string& agent) {
    auto hosts = std::make_shared<upstream::Hosts>(kUpstream, 1, upstream::Balance::round_robin, metrics_);
    hosts->set_members({{.name = kHost, .authority = "far:80", .address = address}}, Time::min());
    auto cluster = std::make_shared<upstream::Cluster>(std::move(hosts), upstream::UpstreamConfig(), metrics_);

    HeadersConfig headers;
    headers.request.set = {{"User-Agent", agent}, {"Referer", agent + "/from"}};
    SplitConfig split;
    split.ways.push_back({.name = kWay, .share = 1, .to = {}, .when = {}});
    TaskGroup background;
    const FilterParts filter_parts{
        .route = kRoute,
        .metrics = metrics_,
        .make_target = [&](const TargetConfig&) -> Result<std::shared_ptr<http::Handler>> {
          return std::shared_ptr<http::Handler>(std::make_shared<Forward>(cluster, "edge-1"));
        },
        .background = background,
        .memory = std::make_shared<HeldMemory>()};
    std::vector<std::unique_ptr<Filter>> filters;
    filters.push_back(std::make_unique<HeadersFilter>(headers));
    filters.push_back(*SplitFilter::make(split, filter_parts));

    PipelineParts parts;
    parts.listener = "web";
    std::vector<RouteProblem> problems;
    parts.router =
        std::make_shared<const Router>(Router::compile(std::vector<Match>{{"", "/**", {}, {}, {}}}, problems));
    parts.access_log = log_;
    parts.targets.push_back(std::make_unique<Forward>(cluster, "edge-1"));
    PipelineRoute route;
    route.name = kRoute;
    route.figures = std::make_shared<RouteFigures>(metrics_, kRoute);
    route.counts = std::make_shared<RouteCounts>(metrics_, "web", kRoute);
    route.chain = std::make_unique<Chain>(std::move(filters), *parts.targets.front());
    parts.routes.push_back(std::move(route));
    parts.unrouted.name = "none";
    parts.unrouted.figures = std::make_shared<RouteFigures>(metrics_, "none");
    parts.unrouted.counts = std::make_shared<RouteCounts>(metrics_, "web", "none");
    return std::make_shared<Pipeline>(std::move(parts), metrics_);
  }

  std::filesystem::path path_;
  Metrics metrics_;
  std::shared_ptr<AccessLog> log_;
};

TEST_P(UpgradeReload, TheLineOfAWebSocketTellsOfTheConfigurationItBeganWith) {
  log_ = *AccessLog::open({.path = path_.string()}, "edge-1");
  Event over;
  FarServer far(*loop_, [&over](Socket& socket, int) {
    return [](Socket& to, Event& ends) -> Task<> {
      auto head = co_await receive_until(to, "\r\n\r\n", kNever);
      if (!head || head->empty()) co_return;
      auto sent = co_await send_text(
          to, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", kNever);
      if (sent) co_await ends.wait(kNever);
    }(socket, over);
  });
  auto first = pipeline(far.address(), kAgent);
  const std::weak_ptr<Pipeline> gone = first;
  http::Server server(http::ServerOptions{.listener = "web"}, std::move(first));
  TcpPair pair = tcp_pair(*loop_);
  server.accept(pair.fd);
  auto asked = fakes::run_task(
      *loop_, send_text(pair.far, "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
                        soon()));
  ASSERT_TRUE(asked);
  auto answer = fakes::run_task(*loop_, receive_until(pair.far, "\r\n\r\n", soon()));
  ASSERT_TRUE(answer && answer->starts_with("HTTP/1.1 101 ")) << *answer;

  server.set_application(pipeline(far.address(), "another-agent-that-is-set-by-the-second-one/2.0"));
  turns(3);
  EXPECT_TRUE(gone.expired()) << "nothing of the old configuration is left";
  const std::vector<std::string> others(64, std::string(48, '#'));  // where it lay

  pair.far.close();
  over.set();
  EXPECT_TRUE(until([&] { return server.connections() == 0; }));
  log_->writer().flush();
  std::ifstream file(path_);
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  const auto told = nlohmann::json::parse(line, nullptr, false);
  ASSERT_TRUE(told.is_object()) << line;
  EXPECT_EQ(told.value("user_agent", ""), kAgent);
  EXPECT_EQ(told.value("referer", ""), std::string(kAgent) + "/from");
  EXPECT_EQ(told.value("way", ""), kWay);
  EXPECT_EQ(told.value("route", ""), kRoute);
  EXPECT_EQ(told.value("upstream", ""), kUpstream);
  EXPECT_EQ(told.value("upstream_host", ""), kHost);
  EXPECT_EQ(told.value("status", 0), 101);
}

INSTANTIATE_TEST_SUITE_P(Io, UpgradeReload, testing::Values(IoKind::uring, IoKind::epoll), io_name);

}  // namespace
}  // namespace trellis::proxy
