// A tree of nginx's directives as a configuration of Trellis: servers and what they listen on become listeners and
// routes of their hosts, upstreams become upstreams, logs and workers what they are here. What cannot be said is told
// in the remarks; nothing is passed over in silence but what needs nothing. Pure, one thread.
#pragma once

#include <string>

#include "app/import/draft.h"
#include "app/import/nginx/syntax.h"
#include "app/import/remark.h"

namespace trellis::app {

// `folder`: of the file, with its '/'; relative paths start there.
ConfigDraft translate_nginx(const NginxTree& tree, const std::string& folder, Remarks& remarks);

}  // namespace trellis::app
