#include "app/import/nginx/location.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "app/import/nginx/path.h"
#include "proxy/files/mime.h"

namespace trellis::app {

namespace {

using How = NginxLocation::How;

constexpr std::string_view kRunsCode[] = {"fastcgi_pass",         "uwsgi_pass",          "scgi_pass", "grpc_pass",
                                          "memcached_pass",       "js_content",          "perl",      "content_by_lua",
                                          "content_by_lua_block", "content_by_lua_file", "echo",      "empty_gif",
                                          "dav_methods"};

// How and where; false when it is no location.
bool read_name(const NginxDirective& one, NginxLocation& out) {
  std::string_view first = one.word(0);
  if (one.words.size() == 1) {
    if (first.starts_with('@')) {
      out.how = How::named;
    } else if (first.starts_with("~")) {  // written without a space
      out.how = How::regex;
      first.remove_prefix(first.starts_with("~*") ? 2 : 1);
    } else if (first.starts_with("=")) {
      out.how = How::exact;
      first.remove_prefix(1);
    } else if (first.starts_with("^~")) {
      out.how = How::prefix_first;
      first.remove_prefix(2);
    }
    out.path = first;
    return out.how == How::named || out.how == How::regex || first.starts_with('/');
  }
  if (one.words.size() != 2) return false;
  out.path = one.word(1);
  if (first == "=") {
    out.how = How::exact;
  } else if (first == "^~") {
    out.how = How::prefix_first;
  } else if (first == "~" || first == "~*") {
    out.how = How::regex;
    return true;
  } else {
    return false;
  }
  return out.path.starts_with('/');
}

// Does each alternative of the expression ask for a name that begins with a dot? Such names are never served.
bool only_hidden_names(std::string_view regex) {
  bool hidden = false;
  size_t depth = 0;
  for (size_t i = 0; i < regex.size(); ++i) {
    const std::string_view rest = regex.substr(i);
    for (const std::string_view name : {"/\\.", "/[.]", "(^|/)\\.", "(?:^|/)\\."}) {
      const bool there = depth == 0 && rest.starts_with(name);
      const std::string_view behind = there ? rest.substr(name.size()) : std::string_view();
      hidden |= there && (behind.empty() || std::string_view("?*{").find(behind.front()) == std::string_view::npos);
    }
    if (regex[i] == '\\') {
      ++i;
    } else if (regex[i] == '(') {
      ++depth;
    } else if (regex[i] == ')' && depth > 0) {
      --depth;
    } else if (regex[i] == '|' && depth == 0) {
      if (!hidden) return false;
      hidden = false;
    }
  }
  return hidden;
}

void collect(const NginxDirective& block, const NginxSettings& settings, std::vector<NginxLocation>& out,
             Remarks& remarks) {
  for (const NginxDirective& one : block.block) {
    if (one.name != "location") continue;
    NginxLocation location;
    location.block = &one;
    location.settings = settings;
    if (!read_name(one, location)) {
      remarks.left_out(one.at, one.name, "is no location: " + directive_text(one));
      continue;
    }
    apply_nginx_settings(one, location.settings, remarks);
    const NginxSettings inner = location.settings;
    out.push_back(std::move(location));
    collect(one, inner, out, remarks);
  }
}

}  // namespace

std::vector<NginxLocation> nginx_locations(const NginxServer& server, Remarks& remarks) {
  std::vector<NginxLocation> out;
  collect(server.block, server.settings, out, remarks);
  return out;
}

const NginxDirective* danger_to_files(const std::vector<NginxLocation>& locations) {
  const NginxDirective* out = nullptr;
  for (const NginxLocation& location : locations) {
    if (location.how != How::regex || paths_of_regex(location.path)) continue;
    const NginxDirective* answer = location.block->find("return");
    const bool refuses = denies_all(location.settings) || location.block->find("internal") != nullptr ||
                         (answer && answer->word(0).starts_with('4')) || !location.settings.guards.empty();
    if (code_of(*location.block) || (refuses && !only_hidden_names(location.path))) out = location.block;
  }
  return out;
}

bool is_one_file(const NginxLocation& location) {
  const NginxDirective* alias = location.block->find("alias");
  if (!alias || location.how == How::regex || location.how == How::named) return false;
  if (location.how == How::exact) return true;
  const auto looks_so = [](std::string_view path) {
    return proxy::mime_type(path.substr(path.rfind('/') + 1)) != "application/octet-stream";
  };
  return looks_so(location.path) && looks_so(alias->word(0));
}

const NginxDirective* code_of(const NginxDirective& block) {
  for (const NginxDirective& one : block.block) {
    if (std::ranges::find(kRunsCode, one.name) != std::end(kRunsCode)) return &one;
  }
  return nullptr;
}

bool denies_all(const NginxSettings& settings) {
  return !settings.access.empty() && !settings.access.front().allow && settings.access.front().block == "all";
}

RouteDraft route_from(const NginxDirective& directive) {
  RouteDraft route;
  route.at = directive.at;
  route.directive = directive_text(directive);
  return route;
}

std::string directive_text(const NginxDirective& directive) {
  std::string text = directive.name;
  for (const std::string& word : directive.words) text += " " + word;
  return text;
}

}  // namespace trellis::app
