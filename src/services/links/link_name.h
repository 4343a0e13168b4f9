// The name of a link: its code on the default domain, host/code on another one (a code has no slash). Rows, cache,
// clicks and the link book know links by their names; the interfaces take them apart and put them together. Pure; any
// core.
#pragma once

#include <string>
#include <string_view>

namespace trellis::services::links {

struct LinkName {
  std::string_view host;  // "": the default domain
  std::string_view code;
};

inline LinkName split_name(std::string_view name) noexcept {
  const size_t slash = name.rfind('/');
  if (slash == std::string_view::npos) return {{}, name};
  return {name.substr(0, slash), name.substr(slash + 1)};
}

inline std::string link_name(std::string_view host, std::string_view code) {
  std::string name;
  if (!host.empty()) name.append(host).append("/");
  return name.append(code);
}

// "" and "host/": the link has a domain, and its code is still to be made.
inline bool lacks_code(std::string_view name) noexcept { return name.empty() || name.back() == '/'; }

}  // namespace trellis::services::links
