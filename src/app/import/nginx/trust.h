// nginx's set_real_ip_from and real_ip_header, with `listen ... proxy_protocol`, as what a listener believes about its
// clients. Only lists of addresses are taken over: whoever is trusted can be anyone. Pure.
#pragma once

#include "app/import/draft.h"
#include "app/import/nginx/settings.h"
#include "app/import/nginx/syntax.h"
#include "app/import/remark.h"

namespace trellis::app {

// Options of a listener; `listen` is where it was said, and whether its connections begin with a PROXY header.
FieldLines nginx_trust(const NginxSettings& settings, const NginxDirective& listen, bool proxy_protocol,
                       Remarks& remarks);

bool same_trust(const NginxSettings& a, const NginxSettings& b);

}  // namespace trellis::app
