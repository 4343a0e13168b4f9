#include "app/import/haproxy/syntax.h"

#include <algorithm>
#include <iterator>
#include <optional>

#include "base/utf8.h"

namespace trellis::app {

namespace {

constexpr size_t kMaxLines = 100'000;
constexpr size_t kMaxWords = 256;
constexpr size_t kMaxWord = 4096;

constexpr std::string_view kSections[] = {"global",  "defaults", "frontend",    "backend",     "listen",
                                          "peers",   "userlist", "resolvers",   "mailers",     "cache",
                                          "program", "ring",     "http-errors", "log-forward", "fcgi-app"};

bool is_space(char c) noexcept { return c == ' ' || c == '\t' || c == '\r'; }

// The words of one line; an empty list for a comment.
Result<std::vector<std::string>> cut(std::string_view line, const std::string& place) {
  std::vector<std::string> out;
  std::string word;
  bool any = false;
  char quote = '\0';
  const auto finish = [&] {
    if (any) out.push_back(std::move(word));
    word.clear();
    any = false;
  };
  for (size_t i = 0; i < line.size(); ++i) {
    char c = line[i];
    if (c == '\0') return fail(Code::invalid_argument, place + ": a NUL byte");
    if (quote == '\0' && is_space(c)) {
      finish();
      if (out.size() > kMaxWords) return fail(Code::invalid_argument, place + ": more than 256 words");
      continue;
    }
    if (quote == '\0' && c == '#') break;
    if (quote == '\0' && (c == '"' || c == '\'')) {
      quote = c;
      any = true;
      continue;
    }
    if (c == quote && quote != '\0') {
      quote = '\0';
      continue;
    }
    if (c == '\\' && quote != '\'') {
      if (++i == line.size()) return fail(Code::invalid_argument, place + ": the line ends behind a backslash");
      c = line[i];
      if (c == 'n') c = '\n';
      if (c == 't') c = '\t';
      if (c == 'r') c = '\r';
    }
    if (word.size() == kMaxWord) return fail(Code::invalid_argument, place + ": a word is longer than 4,096 bytes");
    word.push_back(c);
    any = true;
  }
  if (quote != '\0') return fail(Code::invalid_argument, place + ": the line ends within quotes");
  finish();
  return out;
}

}  // namespace

std::string HaproxyLine::text() const {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

Result<std::vector<HaproxySection>> parse_haproxy(std::string_view text, const std::string& name) {
  const auto file = std::make_shared<const std::string>(name);
  std::vector<HaproxySection> out;
  uint32_t number = 0;
  size_t lines = 0;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const ImportPlace at{file, ++number};
    TRY(std::vector<std::string> words, cut(line, at.to_string()));
    if (words.empty()) continue;
    if (!std::ranges::all_of(words, &is_utf8))
      return fail(Code::invalid_argument, at.to_string() + ": a word is not UTF-8");
    if (++lines > kMaxLines) return fail(Code::invalid_argument, at.to_string() + ": more than 100,000 lines");
    if (std::ranges::find(kSections, words[0]) != std::end(kSections)) {
      HaproxySection section;
      section.kind = words[0];
      if (words.size() > 1) section.name = words[1];
      section.head = {std::move(words), at};
      out.push_back(std::move(section));
      continue;
    }
    if (out.empty())
      return fail(Code::invalid_argument, at.to_string() + ": \"" + words[0] + "\" stands in no section");
    out.back().lines.push_back({std::move(words), at});
  }
  return out;
}

namespace {

// A value a line; empty lines and those that begin with '#' say nothing. Nothing when it is no such file.
std::optional<std::vector<std::string>> values_of(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
    while (!line.empty() && std::string_view(" \t\r").find(line.back()) != std::string_view::npos)
      line.remove_suffix(1);
    if (line.empty() || line.front() == '#') continue;
    const bool plain = line.front() != '-' && line.find_first_of(" \t{}") == std::string_view::npos && is_utf8(line);
    if (!plain || out.size() == kMaxWords) return std::nullopt;
    out.emplace_back(line);
  }
  return out.empty() ? std::nullopt : std::optional(std::move(out));
}

}  // namespace

void read_haproxy_lists(std::vector<HaproxySection>& sections, const ImportFiles& files, const std::string& folder,
                        Remarks& remarks) {
  for (HaproxySection& section : sections) {
    for (HaproxyLine& line : section.lines) {
      const auto flag = std::ranges::find(line.words, "-f");
      if (flag == line.words.end() || std::next(flag) == line.words.end()) continue;
      const std::string file = *std::next(flag);
      const Result<std::string> text = files.read(file.starts_with('/') ? file : folder + file);
      const auto values = text ? values_of(*text) : std::nullopt;
      if (!values) continue;
      const auto at = line.words.erase(flag, flag + 2);
      line.words.insert(at, values->begin(), values->end());
      remarks.differs(line.at, line.words[0] + " " + line.words[1] + " -f " + file,
                      std::to_string(values->size()) + " values stand in the result; changes of the file are not seen");
    }
  }
}

}  // namespace trellis::app
