// Foreign text as a configuration: whatever it is, it is read into a tree and a struct or reported, the report is
// ordered, and a tree without faults differs in nothing from itself.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "../tests/unit/config/demo_schema.h"
#include "config/diff.h"
#include "config/fields.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trellis::config;
  LoadOptions options;
  options.environment = [](const std::string& name) -> std::optional<std::string> {
    if (name.size() > 3) return std::nullopt;
    return "the-secret-value";
  };
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // What stands before the first NUL is a value for --set.
  const size_t end = text.find('\0');
  if (end != std::string_view::npos) options.sets.emplace_back(text.substr(0, end));
  const std::string_view file = end == std::string_view::npos ? text : text.substr(end + 1);
  Problems problems;
  const Node node = parse(file, "fuzz.yaml", options, problems);
  const std::optional<demo::Root> root = read<demo::Root>(node, problems);
  if (root.has_value() != problems.empty()) std::abort();
  const std::string report = problems.to_string();
  if (file.find("the-secret") == std::string_view::npos && text.find("the-secret") == std::string_view::npos &&
      report.find("the-secret-value") != std::string::npos) {
    std::abort();
  }
  if (!diff<demo::Root>(node, node).empty()) std::abort();
  return 0;
}
