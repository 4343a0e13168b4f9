// One server of nginx as routes: its locations, and what stands beside them. nginx tries exact paths, then the longest
// prefix, then regular expressions in the order of the file; Trellis takes the most specific path. So locations that
// nginx never reaches are dropped, and where the two orders differ it is told. A location that cannot be translated
// becomes a route that answers 501: its requests must not fall through to another one. One thread.
#pragma once

#include <string>
#include <vector>

#include "app/import/draft.h"
#include "app/import/nginx_settings.h"
#include "app/import/nginx_syntax.h"
#include "app/import/nginx_upstreams.h"
#include "app/import/remark.h"

namespace trellis::app {

struct NginxServer {
  const NginxDirective& block;
  const NginxSettings& settings;  // of the server's level
  std::string name;               // the first of its names; may be empty
  std::string folder;             // what relative paths start from, with its '/'
  bool tls = false;               // clients come through TLS
};

// Without listeners and hosts; a host stands only where the route is of this one alone.
std::vector<RouteDraft> nginx_routes(const NginxServer& server, NginxUpstreams& upstreams, Remarks& remarks);

// nginx's variables as those of Trellis; nothing when one is unknown, which `unknown` then names.
std::optional<std::string> template_of(std::string_view text, const NginxServer& server, const NginxSettings& settings,
                                       std::string& unknown);

}  // namespace trellis::app
