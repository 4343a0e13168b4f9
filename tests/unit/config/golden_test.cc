// Every file of tests/golden/config is a configuration, a line of ten dashes, and the problems it has: none, if nothing
// follows. TRELLIS_UPDATE_GOLDEN=1 writes what is reported now; read the difference before keeping it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/unit/config/demo_schema.h"

namespace trellis::config {
namespace {

constexpr std::string_view kLine = "----------\n";

std::string problems_of(const std::string& name, const std::string& text) {
  LoadOptions options;
  options.environment = [](const std::string& variable) -> std::optional<std::string> {
    if (variable == "KEY") return "open-sesame";
    if (variable == "RATE") return "fast";
    if (variable == "EMPTY") return "";
    return std::nullopt;
  };
  Problems problems;
  const Node node = parse(text, name, options, problems);
  const std::optional<demo::Root> root = read<demo::Root>(node, problems);
  EXPECT_EQ(root.has_value(), problems.empty());
  return problems.to_string();
}

TEST(Golden, EveryFileReportsWhatItSays) {
  const std::filesystem::path folder = std::filesystem::path(TRELLIS_SOURCE_DIR) / "tests/golden/config";
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  ASSERT_FALSE(files.empty());
  for (const std::filesystem::path& file : files) {
    std::ifstream in(file, std::ios::binary);
    const std::string all{std::istreambuf_iterator<char>(in), {}};
    const size_t line = all.find(kLine);
    ASSERT_NE(line, std::string::npos) << file;
    const std::string text = all.substr(0, line);
    const std::string got = problems_of(file.filename().string(), text);
    if (std::getenv("TRELLIS_UPDATE_GOLDEN") != nullptr) {
      std::ofstream(file, std::ios::binary) << text << kLine << got;
      continue;
    }
    EXPECT_EQ(got, all.substr(line + kLine.size())) << file;
    EXPECT_EQ(got.find("open-sesame"), std::string::npos) << file << " shows a secret";
  }
}

}  // namespace
}  // namespace trellis::config
