#include "app/import/nginx/path.h"

#include <algorithm>

namespace trellis::app {

namespace {

constexpr size_t kMaxPatterns = 32;
constexpr std::string_view kSpecial = ".^$*+?()[]{}|\\";

// Reads an expression that is a path of literals, small alternatives and whole-segment wildcards.
class RegexReader {
 public:
  explicit RegexReader(std::string_view regex) : rest_(regex) {}

  std::optional<PathPatterns> read() {
    if (!skip("^")) return std::nullopt;
    if (!rest_.starts_with('/') && !rest_.starts_with("\\/")) return std::nullopt;
    paths_ = {""};
    while (!rest_.empty()) {
      if (at_end()) return finish();
      if (!item()) return std::nullopt;
    }
    return open_end();
  }

 private:
  bool skip(std::string_view what) {
    if (!rest_.starts_with(what)) return false;
    rest_.remove_prefix(what.size());
    return true;
  }

  bool append(const std::vector<std::string>& choices) {
    if (choices.empty() || paths_.size() * choices.size() > kMaxPatterns) return false;
    std::vector<std::string> longer;
    for (const std::string& path : paths_) {
      for (const std::string& choice : choices) longer.push_back(path + choice);
    }
    paths_ = std::move(longer);
    return true;
  }
  bool all_end_with_slash() const {
    return std::ranges::all_of(paths_, [](const std::string& path) { return path.ends_with('/'); });
  }

  // One character of a literal, escaped or not; false when it is something else.
  static bool literal(std::string_view& text, std::string& out) {
    if (text.empty()) return false;
    if (text.front() == '\\') {
      if (text.size() < 2) return false;
      const char c = text[1];
      const bool letter_or_digit = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
      if (letter_or_digit) return false;  // \d, \w, \b ...
      out += pattern_literal(text.substr(1, 1));
      text.remove_prefix(2);
      return true;
    }
    if (kSpecial.find(text.front()) != std::string_view::npos) return false;
    out += pattern_literal(text.substr(0, 1));
    text.remove_prefix(1);
    return true;
  }
  bool repeats() const {
    return !rest_.empty() && std::string_view("*+?{").find(rest_.front()) != std::string_view::npos;
  }

  bool item() {
    std::string one;
    if (literal(rest_, one)) return !repeats() && append({one});
    for (const std::string_view segment : {"([^/]+)", "[^/]+"}) {
      if (!skip(segment)) continue;
      const bool whole = rest_.empty() || rest_.front() == '/' || rest_.front() == '$' || rest_.starts_with("\\/");
      if (!whole || rest_.empty() || !all_end_with_slash()) return false;
      return append({"*"});
    }
    if (skip("(?:") || skip("(")) return alternatives();
    if (skip("[")) return characters();
    return false;
  }

  // Literals parted by '|', up to ')'.
  bool alternatives() {
    std::vector<std::string> choices = {""};
    while (!rest_.empty()) {
      if (skip(")")) return !repeats() && append(choices);
      if (skip("|")) {
        choices.emplace_back();
      } else if (!literal(rest_, choices.back())) {
        return false;
      }
    }
    return false;
  }

  // A set of single characters without ranges, up to ']'.
  bool characters() {
    std::vector<std::string> choices;
    while (!rest_.empty()) {
      if (skip("]")) return !repeats() && append(choices);
      if (rest_.front() == '^' || rest_.front() == '-' || rest_.front() == '[') return false;
      std::string one;
      if (rest_.front() == '.') {
        one = ".";
        rest_.remove_prefix(1);
      } else if (!literal(rest_, one)) {
        return false;
      }
      choices.push_back(std::move(one));
    }
    return false;
  }

  bool at_end() {
    for (const std::string_view end : {"$", "/?$", "(/|$)", "(?:/|$)", "(/.*)?$", "(?:/.*)?$", "(.*)$", ".*$", "(.*)",
                                       ".*", "(.+)$", ".+$", "(.+)", ".+"}) {
      if (rest_ != end) continue;
      end_ = end;
      return true;
    }
    return false;
  }

  std::optional<PathPatterns> finish() {
    PathPatterns out;
    if (end_ == "$") {
      out.patterns = paths_;
    } else if (end_ == "/?$") {
      for (const std::string& path : paths_) {
        if (!path.empty()) out.patterns.push_back(path);
        out.patterns.push_back(path + "/");
      }
    } else if (end_.find('/') != std::string_view::npos) {  // "/api" and everything below it
      for (const std::string& path : paths_) out.patterns.push_back(path + "/**");
    } else if (end_.find('+') != std::string_view::npos && !all_end_with_slash()) {
      return std::nullopt;
    } else {
      return open_end();
    }
    return out;
  }

