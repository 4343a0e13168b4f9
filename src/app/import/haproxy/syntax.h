// Reads HAProxy's configuration into sections and their lines, cut into words: quotes, backslashes and comments as
// HAProxy has them. Knows nothing of what a keyword means; haproxy.h does. Limits: the file's 4 MiB, 100,000 lines with
// words, 256 words a line, 4,096 bytes a word. One thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "app/import/nginx/syntax.h"
#include "app/import/remark.h"
#include "base/error.h"

namespace trellis::app {

struct HaproxyLine {
  std::vector<std::string> words;
  ImportPlace at;
  std::string_view word(size_t index) const noexcept {
    return index < words.size() ? std::string_view(words[index]) : std::string_view();
  }
  std::string text() const;
};

struct HaproxySection {
  std::string kind;  // global, defaults, frontend, backend, listen ...
  std::string name;
  HaproxyLine head;
  std::vector<HaproxyLine> lines;
};

Result<std::vector<HaproxySection>> parse_haproxy(std::string_view text, const std::string& name);

// `-f FILE` of acls and conditions: the values of the file in its place, up to 256, from where they are told. A file
// that cannot be read, or says more, stays named. `folder` ends with '/'; relative files are looked for there.
void read_haproxy_lists(std::vector<HaproxySection>& sections, const ImportFiles& files, const std::string& folder,
                        Remarks& remarks);

}  // namespace trellis::app
