// Every file of tests/golden/import is a configuration of nginx (.conf) or HAProxy (.cfg), and what its import writes
// stands beside it, as .yaml: remarks at the top, then the result. TRELLIS_UPDATE_GOLDEN=1 writes what is made now;
// read the difference before keeping it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "app/import/import.h"
#include "app/version.h"

namespace trellis::app {
namespace {

std::string text_of(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string import_of(const std::filesystem::path& file) {
  const ImportFiles files{.read = [&](const std::string&) -> Result<std::string> { return text_of(file); },
                          .glob = [](const std::string&) { return std::vector<std::string>(); }};
  const Result<Imported> out = import_config(file.filename().string(), nullptr, files);
  if (!out) return out.error().to_string();
  std::string yaml = out->yaml;
  const std::string version = "trellis " + std::string(kVersion);
  if (const size_t at = yaml.find(version); at != std::string::npos) yaml.replace(at, version.size(), "trellis");
  return yaml;
}

TEST(ImportGolden, EveryFileBecomesWhatStandsBesideIt) {
  const std::filesystem::path folder = std::filesystem::path(TRELLIS_SOURCE_DIR) / "tests/golden/import";
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".yaml") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  ASSERT_FALSE(files.empty());
  for (const std::filesystem::path& file : files) {
    std::filesystem::path expected = file;
    expected.replace_extension(".yaml");
    const std::string got = import_of(file);
    if (std::getenv("TRELLIS_UPDATE_GOLDEN") != nullptr) {
      std::ofstream(expected, std::ios::binary) << got;
      continue;
    }
    EXPECT_EQ(got, text_of(expected)) << file;
  }
}

}  // namespace
}  // namespace trellis::app
