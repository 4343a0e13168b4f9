#include "config/reference.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/config/demo_schema.h"

namespace trellis::config {
namespace {

using demo::LimitConfig;
using demo::Root;

TEST(Reference, NamesEachOptionOnOneLine) {
  EXPECT_EQ(
      reference_markdown<LimitConfig>("Limits"),
      "# Limits\n"
      "\n"
      "## Top level\n"
      "\n"
      "| option | type | default | range | what it does |\n"
      "|---|---|---|---|---|\n"
      "| `rate` | integer | `100` | 1..1000000 | requests a second and user |\n"
      "| `burst` | integer | `200` | 1..1000000 | tokens the bucket holds |\n"
      "| `wait` | duration | `500ms` | 0..1m | how long a request may wait |\n"
      "| `counter` | address such as 10.0.0.1:80, [::1]:80 or name:80 |  |  | shared counter; none counts here |\n"
      "| `users` | list of text | `[]` |  | only these users |\n"
      "| `key` | text |  |  | signs the cookie (secret) |\n");
}

TEST(Reference, GivesEachStructOneSection) {
  const std::string text = reference_markdown<Root>("Everything");
  for (const char* line : {
           "\n## `hosts[]`\n",
           "| `address` | address such as 10.0.0.1:80, [::1]:80 or name:80 | required |  | where it listens |\n",
           "\n## `limits.NAME`\n",
           "\n## `which with address`\n",
           "| `inner` | map (see `limits.NAME`) |  |  | a struct that may be missing |\n",
           "| `balance` | one of | `round_robin` | round_robin, least_connections, maglev | policy |\n",
           "| `share` | percent | `20%` | 0%..100% | a share |\n",
           "| `memory` | size | `64MiB` | 1KiB..1GiB | bytes |\n",
           "| `ports` | list of integer | `[]` | 1..100 ports | several |\n",
           "| `filters` | list of one key: `limit`, `named`, `number` |",
       }) {
    EXPECT_NE(text.find(line), std::string::npos) << line << "\nin\n" << text;
  }
  const size_t first = text.find("tokens the bucket holds");
  EXPECT_EQ(text.find("tokens the bucket holds", first + 1), std::string::npos);
}

TEST(Reference, DefaultsReadAsThemselves) {
  for (const FieldInfo& field : table_info<Root>().fields) {
    if (field.default_text.empty()) continue;
    Problems problems;
    const Node node = parse(field.name + ": " + field.default_text, "default", {}, problems);
    const std::optional<Root> root = read<Root>(node, problems);
    ASSERT_TRUE(root) << field.name << "\n" << problems.to_string();
    for (const Field<Root>& each : fields_of<Root>()) {
      if (each.name() != field.name) continue;
      EXPECT_EQ(each.info(*root).default_text, field.default_text);
    }
  }
}

TEST(Reference, SchemaIsJsonWithTheSameOptions) {
  const nlohmann::json schema = nlohmann::json::parse(json_schema<Root>("Everything"));
  EXPECT_EQ(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
  EXPECT_EQ(schema["$ref"], "#/$defs/demo.Root");
  const nlohmann::json& root = schema["$defs"]["demo.Root"];
  EXPECT_EQ(root["additionalProperties"], false);
  ASSERT_EQ(root["properties"].size(), table_info<Root>().fields.size());
  for (const FieldInfo& field : table_info<Root>().fields)
    EXPECT_TRUE(root["properties"].contains(field.name)) << field.name;
  EXPECT_EQ(root["properties"]["http2"]["default"], true);
  EXPECT_EQ(root["properties"]["memory"]["default"], "64MiB");
  EXPECT_EQ(root["properties"]["inner"]["$ref"], "#/$defs/demo.LimitConfig");
  const nlohmann::json& limit = schema["$defs"]["demo.LimitConfig"]["properties"];
  EXPECT_EQ(limit["rate"]["anyOf"][0]["maximum"], 1'000'000);
  EXPECT_EQ(limit["rate"]["default"], 100);
  EXPECT_EQ(limit["key"]["writeOnly"], true);
  EXPECT_EQ(schema["$defs"]["demo.Host"]["required"], nlohmann::json::array({"address"}));
}

}  // namespace
}  // namespace trellis::config
