// One server of nginx as routes: where its locations stand. nginx tries exact paths, then the longest prefix, then
// regular expressions in the order of the file; Trellis takes the most specific path. So locations that nginx never
// reaches are dropped, and where the two orders differ it is told. What a location does is content.h's. One
// thread.
#pragma once

#include <vector>

#include "app/import/draft.h"
#include "app/import/nginx/location.h"
#include "app/import/nginx/upstreams.h"
#include "app/import/remark.h"

namespace trellis::app {

// Without listeners and hosts; a host stands only where the route is of this one alone.
std::vector<RouteDraft> nginx_routes(const NginxServer& server, NginxUpstreams& upstreams, Remarks& remarks);

}  // namespace trellis::app
