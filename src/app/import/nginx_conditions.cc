#include "app/import/nginx_conditions.h"

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

std::string_view guard_of(const NginxDirective& condition) {
  static constexpr std::string_view kAddress[] = {"($host", "($http_host", "($server_name", "($scheme"};
  if (!refuses(condition)) return {};
  const std::vector<std::string>& words = condition.words;
  const auto is_certificate = [](const std::string& word) { return word.find("$ssl_client_") != std::string::npos; };
  if (std::ranges::any_of(words, is_certificate)) return "ssl_verify_client";
  const bool spares = condition.word(1).starts_with("!=") || condition.word(1).starts_with("!~");
  if (spares && std::ranges::find(kAddress, words[0]) == std::end(kAddress) && !methods_of(condition)) return "if";
  return {};
}

}  // namespace trellis::app
