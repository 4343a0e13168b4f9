#include "app/node/status.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace trellis::app {
namespace {

using namespace std::chrono_literals;

TEST(Status, RatesAreDifferencesOverTheWindow) {
  const Time start = Time(1000s);
  Status status("edge-1", 2, "epoll", start);
  uint64_t requests = 1000;
  uint64_t errors = 5;
  uint64_t hits = 0;
  uint64_t misses = 0;
  TierSource tier{.id = "edge", .name = "Edge", .kind = "proxy"};
  tier.requests = [&] { return requests; };
  tier.errors = [&] { return errors; };
  tier.hits = [&] { return hits; };
  tier.misses = [&] { return misses; };
  tier.gauges.emplace_back("in_flight", [] { return 3.0; });
  std::vector<TierSource> tiers;
  tiers.push_back(std::move(tier));
  status.set_tiers(std::move(tiers));

  status.sample(start);
  auto first = nlohmann::json::parse(status.json(start));
  EXPECT_EQ(first["node"], "edge-1");
  EXPECT_EQ(first["cores"], 2);
  EXPECT_FALSE(first["tiers"][0]["figures"].contains("requests_per_second")) << "one sample makes no rate";
  EXPECT_EQ(first["tiers"][0]["figures"]["in_flight"], 3.0);

  for (int second = 1; second <= 10; ++second) {
    requests += 200;
    errors += 1;
    hits += 3;
    misses += 1;
    status.sample(start + std::chrono::seconds(second));
  }
  auto later = nlohmann::json::parse(status.json(start + 10s));
  const auto& figures = later["tiers"][0]["figures"];
  EXPECT_DOUBLE_EQ(figures["requests_per_second"], 200.0);
  EXPECT_DOUBLE_EQ(figures["errors_per_second"], 1.0);
  EXPECT_DOUBLE_EQ(figures["hit_ratio"], 0.75);
  EXPECT_DOUBLE_EQ(later["uptime_seconds"], 10.0);
}

TEST(Status, NewTiersBeginAnew) {
  Status status("n", 1, "epoll", Time(0s));
  for (int i = 0; i < 2; ++i) {
    std::vector<TierSource> tiers;
    tiers.push_back(
        {.id = "edge", .name = "Edge", .kind = "proxy", .requests = [i] { return i == 0 ? 1'000'000U : 0U; }});
    status.set_tiers(std::move(tiers));
    status.sample(Time(std::chrono::seconds(i)));
    EXPECT_FALSE(nlohmann::json::parse(status.json(Time(5s)))["tiers"][0]["figures"].contains("requests_per_second"));
  }
  status.set_tiers({});
  EXPECT_TRUE(nlohmann::json::parse(status.json(Time(5s)))["tiers"].empty());
}

}  // namespace
}  // namespace trellis::app
