// Reads one YAML document into a Tree: yaml-cpp scans, this takes its events, keeps the places and the limits, and
// replaces
// ${NAME}. Exceptions of yaml-cpp end here and become problems. Used by load.cc, on the thread that loads. Private to
// this room.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "config/load.h"
#include "config/tree.h"

namespace trellis::config {

// Adds the document's nodes to `tree` and returns its root, null for an empty document. Tree::kNone: nothing usable.
// For a value of --set, `whole` is where it came from and every place becomes that one.
uint32_t read_yaml(std::string_view text, const std::shared_ptr<const std::string>& name,
                   const Environment& environment, Tree& tree, Problems& problems, const Mark* whole = nullptr);

}  // namespace trellis::config
