#include "app/commands/read_input.h"

#include <cerrno>
#include <cstdio>
#include <memory>

namespace trellis::app {

Result<std::string> read_input(const std::string& path, size_t most) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> opened(path == "-" ? nullptr : std::fopen(path.c_str(), "rb"),
                                                               [](std::FILE* file) { return std::fclose(file); });
  if (path != "-" && !opened) return fail(errno_error(path + ": cannot be read", errno));
  std::FILE* const in = opened ? opened.get() : stdin;
  std::string text(most, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), in));
  if (std::ferror(in)) return fail(errno_error((path == "-" ? "standard input" : path) + ": cannot be read", errno));
  return text;
}

}  // namespace trellis::app
