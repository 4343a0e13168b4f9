#include "config/diff.h"

#include <gtest/gtest.h>

#include "tests/unit/config/demo_schema.h"

namespace trellis::config {
namespace {

std::string changes(std::string_view before, std::string_view after, const std::string& key = "old-key") {
  Problems problems;
  LoadOptions options;
  options.environment = [](const std::string&) -> std::optional<std::string> { return "old-key"; };
  const Node old = parse(before, "old.yaml", options, problems);
  options.environment = [key](const std::string&) -> std::optional<std::string> { return key; };
  const Node now = parse(after, "new.yaml", options, problems);
  EXPECT_EQ(problems.to_string(), "");
  std::string out;
  for (const Change& change : diff<demo::Root>(old, now)) out += change.to_string() + "\n";
  return out;
}

TEST(Diff, OfTheSameIsEmpty) {
  EXPECT_EQ(changes("node: a\nports: [1]\n", "ports:\n  - 1\nnode: \"a\"  # moved\n"), "");
  EXPECT_EQ(changes("", ""), "");
}

TEST(Diff, NamesWhatWasAddedRemovedAndChanged) {
  EXPECT_EQ(changes("node: a\nlimits: { api: { rate: 1 }, web: {} }\nports: [1, 2, 3]\n",
                    "limits: { api: { rate: 2, wait: 1s }, old: { rate: 5 } }\nports: [1, 5]\nhttp2: false\n"),
            "node: removed \"a\"\n"
            "limits.api.rate: \"1\" -> \"2\"\n"
            "limits.api.wait: added \"1s\"\n"
            "limits.web: removed a map\n"
            "limits.old: added a map\n"
            "ports[1]: \"2\" -> \"5\"\n"
            "ports[2]: removed \"3\"\n"
            "http2: added \"false\"\n");
}

TEST(Diff, HidesSecrets) {
  EXPECT_EQ(
      changes(
          "limits: { api: { key: one }, web: { key: two }, gone: { key: x } }\nfilters: [{ limit: { key: three } }]\n",
          "limits: { api: { key: uno }, web: {}, gone: { key: [y] } }\nfilters: [{ limit: { key: tres } }]\n"),
      "limits.api.key: (secret) -> (secret)\n"
      "limits.web.key: removed (secret)\n"
      "limits.gone.key: (secret) -> a list\n"
      "filters[0].limit.key: (secret) -> (secret)\n");
}

TEST(Diff, HidesWhatComesFromTheEnvironment) {
  EXPECT_EQ(changes("node: ${NODE}\n", "node: ${NODE}\n", "new-key"), "node: \"${NODE}\" -> \"${NODE}\"\n");
  EXPECT_EQ(changes("node: ${NODE}\n", "node: ${NODE}\n"), "");
}

TEST(Diff, SeesAChangeOfKind) {
  EXPECT_EQ(changes("ports: [1]\n", "ports: 5\n"), "ports: a list -> \"5\"\n");
  EXPECT_EQ(changes("", "node: a\n"), ": nothing -> a map\n");
}

}  // namespace
}  // namespace trellis::config
