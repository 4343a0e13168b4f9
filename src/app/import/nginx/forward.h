// proxy_pass as the target of a route, with the path, the fields, the limits and the buffers that nginx gives it. Pure.
#pragma once

#include "app/import/draft.h"
#include "app/import/nginx/location.h"
#include "app/import/nginx/syntax.h"
#include "app/import/nginx/upstreams.h"
#include "app/import/remark.h"

namespace trellis::app {

void forward_nginx(const NginxDirective& pass, const NginxLocation& location, const NginxServer& server,
                   NginxUpstreams& upstreams, Remarks& remarks, RouteDraft& route);

}  // namespace trellis::app
