#include "config/fields.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>

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

TEST(Fields, KeepTheirDefaultsWhenNothingIsGiven) {
  const Read got = read_text("");
  ASSERT_TRUE(got.root) << got.problems;
  EXPECT_TRUE(got.root->http2);
  EXPECT_EQ(got.root->memory, 64 * kMiB);
  EXPECT_FALSE(got.root->inner);
  EXPECT_TRUE(got.root->hosts.empty());
  EXPECT_FALSE(got.root->extra);
}

struct Numbers {
  int8_t small = 0;
  uint8_t byte = 0;
  int64_t large = 0;
  uint64_t largest = 0;
  double number = 0;
  std::optional<uint16_t> port;
  std::optional<std::vector<int>> list;
  static Fields<Numbers> fields() {
    return {{"small", "", &Numbers::small},
            {"byte", "", &Numbers::byte},
            {"large", "", &Numbers::large},
            {"largest", "", &Numbers::largest},
            {"number", "", &Numbers::number},
            {"port", "", &Numbers::port, range(1, 65535)},
            {"list", "", &Numbers::list, range(-5, 5)}};
  }
};

template <class T>
std::string problems_of(std::string_view text, std::optional<T>* out = nullptr) {
  Problems problems;
  const Node node = parse(text, "a.yaml", {}, problems);
  std::optional<T> value = read<T>(node, problems);
  EXPECT_EQ(value.has_value(), problems.empty());
  if (out != nullptr) *out = std::move(value);
  return problems.to_string();
}

TEST(Fields, HoldIntegersToTheirType) {
  std::optional<Numbers> got;
  EXPECT_EQ(problems_of<Numbers>("{small: -128, byte: 255, large: -9223372036854775808, largest: 18446744073709551615, "
                                 "number: -1.5e3, port: 65535, list: [-5, 0, 5]}",
                                 &got),
            "");
  EXPECT_EQ(got->small, -128);
  EXPECT_EQ(got->large, INT64_MIN);
  EXPECT_EQ(got->largest, UINT64_MAX);
  EXPECT_EQ(got->number, -1500.0);
  EXPECT_EQ(got->list->size(), 3u);
  EXPECT_EQ(problems_of<Numbers>("small: 128"), "a.yaml:1:8: small: expected integer -128..127, got \"128\"\n");
  EXPECT_EQ(problems_of<Numbers>("byte: 256"), "a.yaml:1:7: byte: expected integer 0..255, got \"256\"\n");
  EXPECT_EQ(problems_of<Numbers>("large: 9223372036854775808"),
            "a.yaml:1:8: large: expected integer, got \"9223372036854775808\"\n");
  EXPECT_EQ(problems_of<Numbers>("largest: 18446744073709551616"),
            "a.yaml:1:10: largest: expected integer from 0, got \"18446744073709551616\"\n");
  EXPECT_EQ(problems_of<Numbers>("list: [-6]"), "a.yaml:1:8: list[0]: expected integer -5..5, got \"-6\"\n");
  for (const char* text :
       {"5.0", "+5", "0x5", "05", "1_000", "--5", "five", "''", "'5 '", "9999999999999999999999999"}) {
    EXPECT_NE(problems_of<Numbers>("large: " + std::string(text)), "") << text;
  }
}

TEST(Fields, TakeNothingAsUnsetOnlyWhereItIsOptional) {
  std::optional<Numbers> got;
  EXPECT_EQ(problems_of<Numbers>("port:\nlist: ~\n", &got), "");
  EXPECT_FALSE(got->port);
  EXPECT_EQ(problems_of<Numbers>("byte:\n"), "a.yaml:1:1: byte: expected integer 0..255, got nothing\n");
}

struct Needed {
  std::string name;
  std::vector<int> list;
  std::map<std::string, int> map;
  std::string password;
  static Fields<Needed> fields() {
    return {{"name", "", &Needed::name, kRequired},
            {"list", "", &Needed::list, kRequired},
            {"map", "", &Needed::map},
            {"password", "", &Needed::password, words({"a", "b"}), kRequired, kSecret}};
  }
};

TEST(Fields, ThatAreRequiredMustHoldSomething) {
  EXPECT_EQ(problems_of<Needed>("{}"),
            "a.yaml:1:1: name: required, but missing\n"
            "a.yaml:1:1: list: required, but missing\n"
            "a.yaml:1:1: password: required, but missing\n");
  EXPECT_EQ(problems_of<Needed>("{name: '', list: [], password: ~}"),
            "a.yaml:1:8: name: required, but empty\n"
            "a.yaml:1:18: list: required, but empty\n"
            "a.yaml:1:22: password: required, but empty\n");
}

TEST(Fields, ThatAreSecretAreNeverShown) {
  EXPECT_EQ(problems_of<Needed>("{name: x, list: [1], password: hunter2}"),
            "a.yaml:1:32: password: expected one of a, b\n");
}

