#include "config/node.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "config/tree.h"

namespace trellis::config {
namespace {

const Tree::Rep kNothing{};

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

// Control characters and endless values have no place in a message.
std::string printable(std::string_view text) {
  constexpr size_t kLongest = 60;
  std::string out = "\"";
  size_t end = std::min(text.size(), kLongest);
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  for (const char c : text.substr(0, end)) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += '?';
    } else {
      out += c;
    }
  }
  if (end < text.size()) out += "...";
  return out + "\"";
}

const Tree::Rep& rep_of(const std::shared_ptr<const Tree>& tree, uint32_t index) {
  return tree ? tree->reps[index] : kNothing;
}

}  // namespace

std::string_view to_string(Kind kind) noexcept {
  switch (kind) {
    case Kind::null: return "nothing";
    case Kind::scalar: return "a value";
    case Kind::list: return "a list";
    case Kind::map: return "a map";
  }
  return "nothing";
}

std::string path_step(std::string_view parent, std::string_view key) {
  std::string out(parent);
  if (!key.empty() && std::ranges::all_of(key, is_plain)) {
    if (!out.empty()) out += '.';
    return out += key;
  }
  return out += "[" + printable(key) + "]";
}

std::string path_step(std::string_view parent, size_t index) {
  return std::string(parent) + "[" + std::to_string(index) + "]";
}

bool split_path(std::string_view path, std::vector<PathStep>& out) {
  size_t at = 0;
  while (at < path.size()) {
    if (path[at] == '[') {
      const bool named = path.substr(at).starts_with("[\"");
      const size_t end = path.find(named ? "\"]" : "]", at + (named ? 2 : 1));
      if (end == std::string_view::npos) return false;
      if (named) {
        out.push_back(PathStep{std::string(path.substr(at + 2, end - at - 2)), 0, false});
        at = end + 2;
      } else {
        PathStep step{{}, 0, true};
        const char* last = path.data() + end;
        const auto [stop, error] = std::from_chars(path.data() + at + 1, last, step.index);
        if (error != std::errc() || stop != last) return false;
        out.push_back(std::move(step));
        at = end + 1;
      }
      continue;
    }
    if (path[at] == '.') {
      if (at == 0) return false;
      ++at;
    } else if (at != 0) {
      return false;
    }
    const size_t start = at;
    while (at < path.size() && path[at] != '.' && path[at] != '[') ++at;
    if (at == start) return false;
    out.push_back(PathStep{std::string(path.substr(start, at - start)), 0, false});
  }
  return !out.empty();
}

std::string Tree::path(uint32_t index) const {
  std::vector<uint32_t> line;
  for (uint32_t at = index; reps[at].parent != kNone; at = reps[at].parent) line.push_back(at);
  std::string out;
  for (auto it = line.rbegin(); it != line.rend(); ++it) {
    const Rep& rep = reps[*it];
    out = reps[rep.parent].kind == Kind::map ? path_step(out, rep.key) : path_step(out, size_t{rep.position});
  }
  return out;
}

Kind Node::kind() const noexcept { return emptied_ ? Kind::null : rep_of(tree_, index_).kind; }
const Mark& Node::mark() const noexcept { return rep_of(tree_, index_).mark; }
const Mark& Node::key_mark() const noexcept {
  const Tree::Rep& rep = rep_of(tree_, index_);
  return rep.key_mark.file ? rep.key_mark : rep.mark;
}
const std::string& Node::key() const noexcept { return rep_of(tree_, index_).key; }
std::string Node::path() const { return tree_ ? tree_->path(index_) : std::string(); }
const std::string& Node::text() const noexcept { return emptied_ ? kNothing.text : rep_of(tree_, index_).text; }
bool Node::quoted() const noexcept { return rep_of(tree_, index_).quoted; }
bool Node::from_environment() const noexcept { return rep_of(tree_, index_).from_environment; }
bool Node::broken() const noexcept { return rep_of(tree_, index_).broken; }

std::string Node::shown() const {
  if (!is_scalar()) return std::string(to_string(kind()));
  return printable(from_environment() ? rep_of(tree_, index_).written : text());
}

size_t Node::size() const noexcept { return emptied_ ? 0 : rep_of(tree_, index_).children.size(); }

Node Node::at(size_t index) const noexcept {
  TRELLIS_ASSERT(index < size());
  return Node(tree_, tree_->reps[index_].children[index]);
}

Node Node::find(std::string_view key) const noexcept {
  if (!is_map()) return Node();
  const uint32_t child = tree_->find(index_, key);
  return child == Tree::kNone ? Node() : Node(tree_, child);
}

Node Node::descend(std::string_view path) const {
  std::vector<PathStep> steps;
  if (!split_path(path, steps)) return Node();
  Node at = *this;
  for (const PathStep& step : steps) {
    if (step.is_index) {
      if (!at.is_list() || step.index >= at.size()) return Node();
      at = at.at(step.index);
    } else {
      at = at.find(step.key);
    }
    if (!at) return Node();
  }
  return at;
}

Node Node::emptied() const {
  Node out = *this;
  out.emptied_ = true;
  return out;
}

std::vector<Node> Node::children() const {
  std::vector<Node> out;
  out.reserve(size());
  for (size_t i = 0; i < size(); ++i) out.push_back(at(i));
  return out;
}

}  // namespace trellis::config
