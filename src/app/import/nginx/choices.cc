#include "app/import/nginx/choices.h"

#include <algorithm>
#include <cctype>
#include <utility>

#include "app/import/nginx/settings.h"
#include "app/import/nginx/upstreams.h"
#include "app/import/numbers.h"

namespace trellis::app {

namespace {

bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// The only variable of a text, as "$name"; empty: none, or several.
std::string only_variable(std::string_view text) {
  const size_t at = text.find('$');
  if (at == std::string_view::npos || text.find('$', at + 1) != std::string_view::npos) return {};
  std::string_view name = text.substr(at + 1);
  if (name.starts_with('{')) name.remove_prefix(1);
  const auto end = std::ranges::find_if_not(name, &is_name);
  return "$" + std::string(name.begin(), end);
}

// "12.5%" of 10,000
std::optional<uint32_t> share_of(std::string_view text) {
  if (!text.ends_with('%')) return std::nullopt;
  text.remove_suffix(1);
  const size_t dot = std::min(text.find('.'), text.size());
  const auto whole = whole_number(text.substr(0, dot));
  std::string digits(dot < text.size() ? text.substr(dot + 1) : std::string_view());
  if (digits.size() > 2) return std::nullopt;
  digits.resize(2, '0');
  const auto parts = whole_number(digits);
  if (!whole || !parts || *whole > 100 || *whole * 100 + *parts > kWholeShare) return std::nullopt;
  return static_cast<uint32_t>(*whole * 100 + *parts);
}

std::optional<NginxChoice> split_clients(const NginxDirective& block) {
  NginxChoice out;
  const std::string variable = only_variable(block.word(0));
  if (variable == "$request_id" || variable == "$msec" || variable == "$connection") {
    out.key = "random";
  } else if (const auto key = nginx_hash_key(variable)) {
    out.key = *key;
  } else {
    return std::nullopt;
  }
  uint32_t taken = 0;
  for (const NginxDirective& one : block.block) {
    const std::string value(one.word(0));
    if (one.name == "*") {
      out.rest = value;
      continue;
    }
    const auto share = share_of(one.name);
    if (!share || (taken += *share) > kWholeShare) return std::nullopt;
    if (*share > 0) out.ways.push_back({*share, {}, value});
  }
  return out;
}

std::optional<NginxChoice> map(const NginxDirective& block) {
  const std::string source = only_variable(block.word(0));
  const bool cookie = source.starts_with("$cookie_");
  if (source != block.word(0) || (!cookie && !source.starts_with("$http_"))) return std::nullopt;
  std::string name = source.substr(cookie ? 8 : 6);
  if (!cookie) std::ranges::replace(name, '_', '-');
  NginxChoice out;
  for (const NginxDirective& one : block.block) {
    const std::string value(one.word(0));
    const std::string& wanted = one.name;
    if (wanted == "default") {
      out.rest = value;
    } else if (wanted.empty() || wanted.find_first_of("~*\\") != std::string::npos || wanted == "hostnames" ||
               wanted == "volatile") {
      return std::nullopt;
    } else {
      out.ways.push_back({0, {{cookie ? "cookie" : "header", name + (cookie ? "=" : ": ") + wanted}}, value});
      out.ignores_case |= std::ranges::any_of(wanted, [](unsigned char c) { return std::isalpha(c) != 0; });
    }
  }
  return out;
}

}  // namespace

void NginxChoices::declare(const NginxDirective& block) {
  if (block.name == "map" && block.word(0) == "$http_upgrade") return;  // what WebSockets need in nginx, and only there
  const std::string_view name = block.word(1);
  auto choice = block.name == "map" ? map(block) : split_clients(block);
  if (choice && (choice->ways.empty() || choice->ways.size() > kMaxWays || choice->rest.empty())) choice.reset();
  if (name.size() < 2 || !name.starts_with('$') ||
      !by_name_.try_emplace(std::string(name.substr(1)), Declared{&block, std::move(choice)}).second)
    others_.push_back(&block);
}

std::optional<std::pair<std::string, NginxChoice>> NginxChoices::in(std::string_view text) {
  for (size_t at = text.find('$'); at != std::string_view::npos; at = text.find('$', at + 1)) {
    const std::string name = only_variable(text.substr(at, text.find('$', at + 1) - at)).substr(1);
    const auto found = by_name_.find(name);
    if (found == by_name_.end() || !found->second.choice) continue;
    found->second.used = true;
    std::pair<std::string, NginxChoice> out{name, *found->second.choice};
    resolve_rest(out.second);
    return out;
  }
  return std::nullopt;
}

// A map's default may be a variable of split_clients: who asks for a way gets it, all others by shares.
void NginxChoices::resolve_rest(NginxChoice& choice) {
  if (!choice.rest.starts_with('$')) return;
  const auto found = by_name_.find(std::string_view(choice.rest).substr(1));
  if (found == by_name_.end() || !found->second.choice || found->second.choice->key.empty()) return;
  const NginxChoice& shares = *found->second.choice;
  if (!choice.key.empty() || choice.ways.size() + shares.ways.size() > kMaxWays) return;
  found->second.used = true;
  choice.ways.insert(choice.ways.end(), shares.ways.begin(), shares.ways.end());
  choice.key = shares.key;
  choice.rest = shares.rest;
}

void NginxChoices::tell_unused(Remarks& remarks) const {
  const auto tell = [&](const NginxDirective& block) {
    auto [why, instead] = why_left_out(block.name);
    const size_t shown = block.name == "map" ? 1 : 0;
    remarks.left_out(block.at, block.name + " " + std::string(block.word(shown)), std::move(why), std::move(instead));
  };
  for (const auto& [name, one] : by_name_) {
    if (!one.used) tell(*one.block);
  }
  for (const NginxDirective* block : others_) tell(*block);
}

}  // namespace trellis::app
