#include "app/import/nginx/conditions.h"

#include <algorithm>
#include <iterator>

namespace trellis::app {

const NginxDirective* return_of(const NginxDirective& block) {
  const auto first = std::ranges::find_if(block.block, [](const NginxDirective& one) {
    return one.name == "return" || one.name == "rewrite" || one.name == "break" || one.name == "proxy_pass";
  });
  return first != block.block.end() && first->name == "return" ? &*first : nullptr;
}

std::optional<std::vector<std::string>> methods_of(const NginxDirective& condition) {
  std::string text;
  for (const std::string& word : condition.words) text += word + " ";
  std::erase(text, ' ');
  if (!text.starts_with("($request_method!") || !text.ends_with(')') || !return_of(condition)) return std::nullopt;
  std::string_view rest = std::string_view(text).substr(17, text.size() - 18);
  const bool one = rest.starts_with('=');
  if (one) {
    rest.remove_prefix(1);
  } else {
    const bool whole = rest.starts_with("~^(") && rest.ends_with(")$");
    if (!whole) return std::nullopt;
    rest = rest.substr(3, rest.size() - 5);
    if (rest.starts_with("?:")) rest.remove_prefix(2);
  }
  std::vector<std::string> out;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('|'), rest.size());
    const std::string_view method = rest.substr(0, end);
    const auto upper = [](char c) { return c >= 'A' && c <= 'Z'; };
    if (method.empty() || !std::ranges::all_of(method, upper) || (one && end < rest.size())) return std::nullopt;
    out.emplace_back(method);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (out.empty()) return std::nullopt;
  return out;
}

bool refuses(const NginxDirective& block) {
  const NginxDirective* answer = block.find("return");
  return answer && answer->word(0).starts_with('4');
}

namespace {

// Its words without what brackets them.
std::vector<std::string_view> bare_words(const NginxDirective& condition) {
  std::vector<std::string_view> out;
  for (std::string_view word : condition.words) {
    while (word.starts_with('(')) word.remove_prefix(1);
    while (word.ends_with(')')) word.remove_suffix(1);
    if (!word.empty()) out.push_back(word);
  }
  return out;
}

}  // namespace

std::optional<NginxComparison> comparison_of(const NginxDirective& condition) {
  const std::vector<std::string_view> words = bare_words(condition);
  if (words.size() != 3 || words[1] != "=" || words[2].find('$') != std::string::npos) return std::nullopt;
  return NginxComparison{std::string(words[0]), std::string(words[2])};
}

std::string_view guard_of(const NginxDirective& condition, const NginxVariables& usually) {
  static constexpr std::string_view kAddress[] = {"$host", "$http_host", "$server_name", "$scheme"};
  const std::vector<std::string_view> words = bare_words(condition);
  if (words.empty() || !refuses(condition)) return {};
  const auto is_certificate = [](std::string_view word) { return word.find("$ssl_client_") != std::string_view::npos; };
  if (std::ranges::any_of(words, is_certificate)) return "ssl_verify_client";
  const bool turned = words.size() > 1 && (words[1].starts_with("!=") || words[1].starts_with("!~"));
  if (turned && std::ranges::find(kAddress, words[0]) == std::end(kAddress) && !methods_of(condition)) return "if";
  const auto value = usually.find(words[0]);
  if (value == usually.end()) return {};
  const std::optional<NginxComparison> comparison = comparison_of(condition);
  const bool is_true = words.size() == 1 && !value->second.empty() && value->second != "0";
  return is_true || (comparison && comparison->value == value->second) ? "if" : std::string_view();
}

}  // namespace trellis::app
