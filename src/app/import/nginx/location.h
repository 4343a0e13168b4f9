// The locations of one server of nginx as they are written: their names, their settings, and what can be told of them
// by a look at their directives. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/import/draft.h"
#include "app/import/nginx/choices.h"
#include "app/import/nginx/settings.h"
#include "app/import/nginx/syntax.h"
#include "app/import/remark.h"

namespace trellis::app {

struct NginxServer {
  const NginxDirective& block;
  const NginxSettings& settings;  // of the server's level
  NginxChoices& choices;
  std::string name;    // the first of its names; may be empty
  std::string folder;  // what relative paths start from, with its '/'
  bool tls = false;    // clients come through TLS
};

struct NginxLocation {
  enum class How : uint8_t { exact, prefix, prefix_first, regex, named };

  How how = How::prefix;
  std::string path;
  const NginxDirective* block = nullptr;
  NginxSettings settings;

  bool is_prefix() const noexcept { return how == How::prefix || how == How::prefix_first; }
  bool ignores_case() const noexcept { return block->word(0).starts_with("~*"); }
};

// In the order of the file, nested ones behind those in which they stand.
std::vector<NginxLocation> nginx_locations(const NginxServer& server, Remarks& remarks);

// The last location by an expression that no pattern says and that protects files or hands them to a program: they must
// not be served as they are. nullptr: none.
const NginxDirective* danger_to_files(const std::vector<NginxLocation>& locations);

// Does its alias name a file rather than a folder? Of a prefix the names tell: location /robots.txt with an alias that
// ends in .txt.
bool is_one_file(const NginxLocation& location);

// The directive that leads to something Trellis does not run: fastcgi_pass and its like. nullptr: none.
const NginxDirective* code_of(const NginxDirective& block);
bool denies_all(const NginxSettings& settings);

// A route that says where it comes from, and nothing else yet.
RouteDraft route_from(const NginxDirective& directive);
std::string directive_text(const NginxDirective& directive);

}  // namespace trellis::app
