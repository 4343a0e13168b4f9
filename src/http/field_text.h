// Small rules for the text of a field value (RFC 9110 §5.6). Pure; any core.
#pragma once

#include <algorithm>
#include <string_view>

#include "http/h1_scan.h"

namespace trellis::http {

// Without the spaces and tabs at both ends (§5.6.3).
constexpr std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// A token (§5.6.2), as names of fields and directives are.
constexpr bool is_token(std::string_view text) noexcept {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return scan::is_a(c, scan::kToken); });
}

// A Content-Type, or an element of Accept, without its parameters (§8.3.1).
constexpr std::string_view media_type(std::string_view value) noexcept {
  return trimmed(value.substr(0, value.find(';')));
}

// The host of a valid authority (§7.2): no port, no dot at the end, for example.com. is the same host.
constexpr std::string_view host_of_authority(std::string_view authority) noexcept {
  if (authority.starts_with('[')) return authority.substr(0, authority.find(']') + 1);
  authority = authority.substr(0, authority.rfind(':'));
  if (authority.ends_with('.')) authority.remove_suffix(1);
  return authority;
}

}  // namespace trellis::http
