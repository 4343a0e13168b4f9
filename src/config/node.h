// The tree a configuration's text becomes: null, scalar, list or map (in the order of the file), each with the place it
// came from, so that whoever reads a value can say where it stands. A Node is a small handle on an immutable shared
// tree: copy it freely, keep it for a later reader, use it on any core. Values taken from the environment stay marked
// as such and are never shown. Made by parse() and load() in config/load.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/problems.h"

namespace trellis::config {

struct Tree;  // config/tree.h

enum class Kind : uint8_t { null, scalar, list, map };
std::string_view to_string(Kind kind) noexcept;

class Node {
 public:
  Node() = default;  // null, without a place

  Kind kind() const noexcept;
  bool is_null() const noexcept { return kind() == Kind::null; }
  bool is_scalar() const noexcept { return kind() == Kind::scalar; }
  bool is_list() const noexcept { return kind() == Kind::list; }
  bool is_map() const noexcept { return kind() == Kind::map; }
  explicit operator bool() const noexcept { return tree_ != nullptr; }  // false: find() found nothing

  const Mark& mark() const noexcept;        // of the value
  const Mark& key_mark() const noexcept;    // of the key that names it; the value's own in a list and at the root
  const std::string& key() const noexcept;  // empty in a list and at the root
  std::string path() const;                 // "limits[0].rate"

  const std::string& text() const noexcept;  // of a scalar, after ${NAME}; empty otherwise
  bool quoted() const noexcept;              // "5" rather than 5
  bool from_environment() const noexcept;    // a ${NAME} was replaced in it
  bool broken() const noexcept;              // a problem was reported while it was made: readers stay silent
  // For messages: `"fast"`, `a list`; a value from the environment as it stands in the file, cut when it is long.
  std::string shown() const;

  size_t size() const noexcept;                    // of a list or map
  Node at(size_t index) const noexcept;            // precondition: index < size()
  Node find(std::string_view key) const noexcept;  // in a map; false if missing
  Node descend(std::string_view path) const;       // "hosts[2].address"; false if missing
  Node emptied() const;                            // the same place with nothing in it
  std::vector<Node> children() const;              // of a list or map, in order

 private:
  friend struct Tree;
  Node(std::shared_ptr<const Tree> tree, uint32_t index) : tree_(std::move(tree)), index_(index) {}

  std::shared_ptr<const Tree> tree_;
  uint32_t index_ = 0;
  bool emptied_ = false;
};

// One step of a path: `.rate`, or `["x y"]` when the name is not plain.
std::string path_step(std::string_view parent, std::string_view key);
std::string path_step(std::string_view parent, size_t index);

// "hosts[2].address" as steps; false when it is not a path.
struct PathStep {
  std::string key;
  size_t index = 0;
  bool is_index = false;
};
bool split_path(std::string_view path, std::vector<PathStep>& out);

}  // namespace trellis::config
