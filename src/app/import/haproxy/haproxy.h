// Sections of HAProxy as a configuration of Trellis: frontends and listens become listeners with routes, backends
// become upstreams. A frontend's rules are tried in their order there, by the most specific host and path here; where
// that may make a difference it is told, as is everything that cannot be said. Pure, one thread.
#pragma once

#include <vector>

#include "app/import/draft.h"
#include "app/import/haproxy/syntax.h"
#include "app/import/remark.h"

namespace trellis::app {

ConfigDraft translate_haproxy(const std::vector<HaproxySection>& sections, Remarks& remarks);

}  // namespace trellis::app
