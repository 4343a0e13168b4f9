// From files to one tree: reads a file, or every *.yaml and *.yml of a directory in the order of their names, replaces
// ${NAME}, merges, and applies --set. Faults go to Problems with their place; what could be read is still returned, so
// that one run shows everything. Touches the disk: call it at start, in `check`, or from the blocking pool on a reload.
//
// Limits: 4 MiB a file, 256 files, 200,000 nodes, 64 levels. Anchors, aliases, tags, several documents in a file and a
// key written twice are refused: a configuration should say what it says at the place where it says it.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/node.h"
#include "config/problems.h"

namespace trellis::config {

inline constexpr size_t kMaxFileBytes = 4 << 20;
inline constexpr size_t kMaxFiles = 256;

// The value of an environment variable, or nothing. An empty function: no variable is set.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;
Environment process_environment();

struct LoadOptions {
  Environment environment;
  std::vector<std::string> sets;  // "a.b=c", applied in order after everything else
};

// `${NAME}` in a value becomes the variable's value, `${NAME:-text}` becomes text when it is unset or empty, `$${`
// stays `${`.
Node load(const std::string& path, const LoadOptions& options, Problems& problems);
Node parse(std::string_view text, std::string_view name, const LoadOptions& options, Problems& problems);

}  // namespace trellis::config
