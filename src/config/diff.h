// What a reload changes: the paths that were added, removed or changed between two trees, for the report of `ctl
// reload` and the log. Values of secret fields and of the environment are not shown; the field tables say which are
// secret. Pure, any core.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/fields.h"
#include "config/node.h"
#include "config/type_info.h"

namespace trellis::config {

struct Change {
  enum class What : uint8_t { added, removed, changed };
  What what = What::changed;
  std::string path;    // "upstreams.api.limits.wait"
  std::string before;  // as shown: `"500ms"`, `a map`, `(secret)`; empty when added
  std::string after;   // empty when removed

  std::string to_string() const;  // `upstreams.api.limits.wait: "500ms" -> "1s"`
};

// A map or list that is new or gone is one change, not one for each of its values. Lists are compared by position.
// Without a table only values from the environment are hidden.
std::vector<Change> diff(const Node& old, const Node& now, const TableInfo* table = nullptr);

template <HasFields T>
std::vector<Change> diff(const Node& old, const Node& now) {
  return diff(old, now, &table_info<T>());
}

}  // namespace trellis::config
