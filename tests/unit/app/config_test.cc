// Every file of tests/golden/node is a node's configuration, a line of ten dashes, and the problems it has: none, if
// nothing follows. TRELLIS_UPDATE_GOLDEN=1 writes what is reported now; read the difference before keeping it.
#include "app/config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "config/load.h"

namespace trellis::app {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kLine = "----------\n";

std::optional<NodeConfig> read(const std::string& name, const std::string& text, std::string& problems_text) {
  config::Problems problems;
  const config::Node node = config::parse(text, name, {}, problems);
  auto values = config::read<NodeConfig>(node, problems);
  problems_text = problems.to_string();
  return values;
}

TEST(NodeConfig, EveryGoldenFileReportsWhatItSays) {
  const std::filesystem::path folder = std::filesystem::path(TRELLIS_SOURCE_DIR) / "tests/golden/node";
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
    std::string got;
    const auto values = read(file.filename().string(), text, got);
    EXPECT_EQ(values.has_value(), got.empty()) << file;
    if (std::getenv("TRELLIS_UPDATE_GOLDEN") != nullptr) {
      std::ofstream(file, std::ios::binary) << text << kLine << got;
      continue;
    }
    EXPECT_EQ(got, all.substr(line + kLine.size())) << file;
  }
}

TEST(NodeConfig, TheOneBoxHasNoProblemAndTheDefaults) {
  std::string problems;
  const auto values = read("one-box", std::string(one_box_config()), problems);
  ASSERT_TRUE(values) << problems;
  EXPECT_EQ(values->node, "box");
  EXPECT_EQ(values->listeners.at("web").bind.port, 8080);
  EXPECT_EQ(values->runtime.drain, 30s);
  const http::ServerOptions options = values->listeners.at("web").server_options("web");
  EXPECT_EQ(options.listener, "web");
  EXPECT_EQ(options.head_timeout, 10s);
  EXPECT_EQ(options.limits.max_head, 32U * 1024);
}

TEST(NodeConfig, AStoreThatNoWorkersNameHasFourOfThem) {
  NodeConfig values;
  values.workers["mail"] = {.store = "main", .queues = {"mail"}, .concurrency = 16};
  values.workers["rest"] = {.store = "main", .concurrency = 0};
  ASSERT_EQ(values.worker_plans("main").size(), 2U);
  EXPECT_EQ(values.worker_plans("main")[0].concurrency, 16U);
  EXPECT_EQ(values.worker_plans("main")[1].concurrency, 0U);
  ASSERT_EQ(values.worker_plans("other").size(), 1U);
  EXPECT_TRUE(values.worker_plans("other")[0].queues.empty());
  EXPECT_EQ(values.worker_plans("other")[0].concurrency, 4U);
}

TEST(NodeConfig, AFileThatIsNotThereIsAnError) {
  auto loaded = load_config("/nonexistent/trellis.yaml", {});
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code(), Code::invalid_argument);
}

}  // namespace
}  // namespace trellis::app
