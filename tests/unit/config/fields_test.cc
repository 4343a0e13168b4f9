#include "config/fields.h"

#include <gtest/gtest.h>

#include "tests/unit/config/demo_schema.h"

namespace trellis::config {
namespace {

using namespace std::chrono_literals;

using namespace demo;

struct Read {
  std::optional<Root> root;
  std::string problems;
};
Read read_text(std::string_view text) {
  Problems problems;
  const Node node = parse(text, "edge.yaml", {}, problems);
  Read out;
  out.root = read<Root>(node, problems);
  out.problems = problems.to_string();
  return out;
}

TEST(Fields, ReadsEveryKindOfMember) {
  const Read got = read_text(R"(node: edge-1
http2: false
ratio: 0.25
share: 99.95%
memory: 512KiB
balance: maglev
format: text
backoff: 10ms..1s
ports: [1, 2, 100]
hosts: ["10.0.0.1:80", { address: "[::1]:81", weight: 5 }]
limits: { api: { rate: 5, burst: 6 }, web: {}, none: }
ordered: { zebra: { rate: 1 }, ant: {} }
ttl: { 200: 60s, 404: 10s }
which: { dns: api.internal }
several: [{ address: a }, { dns: b }]
filters:
  - limit: { rate: 7 }
  - limit
  - named: { address: x }
  - number: 5
services: { named: { address: y } }
extra: { a: [1, 2] }
rate: 100/min
inner: { counter: "db.internal:6379" }
)");
  ASSERT_EQ(got.problems, "");
  ASSERT_TRUE(got.root);
  const Root& root = *got.root;
  EXPECT_EQ(root.node, "edge-1");
  EXPECT_FALSE(root.http2);
  EXPECT_EQ(root.share, 0.9995);
  EXPECT_EQ(root.memory, 512 * kKiB);
  EXPECT_EQ(root.balance, Balance::maglev);
  EXPECT_EQ(root.backoff, (DurationRange{10ms, 1s}));
  EXPECT_EQ(root.ports, (std::vector<uint16_t>{1, 2, 100}));
  ASSERT_EQ(root.hosts.size(), 2u);
  EXPECT_EQ(root.hosts[1].address.to_text(), "[::1]:81");
  EXPECT_EQ(root.limits.at("api").burst, 6u);
  EXPECT_EQ(root.limits.at("none").burst, 200u);
  ASSERT_EQ(root.ordered.size(), 2u);
  EXPECT_EQ(root.ordered[0].first, "zebra");
  EXPECT_EQ(root.ttl.at(404), 10s);
  EXPECT_EQ(std::get<Looked>(root.which).dns, "api.internal");
  EXPECT_EQ(std::get<Named>(root.several.at(0)).address, "a");
  ASSERT_EQ(root.filters.size(), 4u);
  EXPECT_EQ(root.filters[0].as<LimitConfig>()->rate, 7u);
  EXPECT_EQ(root.filters[1].as<LimitConfig>()->rate, 100u);
  EXPECT_EQ(root.filters[2].as<LimitConfig>(), nullptr);
  EXPECT_EQ(*root.filters[3].as<int>(), 5);
  EXPECT_EQ(root.services.at(0).name, "named");
  EXPECT_EQ(root.extra.find("a").size(), 2u);
  EXPECT_EQ(root.rate.per, 60s);
  EXPECT_EQ(root.inner->counter->host, "db.internal");
}

TEST(Fields, ReportsEveryProblemAtItsPlaceAtOnce) {
  const Read got = read_text(R"(node: edge-1
limits:
  api:
    rate: "fast"
    brust: 3
  web: { rate: 10, burst: 5 }
http2: yes
memory: 12
)");
  EXPECT_FALSE(got.root);
  EXPECT_EQ(got.problems,
            "edge.yaml:4:11: limits.api.rate: expected integer 1..1000000, got \"fast\"\n"
            "edge.yaml:5:5: limits.api.brust: unknown key; did you mean \"burst\"?\n"
            "edge.yaml:6:27: limits.web.burst: must be at least rate\n"
            "edge.yaml:7:8: http2: expected true or false, got \"yes\"; did you mean \"true\"?\n"
            "edge.yaml:8:9: memory: expected size 1KiB..1GiB, got \"12\": the unit is missing: B, KiB, MiB or GiB\n");
}

}  // namespace
}  // namespace trellis::config
