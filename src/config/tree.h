// The inside of a Node: all nodes of a configuration in one vector, joined by index, so that a tree of any size is
// freed without recursion and a node knows its parents. Filled by the YAML reader, changed by merging and --set, then
// frozen behind a Node. Used by one thread while it is built. Private to this room.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "config/node.h"

namespace trellis::config {

struct Tree {
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr uint32_t kMaxNodes = 200'000;
  static constexpr uint32_t kMaxDepth = 64;

  struct Rep {
    Kind kind = Kind::null;
    bool quoted = false;
    bool from_environment = false;
    bool broken = false;
    uint32_t parent = kNone;
    uint32_t position = 0;  // among the parent's children
    Mark mark;
    Mark key_mark;
    std::string key;
    std::string text;
    std::string written;  // of a scalar with ${NAME}: as it stands in the file
    std::vector<uint32_t> children;
    std::unordered_map<std::string, uint32_t> by_key;  // of a map
  };

  std::vector<Rep> reps;

  uint32_t add(Rep rep) {
    reps.push_back(std::move(rep));
    return static_cast<uint32_t>(reps.size() - 1);
  }
  void attach(uint32_t parent, uint32_t child) {
    reps[child].parent = parent;
    reps[child].position = static_cast<uint32_t>(reps[parent].children.size());
    reps[parent].children.push_back(child);
    if (reps[parent].kind == Kind::map) reps[parent].by_key.emplace(reps[child].key, child);
  }
  // Puts `child` in the place of `old`, under the same parent and key.
  void replace(uint32_t old, uint32_t child) {
    const uint32_t parent = reps[old].parent;
    reps[child].parent = parent;
    reps[child].position = reps[old].position;
    reps[child].key = reps[old].key;
    if (parent == kNone) return;
    reps[parent].children[reps[old].position] = child;
    if (reps[parent].kind == Kind::map) reps[parent].by_key[reps[child].key] = child;
  }
  uint32_t find(uint32_t map, std::string_view key) const {
    const auto& by_key = reps[map].by_key;
    const auto it = by_key.find(std::string(key));
    return it == by_key.end() ? kNone : it->second;
  }
  std::string path(uint32_t index) const;

  static Node freeze(std::shared_ptr<const Tree> tree, uint32_t root) { return Node(std::move(tree), root); }
};

}  // namespace trellis::config