  // Whatever follows: everything below.
  std::optional<PathPatterns> open_end() {
    PathPatterns out;
    for (std::string path : paths_) {
      if (path.ends_with('*')) return std::nullopt;  // "/[^/]+" without an end takes parts of segments
      if (path.ends_with('/')) {
        path.pop_back();
        if (!path.empty()) out.too_much.push_back(path);
      } else {
        out.wider = true;
      }
      out.patterns.push_back(path + "/**");
    }
    std::erase_if(out.too_much,
                  [&](const std::string& path) { return std::ranges::find(paths_, path) != paths_.end(); });
    return out;
  }

  std::string_view rest_;
  std::string_view end_;
  std::vector<std::string> paths_;
};

// The literal text of a piece of an expression; nothing when it is more than that.
std::optional<std::string> literal_text(std::string_view regex) {
  std::string out;
  for (size_t i = 0; i < regex.size(); ++i) {
    char c = regex[i];
    if (c == '\\') {
      if (++i == regex.size()) return std::nullopt;
      c = regex[i];
      if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return std::nullopt;
    } else if (kSpecial.find(c) != std::string_view::npos && c != '.') {
      return std::nullopt;
    }
    out += c;
  }
  return out;
}

}  // namespace

std::string pattern_literal(std::string_view path) {
  std::string out;
  for (const char c : path) {
    switch (c) {
      case '%': out += "%25"; break;
      case '*': out += "%2A"; break;
      case '?': out += "%3F"; break;
      case '#': out += "%23"; break;
      default: out += c;
    }
  }
  return out;
}

std::optional<PathPatterns> paths_of_regex(std::string_view regex) { return RegexReader(regex).read(); }

WholePath whole_path(std::string_view regex) {
  if (regex == "^" || regex == "^/" || regex == ".*" || regex == "^.*$" || regex == "^.*" || regex == "^/.*$" ||
      regex == "^/.*")
    return WholePath::unused;
  for (const std::string_view all : {"^(.*)$", "^(.*)", "(.*)", "^(/.*)$", "^(.+)$", "^(/.*)", "(.+)"}) {
    if (regex == all) return WholePath::with_slash;
  }
  for (const std::string_view all : {"^/(.*)$", "^/(.*)", "^/?(.*)$", "/(.*)"}) {
    if (regex == all) return WholePath::without_slash;
  }
  return WholePath::no;
}

std::optional<PrefixChange> prefix_change(std::string_view regex, std::string_view replacement) {
  if (replacement.find('?') != std::string_view::npos) return std::nullopt;
  const size_t variable = replacement.find("$1");
  if (variable == std::string_view::npos || variable + 2 != replacement.size()) return std::nullopt;
  std::string add(replacement.substr(0, variable));
  if (add.find('$') != std::string::npos) return std::nullopt;
  if (!regex.starts_with('^')) return std::nullopt;
  regex.remove_prefix(1);
  if (regex.ends_with('$')) regex.remove_suffix(1);
  // What stands before the group, and whether the group begins with the slash.
  bool slash_inside = false;
  std::string_view before;
  for (const auto& [tail, inside] : {std::pair<std::string_view, bool>{"/?(.*)", false},
                                     {"(/.*)", true},
                                     {"/(.*)", false},
                                     {"/(.+)", false},
                                     {"(/.+)", true}}) {
    if (!regex.ends_with(tail)) continue;
    before = regex.substr(0, regex.size() - tail.size());
    slash_inside = inside;
    const std::optional<std::string> strip = literal_text(before);
    if (!strip || (!strip->empty() && !strip->starts_with('/'))) return std::nullopt;
    if (slash_inside == add.ends_with('/')) return std::nullopt;  // two slashes, or none
    if (add.ends_with('/')) add.pop_back();
    if (!add.empty() && !add.starts_with('/')) return std::nullopt;
    return PrefixChange{*strip, add};
  }
  if ((regex == "(.*)" || regex == "(.+)") && !add.ends_with('/') && add.starts_with('/')) return PrefixChange{"", add};
  return std::nullopt;
}

}  // namespace trellis::app