struct Leaf {
  int low = 1;
  int high = 2;
  static Fields<Leaf> fields() { return {{"low", "", &Leaf::low}, {"high", "", &Leaf::high}}; }
  void check(Checker& at) const {
    if (low > high) at.problem("high", "must be at least low");
  }
};
struct Top {
  std::vector<Leaf> leaves;
  std::string to;
  int a = 0;
  int b = 0;
  static Fields<Top> fields() {
    return {{"leaves", "", &Top::leaves}, {"to", "", &Top::to}, {"a", "", &Top::a}, {"b", "", &Top::b}};
  }
  void check(Checker& at) {
    at.at_most_one({"a", "b"});
    if (leaves.size() > 1) at.problem("leaves[1]", "one is enough");
    if (at.given("to")) at.must_be_known("to", "upstream", to, std::array<std::string_view, 2>{"api", "web"});
    if (!at.given("leaves")) at.problem("", "has no leaves");
    a += 1;  // a check may complete what depends on other fields
  }
};

TEST(Checks, ReportAtAChild) {
  EXPECT_EQ(problems_of<Top>("leaves: [{}, {}]\nto: apii\na: 1\nb: 2\n"),
            "a.yaml:1:14: leaves[1]: one is enough\n"
            "a.yaml:2:5: to: no upstream \"apii\"; did you mean \"api\"?\n"
            "a.yaml:4:4: b: cannot stand beside a\n");
  EXPECT_EQ(problems_of<Top>("a: 1"), "a.yaml:1:1: has no leaves\n");
}

TEST(Checks, RunAboveAFaultyChildButNotAtItsPlace) {
  EXPECT_EQ(problems_of<Top>("leaves: [{}, { low: 5 }]\nto: nowhere\n"),
            "a.yaml:1:14: leaves[1].high: must be at least low\n"
            "a.yaml:2:5: to: no upstream \"nowhere\"; allowed: api, web\n");
}

TEST(Checks, DoNotRunWhenAFieldCouldNotBeRead) {
  EXPECT_EQ(problems_of<Top>("a: x\nto: nowhere\n"),
            "a.yaml:1:4: a: expected integer -2147483648..2147483647, got \"x\"\n");
}

TEST(Checks, MayCompleteTheStruct) {
  std::optional<Top> got;
  EXPECT_EQ(problems_of<Top>("leaves: [{}]\na: 1\n", &got), "");
  EXPECT_EQ(got->a, 2);
}

TEST(Checks, DoNotQuoteTheEnvironment) {
  Problems problems;
  LoadOptions options;
  options.environment = [](const std::string&) -> std::optional<std::string> { return "hunter2"; };
  read<Top>(parse("leaves: [{}]\nto: ${TO}\n", "a.yaml", options, problems), problems);
  EXPECT_EQ(problems.to_string(), "a.yaml:2:5: to: no such upstream: \"${TO}\"\n");
}

// Holds itself, as a filter that splits traffic does.
struct Tree {
  std::string name;
  std::vector<Tree> children;
  static Fields<Tree> fields() { return {{"name", "", &Tree::name}, {"children", "", &Tree::children}}; }
};

TEST(Fields, MayHoldTheirOwnKind) {
  std::optional<Tree> got;
  EXPECT_EQ(problems_of<Tree>("{name: a, children: [{name: b, children: [{name: c}]}]}", &got), "");
  EXPECT_EQ(got->children[0].children[0].name, "c");
  EXPECT_EQ(problems_of<Tree>("{children: [{children: [{nme: c}]}]}"),
            "a.yaml:1:26: children[0].children[0].nme: unknown key; did you mean \"name\"?\n");
}

struct Hooked {
  std::string upper;
  std::vector<std::string> parts;
  Node rest;
  static Fields<Hooked> fields() {
    return {{"upper", "", &Hooked::upper,
             parsed<std::string>("capital letters",
                                 [](std::string_view text) -> Result<std::string> {
                                   for (const char c : text) {
                                     if (c < 'A' || c > 'Z')
                                       return fail(Code::invalid_argument, "found another character");
                                   }
                                   return std::string(text);
                                 })},
            {"parts", "", &Hooked::parts,
             custom<std::vector<std::string>>("words or a list of them",
                                              [](const Node& node, std::vector<std::string>& out, const Reading& in) {
                                                if (node.is_map()) return in.fail(node, "a map makes no sense here");
                                                if (node.is_scalar()) out.push_back(node.text());
                                                for (const Node& child : node.children()) out.push_back(child.text());
                                                return true;
                                              })},
            {"rest", "", &Hooked::rest}};
  }
};

TEST(Fields, MayHaveAReaderOfTheirOwn) {
  std::optional<Hooked> got;
  EXPECT_EQ(problems_of<Hooked>("{upper: ABC, parts: [x, y]}", &got), "");
  EXPECT_EQ(got->parts.size(), 2u);
  EXPECT_EQ(problems_of<Hooked>("{upper: ABc, parts: {}}"),
            "a.yaml:1:9: upper: expected capital letters, got \"ABc\": found another character\n"
            "a.yaml:1:21: parts: a map makes no sense here\n");
}

TEST(Fields, KeepANodeForALaterReader) {
  std::optional<Hooked> got;
  EXPECT_EQ(problems_of<Hooked>("rest: { low: 5, high: x }\n", &got), "");
  Problems problems;
  EXPECT_FALSE(read<Leaf>(got->rest, problems));
  EXPECT_EQ(problems.to_string(), "a.yaml:1:23: rest.high: expected integer -2147483648..2147483647, got \"x\"\n");
}

}  // namespace
}  // namespace trellis::config
