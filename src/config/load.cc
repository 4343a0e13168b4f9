#include "config/load.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "config/tree.h"
#include "config/yaml.h"

namespace trellis::config {
namespace {

Mark place(std::string_view name) { return Mark{std::make_shared<const std::string>(name), 0, 0}; }

bool read_file(const std::string& path, std::string& out, Problems& problems) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a FIFO must not hang the start
  if (fd < 0) {
    problems.add(place(path), {}, std::string("cannot be read: ") + std::strerror(errno));
    return false;
  }
  struct stat about{};
  bool ok = ::fstat(fd, &about) == 0 && S_ISREG(about.st_mode);
  if (!ok) problems.add(place(path), {}, "cannot be read: not a file");
  out.clear();
  char buffer[64 << 10];
  while (ok) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      problems.add(place(path), {}, std::string("cannot be read: ") + std::strerror(errno));
      ok = false;
    }
    if (got <= 0) break;
    out.append(buffer, static_cast<size_t>(got));
    if (out.size() > kMaxFileBytes) {
      problems.add(place(path), {}, "larger than 4 MiB");
      ok = false;
    }
  }
  ::close(fd);
  return ok;
}

std::vector<std::string> files_of(const std::string& directory, Problems& problems) {
  std::vector<std::string> names;
  DIR* dir = ::opendir(directory.c_str());
  if (dir == nullptr) {
    problems.add(place(directory), {}, std::string("cannot be read: ") + std::strerror(errno));
    return names;
  }
  while (const dirent* entry = ::readdir(dir)) {
    const std::string_view name = entry->d_name;
    if (name.starts_with('.') || !(name.ends_with(".yaml") || name.ends_with(".yml"))) continue;
    names.emplace_back(name);
  }
  ::closedir(dir);
  std::ranges::sort(names);
  if (names.empty()) problems.add(place(directory), {}, "holds no *.yaml file");
  if (names.size() > kMaxFiles) {
    problems.add(place(directory), {}, "holds more than 256 files");
    names.clear();
  }
  for (std::string& name : names) name = directory + (directory.ends_with('/') ? "" : "/") + name;
  return names;
}

// Adds `from` to `into`; both are maps.
void merge(Tree& tree, uint32_t into, uint32_t from, Problems& problems) {
  const std::vector<uint32_t> children = tree.reps[from].children;
  for (const uint32_t child : children) {
    const uint32_t there = tree.find(into, tree.reps[child].key);
    if (there == Tree::kNone) {
      tree.attach(into, child);
      continue;
    }
    const Kind old_kind = tree.reps[there].kind;
    const Kind new_kind = tree.reps[child].kind;
    const bool old_empty = old_kind == Kind::null && !tree.reps[there].broken;
    const bool new_empty = new_kind == Kind::null && !tree.reps[child].broken;
    if (old_kind == Kind::map && new_kind == Kind::map) {
      merge(tree, there, child, problems);
    } else if (old_empty && new_kind == Kind::map) {
      tree.replace(there, child);
    } else if (!(new_empty && old_kind == Kind::map)) {
      problems.add(tree.reps[child].key_mark, tree.path(there),
                   "set twice; first at " + tree.reps[there].key_mark.to_string());
    }
  }
}

void apply(std::string_view set, const Environment& environment, Tree& tree, uint32_t& root, Problems& problems) {
  const size_t equals = set.find('=');
  const std::string_view path = set.substr(0, equals);
  const auto name = std::make_shared<const std::string>("--set " + std::string(path));
  const Mark mark{name, 0, 0};
  std::vector<PathStep> steps;
  if (equals == std::string_view::npos || !split_path(path, steps) || steps.size() > Tree::kMaxDepth) {
    problems.add(mark, {}, "expected a.b=value");
    return;
  }
  const uint32_t value = read_yaml(set.substr(equals + 1), name, environment, tree, problems, &mark);
  if (value == Tree::kNone) return;

  uint32_t at = root;
  std::string so_far;
  for (size_t i = 0; i < steps.size(); ++i) {
    const PathStep& step = steps[i];
    if (step.is_index) {
      if (tree.reps[at].kind != Kind::list || step.index >= tree.reps[at].children.size()) {
        problems.add(mark, so_far, "has no item " + std::to_string(step.index));
        return;
      }
      at = tree.reps[at].children[step.index];
      so_far = path_step(so_far, step.index);
    } else {
      if (tree.reps[at].kind == Kind::null) {
        tree.reps[at].kind = Kind::map;
        tree.reps[at].mark = mark;
      }
      if (tree.reps[at].kind != Kind::map) {
        problems.add(mark, so_far, "is " + std::string(to_string(tree.reps[at].kind)) + ", not a map");
        return;
      }
      uint32_t next = tree.find(at, step.key);
      if (next == Tree::kNone) {
        Tree::Rep rep;
        rep.mark = rep.key_mark = mark;
        rep.key = step.key;
        next = tree.add(std::move(rep));
        tree.attach(at, next);
      }
      at = next;
      so_far = path_step(so_far, step.key);
    }
  }
  tree.reps[value].key_mark = mark;
  tree.replace(at, value);
}

Node freeze(std::shared_ptr<Tree> tree, uint32_t root, const std::string& name, const LoadOptions& options,
            Problems& problems) {
  if (root == Tree::kNone) {
    Tree::Rep empty;
    empty.mark = Mark{std::make_shared<const std::string>(name), 1, 1};
    empty.broken = true;
    root = tree->add(std::move(empty));
  }
  for (const std::string& set : options.sets) apply(set, options.environment, *tree, root, problems);
  return Tree::freeze(std::move(tree), root);
}

}  // namespace

Environment process_environment() {
  return [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
  };
}

Node parse(std::string_view text, std::string_view name, const LoadOptions& options, Problems& problems) {
  auto tree = std::make_shared<Tree>();
  uint32_t root = Tree::kNone;
  if (text.size() > kMaxFileBytes) {
    problems.add(place(name), {}, "larger than 4 MiB");
  } else {
    root = read_yaml(text, std::make_shared<const std::string>(name), options.environment, *tree, problems);
  }
  return freeze(std::move(tree), root, std::string(name), options, problems);
}

Node load(const std::string& path, const LoadOptions& options, Problems& problems) {
  struct stat about{};
  const bool directory = ::stat(path.c_str(), &about) == 0 && S_ISDIR(about.st_mode);
  const std::vector<std::string> files = directory ? files_of(path, problems) : std::vector<std::string>{path};

  auto tree = std::make_shared<Tree>();
  uint32_t root = Tree::kNone;
  for (const std::string& file : files) {
    std::string text;
    if (!read_file(file, text, problems)) continue;
    const uint32_t next =
        read_yaml(text, std::make_shared<const std::string>(file), options.environment, *tree, problems);
    if (next == Tree::kNone) continue;
    if (root == Tree::kNone || tree->reps[root].kind == Kind::null) {
      root = next;
    } else if (tree->reps[root].kind == Kind::map && tree->reps[next].kind == Kind::map) {
      merge(*tree, root, next, problems);
    } else if (tree->reps[next].kind != Kind::null) {
      problems.add(tree->reps[next].mark, {}, "expected a map, got " + std::string(to_string(tree->reps[next].kind)));
    }
  }
  return freeze(std::move(tree), root, path, options, problems);
}

}  // namespace trellis::config
