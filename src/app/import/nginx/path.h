// nginx's ways to name paths, as path patterns of Trellis: prefixes, exact paths, and those regular expressions that
// say no more than a pattern can. Also the few forms of `rewrite` that only take a prefix off or put one in front.
// Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trellis::app {

// A path as it stands in nginx (decoded) as a literal of a pattern: `%`, `*`, `?` and `#` are escaped.
std::string pattern_literal(std::string_view path);

struct PathPatterns {
  std::vector<std::string> patterns;
  bool wider = false;  // matches by whole segments where nginx compares characters: /api also takes /apix there
  // What the patterns match and the expression does not: `^/api/` is /api/** here, which takes /api as well.
  std::vector<std::string> too_much;
};
// The patterns that match what the expression matches, or nothing when no list of up to 32 says it.
std::optional<PathPatterns> paths_of_regex(std::string_view regex);

// `^/api/(.*)$` -> `/$1` and its like.
struct PrefixChange {
  std::string strip;
  std::string add;
};
std::optional<PrefixChange> prefix_change(std::string_view regex, std::string_view replacement);

// Does the expression take every path into $1, and does that begin with the slash? `^(.*)$`, `^/(.*)$`, `^`
enum class WholePath : uint8_t { no, without_slash, with_slash, unused };
WholePath whole_path(std::string_view regex);

}  // namespace trellis::app
