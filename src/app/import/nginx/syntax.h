// Reads nginx's configuration syntax into a tree of directives with their places: words, quotes, escapes, comments,
// blocks, and `include` with globs, relative to the folder of the first file as nginx has it. Variables stay in the
// words as they are written. Knows nothing of what a directive means; http.h does. Strict: what nginx would
// refuse as syntax is an error with its place. Files are read through a seam, so that tests and the fuzz target need no
// disk. Called by `trellis import` on the main thread.
//
// Limits: 4 MiB a file, 16 MiB together, 256 files, 16 includes deep, 32 blocks deep, 100,000 directives, 4,096 bytes a
// word and 1,000 words a directive.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "app/import/remark.h"
#include "base/error.h"

namespace trellis::app {

struct NginxDirective {
  std::string name;
  std::vector<std::string> words;  // what stands behind the name
  std::vector<NginxDirective> block;
  bool has_block = false;
  ImportPlace at;

  std::string_view word(size_t index) const noexcept {
    return index < words.size() ? std::string_view(words[index]) : std::string_view();
  }
  const NginxDirective* find(std::string_view child) const noexcept;  // the first of this name in the block
};

struct ImportFiles {
  static constexpr size_t kMaxFile = 4 << 20;
  std::function<Result<std::string>(const std::string& path)> read;          // at most kMaxFile bytes
  std::function<std::vector<std::string>(const std::string& pattern)> glob;  // sorted; empty when nothing is there
};
ImportFiles files_on_disk();

struct NginxTree {
  NginxDirective top;                                        // without a name; its block is the file
  std::vector<std::pair<ImportPlace, std::string>> missing;  // files that `include` names and nobody finds
};
Result<NginxTree> parse_nginx(const std::string& path, const ImportFiles& files);

// Words of one file as nginx cuts them; for tests. The places bear `name`.
Result<NginxTree> parse_nginx_text(std::string text, const std::string& name, const ImportFiles& files);

}  // namespace trellis::app
